//! A registry that says that it has a blob, and refuses the manifest for lack of it.

use crate::support::barge::copy;
use crate::support::image::{Image, ImageSpec};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

fn image() -> Image {
    ImageSpec::new("linux", "arm64").layers(2, 3000).build()
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

/// A registry that says by HEAD, and by a mount, that it has each blob.
fn liar() -> FakeRegistry {
    let destination = FakeRegistry::start();
    let image = image();
    let size = move |request: &Request| {
        let layers = image.layers.iter().map(|layer| &layer.bytes);
        let mut blobs = layers.chain([&image.config]);
        let blob = blobs.find(|blob| {
            request
                .path
                .ends_with(&crate::support::content::sha256(blob))
        });
        blob.map(|blob| blob.len().to_string())
    };
    destination.on(move |request| {
        let mounts = request.method == "POST" && request.query.contains("mount=");
        if request.is("HEAD", "/blobs/") {
            let size = size(request)?;
            return Some(Fault::Status(
                Answer::new(200).header("Content-Length", size),
            ));
        }
        mounts.then(|| Fault::status(201))
    });
    destination
}

#[test]
fn gets_the_blobs_that_it_said_to_have() {
    for policy in ["best-effort", "rollback"] {
        let (source, destination) = (source(), liar());
        let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
        let output = copy(&["--policy", policy], &from, &to).exits(0);
        assert_eq!(output.tag("1")["status"], "copied");
        for layer in &image().layers {
            assert!(destination.store.has_blob("y", &layer.digest()));
        }
        assert_eq!(destination.store.tag("y", "1"), Some(image().digest()));
    }
}

#[test]
fn is_told_with_both_answers_when_it_refuses_again() {
    let (source, destination) = (source(), liar());
    let puts = |request: &Request| request.is("PUT", "/blobs/uploads/");
    destination.on(move |request| puts(request).then(|| Fault::status(201)));
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let error = copy(&[], &from, &to).exits(1).tag("1")["error"].clone();
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("contradicts itself"), "{message}");
    assert_eq!(
        message.matches("HTTP 400: MANIFEST_BLOB_UNKNOWN").count(),
        2,
        "{message}"
    );
    assert_eq!(destination.store.tag("y", "1"), None);
}
