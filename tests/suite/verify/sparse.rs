//! Sparse indexes: complete for the platforms asked for, and what else they lack is told.

use serde_json::json;

use super::{assert_missing, standard, verify};
use crate::support::barge::{copy, run};
use crate::support::image::Bundle;
use crate::support::image::{Entry, Form, ImageSpec, IndexBuilder, push};
use crate::support::registry::{FakeRegistry, Settings, Sparse};

#[test]
fn a_sparse_index_is_complete_for_what_was_copied() {
    let (source, mirror) = (
        FakeRegistry::start(),
        FakeRegistry::start_with(Settings::quay(Sparse::On)),
    );
    let index = standard(31);
    index.push_to(&source, "x:1");
    let options = ["--mode", "sparse-index", "--arch", "arm64"];
    copy(&options, &source.reference("x:1"), &mirror.reference("x:1")).exits(0);
    let place = mirror.reference("x:1");
    let output = verify(&["--arch", "arm64", "--deep"], &place).exits(0);
    let tag = output.tag("1");
    assert_eq!(tag["status"], "complete");
    assert_eq!(tag["platforms"], json!(["linux/arm64"]));
    assert_eq!(tag["absent_platforms"], json!(["linux/amd64"]));
    let text = run(&["verify", "--arch", "arm64", &place]).exits(0).stdout;
    assert!(text.contains("1 is sparse: it lacks linux/amd64"), "{text}");
    // Without --arch every platform is asked for.
    let all = verify(&[], &place).exits(1);
    let expected = [
        ("manifest", index.image("amd64").digest(), "not-found"),
        (
            "attestation",
            index.attestation("amd64").digest(),
            "not-found",
        ),
    ];
    assert_missing(&all.tag("1"), &expected);
    let both = verify(&["--arch", "arm64,amd64"], &place).exits(1);
    assert_missing(&both.tag("1"), &expected);
    assert_eq!(both.tag("1")["absent_platforms"], json!([]));
}

#[test]
fn platforms_that_are_not_listed() {
    let registry = FakeRegistry::start();
    standard(32).push_to(&registry, "x:index");
    ImageSpec::new("linux", "arm64")
        .layers(1, 300)
        .build()
        .push_to(&registry, "x:image");
    let place = registry.reference("x");
    let some = verify(&["--all-tags", "--arch", "amd64,riscv64"], &place).exits(3);
    let tag = some.tag("index");
    assert_eq!(tag["status"], "complete");
    assert_eq!(tag["missing_platforms"], json!(["riscv64"]));
    assert_eq!(tag["absent_platforms"], json!([]));
    let tag = some.tag("image");
    assert_eq!(tag["status"], "failed");
    assert_eq!(tag["error"]["kind"], "missing-platform");
    let required = ["--all-tags", "--arch", "arm64", "--require-arch", "riscv64"];
    let required = verify(&required, &place).exits(1);
    assert_eq!(required.tag("index")["error"]["kind"], "required-arch");
}

#[test]
fn a_nested_index_that_is_gone_matters_where_it_may_hold_what_is_asked_for() {
    let registry = FakeRegistry::start();
    let image = |name| ImageSpec::new("linux", name).layers(1, 200).build();
    let inner = IndexBuilder::new(Form::Oci).image(&image("amd64")).build();
    let outer = IndexBuilder::new(Form::Oci)
        .index(&inner)
        .entry(Entry::image(&image("arm64")).without_platform())
        .build();
    push(
        Bundle::from(&outer).without(&[&inner.digest()]),
        &registry,
        "x:1",
    );
    let place = registry.reference("x:1");
    let found = verify(&["--arch", "arm64"], &place).exits(0);
    assert_eq!(found.tag("1")["platforms"], json!(["linux/arm64"]));
    assert_eq!(found.tag("1")["absent_platforms"], json!([inner.digest()]));
    let lost = ("index", inner.digest(), "not-found");
    for options in [&["--arch", "amd64"][..], &[]] {
        let output = verify(options, &place).exits(1);
        assert_eq!(output.tag("1")["status"], "incomplete", "{options:?}");
        assert_missing(&output.tag("1"), std::slice::from_ref(&lost));
    }
}
