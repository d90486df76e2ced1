//! Servers that compress what was asked for as it is stored, and those that only say so.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{copy, single, source};
use crate::support::barge::barge;
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all").into()
}

/// How an answer is spoilt.
#[derive(Clone, Copy, Debug)]
struct Way {
    label: &'static str,
    /// Whether the label is true.
    encodes: bool,
    length: Length,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Told,
    Untold,
}

impl Way {
    const fn gzip(encodes: bool, length: Length) -> Self {
        Self {
            label: "gzip",
            encodes,
            length,
        }
    }

    fn answer(self, media_type: &str, stored: &[u8]) -> Answer {
        let body = if self.encodes {
            gzip(stored)
        } else {
            Bytes::copy_from_slice(stored)
        };
        let answer = Answer::new(200).body(media_type, body);
        let answer = answer.header("Content-Encoding", self.label);
        match self.length {
            Length::Told => answer,
            Length::Untold => answer.header("Transfer-Encoding", "chunked"),
        }
    }
}

/// What it holds as `part` of the repository `x`, answered this way.
fn encodes(registry: &FakeRegistry, part: &'static str, way: Way) {
    let store = registry.store.clone();
    registry.on(move |request: &Request| {
        let name = request.path.rsplit('/').next()?;
        if !request.is("GET", part) {
            return None;
        }
        let answer = match part {
            "/manifests/" => {
                let manifest = store.manifest("x", name)?;
                way.answer(&manifest.media_type, &manifest.bytes)
            }
            _ => way.answer("application/octet-stream", &store.blob("x", name)?),
        };
        Some(Fault::Status(answer))
    });
}

const WAYS: [Way; 4] = [
    Way::gzip(true, Length::Told),
    Way::gzip(true, Length::Untold),
    Way::gzip(false, Length::Told),
    Way::gzip(false, Length::Untold),
];

/// Copies `x:1` from `source`, and compares.
#[track_caller]
fn arrives(source: &FakeRegistry) {
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.args(["--retry-times", "0"]).run().exits(0);
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(single().manifest)
    );
    let layer = single().layers[0].digest();
    let stored = source.store.blob("x", &layer);
    assert_eq!(destination.store.blob("y", &layer), stored);
}

#[test]
fn asks_for_everything_as_it_is_stored() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    for registry in [&source, &destination] {
        registry.configure(|settings| {
            settings.auth =
                crate::support::registry::Auth::Bearer(crate::support::registry::Bearer::default());
        });
    }
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    for request in source.log().iter().chain(&destination.log()) {
        assert_eq!(
            request.header("accept-encoding"),
            Some("identity"),
            "{request:#?}"
        );
    }
}

#[test]
fn manifests_under_the_label_of_gzip_are_read() {
    for way in WAYS {
        let source = source(&single());
        encodes(&source, "/manifests/", way);
        arrives(&source);
    }
}

#[test]
fn blobs_under_the_label_of_gzip_are_read() {
    for way in WAYS {
        let source = source(&single());
        encodes(&source, "/blobs/", way);
        arrives(&source);
        assert_eq!(source.count(Request::reads_blob), 2, "{way:?}");
    }
}

#[test]
fn other_encodings_are_named() {
    for (part, label) in [
        ("/manifests/", "br"),
        ("/blobs/", "zstd"),
        ("/blobs/", "gzip, br"),
    ] {
        let source = source(&single());
        let way = Way { label, ..WAYS[0] };
        encodes(&source, part, way);
        let run = copy(&source.reference("x:1"), "oci:y");
        let error = run.run().exits(1).tag("1")["error"].clone();
        assert_eq!(error["kind"], "protocol", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(&format!("`{label}`")), "{message}");
        let hint = error["hint"].as_str().expect("a hint");
        assert!(hint.contains("identity"), "{hint}");
    }
}

#[test]
fn refusals_and_lists_under_the_label_of_gzip_are_read() {
    let source = source(&single());
    let list = serde_json::json!({"name": "x", "tags": ["of-the-list"]}).to_string();
    let answer = WAYS[0].answer("application/json", list.as_bytes());
    source.fail(
        1,
        |request| request.is("GET", "/tags/"),
        Fault::Status(answer),
    );
    let run = barge().args(["list-tags", &source.reference("x")]);
    assert_eq!(run.run().exits(0).stdout, "of-the-list\n");
    let refusal = serde_json::json!({"error": "your plan has ended"}).to_string();
    for label in ["gzip", "br"] {
        let way = Way { label, ..WAYS[0] };
        let mut answer = way.answer("application/json", refusal.as_bytes());
        answer.status = 403;
        source.behave();
        source.fail(2, Request::is_manifest, Fault::Status(answer));
        let run = barge().args(["inspect", &source.reference("x:1")]);
        let said = run.run().exits(1).stderr;
        assert!(said.contains("403"), "{said}");
        assert_eq!(
            said.contains("your plan has ended"),
            label == "gzip",
            "{said}"
        );
    }
}

#[test]
fn an_encoded_range_is_read_again_from_the_start() {
    let source = source(&single());
    let layer = single().layers[0].digest();
    let is_layer = move |request: &Request| request.is("GET", &layer);
    source.fail(1, is_layer.clone(), Fault::CutBody(100_000));
    let range = Answer::new(206)
        .body("application/octet-stream", gzip(b"of another body"))
        .header("Content-Encoding", "gzip")
        .header("Content-Range", "bytes 100000-100030/100031");
    let has_range = is_layer.clone();
    let is_resumed =
        move |request: &Request| has_range(request) && request.header("range").is_some();
    source.fail(1, is_resumed, Fault::Status(range));
    // The first read is cut; from then on the layer comes encoded.
    let bytes = single().layers[0].bytes.clone();
    let again = is_layer.clone();
    source.on(move |request| {
        let answer = WAYS[1].answer("application/octet-stream", &bytes);
        again(request).then_some(Fault::Status(answer))
    });
    let run = copy(&source.reference("x:1"), "oci:y");
    run.run().exits(0);
    let log = source.log().into_iter().filter(is_layer);
    let ranges: Vec<bool> = log
        .map(|request| request.header("range").is_some())
        .collect();
    assert_eq!(ranges, [false, true, false]);
}

#[test]
fn what_decodes_to_more_than_it_may_is_refused() {
    let bomb = |size: usize| WAYS[0].answer("application/octet-stream", &vec![b' '; size]);
    let source = source(&single());
    source.fail(
        9,
        |request| request.is("GET", "/manifests/"),
        Fault::Status(bomb(9 << 20)),
    );
    let run = copy(&source.reference("x:1"), "oci:y");
    let error = run.run().exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "invalid-manifest", "{error:#}");
    source.behave();
    source.fail(
        9,
        |request| request.is("GET", "/blobs/"),
        Fault::Status(bomb(64 << 20)),
    );
    let run = copy(&source.reference("x:1"), "oci:y");
    let error = run.run().exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "digest-mismatch", "{error:#}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("longer than"), "{message}");
}
