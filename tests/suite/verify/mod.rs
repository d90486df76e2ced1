//! `verify`: what is whole is complete, and everything that is not there is named.

mod against;
mod damage;
mod sparse;
mod whole;

use serde_json::Value;

use crate::support::barge::{Output, run};
use crate::support::image::{Attestations, Image, ImageSpec, Layer, MultiArch};

fn standard(seed: u64) -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, seed)
}

/// An image with a layer that all of these share and one of its own.
fn single(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(7, 20_000))
        .layers(1, 3000)
        .build()
}

fn verify(options: &[&str], reference: &str) -> Output {
    run(&[&["verify", "-o", "json"], options, &[reference]].concat())
}

/// What is missing of a tag: part, digest, kind; sorted.
fn missing(tag: &Value) -> Vec<(String, String, String)> {
    let entries = tag["missing"].as_array().expect("a list").iter();
    let text = |entry: &Value, name: &str| entry[name].as_str().expect("a text").to_owned();
    let mut found: Vec<_> = entries
        .map(|entry| {
            (
                text(entry, "part"),
                text(entry, "digest"),
                text(entry, "kind"),
            )
        })
        .collect();
    found.sort();
    found
}

#[track_caller]
fn assert_missing(tag: &Value, expected: &[(&str, String, &str)]) {
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(part, digest, kind)| ((*part).to_owned(), digest.clone(), (*kind).to_owned()))
        .collect();
    expected.sort();
    assert_eq!(missing(tag), expected, "{tag:#}");
}
