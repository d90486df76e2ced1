//! containerd: `ctr images import` takes what is written here, and what `ctr images export` writes is read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};

use super::{docker, peers, place, single, standard, tagged};
use crate::support::barge::copy;
use crate::support::image::archive::Archive;
use crate::support::image::push;
use crate::support::registry::FakeRegistry;

const PATIENCE: Duration = Duration::from_secs(20);

/// Parts that need a kernel's help, or that nobody here asks for anything.
const IDLE: [&str; 6] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
];

/// A running containerd with images of its own. It is killed and forgotten when dropped.
struct Containerd {
    child: Child,
    directory: TempDir,
}

impl Containerd {
    fn start() -> Self {
        let directory = tempdir().expect("a temporary directory");
        let place = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {IDLE:?}\n[grpc]\naddress = {:?}\n",
            place("root"),
            place("state"),
            place("socket"),
        );
        fs::write(place("config.toml"), config).expect("config.toml can be written");
        let child = Command::new("containerd")
            .args(["--config", &place("config.toml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("containerd is installed");
        let mut daemon = Self { child, directory };
        daemon.wait_until_ready();
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert_eq!(ended, None, "containerd ended");
            assert!(Instant::now() < deadline, "containerd does not listen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `ctr images …`; what it prints.
    #[track_caller]
    fn images(&self, arguments: &[&str]) -> String {
        let socket = self.socket().display().to_string();
        let images = ["--address", &socket, "images"];
        let directory = self.directory.path();
        peers::tool("ctr", directory, &[&images, arguments].concat())
    }

    #[track_caller]
    fn import(&self, archive: &Archive) {
        let path = archive.path().display().to_string();
        // Nothing is run here, so no layer is unpacked.
        self.images(&["import", "--no-unpack", "--all-platforms", &path]);
    }

    /// The names of its images, and their digests.
    fn names(&self) -> BTreeSet<(String, String)> {
        let list = self.images(&["ls"]);
        let named = |line: &str| {
            let mut columns = line.split_whitespace().map(str::to_owned);
            Some((columns.next()?, columns.nth(1)?))
        };
        list.lines().skip(1).filter_map(named).collect()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // An error would say that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn containerd_imports_every_tag_of_an_archive_under_its_name() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "team/app:1");
    let index = standard();
    push(&index, &source, "team/app:2");
    let (_directory, archive) = place();
    let from = source.reference("team/app");
    copy(&["--all-tags"], &from, &archive.reference("")).exits(0);
    let containerd = Containerd::start();
    containerd.import(&archive);
    let name = |tag: &str| format!("{}/team/app:{tag}", source.host());
    let images = [(name("1"), single(1).digest()), (name("2"), index.digest())];
    assert_eq!(containerd.names(), BTreeSet::from(images));
}

#[test]
fn containerd_imports_what_docker_load_takes() {
    let source = tagged([1]);
    let (_directory, archive) = place();
    let to = docker(&archive, ":example.com/team/app:1");
    copy(&[], &source.reference("x:1"), &to).exits(0);
    let containerd = Containerd::start();
    containerd.import(&archive);
    let names = containerd.names();
    let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["example.com/team/app:1"]);
}

#[test]
fn what_containerd_exports_arrives() {
    let source = tagged([1]);
    let destination = FakeRegistry::start();
    let (directory, archive) = place();
    copy(&[], &source.reference("x:1"), &archive.reference("")).exits(0);
    let containerd = Containerd::start();
    containerd.import(&archive);
    let exported = Archive::at(&directory.path().join("exported.tar"));
    let path = exported.path().display().to_string();
    let name = format!("{}/x:1", source.host());
    containerd.images(&["export", "--all-platforms", &path, &name]);
    let tag = copy(&[], &exported.reference("1"), &destination.reference("y:1"))
        .exits(0)
        .tag("1");
    assert_eq!(tag["digest"], single(1).digest());
}
