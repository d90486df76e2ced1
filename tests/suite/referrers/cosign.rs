//! Layouts as `cosign save` writes them and `cosign load` reads them (cosign, `pkg/oci/layout/write.go`,
//! `pkg/oci/layout/index.go`, `cmd/cosign/cli/save.go`): entries without a name, told apart by `kind`, and
//! bundles that only lie among the blobs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::shown::{inspect, verify};
use super::{SBOM, counts, with};
use crate::support::barge::copy;
use crate::support::image::archive::pack;
use crate::support::image::{
    Artifact, Bundle, Image, ImageSpec, Layout, list_tag, push, write_layout,
};
use crate::support::registry::Referrers;
use crate::support::signing::{Held, Signer};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn kind(name: &str) -> Value {
    json!({"kind": format!("dev.cosignproject.cosign/{name}")})
}

fn image(seed: u64) -> Image {
    ImageSpec::new("linux", "amd64")
        .seed(seed)
        .layers(1, 600)
        .build()
}

fn attestation() -> Bundle {
    Artifact::new(SBOM, "attested").build()
}

/// What refers to the image by naming it.
fn bundle() -> Bundle {
    Artifact::of(&image(411).manifest, BUNDLE, "{}").build()
}

/// A signed image as `cosign save` writes it.
fn saved(directory: &Path, signer: &Signer) -> Layout {
    let image = image(411);
    let signature = signer.sign(&image.digest());
    let images = [
        ("", Bundle::from(&image)),
        ("", signature),
        ("", attestation()),
        ("", bundle()),
    ];
    let layout = write_layout(directory, &images);
    let mut index = layout.index();
    let entries = index["manifests"].as_array_mut().expect("entries");
    // Each artifact is written with an index of its own, which the next one replaces.
    entries.truncate(3);
    for (entry, name) in entries.iter_mut().zip(["image", "sigs", "atts"]) {
        entry["annotations"] = kind(name);
    }
    fs::write(directory.join("index.json"), index.to_string()).expect("a file");
    layout
}

#[test]
fn what_cosign_saved_is_copied_with_all_that_belongs_to_it() {
    let (signer, directory) = (Signer::new(), tempdir().expect("a directory"));
    let layout = saved(&directory.path().join("layout"), &signer);
    let packed = pack(
        &directory.path().join("layout"),
        &directory.path().join("x"),
    );
    let digest = image(411).digest();
    for place in [
        layout.reference(""),
        format!("{}@{digest}", layout.reference("")),
        packed.reference(""),
    ] {
        let destination = with(Referrers::Served);
        let to = destination.reference("y:1");
        let output = copy(&["--referrers"], &place, &to).exits(0);
        let found = output.json()["tags"][0]["referrers"].clone();
        assert_eq!(found, json!({"copied": 3, "existing": 0}), "{place}");
        assert_eq!(signer.verify(&Held::Fake(&destination, "y"), "1"), Ok(()));
        let store = &destination.store;
        let att = store.tag("y", &format!("{}.att", list_tag(&digest)));
        assert_eq!(att, Some(attestation().root.digest()));
        assert!(store.manifest("y", &bundle().root.digest()).is_some());
        let shown = inspect(&["-o", "json"], &place).exits(0).json();
        assert_eq!(shown["referrers"].as_array().map(Vec::len), Some(3));
        let whole = verify(&[], &place).exits(0);
        assert_eq!(whole.json()["tags"][0]["referrers"], 3, "{place}");
    }
}

#[test]
fn what_cosign_saved_and_was_lost_is_an_error() {
    let (signer, directory) = (Signer::new(), tempdir().expect("a directory"));
    let layout = saved(directory.path(), &signer);
    let entries = layout.index();
    let sigs = entries["manifests"][1]["digest"].as_str().expect("it");
    fs::remove_file(layout.blob_path(sigs)).expect("a file");
    let destination = with(Referrers::Served);
    let to = destination.reference("y:1");
    let output = copy(&["--referrers"], &layout.reference(""), &to).exits(1);
    let error = output.json()["tags"][0]["error"].clone();
    let tag = Signer::tag(&image(411).digest());
    assert!(error["message"].to_string().contains(&tag), "{error}");
}

/// Somebody called the image by a name since, as `skopeo copy oci:PATH oci:PATH:NAME` does.
#[test]
fn what_cosign_saved_belongs_to_the_image_that_was_named_since() {
    let (signer, directory) = (Signer::new(), tempdir().expect("a directory"));
    let layout = saved(&directory.path().join("layout"), &signer);
    let path = directory.path().join("layout");
    name_image(&path, &layout);
    let packed = pack(&path, &directory.path().join("x"));
    for place in [layout.reference(""), packed.reference("")] {
        for options in [&["--referrers"][..], &["--referrers", "--all-tags"]] {
            let destination = with(Referrers::Served);
            let to = destination.reference("y");
            let output = copy(options, &place, &to).exits(0);
            assert_eq!(output.json()["totals"]["tags"], 1, "{output:#?}");
            let found = output.json()["tags"][0]["referrers"].clone();
            assert_eq!(found, json!({"copied": 3, "existing": 0}), "{place}");
            let held = Held::Fake(&destination, "y");
            assert_eq!(signer.verify(&held, "v1"), Ok(()));
        }
    }
}

/// Names the image in the index of what cosign saved.
fn name_image(path: &Path, layout: &Layout) {
    let mut index = layout.index();
    index["manifests"][0]["annotations"][REF_NAME] = json!("example.com/app:v1");
    fs::write(path.join("index.json"), index.to_string()).expect("a file");
}

#[test]
fn what_may_be_of_several_images_is_an_error() {
    let (signer, directory) = (Signer::new(), tempdir().expect("a directory"));
    let layout = saved(directory.path(), &signer);
    name_image(directory.path(), &layout);
    let mut index = layout.index();
    let entries = index["manifests"].as_array_mut().expect("entries");
    let sigs = entries[1]["digest"].clone();
    let mut other = entries[0].clone();
    other["digest"] = json!(image(414).digest());
    other["annotations"][REF_NAME] = json!("example.com/app:v2");
    entries.push(other);
    fs::write(directory.path().join("index.json"), index.to_string()).expect("a file");
    let destination = with(Referrers::Served);
    let (from, to) = (
        layout.reference("example.com/app:v1"),
        destination.reference("y:v1"),
    );
    let error = copy(&["--referrers"], &from, &to).exits(1).tag("v1")["error"].clone();
    let digest = sigs.as_str().expect("a digest");
    assert!(error["message"].to_string().contains(digest), "{error}");
    assert!(error["hint"].to_string().contains(REF_NAME), "{error}");
    copy(&[], &from, &to).exits(0);
}

#[test]
fn two_signatures_of_one_image_are_an_error_that_helps() {
    let (signer, directory) = (Signer::new(), tempdir().expect("a directory"));
    let layout = saved(directory.path(), &signer);
    let mut index = layout.index();
    index["manifests"][2]["annotations"] = kind("sigs");
    fs::write(directory.path().join("index.json"), index.to_string()).expect("a file");
    let destination = with(Referrers::Served);
    let to = destination.reference("y:v1");
    let output = copy(&["--referrers"], &layout.reference(""), &to).exits(1);
    let error = output.json()["tags"][0]["error"].clone();
    assert!(error["hint"].to_string().contains(REF_NAME), "{error}");
}

#[test]
fn images_of_one_name_are_told_apart_by_their_digests() {
    let directory = tempdir().expect("a directory");
    let images = [
        ("a", Bundle::from(&image(411))),
        ("a", Bundle::from(&image(412))),
    ];
    let layout = write_layout(directory.path(), &images);
    let error = inspect(&[], &layout.reference("")).exits(1).stderr;
    for seed in [411, 412] {
        let one = format!("{}@{}", layout.reference(""), image(seed).digest());
        assert!(error.contains(&one), "{error}");
    }
}

#[test]
fn a_signature_replaces_the_one_that_cosign_saved() {
    let (signer, directory) = (Signer::new(), tempdir().expect("a directory"));
    let layout = saved(directory.path(), &signer);
    let source = with(Referrers::Absent);
    let (digest, tag) = (image(411).digest(), Signer::tag(&image(411).digest()));
    image(411).push_to(&source, "x:1");
    let newer = Signer::new().sign(&digest);
    push(newer.clone(), &source, &format!("x:{tag}"));
    let (from, to) = (source.reference("x:1"), layout.reference("1"));
    let output = copy(&["--referrers"], &from, &to).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 0}));
    assert_eq!(layout.references(), [tag, "1".to_owned()]);
    let again = copy(&["--referrers"], &from, &to).exits(0);
    assert_eq!(again.tag("1")["status"], "current");
}
