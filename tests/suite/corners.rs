//! Corners that a careful user finds: digests that follow the filter, files that are no files, variables
//! as CI systems write them, servers that stop half-way.

use std::fs;

use serde_json::json;

use crate::support::barge::{barge, copy, run};
use crate::support::content::{OCI_INDEX, sha256};
use crate::support::image::{Attestations, Bundle, MultiArch, write_layout};
use crate::support::registry::{Auth, Bearer, FakeRegistry, Settings};
use crate::support::wire::{Answer, Fault};

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 7)
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

#[test]
fn a_source_by_digest_is_pushed_by_the_digest_of_what_was_kept() {
    let (source, destination) = (source(), FakeRegistry::start());
    let from = source.reference(&format!("x@{}", image().digest()));
    let first = copy(&["--arch", "arm64"], &from, &destination.reference("y")).exits(0);
    let tag = first.tag(&image().digest());
    let digest = tag["digest"].as_str().expect("a digest").to_owned();
    assert_ne!(digest, image().digest());
    assert!(destination.store.manifest("y", &digest).is_some());
    assert_eq!(destination.store.tags("y"), Vec::<String>::new());
    let again = copy(&["--arch", "arm64"], &from, &destination.reference("y")).exits(0);
    assert_eq!(again.tag(&image().digest())["status"], "current");
}

#[test]
fn a_report_goes_through_a_link_and_into_what_is_no_file() {
    let (source, destination) = (source(), FakeRegistry::start());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (real, link) = (
        directory.path().join("real.json"),
        directory.path().join("link.json"),
    );
    fs::write(&real, "old").expect("a file");
    std::os::unix::fs::symlink("real.json", &link).expect("a link");
    let report = link.to_str().expect("a path");
    let options = ["--report", report, "--digestfile", "/dev/null"];
    let output = copy(
        &options,
        &source.reference("x:1"),
        &destination.reference("y"),
    )
    .exits(0);
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    assert_eq!(
        fs::read_to_string(&real).expect("the report"),
        output.stdout
    );
    assert!(!fs::metadata("/dev/null").expect("the device").is_file());
}

#[test]
fn a_report_that_cannot_be_written_stops_the_run_before_it_starts() {
    let (source, destination) = (source(), FakeRegistry::start());
    let options = ["--report", "no/such/place.json"];
    let report = copy(
        &options,
        &source.reference("x:1"),
        &destination.reference("y"),
    )
    .exits(1)
    .json();
    assert_eq!(report["error"]["kind"], "local-io", "{report:#}");
    assert_eq!(report["tags"].as_array().map(Vec::len), Some(0));
    assert_eq!(destination.log().len(), 0);
}

#[test]
fn variables_may_end_in_a_line_break() {
    let source = source();
    let list = |name, value| {
        barge()
            .args(["list-tags", &source.reference("x")])
            .env(name, value)
            .run()
    };
    assert_eq!(list("BARGE_TAGS", "1\n2\n").exits(0).stdout, "1\n");
    assert_eq!(list("BARGE_TAG_GLOB", "\n1,2\n\n").exits(0).stdout, "1\n");
    assert_eq!(list("BARGE_TAGS", "\n").exits(0).stdout, "1\n");
}

#[test]
fn a_flag_of_one_side_leaves_the_other_sides_variable_alone() {
    let source = source();
    let to = source.reference("y");
    let command = barge().args(["copy", "--src-no-creds", &source.reference("x:1"), &to]);
    // No user name: whoever uses it says so.
    let output = command.env("BARGE_CREDS", ":secret").run().exits(2);
    assert!(output.stderr.contains("user name"), "{}", output.stderr);
}

#[test]
fn a_token_server_that_stops_half_way_is_left() {
    let settings = Settings {
        auth: Auth::Bearer(Bearer::default()),
        ..Settings::default()
    };
    let source = FakeRegistry::start_with(settings);
    image().push_to(&source, "x:1");
    source.on(|request| request.is_token().then_some(Fault::StallBody(1)));
    let options = [
        "inspect",
        "--stall-timeout",
        "1",
        "--retry-times",
        "0",
        &source.reference("x:1"),
    ];
    let output = run(&options).exits(1);
    assert!(output.stderr.contains("no byte"), "{}", output.stderr);
}

#[test]
fn an_index_that_lists_itself_widely_is_inspected_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = write_layout(directory.path(), &[("1", Bundle::from(&image()))]);
    let mut digest = image().digest();
    let mut size = image().root.bytes.len();
    for _ in 0..6 {
        let entry = json!({"mediaType": OCI_INDEX, "digest": digest, "size": size});
        let index =
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": vec![entry; 20]});
        let bytes = index.to_string().into_bytes();
        (digest, size) = (sha256(&bytes), bytes.len());
        fs::write(layout.blob_path(&digest), bytes).expect("a blob");
    }
    let output = run(&["inspect", &format!("{}@{digest}", layout.reference(""))]).exits(0);
    assert!(
        output.stdout.contains("2 of 2 present"),
        "{}",
        output.stdout
    );
}

#[test]
fn a_ref_that_cannot_be_a_tag_stops_no_other() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let images = ["1.0", "two words"].map(|name| (name, Bundle::from(&image())));
    let layout = write_layout(directory.path(), &images);
    let destination = FakeRegistry::start();
    let to = destination.reference("y");
    let output = copy(&["--all-tags"], &layout.reference(""), &to).exits(3);
    assert_eq!(output.tag("1.0")["status"], "copied");
    let error = output.tag("two words")["error"].clone();
    assert_eq!(error["kind"], "unsupported", "{error:#}");
    let written = format!("{} DESTINATION:TAG", layout.reference("two words"));
    let hint = error["hint"].as_str().expect("a hint");
    assert!(hint.contains(&written), "{hint}");
    assert_eq!(destination.store.tags("y"), ["1.0"]);
}

#[test]
fn help_fits_eighty_columns() {
    for verb in ["copy", "inspect", "list-tags", "completions"] {
        let help = run(&[verb, "--help"]).exits(0).stdout;
        let wide: Vec<&str> = help
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(wide.is_empty(), "{verb}: {wide:#?}");
    }
}

/// Its digest is that of the part that is signed, so what comes never has it.
#[test]
fn schema_1_is_called_unsupported_and_not_damaged() {
    let body = r#"{"schemaVersion":1,"name":"x","tag":"1","fsLayers":[],"history":[],"signatures":[{"protected":"e30"}]}"#;
    let signed = sha256(b"the part that is signed");
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json; charset=utf-8",
    ] {
        let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
        image().push_to(&source, "x:other");
        let answer = Answer::new(200)
            .body(media_type, body)
            .header("Docker-Content-Digest", signed.clone());
        source.on(move |request| {
            let is_it = request.reads() && request.is_manifest();
            is_it.then(|| Fault::Status(answer.clone()))
        });
        let by_digest = source.reference(&format!("x@{signed}"));
        for from in [source.reference("x:1"), by_digest] {
            let output = copy(&[], &from, &destination.reference("y:1")).exits(1);
            let error = output.json()["tags"][0]["error"].clone();
            assert_eq!(error["kind"], "unsupported", "{error:#}");
            assert!(
                error["message"].to_string().contains("schema 1"),
                "{error:#}"
            );
            let said = run(&["inspect", &from]).exits(1).stderr;
            assert!(said.contains("schema 1"), "{said}");
        }
    }
}
