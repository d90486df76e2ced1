//! Names, labels and values that are far longer than honest ones: shown cut, kept whole in JSON.

use std::fs;

use serde_json::json;
use tempfile::tempdir;

use crate::support::barge::{Output, copy, run};
use crate::support::content::{Manifest, OCI_MANIFEST};
use crate::support::image::{Form, Image, ImageSpec, IndexBuilder, MultiArch, write_layout};
use crate::support::registry::FakeRegistry;

/// More than a width of the standard library's formatting can be.
const LETTERS: usize = 70_000;

/// An index of two images, one of them for an architecture with an outsize name.
fn index() -> (MultiArch, String) {
    let architecture = "a".repeat(LETTERS);
    let image = |architecture: &str| ImageSpec::new("linux", architecture).layers(1, 300).build();
    let index = IndexBuilder::new(Form::Oci)
        .image(&image("arm64"))
        .image(&image(&architecture))
        .build();
    (index, format!("linux/{architecture}"))
}

fn image() -> Image {
    let spec = ImageSpec::new("linux", "arm64");
    spec.layers(1, 300).build()
}

/// Each line that a terminal gets is of a bearable length.
#[track_caller]
fn is_cut(output: &Output, longest: usize) {
    for line in output.stdout.lines().chain(output.stderr.lines()) {
        let length = line.chars().count();
        assert!(length <= longest, "{length}: {line:.200}");
    }
    assert!(
        output.stdout.contains('…') || output.stderr.contains('…'),
        "{output:#?}"
    );
}

#[test]
fn tables_cut_cells_with_outsize_platforms_and_reports_keep_them() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let (index, platform) = index();
    index.push_to(&source, "x:1");
    let directory = tempdir().expect("a temporary directory");
    let report = directory.path().join("report.json");
    let (from, to) = (source.reference("x:1"), destination.reference("x:1"));
    let file = report.display().to_string();
    let output = run(&["copy", "--report", &file, &from, &to]).exits(0);
    is_cut(&output, 1000);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(&report).expect("the report is written")).expect("JSON");
    assert_eq!(report["outcome"], "success");
    assert_eq!(report["tags"][0]["platforms"][1], platform);

    is_cut(&run(&["verify", &to]).exits(0), 1000);
    is_cut(&run(&["inspect", &to]).exits(0), 1000);
    let shown = run(&["inspect", "-o", "json", &to]).exits(0).json();
    assert_eq!(shown["platforms"][1]["platform"], platform);
}

#[test]
fn tables_cut_outsize_refs_and_reports_keep_them() {
    let directory = tempdir().expect("a temporary directory");
    let reference = "r".repeat(LETTERS);
    let bundle = (&image()).into();
    let source = write_layout(&directory.path().join("source"), &[(&reference, bundle)]);
    let from = source.reference("");
    let to = format!("oci:{}", directory.path().join("copy").display());
    is_cut(&run(&["copy", "--all-tags", &from, &to]).exits(0), 1000);
    is_cut(&run(&["verify", "--all-tags", &to]).exits(0), 1000);
    let again = copy(&["--all-tags"], &from, &to).exits(0);
    assert_eq!(again.tag(&reference)["status"], "current");

    // A registry cannot have such a tag, and the error names it.
    let destination = FakeRegistry::start();
    let to = destination.reference("x");
    is_cut(&run(&["copy", "--all-tags", &from, &to]).exits(1), 6000);
    let listed = run(&["list-tags", &from]).exits(0);
    assert_eq!(
        listed.stdout.trim_end(),
        reference,
        "it is input of scripts"
    );
}

#[test]
fn inspect_cuts_outsize_labels_in_text_alone() {
    let registry = FakeRegistry::start();
    let value = "v".repeat(LETTERS);
    let image = ImageSpec::new("linux", "arm64").label("long", &value);
    image.build().push_to(&registry, "x:1");
    let reference = registry.reference("x:1");
    is_cut(&run(&["inspect", &reference]).exits(0), 1000);
    let shown = run(&["inspect", "-o", "json", &reference]).exits(0).json();
    assert_eq!(shown["labels"]["long"], value);
}

#[test]
fn errors_cut_outsize_values_of_a_manifest() {
    let (registry, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let manifest = json!({"layers": "l".repeat(LETTERS)});
    let manifest = Manifest::new(OCI_MANIFEST, manifest.to_string());
    registry.store.put_manifest("x", "1", manifest);
    let (from, to) = (registry.reference("x:1"), destination.reference("x:1"));
    for arguments in [
        &["copy", &from, &to][..],
        &["verify", &from],
        &["inspect", &from],
    ] {
        let output = run(arguments).exits(1);
        let lines = output.stdout.lines().chain(output.stderr.lines());
        let longest = lines.map(str::len).max();
        assert!(longest < Some(6000), "{arguments:?}: {longest:?}");
    }
    let output = copy(&[], &from, &to).exits(1);
    let error = &output.tag("1")["error"];
    assert_eq!(error["kind"], "invalid-manifest");
    let message = error["message"].as_str().expect("a message");
    assert!(message.len() < 6000, "{}", message.len());
}
