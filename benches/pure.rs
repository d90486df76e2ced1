//! The pure hot paths: reading manifests, filtering an index, selecting tags.
//!
//! `cargo bench --bench pure`.

use std::fmt::Write as _;
use std::hint::black_box;

use barge::image::filter::{Form, Known, everything, filter};
use barge::image::manifest::Manifest;
use barge::image::platform::Wanted;
use barge::select::{Patterns, Selection};
use criterion::{Criterion, criterion_group, criterion_main};

/// What a mirror of a language's official image really selects.
const GLOBS: &str = "latest,3.[789].?,3.[789].??,3.??.?,3.??.??,3.??.??-*,3.??.?-*,3-*,3.[789].?-*,3.[789].??-*,3.6-*,3.9.??-slim-*,3.10.?-slim*";

const ARCHITECTURES: [&str; 10] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm",
];

/// Forty entries: twenty images for two systems, each with its attestation.
fn index() -> String {
    let mut entries = Vec::new();
    let mut attestations = Vec::new();
    let platforms = ["linux", "freebsd"]
        .into_iter()
        .flat_map(|os| ARCHITECTURES.map(|architecture| (os, architecture)));
    for (number, (os, architecture)) in platforms.enumerate() {
        let digest = format!("sha256:{number:064x}");
        entries.push(format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1234,"platform":{{"architecture":"{architecture}","os":"{os}"}}}}"#
        ));
        attestations.push(format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{:064x}","size":567,"annotations":{{"vnd.docker.reference.digest":"{digest}","vnd.docker.reference.type":"attestation-manifest"}},"platform":{{"architecture":"unknown","os":"unknown"}}}}"#,
            number + 100
        ));
    }
    entries.append(&mut attestations);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        entries.join(",")
    )
}

/// An image of thirty layers.
fn image() -> String {
    let mut layers = String::new();
    for number in 1..=30 {
        let comma = if number == 1 { "" } else { "," };
        write!(layers, r#"{comma}{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{number:064x}","size":{number}000}}"#)
            .expect("a string takes every write");
    }
    let zeros = "0".repeat(64);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{zeros}","size":1234}},"layers":[{layers}]}}"#
    )
}

/// 612 tags: versions of a language, each in several flavours.
fn tags() -> Vec<String> {
    let flavours = ["", "-slim", "-alpine", "-bookworm", "-slim-bookworm", "-rc"];
    let mut tags = Vec::new();
    for minor in 3..=14 {
        for patch in ["", ".0", ".1", ".4", ".9", ".10", ".19", ".20"] {
            tags.extend(flavours.map(|flavour| format!("3.{minor}{patch}{flavour}")));
        }
    }
    tags.extend(flavours.map(|flavour| format!("3{flavour}")));
    tags.extend((0..29).map(|patch| format!("2.7.{patch}")));
    tags.push("latest".to_owned());
    assert_eq!(tags.len(), 612);
    tags
}

fn parsing(criterion: &mut Criterion) {
    for (name, text) in [
        ("parse an index of 40", index()),
        ("parse an image of 30 layers", image()),
    ] {
        let bytes = bytes::Bytes::from(text);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| Manifest::parse(black_box(&bytes).clone(), None));
        });
    }
}

fn filtering(criterion: &mut Criterion) {
    let index = Manifest::parse(index().into(), None).expect("a good index");
    let platforms = ["linux/amd64", "linux/arm64"].map(|name| name.parse().expect("a platform"));
    let wanted = Wanted {
        platforms: platforms.to_vec(),
        ..Wanted::default()
    };
    let known = Known::default();
    let filtered = filter(&index, &wanted, &known, Form::Rewrite).expect("a good index");
    assert_eq!(filtered.kept.len(), 4, "two images with their attestations");
    for (name, form) in [
        ("rewrite an index of 40", Form::Rewrite),
        ("keep an index of 40", Form::Keep),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| filter(black_box(&index), &wanted, &known, form));
        });
    }
    criterion.bench_function("take all of an index of 40", |bencher| {
        bencher.iter(|| everything(black_box(&index), &known));
    });
}

fn selecting(criterion: &mut Criterion) {
    let patterns = Patterns {
        include_glob: vec![GLOBS.to_owned()],
        ..Patterns::default()
    };
    let selection = Selection::compile(&patterns)
        .expect("good globs")
        .expect("there are globs");
    let tags = tags();
    criterion.bench_function("compile 13 globs", |bencher| {
        bencher.iter(|| Selection::compile(black_box(&patterns)));
    });
    criterion.bench_function("select from 612 tags", |bencher| {
        bencher.iter(|| selection.select(black_box(&tags)).len());
    });
}

criterion_group!(pure, parsing, filtering, selecting);
criterion_main!(pure);
