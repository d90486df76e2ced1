//! Options from `BARGE_…` variables: set once for a CI job, and beaten by every flag.

use serde_json::json;

use crate::support::barge::{Output, barge};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::FakeRegistry;

/// A registry with an index of amd64 and arm64 under three tags.
fn source() -> FakeRegistry {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 51);
    for tag in ["a1", "a2", "b1"] {
        image.push_to(&registry, &format!("x:{tag}"));
    }
    registry
}

/// `barge copy -o json` of `name` with these variables.
fn copy(name: &str, variables: &[(&str, &str)], options: &[&str]) -> (Output, FakeRegistry) {
    let (source, destination) = (source(), FakeRegistry::start());
    let (from, to) = (source.reference(name), destination.reference("x"));
    let mut command = barge()
        .args(["copy", "-o", "json"])
        .args(options)
        .args([&from, &to]);
    for (variable, value) in variables {
        command = command.env(variable, value);
    }
    (command.run(), destination)
}

#[test]
fn a_variable_stands_for_its_option() {
    let variables = [("BARGE_ARCH", "linux/arm64"), ("BARGE_TAGS", "a1\nb.*")];
    let (output, destination) = copy("x", &variables, &[]);
    let report = output.exits(0).json();
    assert_eq!(report["mode"], "filtered-index");
    assert_eq!(report["tags"][0]["platforms"], json!(["linux/arm64"]));
    assert_eq!(destination.store.tags("x"), ["a1", "b1"]);
    let both = [("BARGE_ARCH", "arm64\namd64"), ("BARGE_ALL_TAGS", "true")];
    let (output, destination) = copy("x", &both, &[]);
    let platforms = output.exits(0).tag("a1")["platforms"].clone();
    assert_eq!(platforms, json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(destination.store.tags("x"), ["a1", "a2", "b1"]);
}

#[test]
fn a_flag_beats_its_variable() {
    let variables = [("BARGE_TAGS", "a.*"), ("BARGE_ARCH", "amd64")];
    let (output, destination) = copy("x", &variables, &["--tags", "b.*", "--arch", "arm64"]);
    let platforms = output.exits(0).tag("b1")["platforms"].clone();
    assert_eq!(platforms, json!(["linux/arm64"]));
    assert_eq!(destination.store.tags("x"), ["b1"]);
}

#[test]
fn a_flag_switches_off_what_it_conflicts_with() {
    for (variables, flags, mode) in [
        (&[("BARGE_ARCH", "arm64")][..], &["-a"][..], "all"),
        (
            &[("BARGE_ARCH", "arm64"), ("BARGE_MODE", "sparse-index")],
            &["-a"],
            "all",
        ),
        (
            &[("BARGE_REQUIRE_ARCH", "arm64")],
            &["--mode", "all"],
            "all",
        ),
        (
            &[("BARGE_ALL", "true")],
            &["--arch", "arm64"],
            "filtered-index",
        ),
        (
            &[("BARGE_MODE", "all")],
            &["--arch", "arm64"],
            "filtered-index",
        ),
        (&[("BARGE_ARCH", "")], &[], "all"),
    ] {
        let (output, _) = copy("x:a1", variables, flags);
        assert_eq!(
            output.exits(0).json()["mode"],
            mode,
            "{variables:?} {flags:?}"
        );
    }
}

#[test]
fn variables_are_checked_as_flags_are() {
    for variable in [
        ("BARGE_POLICY", "hope"),
        ("BARGE_ARCH", "linux"),
        ("BARGE_TAGS", "("),
        ("BARGE_JOBS", "0"),
    ] {
        let (output, destination) = copy("x", &[variable], &["--all-tags"]);
        let output = output.exits(2);
        assert_eq!(output.stdout, "", "{variable:?}");
        assert!(!output.stderr.is_empty(), "{variable:?}");
        assert_eq!(destination.log().len(), 0);
    }
}
