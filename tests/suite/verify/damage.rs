//! Whatever is missing or damaged is named, all of it.

use std::fs;

use serde_json::json;
use tempfile::tempdir;

use super::{assert_missing, single, standard, verify};
use crate::support::barge::{copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Layout, write_layout};
use crate::support::registry::FakeRegistry;

#[test]
fn every_missing_blob_and_manifest_is_named() {
    let registry = FakeRegistry::start();
    let index = standard(11);
    index.push_to(&registry, "x:bad");
    single(12).push_to(&registry, "x:good");
    let (amd64, arm64) = (index.image("amd64"), index.image("arm64"));
    let lost = index.attestation("arm64");
    let store = &registry.store;
    store.remove_manifest("x", &amd64.digest());
    store.remove_manifest("x", &lost.digest());
    store.remove_blob("x", &arm64.config_digest());
    store.remove_blob("x", &arm64.layers[1].digest());
    let expected = [
        ("manifest", amd64.digest(), "not-found"),
        ("attestation", lost.digest(), "not-found"),
        ("config", arm64.config_digest(), "not-found"),
        ("layer", arm64.layers[1].digest(), "not-found"),
    ];
    for options in [&["--all-tags"][..], &["--all-tags", "--deep"]] {
        let output = verify(options, &registry.reference("x")).exits(3);
        assert_eq!(output.json()["outcome"], "partial");
        assert_eq!(output.json()["totals"]["incomplete"], 1);
        assert_eq!(output.tag("good")["status"], "complete");
        let tag = output.tag("bad");
        assert_eq!(tag["status"], "incomplete");
        assert_eq!(tag["error"]["kind"], "not-found");
        assert!(tag["error"]["hint"].is_string());
        assert_missing(&tag, &expected);
        let layer = tag["missing"].as_array().into_iter().flatten();
        let layer = layer
            .clone()
            .find(|lack| lack["part"] == "layer")
            .expect("it");
        assert_eq!(layer["platform"], "linux/arm64");
        assert_eq!(layer["size"], arm64.layers[1].bytes.len());
    }
    verify(&[], &registry.reference("x:bad")).exits(1);
    let text = run(&["verify", "--all-tags", &registry.reference("x")]).exits(3);
    for (part, digest, _) in expected {
        let line = format!("missing {part} {digest}");
        assert!(text.stdout.contains(&line), "{line}\n{}", text.stdout);
    }
    assert!(
        text.stdout.contains("PARTIAL: 1 of 2 tags"),
        "{}",
        text.stdout
    );
}

#[test]
fn a_real_registry_that_lost_and_damaged_blobs() {
    let registry = DockerRegistry::start();
    let (lost, damaged) = (single(13), single(14));
    lost.push_to(&registry, "x:lost");
    damaged.push_to(&registry, "x:damaged");
    registry.remove_blob(&lost.layers[1].digest());
    registry.corrupt_blob(&damaged.layers[1].digest());
    let shallow = verify(&["--all-tags"], &registry.reference("x")).exits(3);
    let layer = lost.layers[1].digest();
    assert_missing(
        &shallow.tag("lost"),
        &[("layer", layer.clone(), "not-found")],
    );
    // Its size is right: only reading it tells.
    assert_eq!(shallow.tag("damaged")["status"], "complete");
    let deep = verify(&["--all-tags", "--deep"], &registry.reference("x")).exits(1);
    assert_missing(&deep.tag("lost"), &[("layer", layer, "not-found")]);
    let layer = damaged.layers[1].digest();
    assert_missing(&deep.tag("damaged"), &[("layer", layer, "digest-mismatch")]);
    // Two configs and the layer that both have were read and are right.
    let totals = &deep.json()["totals"];
    assert_eq!(totals["blobs"], 3, "{totals:#}");
    assert_eq!(
        (&totals["missing_blobs"], &totals["damaged_blobs"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(totals["missing_bytes"], lost.layers[1].bytes.len());
    assert_eq!(totals["damaged_bytes"], damaged.layers[1].bytes.len());
    assert_eq!(
        (&deep.tag("lost")["blobs"], &deep.tag("damaged")["blobs"]),
        (&json!(2), &json!(2))
    );
    let text = run(&["verify", "--all-tags", "--deep", &registry.reference("x")]).exits(1);
    for words in [") read, 1 (", ") missing, 1 (", ") damaged, "] {
        assert!(text.stdout.contains(words), "{}", text.stdout);
    }
}

#[test]
fn a_layout_with_files_cut_short_altered_and_gone() {
    let directory = tempdir().expect("a temporary directory");
    let images = [single(15), single(16), single(17), single(18)];
    let names = ["cut", "altered", "gone", "manifest"];
    let bundles: Vec<_> = names
        .into_iter()
        .zip(images.iter().map(Into::into))
        .collect();
    let layout = write_layout(directory.path(), &bundles);
    let own = |at: usize| images[at].layers[1].digest();
    let path = |digest: &str| layout.blob_path(digest);
    let bytes = fs::read(path(&own(0))).expect("a blob");
    fs::write(path(&own(0)), &bytes[1..]).expect("a blob can be cut");
    let mut bytes = fs::read(path(&own(1))).expect("a blob");
    bytes[50] ^= 1;
    fs::write(path(&own(1)), bytes).expect("a blob can be altered");
    fs::remove_file(path(&own(2))).expect("a blob can be removed");
    fs::write(path(&images[3].digest()), "{}").expect("a manifest can be altered");
    let place = layout.reference("");
    let shallow = verify(&["--all-tags"], &place).exits(3);
    assert_missing(&shallow.tag("cut"), &[("layer", own(0), "digest-mismatch")]);
    assert_eq!(shallow.tag("altered")["status"], "complete");
    assert_missing(&shallow.tag("gone"), &[("layer", own(2), "not-found")]);
    assert_eq!(shallow.tag("manifest")["status"], "failed");
    let deep = verify(&["--all-tags", "--deep"], &place).exits(1);
    assert_missing(&deep.tag("cut"), &[("layer", own(0), "digest-mismatch")]);
    assert_missing(
        &deep.tag("altered"),
        &[("layer", own(1), "digest-mismatch")],
    );
    assert_missing(&deep.tag("gone"), &[("layer", own(2), "not-found")]);
}

#[test]
fn an_archive_with_one_byte_altered() {
    let registry = FakeRegistry::start();
    let image = single(19);
    image.push_to(&registry, "x:1");
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("bundle.tar");
    let archive = format!("oci-archive:{}", path.display());
    copy(&[], &registry.reference("x:1"), &archive).exits(0);
    let mut bytes = fs::read(&path).expect("an archive");
    let layer = &image.layers[1].bytes;
    let mut windows = bytes.windows(layer.len());
    let at = windows
        .position(|window| window == layer)
        .expect("the layer");
    bytes[at + 1000] ^= 1;
    fs::write(&path, bytes).expect("the archive can be written");
    verify(&[], &archive).exits(0);
    let deep = verify(&["--deep"], &archive).exits(1);
    let expected = ("layer", image.layers[1].digest(), "digest-mismatch");
    assert_missing(&deep.tag("1"), &[expected]);
}

#[test]
fn copying_again_with_recheck_mends_what_is_missing() {
    let source = FakeRegistry::start();
    let index = standard(20);
    index.push_to(&source, "x:1");
    let directory = tempdir().expect("a temporary directory");
    let place = format!("oci:{}:1", directory.path().join("layout").display());
    copy(&[], &source.reference("x:1"), &place).exits(0);
    let layout = Layout::at(&directory.path().join("layout"));
    let layer = index.image("arm64").layers[1].digest();
    fs::remove_file(layout.blob_path(&layer)).expect("a blob can be removed");
    let output = verify(&[], &place).exits(1);
    let hint = output.tag("1")["error"]["hint"].clone();
    assert!(hint.as_str().expect("a hint").contains("--recheck blobs"));
    copy(&["--recheck", "blobs"], &source.reference("x:1"), &place).exits(0);
    verify(&["--deep"], &place).exits(0);
}
