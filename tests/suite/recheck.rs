//! `current`, and what a rerun looks into and repairs before it says so.

use serde_json::json;

use crate::support::barge::{Output, copy};
use crate::support::content::{flip_bit, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Attestations, ImageSpec, Layout, MultiArch};
use crate::support::registry::{FakeRegistry, Settings, Sparse};
use crate::support::wire::Request;

const SPARSE: [&str; 4] = ["--mode", "sparse-index", "--arch", "arm64"];

/// A source with an index at `x:1`, and a destination that takes sparse indexes.
struct Mirror {
    source: FakeRegistry,
    destination: FakeRegistry,
    image: MultiArch,
}

impl Mirror {
    fn new() -> Self {
        let source = FakeRegistry::start();
        let image = MultiArch::standard(&["amd64", "arm64", "s390x"], Attestations::With, 31);
        image.push_to(&source, "x:1");
        Self {
            source,
            destination: FakeRegistry::start_with(Settings::quay(Sparse::On)),
            image,
        }
    }

    /// A run with empty logs.
    fn copy(&self, options: &[&str]) -> Output {
        self.source.clear_log();
        self.destination.clear_log();
        let (from, to) = (
            self.source.reference("x:1"),
            self.destination.reference("x"),
        );
        copy(options, &from, &to).exits(0)
    }

    fn status(&self, options: &[&str]) -> String {
        let tag = self.copy(options).tag("1");
        assert_eq!(
            self.destination.store.tag("x", "1"),
            Some(self.image.digest())
        );
        tag["status"].as_str().expect("a status").to_owned()
    }

    fn holds(&self, platform: &str) -> bool {
        let digests = [
            self.image.image(platform).digest(),
            self.image.attestation(platform).digest(),
        ];
        digests
            .iter()
            .all(|digest| self.destination.store.manifest("x", digest).is_some())
    }

    fn writes(&self) -> usize {
        self.destination.count(|request| !request.reads())
    }
}

#[test]
fn a_sparse_tag_is_current_by_its_wanted_children() {
    let mirror = Mirror::new();
    assert_eq!(mirror.status(&SPARSE), "copied");
    assert_eq!(mirror.status(&SPARSE), "current");
    assert_eq!(mirror.writes(), 0);
    let heads = |request: &Request| request.is("HEAD", "/manifests/sha256:");
    assert_eq!(
        mirror.destination.count(heads),
        2,
        "the image and its attestation"
    );
    let gets = |request: &Request| request.is("GET", "/x/");
    assert_eq!(mirror.destination.count(gets), 0, "nothing is downloaded");
}

#[test]
fn one_more_architecture_is_added_under_the_same_digest() {
    let mirror = Mirror::new();
    mirror.copy(&SPARSE);
    let both = ["--mode", "sparse-index", "--arch", "arm64,s390x"];
    assert_eq!(mirror.status(&both), "copied");
    assert!(mirror.holds("s390x") && mirror.holds("arm64") && !mirror.holds("amd64"));
    assert_eq!(mirror.status(&both), "current");
    assert_eq!(mirror.status(&SPARSE), "current");
    assert!(mirror.holds("s390x"), "what is there stays");
}

#[test]
fn mode_all_completes_a_sparse_tag() {
    let mirror = Mirror::new();
    mirror.copy(&SPARSE);
    assert_eq!(mirror.status(&["--all", "--recheck", "none"]), "current");
    assert!(!mirror.holds("amd64"));
    assert_eq!(mirror.status(&["--all"]), "copied");
    assert!(
        ["amd64", "arm64", "s390x"]
            .iter()
            .all(|platform| mirror.holds(platform))
    );
    assert_eq!(mirror.status(&["--all"]), "current");
    let index = format!("/manifests/{}", mirror.image.digest());
    let reads = |request: &Request| request.is("GET", "/manifests/");
    assert_eq!(
        mirror.source.count(reads),
        0,
        "the index is read at the destination"
    );
    assert_eq!(
        mirror
            .destination
            .count(|request| request.is("GET", &index)),
        1
    );
}

#[test]
fn recheck_none_asks_each_side_once() {
    let mirror = Mirror::new();
    for options in [
        &["--all"][..],
        &SPARSE,
        &["--mode", "sparse-index", "--arch", "amd64,arm64,s390x"],
    ] {
        let options = [options, &["--recheck", "none"]].concat();
        mirror.copy(&options);
        assert_eq!(mirror.status(&options), "current");
        let content = |request: &Request| request.path != "/v2/";
        let asked = [&mirror.source, &mirror.destination].map(|side| side.count(content));
        assert_eq!(asked, [1, 1], "{options:?}");
    }
}

#[test]
fn a_lost_child_is_brought_again() {
    let mirror = Mirror::new();
    for options in [&SPARSE[..], &["--all"]] {
        mirror.copy(options);
        let lost = mirror.image.attestation("arm64").digest();
        mirror.destination.store.remove_manifest("x", &lost);
        let none = [options, &["--recheck", "none"]].concat();
        assert_eq!(mirror.status(&none), "current");
        assert_eq!(mirror.status(options), "copied");
        assert!(mirror.holds("arm64"));
    }
}

#[test]
fn a_lost_blob_is_found_by_recheck_blobs_alone() {
    let mirror = Mirror::new();
    let lost = mirror.image.image("arm64").layers[1].digest();
    for options in [&SPARSE[..], &["--all"], &["--arch", "arm64"]] {
        mirror.copy(options);
        mirror.destination.store.remove_blob("x", &lost);
        assert_eq!(mirror.copy(options).tag("1")["status"], "current");
        let blobs = [options, &["--recheck", "blobs"]].concat();
        let tag = mirror.copy(&blobs).tag("1");
        assert_eq!(tag["status"], "copied", "{options:?}");
        assert_eq!(tag["blobs"]["copied"], 1, "{options:?}");
        assert!(mirror.destination.store.has_blob("x", &lost));
        assert_eq!(mirror.copy(&blobs).tag("1")["status"], "current");
        let changed = |request: &Request| request.is("PUT", "");
        assert_eq!(mirror.destination.count(changed), 0, "{options:?}");
    }
}

#[test]
fn a_damaged_mirror_in_a_real_registry_is_repaired() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    let image = ImageSpec::new("linux", "arm64").layers(3, 4000).build();
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    copy(&[], &from, &to).exits(0);
    let lost = image.layers[1].digest();
    destination.remove_blob(&lost);
    assert_eq!(copy(&[], &from, &to).exits(0).tag("1")["status"], "current");
    let tag = copy(&["--recheck", "blobs"], &from, &to).exits(0).tag("1");
    assert_eq!(tag["status"], "copied");
    assert_eq!(tag["blobs"]["copied"], json!(1));
    assert_eq!(tag["bytes"], image.layers[1].bytes.len());
    let stored = destination.client().blob("x", &lost);
    assert_eq!(stored.as_deref(), Some(&image.layers[1].bytes[..]));
}

#[test]
fn a_damaged_blob_of_a_layout_is_brought_again_by_recheck_blobs_alone() {
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "arm64").layers(3, 4000).build();
    image.push_to(&source, "x:1");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let run = |options: &[&str]| {
        let to = layout.reference("");
        copy(options, &source.reference("x:1"), &to)
            .exits(0)
            .tag("1")
    };
    run(&[]);
    for damaged in [&image.layers[1].bytes, &image.config] {
        let digest = sha256(damaged);
        std::fs::write(layout.blob_path(&digest), flip_bit(damaged)).expect("written");
        assert_eq!(run(&[])["status"], "current");
        let foreseen = run(&["--recheck", "blobs", "--dry-run"]);
        assert_eq!(foreseen["status"], "would-copy");
        let tag = run(&["--recheck", "blobs"]);
        assert_eq!(
            (&tag["status"], &tag["blobs"]["copied"]),
            (&json!("copied"), &json!(1))
        );
        assert_eq!(layout.blob(&digest).as_deref(), Some(&damaged[..]));
        assert_eq!(run(&["--recheck", "blobs"])["status"], "current");
    }
    let damaged = flip_bit(&image.manifest.bytes);
    std::fs::write(layout.blob_path(&image.digest()), damaged).expect("written");
    assert_eq!(run(&["--recheck", "blobs"])["status"], "copied");
    assert_eq!(layout.manifest("1"), Some(image.manifest));
}
