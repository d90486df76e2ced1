//! Places that are not there, or cannot be written: the right kind, and nothing left behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{copy, index, single, source};
use crate::support::barge::{Output, barge};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{ImageSpec, Layout};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

/// The error of a run that could not start.
#[track_caller]
fn not_started(output: &Output, kind: &str) -> String {
    let report = output.json();
    assert_eq!(report["tags"], json!([]), "{report:#}");
    assert_eq!(report["outcome"], "failed");
    told(&report["error"], kind)
}

/// The message of an error of this kind, which has a hint.
#[track_caller]
fn told(error: &Value, kind: &str) -> String {
    assert_eq!(error["kind"], kind, "{error:#}");
    assert!(error["hint"].is_string(), "{error:#}");
    error["message"].as_str().expect("a message").to_owned()
}

#[test]
fn an_unknown_repository_or_tag_is_not_found() {
    let docker = DockerRegistry::start();
    single().push_to(&docker, "x:1");
    let fake = source(&single());
    let destination = FakeRegistry::start();
    for host in [docker.host(), &fake.host()] {
        for name in ["none:1", "x:none"] {
            let reference = format!("{host}/{name}");
            let output = copy(&reference, &destination.reference("y:1")).run();
            let output = output.exits(1);
            let tag = name.split_once(':').expect("a tag").1;
            let message = told(&output.tag(tag)["error"], "not-found");
            assert!(message.contains(&reference), "{message}");
            assert_eq!(output.json()["totals"]["retries"], 0);
        }
        let run = copy(&format!("{host}/none"), &destination.reference("y"));
        let output = run.arg("--all-tags").run().exits(1);
        let message = not_started(&output, "not-found");
        assert!(message.contains("none"), "{message}");
    }
    assert_eq!(destination.store.repositories(), Vec::<String>::new());
}

#[test]
fn a_registry_that_is_down_is_unavailable() {
    let gone = FakeRegistry::start().host();
    let there = source(&single());
    let at_gone = format!("docker://{gone}/x:1");
    let pairs = [
        (at_gone.clone(), there.reference("y:1")),
        (there.reference("x:1"), at_gone),
    ];
    for (from, to) in pairs {
        let run = copy(&from, &to).args(["--retry-times", "1"]);
        let output = run.run().exits(1);
        let message = not_started(&output, "unavailable");
        assert!(message.contains(&gone), "{message}");
        assert_eq!(output.json()["totals"]["retries"], 1);
    }
    assert_eq!(there.store.repositories(), ["x"]);
}

#[test]
fn a_registry_that_is_ill_is_unavailable_too() {
    let ill = source(&single());
    ill.on(|_| Some(Fault::status(503)));
    let destination = FakeRegistry::start();
    let run = copy(&ill.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "1"]).run().exits(1);
    let message = not_started(&output, "unavailable");
    assert!(message.contains("503"), "{message}");
}

#[test]
fn a_file_where_the_layout_must_be_stops_the_run() {
    let source = source(&single());
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("a file");
    for path in [file.clone(), file.join("below")] {
        let target = format!("oci:{}:1", path.display());
        let output = copy(&source.reference("x:1"), &target).run().exits(1);
        let message = not_started(&output, "local-io");
        assert!(message.contains(file.to_str().expect("UTF-8")), "{message}");
    }
    assert_eq!(fs::read(&file).expect("the file"), b"mine");
    assert_eq!(source.count(Request::reads_blob), 0);
}

#[test]
fn a_file_where_the_blobs_must_be_fails_the_tag() {
    let source = source(&index());
    let directory = tempdir().expect("a temporary directory");
    fs::write(directory.path().join("blobs"), "mine").expect("a file");
    let layout = Layout::at(directory.path());
    let output = copy(&source.reference("x:1"), &layout.reference("1")).run();
    let message = told(&output.exits(1).tag("1")["error"], "local-io");
    assert!(message.contains(&layout.reference("")), "{message}");
    assert!(!directory.path().join("index.json").exists());
}

/// Every file below `directory` that is not one of the format's own.
fn partial_files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else if name.contains("partial") || name.starts_with(".barge-") {
                found.push(name);
            }
        }
    }
    found
}

#[track_caller]
fn found_no_room(output: &Output, layout: &Path) {
    let message = told(&output.tag("1")["error"], "local-io");
    assert!(message.contains("write blob"), "{message}");
    assert_eq!(partial_files(layout), Vec::<String>::new());
    assert!(!layout.join("index.json").exists());
}

/// An image that needs some 300 KB more than there is.
fn large() -> crate::support::image::Image {
    ImageSpec::new("linux", "arm64").layers(2, 700_000).build()
}

#[test]
#[expect(clippy::print_stderr, reason = "a skip is told")]
fn a_full_disk_leaves_no_partial_file() {
    let directory = tempdir().expect("a temporary directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(directory.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a tmpfs cannot be mounted here; the file size limit is tested");
        return;
    }
    let source = source(&large());
    let layout = directory.path().join("layout");
    let target = Layout::at(&layout).reference("1");
    let output = copy(&source.reference("x:1"), &target).run();
    let told = std::panic::catch_unwind(|| {
        let output = output.exits(1);
        found_no_room(&output, &layout);
    });
    let unmounted = Command::new("umount").arg(directory.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert!(told.is_ok(), "the run on a full disk, see above");
}

#[test]
fn a_file_size_limit_leaves_no_partial_file() {
    let source = source(&large());
    let directory = tempdir().expect("a temporary directory");
    let layout = directory.path().join("layout");
    let target = Layout::at(&layout).reference("1");
    let run = copy(&source.reference("x:1"), &target);
    // In blocks of 512 bytes.
    let output = run.after("ulimit -f 1000").run().exits(1);
    found_no_room(&output, &layout);
}

#[test]
fn text_output_names_the_failure_and_a_way_on() {
    let source = source(&single());
    let target = FakeRegistry::start();
    let from = source.reference("x:none");
    let output = barge()
        .args(["copy", &from, &target.reference("y:1")])
        .run();
    let output = output.exits(1);
    assert!(output.stdout.contains("failed"), "{output:#?}");
    assert!(output.stdout.contains("x:none"), "{output:#?}");
    assert!(output.stdout.contains("list-tags"), "{output:#?}");
}
