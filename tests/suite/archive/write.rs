//! Writing: what arrives is what was there, the same bytes every time, and no file besides.

use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;

use super::{names, place, single, standard, tagged};
use crate::support::barge::{barge, copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::Layout;
use crate::support::image::archive::{Archive, blob_name};
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::{Fault, Request};

#[test]
fn through_an_archive_and_back_nothing_changes() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "x/y:1");
    let (_directory, archive) = place();
    let tag = copy(&[], &source.reference("x/y:1"), &archive.reference(""))
        .exits(0)
        .tag("1");
    assert_eq!(tag["digest"], image.digest());
    assert_eq!(tag["blobs"]["copied"], json!(13), "{tag:#}");
    assert_eq!(archive.manifest("1"), Some(image.root.clone()));
    let entry = &archive.entries()[0];
    let name = format!("{}/x/y:1", source.host());
    assert_eq!(entry["annotations"]["io.containerd.image.name"], name);
    let names = archive.names();
    assert_eq!(names[2..4], ["oci-layout", "index.json"]);

    copy(&[], &archive.reference("1"), &destination.reference("y")).exits(0);
    let client = destination.client();
    assert_eq!(client.manifest("y", "1"), Some(image.root.clone()));
    for platform in ["amd64", "arm64", "arm/v7"] {
        for layer in &image.image(platform).layers {
            let blob = client.blob("y", &layer.digest());
            assert_eq!(blob.as_deref(), Some(&layer.bytes[..]));
        }
    }
}

#[test]
fn skopeo_reads_our_archives() {
    let source = FakeRegistry::start();
    let image = standard();
    image.push_to(&source, "x:1");
    single(1).push_to(&source, "x:2");
    let (directory, archive) = place();
    let options = ["--all-tags"];
    copy(&options, &source.reference("x"), &archive.reference("")).exits(0);
    let raw = skopeo::inspect_raw(&archive.reference("1"));
    assert_eq!(raw, image.root.bytes);
    let layout = Layout::at(&directory.path().join("layout"));
    for tag in ["1", "2"] {
        skopeo::copy_all(&archive.reference(tag), &layout.reference(tag));
    }
    assert_eq!(layout.manifest("1"), Some(image.root.clone()));
    let layer = &single(1).layers[2];
    assert_eq!(
        layout.blob(&layer.digest()).as_deref(),
        Some(&layer.bytes[..])
    );
}

#[test]
fn each_blob_of_many_tags_is_fetched_once_and_kept_once() {
    let source = tagged(0..30);
    let (_directory, archive) = place();
    let report = copy(
        &["--all-tags"],
        &source.reference("x"),
        &archive.reference(""),
    )
    .exits(0)
    .json();
    assert_eq!(report["totals"]["copied"], json!(30));
    let shared = single(0).layers[0].digest();
    for digest in [&shared, &single(7).layers[2].digest()] {
        assert_eq!(source.count(|request| request.is("GET", digest)), 1);
        let name = blob_name(digest);
        assert_eq!(
            archive
                .names()
                .iter()
                .filter(|known| **known == name)
                .count(),
            1
        );
    }
    assert_eq!(archive.references().len(), 30);
    let bytes = |tag| &report["tags"][tag]["bytes"];
    let expected = |tag: usize| {
        let image = single(
            report["tags"][tag]["tag"]
                .as_str()
                .expect("a tag")
                .parse()
                .expect("a number"),
        );
        let layers: usize = image.layers.iter().map(|layer| layer.bytes.len()).sum();
        let shared = if tag == 0 {
            0
        } else {
            image.layers[0].bytes.len()
        };
        layers + image.config.len() - shared
    };
    assert!(
        [0, 1, 29].iter().all(|tag| *bytes(*tag) == expected(*tag)),
        "{report:#}"
    );
}

/// Whatever comes first, the order of the archive is that of the tags and their manifests.
#[test]
fn the_same_input_makes_the_same_bytes() {
    let source = tagged(0..6);
    standard().push_to(&source, "x:index");
    let (directory, archive) = place();
    let export = |archive: &Archive, jobs| {
        let options = ["--all-tags", "-j", jobs];
        copy(&options, &source.reference("x"), &archive.reference("")).exits(0);
        archive.bytes()
    };
    let expected = export(&archive, "1");
    let late = [single(0).layers[2].digest(), single(3).config_digest()];
    source.on(move |request| {
        let is_late = late.iter().any(|digest| request.is("GET", digest));
        is_late.then_some(Fault::Delay(Duration::from_millis(300)))
    });
    let again = Archive::at(&directory.path().join("again.tar"));
    assert!(
        export(&again, "16") == expected,
        "another order, other bytes"
    );

    let stream = directory.path().join("stream.tar");
    let output = barge()
        .args([
            "copy",
            "--all-tags",
            &source.reference("x"),
            "oci-archive:-",
        ])
        .after(&format!("exec > {}", stream.display()))
        .run()
        .exits(0);
    assert!(std::fs::read(stream).expect("it is there") == expected);
    assert!(output.stderr.contains("7 tags: 7 copied"), "{output:#?}");
}

#[test]
fn no_file_is_made_but_the_archive() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let large = single(1).layers[2].digest();
    source.on({
        let large = large.clone();
        move |request| {
            request
                .is("GET", &large)
                .then_some(Fault::StallBody(500_000))
        }
    });
    let (directory, archive) = place();
    let temporary = tempdir().expect("a temporary directory");
    let running = barge()
        .args(["copy", &source.reference("x:1"), &archive.reference("")])
        .env("TMPDIR", temporary.path())
        .spawn();
    source.wait_for(1, |request| {
        request.is("GET", &large) && request.answer_len == 500_000
    });
    for directory in [directory.path(), temporary.path(), running.home()] {
        assert!(names(directory).is_empty(), "{:?}", names(directory));
    }
    source.release();
    running.wait().exits(0);
    assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());
    assert!(names(temporary.path()).is_empty());
}

#[test]
fn platforms_are_picked_and_a_single_image_by_digest_has_no_name() {
    let source = FakeRegistry::start();
    let image = standard();
    image.push_to(&source, "x:1");
    let (_directory, archive) = place();
    let options = ["--arch", "arm64"];
    let tag = copy(&options, &source.reference("x:1"), &archive.reference(""))
        .exits(0)
        .tag("1");
    assert_eq!(tag["platforms"], json!(["linux/arm64/v8"]));
    let files = archive.files();
    let has = |platform| files.contains_key(&blob_name(&image.image(platform).config_digest()));
    assert_eq!((has("arm64"), has("amd64")), (true, false));

    let (_directory, archive) = place();
    let digest = image.digest();
    let by_digest = source.reference(&format!("x@{digest}"));
    copy(&[], &by_digest, &archive.reference("")).exits(0);
    assert_eq!(archive.entries()[0]["digest"], digest);
    assert!(archive.references().is_empty());
    run(&["inspect", &archive.reference("")]).exits(0);
}

#[test]
fn a_dry_run_writes_nothing() {
    let source = FakeRegistry::start();
    standard().push_to(&source, "x:1");
    let (directory, archive) = place();
    let options = ["--dry-run"];
    let tag = copy(&options, &source.reference("x:1"), &archive.reference(""))
        .exits(0)
        .tag("1");
    assert_eq!(
        (&tag["status"], &tag["blobs"]["copied"]),
        (&json!("would-copy"), &json!(13))
    );
    assert!(names(directory.path()).is_empty());
    assert_eq!(source.count(Request::reads_blob), 0);
}
