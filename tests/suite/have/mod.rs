//! Archives that leave out what is there: `barge inventory` says what, `copy --have` leaves it out, and
//! the import proves it before it writes.

mod apart;
mod arrival;
mod inventory;
mod referrers;
mod refused;
mod selected;
mod weekly;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::barge::{Output, copy, run};
use crate::support::image::archive::Archive;
use crate::support::image::{Attestations, Image, ImageSpec, Layer, MultiArch};
use crate::support::wire::{Request, Server};

/// A large layer that all images share, and what each has of its own.
const SHARED: usize = 600_000;
const OWN: usize = 4000;

fn single(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(7, SHARED))
        .layers(1, OWN)
        .build()
}

fn standard(seed: u64) -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, seed)
}

/// The desk outside and the desk inside: files that cross on a disk.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn archive(&self, name: &str) -> Archive {
        Archive::at(&self.path(name))
    }

    /// What `barge inventory` prints of these places, in a file.
    #[track_caller]
    fn inventory(&self, places: &[&str]) -> String {
        let output = run(&[&["inventory"], places].concat()).exits(0);
        self.write("have.json", &output.stdout)
    }

    /// The files of an archive, in a directory.
    fn unpack(&self, archive: &Archive) -> PathBuf {
        let directory = self.path("unpacked");
        for (name, bytes) in archive.files() {
            if name.starts_with("blobs") && bytes.is_empty() {
                continue;
            }
            let path = directory.join(&name);
            let parent = path.parent().expect("a parent");
            fs::create_dir_all(parent).expect("a directory");
            fs::write(path, bytes).expect("a file");
        }
        directory
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

/// `copy --all-tags --have`.
fn export(have: &str, source: &str, archive: &Archive) -> Output {
    copy(
        &["--all-tags", "--have", have],
        source,
        &archive.reference(""),
    )
}

fn import(archive: &Archive, destination: &str) -> Output {
    copy(&["--all-tags"], &archive.reference(""), destination)
}

/// Requests that change something.
fn writes(server: &Server) -> Vec<Request> {
    let log = server.log().into_iter();
    log.filter(|request| !matches!(request.method.as_str(), "GET" | "HEAD"))
        .collect()
}

/// What a run says that the destination lacks, sorted.
fn lacking(report: &Value) -> Vec<String> {
    let parts = report["lacking"].as_array().into_iter().flatten();
    parts
        .map(|part| part["digest"].as_str().expect("a digest").to_owned())
        .collect()
}
