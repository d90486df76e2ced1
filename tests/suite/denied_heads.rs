//! Registries that deny by HEAD, or refuse to tell, what they give by GET.

use crate::support::barge::{copy, run};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

const DENIALS: [u16; 6] = [400, 401, 403, 404, 405, 501];

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 51)
}

fn heads_manifest(request: &Request) -> bool {
    request.method == "HEAD" && request.is_manifest()
}

fn heads_blob(request: &Request) -> bool {
    request.is("HEAD", "/blobs/")
}

/// Nexus does so.
#[test]
fn a_source_that_denies_manifests_by_head_is_copied_again_and_again() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    image().push_to(&source, "x:1");
    source.on(|request| heads_manifest(request).then(|| Fault::status(404)));
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    for status in ["copied", "current"] {
        assert_eq!(copy(&[], &from, &to).exits(0).tag("1")["status"], status);
    }
    run(&["verify", "--against", &from, &to]).exits(0);
    let missing = source.reference("x:2");
    let error = copy(&[], &missing, &to).exits(1).tag("2")["error"].clone();
    assert_eq!(error["kind"], "not-found", "{error:#}");
}

#[test]
fn a_blob_is_missing_only_after_a_get_said_so() {
    for status in DENIALS {
        let registry = FakeRegistry::start();
        image().push_to(&registry, "x:1");
        registry.on(move |request| heads_blob(request).then(|| Fault::status(status)));
        let reference = registry.reference("x:1");
        run(&["verify", &reference]).exits(0);
        let gets = |request: &Request| request.is("GET", "/blobs/");
        let ranged = |request: &Request| request.header("range") == Some("bytes=0-0");
        assert!(
            registry.count(|request| gets(request) && ranged(request)) > 0,
            "{status}"
        );
        let layer = image().image("amd64").layers[0].digest();
        registry.store.remove_blob("x", &layer);
        let report = run(&["verify", "-o", "json", &reference]).exits(1).json();
        assert_eq!(report["totals"]["missing_blobs"], 1, "{status}: {report:#}");
        assert_eq!(
            report["tags"][0]["missing"][0]["digest"], layer,
            "{report:#}"
        );
    }
}

#[test]
fn a_destination_that_denies_blobs_by_head_gets_them() {
    for status in DENIALS {
        let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
        image().push_to(&source, "x:1");
        destination.on(move |request| heads_blob(request).then(|| Fault::status(status)));
        let to = destination.reference("y:1");
        for options in [&[][..], &["--recheck", "blobs"]] {
            copy(options, &source.reference("x:1"), &to).exits(0);
            assert_eq!(destination.store.tag("y", "1"), Some(image().digest()));
        }
    }
}
