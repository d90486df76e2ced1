//! Sources that lack what was asked for: which tags fail, which are left out, and what is said.

use serde_json::{Value, json};

use crate::support::barge::{copy, run};
use crate::support::image::{Attestations, ImageSpec, MultiArch};
use crate::support::registry::FakeRegistry;

/// A registry with an index of amd64 and arm64 at `x:both`, and an amd64 image at `x:single`.
fn source() -> FakeRegistry {
    let registry = FakeRegistry::start();
    let index = MultiArch::standard(&["amd64", "arm64"], Attestations::With, 5);
    index.push_to(&registry, "x:both");
    let single = ImageSpec::new("linux", "amd64").layers(1, 300).build();
    single.push_to(&registry, "x:single");
    registry
}

/// Copies every tag; the exit code and the report.
fn copy_tags(options: &[&str]) -> (i32, Value, FakeRegistry) {
    let (source, destination) = (source(), FakeRegistry::start());
    let options = [options, &["--all-tags"]].concat();
    let output = copy(
        &options,
        &source.reference("x"),
        &destination.reference("x"),
    );
    let (code, report) = (output.code.expect("it ended by itself"), output.json());
    (code, report, destination)
}

fn message(tag: &Value) -> &str {
    tag["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn none_of_the_platforms_fails_the_tag() {
    let (code, report, destination) = copy_tags(&["--arch", "s390x,linux/ppc64le"]);
    assert_eq!((code, &report["outcome"]), (1, &json!("failed")));
    for tag in report["tags"].as_array().expect("tags") {
        assert_eq!(tag["status"], "failed");
        assert_eq!(tag["error"]["kind"], "missing-platform");
        let said = message(tag);
        let words = ["s390x", "linux/ppc64le", "linux/amd64"];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    assert!(message(&report["tags"][0]).contains("linux/arm64"));
    assert_eq!(destination.store.repositories(), [""; 0]);
}

#[test]
fn none_of_the_platforms_skips_the_tag_on_request() {
    for mode in ["filtered-index", "sparse-index"] {
        let options = ["--arch", "arm64", "--mode", mode, "--missing-arch", "skip"];
        let (source, destination) = (source(), FakeRegistry::start());
        destination.configure(|settings| settings.sparse = crate::support::registry::Sparse::On);
        let options = [&options[..], &["--tags", "both|single"]].concat();
        let output = copy(
            &options,
            &source.reference("x"),
            &destination.reference("x"),
        )
        .exits(0);
        assert_eq!(output.tag("both")["status"], "copied");
        let skipped = output.tag("single");
        assert_eq!(skipped["status"], "skipped");
        assert_eq!(skipped["error"]["kind"], "missing-platform");
        assert!(message(&skipped).contains("linux/amd64"), "{skipped}");
        let totals = &output.json()["totals"];
        assert_eq!(
            (&totals["copied"], &totals["skipped"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(destination.store.tags("x"), ["both"]);
    }
}

#[test]
fn skipped_tags_alone_are_a_success() {
    let options = ["--arch", "s390x", "--missing-arch", "skip"];
    let (code, report, destination) = copy_tags(&options);
    assert_eq!((code, &report["outcome"]), (0, &json!("success")));
    assert_eq!(report["totals"]["skipped"], 2);
    assert_eq!(destination.store.repositories(), [""; 0]);
}

#[test]
fn skipping_is_said_to_people_too() {
    let (source, destination) = (source(), FakeRegistry::start());
    let (from, to) = (source.reference("x"), destination.reference("x"));
    let output = run(&[
        "copy",
        "--arch",
        "arm64",
        "--missing-arch",
        "skip",
        "--all-tags",
        &from,
        &to,
    ]);
    let output = output.exits(0);
    let line = output
        .stdout
        .lines()
        .find(|line| line.starts_with("single"));
    assert!(
        line.is_some_and(|line| line.contains("skipped")),
        "{output:#?}"
    );
}

#[test]
fn some_of_the_platforms_are_copied_and_the_others_named() {
    let (code, report, destination) = copy_tags(&["--arch", "amd64,s390x,linux/riscv64"]);
    assert_eq!((code, &report["outcome"]), (0, &json!("success")));
    for tag in report["tags"].as_array().expect("tags") {
        assert_eq!(tag["status"], "copied");
        assert_eq!(tag["platforms"], json!(["linux/amd64"]));
        assert_eq!(tag["missing_platforms"], json!(["s390x", "linux/riscv64"]));
    }
    assert_eq!(destination.store.tags("x"), ["both", "single"]);
}

#[test]
fn a_required_platform_has_to_be_there() {
    for missing in ["fail", "skip"] {
        let options = [
            "--arch",
            "amd64",
            "--require-arch",
            "arm64",
            "--missing-arch",
            missing,
        ];
        let (code, report, destination) = copy_tags(&options);
        assert_eq!(
            (code, &report["outcome"]),
            (3, &json!("partial")),
            "{missing}"
        );
        let [both, single] = [&report["tags"][0], &report["tags"][1]];
        assert_eq!(both["status"], "copied");
        // What is required is asked for as well.
        assert_eq!(both["platforms"], json!(["linux/amd64", "linux/arm64"]));
        assert_eq!(single["error"]["kind"], "required-arch");
        assert!(message(single).contains("arm64"), "{single}");
        assert!(message(single).contains("linux/amd64"), "{single}");
        assert_eq!(destination.store.tags("x"), ["both"]);
    }
}

#[test]
fn a_required_platform_alone_filters() {
    let (code, report, _) = copy_tags(&["--require-arch", "amd64"]);
    assert_eq!((code, &report["mode"]), (0, &json!("filtered-index")));
    assert_eq!(report["tags"][0]["platforms"], json!(["linux/amd64"]));
    assert_eq!(
        report["tags"][0]["omitted_platforms"],
        json!(["linux/arm64"])
    );
    let (code, report, _) = copy_tags(&["--require-arch", "s390x", "--missing-arch", "skip"]);
    assert_eq!((code, &report["totals"]["failed"]), (1, &json!(2)));
}

#[test]
fn a_blob_that_the_source_has_lost_is_to_be_pushed_again() {
    let (source, destination) = (source(), FakeRegistry::start());
    let single = ImageSpec::new("linux", "amd64").layers(1, 300).build();
    source.store.remove_blob("x", &single.layers[0].digest());
    let (from, to) = (source.reference("x:single"), destination.reference("x"));
    let error = copy(&[], &from, &to).exits(1).tag("single")["error"].clone();
    assert_eq!(error["kind"], "not-found");
    let hint = error["hint"].as_str().expect("a hint");
    assert!(
        hint.contains("push it again") && !hint.contains("name"),
        "{hint}"
    );
}

#[test]
fn the_last_line_counts_tags_that_lack_a_platform() {
    let (source, destination) = (source(), FakeRegistry::start());
    let (from, to) = (source.reference("x"), destination.reference("x"));
    let output = run(&["copy", "--all-tags", "--arch", "amd64,arm64", &from, &to]).exits(0);
    let last = output.stdout.lines().last().expect("a line");
    assert!(
        last.starts_with("2 tags: 2 copied; 1 tag lacks arm64; "),
        "{last}"
    );
}
