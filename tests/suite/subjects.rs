//! Manifests of one tree that refer to each other, as BuildKit's attestations do since 0.32, at a registry that
//! refuses what refers to something that is not there yet.

use serde_json::{Value, json};

use crate::support::barge::{Output, copy};
use crate::support::content::Manifest;
use crate::support::image::{Entry, Form, Image, ImageSpec, IndexBuilder, Layer, MultiArch, push};
use crate::support::registry::{FakeRegistry, Referrers, Settings, Sparse, Subjects};
use crate::support::wire::{Answer, Fault, Request};

fn image(architecture: &str) -> Image {
    ImageSpec::new("linux", architecture)
        .layers(2, 2000)
        .build()
}

fn descriptor(manifest: &Manifest) -> Value {
    json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest(),
        "size": manifest.bytes.len(),
    })
}

/// An attestation of `subject`, which it names as that.
fn attestation(seed: u64, subject: &Manifest) -> Entry {
    let image = ImageSpec::new("unknown", "unknown")
        .layer(Layer::random(seed, 50))
        .field("subject", descriptor(subject))
        .build();
    Entry::image(&image)
        .annotation("vnd.docker.reference.type", "attestation-manifest")
        .annotation("vnd.docker.reference.digest", &subject.digest())
}

/// Two images, each behind its attestation; an index in it, and what refers to that.
fn index() -> MultiArch {
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let nested = IndexBuilder::new(Form::Oci).image(&image("s390x")).build();
    let about = attestation(3, &nested.root);
    IndexBuilder::new(Form::Oci)
        .entry(about)
        .entry(attestation(1, &amd64.manifest))
        .entry(attestation(2, &arm64.manifest))
        .image(&amd64)
        .image(&arm64)
        .index(&nested)
        .build()
}

fn strict() -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        subjects: Subjects::Needed,
        sparse: Sparse::On,
        referrers: Referrers::Served,
        ..Settings::default()
    })
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    push(&index(), &source, "x:1");
    source
}

fn copied(options: &[&str]) -> (FakeRegistry, Output) {
    let (source, destination) = (source(), strict());
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let output = copy(options, &from, &to);
    (destination, output)
}

#[test]
fn a_manifest_goes_behind_its_subject() {
    for options in [
        &[][..],
        &["--arch", "amd64,arm64"],
        &["--arch", "arm64", "--mode", "sparse-index"],
        &["--policy", "rollback"],
        &["--arch", "amd64", "--policy", "rollback"],
        &["--referrers"],
        &["--jobs", "1"],
    ] {
        let (destination, output) = copied(options);
        let tag = output.exits(0).tag("1");
        assert_eq!(tag["status"], "copied", "{options:?}");
        assert!(destination.store.tag("y", "1").is_some());
    }
}

#[test]
fn an_artifact_that_is_an_index_comes_with_what_refers_to_its_parts() {
    let (source, destination) = (FakeRegistry::start(), strict());
    source.configure(|settings| settings.referrers = Referrers::Served);
    let subject = image("amd64");
    subject.push_to(&source, "x:1");
    let part = image("arm64");
    let artifact = IndexBuilder::new(Form::Oci)
        .entry(attestation(1, &part.manifest))
        .image(&part)
        .field("artifactType", json!("application/x-bundle"))
        .field("subject", descriptor(&subject.manifest))
        .build();
    push(&artifact, &source, "x:artifact");
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let output = copy(&["--referrers"], &from, &to).exits(0);
    assert_eq!(output.tag("1")["referrers"]["copied"], 1);
}

#[test]
fn a_refused_child_does_not_cancel_the_others() {
    let source = FakeRegistry::start();
    let index = (0..40).map(|number| {
        let spec = ImageSpec::new("linux", "arm").variant(&format!("v{number}"));
        spec.layers(1, 500).build()
    });
    let images: Vec<Image> = index.collect();
    let index = images
        .iter()
        .fold(IndexBuilder::new(Form::Oci), IndexBuilder::image);
    push(&index.build(), &source, "x:1");
    let destination = FakeRegistry::start();
    let refused = images[0].digest();
    let refusal = Answer::error(400, "MANIFEST_INVALID", &json!("not today"));
    destination.on(move |request: &Request| {
        request
            .is("PUT", &refused)
            .then(|| Fault::Status(refusal.clone()))
    });
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let error = copy(&[], &from, &to).exits(1).tag("1")["error"].clone();
    assert!(
        error["message"].to_string().contains("not today"),
        "{error:#}"
    );
    for image in &images[1..] {
        assert!(destination.store.manifest("y", &image.digest()).is_some());
    }
}
