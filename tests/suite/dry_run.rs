//! `--dry-run`: tells what a run would do, from the same plan, and writes nothing.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::copy;
use crate::support::image::{Attestations, Layout, MultiArch};
use crate::support::registry::{Auth, Bearer, FakeRegistry, NewRepositories, Settings, Sparse};
use crate::support::wire::Request;

fn source() -> (FakeRegistry, MultiArch) {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64", "arm64", "s390x"], Attestations::With, 81);
    image.push_to(&registry, "x:1");
    (registry, image)
}

/// The report of a dry run and then of a real one, and what the dry run wrote.
fn dry_then_real(options: &[&str], destination: &FakeRegistry) -> (Value, Value) {
    let (source, _) = source();
    let (from, to) = (source.reference("x"), destination.reference("y"));
    let before = destination.store.repositories();
    destination.clear_log();
    let dry = copy(
        &[options, &["--all-tags", "--dry-run"]].concat(),
        &from,
        &to,
    )
    .exits(0);
    let log = destination.log();
    assert!(log.iter().all(Request::reads), "{log:#?}");
    assert_eq!(destination.store.repositories(), before);
    let real = copy(&[options, &["--all-tags"]].concat(), &from, &to).exits(0);
    (dry.json(), real.json())
}

#[test]
fn it_foresees_what_a_run_does() {
    for options in [
        &["--all"][..],
        &["--arch", "arm64"],
        &["--mode", "sparse-index", "--arch", "arm64,amd64"],
    ] {
        let destination = FakeRegistry::start_with(Settings::quay(Sparse::On));
        let (dry, real) = dry_then_real(options, &destination);
        assert_eq!(
            (&dry["dry_run"], &real["dry_run"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(dry["outcome"], "success");
        assert_eq!(
            (&dry["totals"]["would_copy"], &dry["totals"]["copied"]),
            (&json!(1), &json!(0))
        );
        let (foreseen, done) = (&dry["tags"][0], &real["tags"][0]);
        assert_eq!(
            (&foreseen["status"], &done["status"]),
            (&json!("would-copy"), &json!("copied"))
        );
        for field in [
            "digest",
            "source_digest",
            "platforms",
            "omitted_platforms",
            "blobs",
            "bytes",
        ] {
            assert_eq!(foreseen[field], done[field], "{field} {options:?}");
        }
    }
}

#[test]
fn what_is_there_is_not_counted() {
    let destination = FakeRegistry::start();
    let (source, image) = source();
    let to = destination.reference("y");
    copy(&["--arch", "arm64"], &source.reference("x:1"), &to).exits(0);
    let (dry, real) = dry_then_real(&["--arch", "arm64,s390x"], &destination);
    let own = [image.image("s390x"), image.attestation("s390x")];
    let layers = own[0].layers[1].bytes.len() + own[1].layers[0].bytes.len();
    let bytes = layers + own[0].config.len() + own[1].config.len();
    assert_eq!(dry["tags"][0]["bytes"], bytes);
    assert_eq!(dry["totals"]["bytes"], real["totals"]["bytes"]);
    let again = copy(
        &["--arch", "arm64,s390x", "--dry-run"],
        &source.reference("x:1"),
        &to,
    );
    let again = again.exits(0).tag("1");
    assert_eq!(
        (&again["status"], &again["bytes"]),
        (&json!("current"), &json!(0))
    );
}

#[test]
fn mounts_are_foreseen() {
    let (registry, _) = source();
    let (from, to) = (registry.reference("x:1"), registry.reference("other"));
    let dry = copy(&["--dry-run"], &from, &to).exits(0).tag("1");
    let real = copy(&[], &from, &to).exits(0).tag("1");
    assert_eq!(dry["bytes"], 0);
    assert_eq!(dry["blobs"], real["blobs"]);
    assert_eq!(real["blobs"]["copied"], 0);
}

#[test]
fn the_source_pulls_are_counted() {
    let (source, _) = source();
    let destination = FakeRegistry::start();
    let to = destination.reference("y");
    let report = copy(
        &["--arch", "arm64", "--dry-run"],
        &source.reference("x:1"),
        &to,
    );
    let report = report.exits(0).json();
    let pulls = source.count(|request| request.is("GET", "/manifests/"));
    assert_eq!(pulls, 3, "the index, the image and its attestation");
    assert_eq!(report["totals"]["source_pulls"], pulls);
    assert_eq!(report["tags"][0]["source_pulls"], pulls);
}

#[test]
fn nobody_is_asked_for_the_right_to_push() {
    let (source, _) = source();
    let destination = FakeRegistry::start_with(Settings {
        auth: Auth::Bearer(Bearer {
            new_repositories: NewRepositories::ByToken,
            ..Bearer::user("alice", "dry-Pa55")
        }),
        ..Settings::default()
    });
    let to = destination.reference("new/y");
    let options = ["--dest-creds", "alice:dry-Pa55", "--dry-run"];
    let tag = copy(&options, &source.reference("x:1"), &to)
        .exits(0)
        .tag("1");
    assert_eq!(tag["status"], "would-copy");
    assert_eq!(destination.created_by_token(), [""; 0]);
    let asked = destination.token_requests();
    let mut scopes = asked.iter().flat_map(|request| &request.scopes);
    assert!(scopes.all(|scope| !scope.contains("push")), "{asked:#?}");
    // The real run asks for it, and a second one, which has nothing to write, does not.
    copy(&options[..2], &source.reference("x:1"), &to).exits(0);
    assert_eq!(destination.created_by_token(), ["new/y"]);
    let before = destination.token_requests().len();
    copy(&options[..2], &source.reference("x:1"), &to).exits(0);
    let later = &destination.token_requests()[before..];
    let mut scopes = later.iter().flat_map(|request| &request.scopes);
    assert!(scopes.all(|scope| !scope.contains("push")), "{later:#?}");
}

#[test]
fn no_file_is_made() {
    let (source, image) = source();
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("layout");
    let digests = directory.path().join("digests").display().to_string();
    let to = Layout::at(&path).reference("1");
    let options = ["--dry-run", "--digestfile", &digests];
    let tag = copy(&options, &source.reference("x:1"), &to)
        .exits(0)
        .tag("1");
    assert_eq!(
        (&tag["status"], &tag["digest"]),
        (&json!("would-copy"), &json!(image.digest()))
    );
    let entries = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!(entries.count(), 0);
}

#[test]
fn a_tag_that_would_fail_fails() {
    let (source, _) = source();
    let destination = FakeRegistry::start_with(Settings::quay(Sparse::Off));
    let to = destination.reference("y");
    for (options, kind) in [
        (&["--arch", "riscv64"][..], "missing-platform"),
        (
            &["--mode", "sparse-index", "--arch", "arm64"],
            "sparse-rejected",
        ),
    ] {
        let options = [options, &["--dry-run"]].concat();
        let tag = copy(&options, &source.reference("x:1"), &to)
            .exits(1)
            .tag("1");
        assert_eq!(tag["error"]["kind"], kind);
    }
}
