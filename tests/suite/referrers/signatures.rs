//! What all this is for: an index keeps its digest, its signatures come along, and they are good at the mirror.

use std::process::Command;

use serde_json::json;
use tempfile::tempdir;

use super::{index, with};
use crate::support::barge::{barge, copy};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::Archive;
use crate::support::image::{Layout, MultiArch, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::{Held, Signer};

const SPARSE: [&str; 5] = ["--mode", "sparse-index", "--arch", "amd64", "--referrers"];

/// An index at `x:1`, signed with all its children.
fn signed(registry: &FakeRegistry, signer: &Signer) -> MultiArch {
    let image = index();
    image.push_to(registry, "x:1");
    let children = image
        .children
        .iter()
        .map(|child| child.content.manifest().digest());
    for digest in children.chain([image.digest()]) {
        let name = format!("x:{}", Signer::tag(&digest));
        push(signer.sign(&digest), registry, &name);
    }
    image
}

/// Fails the test unless what `copy --arch amd64` brings verifies, root and child.
#[track_caller]
fn assert_verifies(signer: &Signer, held: &Held<'_>, tag: &str, image: &MultiArch) {
    assert_eq!(signer.verify(held, tag), Ok(()));
    let root = held.manifest(tag).expect("the tag is there");
    assert_eq!(root.digest(), image.digest());
    if !matches!(held, Held::Layout(_)) {
        let child = image.image("amd64").digest();
        assert_eq!(signer.verify(held, &child), Ok(()));
    }
    // What is not there brings no signature.
    let other = Signer::tag(&image.image("arm64").digest());
    assert_eq!(held.manifest(&other), None);
}

#[test]
fn a_sparse_mirror_verifies() {
    let signer = Signer::new();
    for api in [Referrers::Absent, Referrers::Served] {
        let (source, destination) = (with(Referrers::Absent), with(api));
        let image = signed(&source, &signer);
        let to = destination.reference("y");
        let output = copy(&SPARSE, &source.reference("x:1"), &to).exits(0);
        let tag = output.tag("1");
        assert_eq!(tag["status"], "copied");
        // The root, the child, and the child's attestation.
        assert_eq!(tag["referrers"], json!({"copied": 3, "existing": 0}));
        let held = Held::Fake(&destination, "y");
        assert_verifies(&signer, &held, "1", &image);
        let again = copy(&SPARSE, &source.reference("x:1"), &to)
            .exits(0)
            .tag("1");
        assert_eq!(again["status"], "current");
        assert_eq!(again["referrers"], json!({"copied": 0, "existing": 3}));
        assert!(Signer::new().verify(&held, "1").is_err(), "another key");
    }
}

#[test]
fn an_altered_signature_is_not_good_and_a_removed_one_is_brought_again() {
    let signer = Signer::new();
    let (source, destination) = (with(Referrers::Absent), with(Referrers::Absent));
    let image = signed(&source, &signer);
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    copy(&SPARSE, &from, &to).exits(0);
    let held = Held::Fake(&destination, "y");
    let tag = Signer::tag(&image.digest());
    let layer = held.manifest(&tag).expect("signed").json()["layers"][0].clone();
    destination
        .store
        .corrupt_blob("y", layer["digest"].as_str().expect("a digest"));
    assert!(signer.verify(&held, "1").is_err());
    destination.store.remove_tag("y", &tag);
    assert!(signer.verify(&held, "1").is_err());
    let copied = copy(&SPARSE, &from, &to).exits(0).tag("1");
    assert_eq!(
        copied["status"], "copied",
        "the tag was right, its signature was not there"
    );
    assert_eq!(copied["referrers"], json!({"copied": 1, "existing": 2}));
    assert!(destination.store.tag("y", &tag).is_some());
}

#[test]
fn signatures_travel_through_a_layout_and_back() {
    let signer = Signer::new();
    let (source, directory) = (with(Referrers::Absent), tempdir().expect("a directory"));
    let image = signed(&source, &signer);
    let layout = Layout::at(&directory.path().join("layout"));
    let output = copy(&SPARSE, &source.reference("x:1"), &layout.reference("1")).exits(0);
    assert_eq!(
        output.tag("1")["referrers"],
        json!({"copied": 3, "existing": 0})
    );
    assert_verifies(&signer, &Held::Layout(&layout), "1", &image);
    layout.assert_tidy();
    let destination = with(Referrers::Absent);
    let to = destination.reference("y");
    // The image is found although its signatures have entries too.
    copy(&SPARSE, &layout.reference(""), &to).exits(0);
    assert_verifies(&signer, &Held::Fake(&destination, "y"), "1", &image);
    let again = copy(&SPARSE, &source.reference("x:1"), &layout.reference("1")).exits(0);
    assert_eq!(again.tag("1")["status"], "current");
}

#[test]
fn signatures_travel_through_an_archive_and_back() {
    let signer = Signer::new();
    let (source, directory) = (with(Referrers::Absent), tempdir().expect("a directory"));
    let image = signed(&source, &signer);
    let archive = Archive::at(&directory.path().join("bundle.tar"));
    let output = copy(&SPARSE, &source.reference("x:1"), &archive.reference("1")).exits(0);
    assert_eq!(
        output.tag("1")["referrers"],
        json!({"copied": 3, "existing": 0})
    );
    let destination = with(Referrers::Absent);
    copy(&SPARSE, &archive.reference(""), &destination.reference("y")).exits(0);
    assert_verifies(&signer, &Held::Fake(&destination, "y"), "1", &image);
    let piped = with(Referrers::Absent);
    let pipe = format!(
        "mkfifo p && (cat {} > p &) && exec < p",
        archive.path().display()
    );
    barge()
        .arg("copy")
        .args(SPARSE)
        .args(["oci-archive:-", &piped.reference("y")])
        .after(&pipe)
        .run()
        .exits(0);
    assert_verifies(&signer, &Held::Fake(&piped, "y"), "1", &image);
    let again = copy(&SPARSE, &source.reference("x:1"), &archive.reference("1")).exits(0);
    assert_eq!(again.tag("1")["status"], "current");
}

#[test]
fn signatures_travel_between_real_registries() {
    let signer = Signer::new();
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let image = index();
    image.push_to(&source, "x:1");
    push(
        signer.sign(&image.digest()),
        &source,
        &format!("x:{}", Signer::tag(&image.digest())),
    );
    let to = destination.reference("y:1");
    copy(&["--referrers"], &source.reference("x:1"), &to).exits(0);
    assert_eq!(signer.verify(&Held::Docker(&destination, "y"), "1"), Ok(()));
    verify_with_cosign(&signer, &to);
}

/// Where cosign is on PATH it has the last word.
#[expect(clippy::print_stdout, reason = "the test says who verified")]
fn verify_with_cosign(signer: &Signer, reference: &str) {
    let directory = tempdir().expect("a directory");
    let key = directory.path().join("cosign.pub");
    std::fs::write(&key, signer.public_key()).expect("a file");
    let image = reference.trim_start_matches("docker://");
    let cosign = Command::new("cosign")
        .args([
            "verify",
            "--insecure-ignore-tlog=true",
            "--allow-http-registry",
            "--key",
        ])
        .arg(&key)
        .arg(image)
        .output();
    match cosign {
        Ok(output) => {
            println!("verified by cosign too");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "cosign verify {image}: {said}");
        }
        Err(why) => println!("verified by these tests alone: cosign: {why}"),
    }
}
