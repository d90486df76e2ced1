//! What is whole, wherever it is; and what one run asks for.

use std::collections::BTreeMap;

use serde_json::json;
use tempfile::tempdir;

use super::{single, standard, verify};
use crate::support::barge::{copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::registry::{Auth, FakeRegistry, Settings};
use crate::support::wire::Fault;

#[test]
fn every_kind_of_place_is_complete_after_a_copy() {
    let registry = DockerRegistry::start();
    let (image, index) = (single(1), standard(2));
    image.push_to(&registry, "x:image");
    index.push_to(&registry, "x:index");
    let directory = tempdir().expect("a temporary directory");
    let path =
        |scheme: &str, name: &str| format!("{scheme}:{}", directory.path().join(name).display());
    let (layout, archive) = (path("oci", "layout"), path("oci-archive", "bundle.tar"));
    for destination in [&layout, &archive] {
        copy(&["--all-tags"], &registry.reference("x"), destination).exits(0);
    }
    for place in [&registry.reference("x"), &layout, &archive] {
        for options in [&["--all-tags"][..], &["--all-tags", "--deep"]] {
            let output = verify(options, place).exits(0);
            let report = output.json();
            assert_eq!(report["schema"], 1);
            assert_eq!(report["reference"], json!(place));
            assert_eq!(report["outcome"], "success");
            assert_eq!(report["deep"], options.len() == 2);
            let tag = output.tag("image");
            assert_eq!(
                (&tag["status"], &tag["blobs"]),
                (&json!("complete"), &json!(3))
            );
            assert_eq!(tag["digest"], image.digest());
            let bytes =
                image.config.len() + image.layers.iter().map(|l| l.bytes.len()).sum::<usize>();
            assert_eq!(tag["bytes"], bytes);
            let tag = output.tag("index");
            assert_eq!(tag["platforms"], json!(["linux/amd64", "linux/arm64"]));
            // The root, two images and their attestations.
            assert_eq!(
                (&tag["status"], &tag["manifests"]),
                (&json!("complete"), &json!(5))
            );
            assert_eq!(tag["missing"], json!([]));
            assert_eq!(report["totals"]["complete"], 2);
        }
        let text = run(&["verify", "--all-tags", place]).exits(0).stdout;
        for part in [
            "complete",
            "linux/amd64,arm64",
            "2 tags: 2 complete;",
            "found",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn one_reference_may_name_nothing_a_tag_or_a_digest() {
    let registry = FakeRegistry::start();
    let image = single(3);
    image.push_to(&registry, "x:latest");
    let by_digest = format!("x@{}", image.digest());
    for (name, tag) in [
        ("x", "latest"),
        ("x:latest", "latest"),
        (by_digest.as_str(), &image.digest()),
    ] {
        let output = verify(&[], &registry.reference(name)).exits(0);
        assert_eq!(output.tag(tag)["status"], "complete", "{name}");
    }
}

#[test]
fn a_blob_is_asked_for_once_however_many_tags_share_it() {
    let registry = FakeRegistry::start();
    for number in 0..30 {
        single(number % 6).push_to(&registry, &format!("x:{number}"));
    }
    standard(4).push_to(&registry, "x:index");
    for options in [&["--all-tags"][..], &["--all-tags", "--deep"]] {
        registry.clear_log();
        let output = verify(options, &registry.reference("x")).exits(0);
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        for request in registry.log() {
            if request.reads_blob() {
                *asked.entry(request.path).or_default() += 1;
            }
        }
        assert!(asked.values().all(|times| *times == 1), "{asked:#?}");
        // A shared layer; a config and a layer for each of six images; the index's four images, whose
        // first two share a layer.
        let totals = &output.json()["totals"];
        assert_eq!(totals["blobs"], asked.len());
        assert!(asked.len() > 13, "{}", asked.len());
    }
}

#[test]
fn what_cannot_be_looked_at_is_an_error() {
    let registry = FakeRegistry::start();
    single(5).push_to(&registry, "x:1");
    let absent = verify(&[], &registry.reference("x:2")).exits(1);
    assert_eq!(absent.tag("2")["status"], "failed");
    assert_eq!(absent.tag("2")["error"]["kind"], "not-found");
    let none = verify(&["--tags", "9.*"], &registry.reference("x")).exits(1);
    assert_eq!(none.json()["error"]["kind"], "not-found");
    assert_eq!(none.json()["tags"], json!([]));
    let broken = verify(&[], "oci:/nowhere/at/all").exits(1);
    assert_eq!(broken.json()["outcome"], "failed");
    registry.on(|request| request.reads_blob().then(|| Fault::status(500)));
    let output = verify(&["--retry-times", "0"], &registry.reference("x:1")).exits(1);
    assert_eq!(output.tag("1")["status"], "failed");
    assert_eq!(output.tag("1")["error"]["kind"], "unavailable");
}

#[test]
fn a_wrong_password_is_refused_and_a_right_one_is_used() {
    let registry = FakeRegistry::start_with(Settings {
        auth: Auth::basic("alice", "right-Pa55word"),
        ..Settings::default()
    });
    single(6).push_to(&registry, "x:1");
    let reference = registry.reference("x:1");
    let refused = verify(&["--creds", "alice:wrong-Pa55word"], &reference).exits(1);
    let report = refused.json();
    let error = report.get("error").unwrap_or(&report["tags"][0]["error"]);
    assert_eq!(error["kind"], "unauthorized", "{report:#}");
    verify(&["--creds", "alice:right-Pa55word"], &reference).exits(0);
}

#[test]
fn usage_errors_contact_nobody() {
    let registry = FakeRegistry::start();
    let (bare, tagged) = (registry.reference("x"), registry.reference("x:1"));
    for arguments in [
        &["--all-tags", tagged.as_str()][..],
        &["--all-tags", "--against", &tagged, &bare],
        &["--arch", "nonsense/", &bare],
        &["--tags", "(", &bare],
        &["--jobs", "0", &bare],
        &["oci-archve:x"],
        &[],
    ] {
        let output = run(&[&["verify"], arguments].concat()).exits(2);
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
    assert_eq!(registry.log().len(), 0);
}

#[test]
fn a_signal_ends_it_and_every_tag_is_told() {
    let registry = FakeRegistry::start();
    let image = single(7);
    image.push_to(&registry, "x:slow");
    let layer = image.layers[0].digest();
    registry.on(move |request| request.is("GET", &layer).then_some(Fault::StallBody(100)));
    let arguments = ["verify", "--deep", "-o", "json", "--all-tags"];
    let running = crate::support::barge::barge()
        .args(arguments)
        .arg(registry.reference("x"))
        .spawn();
    registry.wait_for(1, |request| {
        request.reads_blob() && request.answer_len == 100
    });
    running.signal("INT");
    let output = running.wait().exits(130);
    assert_eq!(output.json()["outcome"], "interrupted");
    assert_eq!(output.tag("slow")["error"]["kind"], "interrupted");
}
