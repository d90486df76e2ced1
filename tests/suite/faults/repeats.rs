//! A write that was carried out and got no answer is repeated. A registry that refuses the repeat, since what
//! was written must not change, holds what it should.

use super::{copy, index, single, source};
use crate::support::image::{Artifact, list_of, list_tag};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

/// Carries out the first request that is so without an answer, and refuses those that come after it.
fn refuse_repeats(
    registry: &FakeRegistry,
    is_so: impl Fn(&Request) -> bool + Clone + Send + 'static,
    status: u16,
) {
    registry.fail(1, is_so.clone(), Fault::LoseAnswer);
    let refusal = Answer::error(status, "DENIED", &serde_json::json!("immutable"));
    registry.on(move |request| is_so(request).then(|| Fault::Status(refusal.clone())));
}

#[test]
fn counts_put_as_done_when_only_its_repeat_is_refused() {
    let puts: [fn(&Request) -> bool; 2] = [
        |request| request.is("PUT", "/manifests/1"),
        |request| request.is("PUT", &single().digest()),
    ];
    for (is_so, to) in puts.into_iter().zip(["y:1", "y"]) {
        for status in [400, 403, 404, 405, 409, 412] {
            let (source, destination) = (source(&single()), FakeRegistry::start());
            refuse_repeats(&destination, is_so, status);
            let from = match to {
                "y" => format!("x@{}", single().digest()),
                _ => "x:1".to_owned(),
            };
            let run = copy(&source.reference(&from), &destination.reference(to));
            run.run().exits(0);
            assert_eq!(destination.count(is_so), 2, "{status}");
            let stored = destination.store.manifest("y", &single().digest());
            assert_eq!(stored, Some(single().manifest), "{status}");
        }
    }
}

#[test]
fn counts_child_as_there_when_only_its_repeat_is_refused() {
    let (source, destination) = (source(&index()), FakeRegistry::start());
    let child = index().image("amd64").digest();
    refuse_repeats(&destination, move |request| request.is("PUT", &child), 409);
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    assert_eq!(destination.store.tag("y", "1"), Some(index().digest()));
}

#[test]
fn fails_with_the_refusal_when_nothing_was_stored() {
    for (status, kind) in [(403, "denied"), (409, "conflict")] {
        let (source, destination) = (source(&single()), FakeRegistry::start());
        let put = |request: &Request| request.is("PUT", "/manifests/1");
        destination.fail(1, put, Fault::Reset);
        destination.on(move |request| put(request).then(|| Fault::status(status)));
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.run().exits(1);
        assert_eq!(output.tag("1")["error"]["kind"], kind);
    }
}

#[test]
fn does_not_send_a_blob_again_that_arrived_without_an_answer() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    let layer = single().layers[0].digest();
    let put = move |request: &Request| {
        request.is("PUT", "/blobs/uploads/") && request.parameter("digest") == Some(layer.clone())
    };
    refuse_repeats(&destination, put.clone(), 409);
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(0);
    assert_eq!(destination.count(put), 1);
    let bytes = single().layers[0].bytes.len() + single().config.len();
    assert_eq!(output.tag("1")["bytes"], bytes);
}

#[test]
fn lists_an_artifact_when_only_the_repeat_of_its_put_is_refused() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    let sbom = Artifact::of(&single().manifest, "application/spdx+json", "bill").build();
    sbom.put_into(&source, "x");
    let tag = list_tag(&single().digest());
    source.store.put_manifest("x", &tag, list_of(&[&sbom]));
    for reference in [sbom.root.digest(), tag.clone()] {
        let path = format!("/manifests/{reference}");
        refuse_repeats(&destination, move |request| request.is("PUT", &path), 409);
    }
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.arg("--referrers").run().exits(0);
    let found = destination.store.manifest("y", &tag).expect("a list");
    assert_eq!(found.json()["manifests"][0]["digest"], sbom.root.digest());
}
