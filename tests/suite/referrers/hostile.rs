//! What refers to images as nobody should write it.

use serde_json::{Value, json};

use super::{SBOM, copied, counts, listed, single, with};
use crate::support::barge::copy;
use crate::support::content::OCI_INDEX;
use crate::support::image::{Artifact, Bundle, Image, ImageSpec, list_of, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::wire::{Answer, Fault, Request};

fn pair(api: Referrers) -> (FakeRegistry, FakeRegistry, Image) {
    let (source, destination, image) = (with(api), with(Referrers::Absent), single());
    image.push_to(&source, "x:1");
    (source, destination, image)
}

fn other() -> Image {
    ImageSpec::new("linux", "arm64").seed(403).build()
}

/// A chain of so many artifacts, each of which refers to the one before.
fn chain(source: &FakeRegistry, image: &Image, length: usize) -> Vec<Bundle> {
    let mut subject = image.manifest.clone();
    let links = (0..length).map(|number| {
        let link = Artifact::of(&subject, SBOM, &format!("{number}")).build();
        link.put_into(source, "x");
        subject = link.root.clone();
        link
    });
    links.collect()
}

#[test]
fn what_names_no_subject_or_another_is_left_out() {
    let (source, destination, image) = pair(Referrers::Absent);
    let none = Artifact::new(SBOM, "of nothing").build();
    let other = Artifact::of(&none.root, SBOM, "of something else").build();
    let good = Artifact::of(&image.manifest, SBOM, "of the image").build();
    for artifact in [&none, &other, &good] {
        artifact.put_into(&source, "x");
    }
    let list = list_of(&[&none, &other, &good]);
    source
        .store
        .put_manifest("x", &list_tag(&image.digest()), list);
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 0}));
    for left in [&none, &other] {
        let digest = left.root.digest();
        assert!(output.stderr.contains(&digest), "{output:#?}");
        assert_eq!(destination.store.manifest("y", &digest), None);
    }
}

#[test]
fn an_artifact_whose_subject_is_not_there_is_copied_as_it_is() {
    let (source, destination, image) = pair(Referrers::Served);
    let artifact = Artifact::of(&image.manifest, SBOM, "x").build();
    push(&artifact, &source, "x:1");
    source.store.remove_manifest("x", &image.digest());
    copied(&source, &destination).exits(0);
    assert_eq!(
        destination.store.tag("y", "1"),
        Some(artifact.root.digest())
    );
}

/// Nothing ties what is under a tag of cosign's to the digest in its name.
#[test]
fn a_circle_ends() {
    let (source, destination, image) = pair(Referrers::Absent);
    let other = Artifact::new(SBOM, "x").build();
    let tag = |digest: &str| format!("{}.sig", list_tag(digest));
    push(&other, &source, &format!("x:{}", tag(&image.digest())));
    image.push_to(&source, &format!("x:{}", tag(&other.root.digest())));
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 2, "existing": 0}));
    let store = &destination.store;
    assert_eq!(
        store.tag("y", &tag(&other.root.digest())),
        Some(image.digest())
    );
}

#[test]
fn what_refers_fifty_deep_is_followed_and_more_than_a_hundred_is_not() {
    for (length, code) in [(50, 0), (101, 1)] {
        let (source, destination, image) = pair(Referrers::Served);
        let links = chain(&source, &image, length);
        let output = copied(&source, &destination).exits(code);
        if code == 0 {
            assert_eq!(
                counts(&output, "1"),
                json!({"copied": length, "existing": 0})
            );
            let last = links.last().expect("a chain").root.digest();
            assert!(destination.store.manifest("y", &last).is_some());
        } else {
            let error = &output.tag("1")["error"];
            assert_eq!(error["kind"], "invalid-manifest");
            assert!(error["hint"].to_string().contains("--referrers"), "{error}");
            assert_eq!(destination.store.tag("y", "1"), None);
        }
    }
}

#[test]
fn five_hundred_referrers_make_one_list() {
    let (source, destination, image) = pair(Referrers::Paged(100));
    let mut digests = Vec::new();
    for number in 0..500 {
        let artifact = Artifact::of(&image.manifest, SBOM, &format!("{number}")).build();
        artifact.put_into(&source, "x");
        digests.push(artifact.root.digest());
    }
    digests.sort();
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 500, "existing": 0}));
    let tag = list_tag(&image.digest());
    let list = destination.store.manifest("y", &tag).expect("a list");
    assert_eq!(listed(&list), digests);
    let path = format!("/v2/y/manifests/{tag}");
    let puts = destination.count(|request| request.method == "PUT" && request.path == path);
    assert_eq!(puts, 1);
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 0, "existing": 500}));
}

#[test]
fn a_manifest_of_more_than_four_mebibytes_fails_its_tag() {
    let (source, destination, image) = pair(Referrers::Absent);
    let large = Artifact::of(&image.manifest, SBOM, "x")
        .padding(4 << 20)
        .build();
    large.put_into(&source, "x");
    let list = list_of(&[&large]);
    source
        .store
        .put_manifest("x", &list_tag(&image.digest()), list);
    let error = copied(&source, &destination).exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "invalid-manifest", "{error}");
    assert!(
        error["message"].to_string().contains(&large.root.digest()),
        "{error}"
    );
    assert_eq!(destination.store.tag("y", "1"), None);
}

#[test]
fn an_artifact_that_is_listed_and_not_there_fails_its_tag() {
    let (source, destination, image) = pair(Referrers::Absent);
    let lost = Artifact::of(&image.manifest, SBOM, "x").build();
    source
        .store
        .put_manifest("x", &list_tag(&image.digest()), list_of(&[&lost]));
    let error = copied(&source, &destination).exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "not-found", "{error}");
    assert!(
        error["message"].to_string().contains(&lost.root.digest()),
        "{error}"
    );
    assert_eq!(destination.store.tag("y", "1"), None);
}

#[test]
fn a_list_tag_that_holds_an_image() {
    // At the source it lists nothing.
    let (source, destination, image) = pair(Referrers::Absent);
    let (tag, other) = (list_tag(&image.digest()), other());
    other.push_to(&source, &format!("x:{tag}"));
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 0, "existing": 0}));
    assert!(output.stderr.contains(&tag), "{output:#?}");
    // At the destination it is in the way.
    let (source, destination, image) = pair(Referrers::Served);
    let artifact = Artifact::of(&image.manifest, SBOM, "x").build();
    artifact.put_into(&source, "x");
    other.push_to(&destination, &format!("y:{tag}"));
    let error = copied(&source, &destination).exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "conflict", "{error}");
    assert!(error["message"].to_string().contains(&tag), "{error}");
    assert_eq!(
        destination.store.tag("y", &tag),
        Some(other.digest()),
        "it is left alone"
    );
    assert_eq!(destination.store.tag("y", "1"), None);
}

#[test]
fn an_index_can_be_an_artifact() {
    let (source, destination, image) = pair(Referrers::Served);
    let inner = Artifact::new(SBOM, "inner").build();
    inner.put_into(&source, "x");
    let mut index = list_of(&[&inner]).json();
    let subject = Artifact::of(&image.manifest, SBOM, "").build().root.json()["subject"].clone();
    index["subject"] = subject;
    index["artifactType"] = json!("application/x+json");
    let index = crate::support::content::Manifest::new(OCI_INDEX, index.to_string());
    let digest = source.store.put_manifest("x", &index.digest(), index);
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 0}));
    for digest in [&digest, &inner.root.digest()] {
        assert!(destination.store.manifest("y", digest).is_some());
    }
}

/// The error of a copy whose source answers so where it is asked for referrers.
fn refused(answer: &Answer) -> Value {
    let (source, destination, _) = pair(Referrers::Served);
    let asks = |request: &Request| request.is("GET", "/referrers/");
    source.fail(9, asks, Fault::Status(answer.clone()));
    let error = copied(&source, &destination).exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "protocol", "{error}");
    assert_eq!(destination.store.tag("y", "1"), None);
    error
}

#[test]
fn answers_that_are_no_lists_fail() {
    let image = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    for (kind, body) in [
        ("text/html", "<html>"),
        ("application/json", "{}"),
        (OCI_INDEX, "{"),
        (OCI_INDEX, ""),
        (OCI_INDEX, "null"),
        (OCI_INDEX, r#"{"schemaVersion":2,"manifests":{}}"#),
        (OCI_INDEX, r#"{"schemaVersion":2,"manifests":[{}]}"#),
        (OCI_INDEX, image),
    ] {
        let error = refused(&Answer::new(200).body(kind, body));
        let path = format!("/v2/x/referrers/{}", single().digest());
        for part in [&path, kind, "is no index of referrers"] {
            let said = error["message"].to_string();
            assert!(said.contains(part), "{body}: {error}");
        }
        assert!(error["hint"].to_string().contains("404"), "{body}: {error}");
    }
}

/// Go writes an empty list so.
#[test]
fn a_list_that_is_null_is_empty() {
    let (source, destination, _) = pair(Referrers::Served);
    let null = Answer::new(200).body(OCI_INDEX, r#"{"schemaVersion":2,"manifests":null}"#);
    let asks = |request: &Request| request.is("GET", "/referrers/");
    source.fail(9, asks, Fault::Status(null));
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 0, "existing": 0}));
}

#[test]
fn pages_that_lead_nowhere_fail() {
    let path = format!("/v2/x/referrers/{}", single().digest());
    for (next, why) in [
        (path.as_str(), "is one that came before"),
        ("http://[", "is no address"),
    ] {
        let list = Answer::new(200)
            .body(OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
            .header("Link", format!("<{next}>; rel=\"next\""));
        let error = refused(&list);
        assert!(error["message"].to_string().contains(why), "{error}");
        assert!(error["hint"].to_string().contains("Link"), "{error}");
        let (source, destination, _) = pair(Referrers::Served);
        let tags = Answer::new(200)
            .body("application/json", r#"{"name":"x","tags":["1"]}"#)
            .header("Link", list_of_tags(next));
        let asks = |request: &Request| request.is("GET", "/tags/list");
        source.fail(9, asks, Fault::Status(tags));
        let (from, to) = (source.reference("x"), destination.reference("y"));
        let report = copy(&["--all-tags"], &from, &to).exits(1).json();
        let error = &report["error"];
        assert_eq!(error["kind"], "protocol", "{report}");
        assert!(error["message"].to_string().contains(why), "{report}");
        assert!(error["hint"].to_string().contains("Link"), "{report}");
        assert!(source.count(asks) <= 2, "{next}");
    }
}

/// The same link, of the list of tags where it leads back.
fn list_of_tags(next: &str) -> String {
    let next = if next.starts_with('/') {
        "/v2/x/tags/list?n=1000"
    } else {
        next
    };
    format!("<{next}>; rel=next")
}
