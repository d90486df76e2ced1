//! OCI archives: written as a stream of blobs in their places, read by position, and trusted in nothing.

mod advice;
mod arriving;
mod containerd;
mod damaged;
mod docker;
mod existing;
mod hostile;
mod memory;
mod peers;
mod pipes;
mod read;
mod save;
mod stdio;
mod tail;
mod trouble;
mod unsaved;
mod whole;
mod write;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::support::image::archive::Archive;
use crate::support::image::{Attestations, Image, ImageSpec, Layer, MultiArch};
use crate::support::registry::FakeRegistry;

fn standard() -> MultiArch {
    let platforms = ["amd64", "arm64/v8", "arm/v7"];
    MultiArch::standard(&platforms, Attestations::With, 71)
}

/// An image with a layer that all of these share, one of its own, and a large one.
fn single(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(7, 20_000))
        .layers(1, 3000)
        .layer(Layer::random(1000 + seed, 700_000))
        .build()
}

/// A registry with [`single`] of each seed under `x:SEED`.
fn tagged(seeds: impl IntoIterator<Item = u64>) -> FakeRegistry {
    let source = FakeRegistry::start();
    for seed in seeds {
        single(seed).push_to(&source, &format!("x:{seed}"));
    }
    source
}

/// The large layer of `single(seed)`.
fn large(seed: u64) -> String {
    single(seed).layers[2].digest()
}

/// `docker-archive:PATH`, and what follows.
fn docker(archive: &Archive, rest: &str) -> String {
    format!("docker-archive:{}{rest}", archive.path().display())
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
    decoder.read_to_end(&mut plain).expect("gzip");
    plain
}

/// A directory, and an archive in it that is not there yet.
fn place() -> (TempDir, Archive) {
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("bundle.tar"));
    (directory, archive)
}

/// What is in a directory.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    };
    entries.map(name).collect()
}
