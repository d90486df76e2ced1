//! Indexes in every form met in the field, filtered: by entry where it says a platform, else by config.

use serde_json::json;

use crate::support::barge::copy;
use crate::support::content::{DOCKER_LIST, Manifest, OCI_INDEX};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{
    Attestations, Entry, Form, Format, Image, ImageSpec, IndexBuilder, MultiArch, Platform,
};
use crate::support::registry::FakeRegistry;

/// An image of one layer for `platform`.
fn image(platform: &str) -> Image {
    ImageSpec::on(Platform::parse(platform))
        .layers(1, 500)
        .build()
}

/// Copies `source` with these options into a new strict registry; the report of its tag, and the registry.
fn copy_some(source: &MultiArch, options: &[&str]) -> (serde_json::Value, FakeRegistry) {
    let (from, to) = (FakeRegistry::start(), FakeRegistry::start());
    source.push_to(&from, "x:1");
    let output = copy(options, &from.reference("x:1"), &to.reference("x")).exits(0);
    (output.tag("1"), to)
}

#[test]
fn a_docker_list_stays_one() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let docker = |platform: &str| {
        ImageSpec::on(Platform::parse(platform))
            .format(Format::Docker)
            .layers(1, 500)
            .build()
    };
    let images = ["amd64", "arm64", "arm/v7"].map(docker);
    let list = |images: &[Image]| {
        let builder = IndexBuilder::new(Form::Docker);
        let built = images.iter().fold(builder, IndexBuilder::image);
        built.build()
    };
    list(&images).push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    copy(&["--arch", "arm"], &from, &to).exits(0);
    let expected = list(&images[2..]).root;
    assert_eq!(expected.media_type, DOCKER_LIST);
    assert_eq!(destination.client().manifest("x", "1"), Some(expected));
}

#[test]
fn an_index_without_media_type_gets_none() {
    let images = ["amd64", "arm64"].map(image);
    let bare = |images: &[Image]| {
        let builder = IndexBuilder::new(Form::OciBare);
        images.iter().fold(builder, IndexBuilder::image).build()
    };
    let (_, destination) = copy_some(&bare(&images), &["--arch", "arm64"]);
    let expected = bare(&images[1..]).root;
    assert_eq!(expected.json().get("mediaType"), None);
    let stored = destination.store.manifest("x", "1");
    assert_eq!(stored, Some(Manifest::new(OCI_INDEX, expected.bytes)));
}

#[test]
fn a_nested_index_is_filtered_too() {
    let inner = |platforms: &[&str]| {
        let add = |builder: IndexBuilder, platform: &&str| {
            let image = image(platform);
            builder.image(&image).attest(&image)
        };
        let builder = IndexBuilder::new(Form::Oci);
        platforms.iter().fold(builder, add).build()
    };
    let outer = IndexBuilder::new(Form::Oci)
        .index(&inner(&["amd64", "arm64"]))
        .index(&inner(&["s390x"]))
        .image(&image("ppc64le"))
        .build();
    let (tag, destination) = copy_some(&outer, &["--arch", "arm64,ppc64le"]);
    assert_eq!(tag["platforms"], json!(["linux/arm64", "linux/ppc64le"]));
    let omitted = json!(["linux/amd64", "linux/s390x"]);
    assert_eq!(tag["omitted_platforms"], omitted);
    let kept = inner(&["arm64"]);
    let expected = IndexBuilder::new(Form::Oci)
        .index(&kept)
        .image(&image("ppc64le"))
        .build();
    let store = &destination.store;
    assert_eq!(store.manifest("x", "1"), Some(expected.root));
    assert_eq!(store.manifest("x", &kept.digest()), Some(kept.root));
    for lost in [inner(&["s390x"]), inner(&["amd64", "arm64"])] {
        assert_eq!(store.manifest("x", &lost.digest()), None);
    }
}

#[test]
fn a_single_image_is_judged_by_its_config() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let single = image("arm64");
    single.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));

    let right = copy(&["--arch", "linux/arm64/v8"], &from, &to).exits(0);
    assert_eq!(right.tag("1")["digest"], single.digest());
    assert_eq!(right.tag("1")["platforms"], json!(["linux/arm64"]));
    assert_eq!(
        destination.client().manifest("x", "1"),
        Some(single.manifest)
    );

    let wrong = copy(&["--arch", "amd64"], &from, &destination.reference("y"));
    let tag = wrong.exits(1).tag("1");
    assert_eq!(tag["error"]["kind"], "missing-platform");
    let message = tag["error"]["message"].as_str().expect("a message");
    assert!(message.contains("amd64"), "{message}");
    assert!(message.contains("linux/arm64"), "{message}");
    assert_eq!(destination.client().tags("y"), [""; 0]);
}

#[test]
fn variants_are_told_apart() {
    let variants = ["arm/v6", "arm/v7", "arm64"].map(image);
    let plain = image("arm");
    let index = |images: &[&Image]| {
        let builder = IndexBuilder::new(Form::Oci);
        let built = images
            .iter()
            .fold(builder, |builder, image| builder.image(image));
        built.build()
    };
    let [v6, v7, arm64] = &variants;
    let source = index(&[v6, v7, arm64]);
    for (arch, expected) in [
        ("arm/v6", index(&[v6])),
        ("armel", index(&[v6])),
        ("linux/arm/v7", index(&[v7])),
        ("armhf", index(&[v7])),
        ("arm", index(&[v6, v7])),
        ("aarch64", index(&[arm64])),
    ] {
        let (tag, _) = copy_some(&source, &["--arch", arch]);
        assert_eq!(tag["digest"], expected.digest(), "{arch}");
    }
    // An arm without variant is v7.
    let (tag, _) = copy_some(&index(&[v6, &plain]), &["--arch", "arm/v7"]);
    assert_eq!(tag["digest"], index(&[&plain]).digest());
    assert_eq!(tag["platforms"], json!(["linux/arm"]));
}

#[test]
fn windows_is_told_apart_by_version() {
    let windows = |version: &str| {
        ImageSpec::new("windows", "amd64")
            .os_version(version)
            .layers(1, 500)
            .build()
    };
    let [old, new] = ["10.0.17763.5576", "10.0.20348.2340"].map(windows);
    let linux = image("amd64");
    let index = |images: &[&Image]| {
        let builder = IndexBuilder::new(Form::Docker);
        let built = images
            .iter()
            .fold(builder, |builder, image| builder.image(image));
        built.build()
    };
    let source = index(&[&linux, &old, &new]);
    for (arch, expected) in [
        ("windows/amd64:10.0.17763", index(&[&old])),
        ("windows/amd64:10.0.20348.2340", index(&[&new])),
        ("windows/amd64", index(&[&old, &new])),
        ("linux/x86_64", index(&[&linux])),
        ("amd64", source.clone()),
    ] {
        let (tag, _) = copy_some(&source, &["--arch", arch]);
        assert_eq!(tag["digest"], expected.digest(), "{arch}");
    }
    let registry = FakeRegistry::start();
    source.push_to(&registry, "x:1");
    let none = copy(
        &["--arch", "windows/amd64:10.0.1776"],
        &registry.reference("x:1"),
        &registry.reference("y"),
    );
    assert_eq!(
        none.exits(1).tag("1")["error"]["kind"],
        "missing-platform",
        "a prefix ends at a dot"
    );
}

#[test]
fn entries_without_a_platform_are_judged_by_their_config() {
    let (amd64, arm64, s390x) = (image("amd64"), image("arm64"), image("s390x"));
    let artifact = ImageSpec::new("", "")
        .layers(1, 100)
        .field("artifactType", json!("application/x-chart"))
        .build();
    let bare = |image: &Image| Entry::image(image).without_platform();
    let source = IndexBuilder::new(Form::Oci)
        .entry(bare(&amd64))
        .entry(bare(&arm64))
        .entry(bare(&artifact))
        .image(&s390x)
        .build();
    let (tag, destination) = copy_some(&source, &["--arch", "arm64"]);
    let expected = IndexBuilder::new(Form::Oci).entry(bare(&arm64)).build();
    assert_eq!(tag["digest"], expected.digest());
    assert_eq!(tag["platforms"], json!(["linux/arm64"]));
    assert_eq!(
        tag["omitted_platforms"],
        json!(["linux/amd64", "unknown", "linux/s390x"])
    );
    assert_eq!(destination.store.manifest("x", "1"), Some(expected.root));
}

#[test]
fn an_orphan_attestation_goes() {
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let with_orphan = IndexBuilder::new(Form::Oci)
        .image(&amd64)
        .image(&arm64)
        .attest(&image("riscv64"))
        .build();
    let (tag, _) = copy_some(&with_orphan, &["--arch", "amd64,arm64"]);
    let expected = IndexBuilder::new(Form::Oci).image(&amd64).image(&arm64);
    assert_eq!(tag["digest"], expected.build().digest());
    assert_eq!(tag["omitted_platforms"], json!([]));
    // All of it is all of it.
    let (tag, _) = copy_some(&with_orphan, &["--mode", "all"]);
    assert_eq!(tag["digest"], with_orphan.digest());
}

#[test]
fn one_survivor_is_still_an_index() {
    let source = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 3);
    let (_, destination) = copy_some(&source, &["--arch", "amd64"]);
    let stored = destination.store.manifest("x", "1").expect("it is there");
    assert_eq!(stored.media_type, OCI_INDEX);
    assert_eq!(stored.json()["manifests"].as_array().map(Vec::len), Some(1));
}
