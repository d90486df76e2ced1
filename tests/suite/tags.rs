//! Many tags of one repository: which are selected, and that one broken tag costs no other.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::{copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Bundle, Image, ImageSpec, Layer, write_layout};
use crate::support::proxy::Proxy;
use crate::support::registry::{FakeRegistry, Paging};
use crate::support::wire::Server;

/// An image of a layer that all have and one of its own.
fn image(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(1, 5000))
        .layers(1, 1000)
        .build()
}

/// A registry with a small image under each of these tags of `x`.
fn tagged<S: AsRef<str>>(tags: impl IntoIterator<Item = S>) -> FakeRegistry {
    let registry = FakeRegistry::start();
    for tag in tags {
        image(1).push_to(&registry, &format!("x:{}", tag.as_ref()));
    }
    registry
}

fn list(registry: &FakeRegistry, options: &[&str]) -> Vec<String> {
    let repository = registry.reference("x");
    let output = run(&[&["list-tags"], options, &[&repository]].concat()).exits(0);
    output.stdout.lines().map(str::to_owned).collect()
}

/// How often each blob was asked for by this method and answered so.
fn blobs(server: &Server, method: &str, status: u16) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in server.log() {
        let digest = request.parameter("digest");
        let digest = digest.or_else(|| Some(request.path.rsplit_once("/blobs/")?.1.to_owned()));
        if let Some(digest) =
            digest.filter(|_| request.method == method && request.status == status)
        {
            *counts.entry(digest).or_insert(0) += 1;
        }
    }
    counts
}

/// 30 tags `3.0` to `3.29` and others besides; a layer of `3.7` is lost. The registry, and that layer.
fn broken_source() -> (DockerRegistry, String) {
    let registry = DockerRegistry::start();
    for number in 0..30 {
        image(number).push_to(&registry, &format!("x:3.{number}"));
    }
    for other in ["latest", "3.1-rc1", "2.7", "13.7"] {
        image(99).push_to(&registry, &format!("x:{other}"));
    }
    let lost = image(7).layers[1].digest();
    registry.remove_blob(&lost);
    (registry, lost)
}

fn check_broken(report: &Value, lost: &str) {
    assert_eq!(report["outcome"], "partial");
    let totals = &report["totals"];
    assert_eq!(
        (&totals["tags"], &totals["copied"], &totals["failed"]),
        (&json!(30), &json!(29), &json!(1))
    );
    for tag in report["tags"].as_array().expect("tags") {
        let failed = tag["tag"] == "3.7";
        assert_eq!(tag["status"], if failed { "failed" } else { "copied" });
        if failed {
            assert_eq!(tag["error"]["kind"], "not-found");
            let message = tag["error"]["message"].as_str().expect("a message");
            assert!(message.contains(lost), "{message}");
            assert!(message.contains("blob unknown to registry"), "{message}");
        }
    }
}

#[test]
fn one_broken_tag_costs_no_other() {
    let (registry, lost) = broken_source();
    for options in [
        ["--tags", r"3\.\d+"],
        ["--tag-glob", "3.[0-9],3.[0-9][0-9]"],
    ] {
        let (source, destination) = (Proxy::start(registry.host()), DockerRegistry::start());
        let proxy = Proxy::start(destination.host());
        let output = copy(&options, &source.reference("x"), &proxy.reference("y")).exits(3);
        check_broken(&output.json(), &lost);
        let client = destination.client();
        let expected: Vec<String> = (0..30)
            .filter(|number| *number != 7)
            .map(|n| format!("3.{n}"))
            .collect();
        let mut arrived = client.tags("y");
        arrived.sort_by_key(|tag| tag[2..].parse::<u32>().unwrap_or_default());
        assert_eq!(arrived, expected);
        assert_eq!(client.manifest("y", "3.29"), Some(image(29).manifest));
        // 29 own layers, 30 configs and the layer that all share; those of 3.7 may have come too.
        let gets = blobs(&source, "GET", 200);
        assert!(
            gets.len() >= 59 && gets.values().all(|count| *count == 1),
            "{gets:#?}"
        );
        let puts = blobs(&proxy, "PUT", 201);
        assert!(
            puts.len() >= 59 && puts.values().all(|count| *count == 1),
            "{puts:#?}"
        );
        assert_eq!(puts.get(&image(0).layers[0].digest()), Some(&1));
    }
}

#[test]
fn people_read_partial_and_what_failed() {
    let (registry, lost) = broken_source();
    let destination = FakeRegistry::start();
    let (from, to) = (registry.reference("x"), destination.reference("x"));
    let output = run(&["copy", "--tags", r"3\.\d+", &from, &to]).exits(3);
    let words = [
        "PARTIAL: 1 of 30 tags failed",
        &lost,
        "blob unknown to registry",
        "3.7: not-found",
    ];
    assert!(
        words.iter().all(|word| output.stdout.contains(word)),
        "{output:#?}"
    );
    let rows = output
        .stdout
        .lines()
        .filter(|line| line.contains("  copied  "));
    assert_eq!(rows.count(), 29);
}

const REQUEST: &str = "latest,3.[789].?,3.[789].??,3.??.?,3.??.??,3.??.??-*,3.??.?-*,3-*,3.[789].?-*,3.[789].??-*,3.6-*,3.9.??-slim-*,3.10.?-slim*";
const THE_SAME: [&str; 13] = [
    "latest",
    r"3\.[789]\..",
    r"3\.[789]\...",
    r"3\...\..",
    r"3\...\...",
    r"3\...\...-.*",
    r"3\...\..-.*",
    "3-.*",
    r"3\.[789]\..-.*",
    r"3\.[789]\...-.*",
    r"3\.6-.*",
    r"3\.9\...-slim-.*",
    r"3\.10\..-slim.*",
];

#[test]
fn the_original_request_selects_from_612_tags() {
    let mut tags: Vec<String> = ["latest", "3-slim", "3.6-slim", "nightly"]
        .map(str::to_owned)
        .into();
    for minor in 6..14 {
        for patch in 0..19 {
            let suffixes = ["", "-slim", "-slim-bookworm", "-alpine3.20"];
            tags.extend(suffixes.map(|suffix| format!("3.{minor}.{patch}{suffix}")));
        }
    }
    assert_eq!(tags.len(), 612);
    let registry = tagged(&tags);
    let whole = THE_SAME.map(|pattern| Regex::new(&format!("^(?:{pattern})$")).expect("a regex"));
    tags.retain(|tag| whole.iter().any(|pattern| pattern.is_match(tag)));
    tags.sort();
    assert!(
        tags.len() > 500 && !tags.contains(&"3.6.1".to_owned()),
        "{}",
        tags.len()
    );
    assert_eq!(list(&registry, &["--tag-glob", REQUEST]), tags);
}

#[test]
fn includes_and_excludes_work_together() {
    let registry = tagged(["1.0", "1.1", "1.1-rc", "2.0", "2.0-slim", "latest"]);
    for (options, expected) in [
        (
            &[][..],
            &["1.0", "1.1", "1.1-rc", "2.0", "2.0-slim", "latest"][..],
        ),
        (
            &["--all-tags"],
            &["1.0", "1.1", "1.1-rc", "2.0", "2.0-slim", "latest"],
        ),
        (
            &["--exclude-tags", ".*-.*"],
            &["1.0", "1.1", "2.0", "latest"],
        ),
        (
            &["--exclude-tag-glob", "*-*,latest"],
            &["1.0", "1.1", "2.0"],
        ),
        (&["--tags", "1|latest"], &["latest"]),
        (
            &["--tags", r"1\..", "--tag-glob", "*-slim"],
            &["1.0", "1.1", "2.0-slim"],
        ),
        (
            &["--tag-glob", "{1,2}.0*", "--exclude-tags", "2.*"],
            &["1.0"],
        ),
    ] {
        assert_eq!(list(&registry, options), expected, "{options:?}");
    }
    let destination = FakeRegistry::start();
    let options = ["--exclude-tags", r"1\.1.*", "--exclude-tag-glob", "lat*"];
    copy(
        &options,
        &registry.reference("x"),
        &destination.reference("y"),
    )
    .exits(0);
    assert_eq!(destination.store.tags("y"), ["1.0", "2.0", "2.0-slim"]);
}

#[test]
fn digest_tags_come_only_when_asked_for() {
    let hex = "0123456789abcdef".repeat(4);
    let signature = format!("sha256-{hex}.sig");
    let digests = [
        format!("sha256-{hex}"),
        format!("sha256-{hex}.att"),
        format!("sha256-{hex}.sbom"),
        signature.clone(),
    ];
    let registry = tagged(
        digests
            .iter()
            .map(String::as_str)
            .chain(["1", "sha256-short"]),
    );
    let all = [
        &["1".to_owned()][..],
        &digests,
        &["sha256-short".to_owned()],
    ]
    .concat();
    let small = ["1", "sha256-short"];
    for (options, expected) in [
        (&[][..], &small.map(str::to_owned)[..]),
        (&["--all-tags"], &small.map(str::to_owned)),
        (&["--exclude-tags", "1"], &["sha256-short".to_owned()]),
        (&["--all-tags", "--include-digest-tags"], &all),
        (&["--tags", r"sha256-.*\.sig"], &[signature]),
        (&["--tag-glob", "sha256-*"], &all[1..]),
    ] {
        assert_eq!(list(&registry, options), expected, "{options:?}");
    }
    let destination = FakeRegistry::start();
    copy(
        &["--all-tags"],
        &registry.reference("x"),
        &destination.reference("y"),
    )
    .exits(0);
    assert_eq!(destination.store.tags("y"), small);
}

#[test]
fn every_paging_gives_every_tag() {
    let registry = FakeRegistry::start();
    let manifest = image(1).manifest;
    let tags: Vec<String> = (0..2345).map(|number| format!("t{number:04}")).collect();
    for tag in &tags {
        registry.store.put_manifest("x", tag, manifest.clone());
    }
    for paging in [
        Paging::Relative,
        Paging::Absolute,
        Paging::Unquoted,
        Paging::Cut,
        Paging::All,
        Paging::Fixed(100),
        Paging::Fixed(1000),
    ] {
        registry.configure(|settings| settings.paging = paging);
        assert_eq!(list(&registry, &[]), tags, "{paging:?}");
    }
    registry.configure(|settings| settings.paging = Paging::Null);
    assert_eq!(list(&registry, &[]), [""; 0]);
}

#[test]
fn no_tag_selected_is_an_error_with_the_number_looked_at() {
    let (source, destination) = (tagged(["a", "b", "c"]), FakeRegistry::start());
    let output = copy(
        &["--tags", "d.*"],
        &source.reference("x"),
        &destination.reference("x"),
    );
    let report = output.exits(1).json();
    assert_eq!(
        (&report["outcome"], &report["tags"]),
        (&json!("failed"), &json!([]))
    );
    let message = report["error"]["message"].as_str().expect("a message");
    assert!(message.contains("3 tags"), "{message}");
    assert_eq!(destination.store.repositories(), [""; 0]);
}

#[test]
fn tag_options_and_a_tag_exclude_each_other() {
    let (source, destination) = (tagged(["a"]), FakeRegistry::start());
    for (from, to) in [("x:a", "x"), ("x", "x:a")] {
        let (from, to) = (source.reference(from), destination.reference(to));
        let output = run(&["copy", "--all-tags", "-o", "json", &from, &to]).exits(2);
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("`a`"), "{output:#?}");
    }
    assert_eq!((source.log().len(), destination.log().len()), (0, 0));
}

#[test]
fn layouts_have_tags_too() {
    let directory = tempdir().expect("a temporary directory");
    let images = [1, 2, 3].map(image);
    let bundles = [
        ("1.0", &images[0]),
        ("1.1", &images[1]),
        ("2.0", &images[2]),
        ("", &images[0]),
    ];
    let bundles = bundles.map(|(name, image)| (name, Bundle::from(image)));
    let layout = write_layout(&directory.path().join("layout"), &bundles);
    let listed = run(&["list-tags", "--tag-glob", "1.*", &layout.reference("")]).exits(0);
    assert_eq!(listed.stdout, "1.0\n1.1\n");
    let destination = FakeRegistry::start();
    copy(
        &["--tags", r".*\.0"],
        &layout.reference(""),
        &destination.reference("x"),
    )
    .exits(0);
    assert_eq!(destination.store.tags("x"), ["1.0", "2.0"]);
    assert_eq!(destination.store.tag("x", "2.0"), Some(images[2].digest()));
    let back = write_layout(&directory.path().join("back"), &[]);
    copy(
        &["--all-tags"],
        &destination.reference("x"),
        &back.reference(""),
    )
    .exits(0);
    let mut references = back.references();
    references.sort();
    assert_eq!(references, ["1.0", "2.0"]);
}
