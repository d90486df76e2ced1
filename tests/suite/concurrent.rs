//! Several runs into one place at once: nothing is lost, and a registry that stumbles is asked again.

use std::fs::File;

use serde_json::json;
use tempfile::tempdir;

use crate::support::barge::{Output, Running, barge, copy};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::Archive;
use crate::support::image::{Image, ImageSpec, Layer, Layout};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault};

/// An image of a layer that all have and one of its own.
fn single(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(6, 20_000))
        .layers(1, 2000)
        .build()
}

/// Twelve runs at once, each of its own tag of `x` to the same place.
fn twelve(source: &FakeRegistry, destination: &str) {
    let run = |number: u64| {
        let from = source.reference(&format!("x:{number}"));
        barge()
            .args(["copy", "-o", "json", &from, destination])
            .spawn()
    };
    let running: Vec<Running> = (0..12).map(run).collect();
    for (number, running) in running.into_iter().enumerate() {
        let output: Output = running.wait().exits(0);
        assert_eq!(output.tag(&number.to_string())["status"], "copied");
    }
}

fn twelve_tags() -> FakeRegistry {
    let source = FakeRegistry::start();
    for number in 0..12 {
        single(number).push_to(&source, &format!("x:{number}"));
    }
    source
}

#[test]
fn twelve_runs_into_one_layout_lose_nothing() {
    let source = twelve_tags();
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(&directory.path().join("layout"));
    twelve(&source, &layout.reference(""));
    assert_eq!(layout.references().len(), 12);
    for number in 0..12 {
        let image = single(number);
        assert_eq!(
            layout.manifest(&number.to_string()),
            Some(image.manifest.clone())
        );
        for layer in &image.layers {
            assert_eq!(
                layout.blob(&layer.digest()).as_deref(),
                Some(&layer.bytes[..])
            );
        }
        assert!(layout.has_blob(&image.config_digest()));
    }
    layout.assert_tidy();
}

/// A run that another one has overtaken says so, and the same command again succeeds.
#[test]
fn runs_into_one_archive_lose_no_tag_that_they_reported() {
    let source = twelve_tags();
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("bundle.tar"));
    let run = |number: &u64| {
        let from = source.reference(&format!("x:{number}"));
        let run = barge().args(["copy", "-o", "json", &from, &archive.reference("")]);
        (*number, run.spawn())
    };
    let mut left: Vec<u64> = (0..12).collect();
    let mut there = Vec::new();
    while !left.is_empty() {
        let running: Vec<_> = left.iter().map(run).collect();
        for (number, running) in running {
            let output = running.wait();
            if output.code == Some(0) {
                there.push(number.to_string());
                left.retain(|left| *left != number);
            } else {
                let error = &output.tag(&number.to_string())["error"];
                assert_eq!(error["kind"], "conflict", "{output:#?}");
            }
        }
        let held = archive.references();
        let lost: Vec<_> = there.iter().filter(|tag| !held.contains(tag)).collect();
        assert!(lost.is_empty(), "{lost:?} were reported, there is {held:?}");
    }
}

/// It would replace what another run is about to add.
#[test]
fn an_archive_is_not_replaced_while_another_run_replaces_it() {
    let source = twelve_tags();
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("bundle.tar"));
    let add = |tag: &str| copy(&[], &source.reference(tag), &archive.reference(""));
    add("x:1").exits(0);
    let other = File::open(archive.path()).expect("an archive");
    other.lock().expect("a lock");
    let before = archive.bytes();
    let output = add("x:2").exits(1);
    assert_eq!(output.tag("2")["error"]["kind"], "conflict", "{output:#?}");
    assert!(archive.bytes() == before);
    drop(other);
    add("x:2").exits(0);
    let names = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!(names.count(), 1, "no file is left beside it");
}

#[test]
fn twelve_runs_into_one_repository_lose_nothing() {
    let (source, destination) = (twelve_tags(), DockerRegistry::start());
    twelve(&source, &destination.reference("y"));
    let client = destination.client();
    assert_eq!(client.tags("y").len(), 12);
    for number in 0..12 {
        let image = single(number);
        assert_eq!(
            client.manifest("y", &number.to_string()),
            Some(image.manifest.clone())
        );
        for layer in &image.layers {
            assert_eq!(
                client.blob("y", &layer.digest()).as_deref(),
                Some(&layer.bytes[..])
            );
        }
    }
}

#[test]
fn a_link_that_is_being_written_is_asked_for_again() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    single(1).push_to(&source, "x:1");
    // What distribution says while somebody else pushes the same layer: it reads a link that is empty.
    let layer = single(1).layers[0].digest();
    let stumble = Answer::errors(
        400,
        &[
            json!({"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"}),
            json!({"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": layer}),
        ],
    );
    let fault = Fault::Status(stumble);
    destination.fail(2, |request| request.is("PUT", "/manifests/1"), fault);
    let output = copy(&[], &source.reference("x:1"), &destination.reference("y")).exits(0);
    assert_eq!(output.json()["totals"]["retries"], 2);
    assert_eq!(destination.store.tag("y", "1"), Some(single(1).digest()));
}

#[test]
fn a_config_that_tags_share_is_asked_for_once() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    single(1).push_to(&destination, "y:0");
    for tag in 1..=8 {
        single(1).push_to(&source, &format!("x:{tag}"));
    }
    let (from, to) = (source.reference("x"), destination.reference("y"));
    let output = copy(&["--all-tags"], &from, &to).exits(0);
    assert_eq!(output.json()["totals"]["copied"], 8);
    // A look during a mount of the same blob is what distribution answers 500 to: it reads a link that
    // is empty.
    let config = single(1).config_digest();
    let asked = destination.count(|request| {
        request.path.ends_with(&config) || request.parameter("mount").as_ref() == Some(&config)
    });
    assert_eq!(asked, 1);
}
