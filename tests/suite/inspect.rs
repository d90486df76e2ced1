//! `inspect` and `list-tags`: the fields of their JSON, and bytes as they are.

use serde_json::json;

use crate::support::barge::run;
use crate::support::content::{OCI_INDEX, OCI_MANIFEST};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{
    Attestations, Entry, Form, ImageSpec, IndexBuilder, MultiArch, Spacing,
};
use crate::support::registry::FakeRegistry;

#[test]
fn an_index_is_told_child_by_child() {
    let registry = DockerRegistry::start();
    let image = MultiArch::standard(&["amd64", "arm64/v8"], Attestations::With, 91);
    image.push_to(&registry, "x:latest");
    let reference = registry.reference("x");
    let inspected = run(&["inspect", "-o", "json", &reference]).exits(0).json();
    let held = |platform: &str, name: &str| {
        let child = image.image(platform);
        json!({
            "platform": name, "digest": child.digest(), "size": child.manifest.bytes.len(), "present": true,
        })
    };
    let expected = json!({
        "reference": format!("{reference}:latest"),
        "digest": image.digest(),
        "media_type": OCI_INDEX,
        "platforms": [held("amd64", "linux/amd64"), held("arm64", "linux/arm64/v8")],
        "attestations": 2,
        "created": null,
        "labels": {},
    });
    assert_eq!(inspected, expected);
    let text = run(&["inspect", &reference]).exits(0).stdout;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "complete: 2 of 2 present",
        "attestations: 2",
        "linux/arm64/v8",
        &image.digest(),
    ] {
        assert!(words.contains(part), "{text}");
    }
}

#[test]
fn a_single_image_has_a_date_and_labels() {
    let registry = FakeRegistry::start();
    let image = ImageSpec::new("linux", "riscv64")
        .label("org.opencontainers.image.version", "1.2\u{1b}[31m")
        .layers(1, 300)
        .build();
    image.push_to(&registry, "x:1");
    let reference = registry.reference("x:1");
    let inspected = run(&["inspect", "-o", "json", &reference]).exits(0).json();
    assert_eq!(inspected["media_type"], OCI_MANIFEST);
    assert_eq!(inspected["platforms"][0]["platform"], "linux/riscv64");
    assert_eq!(inspected["platforms"][0]["digest"], image.digest());
    assert_eq!(inspected["created"], "2026-01-02T03:04:05Z");
    let labels = json!({"org.opencontainers.image.version": "1.2\u{1b}[31m"});
    assert_eq!(inspected["labels"], labels);
    let text = run(&["inspect", &reference]).exits(0).stdout;
    assert!(
        text.contains("riscv64") && !text.contains('\u{1b}'),
        "{text:?}"
    );
}

#[test]
fn raw_is_the_bytes() {
    let registry = FakeRegistry::start();
    let arm64 = ImageSpec::new("linux", "arm64").layers(1, 300).build();
    let pretty = IndexBuilder::new(Form::OciBare)
        .spacing(Spacing::Pretty)
        .image(&arm64)
        .build();
    pretty.push_to(&registry, "x:1");
    let by_digest = format!("x@{}", arm64.digest());
    for (name, bytes) in [
        ("x:1", &pretty.root.bytes),
        (&by_digest, &arm64.manifest.bytes),
    ] {
        let output = run(&["inspect", "--raw", &registry.reference(name)]).exits(0);
        assert_eq!(output.stdout.as_bytes(), bytes, "{name}");
    }
}

#[test]
fn nested_and_nameless_entries_are_looked_into() {
    let registry = FakeRegistry::start();
    let image = |platform| ImageSpec::new("linux", platform).layers(1, 200).build();
    let inner = IndexBuilder::new(Form::Oci).image(&image("amd64")).build();
    let outer = IndexBuilder::new(Form::Oci)
        .index(&inner)
        .entry(Entry::image(&image("arm64")).without_platform())
        .build();
    outer.push_to(&registry, "x:1");
    let inspected = run(&["inspect", "-o", "json", &registry.reference("x:1")])
        .exits(0)
        .json();
    let platforms = inspected["platforms"].as_array().into_iter().flatten();
    let mut names: Vec<&str> = platforms
        .filter_map(|held| held["platform"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn what_is_not_there_is_an_error_with_a_kind() {
    let registry = FakeRegistry::start();
    ImageSpec::new("linux", "arm64")
        .build()
        .push_to(&registry, "x:1");
    for name in ["x:2", "nobody:1"] {
        let output = run(&["inspect", "-o", "json", &registry.reference(name)]).exits(1);
        assert_eq!(output.json()["error"]["kind"], "not-found", "{name}");
        let text = run(&["inspect", &registry.reference(name)]).exits(1);
        assert_eq!(text.stdout, "");
        assert!(text.stderr.contains(name), "{text:#?}");
    }
    let output = run(&["list-tags", "-o", "json", &registry.reference("nobody")]).exits(1);
    assert_eq!(output.json()["error"]["kind"], "not-found");
}

#[test]
fn tags_are_listed_for_scripts() {
    let registry = FakeRegistry::start();
    for tag in ["b", "a", "c"] {
        ImageSpec::new("linux", "arm64")
            .build()
            .push_to(&registry, &format!("x:{tag}"));
    }
    let reference = registry.reference("x");
    let listed = run(&["list-tags", "-o", "json", "--tags", "[ab]", &reference]).exits(0);
    let expected = json!({"repository": reference, "tags": ["a", "b"], "total": 3});
    assert_eq!(listed.json(), expected);
    let text = run(&["list-tags", &reference]).exits(0);
    assert_eq!(
        (text.stdout.as_str(), text.stderr.as_str()),
        ("a\nb\nc\n", "")
    );
}
