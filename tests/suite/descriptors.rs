//! Descriptors that state a wrong size or type: each is judged by itself, so that the tag of a wrong one fails and
//! the tags beside it do not.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tar::EntryType;
use tempfile::tempdir;

use crate::support::barge::{Output, barge, copy, run};
use crate::support::content::{Manifest, OCI_INDEX, OCI_LAYER, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::{Archive, blob_name, member, pack};
use crate::support::image::{
    Attestations, Bundle, Image, ImageSpec, Layer, Layout, MultiArch, push, write_layout,
};
use crate::support::registry::FakeRegistry;

/// Tags around the wrong one, so that it is neither first nor last.
const TAGS: [&str; 4] = ["a", "b", "bad", "c"];

/// Images that share a layer.
fn image(tag: &str) -> Image {
    let seed = u64::from(tag.as_bytes()[tag.len() - 1]);
    ImageSpec::new("linux", "amd64")
        .seed(seed)
        .layer(Layer::random(7, 20_000))
        .layers(1, 2000)
        .build()
}

/// The image with its manifest changed.
fn changed(image: &Image, change: impl FnOnce(&mut Value)) -> Bundle {
    let mut bundle = Bundle::from(image);
    let mut json = bundle.root.json();
    change(&mut json);
    bundle.root = Manifest::new(bundle.root.media_type.clone(), json.to_string());
    bundle
}

fn resize(part: &mut Value, change: i64) {
    let size = part["size"].as_i64().expect("a size");
    part["size"] = (size + change).into();
}

/// The tags; in that of `bad` the size of the shared layer is off by `change`.
fn bundles(change: i64) -> Vec<(&'static str, Bundle)> {
    let bundle = |tag| match tag {
        "bad" => changed(&image(tag), |json| resize(&mut json["layers"][0], change)),
        _ => Bundle::from(&image(tag)),
    };
    TAGS.map(|tag| (tag, bundle(tag))).into()
}

fn source(change: i64) -> FakeRegistry {
    let source = FakeRegistry::start();
    for (tag, bundle) in bundles(change) {
        push(bundle, &source, &format!("x:{tag}"));
    }
    source
}

#[track_caller]
fn assert_only_the_wrong_one_failed(output: &Output) {
    for tag in TAGS {
        let told = output.tag(tag);
        if tag == "bad" {
            assert_eq!(told["error"]["kind"], "digest-mismatch", "{told:#}");
        } else {
            assert_eq!(told["status"], "copied", "{tag}: {told:#}");
        }
    }
}

#[track_caller]
fn assert_complete(place: &str) {
    let output = run(&["verify", "-o", "json", "--all-tags", place]).exits(0);
    let tags = output.json()["tags"].as_array().map(Vec::len);
    assert_eq!(tags, Some(3), "{output:#?}");
}

#[test]
fn a_wrong_size_fails_its_own_tag_into_every_destination() {
    for change in [-1, 1, 1 << 50] {
        let source = source(change);
        let (from, directory) = (source.reference("x"), tempdir().expect("a directory"));
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (docker, fake) = (DockerRegistry::start(), FakeRegistry::start());
        let destinations = [
            fake.reference("y"),
            docker.reference("y"),
            format!("oci:{}", path("layout")),
            format!("oci-archive:{}", path("oci.tar")),
            format!("docker-archive:{}", path("docker.tar")),
        ];
        for to in destinations {
            let output = copy(&["--all-tags", "--recheck", "blobs"], &from, &to).exits(3);
            assert_only_the_wrong_one_failed(&output);
            assert_complete(&to);
        }
    }
}

#[test]
fn a_wrong_size_fails_its_own_tag_from_every_source() {
    for change in [-1, 1] {
        let directory = tempdir().expect("a directory");
        let path = directory.path();
        let layout = write_layout(&path.join("layout"), &bundles(change));
        let archive = pack(&path.join("layout"), &path.join("packed.tar"));
        for (number, from) in [layout.reference(""), archive.reference("")]
            .iter()
            .enumerate()
        {
            let destination = FakeRegistry::start();
            let copied = Archive::at(&path.join(format!("{number}.tar")));
            for to in [destination.reference("y"), copied.reference("")] {
                let output = copy(&["--all-tags"], from, &to).exits(3);
                assert_only_the_wrong_one_failed(&output);
                assert_complete(&to);
            }
        }
    }
}

/// The layout as a tar file in which everything stands in the order in which barge writes it.
fn in_order(layout: &Layout, bundles: &[(&str, Bundle)]) -> Vec<u8> {
    let index = layout.index().to_string();
    let mut bytes = member(
        EntryType::Regular,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    bytes.extend(member(EntryType::Regular, "index.json", index.as_bytes()));
    let roots = bundles.iter().map(|(_, bundle)| &bundle.root.bytes);
    let blobs = bundles.iter().flat_map(|(_, bundle)| &bundle.blobs);
    let mut seen = BTreeSet::new();
    for content in roots.chain(blobs) {
        let name = blob_name(&sha256(content));
        if seen.insert(name.clone()) {
            bytes.extend(member(EntryType::Regular, &name, content));
        }
    }
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn a_wrong_size_fails_its_own_tag_of_an_archive_that_comes_through_a_pipe() {
    for change in [-1, 1] {
        let directory = tempdir().expect("a directory");
        let path = directory.path();
        let layout = write_layout(&path.join("layout"), &bundles(change));
        std::fs::write(path.join("x.tar"), in_order(&layout, &bundles(change))).expect("written");
        let destination = FakeRegistry::start();
        let to = destination.reference("y");
        let pipe = format!(
            "cd {} && mkfifo pipe && (cat x.tar > pipe &) && exec < pipe",
            path.display()
        );
        let command = barge().args(["copy", "-o", "json", "--all-tags", "oci-archive:-", &to]);
        let output = command.after(&pipe).run().exits(3);
        assert_only_the_wrong_one_failed(&output);
        assert_complete(&to);
    }
}

#[test]
fn a_wrong_size_fails_when_the_blob_is_there_already() {
    for change in [-1, 1] {
        let source = source(change);
        let bad = source.reference("x:bad");
        // In the repository itself, and in another one of the same registry.
        let destination = FakeRegistry::start();
        image("a").push_to(&destination, "y:a");
        image("b").push_to(&destination, "y:b");
        let docker = DockerRegistry::start();
        image("bad").push_to(&docker, "y:good");
        let directory = tempdir().expect("a directory");
        let layout = write_layout(directory.path(), &[("a", Bundle::from(&image("a")))]);
        let archive = Archive::at(&directory.path().join("x.tar"));
        copy(&[], &source.reference("x:a"), &archive.reference("a")).exits(0);
        let destinations = [
            destination.reference("y:bad"),
            docker.reference("y:bad"),
            layout.reference("bad"),
            archive.reference("bad"),
        ];
        for to in destinations {
            let told = copy(&[], &bad, &to).exits(1).tag("bad");
            assert_eq!(told["error"]["kind"], "digest-mismatch", "{to}: {told:#}");
        }
        let told = copy(&[], &bad, &source.reference("z:bad"))
            .exits(1)
            .tag("bad");
        assert_eq!(
            told["error"]["kind"], "digest-mismatch",
            "mounted: {told:#}"
        );
        assert_eq!(source.store.tags("z"), Vec::<String>::new());
    }
}

#[test]
fn a_blob_that_a_mount_found_costs_one_look_at_its_size() {
    let (source, destination) = (source(0), FakeRegistry::start());
    let (from, to) = (source.reference("x"), destination.reference("y"));
    let shared = image("a").layers[0].digest();
    let heads =
        |blob: &str| destination.count(|request| request.is("HEAD", &format!("/blobs/{blob}")));
    copy(&["--tag-glob", "a"], &from, &to).exits(0);
    destination.clear_log();
    // What was there before is asked for once a run, and what is sent is not, but for the one that finds out first
    // what a mount tells.
    copy(&["--tag-glob", "b,c"], &from, &to).exits(0);
    assert_eq!(heads(&shared), 1);
    let sent = ["b", "c"].map(|tag| image(tag).layers[1].digest());
    assert!(sent.iter().map(|blob| heads(blob)).sum::<usize>() <= 1);
}

#[test]
fn a_size_stated_twice_in_one_manifest_is_judged_twice() {
    let bundle = changed(&image("a"), |json| {
        let mut wrong = json["layers"][0].clone();
        resize(&mut wrong, 1);
        json["layers"].as_array_mut().expect("layers").push(wrong);
    });
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    push(bundle, &source, "x:a");
    let directory = tempdir().expect("a directory");
    let path = directory.path().display();
    let places = [
        destination.reference("y"),
        format!("oci:{path}/layout"),
        format!("oci-archive:{path}/x.tar"),
    ];
    for to in places {
        let told = copy(&["--all-tags"], &source.reference("x"), &to)
            .exits(1)
            .tag("a");
        assert_eq!(told["error"]["kind"], "digest-mismatch", "{told:#}");
    }
    let output = run(&["verify", "-o", "json", &source.reference("x:a")]).exits(1);
    assert_eq!(output.tag("a")["status"], "incomplete");
}

#[test]
fn a_wrong_descriptor_of_a_config_decides_for_no_other_tag() {
    let platform = |json: &mut Value| json["config"]["mediaType"] = OCI_LAYER.into();
    let size = |json: &mut Value| resize(&mut json["config"], 3);
    for (change, fails) in [(&platform as &dyn Fn(&mut Value), false), (&size, true)] {
        let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
        for tag in ["1", "2", "3", "4"] {
            image("a").push_to(&source, &format!("x:{tag}"));
        }
        push(changed(&image("a"), change), &source, "x:0");
        let options = ["--all-tags", "-j", "1"];
        let output = copy(
            &options,
            &source.reference("x"),
            &destination.reference("y"),
        );
        let verified = run(&["verify", "-o", "json", "--all-tags", &source.reference("x")]);
        for tag in ["1", "2", "3", "4"] {
            for told in [output.tag(tag), verified.tag(tag)] {
                assert_eq!(told["platforms"], json!(["linux/amd64"]), "{told:#}");
            }
            assert_eq!(verified.tag(tag)["status"], "complete");
        }
        let failed = output.tag("0")["status"] == "failed";
        assert_eq!(failed, fails, "{output:#?}");
    }
}

#[test]
fn a_wrong_entry_of_one_index_fails_its_own_tag() {
    let index = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 3);
    let size = |json: &mut Value| resize(&mut json["manifests"][0], 1);
    let kind = |json: &mut Value| json["manifests"][0]["mediaType"] = OCI_INDEX.into();
    for change in [&size as &dyn Fn(&mut Value), &kind] {
        let source = FakeRegistry::start();
        for tag in ["a", "b", "c"] {
            index.push_to(&source, &format!("x:{tag}"));
        }
        let mut bad = Bundle::from(&index);
        let mut json = bad.root.json();
        change(&mut json);
        bad.root = Manifest::new(bad.root.media_type.clone(), json.to_string());
        push(bad, &source, "x:bad");
        let (destination, directory) = (FakeRegistry::start(), tempdir().expect("a directory"));
        let layout = format!("oci:{}", directory.path().display());
        for to in [destination.reference("y"), layout] {
            let output = copy(&["--all-tags"], &source.reference("x"), &to).exits(3);
            assert_eq!(output.tag("bad")["status"], "failed", "{output:#?}");
            assert_complete(&to);
        }
    }
}

#[test]
fn verify_judges_every_descriptor_by_itself() {
    for change in [-1, 1] {
        let source = source(change);
        for options in [&[][..], &["--deep"]] {
            let arguments = [&["verify", "-o", "json", "--all-tags"], options].concat();
            let reference = source.reference("x");
            let output = run(&[&arguments[..], &[&reference]].concat()).exits(3);
            for tag in TAGS {
                let expected = if tag == "bad" {
                    "incomplete"
                } else {
                    "complete"
                };
                assert_eq!(output.tag(tag)["status"], expected, "{output:#?}");
            }
        }
    }
}
