//! A source that is sparse itself: it lists what it does not hold, and nothing is dropped in silence.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::{copy, run};
use crate::support::content::{Manifest, OCI_INDEX, OCI_MANIFEST, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{
    Attestations, Bundle, Form, Image, ImageSpec, IndexBuilder, MultiArch, push, write_layout,
};
use crate::support::registry::{FakeRegistry, Settings, Sparse};

const MODES: [&str; 2] = ["filtered-index", "sparse-index"];

/// An index of four platforms at `x:1` of a real registry, two of which were deleted there.
struct Source {
    registry: DockerRegistry,
    image: MultiArch,
}

impl Source {
    fn new() -> Self {
        let registry = DockerRegistry::start();
        let platforms = ["amd64", "arm64", "ppc64le", "s390x"];
        let image = MultiArch::standard(&platforms, Attestations::With, 41);
        image.push_to(&registry, "x:1");
        for lost in [
            image.image("arm64"),
            image.image("s390x"),
            image.attestation("s390x"),
        ] {
            registry.client().delete_manifest("x", &lost.digest());
        }
        let root = registry.client().manifest("x", "1");
        assert_eq!(root.as_ref(), Some(&image.root), "the index itself stays");
        Self { registry, image }
    }

    fn reference(&self) -> String {
        self.registry.reference("x:1")
    }
}

fn taker() -> FakeRegistry {
    FakeRegistry::start_with(Settings::quay(Sparse::On))
}

fn failure(tag: &Value) -> (String, String) {
    let error = &tag["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text("kind"), text("message"))
}

#[test]
fn what_is_held_can_be_copied() {
    let source = Source::new();
    for mode in MODES {
        let destination = taker();
        let options = ["--mode", mode, "--arch", "amd64,ppc64le"];
        let output = copy(&options, &source.reference(), &destination.reference("x")).exits(0);
        let tag = output.tag("1");
        assert_eq!(tag["platforms"], json!(["linux/amd64", "linux/ppc64le"]));
        for platform in ["amd64", "ppc64le"] {
            let digest = source.image.image(platform).digest();
            assert!(destination.store.manifest("x", &digest).is_some(), "{mode}");
        }
    }
}

#[test]
fn what_is_lost_fails_and_names_what_is_held() {
    let source = Source::new();
    for mode in MODES {
        for arch in ["arm64", "amd64,arm64", "s390x"] {
            let destination = taker();
            let options = ["--mode", mode, "--arch", arch];
            let to = destination.reference("x");
            let tag = copy(&options, &source.reference(), &to).exits(1).tag("1");
            let (kind, message) = failure(&tag);
            assert_eq!(kind, "not-found", "{mode} {arch}");
            let lost = arch.rsplit(',').next().expect("an architecture");
            let digest = source.image.image(lost).digest();
            let words = [
                "sparse",
                &format!("linux/{lost}"),
                &digest,
                "linux/amd64",
                "linux/ppc64le",
            ];
            assert!(
                words.iter().all(|word| message.contains(word)),
                "{mode} {arch}: {message}"
            );
            let other = if lost == "arm64" { "s390x" } else { "arm64" };
            assert!(
                !message.contains(other),
                "it does not hold {other}: {message}"
            );
            assert_eq!(destination.store.tags("x"), [""; 0], "{mode} {arch}");
        }
    }
}

#[test]
fn several_that_are_lost_are_told_as_several() {
    let (source, destination) = (Source::new(), taker());
    let to = destination.reference("x");
    for (arch, word) in [("arm64,s390x", " them;"), ("arm64", " it;")] {
        let failed = copy(&["--arch", arch], &source.reference(), &to).exits(1);
        let (_, message) = failure(&failed.tag("1"));
        let says = format!("does not hold{word}");
        assert!(message.contains(&says), "{arch}: {message}");
    }
}

#[test]
fn a_new_index_does_without_a_lost_attestation() {
    let source = Source::new();
    // The image itself comes back; what attests it stays lost.
    let image = source.image.image("s390x");
    let client = source.registry.client();
    client.put_manifest("x", &image.digest(), &image.manifest);
    let digest = source.image.attestation("s390x").digest();
    for policy in ["best-effort", "rollback"] {
        let destination = taker();
        let to = destination.reference("x");
        let options = ["--arch", "s390x,amd64", "--policy", policy];
        for status in ["copied", "current"] {
            let tag = copy(&options, &source.reference(), &to).exits(0).tag("1");
            assert_eq!(tag["status"], status, "{tag:#}");
            assert_eq!(tag["lost_attestations"], 1, "{tag:#}");
        }
        let index = destination
            .store
            .manifest("x", "1")
            .expect("the index")
            .json();
        let entries = index["manifests"].as_array().expect("entries");
        assert_eq!(entries.len(), 3, "both images and the other attestation");
        assert!(
            entries
                .iter()
                .all(|entry| entry["digest"] != digest.as_str())
        );
        let text = run(&[&["copy"], &options[..], &[&source.reference(), &to]].concat());
        let text = text.exits(0).stdout;
        assert!(
            text.contains("1 attestation (") && text.contains(&digest),
            "{text}"
        );
    }
    let destination = taker();
    let to = destination.reference("x");
    let options = ["--arch", "s390x", "--preserve-digests"];
    copy(&options, &source.reference(), &to).exits(1);
    let options = ["--arch", "s390x", "--mode", "sparse-index"];
    let tag = copy(&options, &source.reference(), &to).exits(1).tag("1");
    let (kind, message) = failure(&tag);
    assert_eq!(kind, "not-found");
    assert!(message.contains(&digest), "{message}");
    let hint = tag["error"]["hint"].to_string();
    assert!(hint.contains("--mode filtered-index"), "{hint}");
    assert_eq!(destination.store.tags("x"), [""; 0]);
}

/// As `docker save` writes an image that was pulled for one platform into containerd's store.
#[test]
fn a_saved_image_of_one_platform_can_be_copied() {
    let image = MultiArch::standard(&["amd64", "arm64"], Attestations::With, 43);
    let directory = tempdir().expect("a temporary directory");
    let layout = write_layout(directory.path(), &[("1", Bundle::from(&image))]);
    for lost in [
        image.image("arm64"),
        image.attestation("arm64"),
        image.attestation("amd64"),
    ] {
        std::fs::remove_file(layout.blob_path(&lost.digest())).expect("it is there");
    }
    let files = tempdir().expect("a temporary directory");
    let archive = format!("oci-archive:{}", files.path().join("a.tar").display());
    copy(&["--arch", "amd64"], &layout.reference("1"), &archive).exits(0);
    run(&["verify", &archive]).exits(0);
    let destination = FakeRegistry::start();
    let to = destination.reference("y");
    let tag = copy(&["--arch", "amd64"], &layout.reference("1"), &to)
        .exits(0)
        .tag("1");
    assert_eq!(tag["platforms"], json!(["linux/amd64"]));
    assert_eq!(tag["lost_attestations"], 1);
    let all = copy(&[], &layout.reference("1"), &to).exits(1).tag("1");
    let hint = all["error"]["hint"].to_string();
    assert!(hint.contains("--arch"), "{hint}");
}

#[test]
fn all_names_everything_that_is_lost() {
    let source = Source::new();
    let destination = taker();
    let to = destination.reference("x");
    let tag = copy(&["--all"], &source.reference(), &to).exits(1).tag("1");
    let (kind, message) = failure(&tag);
    assert_eq!(kind, "not-found");
    let image = &source.image;
    let lost = [
        image.image("arm64"),
        image.image("s390x"),
        image.attestation("s390x"),
    ];
    assert!(
        lost.iter().all(|lost| message.contains(&lost.digest())),
        "{message}"
    );
    assert!(
        message.contains("linux/amd64") && message.contains("linux/ppc64le"),
        "{message}"
    );
    assert_eq!(destination.store.tags("x"), [""; 0]);
}

#[test]
fn inspect_tells_what_is_present() {
    let source = Source::new();
    let text = run(&["inspect", &source.reference()]).exits(0).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("sparse: 2 of 4 present"), "{text}");
    let inspected = run(&["inspect", "-o", "json", &source.reference()])
        .exits(0)
        .json();
    let present: Vec<&Value> = inspected["platforms"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|held| &held["present"])
        .collect();
    assert_eq!(present, [true, false, true, false]);
    assert_eq!(inspected["attestations"], 4);
}

#[test]
fn a_complete_mirror_of_it_stays_current() {
    let source = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 42);
    image.push_to(&source, "x:1");
    let destination = FakeRegistry::start();
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    copy(&["--all"], &from, &to).exits(0);
    source
        .store
        .remove_manifest("x", &image.image("arm64").digest());
    for options in [&["--all"][..], &["--arch", "amd64,arm64"]] {
        let tag = copy(options, &from, &to).exits(0).tag("1");
        assert_eq!(tag["status"], "current", "{options:?}");
    }
}

#[test]
fn lost_nested_indexes_and_nameless_entries_are_named() {
    let inner = |platform: &str| {
        let image = ImageSpec::new("linux", platform).layers(1, 100).build();
        IndexBuilder::new(Form::Oci).image(&image).build()
    };
    let (one, two) = (inner("amd64"), inner("arm64"));
    let image = ImageSpec::new("linux", "s390x").layers(1, 100).build();
    let outer = IndexBuilder::new(Form::Oci)
        .index(&one)
        .index(&two)
        .image(&image)
        .build();
    let (source, destination) = (FakeRegistry::start(), taker());
    let lost = [one.digest(), two.digest(), image.digest()];
    let digests: Vec<&str> = lost.iter().map(String::as_str).collect();
    push(Bundle::from(&outer).without(&digests), &source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let (kind, message) = failure(&copy(&["--all"], &from, &to).exits(1).tag("1"));
    assert_eq!(kind, "not-found");
    assert!(
        digests.iter().all(|digest| message.contains(digest)),
        "{message}"
    );
    for mode in MODES {
        // Whether arm64 is in one of them cannot be known.
        let options = ["--mode", mode, "--arch", "arm64"];
        let (kind, message) = failure(&copy(&options, &from, &to).exits(1).tag("1"));
        assert_eq!(kind, "not-found");
        assert!(
            message.contains(digests[0]) && message.contains(digests[1]),
            "{message}"
        );
    }
}

/// Nothing of some nested indexes is wanted, but the root lists them: without them nobody could tell.
#[test]
fn a_sparse_copy_of_nested_indexes_is_a_source_too() {
    let image = |platform, seed| ImageSpec::new("linux", platform).seed(seed).layers(1, 100);
    let image = |platform, seed| image(platform, seed).build();
    let inner = |images: &[&Image]| {
        let index = IndexBuilder::new(Form::Oci);
        images.iter().fold(index, |index, image| index.image(image))
    };
    let both = [&image("amd64", 2), &image("s390x", 2)];
    let outer = IndexBuilder::new(Form::Oci)
        .image(&image("amd64", 1))
        .image(&image("arm64", 1))
        .index(&inner(&both).build())
        .index(&inner(&[&image("arm64", 3)]).build())
        .build();
    let (source, mirror, directory) = (FakeRegistry::start(), taker(), tempdir());
    outer.push_to(&source, "x:1");
    let directory = directory.expect("a directory");
    let path = directory.path().display();
    for place in [
        format!("oci-archive:{path}/archive.tar:1"),
        format!("oci:{path}/layout:1"),
        mirror.reference("x:1"),
    ] {
        let arch = ["--arch", "amd64", "--mode"];
        let sparse = [&arch[..], &["sparse-index"]].concat();
        copy(&sparse, &source.reference("x:1"), &place).exits(0);
        for mode in MODES {
            let options = [&arch[..], &[mode]].concat();
            let digest = |from: &str| {
                let end = taker();
                let output = copy(&options, from, &end.reference("x:1")).exits(0);
                output.tag("1")["digest"].clone()
            };
            assert_eq!(digest(&place), digest(&source.reference("x:1")), "{place}");
        }
        run(&["verify", "--arch", "amd64", &place]).exits(0);
        let again = copy(&sparse, &source.reference("x:1"), &place).exits(0);
        assert_eq!(again.tag("1")["status"], "current", "{place}");
    }
}

#[test]
fn what_is_missing_is_asked_for_once_however_much_it_is() {
    const ENTRIES: usize = 150;
    let entry = |number: usize| {
        let digest = sha256(number.to_string().as_bytes());
        json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 500,
            "platform": {"os": "linux", "architecture": format!("made-up-{number}")}})
    };
    let entries: Vec<Value> = (0..ENTRIES).map(entry).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let (source, directory) = (FakeRegistry::start(), tempdir().expect("a directory"));
    let bad = Manifest::new(OCI_INDEX, index.to_string());
    source.store.put_manifest("x", "bad", bad);
    let good = ImageSpec::new("linux", "arm64").layers(1, 100).build();
    good.push_to(&source, "x:good");
    let destination = FakeRegistry::start();
    let path = directory.path().display();
    let places = [
        destination.reference("y"),
        format!("oci:{path}/layout"),
        format!("oci-archive:{path}/x.tar"),
    ];
    for to in places {
        source.clear_log();
        let output = copy(&["--all-tags"], &source.reference("x"), &to).exits(3);
        assert_eq!(output.tag("good")["status"], "copied");
        let error = output.tag("bad")["error"].clone();
        assert_eq!(error["kind"], "not-found", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert_eq!(message.matches("made-up-").count(), 10, "{message}");
        assert!(message.contains("and 140 more"), "{message}");
        let requests = source.count(|request| request.path.contains("/manifests/sha256:"));
        // By HEAD and GET each, and once more those that were under way.
        assert!(requests <= 2 * ENTRIES + 64, "{requests} requests");
    }
}
