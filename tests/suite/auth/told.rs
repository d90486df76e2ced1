//! `-v` tells where the credentials came from, which is what anyone asks who is refused; never the secret.

use std::fs;

use serde_json::json;

use super::{LOGIN, auth_file, guarded_source, image, write};
use crate::support::barge::{Barge, barge};
use crate::support::helper::Helpers;
use crate::support::registry::FakeRegistry;

fn inspect(source: &FakeRegistry) -> Barge {
    barge().args(["inspect", "-v", &source.reference("x:1")])
}

/// Runs it, and gives the line about credentials.
#[track_caller]
fn line(run: Barge, code: i32) -> String {
    let output = run.run().exits(code);
    let mut lines = output.stderr.lines();
    let line = lines.find(|line| line.contains("credentials for "));
    line.unwrap_or_else(|| panic!("no such line: {output:#?}"))
        .to_owned()
}

#[test]
fn the_file_and_its_key_are_told() {
    let source = guarded_source();
    let run = inspect(&source);
    let file = run.home().join("containers/auth.json");
    let key = format!("{}/x", source.host());
    fs::create_dir_all(file.parent().expect("a directory")).expect("it can be made");
    auth_file(&file, &[(&key, LOGIN)]);
    let expected = format!(
        "credentials for {}/x: user alice, from {}, key {key}",
        source.host(),
        file.display()
    );
    assert!(line(run, 0).ends_with(&expected), "{expected}");
}

#[test]
fn every_other_origin_is_told() {
    let source = guarded_source();
    let host = source.host();
    let told = |run: Barge, part: &str| {
        let line = line(run, 0);
        assert!(line.contains("user alice") && line.contains(part), "{line}");
    };
    told(inspect(&source).args(["--creds", LOGIN]), "command line");
    told(
        inspect(&source).args(["--creds-file", "-"]).input(LOGIN),
        "standard input",
    );
    let helpers = Helpers::new().keeper("one");
    helpers.has("one", &host, ["alice", "s3cret-Pa55"]);
    let run = inspect(&source).env("PATH", helpers.in_path());
    let config = json!({"credHelpers": {host.clone(): "one"}});
    write(&run.home().join("config.json"), &config);
    let part = format!("docker-credential-one for {host}");
    told(run, &part);
}

#[test]
fn where_nothing_was_found_the_places_are_told() {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    let run = inspect(&source);
    let files = ["containers/auth.json", "config.json"].map(|name| run.home().join(name));
    let line = line(run, 0);
    assert!(line.contains("nobody"), "{line}");
    for file in files {
        assert!(line.contains(&file.display().to_string()), "{line}");
    }
}

#[test]
fn without_it_nothing_is_told() {
    let source = guarded_source();
    let run = barge().args(["inspect", "--creds", LOGIN, &source.reference("x:1")]);
    assert_eq!(run.run().exits(0).stderr, "");
}
