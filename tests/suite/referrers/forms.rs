//! The two forms of referrers, the API and the list under a tag: read in the source's, written in the destination's.

use serde_json::json;

use super::{NOTARY, SBOM, copied, counts, listed, sbom_and_signature, single, with};
use crate::support::barge::copy;
use crate::support::content::{Manifest, OCI_MANIFEST};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Artifact, Bundle, Image, Target, list_of, list_tag};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::wire::{Fault, Request};

const REFERRERS: [&str; 1] = ["--referrers"];

/// An image at `x:1` with a bill of materials that is signed; with lists of them where there is no API.
fn source(referrers: Referrers) -> (FakeRegistry, Image) {
    let (registry, image) = (with(referrers), single());
    image.push_to(&registry, "x:1");
    let (sbom, signature) = sbom_and_signature(&image.manifest);
    for artifact in [&sbom, &signature] {
        artifact.put_into(&registry, "x");
    }
    if referrers == Referrers::Absent {
        let store = &registry.store;
        store.put_manifest("x", &list_tag(&image.digest()), list_of(&[&sbom]));
        store.put_manifest("x", &list_tag(&sbom.root.digest()), list_of(&[&signature]));
    }
    (registry, image)
}

fn asks_for_referrers(request: &Request) -> bool {
    request.is("GET", "/referrers/")
}

#[test]
fn each_registry_has_its_own_form() {
    for from in [
        Referrers::Absent,
        Referrers::Served,
        Referrers::Paged(1),
        Referrers::Quay,
    ] {
        for to in [Referrers::Absent, Referrers::Served, Referrers::Quay] {
            let ((source, image), destination) = (source(from), with(to));
            let output = copied(&source, &destination);
            let output = output.exits(0);
            assert_eq!(
                counts(&output, "1"),
                json!({"copied": 2, "existing": 0}),
                "{from:?} {to:?}"
            );
            let (sbom, signature) = sbom_and_signature(&image.manifest);
            for artifact in [&sbom, &signature] {
                let digest = artifact.root.digest();
                assert!(
                    destination.store.manifest("y", &digest).is_some(),
                    "{from:?} {to:?}"
                );
            }
            let list = |digest: &str| destination.store.manifest("y", &list_tag(digest));
            if to == Referrers::Served {
                assert_eq!(destination.store.tags("y"), ["1"], "{from:?}");
            } else {
                // A manifest with a subject that is not acknowledged goes into the list.
                let found = list(&image.digest()).expect("a list");
                assert_eq!(listed(&found), [sbom.root.digest()], "{from:?} {to:?}");
                let entry = &found.json()["manifests"][0];
                assert_eq!(entry["artifactType"], SBOM);
                assert_eq!(entry["annotations"], sbom.root.json()["annotations"]);
                let found = list(&sbom.root.digest()).expect("a list");
                assert_eq!(listed(&found), [signature.root.digest()], "{from:?} {to:?}");
            }
            let again = copied(&source, &destination);
            let again = again.exits(0);
            assert_eq!(again.tag("1")["status"], "current", "{from:?} {to:?}");
            assert_eq!(counts(&again, "1"), json!({"copied": 0, "existing": 2}));
        }
    }
}

#[test]
fn a_real_registry_gets_lists() {
    let ((source, image), destination) = (source(Referrers::Served), DockerRegistry::start());
    copy(
        &REFERRERS,
        &source.reference("x:1"),
        &destination.reference("y:1"),
    )
    .exits(0);
    let (sbom, signature) = sbom_and_signature(&image.manifest);
    let client = destination.client();
    for (subject, artifact) in [(image.digest(), &sbom), (sbom.root.digest(), &signature)] {
        let list = client.manifest("y", &list_tag(&subject)).expect("a list");
        assert_eq!(listed(&list), [artifact.root.digest()]);
        assert_eq!(
            client.manifest("y", &artifact.root.digest()),
            Some(artifact.root.clone())
        );
    }
    // And back, by its lists, into one that has the API.
    let back = with(Referrers::Served);
    let output = copy(
        &REFERRERS,
        &destination.reference("y:1"),
        &back.reference("z"),
    )
    .exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 2, "existing": 0}));
    assert_eq!(back.store.tags("z"), ["1"]);
}

#[test]
fn types_narrow_and_what_refers_to_the_rest_stays() {
    for from in [Referrers::Absent, Referrers::Served, Referrers::Paged(1)] {
        let ((source, image), destination) = (source(from), with(Referrers::Served));
        let vex = Artifact::of(&image.manifest, "application/vex+json", "vex").build();
        let (sbom, signature) = sbom_and_signature(&image.manifest);
        vex.put_into(&source, "x");
        if from == Referrers::Absent {
            let list = list_of(&[&sbom, &vex]);
            source
                .store
                .put_manifest("x", &list_tag(&image.digest()), list);
        }
        let of = |types: &str| {
            let types = format!("--referrers={types}");
            let (from, to) = (source.reference("x:1"), destination.reference("y"));
            counts(&copy(&[&types], &from, &to).exits(0), "1")
        };
        assert_eq!(of(SBOM), json!({"copied": 1, "existing": 0}), "{from:?}");
        let has = |bundle: &Bundle| {
            destination
                .store
                .manifest("y", &bundle.root.digest())
                .is_some()
        };
        assert_eq!(
            (has(&sbom), has(&signature), has(&vex)),
            (true, false, false),
            "{from:?}"
        );
        let filter = source
            .log()
            .into_iter()
            .filter(asks_for_referrers)
            .find_map(|request| request.parameter("artifactType"));
        assert_eq!(
            filter.as_deref(),
            Some(SBOM),
            "the registry is asked for what is wanted"
        );
        assert_eq!(
            of(&format!("{SBOM},{NOTARY}")),
            json!({"copied": 1, "existing": 1}),
            "{from:?}"
        );
        assert!(has(&signature) && !has(&vex));
    }
}

#[test]
fn without_the_flag_nothing_is_asked() {
    let ((source, _), destination) = (source(Referrers::Served), with(Referrers::Served));
    let output = copy(&[], &source.reference("x:1"), &destination.reference("y")).exits(0);
    assert_eq!(output.tag("1").get("referrers"), None);
    for registry in [&source, &destination] {
        let asked = |request: &Request| {
            asks_for_referrers(request)
                || request.is("GET", "/tags/list")
                || request.path.contains("sha256-")
        };
        assert_eq!(registry.count(asked), 0);
    }
}

#[test]
fn it_costs_one_request_a_manifest_and_one_an_artifact() {
    let (source, _) = source(Referrers::Served);
    let destination = with(Referrers::Served);
    copied(&source, &destination).exits(0);
    // The image, its bill of materials, the signature of that.
    assert_eq!(source.count(asks_for_referrers), 3);
    assert_eq!(source.count(|request| request.is("GET", "/tags/list")), 1);
    assert_eq!(source.count(|request| request.is("GET", "/manifests/")), 3);
    assert_eq!(source.count(|request| request.path.contains("sha256-")), 0);
    // Only what something refers to.
    assert_eq!(destination.count(asks_for_referrers), 2);
}

#[test]
fn a_registry_without_the_api_is_asked_once() {
    let (source, image) = (with(Referrers::Absent), super::index());
    image.push_to(&source, "x:1");
    let artifact = |platform| Artifact::of(&image.image(platform).manifest, SBOM, "x").build();
    for platform in ["amd64", "arm64"] {
        let (artifact, digest) = (artifact(platform), image.image(platform).digest());
        artifact.put_into(&source, "x");
        source
            .store
            .put_manifest("x", &list_tag(&digest), list_of(&[&artifact]));
    }
    let destination = with(Referrers::Absent);
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 2, "existing": 0}));
    assert_eq!(source.count(asks_for_referrers), 1);
    assert_eq!(destination.count(asks_for_referrers), 1);
    // One list of its tags tells which others there are to ask for.
    assert_eq!(source.count(|request| request.path.contains("/sha256-")), 2);
}

#[test]
fn a_source_that_does_not_list_its_tags_is_asked_for_each() {
    let ((source, _), destination) = (source(Referrers::Absent), with(Referrers::Served));
    source.fail(
        usize::MAX,
        |request| request.is("GET", "/tags/list"),
        Fault::status(403),
    );
    let output = copied(&source, &destination).exits(0);
    assert_eq!(counts(&output, "1"), json!({"copied": 2, "existing": 0}));
}

#[test]
fn what_refers_comes_behind_its_image_and_before_the_tag() {
    let (source, image) = source(Referrers::Served);
    let destination = with(Referrers::Absent);
    copied(&source, &destination).exits(0);
    let (sbom, signature) = sbom_and_signature(&image.manifest);
    let put = |reference: &str| {
        let path = format!("/v2/y/manifests/{reference}");
        let log = destination.log();
        let place = log
            .iter()
            .position(|request| request.method == "PUT" && request.path == path);
        place.unwrap_or_else(|| panic!("{path} was not put"))
    };
    let order = [
        image.digest(),
        sbom.root.digest(),
        list_tag(&image.digest()),
        signature.root.digest(),
        list_tag(&sbom.root.digest()),
        "1".to_owned(),
    ];
    let places: Vec<usize> = order.iter().map(|reference| put(reference)).collect();
    assert!(places.is_sorted(), "{order:?} {places:?}");
}

/// Two writers on one list, the second between the first's read and write: both entries stay.
#[test]
fn a_list_that_somebody_else_writes_keeps_what_both_write() {
    let ((source, image), destination) = (source(Referrers::Served), with(Referrers::Absent));
    let tag = list_tag(&image.digest());
    let other = Artifact::of(&image.manifest, SBOM, "of somebody else").build();
    let (store, list) = (destination.store.clone(), list_of(&[&other]));
    let (path, their_tag) = (format!("/v2/y/manifests/{tag}"), tag.clone());
    let mut written = 0;
    destination.on(move |request| {
        // Right before each answer that would show our entry, theirs replaces it: twice.
        if request.method == "GET" && request.path == path && written < 3 {
            written += 1;
            if written > 1 {
                store.put_manifest("y", &their_tag, list.clone());
            }
        }
        None
    });
    copied(&source, &destination).exits(0);
    let list = destination.store.manifest("y", &tag).expect("a list");
    let (sbom, _) = sbom_and_signature(&image.manifest);
    let mut both = vec![other.root.digest(), sbom.root.digest()];
    both.sort();
    assert_eq!(listed(&list), both);
}

#[test]
fn a_list_that_is_lost_again_and_again_is_a_conflict() {
    let ((source, image), destination) = (source(Referrers::Served), with(Referrers::Absent));
    let tag = list_tag(&image.digest());
    let other = Artifact::of(&image.manifest, SBOM, "of somebody else").build();
    let (store, list) = (destination.store.clone(), list_of(&[&other]));
    let (path, their_tag) = (format!("/v2/y/manifests/{tag}"), tag.clone());
    destination.on(move |request| {
        if request.method == "GET" && request.path == path {
            store.put_manifest("y", &their_tag, list.clone());
        }
        None
    });
    let output = copied(&source, &destination).exits(1);
    let failed = output.tag("1");
    assert_eq!(failed["error"]["kind"], "conflict", "{failed}");
    let path = format!("/v2/y/manifests/{tag}");
    let puts = destination.count(|request| request.method == "PUT" && request.path == path);
    assert_eq!(puts, 5);
    assert_eq!(
        destination.store.tag("y", "1"),
        None,
        "the image is not shown"
    );
}

#[test]
fn a_list_keeps_what_others_wrote() {
    let ((source, image), destination) = (source(Referrers::Served), with(Referrers::Absent));
    let other = Artifact::of(&image.manifest, SBOM, "of somebody else").build();
    other.put_into(Target::Fake(&destination), "y");
    let text = r#"{"schemaVersion": 2, "mine": 1.50, "manifests": [ENTRY]}"#;
    let entry = format!(
        r#"{{"mediaType":"{OCI_MANIFEST}", "digest":"{}", "size":{}}}"#,
        other.root.digest(),
        other.root.bytes.len()
    );
    let list = Manifest::new(
        crate::support::content::OCI_INDEX,
        text.replace("ENTRY", &entry),
    );
    let tag = list_tag(&image.digest());
    destination.store.put_manifest("y", &tag, list);
    copied(&source, &destination).exits(0);
    let list = destination.store.manifest("y", &tag).expect("a list");
    assert_eq!(listed(&list).len(), 2);
    let text = String::from_utf8_lossy(&list.bytes).into_owned();
    assert!(
        text.contains(&entry) && text.contains(r#""mine":1.50"#),
        "{text}"
    );
}
