//! Standard input and output, and named pipes: they may wait for ever, and what is out cannot be taken back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{large, names, place, tagged};
use crate::support::barge::{Barge, barge};
use crate::support::image::archive::Archive;
use crate::support::registry::FakeRegistry;
use crate::support::wire::Fault;

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

fn pipe(directory: &Path) -> PathBuf {
    let path = directory.join("pipe");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo runs").success());
    path
}

fn copy_all(source: &str, destination: &str) -> Barge {
    let options = ["--all-tags", "-o", "json", "-v"];
    barge().args(["copy", source, destination]).args(options)
}

#[test]
fn a_signal_ends_the_wait_for_a_reader() {
    let source = tagged([1, 2]);
    let (directory, _) = place();
    let pipe = format!("oci-archive:{}", pipe(directory.path()).display());
    for (signal, code) in SIGNALS {
        for policy in ["best-effort", "rollback"] {
            let run = copy_all(&source.reference("x"), &pipe).args(["--policy", policy]);
            let running = run.spawn();
            running.wait_until_said("waiting for a reader");
            running.signal(signal);
            let output = running.wait().exits(code);
            for tag in ["1", "2"] {
                assert_eq!(output.tag(tag)["error"]["kind"], "interrupted");
            }
        }
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_reader_that_does_not_read() {
    for (signal, code) in SIGNALS {
        let source = tagged([1]);
        let (directory, _) = place();
        let path = pipe(directory.path());
        let reader = File::options().read(true).write(true).open(&path);
        let destination = format!("oci-archive:{}", path.display());
        let running = copy_all(&source.reference("x"), &destination).spawn();
        source.wait_for(1, |request| request.is("GET", &large(1)));
        running.signal(signal);
        let output = running.wait().exits(code);
        assert_eq!(output.tag("1")["error"]["kind"], "interrupted");
        drop(reader.expect("a pipe"));
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_writer() {
    let (directory, _) = place();
    let pipe = pipe(directory.path());
    let layout = directory.path().join("layout");
    let layout = format!("oci:{}", layout.display());
    for (signal, code) in SIGNALS {
        for transport in ["oci-archive", "docker-archive"] {
            let source = format!("{transport}:{}", pipe.display());
            let running = copy_all(&source, &layout).spawn();
            running.wait_until_said("opening");
            running.signal(signal);
            let report = running.wait().exits(code).json();
            assert_eq!(report["outcome"], "interrupted");
        }
        let never = "mkfifo p && exec 3<> p && exec < p";
        let running = copy_all("oci-archive:-", &layout).after(never).spawn();
        running.wait_until_said("opening");
        running.signal(signal);
        let report = running.wait().exits(code).json();
        assert_eq!(report["outcome"], "interrupted");
    }
}

/// An export of three tags, the blob of one of which is lost.
struct Stream {
    source: FakeRegistry,
    directory: TempDir,
    archive: Archive,
}

impl Stream {
    fn new() -> Self {
        let source = tagged([1, 2, 3]);
        let lost = large(2);
        source.on(move |request| request.is("GET", &lost).then_some(Fault::status(404)));
        let (directory, archive) = place();
        Self {
            source,
            directory,
            archive,
        }
    }

    fn report(&self) -> PathBuf {
        self.directory.path().join("report.json")
    }

    /// What it says, and its report.
    #[track_caller]
    fn write(&self, options: &[&str], code: i32) -> (String, Value) {
        let output = barge()
            .args(["copy", "--all-tags", "--report"])
            .arg(self.report())
            .args([&self.source.reference("x"), "oci-archive:-"])
            .args(options)
            .after(&format!("exec > {}", self.archive.path().display()))
            .run()
            .exits(code);
        let report = fs::read(self.report()).expect("a report");
        let report = serde_json::from_slice(&report).expect("JSON");
        (output.stderr, report)
    }
}

/// A stream cannot be taken back: it ends without its end mark, so that no reader takes it for whole.
#[test]
fn a_stream_that_loses_a_blob_is_no_archive() {
    let stream = Stream::new();
    stream.write(&[], 1);
    let archive = stream.archive.path();
    assert!(fs::metadata(archive).expect("what was sent").len() > 0);
    let listed = barge().args(["list-tags", &stream.archive.reference("")]);
    let listed = listed.run().exits(1);
    assert!(listed.stderr.contains("cut off"), "{listed:#?}");
    assert_eq!(names(stream.directory.path()).len(), 2);
}

#[test]
fn a_stream_that_is_abandoned_names_the_tag_that_failed() {
    let stream = Stream::new();
    let (said, report) = stream.write(&[], 1);
    for expected in [
        "3 tags: 1 failed, 2 rolled back; 0 B sent",
        "2: not-found: ",
        "2 other tags: failed to write oci-archive:-: the stream was abandoned because 2 failed",
        "leave 2 out (--exclude-tags), or write to a file",
    ] {
        assert_eq!(said.matches(expected).count(), 1, "{expected}: {said}");
    }
    assert_eq!(report["outcome"], "failed");
    for (tag, status, kind) in [
        (0, "rolled-back", "unsupported"),
        (1, "failed", "not-found"),
        (2, "rolled-back", "unsupported"),
    ] {
        let tag = &report["tags"][tag];
        assert_eq!(tag["status"], status, "{tag:#}");
        assert_eq!(tag["error"]["kind"], kind, "{tag:#}");
        assert_eq!(tag["bytes"], json!(0), "{tag:#}");
    }

    let (_, report) = stream.write(&["--policy", "rollback"], 4);
    assert_eq!(report["tags"][1]["error"]["kind"], "not-found");
    assert_eq!(report["totals"]["rolled_back"], json!(2));

    stream.write(&["--exclude-tags", "2"], 0);
    assert_eq!(stream.archive.references(), ["1", "3"]);
}
