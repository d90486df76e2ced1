//! Named pipes, devices and links in the place of files: refused or read within bounds, and no wait outlasts a
//! signal.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use crate::support::barge::{Barge, Running, barge, copy};
use crate::support::image::{Bundle, Image, ImageSpec, Layout, write_layout};
use crate::support::registry::FakeRegistry;

/// In KiB: more than any run here needs, and less than a device that never ends fills in a blink.
const ADDRESS_SPACE: &str = "ulimit -v 4000000";

fn image() -> Image {
    ImageSpec::new("linux", "arm64").layers(1, 2000).build()
}

fn filled() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

fn layout(directory: &Path) -> Layout {
    write_layout(directory, &[("1", Bundle::from(&image()))])
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo runs").success());
}

/// Puts a named pipe, then an endless device, in the place of `path`.
fn each_special(path: &Path, mut check: impl FnMut()) {
    fs::remove_file(path).ok();
    pipe(path);
    check();
    fs::remove_file(path).expect("the pipe");
    symlink("/dev/zero", path).expect("a link");
    check();
    fs::remove_file(path).expect("the link");
}

fn bounded(options: &[&str], source: &str, destination: &str) -> Value {
    let run = barge().args(["copy", "-o", "json"]).args(options);
    let run = run.args([source, destination]).after(ADDRESS_SPACE).run();
    run.exits(1).json()
}

#[track_caller]
fn is_local(error: &Value) {
    assert_eq!(error["kind"], "local-io", "{error:#}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn refuses_a_layout_whose_index_is_a_pipe_or_a_device() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let layout = layout(directory.path());
    each_special(&directory.path().join("index.json"), || {
        let read = bounded(&[], &layout.reference("1"), &destination.reference("y"));
        is_local(&read["error"]);
        let written = bounded(&[], &source.reference("x:1"), &layout.reference("2"));
        is_local(&written["error"]);
    });
}

#[test]
fn refuses_a_manifest_that_is_a_pipe_or_a_device() {
    let destination = FakeRegistry::start();
    let directory = tempdir().expect("a temporary directory");
    let layout = layout(directory.path());
    each_special(&layout.blob_path(&image().digest()), || {
        let read = bounded(&[], &layout.reference("1"), &destination.reference("y"));
        is_local(&read["tags"][0]["error"]);
    });
}

#[test]
fn refuses_a_blob_that_is_a_pipe_or_a_device() {
    let destination = FakeRegistry::start();
    let directory = tempdir().expect("a temporary directory");
    let layout = layout(directory.path());
    each_special(&layout.blob_path(&image().layers[0].digest()), || {
        let read = bounded(&[], &layout.reference("1"), &destination.reference("y"));
        is_local(&read["tags"][0]["error"]);
    });
}

#[test]
fn refuses_an_index_that_is_longer_than_any_index() {
    let destination = FakeRegistry::start();
    let directory = tempdir().expect("a temporary directory");
    let layout = layout(directory.path());
    let index = directory.path().join("index.json");
    let longer = fs::read_to_string(&index).expect("an index") + &" ".repeat(4 << 20);
    fs::write(&index, longer).expect("it can be written");
    let read = bounded(&[], &layout.reference("1"), &destination.reference("y"));
    assert_eq!(read["error"]["kind"], "invalid-manifest", "{read:#}");
}

#[test]
fn refuses_a_lock_that_is_no_file_of_the_layout() {
    let source = filled();
    let directory = tempdir().expect("a temporary directory");
    let elsewhere = directory.path().join("elsewhere");
    let layout = layout(&directory.path().join("layout"));
    let lock = directory.path().join("layout/.barge.lock");
    let refused = || {
        let written = bounded(&[], &source.reference("x:1"), &layout.reference("2"));
        let error = &written["tags"][0]["error"];
        assert_eq!(error["kind"], "local-io", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(".barge.lock"), "{message}");
    };
    pipe(&lock);
    refused();
    fs::remove_file(&lock).expect("the pipe");
    symlink(&elsewhere, &lock).expect("a link");
    refused();
    assert!(!elsewhere.exists(), "the link is not followed");
}

#[test]
fn refuses_certificates_that_are_a_pipe() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    pipe(&directory.path().join("ca.crt"));
    let certificates = directory.path().to_str().expect("a path");
    let options = ["--src-cert-dir", certificates];
    let report = bounded(
        &options,
        &source.reference("x:1"),
        &destination.reference("y"),
    );
    is_local(&report["error"]);
}

#[test]
fn reads_login_files_and_inventories_within_bounds() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let archive = format!("oci-archive:{}/a.tar", directory.path().display());
    let to = destination.reference("y");
    for (option, to) in [
        ("--src-authfile", &to),
        ("--src-creds-file", &to),
        ("--have", &archive),
    ] {
        let report = bounded(&[option, "/dev/zero"], &source.reference("x:1"), to);
        assert!(
            report["error"].to_string().contains("more than"),
            "{report:#}"
        );
    }
    // That there is no login is said with an empty file.
    let none = ["--authfile", "/dev/null"];
    copy(&none, &source.reference("x:1"), &to).exits(0);
}

/// A run that reads `pipe`, which never has its end.
fn reading(run: Barge, pipe: &Path) -> (Running, File) {
    let running = run.spawn();
    let writer = File::options().write(true).open(pipe);
    (running, writer.expect("the run reads it"))
}

#[test]
fn a_signal_ends_the_wait_for_a_pipe_that_options_name() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let fifo = directory.path().join("pipe");
    pipe(&fifo);
    let archive = format!("oci-archive:{}/a.tar", directory.path().display());
    let to = destination.reference("y");
    for (option, to) in [
        ("--src-authfile", &to),
        ("--src-creds-file", &to),
        ("--have", &archive),
    ] {
        let run = barge().args(["copy", "-o", "json", option]).arg(&fifo);
        let run = run.args([&source.reference("x:1"), to]);
        let (running, _writer) = reading(run, &fifo);
        running.signal("INT");
        let report = running.wait().exits(130).json();
        assert_eq!(report["outcome"], "interrupted", "{option}");
    }
}

#[test]
fn a_login_comes_through_a_pipe() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let fifo = directory.path().join("pipe");
    pipe(&fifo);
    for (option, text) in [("--src-creds-file", "u:p"), ("--src-authfile", "{}")] {
        let run = barge().args(["copy", "-o", "json", option]).arg(&fifo);
        let run = run.args([source.reference("x:1"), destination.reference("y")]);
        let (running, mut writer) = reading(run, &fifo);
        std::io::Write::write_all(&mut writer, text.as_bytes()).expect("the run reads it");
        drop(writer);
        running.wait().exits(0);
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_reader_of_a_report() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let fifo = directory.path().join("pipe");
    pipe(&fifo);
    for option in ["--report", "--digestfile"] {
        let run = barge().args(["copy", "-v", option]).arg(&fifo);
        let run = run.args([source.reference("x:1"), destination.reference("y")]);
        let running = run.spawn();
        running.wait_until_said("waiting for a reader");
        running.signal("INT");
        let output = running.wait().exits(130);
        assert!(output.stdout.contains("copied") || output.stdout.contains("current"));
    }
}

#[test]
fn a_report_goes_into_a_pipe_that_is_read() {
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let fifo = directory.path().join("pipe");
    pipe(&fifo);
    let run = barge().args(["copy", "-o", "json", "--report"]).arg(&fifo);
    let run = run.args([source.reference("x:1"), destination.reference("y")]);
    let running = run.spawn();
    let report = fs::read_to_string(&fifo).expect("a report");
    assert_eq!(report, running.wait().exits(0).stdout);
}

/// As root alone: others cannot make another user's link.
#[test]
fn another_users_link_in_a_shared_directory_leads_nowhere() {
    use std::os::unix::fs::{PermissionsExt as _, lchown};
    let (source, destination) = (filled(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let [link, mine] = ["link", "mine"].map(|name| directory.path().join(name));
    symlink(&mine, &link).expect("a link");
    if lchown(&link, Some(12345), None).is_err() {
        return;
    }
    let shared = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(directory.path(), shared).expect("a mode");
    let named = link.to_str().expect("a path");
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let archive = format!("oci-archive:{named}");
    let options = [
        ("--report", &to),
        ("--digestfile", &to),
        ("--force", &archive),
    ];
    for (option, to) in options {
        let file = if option == "--force" {
            &[][..]
        } else {
            &[named][..]
        };
        let options = [&[option], file].concat();
        let report = bounded(&options, &from, to);
        assert_eq!(report["error"]["kind"], "local-io", "{report:#}");
    }
    assert!(!mine.exists() && destination.store.repositories().is_empty());
}
