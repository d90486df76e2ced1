//! Texts that others wrote never reach a terminal as they came.

use std::fs;

use serde_json::json;
use tempfile::tempdir;

use super::{copy, single, source};
use crate::support::barge::{Output, barge};
use crate::support::content::{Manifest, OCI_INDEX};
use crate::support::image::{Bundle, Entry, Form, IndexBuilder, Platform, write_layout};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault};

/// Colours, a C1 control, a bell, a carriage return and a mark that turns text round.
const EVIL: &str = "\u{1b}[31mred\u{9b}2J\u{7}\rover\u{202e}txt";

#[track_caller]
fn is_clean(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let bad = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!text.contains(bad), "{output:#?}");
    }
}

/// Runs it with both forms of output and all that it can say.
#[track_caller]
fn says_it_clean(arguments: &[&str]) -> [Output; 2] {
    [&["-vv", "-o", "text"][..], &["-vv", "-o", "json"]].map(|form| {
        let output = barge().args(arguments).args(form).run();
        is_clean(&output);
        output
    })
}

#[test]
fn error_bodies_are_cleaned() {
    let envelope =
        json!({"errors": [{"code": EVIL, "message": EVIL, "detail": {"message": EVIL}}]});
    let answers = [
        Answer::new(404).json(&envelope),
        Answer::new(403).json(&json!({ "error": EVIL })),
        Answer::new(400).body("text/plain", EVIL),
        Answer::new(503).body("text/plain", EVIL),
    ];
    let target = FakeRegistry::start();
    for answer in answers {
        let source = source(&single());
        source.on(move |request| {
            let fault = Fault::Status(answer.clone());
            request.is_manifest().then_some(fault)
        });
        let [from, to] = [source.reference("x:1"), target.reference("y:1")];
        let [text, _] = says_it_clean(&["copy", "--retry-times", "1", &from, &to]);
        text.exits(1);
        says_it_clean(&["inspect", "--retry-times", "1", &from]);
    }
}

#[test]
fn tag_names_are_cleaned() {
    let source = source(&single());
    source.store.put_manifest("x", EVIL, single().manifest);
    source
        .store
        .put_manifest("x", "two\nlines", single().manifest);
    let target = FakeRegistry::start();
    let [from, to] = [source.reference("x"), target.reference("y")];
    says_it_clean(&["copy", "--all-tags", &from, &to]);
    says_it_clean(&["list-tags", &from]);
    assert_eq!(target.store.tags("y"), ["1"]);
}

#[test]
fn platforms_are_cleaned() {
    let image = single();
    let platform = Platform {
        os: EVIL.to_owned(),
        architecture: EVIL.to_owned(),
        variant: Some(EVIL.to_owned()),
        os_version: Some(EVIL.to_owned()),
    };
    let index = IndexBuilder::new(Form::Oci)
        .entry(Entry::image(&image).platform(platform))
        .build();
    let source = source(&index);
    let target = FakeRegistry::start();
    let [from, to] = [source.reference("x:1"), target.reference("y:1")];
    says_it_clean(&["copy", "--arch", "arm64", &from, &to]);
    let [text, json] = says_it_clean(&["copy", &from, &to]);
    text.exits(0);
    json.exits(0);
    says_it_clean(&["inspect", &from]);
}

#[test]
fn labels_and_references_of_a_layout_are_cleaned() {
    let image = crate::support::image::ImageSpec::new("linux", "arm64")
        .label(EVIL, EVIL)
        .layers(1, 100)
        .build();
    let directory = tempdir().expect("a temporary directory");
    let bundle = Bundle::from(&image);
    let layout = write_layout(directory.path(), &[(EVIL, bundle.clone()), ("b", bundle)]);
    let target = FakeRegistry::start();
    let to = target.reference("y");
    says_it_clean(&["copy", "--all-tags", &layout.reference(""), &to]);
    says_it_clean(&["copy", &layout.reference(""), &target.reference("y:1")]);
    says_it_clean(&["list-tags", &layout.reference("")]);
    says_it_clean(&["inspect", &layout.reference("b")]);
}

#[test]
fn headers_and_media_types_are_cleaned() {
    let source = FakeRegistry::start();
    let entry = json!({"mediaType": EVIL, "digest": EVIL, "size": 5});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    let manifest = Manifest::new(OCI_INDEX, index.to_string());
    source.store.put_manifest("x", "1", manifest);
    let target = FakeRegistry::start();
    let [from, to] = [source.reference("x:1"), target.reference("y:1")];
    says_it_clean(&["copy", &from, &to]);
    says_it_clean(&["inspect", &from]);
}

#[test]
fn a_challenge_is_cleaned() {
    let source = source(&single());
    let realm = "Bearer realm=\"ftp://h/\u{9b}2J\",service=\"a\u{9b}2J\"";
    source.on(move |_| {
        let challenge = Answer::new(401).header("WWW-Authenticate", realm);
        Some(Fault::Status(challenge))
    });
    let target = FakeRegistry::start();
    let [from, to] = [source.reference("x:1"), target.reference("y:1")];
    says_it_clean(&["copy", "--src-creds", "u:p", &from, &to]);
}

#[test]
fn raw_bytes_are_given_as_they_are() {
    let source = source(&single());
    let run = barge().args(["inspect", "--raw", &source.reference("x:1")]);
    let output = run.run().exits(0);
    assert_eq!(output.stdout.as_bytes(), single().manifest.bytes);
}

#[test]
fn a_report_file_is_json_whatever_is_in_it() {
    let source = source(&single());
    source.on(|request| {
        let fault = Fault::Status(Answer::new(404).body("text/plain", EVIL));
        request.is_manifest().then_some(fault)
    });
    let target = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &target.reference("y:1"));
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("report.json");
    run.arg("--report").arg(&file).run().exits(1);
    let text = fs::read_to_string(&file).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["outcome"], "failed");
}
