//! `inspect` lists what refers to an image, `verify` checks that it is whole and all there.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{NOTARY, SBOM, index, sbom_and_signature, single, with};
use crate::support::barge::{Output, copy, run};
use crate::support::content::{Manifest, OCI_INDEX, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{
    Artifact, Bundle, Form, IndexBuilder, Layout, list_of, list_tag, push,
};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::Signer;
use crate::support::wire::Fault;

const COSIGN: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// An index at `x:1`, signed, with a bill of materials of one image.
fn registry(referrers: Referrers) -> (FakeRegistry, Bundle, Bundle) {
    let (registry, image) = (with(referrers), index());
    image.push_to(&registry, "x:1");
    let signature = Signer::new().sign(&image.digest());
    push(
        &signature,
        &registry,
        &format!("x:{}", Signer::tag(&image.digest())),
    );
    let child = &image.image("arm64").manifest;
    let sbom = Artifact::of(child, SBOM, "bill").build();
    sbom.put_into(&registry, "x");
    if referrers == Referrers::Absent {
        let list = list_of(&[&sbom]);
        registry
            .store
            .put_manifest("x", &list_tag(&child.digest()), list);
    }
    (registry, signature, sbom)
}

pub(super) fn inspect(options: &[&str], reference: &str) -> Output {
    run(&[&["inspect"], options, &[reference]].concat())
}

#[test]
fn inspect_lists_them() {
    for api in [Referrers::Absent, Referrers::Served] {
        let (registry, signature, sbom) = registry(api);
        let reference = registry.reference("x:1");
        let shown = |bundle: &Bundle, kind: &str| json!({"type": kind, "digest": bundle.root.digest(), "size": bundle.root.bytes.len()});
        let mut expected = shown(&signature, COSIGN);
        expected["tag"] = json!(Signer::tag(&index().digest()));
        let plain = inspect(&["-o", "json"], &reference).exits(0).json();
        assert_eq!(plain["referrers"], json!([expected]), "{api:?}");
        assert_eq!(plain["platforms"][1].get("referrers"), None);
        // One image is not worth a list of all tags, which may have hundreds of pages.
        assert_eq!(registry.count(|request| request.is("GET", "/tags/list")), 0);
        let each = inspect(&["-o", "json", "--platforms"], &reference)
            .exits(0)
            .json();
        assert_eq!(each["referrers"], json!([expected]));
        assert_eq!(each["platforms"][0].get("referrers"), None);
        assert_eq!(
            each["platforms"][1]["referrers"],
            json!([shown(&sbom, SBOM)])
        );
        let text = inspect(&["--platforms"], &reference).exits(0).stdout;
        for part in [
            "referrers:    1",
            COSIGN,
            SBOM,
            &sbom.root.digest(),
            &signature.root.digest(),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn inspect_shows_the_rest_where_they_cannot_be_listed() {
    let (registry, ..) = registry(Referrers::Served);
    registry.fail(
        9,
        |request| request.is("GET", "/referrers/"),
        Fault::status(403),
    );
    let shown = inspect(&["-o", "json"], &registry.reference("x:1")).exits(0);
    assert_eq!(shown.json()["digest"], index().digest());
    assert!(shown.stderr.contains("is not shown"), "{shown:#?}");
}

pub(super) fn verify(options: &[&str], reference: &str) -> Output {
    run(&[
        &["verify", "-o", "json", "--referrers"],
        options,
        &[reference],
    ]
    .concat())
}

/// What is missing of the tag: part and digest.
pub(super) fn missing(output: &Output) -> Vec<(Value, Value)> {
    let lacks = output.tag("1")["missing"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let part = |lack: Value| (lack["part"].clone(), lack["digest"].clone());
    lacks.into_iter().map(part).collect()
}

#[test]
fn verify_looks_into_them() {
    let (registry, signature, sbom) = registry(Referrers::Absent);
    let reference = registry.reference("x:1");
    let whole = verify(&[], &reference).exits(0);
    assert_eq!(whole.tag("1")["referrers"], 2);
    let without = run(&["verify", "-o", "json", &reference]).exits(0);
    assert_eq!(without.tag("1").get("referrers"), None);
    let payload = sha256(&signature.blobs[1]);
    registry.store.remove_blob("x", &payload);
    registry.store.remove_manifest("x", &sbom.root.digest());
    let damaged = verify(&[], &reference).exits(1);
    let expected = [("layer", payload), ("referrer", sbom.root.digest())];
    let expected = expected.map(|(part, digest)| (json!(part), json!(digest)));
    assert_eq!(missing(&damaged), expected, "{damaged:#?}");
    run(&["verify", &reference]).exits(0);
}

#[test]
fn verify_finds_what_the_source_has_more() {
    let (source, signature, sbom) = registry(Referrers::Served);
    let mirror = DockerRegistry::start();
    let (from, to) = (source.reference("x:1"), mirror.reference("y:1"));
    let against = ["--against", &from];
    copy(&[], &from, &to).exits(0);
    let lacking = verify(&against, &to).exits(1);
    let mut found = missing(&lacking);
    found.sort_by_key(|(_, digest)| digest.to_string());
    let digests = [signature.root.digest(), sbom.root.digest()];
    let mut expected = digests.map(|digest| (json!("referrer"), json!(digest)));
    expected.sort_by_key(|(_, digest)| digest.to_string());
    assert_eq!(found, expected, "{lacking:#?}");
    copy(&["--referrers"], &from, &to).exits(0);
    let whole = verify(&against, &to).exits(0);
    assert_eq!(whole.tag("1")["referrers"], 2);
    let of_type = format!("--referrers={NOTARY}");
    run(&["verify", &of_type, "--against", &from, &to]).exits(0);
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout with an image as `1`, a bill of materials that is signed, and a signature of cosign's.
pub(super) fn layout(directory: &Path) -> Layout {
    let (source, image) = (with(Referrers::Served), single());
    image.push_to(&source, "x:1");
    let (sbom, signature) = sbom_and_signature(&image.manifest);
    sbom.put_into(&source, "x");
    signature.put_into(&source, "x");
    let name = format!("x:{}", Signer::tag(&image.digest()));
    push(Signer::new().sign(&image.digest()), &source, &name);
    let layout = Layout::at(&directory.join("layout"));
    copy(
        &["--referrers"],
        &source.reference("x:1"),
        &layout.reference("1"),
    )
    .exits(0);
    layout
}

fn entries(layout: &Layout) -> Vec<Value> {
    layout.index()["manifests"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// What oras, regctl and cosign look for in a layout (their sources: oras-go `content/oci`, regclient
/// `scheme/ocidir/referrer.go`, cosign `pkg/oci/layout/index.go`).
#[test]
fn a_layout_has_the_entries_that_others_look_for() {
    let directory = tempdir().expect("a directory");
    let (layout, image) = (layout(directory.path()), single());
    let (sbom, signature) = sbom_and_signature(&image.manifest);
    // regctl: the list under the tag.
    let list = layout.manifest(&list_tag(&image.digest())).expect("a list");
    assert_eq!(list.media_type, OCI_INDEX);
    assert_eq!(super::listed(&list), [sbom.root.digest()]);
    // cosign: its tag.
    let entries = entries(&layout);
    let tag = Signer::tag(&image.digest());
    let mut names = entries.iter().map(|entry| &entry["annotations"][REF_NAME]);
    assert!(names.any(|name| *name == json!(tag)));
    // oras: every referrer is a root, without a name.
    let bare = entries
        .iter()
        .filter(|entry| entry.get("annotations").is_none());
    let bare: Vec<&Value> = bare.map(|entry| &entry["digest"]).collect();
    for artifact in [&sbom, &signature] {
        assert!(
            bare.contains(&&json!(artifact.root.digest())),
            "{entries:#?}"
        );
    }
}

#[test]
fn a_layout_of_oras_has_no_lists() {
    let directory = tempdir().expect("a directory");
    let layout = layout(directory.path());
    let mut index = layout.index();
    let entries = index["manifests"].as_array_mut().expect("entries");
    entries.retain(|entry| {
        !entry["annotations"][REF_NAME]
            .to_string()
            .contains("sha256-")
    });
    let path = directory.path().join("layout/index.json");
    std::fs::write(path, index.to_string()).expect("a file");
    let back = with(Referrers::Served);
    let to = back.reference("z:1");
    let output = copy(&["--referrers"], &layout.reference(""), &to).exits(0);
    let counts = &output.json()["tags"][0]["referrers"];
    assert_eq!(*counts, json!({"copied": 2, "existing": 0}));
    let shown = inspect(&["-o", "json"], &layout.reference("1"))
        .exits(0)
        .json();
    assert_eq!(shown["referrers"][0]["type"], SBOM);
}

/// A list that names an artifact wrongly is no reason to delete the artifact.
#[test]
fn a_list_that_is_wrong_is_told_from_what_it_names() {
    let image = single();
    let (sbom, _) = sbom_and_signature(&image.manifest);
    let other = Artifact::of(&index().root, SBOM, "of something else").build();
    let wrongs = [
        ("size", json!(7), &sbom),
        ("mediaType", json!(OCI_INDEX), &sbom),
        ("artifactType", json!(NOTARY), &sbom),
        ("size", json!(other.root.bytes.len()), &other),
    ];
    for (field, value, artifact) in wrongs {
        let mirror = with(Referrers::Absent);
        image.push_to(&mirror, "y:1");
        artifact.put_into(&mirror, "y");
        let mut list = list_of(&[artifact]).json();
        list["manifests"][0][field] = value;
        let list = Manifest::new(OCI_INDEX, list.to_string());
        let tag = list_tag(&image.digest());
        mirror.store.put_manifest("y", &tag, list);
        let output = verify(&[], &mirror.reference("y:1")).exits(1);
        let found = output.tag("1");
        assert_eq!(found["status"], "incomplete", "{field}: {found}");
        let [wrong] = found["missing"].as_array().expect("a list").as_slice() else {
            panic!("{field}: {found:#}");
        };
        let expected = (
            json!("referrers-list"),
            json!(tag),
            json!("invalid-manifest"),
        );
        let named = (&wrong["part"], &wrong["tag"], &wrong["kind"]);
        assert_eq!(named, (&expected.0, &expected.1, &expected.2), "{field}");
        assert_eq!(
            wrong.get("digest"),
            None,
            "nobody is to delete the artifact"
        );
        assert!(
            wrong["message"]
                .to_string()
                .contains(&artifact.root.digest())
        );
        let hint = found["error"]["hint"].to_string();
        assert!(hint.contains("delete nothing"), "{field}: {hint}");
        let text = run(&["verify", "--referrers", &mirror.reference("y:1")]).exits(1);
        let line = format!("wrong referrers-list {tag}: ");
        assert!(text.stdout.contains(&line), "{}", text.stdout);
        // What is missing beside it is told as that.
        let layer = sha256(artifact.blobs.last().expect("a layer"));
        mirror.store.remove_blob("y", &layer);
        let output = verify(&[], &mirror.reference("y:1")).exits(1);
        let is_its = artifact.root.digest() == sbom.root.digest();
        assert_eq!(
            missing(&output).len(),
            1 + usize::from(is_its),
            "{output:#?}"
        );
    }
}

/// What a list names may be gone, or of something else; what it names twice is one.
#[test]
fn inspect_looks_at_what_lists_name() {
    let image = single();
    let (sbom, _) = sbom_and_signature(&image.manifest);
    let gone = Artifact::of(&image.manifest, NOTARY, "gone").build();
    let other = Artifact::of(&index().root, SBOM, "of something else").build();
    let registry = with(Referrers::Absent);
    image.push_to(&registry, "x:1");
    sbom.put_into(&registry, "x");
    other.put_into(&registry, "x");
    let list = list_of(&[&sbom, &gone, &sbom, &other]);
    let tag = list_tag(&image.digest());
    registry.store.put_manifest("x", &tag, list);
    let place = registry.reference("x:1");
    for options in [&[][..], &["--platforms"]] {
        let json = [&["-o", "json"], options].concat();
        let shown = inspect(&json, &place).exits(0).json();
        let found = shown["referrers"].as_array().expect("a list");
        assert_eq!(found.len(), 3, "{shown:#}");
        for one in found {
            let is = |bundle: &Bundle| one["digest"] == bundle.root.digest().as_str();
            let missed = is(&gone).then(|| json!("not-found"));
            assert_eq!(one.get("lost"), missed.as_ref(), "{one}");
            // Only reading it tells that.
            let stray = (is(&other) && !options.is_empty()).then_some(json!(true));
            assert_eq!(one.get("stray"), stray.as_ref(), "{one}");
        }
        let text = inspect(options, &place).exits(0).stdout;
        let line = format!("lost (not-found)  {}", gone.root.digest());
        assert!(text.contains(&line), "{text}");
        let strays = text.matches("but refers to something else").count();
        assert_eq!(strays, options.len(), "{text}");
    }
    // A plain look costs no pull.
    registry.clear_log();
    inspect(&[], &place).exits(0);
    let path = format!("/manifests/{}", sbom.root.digest());
    assert_eq!(registry.count(|request| request.is("GET", &path)), 0);
}

#[test]
fn inspect_lists_what_refers_to_a_nested_index() {
    let inner = IndexBuilder::new(Form::Oci).image(&single()).build();
    let outer = IndexBuilder::new(Form::Oci).index(&inner).build();
    let registry = with(Referrers::Served);
    outer.push_to(&registry, "x:1");
    let sbom = Artifact::of(&inner.root, SBOM, "bill").build();
    sbom.put_into(&registry, "x");
    let place = registry.reference("x:1");
    let shown = inspect(&["-o", "json", "--platforms"], &place);
    let shown = shown.exits(0).json();
    assert_eq!(shown["indexes"][0]["digest"], inner.digest());
    let digest = &shown["indexes"][0]["referrers"][0]["digest"];
    assert_eq!(*digest, sbom.root.digest());
    let text = inspect(&["--platforms"], &place).exits(0).stdout;
    assert!(text.contains(&sbom.root.digest()), "{text}");
    let plain = inspect(&["-o", "json"], &place).exits(0).json();
    assert_eq!(plain.get("indexes"), None);
}

#[test]
fn verify_says_nothing_of_digest_tags_without_referrers() {
    let (registry, ..) = registry(Referrers::Absent);
    push(Bundle::from(&single()), &registry, "x:2");
    let options = [
        "verify",
        "--referrers",
        "--all-tags",
        "--include-digest-tags",
    ];
    let place = registry.reference("x");
    let text = run(&[&options[..], &[&place]].concat()).exits(0).stdout;
    let notes = text.lines().filter(|line| line.starts_with("note: "));
    let notes: Vec<&str> = notes.collect();
    assert_eq!(
        notes,
        ["note: 1 has 2 referrers", "note: 2 has 0 referrers"]
    );
}

#[test]
fn an_image_in_the_place_of_a_list_is_told_of_once() {
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    single().push_to(&source, "x:1");
    sbom_and_signature(&single().manifest)
        .0
        .put_into(&source, "x");
    let tag = list_tag(&single().digest());
    let other = index().image("arm64").clone();
    other.push_to(&mirror, &format!("y:{tag}"));
    let (from, to) = (source.reference("x:1"), mirror.reference("y"));
    let output = copy(&["--referrers"], &from, &to).exits(1);
    assert!(!output.stderr.contains("left out"), "{output:#?}");
    let hint = output.tag("1")["error"]["hint"].to_string();
    assert!(hint.contains("move that image"), "{hint}");
    assert!(!hint.contains("take out of it"), "{hint}");
}
