//! A proxy that refuses large bodies: the blob goes on in pieces that it takes.

use super::copy;
use crate::support::content::sha256;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::{Answer, Fault, Request};

fn image() -> Image {
    ImageSpec::new("linux", "arm64")
        .layers(2, 3_000_000)
        .build()
}

fn length(request: &Request) -> u64 {
    request
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// As nginx with `client_max_body_size`.
fn refuses_over(limit: u64) -> impl FnMut(&Request) -> Option<Fault> + Send {
    move |request| (length(request) > limit).then(|| Fault::Status(Answer::new(413)))
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

#[test]
fn a_refused_body_goes_on_in_pieces_into_a_real_registry() {
    let source = source();
    let registry = DockerRegistry::start();
    let proxy = Proxy::start(registry.host());
    proxy.on(refuses_over(1 << 20));
    copy(&source.reference("x:1"), &proxy.reference("y:1"))
        .run()
        .exits(0);
    let patches = proxy
        .log()
        .into_iter()
        .filter(|request| request.method == "PATCH");
    assert!(
        patches
            .map(|request| length(&request))
            .filter(|length| *length <= 1 << 20)
            .count()
            >= 6
    );
    let raw = skopeo::inspect_raw(&registry.reference("y:1"));
    assert_eq!(sha256(&raw), image().digest());
    for layer in &image().layers {
        assert_eq!(
            registry.client().blob("y", &layer.digest()).as_deref(),
            Some(&layer.bytes[..])
        );
    }
}

#[test]
fn a_refusal_before_the_body_was_read_is_seen() {
    let source = source();
    let registry = DockerRegistry::start();
    let proxy = Proxy::start(registry.host());
    proxy.on(|request| {
        let refusal = Fault::Early(Answer::new(413));
        (length(request) > 1 << 20).then_some(refusal)
    });
    let copied = copy(&source.reference("x:1"), &proxy.reference("y:1"))
        .run()
        .exits(0);
    for layer in &image().layers {
        let stored = registry.client().blob("y", &layer.digest());
        assert_eq!(stored.as_deref(), Some(&layer.bytes[..]));
    }
    let refused = proxy.count(|request| request.status == 413);
    assert!(refused <= 4, "{refused} bodies of two blobs: {copied:#?}");
}

#[test]
fn a_host_that_refuses_every_piece_is_named_with_what_to_raise() {
    let (source, destination) = (source(), FakeRegistry::start());
    destination.on(refuses_over(1000));
    let output = copy(&source.reference("x:1"), &destination.reference("y:1"))
        .run()
        .exits(1);
    let error = output.tag("1")["error"].clone();
    assert_eq!(error["kind"], "unsupported", "{error:#}");
    assert!(
        error["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("client_max_body_size")),
        "{error:#}"
    );
    assert_eq!(destination.store.tags("y"), Vec::<String>::new());
}

#[test]
fn a_registry_that_wants_larger_pieces_than_its_proxy_takes_is_not_asked_for_ever() {
    let (source, destination) = (source(), FakeRegistry::start());
    // The config too: the upload that all get is none, and 404 to that would end the tag first.
    destination.on(refuses_over(100));
    let opened = Answer::new(202)
        .header("Location", "/v2/y/blobs/uploads/session-1?state=session-1")
        .header("OCI-Chunk-Min-Length", "2500000");
    // As many as would be asked for in a while; at last it gives way.
    destination.fail(
        50,
        |request| request.is("POST", "/blobs/uploads/"),
        Fault::Status(opened),
    );
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(1);
    let refused = destination.count(|request| request.status == 413);
    assert!(
        (1..=6).contains(&refused),
        "{refused} bodies of two blobs: {output:#?}"
    );
}
