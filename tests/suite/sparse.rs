//! sparse-index: the source's own index with some of its children, where the destination takes it.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::{copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Attestations, Bundle, Layout, MultiArch, push};
use crate::support::registry::{Dialect, EmptyList, FakeRegistry, Settings, Sparse};
use crate::support::wire::{Answer, Fault, Request};

const PLATFORMS: [&str; 4] = ["amd64", "arm64", "ppc64le", "s390x"];

fn standard(seed: u64) -> MultiArch {
    MultiArch::standard(&PLATFORMS, Attestations::With, seed)
}

fn sparse(architectures: &str) -> [&str; 4] {
    ["--mode", "sparse-index", "--arch", architectures]
}

/// A source with an index at `x:1`, and a destination that behaves so.
fn pair(settings: Settings) -> (FakeRegistry, FakeRegistry, MultiArch) {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start_with(settings));
    let image = standard(21);
    image.push_to(&source, "x:1");
    (source, destination, image)
}

fn required(architectures: &[&str], empty: EmptyList) -> Sparse {
    Sparse::Required {
        architectures: architectures
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        empty,
    }
}

fn message(tag: &Value) -> &str {
    tag["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn the_digest_stays_and_only_wanted_children_come() {
    let (source, destination, image) = pair(Settings::quay(Sparse::On));
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let tag = copy(&sparse("arm64"), &from, &to).exits(0).tag("1");
    assert_eq!(tag["status"], "copied");
    assert_eq!(
        (&tag["digest"], &tag["source_digest"]),
        (&json!(image.digest()), &json!(image.digest()))
    );
    assert_eq!(tag["platforms"], json!(["linux/arm64"]));
    assert_eq!(
        tag["omitted_platforms"],
        json!(["linux/amd64", "linux/ppc64le", "linux/s390x"])
    );
    assert_eq!(
        destination.store.manifest("x", "1"),
        Some(image.root.clone())
    );
    let holds = |digest: String| destination.store.manifest("x", &digest).is_some();
    for platform in PLATFORMS {
        let wanted = platform == "arm64";
        assert_eq!(holds(image.image(platform).digest()), wanted, "{platform}");
        assert_eq!(
            holds(image.attestation(platform).digest()),
            wanted,
            "{platform}"
        );
    }
}

#[test]
fn required_architectures_are_quays_to_judge() {
    use EmptyList::{RequiresEverything, RequiresNothing};
    for (setting, arch, code) in [
        (required(&["amd64"], RequiresNothing), "arm64", 1),
        (required(&["amd64"], RequiresNothing), "amd64,arm64", 0),
        (required(&["amd64"], RequiresEverything), "amd64", 0),
        (required(&[], RequiresNothing), "arm64", 0),
        (required(&[], RequiresEverything), "arm64", 1),
        (
            required(&[], RequiresEverything),
            "amd64,arm64,ppc64le,s390x",
            0,
        ),
    ] {
        let (source, destination, image) = pair(Settings::quay(setting.clone()));
        let (from, to) = (source.reference("x:1"), destination.reference("x"));
        let tag = copy(&sparse(arch), &from, &to).exits(code).tag("1");
        let stored = destination.store.tag("x", "1");
        if code == 0 {
            assert_eq!(stored, Some(image.digest()), "{setting:?}");
        } else {
            assert_eq!(tag["error"]["kind"], "sparse-rejected", "{setting:?}");
            assert!(
                message(&tag).contains("Could not find child manifest"),
                "{tag}"
            );
            assert_eq!(stored, None, "{setting:?}");
        }
    }
}

#[test]
fn quay_without_the_feature_is_believed_at_once() {
    let (source, destination, _) = pair(Settings::quay(Sparse::Off));
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let output = copy(&sparse("arm64"), &from, &to).exits(1);
    let tag = output.tag("1");
    assert_eq!(tag["error"]["kind"], "sparse-rejected");
    let hint = tag["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("FEATURE_SPARSE_INDEX"), "{hint}");
    let log = destination.log();
    let moves =
        |request: &&Request| request.reads_blob() || request.is_upload() || !request.reads();
    assert_eq!(log.iter().filter(moves).count(), 0, "{log:#?}");
    assert_eq!(source.count(Request::reads_blob), 0);
    assert_eq!(destination.store.repositories(), [""; 0]);
}

#[test]
fn tags_that_leave_nothing_missing_pass_where_sparse_is_off() {
    let (source, destination, _) = pair(Settings::quay(Sparse::Off));
    let small = MultiArch::standard(&["arm64"], Attestations::With, 22);
    small.push_to(&source, "x:small");
    let known = standard(23);
    known.push_to(&source, "x:known");
    // Everything that is left out is there already.
    let bundle = Bundle::from(&known);
    push(&bundle, &destination, "x:other");
    destination.store.remove_tag("x", "other");
    let options = [&sparse("arm64")[..], &["--all-tags"]].concat();
    let (from, to) = (source.reference("x"), destination.reference("x"));
    let output = copy(&options, &from, &to).exits(3);
    assert_eq!(output.tag("1")["error"]["kind"], "sparse-rejected");
    assert_eq!(output.tag("small")["status"], "copied");
    assert_eq!(output.tag("known")["status"], "copied");
    assert_eq!(destination.store.tag("x", "known"), Some(known.digest()));
    assert_eq!(destination.store.tag("x", "small"), Some(small.digest()));
}

#[test]
fn after_the_first_refusal_no_tag_moves_blobs_in_vain() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let images: Vec<MultiArch> = (0..60)
        .map(|seed| MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 100 + seed))
        .collect();
    for (number, image) in images.iter().enumerate() {
        image.push_to(&source, &format!("x:{number:02}"));
    }
    let options = [&sparse("arm64")[..], &["--all-tags"]].concat();
    let (from, to) = (source.reference("x"), destination.reference("x"));
    let report = copy(&options, &from, &to).exits(1).json();
    for tag in report["tags"].as_array().expect("tags") {
        assert_eq!(tag["error"]["kind"], "sparse-rejected", "{tag}");
    }
    let tried = |number: usize| {
        let path = format!("/manifests/{number:02}");
        destination.count(|request| request.is("PUT", &path)) > 0
    };
    let spared: Vec<usize> = (0..60).filter(|number| !tried(*number)).collect();
    assert!(!spared.is_empty());
    for number in spared {
        let layer = images[number].image("arm64").layers[1].digest();
        assert!(!destination.store.has_blob("x", &layer), "{number}");
    }
}

#[test]
fn a_strict_registry_refuses_and_the_way_on_is_named() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    standard(21).push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let output = copy(&sparse("arm64"), &from, &to).exits(1);
    assert_eq!(output.json()["outcome"], "failed");
    let tag = output.tag("1");
    assert_eq!(tag["error"]["kind"], "sparse-rejected");
    assert!(message(&tag).contains("blob unknown to registry"), "{tag}");
    let hint = tag["error"]["hint"].as_str().expect("a hint");
    let words = [
        "FEATURE_SPARSE_INDEX",
        "validation.manifests.indexes.platforms",
        "filtered-index",
    ];
    assert!(words.iter().all(|word| hint.contains(word)), "{hint}");
    assert_eq!(destination.client().tags("x"), [""; 0]);

    let text = run(&[&["copy"], &sparse("arm64")[..], &[&from, &to]].concat()).exits(1);
    let words = [
        "sparse-rejected",
        "blob unknown to registry",
        "FEATURE_SPARSE_INDEX",
    ];
    assert!(
        words.iter().all(|word| text.stdout.contains(word)),
        "{text:#?}"
    );
}

#[test]
fn a_refusal_is_recognised_in_every_dialect() {
    for (dialect, words) in [
        (Dialect::Distribution, "blob unknown to registry"),
        (Dialect::Crane, "not found"),
        (Dialect::Zot, "MANIFEST_INVALID"),
        (Dialect::Olareg, "manifest not found"),
        (Dialect::Quay, "Could not find child manifest"),
    ] {
        let (source, destination, image) = pair(Settings {
            dialect,
            ..Settings::default()
        });
        let by_digest = source.reference(&format!("x@{}", image.digest()));
        let to = destination.reference("x");
        let tag = copy(&sparse("arm64"), &source.reference("x:1"), &to)
            .exits(1)
            .tag("1");
        assert_eq!(tag["error"]["kind"], "sparse-rejected", "{dialect:?}");
        assert!(message(&tag).contains(words), "{dialect:?}: {tag}");
        let tag = copy(&sparse("arm64"), &by_digest, &to).exits(1);
        let tag = tag.tag(&image.digest());
        assert_eq!(tag["error"]["kind"], "sparse-rejected", "{dialect:?}");
        assert_eq!(destination.store.tags("x"), [""; 0]);
        assert_eq!(destination.store.manifest("x", &image.digest()), None);
    }
}

#[test]
fn a_refusal_for_another_reason_keeps_its_name() {
    let (source, destination, _) = pair(Settings::quay(Sparse::On));
    let refused = Answer::error(403, "DENIED", &json!({}));
    let fault = Fault::Status(refused);
    destination.fail(9, |request| request.is("PUT", "/manifests/1"), fault);
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let tag = copy(&sparse("arm64"), &from, &to).exits(1).tag("1");
    assert_eq!(tag["error"]["kind"], "denied");
}

#[test]
fn a_layout_takes_it_and_inspect_says_what_is_there() {
    let (source, _, image) = pair(Settings::default());
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let reference = layout.reference("1");
    let tag = copy(&sparse("arm64"), &source.reference("x:1"), &reference)
        .exits(0)
        .tag("1");
    assert_eq!(tag["digest"], image.digest());
    assert_eq!(layout.manifest("1"), Some(image.root.clone()));

    let text = run(&["inspect", &reference]).exits(0).stdout;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("sparse: 1 of 4 present"), "{text}");
    let inspected = run(&["inspect", "-o", "json", &reference]).exits(0).json();
    let present = |platform: &str| {
        let found = inspected["platforms"].as_array().into_iter().flatten();
        let mut found = found.filter(|held| held["platform"] == format!("linux/{platform}"));
        found.next().expect("it is listed")["present"].clone()
    };
    let found = PLATFORMS.map(present);
    assert_eq!(
        found,
        [json!(false), json!(true), json!(false), json!(false)]
    );
}
