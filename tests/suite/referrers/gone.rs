//! What the source lists as referring to an image, and does not have any more: it is named, never dropped in
//! silence, and the image can come across without it.

use serde_json::json;
use tempfile::tempdir;

use super::{NOTARY, SBOM, counts, single, with};
use crate::support::barge::{Output, copy};
use crate::support::image::{Artifact, Bundle, Layout, list_of, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::Signer;

const SKIP: [&str; 3] = ["--referrers", "--missing-referrers", "skip"];

/// An image with a signature, and a bill of materials that only the list has.
fn source() -> (FakeRegistry, Bundle, Bundle) {
    let (registry, image) = (with(Referrers::Absent), single());
    image.push_to(&registry, "x:1");
    let lost = Artifact::of(&image.manifest, SBOM, "bill").build();
    let held = Artifact::of(&image.manifest, NOTARY, "signed").build();
    held.put_into(&registry, "x");
    let listed = list_of(&[&lost, &held]);
    registry
        .store
        .put_manifest("x", &list_tag(&image.digest()), listed);
    (registry, held, lost)
}

fn run(options: &[&str], source: &FakeRegistry, to: &str) -> Output {
    copy(options, &source.reference("x:1"), to)
}

#[test]
fn it_is_told_what_is_gone_where_it_is_listed_and_what_to_do() {
    let ((source, _, lost), mirror) = (source(), with(Referrers::Served));
    for policy in [&[][..], &["--policy", "rollback"]] {
        let options = [&["--referrers"], policy].concat();
        let output = run(&options, &source, &mirror.reference("y"));
        let error = output.tag("1")["error"].clone();
        let message = error["message"].to_string();
        let (image, digest) = (single().digest(), lost.root.digest());
        for part in [&digest, &image, &list_tag(&image), SBOM] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        for way in ["--referrers=TYPE", "--missing-referrers skip"] {
            assert!(error["hint"].to_string().contains(way), "{error}");
        }
        assert_eq!(mirror.store.tags("y"), [""; 0]);
    }
}

#[test]
fn the_image_comes_across_without_what_is_gone() {
    for policy in ["best-effort", "rollback"] {
        let ((source, held, lost), mirror) = (source(), with(Referrers::Served));
        let options = [&SKIP[..], &["--policy", policy]].concat();
        let output = run(&options, &source, &mirror.reference("y")).exits(0);
        let told = json!({"copied": 1, "existing": 0, "missing": 1});
        assert_eq!(counts(&output, "1"), told);
        assert!(output.stderr.contains(&lost.root.digest()), "{output:#?}");
        let has = |bundle: &Bundle| mirror.store.manifest("y", &bundle.root.digest()).is_some();
        assert!(has(&held) && !has(&lost));
        assert_eq!(mirror.store.tag("y", "1"), Some(single().digest()));
    }
}

#[test]
fn other_types_are_not_hindered() {
    let ((source, _, _), mirror) = (source(), with(Referrers::Served));
    let only = format!("--referrers={NOTARY}");
    let output = run(&[&only], &source, &mirror.reference("y")).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 0}));
}

#[test]
fn what_the_mirror_has_need_not_be_at_the_source() {
    let ((source, _, lost), mirror) = (source(), with(Referrers::Served));
    single().push_to(&mirror, "y:old");
    lost.put_into(&mirror, "y");
    let output = run(&["--referrers"], &source, &mirror.reference("y")).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 1}));
}

#[test]
fn files_leave_it_out_too() {
    let directory = tempdir().expect("a directory");
    let archive = format!("oci-archive:{}/a.tar", directory.path().display());
    let layout = Layout::at(&directory.path().join("layout"));
    for place in [archive, layout.reference("")] {
        let (source, held, _) = source();
        run(&["--referrers"], &source, &place).exits(1);
        let output = run(&SKIP, &source, &place).exits(0);
        let told = json!({"copied": 1, "existing": 0, "missing": 1});
        assert_eq!(counts(&output, "1"), told, "{place}");
        let back = with(Referrers::Served);
        copy(
            &["--referrers"],
            &format!("{place}:1"),
            &back.reference("z"),
        )
        .exits(0);
        assert!(back.store.manifest("z", &held.root.digest()).is_some());
    }
}

#[test]
fn an_artifact_whose_children_are_gone_is_gone() {
    let (source, image) = (with(Referrers::Served), single());
    image.push_to(&source, "x:1");
    let inner = Artifact::new(SBOM, "inner").build();
    let mut index = list_of(&[&inner]).json();
    index["subject"] =
        Artifact::of(&image.manifest, SBOM, "").build().root.json()["subject"].clone();
    index["artifactType"] = json!("application/x+json");
    let index = crate::support::content::Manifest::new(
        crate::support::content::OCI_INDEX,
        index.to_string(),
    );
    source
        .store
        .put_manifest("x", &index.digest(), index.clone());
    let mirror = with(Referrers::Served);
    let output = run(&["--referrers"], &source, &mirror.reference("y")).exits(1);
    let message = output.tag("1")["error"]["message"].to_string();
    assert!(message.contains(&index.digest()), "{message}");
    assert!(message.contains(&inner.root.digest()), "{message}");
    let output = run(&SKIP, &source, &mirror.reference("y")).exits(0);
    assert_eq!(counts(&output, "1")["missing"], 1);
}

#[test]
fn a_tag_of_cosigns_that_points_at_nothing_is_told() {
    let (source, image, signer) = (with(Referrers::Served), single(), Signer::new());
    image.push_to(&source, "x:1");
    let (tag, signature) = (Signer::tag(&image.digest()), signer.sign(&image.digest()));
    push(signature, &source, &format!("x:{tag}"));
    let directory = tempdir().expect("a directory");
    let layout = Layout::at(&directory.path().join("layout"));
    run(&["--referrers"], &source, &layout.reference("")).exits(0);
    let digest = layout.manifest(&tag).expect("a signature").digest();
    source.store.remove_manifest("x", &digest);
    std::fs::remove_file(layout.blob_path(&digest)).expect("it was there");
    for from in [source.reference("x:1"), layout.reference("1")] {
        let mirror = with(Referrers::Served);
        let output = copy(&["--referrers"], &from, &mirror.reference("y")).exits(1);
        let message = output.tag("1")["error"]["message"].to_string();
        assert!(message.contains(&tag), "{message}");
        let output = copy(&SKIP, &from, &mirror.reference("y")).exits(0);
        assert_eq!(counts(&output, "1")["missing"], 1, "{from}");
        assert!(output.stderr.contains(&tag), "{output:#?}");
    }
}
