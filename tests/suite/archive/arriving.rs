//! Archives that are imported from a pipe: when tags appear, what is kept on the disk, and what a bad end means.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tar::EntryType;
use tempfile::{TempDir, tempdir};

use super::{names, single, tagged};
use crate::support::barge::{Barge, Running, barge, copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::{Archive, blob_name, member};
use crate::support::image::{Image, ImageSpec, Layer};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::Request;

pub(super) const END: [u8; 1024] = [0; 1024];

/// A pipe that a run reads and a test writes.
pub(super) struct Pipe {
    directory: TempDir,
}

impl Pipe {
    pub(super) fn new() -> Self {
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("pipe");
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        fs::create_dir(directory.path().join("spool")).expect("a directory");
        Self { directory }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("pipe")
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    /// `copy` from the pipe; what it writes down is in a directory of its own.
    pub(super) fn copy(&self, options: &[&str], destination: &str) -> Barge {
        barge()
            .args(["copy", "-o", "json"])
            .args(options)
            .args(["oci-archive:-", destination])
            .env("TMPDIR", self.spool())
    }

    pub(super) fn spawn(&self, command: Barge) -> (Running, File) {
        let running = command
            .after(&format!("exec < {}", self.path().display()))
            .spawn();
        let writer = File::options().write(true).open(self.path());
        (running, writer.expect("it can be written"))
    }

    /// The same on a disk of its own for what is written down.
    pub(super) fn spawn_on_disk(&self, command: Barge, size: &str) -> (Running, File) {
        let spool = self.spool();
        let line = format!(
            r#"exec < {} && exec unshare --map-root-user --mount sh -c 'mount -t tmpfs -o size={size} tmpfs {} && exec "$@"' sh "$@""#,
            self.path().display(),
            spool.display()
        );
        let running = command.after(&line).spawn();
        let writer = File::options().write(true).open(self.path());
        (running, writer.expect("it can be written"))
    }
}

/// An image whose one layer has so many bytes.
fn large(seed: u64, size: usize) -> Image {
    ImageSpec::new("linux", "amd64")
        .seed(seed)
        .layer(Layer::random(1000 + seed, size))
        .build()
}

/// What barge makes of `x:SEED`.
pub(super) fn bundle(source: &FakeRegistry) -> Vec<u8> {
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("bundle.tar"));
    let to = archive.reference("");
    copy(&["--all-tags"], &source.reference("x"), &to).exits(0);
    archive.bytes()
}

fn filled(images: &[(&str, &Image)]) -> FakeRegistry {
    let source = FakeRegistry::start();
    for (tag, image) in images {
        image.push_to(&source, &format!("x:{tag}"));
    }
    source
}

/// Where the header of a member begins.
pub(super) fn header_of(bytes: &[u8], digest: &str) -> usize {
    let name = blob_name(digest);
    bytes
        .chunks(512)
        .position(|block| block.starts_with(name.as_bytes()))
        .expect("it is in the archive")
        * 512
}

fn is_header(block: &[u8]) -> bool {
    block.get(257..262) == Some(b"ustar")
}

fn is_manifest(request: &Request) -> bool {
    request.is("PUT", "/manifests/")
}

#[test]
fn a_tag_is_there_while_the_next_is_still_to_come() {
    let bytes = bundle(&tagged([1, 2]));
    let inside = DockerRegistry::start();
    let proxy = Proxy::start(inside.host());
    let pipe = Pipe::new();
    let to = proxy.reference("mirror/x");
    let (running, mut writer) = pipe.spawn(pipe.copy(&["--all-tags"], &to));
    let half = header_of(&bytes, &single(2).layers[2].digest());
    writer.write_all(&bytes[..half]).expect("it is read");
    proxy.wait_for(1, |request| is_manifest(request) && request.status == 201);
    let client = inside.client();
    assert_eq!(client.manifest("mirror/x", "1"), Some(single(1).manifest));
    assert_eq!(client.manifest("mirror/x", "2"), None);
    writer.write_all(&bytes[half..]).expect("it is read");
    drop(writer);
    running.wait().exits(0);
    assert_eq!(client.manifest("mirror/x", "2"), Some(single(2).manifest));
    assert!(names(&pipe.spool()).is_empty());
}

#[test]
fn what_nobody_needs_is_not_kept() {
    let (before, wanted, behind) = (large(1, 8 << 20), large(2, 1 << 20), large(3, 8 << 20));
    let bytes = bundle(&filled(&[("a", &before), ("b", &wanted), ("c", &behind)]));
    let inside = FakeRegistry::start();
    let pipe = Pipe::new();
    let command = pipe.copy(&["--tags", "b"], &inside.reference("y"));
    let (running, mut writer) = pipe.spawn_on_disk(command, "4m");
    writer.write_all(&bytes).expect("it is read");
    drop(writer);
    assert_eq!(running.wait().exits(0).tag("b")["status"], "copied");
}

#[test]
fn what_the_destination_has_is_not_kept() {
    let (copied, current) = (large(1, 8 << 20), large(3, 8 << 20));
    let bytes = bundle(&filled(&[("a", &copied), ("c", &current)]));
    let inside = FakeRegistry::start();
    copied.push_to(&inside, "y:other");
    current.push_to(&inside, "y:c");
    let pipe = Pipe::new();
    let command = pipe.copy(&["--all-tags"], &inside.reference("y"));
    let (running, mut writer) = pipe.spawn_on_disk(command, "4m");
    writer.write_all(&bytes).expect("it is read");
    drop(writer);
    let output = running.wait().exits(0);
    assert_eq!(output.tag("a")["blobs"]["existing"], 2);
    assert_eq!(output.tag("c")["status"], "current");
}

/// More tags than are worked on at once, one of them larger than the disk by itself.
#[test]
fn an_archive_may_be_larger_than_the_disk() {
    let seeds = 10..40;
    let tags: Vec<String> = seeds.clone().map(|seed| format!("v{seed}")).collect();
    let mut images: Vec<Image> = seeds.map(|seed| large(seed, 1 << 20)).collect();
    let layers = (0..24).map(|seed| Layer::random(2000 + seed, 1 << 20));
    let huge = layers.fold(ImageSpec::new("linux", "amd64"), ImageSpec::layer);
    images[0] = huge.build();
    let images: Vec<(&str, &Image)> = tags.iter().map(String::as_str).zip(&images).collect();
    let bytes = bundle(&filled(&images));
    for options in [
        &[][..],
        &["--policy", "rollback"],
        &["--arch", "amd64", "--mode", "filtered-index"],
    ] {
        let inside = DockerRegistry::start();
        let pipe = Pipe::new();
        let options = [&["--all-tags"], options].concat();
        let command = pipe.copy(&options, &inside.reference("y"));
        let (running, mut writer) = pipe.spawn_on_disk(command, "16m");
        let written = writer.write_all(&bytes);
        drop(writer);
        let report = running.wait().exits(0).json();
        written.expect("it is read");
        assert_eq!(report["totals"]["copied"], images.len());
        for (tag, image) in &images {
            let manifest = inside.client().manifest("y", tag);
            assert_eq!(manifest.as_ref(), Some(&image.manifest));
        }
    }
}

/// What was left out is looked for when no more has come than the manifests and configs.
#[test]
fn a_difference_is_proved_before_the_rest_comes() {
    let (source, inside) = (tagged([1, 2]), DockerRegistry::start());
    let to = inside.reference("x");
    single(1).push_to(&inside, "x:1");
    let have = run(&["inventory", &to]).exits(0).stdout;
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("week.tar"));
    let (from, week) = (source.reference("x"), archive.reference(""));
    let arguments = ["copy", "--all-tags", "--have", "-", &from, &week];
    barge().args(arguments).input(&have).run().exits(0);
    let bytes = archive.bytes();
    let config = &bytes[header_of(&bytes, &single(2).config_digest())..];
    let behind = config[512..].chunks(512).position(is_header);
    let front = bytes.len() - config.len() + (1 + behind.expect("layers")) * 512;
    for is_gone in [false, true] {
        if is_gone {
            inside.remove_blob(&single(1).layers[0].digest());
        }
        let proxy = Proxy::start(inside.host());
        let pipe = Pipe::new();
        let (running, mut writer) = pipe.spawn(pipe.copy(&["--all-tags"], &proxy.reference("x")));
        writer.write_all(&bytes[..front]).expect("it is read");
        if is_gone {
            let report = running.wait().exits(1).json();
            assert_eq!(report["error"]["kind"], "not-found");
            let reads = |request: &Request| matches!(request.method.as_str(), "GET" | "HEAD");
            assert!(proxy.log().iter().all(reads));
        } else {
            writer.write_all(&bytes[front..]).expect("it is read");
            drop(writer);
            let output = running.wait().exits(0);
            assert_eq!(output.tag("1")["status"], "current");
            assert_eq!(output.tag("2")["status"], "copied");
        }
    }
}

#[test]
fn an_index_behind_the_blobs_is_waited_for() {
    let source = tagged([1]);
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("skopeo.tar"));
    skopeo::copy_all(&source.reference("x:1"), &archive.reference("1"));
    let last = archive.names().last().cloned();
    assert_eq!(last.as_deref(), Some("oci-layout"), "skopeo's order");
    let bytes = archive.bytes();
    let whole = bytes.len() - END.len();
    for (length, code) in [(bytes.len(), 0), (whole, 1)] {
        let inside = FakeRegistry::start();
        let pipe = Pipe::new();
        let (running, mut writer) = pipe.spawn(pipe.copy(&["--all-tags"], &inside.reference("y")));
        writer
            .write_all(&bytes[..length.min(whole + 512)])
            .expect("it is read");
        drop(writer);
        running.wait().exits(code);
        assert_eq!(inside.count(is_manifest), usize::from(code == 0));
    }
}

/// A run on the first half of an archive, whose first tag has come.
fn half_way(options: &[&str]) -> (Pipe, Running, File, Proxy, DockerRegistry) {
    let bytes = bundle(&tagged([1, 2]));
    let inside = DockerRegistry::start();
    let proxy = Proxy::start(inside.host());
    let pipe = Pipe::new();
    let command = pipe.copy(options, &proxy.reference("x"));
    let (running, mut writer) = pipe.spawn(command);
    let half = header_of(&bytes, &single(2).layers[2].digest());
    writer.write_all(&bytes[..half + 1000]).expect("it is read");
    proxy.wait_for(1, |request| is_manifest(request) && request.status == 201);
    (pipe, running, writer, proxy, inside)
}

#[test]
fn an_end_in_the_middle_fails_what_has_not_come() {
    let (_pipe, running, writer, _proxy, inside) = half_way(&["--all-tags"]);
    drop(writer);
    let output = running.wait().exits(3);
    assert_eq!(output.tag("1")["status"], "copied");
    let error = &output.tag("2")["error"];
    assert_eq!(error["kind"], "protocol");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("cut off"))
    );
    assert_eq!(inside.client().manifest("x", "1"), Some(single(1).manifest));
    assert_eq!(inside.client().manifest("x", "2"), None);
}

#[test]
fn under_rollback_an_end_in_the_middle_moves_no_tag() {
    let (_pipe, running, writer, _proxy, inside) =
        half_way(&["--all-tags", "--policy", "rollback"]);
    drop(writer);
    let output = running.wait().exits(4);
    assert_eq!(output.tag("1")["status"], "rolled-back");
    for tag in ["1", "2"] {
        assert_eq!(inside.client().manifest("x", tag), None);
    }
}

#[test]
fn a_signal_ends_the_wait() {
    let (_pipe, running, writer, _proxy, _inside) = half_way(&["--all-tags"]);
    running.signal("INT");
    let output = running.wait().exits(130);
    assert_eq!(output.tag("2")["error"]["kind"], "interrupted");
    drop(writer);
}

/// What comes behind all that is needed is looked at all the same.
#[test]
fn a_bad_end_is_told_when_all_tags_are_there() {
    let fine = bundle(&tagged([1, 2]));
    let fine = &fine[..fine.len() - END.len()];
    let name = blob_name(&single(1).layers[0].digest());
    let cases = [
        ("cut off", Vec::new()),
        ("twice", member(EntryType::Regular, &name, b"other")),
        ("is a link", member(EntryType::Symlink, "blobs/l", b"")),
        ("leads out", member(EntryType::Regular, "../x", b"other")),
        (
            "comes behind blobs",
            member(EntryType::Regular, "barge-difference.json", b"{}"),
        ),
    ];
    for (why, last) in cases {
        let end = if last.is_empty() { &END[..0] } else { &END };
        for (options, code) in [(&[][..], 3), (&["--policy", "rollback"], 4)] {
            let inside = DockerRegistry::start();
            let proxy = Proxy::start(inside.host());
            let pipe = Pipe::new();
            let command = pipe.copy(&[&["--all-tags"], options].concat(), &proxy.reference("x"));
            let (running, mut writer) = pipe.spawn(command);
            writer.write_all(fine).expect("it is read");
            proxy.wait_for(2, |request| is_manifest(request) && request.status == 201);
            writer
                .write_all(&[&last, end].concat())
                .expect("it is read");
            drop(writer);
            let output = running.wait().exits(code);
            let error = &output.json()["error"];
            assert_eq!(error["kind"], "protocol", "{why}: {output:#?}");
            let said = error["message"].as_str().unwrap_or_default();
            assert!(said.contains(why), "{why}: {said}");
            let copied = output.tag("2")["status"] == "copied";
            let there = inside.client().manifest("x", "2").is_some();
            assert_eq!((copied, there), (code == 3, code == 3), "{why}");
        }
    }
}
