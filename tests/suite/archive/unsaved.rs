//! What an archive for `docker load` cannot hold, and what goes wrong on the way: it is there whole or not at
//! all, without the tags that failed.

use serde_json::{Value, json};

use super::{docker, large, names, place, single, standard, tagged, unpacked};
use crate::support::barge::{Barge, Running, barge, copy, run};
use crate::support::content::sha256;
use crate::support::image::archive::Archive;
use crate::support::image::{Attestations, Image, ImageSpec, Layer, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request, times};

/// Three tags.
fn source() -> FakeRegistry {
    tagged([1, 2, 3])
}

fn save(source: &FakeRegistry, archive: &Archive) -> Barge {
    let places = [source.reference("x"), docker(archive, "")];
    barge()
        .arg("copy")
        .args(places)
        .args(["--all-tags", "-o", "json"])
}

/// The tags in an archive.
fn tags(archive: &Archive) -> String {
    run(&["list-tags", &docker(archive, "")]).exits(0).stdout
}

fn refusal(output: &crate::support::barge::Output, tag: &str) -> (Value, String) {
    let error = &output.tag(tag)["error"];
    let message = error["message"].as_str().expect("a message");
    (error["kind"].clone(), message.to_owned())
}

#[test]
fn an_index_needs_the_one_platform_that_is_saved() {
    let source = FakeRegistry::start();
    standard().push_to(&source, "x:1");
    MultiArch::standard(&["arm/v7", "arm/v6"], Attestations::With, 3).push_to(&source, "x:arm");
    let (directory, archive) = place();
    let save = |options: &[&str], tag: &str| {
        let from = source.reference(&format!("x:{tag}"));
        copy(options, &from, &docker(&archive, ""))
    };
    for (options, tag, named) in [
        (
            &[][..],
            "1",
            "3 images (linux/amd64, linux/arm64/v8, linux/arm/v7)",
        ),
        (&["-a"], "1", "3 images"),
        (
            &["--arch", "arm"],
            "arm",
            "2 images (linux/arm/v7, linux/arm/v6)",
        ),
    ] {
        let output = save(options, tag).exits(1);
        let (kind, message) = refusal(&output, tag);
        assert_eq!(kind, "unsupported", "{output:#?}");
        assert!(message.contains(named), "{message}");
    }
    for options in [
        &["--arch", "arm64,amd64"][..],
        &["--arch", "arm64", "--require-arch", "amd64"],
        &["--arch", "arm64", "--mode", "sparse-index"],
        &["--preserve-digests"],
    ] {
        let output = save(options, "1").exits(2);
        assert!(
            output.stderr.contains("a docker-archive holds"),
            "{output:#?}"
        );
    }
    assert_eq!(source.count(Request::reads_blob), 0);
    assert!(names(directory.path()).is_empty());
    save(&["--arch", "arm/v6"], "arm").exits(0);
}

/// What BuildKit pushes for one platform is an index too.
#[test]
fn an_index_of_one_image_is_that_image() {
    let source = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 5);
    image.push_to(&source, "x:1");
    let (_directory, archive) = place();
    let tag = copy(&[], &source.reference("x:1"), &docker(&archive, ""));
    let tag = tag.exits(0).tag("1");
    assert_eq!(tag["digest"], image.image("amd64").config_digest());
    assert_eq!(tag["source_digest"], image.digest());
}

#[test]
fn what_can_never_be_written_is_found_out_first() {
    let source = source();
    let (directory, archive) = place();
    let from = source.reference("x:1");
    for (to, why) in [
        ("docker-archive:-".to_owned(), "no stream"),
        (docker(&archive, ":A B"), "invalid name of an image"),
    ] {
        let output = copy(&[], &from, &to).exits(2);
        assert!(output.stderr.contains(why), "{output:#?}");
    }
    let output = copy(
        &["--all-tags"],
        &source.reference("x"),
        &docker(&archive, ":a:1"),
    );
    assert!(output.exits(2).stderr.contains("DESTINATION names `1`"));
    assert_eq!(source.count(|_| true), 0);
    let folder = directory.path().display();
    for (to, kind) in [
        (format!("docker-archive:{folder}/none/x.tar"), "local-io"),
        (format!("docker-archive:{folder}"), "local-io"),
        ("docker-archive:/dev/full".to_owned(), "unsupported"),
    ] {
        let output = copy(&[], &from, &to).exits(1);
        assert_eq!(output.json()["error"]["kind"], kind, "{output:#?}");
    }
}

/// An image whose second layer is said to unpack to something else.
fn lying(seed: u64) -> Image {
    let mut layer = Layer::random(seed, 50_000);
    layer.diff_id = Layer::random(99, 10).diff_id;
    let spec = ImageSpec::new("linux", "arm64").seed(seed);
    spec.layer(Layer::random(7, 20_000)).layer(layer).build()
}

#[test]
fn a_layer_that_unpacks_to_another_is_not_saved() {
    let source = source();
    lying(2).push_to(&source, "x:2");
    let (_directory, archive) = place();
    let output = save(&source, &archive).run().exits(3);
    let (kind, message) = refusal(&output, "2");
    assert_eq!(kind, "digest-mismatch", "{output:#?}");
    assert!(message.contains(&lying(2).layers[1].diff_id), "{message}");
    assert!(
        message.contains(&Layer::random(2, 50_000).diff_id),
        "{message}"
    );
    assert_eq!(tags(&archive), "1\n3\n");
    let blob = lying(2).layers[1].digest();
    assert_eq!(source.count(|request| request.is("GET", &blob)), 1);
}

/// Another image's blob that does unpack to the layer is taken, whichever comes first.
#[test]
fn a_blob_that_lies_spoils_no_other_tag() {
    for seed in 1..5 {
        let source = FakeRegistry::start();
        let honest = Layer::random(1, 30_000);
        let liar = Layer {
            diff_id: honest.diff_id.clone(),
            ..Layer::random(100 + seed, 30_000)
        };
        for (layer, tag) in [(&honest, "x:honest"), (&liar, "x:liar")] {
            let spec = ImageSpec::new("linux", "arm64").seed(seed);
            spec.layer(layer.clone()).build().push_to(&source, tag);
        }
        let (_directory, archive) = place();
        let output = save(&source, &archive).run();
        assert_eq!(output.tag("honest")["status"], "copied", "{output:#?}");
        let files = archive.files();
        let name = format!("{}.tar", honest.diff_id.trim_start_matches("sha256:"));
        assert!(files[&name] == unpacked(&honest.bytes));
    }
}

/// The others come, in the very bytes that they have without it.
#[test]
fn a_tag_whose_layer_is_lost_is_left_out() {
    for seed in [1, 2, 3] {
        let source = source();
        let (directory, archive) = place();
        let expected = Archive::at(&directory.path().join("expected.tar"));
        let others = format!("--exclude-tags={seed}");
        let from = source.reference("x");
        copy(&["--all-tags", &others], &from, &docker(&expected, "")).exits(0);

        let lost = large(seed);
        source.on(move |request| request.is("GET", &lost).then_some(Fault::status(404)));
        let output = save(&source, &archive).run().exits(3);
        assert_eq!(refusal(&output, &seed.to_string()).0, "not-found");
        assert_eq!(output.json()["totals"]["copied"], json!(2));
        assert!(archive.bytes() == expected.bytes(), "without {seed}");
        assert_eq!(names(directory.path()).len(), 2);
    }
}

#[test]
fn damaged_bytes_are_fetched_once_more_and_never_kept() {
    let source = source();
    let digest = large(2);
    let is_it = move |request: &Request| request.is("GET", &digest);
    source.on(times(1, is_it.clone(), Fault::FlipBit));
    let (_directory, archive) = place();
    save(&source, &archive).run().exits(0);
    let checked = run(&["verify", "--deep", "--all-tags", &docker(&archive, "")]);
    checked.exits(0);

    let (_directory, archive) = place();
    source.on(move |request| is_it(request).then_some(Fault::FlipBit));
    let output = save(&source, &archive).run().exits(3);
    assert_eq!(refusal(&output, "2").0, "digest-mismatch", "{output:#?}");
    assert_eq!(tags(&archive), "1\n3\n");
}

/// More than may wait to be unpacked, and wrong from its first byte: that it is damaged shows at its end.
#[test]
fn damage_that_cannot_be_unpacked_is_fetched_once_more() {
    let source = FakeRegistry::start();
    let layer = Layer::random(4, 6_000_000);
    let spec = ImageSpec::new("linux", "arm64").layer(layer.clone());
    spec.build().push_to(&source, "x:1");
    let mut damaged = layer.bytes.to_vec();
    damaged[..4].copy_from_slice(b"BZh9");
    let digest = layer.digest();
    let answer = Answer::new(200).body("application/octet-stream", damaged);
    let is_it = move |request: &Request| request.is("GET", &digest);
    source.on(times(1, is_it, Fault::Status(answer)));
    let (_directory, archive) = place();
    save(&source, &archive).args(["-j", "64"]).run().exits(0);
    let reads = source.count(|request| request.is("GET", &layer.digest()));
    assert_eq!(reads, 2);
}

#[test]
fn bytes_that_are_no_layer_fail_their_tag() {
    let source = source();
    let mut bytes = single(2).layers[0].bytes.to_vec();
    bytes.truncate(9000);
    for (bytes, kind) in [
        (bytes, "protocol"),
        (b"BZh91AY&SY and so on".to_vec(), "unsupported"),
    ] {
        let layer = Layer {
            bytes: bytes.into(),
            ..Layer::random(5, 10)
        };
        let spec = ImageSpec::new("linux", "arm64").layer(layer);
        spec.build().push_to(&source, "x:2");
        let (_directory, archive) = place();
        let output = save(&source, &archive).run().exits(3);
        assert_eq!(refusal(&output, "2").0, kind, "{output:#?}");
        assert_eq!(tags(&archive), "1\n3\n");
    }
}

#[test]
fn what_is_no_image_of_containers_fails_its_tag() {
    let source = source();
    let foreign = Layer::random(5, 10).foreign(
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "https://example.com/layer",
    );
    let spec = ImageSpec::new("linux", "arm64").layer(foreign);
    spec.build().push_to(&source, "x:2");
    let config = single(4).config;
    let config = json!({
        "mediaType": "application/vnd.example.config+json",
        "digest": sha256(&config),
        "size": config.len(),
    });
    let spec = ImageSpec::new("linux", "arm64")
        .seed(4)
        .field("config", config);
    let mut artifact = spec.build();
    artifact.config = single(4).config;
    artifact.push_to(&source, "x:4");
    let (_directory, archive) = place();
    let output = save(&source, &archive).run().exits(3);
    let (kind, message) = refusal(&output, "2");
    assert_eq!(kind, "unsupported", "{output:#?}");
    assert!(message.contains("not distributed"), "{message}");
    let (kind, message) = refusal(&output, "4");
    assert_eq!(kind, "unsupported", "{output:#?}");
    assert!(message.contains("vnd.example.config"), "{message}");
    assert_eq!(tags(&archive), "1\n3\n", "{output:#?}");
}

/// A save that waits in the middle of a layer.
fn stalled(source: &FakeRegistry, archive: &Archive) -> Running {
    let stalls = large(2);
    source.on({
        let stalls = stalls.clone();
        move |request| {
            let hit = request.is("GET", &stalls);
            hit.then_some(Fault::StallBody(300_000))
        }
    });
    let running = save(source, archive).arg("--force").spawn();
    source.wait_for(1, |request| {
        request.is("GET", &stalls) && request.answer_len == 300_000
    });
    running
}

#[test]
fn an_end_in_the_middle_leaves_what_was_there_and_nothing_else() {
    for (signal, code) in [("KILL", None), ("INT", Some(130)), ("TERM", Some(143))] {
        let source = source();
        let (directory, archive) = place();
        std::fs::write(archive.path(), "another's").expect("a file");
        let running = stalled(&source, &archive);
        running.signal(signal);
        assert_eq!(running.wait().code, code);
        assert_eq!(archive.bytes(), b"another's");
        assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());
    }
}

#[test]
fn what_another_process_wrote_meanwhile_stays() {
    let source = source();
    let (_directory, archive) = place();
    let running = stalled(&source, &archive);
    std::fs::write(archive.path(), "another's").expect("a file");
    source.release();
    let report = running.wait().exits(1).json();
    for tag in report["tags"].as_array().expect("tags") {
        assert_eq!(tag["error"]["kind"], "conflict", "{tag:#}");
    }
    assert_eq!(archive.bytes(), b"another's");
}

/// Zeros, which take far less room in the registry than on the disk.
fn hollow() -> Image {
    let plain = vec![0; 4 << 20];
    let layer = Layer {
        bytes: zstd::encode_all(&plain[..], 1).expect("memory").into(),
        diff_id: sha256(&plain),
        ..Layer::random(5, 10)
    };
    ImageSpec::new("linux", "arm64").layer(layer).build()
}

#[test]
fn a_disk_that_is_too_small_leaves_nothing() {
    let source = source();
    let (directory, archive) = place();
    // In blocks of 512 bytes.
    let run = |limit: &str| {
        let limit = format!("ulimit -f {limit}");
        save(&source, &archive).after(&limit).run()
    };
    let all_fail = |output: crate::support::barge::Output| {
        for tag in output.exits(1).json()["tags"].as_array().expect("tags") {
            assert_eq!(tag["error"]["kind"], "local-io", "{tag:#}");
        }
        assert!(names(directory.path()).is_empty());
    };
    all_fail(run("2000"));
    assert_eq!(source.count(|request| request.is("GET", &large(1))), 0);
    hollow().push_to(&source, "x:2");
    all_fail(run("6000"));
    run("20000").exits(0);
}

#[test]
fn under_rollback_all_tags_come_into_it_or_none() {
    let source = source();
    let (directory, archive) = place();
    let all = || {
        let run = save(&source, &archive).args(["--policy", "rollback"]);
        run.args(["--retry-times", "0"]).run()
    };
    for broken in [large(2), format!("/manifests/{}", 2)] {
        source.on(move |request| {
            let hit = request.is("GET", &broken);
            hit.then(|| Fault::status(404))
        });
        let report = all().exits(4).json();
        let of = |tag: usize| report["tags"][tag]["status"].clone();
        let expected = ["rolled-back", "failed", "rolled-back"];
        assert_eq!([of(0), of(1), of(2)], expected);
        assert_eq!(report["totals"]["bytes"], json!(0), "nothing is kept");
        assert!(names(directory.path()).is_empty());
        source.behave();
    }
    all().exits(0);
    assert_eq!(tags(&archive), "1\n2\n3\n");
}
