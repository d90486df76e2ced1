//! What is advised names the options that the command has: those of the side where the error occurred.

use std::fs;

use super::{bearer, copy, guarded, guarded_source, open_source};
use crate::support::barge::{Output, barge};
use crate::support::registry::{Auth, FakeRegistry};

#[track_caller]
fn assert_advises(output: &Output, option: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    let hint = said.lines().find(|line| line.contains("hint"));
    let hint = hint.unwrap_or_else(|| panic!("no hint: {output:#?}"));
    let names: Vec<&str> = hint
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .collect();
    assert!(
        !names.is_empty() && names.iter().all(|name| name.starts_with(option)),
        "{hint}"
    );
}

#[test]
fn a_refused_login_is_advised_the_option_of_its_side() {
    let (open, shut) = (FakeRegistry::start(), guarded(Auth::Bearer(bearer())));
    let source = guarded_source();
    let run = copy(&source.reference("x:1"), &open.reference("y:1"));
    assert_advises(&run.run().exits(1), "--src-creds");
    let public = open_source();
    let run = copy(&public.reference("x:1"), &shut.reference("y:1"));
    assert_advises(&run.run().exits(1), "--dest-creds");
    let run = barge().args(["inspect", &source.reference("x:1")]);
    assert_advises(&run.run().exits(1), "--creds");
}

#[test]
fn a_registry_without_tls_is_advised_the_option_of_its_side() {
    let (source, destination) = (open_source(), FakeRegistry::start());
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let run = copy(&from, &to).arg("--src-tls-verify");
    assert_advises(&run.run().exits(1), "--src-tls-verify=false");
    let run = copy(&from, &to).arg("--dest-tls-verify");
    assert_advises(&run.run().exits(1), "--dest-tls-verify=false");
    let run = barge().args(["inspect", "--tls-verify", &from]);
    assert_advises(&run.run().exits(1), "--tls-verify=false");
}

#[test]
fn a_file_of_logins_that_is_no_json_is_to_be_mended() {
    let source = open_source();
    let run = barge().args(["inspect", &source.reference("x:1")]);
    let file = run.home().join("logins.json");
    fs::write(&file, "{]").expect("it can be written");
    let path = file.to_str().expect("a path").to_owned();
    let output = run.args(["--authfile", &path]).run().exits(1);
    assert!(output.stderr.contains("hint: fix the file"), "{output:#?}");
    assert!(!output.stderr.contains("space on the disk"), "{output:#?}");
}
