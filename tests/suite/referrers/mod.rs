//! `--referrers`: signatures, attestations and bills of materials travel with their image.

mod against;
mod blamed;
mod copied_lists;
mod cosign;
mod filtered;
mod forms;
mod gone;
mod hostile;
mod journals;
mod killed;
mod lists;
mod lost;
mod mended;
mod nested;
mod rollback;
mod shown;
mod signatures;
mod staging;
mod turns;

use serde_json::Value;

use crate::support::barge::{Output, copy};
use crate::support::content::Manifest;
use crate::support::image::{Artifact, Attestations, Bundle, Image, ImageSpec, MultiArch};
use crate::support::registry::{FakeRegistry, Referrers, Settings, Sparse};

const SBOM: &str = "application/spdx+json";
const NOTARY: &str = "application/vnd.cncf.notary.signature";

fn with(referrers: Referrers) -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        referrers,
        sparse: Sparse::On,
        ..Settings::default()
    })
}

fn index() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 401)
}

fn single() -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(402)
        .layers(1, 500)
        .build()
}

/// A bill of materials of `subject`, and a signature of that.
fn sbom_and_signature(subject: &Manifest) -> (Bundle, Bundle) {
    let sbom = Artifact::of(subject, SBOM, "bill").build();
    let signature = Artifact::of(&sbom.root, NOTARY, "signed").build();
    (sbom, signature)
}

/// `copy --referrers` of `x:1` to `y`.
fn copied(source: &FakeRegistry, destination: &FakeRegistry) -> Output {
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    copy(&["--referrers"], &from, &to)
}

/// What is said of the referrers of a tag.
fn counts(output: &Output, tag: &str) -> Value {
    output.tag(tag)["referrers"].clone()
}

/// The digests in a list of referrers.
fn listed(list: &Manifest) -> Vec<String> {
    let json = list.json();
    let entries = json["manifests"].as_array().cloned().unwrap_or_default();
    let digests = entries.iter().filter_map(|entry| entry["digest"].as_str());
    let mut digests: Vec<String> = digests.map(str::to_owned).collect();
    digests.sort();
    digests
}
