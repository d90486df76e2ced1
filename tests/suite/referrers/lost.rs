//! What is listed as belonging to an image and is gone, or altered: never read as what never was.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::shown::{inspect, layout, missing, verify};
use super::{index, sbom_and_signature, single, with};
use crate::support::barge::{Output, copy};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::pack;
use crate::support::image::{Layout, list_tag, push};
use crate::support::registry::Referrers;
use crate::support::signing::Signer;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Removed,
    Altered,
}

const HARMS: [Harm; 2] = [Harm::Removed, Harm::Altered];

impl Harm {
    fn kind(self) -> &'static str {
        match self {
            Self::Removed => "not-found",
            Self::Altered => "digest-mismatch",
        }
    }

    fn to(self, path: &Path) {
        match self {
            Self::Removed => fs::remove_file(path).expect("a file can be removed"),
            Self::Altered => {
                let mut bytes = fs::read(path).expect("a file");
                bytes[20] ^= 1;
                fs::write(path, bytes).expect("a file can be written");
            }
        }
    }
}

/// A layout whose manifest under `tag` came to harm, and its digest.
fn harmed(harm: Harm, tag: &str) -> (TempDir, Layout, String) {
    let directory = tempdir().expect("a directory");
    let layout = layout(directory.path());
    let digest = layout.manifest(tag).expect("it is there").digest();
    harm.to(&layout.blob_path(&digest));
    (directory, layout, digest)
}

fn error(output: &Output) -> Value {
    output.json()["tags"][0]["error"].clone()
}

/// Fails the test unless a copy from `place` fails of `name` and leaves no tag.
#[track_caller]
fn assert_not_copied(place: &str, kind: &str, name: &str) {
    let to = with(Referrers::Absent);
    let output = copy(&["--referrers"], place, &to.reference("y:1")).exits(1);
    let error = error(&output);
    assert_eq!(error["kind"], kind, "{place}: {error}");
    assert!(error["message"].to_string().contains(name), "{error}");
    assert!(error["hint"].is_string(), "{error}");
    assert_eq!(to.store.tag("y", "1"), None);
}

/// The signature, and the list of referrers, of the image of a layout: the tag, and what it is to `verify`.
fn tags() -> [(String, &'static str); 2] {
    let digest = single().digest();
    let sig = Signer::tag(&digest);
    [(sig, "referrer"), (list_tag(&digest), "referrers-list")]
}

#[test]
fn what_a_tag_of_a_layout_names_is_an_error_to_copy_and_incomplete_to_verify() {
    for harm in HARMS {
        for (tag, part) in tags() {
            let (directory, layout, digest) = harmed(harm, &tag);
            let packed = pack(
                &directory.path().join("layout"),
                &directory.path().join("x"),
            );
            for (place, mended_by) in [
                (layout.reference("1"), "--referrers --recheck blobs"),
                (packed.reference("1"), "bring it again"),
            ] {
                assert_not_copied(&place, harm.kind(), &tag);
                let output = verify(&[], &place).exits(1);
                assert_eq!(output.tag("1")["status"], "incomplete", "{output:#?}");
                let hint = error(&output)["hint"].to_string();
                assert!(hint.contains(mended_by), "{hint}");
                assert_eq!(missing(&output), [(json!(part), json!(digest))]);
                let lack = &output.tag("1")["missing"][0];
                assert_eq!(
                    (&lack["kind"], &lack["tag"]),
                    (&json!(harm.kind()), &json!(tag))
                );
                let shown = inspect(&["-o", "json"], &place).exits(0).json();
                let lost = shown["referrers"].as_array().into_iter().flatten();
                let lost: Vec<&Value> = lost.filter(|one| one["tag"] == tag.as_str()).collect();
                let [lost] = lost.as_slice() else {
                    panic!("{shown:#}");
                };
                assert_eq!(lost["lost"], harm.kind());
                let text = inspect(&[], &place).exits(0).stdout;
                let line = format!("lost ({})  {tag}  {digest}", harm.kind());
                assert!(text.contains(&line), "{text}");
            }
        }
    }
}

#[test]
fn an_artifact_of_a_layout_that_came_to_harm_is_incomplete() {
    for harm in HARMS {
        let directory = tempdir().expect("a directory");
        let layout = layout(directory.path());
        let digest = sbom_and_signature(&single().manifest).0.root.digest();
        harm.to(&layout.blob_path(&digest));
        let output = verify(&[], &layout.reference("1")).exits(1);
        assert_eq!(output.tag("1")["status"], "incomplete", "{output:#?}");
        assert_eq!(missing(&output), [(json!("referrer"), json!(digest))]);
        assert_not_copied(&layout.reference("1"), harm.kind(), &digest);
    }
}

/// As oras writes it: where its entry alone names an artifact, it could be of any image.
#[test]
fn an_artifact_that_no_list_names_is_not_lost_in_silence() {
    for harm in HARMS {
        let list = list_tag(&single().digest());
        let (directory, layout, _) = harmed(Harm::Removed, &list);
        let mut index = layout.index();
        let entries = index["manifests"].as_array_mut().expect("entries");
        entries.retain(|entry| !entry.to_string().contains(&list));
        let path = directory.path().join("layout/index.json");
        fs::write(path, index.to_string()).expect("a file");
        verify(&[], &layout.reference("1")).exits(0);
        let digest = sbom_and_signature(&single().manifest).0.root.digest();
        harm.to(&layout.blob_path(&digest));
        let output = verify(&[], &layout.reference("1")).exits(1);
        assert_eq!(missing(&output), [(json!("referrer"), json!(digest))]);
        assert_not_copied(&layout.reference("1"), harm.kind(), &digest);
    }
}

#[test]
fn a_payload_that_is_altered_is_incomplete_where_it_is_read() {
    let directory = tempdir().expect("a directory");
    let layout = layout(directory.path());
    let tag = Signer::tag(&single().digest());
    let signature = layout.manifest(&tag).expect("signed").json();
    let payload = signature["layers"][0]["digest"].as_str().expect("a digest");
    Harm::Altered.to(&layout.blob_path(payload));
    let output = verify(&["--deep"], &layout.reference("1")).exits(1);
    assert_eq!(output.tag("1")["status"], "incomplete", "{output:#?}");
    assert_eq!(missing(&output), [(json!("layer"), json!(payload))]);
    assert_eq!(error(&output)["kind"], "digest-mismatch");
}

#[test]
fn what_is_gone_from_a_layout_comes_again() {
    for (tag, _) in tags() {
        let (directory, layout, digest) = harmed(Harm::Removed, &tag);
        let source = tempdir().expect("a directory");
        // Signed anew, with another signature.
        let whole = super::shown::layout(source.path());
        // The other layout is of another registry.
        let options = ["--referrers", "--recheck", "blobs", "--force"];
        let (from, to) = (whole.reference("1"), layout.reference("1"));
        let output = copy(&options, &from, &to).exits(0);
        assert_eq!(output.tag("1")["status"], "copied", "{tag}");
        let brought = layout.manifest(&tag).expect("it is there");
        assert_eq!(
            brought.digest() == digest,
            tag == list_tag(&single().digest())
        );
        verify(&["--deep"], &to).exits(0);
        drop(directory);
    }
}

#[test]
fn a_tag_that_a_registry_lists_and_has_lost() {
    let (fake, real) = (with(Referrers::Absent), DockerRegistry::start());
    let image = index();
    let child = image.image("arm64").digest();
    let tag = Signer::tag(&child);
    let signature = Signer::new().sign(&child);
    let digest = signature.root.digest();
    image.push_to(&fake, "x:1");
    image.push_to(&real, "x:1");
    push(signature.clone(), &fake, &format!("x:{tag}"));
    push(signature, &real, &format!("x:{tag}"));
    fake.store.remove_manifest("x", &digest);
    real.remove_blob(&digest);
    for place in [fake.reference("x:1"), real.reference("x:1")] {
        assert_not_copied(&place, "not-found", &tag);
        let output = verify(&[], &place).exits(1);
        let tag_found = output.tag("1");
        assert_eq!(tag_found["status"], "incomplete", "{output:#?}");
        let lack = &tag_found["missing"][0];
        assert_eq!(
            (&lack["part"], &lack["tag"]),
            (&json!("referrer"), &json!(tag))
        );
        // A registry does not say which digest a tag had.
        assert_eq!(lack.get("digest"), None);
        let shown = inspect(&["-o", "json", "--platforms"], &place).exits(0);
        let lost = &shown.json()["platforms"][1]["referrers"][0];
        assert_eq!(
            (&lost["tag"], &lost["lost"]),
            (&json!(tag), &json!("not-found"))
        );
    }
}

#[test]
fn a_list_that_a_registry_lists_and_has_lost() {
    let source = with(Referrers::Absent);
    single().push_to(&source, "x:1");
    let (sbom, _) = sbom_and_signature(&single().manifest);
    sbom.put_into(&source, "x");
    let tag = list_tag(&single().digest());
    let list = crate::support::image::list_of(&[&sbom]);
    let digest = source.store.put_manifest("x", &tag, list);
    source.store.remove_manifest("x", &digest);
    assert_not_copied(&source.reference("x:1"), "not-found", &tag);
    let output = verify(&[], &source.reference("x:1")).exits(1);
    let lack = &output.tag("1")["missing"][0];
    assert_eq!(
        (&lack["part"], &lack["tag"]),
        (&json!("referrers-list"), &json!(tag))
    );
}

/// The index that it spoke for stays behind when it is filtered: whether it was signed is known all the same.
#[test]
fn a_filtered_index_tells_of_a_signature_that_is_lost() {
    let (source, destination) = (with(Referrers::Absent), with(Referrers::Absent));
    let image = index();
    image.push_to(&source, "x:1");
    let signature = Signer::new().sign(&image.digest());
    let digest = signature.root.digest();
    push(
        signature,
        &source,
        &format!("x:{}", Signer::tag(&image.digest())),
    );
    source.store.remove_manifest("x", &digest);
    let options = ["--arch", "arm64", "--referrers"];
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let output = copy(&options, &from, &to).exits(0);
    assert!(output.tag("1")["signatures"].is_string(), "{output:#?}");
    let output = copy(&["--arch", "arm64", "--require-signature"], &from, &to).exits(1);
    assert_eq!(error(&output)["kind"], "unsupported");
}
