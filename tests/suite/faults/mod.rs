//! What barge does when something goes wrong: it tries again where that makes sense, says what failed,
//! and leaves no tag behind that leads to anything incomplete.

mod damage;
mod encodings;
mod failures;
mod hostile;
mod large;
mod matrix;
mod ranges;
mod repeats;
mod resume;
mod retries;
mod transfers;
mod unstored;

use crate::support::barge::{Barge, barge};
use crate::support::image::{Attestations, Bundle, Image, ImageSpec, MultiArch};
use crate::support::registry::FakeRegistry;

fn index() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 1)
}

fn single() -> Image {
    ImageSpec::new("linux", "arm64").layers(1, 300_000).build()
}

/// A registry with `image` as `x:1`.
fn source(image: impl Into<Bundle>) -> FakeRegistry {
    let source = FakeRegistry::start();
    crate::support::image::push(image, &source, "x:1");
    source
}

/// `barge copy` with a JSON report.
fn copy(source: &str, destination: &str) -> Barge {
    barge().args(["copy", "-o", "json", source, destination])
}
