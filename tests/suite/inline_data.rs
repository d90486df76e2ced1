//! Content that stands in its descriptor, for a blob that the source has lost or serves empty.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::copy;
use crate::support::content::{Manifest, OCI_LAYER, OCI_MANIFEST, sha256};
use crate::support::image::{Layer, Layout};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

const CONFIG: &[u8] = b"{}";

/// An artifact whose config is empty, as those of ORAS and cosign are, with the `data` of that.
fn artifact(data: &[u8]) -> (Manifest, Bytes) {
    let layer = Layer::random(91, 700).bytes;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x-thing",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": sha256(CONFIG),
            "size": CONFIG.len(),
            "data": STANDARD.encode(data),
        },
        "layers": [{"mediaType": OCI_LAYER, "digest": sha256(&layer), "size": layer.len()}],
    });
    (Manifest::new(OCI_MANIFEST, manifest.to_string()), layer)
}

fn source(data: &[u8]) -> FakeRegistry {
    let (manifest, layer) = artifact(data);
    let source = FakeRegistry::start();
    source.store.put_blob("x", layer);
    source.store.put_manifest("x", "1", manifest);
    source
}

#[test]
fn stands_in_for_a_blob_that_is_lost_or_empty() {
    for is_empty in [false, true] {
        let source = source(CONFIG);
        if is_empty {
            let config = sha256(CONFIG);
            let asked = move |request: &Request| request.reads() && request.path.ends_with(&config);
            source.on(move |request| asked(request).then(|| Fault::Status(Answer::new(200))));
        }
        let directory = tempdir().expect("a temporary directory");
        let layout = Layout::at(&directory.path().join("layout"));
        let destination = FakeRegistry::start();
        let archive = format!("oci-archive:{}", directory.path().join("a.tar").display());
        for to in [destination.reference("y:1"), layout.reference("1"), archive] {
            let tag = copy(&[], &source.reference("x:1"), &to).exits(0).tag("1");
            assert_eq!(tag["status"], "copied", "{to}");
        }
        assert!(destination.store.has_blob("y", &sha256(CONFIG)));
        assert_eq!(layout.blob(&sha256(CONFIG)).as_deref(), Some(CONFIG));
        // And out of a layout that has lost it.
        std::fs::remove_file(layout.blob_path(&sha256(CONFIG))).expect("it is there");
        let other = FakeRegistry::start();
        copy(
            &["--dry-run"],
            &layout.reference("1"),
            &other.reference("z:1"),
        )
        .exits(0);
        copy(&[], &layout.reference("1"), &other.reference("z:1")).exits(0);
    }
}

#[test]
fn is_no_content_where_it_is_not_what_the_digest_says() {
    let (source, destination) = (source(b"[]"), FakeRegistry::start());
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let error: Value = copy(&[], &from, &to).exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "not-found", "{error:#}");
}
