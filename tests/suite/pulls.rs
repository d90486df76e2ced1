//! Registries that count pulls: a run says when none are left.

use crate::support::barge::{Output, copy};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::{FakeRegistry, Settings};

/// Ten tags: an index and two images each, so 30 pulls.
fn run(pulls: u64) -> Output {
    let source = FakeRegistry::start();
    for tag in 0..10 {
        let index = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 100 + tag);
        index.push_to(&source, &format!("x:{tag}"));
    }
    source.configure(|settings| {
        *settings = Settings {
            pulls: Some(pulls),
            ..Settings::default()
        }
    });
    let destination = FakeRegistry::start();
    copy(
        &["--all-tags", "--retry-times", "0"],
        &source.reference("x"),
        &destination.reference("y"),
    )
}

#[test]
fn warns_once_when_no_pulls_are_left() {
    let output = run(30).exits(0);
    let warnings = output.stderr.matches("allows no more pulls").count();
    assert_eq!(warnings, 1, "{output:#?}");
}

#[test]
fn a_run_within_the_limit_says_nothing() {
    let output = run(200).exits(0);
    assert!(!output.stderr.contains("pulls"), "{output:#?}");
}

#[test]
fn a_limit_that_was_met_is_named() {
    let output = run(25).exits(3).json();
    let tags = output["tags"].as_array().into_iter().flatten();
    let kinds: Vec<_> = tags
        .filter_map(|tag| tag["error"]["kind"].as_str())
        .collect();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == "rate-limited"),
        "{output:#}"
    );
}
