//! Layers that must not be distributed: a registry that refuses them, and copying them all the same.

use serde_json::json;
use tempfile::tempdir;

use crate::support::barge::{copy, run};
use crate::support::content::DOCKER_FOREIGN_LAYER;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Format, Image, ImageSpec, Layer, Layout};
use crate::support::registry::FakeRegistry;

fn foreign() -> Layer {
    Layer::random(5, 900).foreign(DOCKER_FOREIGN_LAYER, "https://example.com/layer")
}

fn image() -> Image {
    let spec = ImageSpec::new("windows", "amd64").format(Format::Docker);
    spec.layer(foreign()).layer(Layer::random(6, 700)).build()
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

/// Debian's registry answers 500 to the manifest.
#[test]
fn a_registry_that_refuses_them_is_named_with_its_setting() {
    let (source, destination) = (source(), DockerRegistry::start());
    let output = copy(&[], &source.reference("x:1"), &destination.reference("y:1")).exits(1);
    let report = output.json();
    assert_eq!(report["totals"]["retries"], 1, "500 may pass");
    let error = &report["tags"][0]["error"];
    assert_eq!(error["kind"], "unsupported", "{error:#}");
    assert!(
        error["message"].to_string().contains(&foreign().digest()),
        "{error:#}"
    );
    for words in ["validation.manifests.urls.allow", "--arch linux/amd64"] {
        assert!(error["hint"].to_string().contains(words), "{error:#}");
    }
}

#[test]
fn they_are_copied_like_any_other_on_request() {
    let source = source();
    source.store.put_blob("x", foreign().bytes);
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let (from, to) = (source.reference("x:1"), layout.reference("1"));
    let plain = copy(&[], &from, &to).exits(0).tag("1");
    assert_eq!(plain["blobs"]["nondistributable"], 1);
    assert!(!layout.has_blob(&foreign().digest()));
    let options = ["--include-foreign-layers", "--recheck", "blobs"];
    let tag = copy(&options, &from, &to).exits(0).tag("1");
    assert_eq!(tag["blobs"]["copied"], 1, "{tag:#}");
    assert_eq!(tag["blobs"]["nondistributable"], json!(null), "{tag:#}");
    assert_eq!(
        layout.blob(&foreign().digest()).as_deref(),
        Some(&foreign().bytes[..])
    );
    assert_eq!(layout.manifest("1"), Some(image().manifest));
    let registry = FakeRegistry::start();
    copy(&options[..1], &to, &registry.reference("y:1")).exits(0);
    assert!(registry.store.has_blob("y", &foreign().digest()));
    for transport in ["oci-archive", "docker-archive"] {
        let to = format!("{transport}:{}", directory.path().join(transport).display());
        let tag = copy(&options[..1], &from, &to).exits(0).tag("1");
        assert_eq!(tag["blobs"]["copied"], 3, "{transport}: {tag:#}");
    }
}

#[test]
fn those_that_the_source_has_not_stay_behind() {
    let (source, destination) = (source(), FakeRegistry::start());
    let options = ["--include-foreign-layers"];
    let output = copy(
        &options,
        &source.reference("x:1"),
        &destination.reference("y:1"),
    );
    assert_eq!(output.exits(0).tag("1")["blobs"]["nondistributable"], 1);
}

#[test]
fn verify_says_that_they_are_not_looked_for() {
    let source = source();
    let reference = source.reference("x:1");
    let report = run(&["verify", "-o", "json", &reference]).exits(0).json();
    assert_eq!(report["tags"][0]["nondistributable"], 1, "{report:#}");
    let text = run(&["verify", &reference]).exits(0).stdout;
    assert!(
        text.contains("1 nondistributable layer not looked for"),
        "{text}"
    );
}
