//! Images in files that have no name, or a whole name where a tag is asked for.

use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::support::barge::{copy, run};
use crate::support::image::archive::Archive;
use crate::support::image::{Artifact, Bundle, Image, ImageSpec, Layout, push, write_layout};
use crate::support::registry::FakeRegistry;

fn image(architecture: &str) -> Image {
    ImageSpec::new("linux", architecture).layers(1, 100).build()
}

/// A layout of images with these names; an empty one is none.
fn layout(images: &[(&str, &Image)]) -> (TempDir, Layout) {
    let directory = tempdir().expect("a temporary directory");
    let bundles = images
        .iter()
        .map(|(name, image)| (*name, Bundle::from(*image)));
    let layout = write_layout(directory.path(), &bundles.collect::<Vec<_>>());
    (directory, layout)
}

#[test]
fn a_tag_selects_the_only_whole_name_with_it() {
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let images = [
        ("localhost/x:stable", &amd64),
        ("localhost/x:other", &arm64),
    ];
    let (_directory, layout) = layout(&images);
    let destination = FakeRegistry::start();
    let to = destination.reference("y");
    let output = copy(&[], &layout.reference("stable"), &to).exits(0);
    assert_eq!(output.tag("stable")["status"], "copied");
    assert_eq!(destination.store.tag("y", "stable"), Some(amd64.digest()));
    run(&["verify", &layout.reference("other")]).exits(0);
    let inspected = run(&["inspect", "-o", "json", &layout.reference("other")]).exits(0);
    assert!(inspected.stdout.contains(&arm64.digest()), "{inspected:#?}");
    let against = layout.reference("stable");
    run(&["verify", "--against", &against, &to]).exits(0);
}

#[test]
fn a_tag_that_several_whole_names_have_selects_none() {
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let images = [
        ("localhost/x:stable", &amd64),
        ("localhost/y:stable", &arm64),
    ];
    let (_directory, layout) = layout(&images);
    let destination = FakeRegistry::start();
    let to = destination.reference("y");
    let output = copy(&[], &layout.reference("stable"), &to).exits(1);
    let message = output.json()["error"]["message"].to_string();
    for (name, _) in images {
        assert!(message.contains(&layout.reference(name)), "{message}");
    }
    copy(&[], &layout.reference("localhost/y:stable"), &to).exits(0);
    assert_eq!(destination.store.tag("y", "stable"), Some(arm64.digest()));
}

#[test]
fn several_images_are_listed_with_their_platforms() {
    let (amd64, arm64, named) = (image("amd64"), image("arm64"), image("s390x"));
    let (_directory, layout) = layout(&[("", &amd64), ("", &arm64), ("v1", &named)]);
    let destination = FakeRegistry::start();
    let to = destination.reference("y:1");
    let error = copy(&[], &layout.reference(""), &to).exits(1).json()["error"].clone();
    let message = error["message"].as_str().expect("a message");
    let place = layout.reference("");
    let listed = [
        format!("{place}@{} (linux/amd64)", amd64.digest()),
        format!("{place}@{} (linux/arm64)", arm64.digest()),
        format!("{place}:v1 (linux/s390x)"),
    ];
    assert!(
        listed.iter().all(|name| message.contains(name)),
        "{message}"
    );
    copy(&[], &format!("{place}@{}", arm64.digest()), &to).exits(0);
    assert_eq!(destination.store.tag("y", "1"), Some(arm64.digest()));
}

#[test]
fn images_without_a_name_are_told_when_all_tags_are_copied() {
    let (amd64, arm64, named) = (image("amd64"), image("arm64"), image("s390x"));
    let (_directory, layout) = layout(&[("", &amd64), ("", &arm64), ("v1", &named)]);
    let destination = FakeRegistry::start();
    let (from, to) = (layout.reference(""), destination.reference("y"));
    for options in [&["--all-tags"][..], &["--all-tags", "--policy", "rollback"]] {
        let report = copy(options, &from, &to).exits(3).json();
        assert_eq!(report["outcome"], "partial");
        assert_eq!(report["totals"]["failed"], 0);
        let unnamed = [amd64.digest(), arm64.digest()].map(|digest| format!("{from}@{digest}"));
        assert_eq!(report["unnamed"], json!(unnamed));
    }
    let text = run(&["copy", "--all-tags", &from, &to]).exits(3).stdout;
    assert!(
        text.contains("PARTIAL: not copied, without a name: 2 images"),
        "{text}"
    );
    copy(&["--tags", "v.*"], &from, &to).exits(0);
    let only = [("", &amd64)];
    let (_other, bare) = self::layout(&only);
    let error = copy(&["--all-tags"], &bare.reference(""), &to)
        .exits(1)
        .json()["error"]
        .clone();
    assert!(
        error["message"].to_string().contains(&amd64.digest()),
        "{error:#}"
    );
}

#[test]
fn the_entry_of_an_artifact_has_its_type() {
    let subject = image("amd64");
    let artifact = Artifact::of(&subject.manifest, "application/spdx+json", "bill").build();
    let (source, digest) = (FakeRegistry::start(), artifact.root.digest());
    subject.push_to(&source, "x:1");
    push(artifact, &source, "x:bill");
    for transport in ["oci", "oci-archive"] {
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("images");
        let to = format!("{transport}:{}", path.display());
        copy(&["--all-tags"], &source.reference("x"), &to).exits(0);
        let index = if transport == "oci" {
            Layout::at(&path).index()
        } else {
            let index = Archive::at(&path).files()["index.json"].clone();
            serde_json::from_slice(&index).expect("JSON")
        };
        let entries = index["manifests"].as_array().expect("entries");
        for entry in entries {
            let is_artifact = entry["digest"] == digest.as_str();
            let expected = is_artifact.then_some("application/spdx+json");
            assert_eq!(entry["artifactType"].as_str(), expected, "{index:#}");
        }
        assert!(
            entries
                .iter()
                .any(|entry| entry["digest"] == digest.as_str())
        );
    }
}
