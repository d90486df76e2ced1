//! What goes wrong on the way: the archive appears whole or not at all, and what was there stays.

use serde_json::json;

use super::{large, names, place, single, tagged};
use crate::support::barge::{Running, barge, copy};
use crate::support::image::archive::{Archive, blob_name};
use crate::support::image::{ImageSpec, Layer};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, times};

/// Three tags.
fn source() -> FakeRegistry {
    tagged([1, 2, 3])
}

fn export(source: &FakeRegistry, archive: &Archive) -> crate::support::barge::Barge {
    let options = ["--all-tags", "-o", "json"];
    barge()
        .args(["copy", &source.reference("x"), &archive.reference("")])
        .args(options)
}

/// An export that waits in the middle of a layer, over an archive of another image.
fn stalled(source: &FakeRegistry, archive: &Archive) -> Running {
    copy(&[], &source.reference("x:1"), &archive.reference("0")).exits(0);
    source.clear_log();
    let stalls = large(2);
    source.on({
        let stalls = stalls.clone();
        move |request| {
            request
                .is("GET", &stalls)
                .then_some(Fault::StallBody(300_000))
        }
    });
    let running = export(source, archive).spawn();
    source.wait_for(1, |request| {
        request.is("GET", &stalls) && request.answer_len == 300_000
    });
    running
}

#[test]
fn a_kill_in_the_middle_leaves_what_was_there_and_nothing_else() {
    let source = source();
    let (directory, archive) = place();
    let running = stalled(&source, &archive);
    let before = archive.bytes();
    running.signal("KILL");
    assert_eq!(running.wait().code, None);
    assert!(archive.bytes() == before);
    assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());
}

#[test]
fn a_signal_leaves_what_was_there_and_tells_it() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let source = source();
        let (directory, archive) = place();
        let running = stalled(&source, &archive);
        let before = archive.bytes();
        running.signal(signal);
        let report = running.wait().exits(code).json();
        assert_eq!(report["outcome"], "interrupted");
        for tag in report["tags"].as_array().expect("tags") {
            assert_eq!(tag["error"]["kind"], "interrupted", "{tag:#}");
        }
        assert!(archive.bytes() == before);
        assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());
    }
}

#[test]
fn what_another_process_wrote_meanwhile_stays() {
    let source = source();
    let (_directory, archive) = place();
    let running = stalled(&source, &archive);
    let other = FakeRegistry::start();
    single(9).push_to(&other, "y:9");
    copy(&[], &other.reference("y:9"), &archive.reference("")).exits(0);
    let theirs = archive.bytes();
    source.release();
    let report = running.wait().exits(1).json();
    for tag in report["tags"].as_array().expect("tags") {
        assert_eq!(tag["error"]["kind"], "conflict", "{tag:#}");
    }
    assert!(archive.bytes() == theirs);
}

#[test]
fn a_disk_that_is_too_small_is_found_out_before_anything_is_fetched() {
    let source = source();
    let (directory, archive) = place();
    // In blocks of 512 bytes: all three need more than 2 MB, one less than 1 MB.
    let run = |limit: &str| {
        export(&source, &archive)
            .after(&format!("ulimit -f {limit}"))
            .run()
    };
    let output = run("2000").exits(1);
    assert_eq!(output.json()["totals"]["bytes"], json!(0), "{output:#?}");
    for tag in output.json()["tags"].as_array().expect("tags") {
        assert_eq!(tag["error"]["kind"], "local-io", "{tag:#}");
        let hint = tag["error"]["hint"].as_str().expect("a hint");
        assert!(hint.contains("oci-archive:- | split"), "{tag:#}");
    }
    assert!(names(directory.path()).is_empty());
    assert_eq!(
        source.count(|request| request.is("GET", &format!("/blobs/{}", large(1)))),
        0
    );
    run("9000").exits(0);
}

#[test]
fn a_place_that_cannot_be_written_is_found_out_first() {
    let source = source();
    let (directory, _) = place();
    let archive = Archive::at(&directory.path().join("none/bundle.tar"));
    let output = export(&source, &archive).run().exits(1);
    assert_eq!(output.json()["error"]["kind"], "local-io", "{output:#?}");
    assert!(
        output.stdout.contains("there is no directory"),
        "{output:#?}"
    );
    let output = barge()
        .args(["copy", &source.reference("x:1"), "oci-archive:/dev/full"])
        .run()
        .exits(1);
    assert!(output.stdout.contains("No space left"), "{output:#?}");
}

/// The others come, in the very bytes that they have without it.
#[test]
fn a_tag_whose_blob_is_lost_is_left_out() {
    for seed in [1, 2, 3] {
        let source = source();
        let (directory, archive) = place();
        let expected = Archive::at(&directory.path().join("expected.tar"));
        let others = format!("--exclude-tags={seed}");
        let options = ["--all-tags", &others];
        copy(&options, &source.reference("x"), &expected.reference("")).exits(0);

        let lost = large(seed);
        source.on(move |request| request.is("GET", &lost).then_some(Fault::status(404)));
        let output = export(&source, &archive).run().exits(3);
        let tag = output.tag(&seed.to_string());
        assert_eq!(
            (&tag["status"], &tag["error"]["kind"]),
            (&json!("failed"), &json!("not-found"))
        );
        assert_eq!(output.json()["totals"]["copied"], json!(2));
        assert!(archive.bytes() == expected.bytes(), "without {seed}");
        let both = ["bundle.tar", "expected.tar"].map(str::to_owned);
        assert_eq!(names(directory.path()), both.into());
    }
}

/// What it shared with others may come in another order without it.
#[test]
fn a_blob_that_comes_later_without_a_lost_tag_keeps_its_bytes() {
    let image = |seed: u64, size: usize| {
        ImageSpec::new("linux", "arm64")
            .seed(seed)
            .layer(Layer::random(seed, size))
            .layer(Layer::random(9, 60_000))
            .build()
    };
    let (first, second) = (image(1, 80_000), image(2, 200_000));
    let source = FakeRegistry::start();
    first.push_to(&source, "x:1");
    second.push_to(&source, "x:2");
    let lost = first.layers[0].digest();
    source.on(move |request| request.is("GET", &lost).then_some(Fault::status(404)));
    let (_directory, archive) = place();
    export(&source, &archive).run().exits(3);
    let files = archive.files();
    for layer in &second.layers {
        assert!(files[&blob_name(&layer.digest())] == layer.bytes);
    }
}

/// What a failed tag would have taken the place of is there as before, bytes and all.
#[test]
fn a_tag_that_fails_leaves_what_it_had_in_an_archive() {
    let source = source();
    let (_directory, archive) = place();
    copy(&[], &source.reference("x:3"), &archive.reference("1")).exits(0);
    let lost = large(1);
    source.on(move |request| request.is("GET", &lost).then_some(Fault::status(404)));
    let output = export(&source, &archive).run().exits(3);
    assert_eq!(output.tag("2")["status"], "copied");
    assert_eq!(archive.manifest("1"), Some(single(3).manifest.clone()));
    assert_eq!(archive.manifest("2"), Some(single(2).manifest.clone()));
    let files = archive.files();
    for layer in single(3).layers.iter().chain(&single(2).layers) {
        assert_eq!(files[&blob_name(&layer.digest())], layer.bytes);
    }
    let again = Archive::at(archive.path());
    assert_eq!(again.references(), ["1", "2", "3"]);
}

#[test]
fn damaged_bytes_are_fetched_once_more_and_never_kept() {
    let source = source();
    let (_directory, archive) = place();
    let digest = large(2);
    let is_it = move |request: &crate::support::wire::Request| request.is("GET", &digest);
    source.on(times(1, is_it.clone(), Fault::FlipBit));
    export(&source, &archive).run().exits(0);
    assert_eq!(
        archive.files()[&blob_name(&large(2))],
        single(2).layers[2].bytes
    );

    let (directory, archive) = place();
    source.on(move |request| is_it(request).then_some(Fault::FlipBit));
    let output = export(&source, &archive).run().exits(3);
    assert_eq!(output.tag("2")["error"]["kind"], "digest-mismatch");
    assert_eq!(archive.references(), ["1", "3"]);
    assert!(!archive.files().contains_key(&blob_name(&large(2))));
    assert_eq!(names(directory.path()).len(), 1);
}

#[test]
fn under_rollback_all_tags_come_into_it_or_none() {
    let source = source();
    let (directory, archive) = place();
    copy(&[], &source.reference("x:1"), &archive.reference("0")).exits(0);
    let before = archive.bytes();
    let all = || {
        let run = export(&source, &archive).args(["--policy", "rollback"]);
        run.args(["--retry-times", "0"]).run()
    };
    let manifest = format!("/manifests/{}", 2);
    for broken in [large(2), manifest] {
        source.on(move |request| {
            let hit = request.is("GET", &broken);
            hit.then(|| Fault::status(404))
        });
        let report = all().exits(4).json();
        assert_eq!(report["outcome"], "rolled-back");
        let of = |tag: usize| report["tags"][tag]["status"].clone();
        assert_eq!(
            [of(0), of(1), of(2)],
            ["rolled-back", "failed", "rolled-back"]
        );
        assert_eq!(report["totals"]["bytes"], json!(0), "nothing is kept");
        assert_eq!(archive.bytes(), before);
        assert_eq!(names(directory.path()).len(), 1);
        source.behave();
    }
    let other = FakeRegistry::start();
    single(2).push_to(&other, "y:2");
    single(3).push_to(&other, "y:0");
    let theirs = ["--all-tags", "--policy", "rollback"];
    let output = copy(&theirs, &other.reference("y"), &archive.reference("")).exits(4);
    assert_eq!(output.tag("0")["error"]["kind"], "conflict");
    let undone = output.tag("2");
    assert_eq!(undone["status"], "rolled-back");
    let counts = (&undone["bytes"], &undone["blobs"]["copied"]);
    assert_eq!(counts, (&json!(0), &json!(0)), "{undone:#}");
    let report = all().exits(0).json();
    assert_eq!(report["outcome"], "success");
    assert_ne!(archive.bytes(), before);
}
