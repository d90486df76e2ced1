//! Bytes that are not what their digest says: never stored, never tagged, and named.

use serde_json::Value;
use tempfile::tempdir;

use super::{copy, index, single, source};
use crate::support::content::{Manifest, flip_bit, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Bundle, Image, ImageSpec, Layout, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

fn message(error: &Value) -> &str {
    error["message"].as_str().expect("a message")
}

/// A docker-registry with the index whose arm64 layer is damaged, and that layer's digest.
fn damaged() -> (DockerRegistry, MultiArch, String) {
    let source = DockerRegistry::start();
    let index = index();
    index.push_to(&source, "x:1");
    let layer = index.image("arm64").layers[1].digest();
    source.corrupt_blob(&layer);
    (source, index, layer)
}

#[test]
fn a_damaged_blob_is_never_committed_to_a_registry() {
    let (source, index, layer) = damaged();
    let destination = DockerRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let error = run.run().exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "digest-mismatch", "{error:#}");
    let came = sha256(&flip_bit(&index.image("arm64").layers[1].bytes));
    for named in [source.host(), "/x", layer.as_str(), came.as_str()] {
        assert!(message(&error).contains(named), "{named}: {error:#}");
    }
    let client = destination.client();
    assert!(!client.has_blob("y", &layer));
    assert!(!client.has_blob("y", &came));
    assert_eq!(client.tags("y"), Vec::<String>::new());
    assert_eq!(client.manifest("y", &index.digest()), None);
}

#[test]
fn a_damaged_blob_never_gets_its_name_in_a_layout() {
    let (source, index, layer) = damaged();
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(directory.path());
    let output = copy(&source.reference("x:1"), &layout.reference("1")).run();
    let error = output.exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "digest-mismatch", "{error:#}");
    assert!(!layout.has_blob(&layer));
    assert!(!layout.has_blob(&index.digest()));
    assert!(!directory.path().join("index.json").exists());
    let blobs = std::fs::read_dir(directory.path().join("blobs/sha256")).expect("blobs");
    let names = blobs.flatten().map(|entry| entry.file_name());
    assert!(names.into_iter().all(|name| name.len() == 64));
}

#[test]
fn a_platform_that_is_not_damaged_is_copied() {
    let (source, index, _) = damaged();
    let destination = DockerRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.args(["--arch", "amd64"]).run().exits(0);
    let amd64 = index.image("amd64").digest();
    assert!(destination.client().manifest("y", &amd64).is_some());
}

#[test]
fn a_blob_that_was_damaged_on_the_way_is_fetched_again() {
    let source = source(&single());
    source.fail(1, Request::reads_blob, Fault::FlipBit);
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(single().manifest)
    );
    assert_eq!(source.count(Request::reads_blob), 3);
}

#[test]
fn a_manifest_that_was_damaged_on_the_way_is_fetched_again() {
    let index = index();
    let source = source(&index);
    source.fail(
        1,
        |request| request.is("GET", "/manifests/1"),
        Fault::FlipBit,
    );
    let child = format!("/manifests/{}", index.image("arm64").digest());
    let is_child = move |request: &Request| request.is("GET", &child);
    source.fail(1, is_child, Fault::FlipBit);
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(index.root));
    assert_eq!(source.count(|request| request.is("GET", "/manifests/1")), 2);
}

#[test]
fn a_damaged_manifest_is_not_copied() {
    let index = index();
    let child = index.image("arm64").digest();
    for part in [format!("/manifests/{child}"), "/manifests/1".to_owned()] {
        let source = source(&index);
        let broken = part.clone();
        source.on(move |request| request.is("GET", &broken).then_some(Fault::FlipBit));
        let destination = FakeRegistry::start();
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let error = run.run().exits(1).tag("1")["error"].clone();
        assert_eq!(error["kind"], "digest-mismatch", "{part}: {error:#}");
        assert!(message(&error).contains(&source.host()), "{error:#}");
        assert_eq!(destination.store.tags("y"), Vec::<String>::new());
    }
}

#[test]
fn a_manifest_damaged_in_storage_is_not_copied() {
    let source = DockerRegistry::start();
    let index = index();
    index.push_to(&source, "x:1");
    source.corrupt_blob(&index.image("arm64").digest());
    let destination = DockerRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let error = run.args(["--retry-times", "1"]).run().exits(1).tag("1")["error"].clone();
    assert!(message(&error).contains(source.host()), "{error:#}");
    assert_eq!(destination.client().tags("y"), Vec::<String>::new());
}

/// The image with its layer's size in the manifest off by `change`.
fn with_wrong_size(image: &Image, change: i64) -> Bundle {
    let mut bundle = Bundle::from(image);
    let mut json = bundle.root.json();
    let size = json["layers"][0]["size"].as_i64().expect("a size");
    json["layers"][0]["size"] = (size + change).into();
    bundle.root = Manifest::new(bundle.root.media_type.clone(), json.to_string());
    bundle
}

#[test]
fn a_blob_of_another_length_than_its_descriptor_says_is_not_stored() {
    let image = single();
    for change in [-10, 10] {
        let source = source(with_wrong_size(&image, change));
        let destination = FakeRegistry::start();
        let directory = tempdir().expect("a temporary directory");
        let layout = Layout::at(directory.path());
        for target in [destination.reference("y:1"), layout.reference("1")] {
            let output = copy(&source.reference("x:1"), &target).run().exits(1);
            let error = output.tag("1")["error"].clone();
            assert_eq!(error["kind"], "digest-mismatch", "{change}: {error:#}");
            let layer = image.layers[0].digest();
            assert!(message(&error).contains(&layer), "{error:#}");
        }
        assert_eq!(destination.store.tags("y"), Vec::<String>::new());
        assert!(!destination.store.has_blob("y", &image.layers[0].digest()));
        assert!(!layout.has_blob(&image.layers[0].digest()));
    }
}

#[test]
fn a_manifest_of_more_than_4_mib_is_refused() {
    let image = ImageSpec::new("linux", "arm64")
        .field(
            "annotations",
            serde_json::json!({"big": "x".repeat(4 << 20)}),
        )
        .build();
    let source = source(&image);
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(1);
    let error = output.tag("1")["error"].clone();
    assert_eq!(error["kind"], "invalid-manifest", "{error:#}");
    assert!(message(&error).len() < 400, "{error:#}");
    assert_eq!(output.json()["totals"]["retries"], 0);
    assert_eq!(destination.store.repositories(), Vec::<String>::new());
}

#[test]
fn what_is_no_manifest_is_called_invalid() {
    let broken = Manifest::new(crate::support::content::OCI_INDEX, "{\"manifests\": 5");
    let source = FakeRegistry::start();
    source.store.put_manifest("x", "1", broken);
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let error = run.run().exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "invalid-manifest", "{error:#}");
    assert_eq!(destination.store.repositories(), Vec::<String>::new());
}
