//! Options from `BARGE_…` variables: set once for a CI job, and beaten by every flag.

use serde_json::json;
use tempfile::tempdir;

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

/// What a variable says may be meant for other runs: it makes none fail, and is never followed in silence.
#[test]
fn what_the_destination_cannot_hold_is_told() {
    let (source, directory) = (source(), tempdir().expect("a directory"));
    let path = directory.path().join("docker.tar").display().to_string();
    let (file, from) = (format!("docker-archive:{path}"), source.reference("x:a1"));
    let run = |variable: &str, value: &str, options: &[&str], to: &str| {
        let arguments = [
            &["copy", "--arch", "amd64", "--force"],
            options,
            &[&from, to],
        ]
        .concat();
        barge().args(&arguments).env(variable, value).run()
    };
    let registry = FakeRegistry::start();
    for (variable, value, to) in [
        ("BARGE_REFERRERS", "all", &file),
        ("BARGE_PRESERVE_DIGESTS", "true", &file),
        ("BARGE_MODE", "sparse-index", &file),
        ("BARGE_HAVE", "have.json", &file),
        ("BARGE_HAVE", "have.json", &registry.reference("y")),
    ] {
        let output = run(variable, value, &[], to).exits(0);
        let says = format!("{variable} is disregarded: ");
        assert!(output.stderr.contains(&says), "{output:#?}");
        assert!(!output.stdout.contains("REFERRERS"), "{output:#?}");
    }
    for (variable, value) in [
        ("BARGE_REFERRERS", "false"),
        ("BARGE_PRESERVE_DIGESTS", "no"),
        ("BARGE_MODE", "filtered-index"),
    ] {
        let output = run(variable, value, &[], &file).exits(0);
        assert_eq!(output.stderr, "", "{variable}");
    }
    // A flag that cannot be kept is refused, whatever its variable says.
    run("BARGE_REFERRERS", "all", &["--referrers"], &file).exits(2);
    run(
        "BARGE_PRESERVE_DIGESTS",
        "true",
        &["--preserve-digests"],
        &file,
    )
    .exits(2);
    // As a source such an archive has none, and that is what is told.
    let output = barge()
        .args(["copy", "-o", "json", &file, &registry.reference("z:1")])
        .env("BARGE_REFERRERS", "all")
        .run()
        .exits(0);
    let counts = &output.json()["tags"][0]["referrers"];
    assert_eq!(*counts, json!({"copied": 0, "existing": 0}));
}
