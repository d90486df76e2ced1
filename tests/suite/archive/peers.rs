//! umoci and podman: they read what is written here, and what they write is read.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use super::{place, single, tagged};
use crate::support::barge::copy;
use crate::support::content::sha256;
use crate::support::image::Layout;
use crate::support::image::archive::pack;
use crate::support::registry::FakeRegistry;

/// Runs a tool in `directory`; what it prints.
#[track_caller]
pub(super) fn tool(name: &str, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(name)
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env("XDG_RUNTIME_DIR", directory)
        .output()
        .unwrap_or_else(|why| panic!("{name} is not installed: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// podman with images of its own in `directory`.
#[track_caller]
pub(super) fn podman(directory: &Path, arguments: &[&str]) -> String {
    let place = ["--root", "root", "--runroot", "run", "--storage-driver=vfs"];
    let fixed = ["--cgroup-manager=cgroupfs", "--events-backend=file"];
    tool(
        "podman",
        directory,
        &[&place, &fixed[..], arguments].concat(),
    )
}

#[test]
fn umoci_unpacks_what_is_in_an_archive() {
    let source = tagged([1, 2]);
    let (directory, archive) = place();
    let tags = ["--all-tags"];
    copy(&tags, &source.reference("x"), &archive.reference("")).exits(0);
    let layout = directory.path().join("layout");
    let file = File::open(archive.path()).expect("it is there");
    tar::Archive::new(file).unpack(&layout).expect("unpacked");
    let umoci = |arguments: &[&str]| tool("umoci", directory.path(), arguments);
    assert_eq!(umoci(&["ls", "--layout", "layout"]), "1\n2\n");
    umoci(&["unpack", "--rootless", "--image", "layout:2", "bundle"]);
    let files = fs::read_dir(directory.path().join("bundle/rootfs")).expect("a root");
    assert_eq!(files.count(), single(2).layers.len());
}

#[test]
fn what_umoci_writes_arrives() {
    let destination = FakeRegistry::start();
    let directory = tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("files")).expect("a directory");
    fs::write(directory.path().join("files/hello"), b"hello").expect("a file");
    let umoci = |arguments: &[&str]| tool("umoci", directory.path(), arguments);
    umoci(&["init", "--layout", "layout"]);
    umoci(&["new", "--image", "layout:1"]);
    umoci(&["insert", "--image", "layout:1", "files", "/data"]);
    let layout = directory.path().join("layout");
    let archive = pack(&layout, &directory.path().join("a.tar"));
    let tag = copy(&[], &archive.reference(""), &destination.reference("y"))
        .exits(0)
        .tag("1");
    let written = Layout::at(&layout).manifest("1").expect("umoci wrote it");
    assert_eq!(tag["digest"], sha256(&written.bytes));
}

#[test]
fn podman_loads_an_archive_under_its_name() {
    let source = FakeRegistry::start();
    for seed in [1, 2] {
        single(seed).push_to(&source, &format!("team/app:{seed}"));
    }
    let (directory, archive) = place();
    let from = source.reference("team/app:1");
    copy(&[], &from, &archive.reference("")).exits(0);
    podman(directory.path(), &["load", "-i", "bundle.tar"]);
    // `podman load` takes one image a file; the others are pulled from it by name.
    let both = source.reference("team/app");
    copy(&["--all-tags"], &both, &archive.reference("")).exits(0);
    podman(directory.path(), &["pull", "oci-archive:bundle.tar:2"]);
    let images = podman(directory.path(), &["images", "--format", "json"]);
    let images: Value = serde_json::from_str(&images).expect("JSON");
    let images = images.as_array().expect("a list");
    for seed in [1, 2] {
        let name = format!("{}/team/app:{seed}", source.host());
        let named = |image: &&Value| image["Names"][0] == name.as_str();
        let image = images.iter().find(named).expect("it has its name");
        let config = single(seed).config_digest();
        assert_eq!(
            format!("sha256:{}", image["Id"].as_str().expect("an id")),
            config
        );
    }
}
