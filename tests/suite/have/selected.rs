//! A run of some tags or platforms of a difference speaks of these alone, and fails for these alone.

use serde_json::{Value, json};

use super::{Desk, export, lacking, single, standard, writes};
use crate::support::barge::{Output, copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::Archive;
use crate::support::proxy::Proxy;

/// Three tags on both sides, of which the archive has the roots alone: `one` and `two` share a layer.
struct Crossing {
    outside: DockerRegistry,
    inside: DockerRegistry,
    archive: Archive,
    _desk: Desk,
}

impl Crossing {
    fn new() -> Self {
        let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
        for registry in [&outside, &inside] {
            single(1).push_to(registry, "app:one");
            single(2).push_to(registry, "app:two");
            standard(3).push_to(registry, "app:index");
        }
        let desk = Desk::new();
        let have = desk.inventory(&[&inside.reference("app")]);
        let archive = desk.archive("x.tar");
        export(&have, &outside.reference("app"), &archive).exits(0);
        Self {
            outside,
            inside,
            archive,
            _desk: desk,
        }
    }

    /// Copies what `options` select, of the archive or of one image of it.
    fn import(&self, options: &[&str], image: &str) -> Output {
        let to = self.inside.reference("app");
        copy(
            options,
            &format!("{}{image}", self.archive.reference("")),
            &to,
        )
    }

    /// Where the one who made the archive finds what is asked for.
    fn command(&self, options: &str) -> String {
        let from = self.outside.reference("app");
        format!("outside `barge copy {options} {from} oci-archive:whole.tar`")
    }
}

#[track_caller]
fn says(report: &Value, words: &[&str]) {
    let error = &report["error"];
    let told = ["message", "hint"].map(|name| error[name].as_str().unwrap_or_default());
    for word in words {
        assert!(told.concat().contains(word), "{word}\n{report:#}");
    }
}

#[test]
fn tags_that_nobody_asked_for_are_not_spoken_of() {
    let crossing = Crossing::new();
    let shared = single(1).layers[0].digest();
    crossing.inside.remove_blob(&shared);
    crossing.inside.remove_blob(&single(2).config_digest());
    for (options, image) in [
        (&["--tags", "one"][..], String::new()),
        (&[], ":one".to_owned()),
        (&[], format!("@{}", single(1).digest())),
    ] {
        let report = crossing.import(options, &image).exits(1).json();
        assert_eq!(lacking(&report), [shared.as_str()]);
        assert_eq!(report["lacking"][0]["tags"], json!(["one"]), "{image}");
        let command = crossing.command("--tag-glob one");
        says(
            &report,
            &["lacks 1 of the 3 parts", " of 1 tag: ", &command],
        );
    }
    let (from, to) = (
        crossing.archive.reference(""),
        crossing.inside.reference("app"),
    );
    let said = run(&["copy", "--tags", "one", &from, &to]).exits(1).stdout;
    let line = said.lines().find(|line| line.starts_with("  missing blob"));
    assert!(line.is_some_and(|line| line.ends_with(" of one")), "{said}");
    let report = crossing.import(&["--tags", "one|two"], "").exits(1).json();
    assert_eq!(lacking(&report).len(), 2);
    says(&report, &["lacks 2 of the 5 parts", " of 2 tags: "]);
}

#[test]
fn platforms_that_nobody_asked_for_may_be_gone() {
    let crossing = Crossing::new();
    let image = standard(3);
    let client = crossing.inside.client();
    // The manifest of the other platform is gone too, so nobody knows any more which blobs were its.
    let gone = image.image("amd64");
    for manifest in [gone.digest(), image.attestation("amd64").digest()] {
        client.delete_manifest("app", &manifest);
    }
    crossing.inside.remove_blob(&gone.config_digest());
    let by_digest = format!("@{}", image.digest());
    for (options, root) in [
        (&["--arch", "arm64", "--tags", "index"][..], ""),
        (&["--arch", "arm64"], ":index"),
        (&["--require-arch", "arm64"], by_digest.as_str()),
    ] {
        let options = [options, &["--dry-run"]].concat();
        crossing.import(&options, root).exits(0);
    }
    let both = crossing.import(&["--arch", "arm64,amd64"], ":index");
    assert!(lacking(&both.exits(1).json()).contains(&gone.digest()));

    let lost = image.image("arm64").layers[1].digest();
    crossing.inside.remove_blob(&lost);
    let proxy = Proxy::start(crossing.inside.host());
    let to = proxy.reference("app");
    let arch = ["--arch", "arm64", "--all-tags"];
    let report = copy(&arch, &crossing.archive.reference(""), &to)
        .exits(1)
        .json();
    assert_eq!(lacking(&report), [lost.as_str()], "{report:#}");
    assert_eq!(report["lacking"][0]["tags"], json!(["index"]));
    let outside = crossing.command("--tag-glob index --arch arm64 --mode filtered-index");
    let inside =
        format!("inside `barge copy --all-tags --recheck blobs oci-archive:whole.tar {to}`");
    says(&report, &[" of 1 tag: ", &outside, &inside]);
    assert!(writes(&proxy).is_empty());
    // An image that is skipped needs nothing.
    crossing.inside.remove_blob(&single(1).layers[1].digest());
    crossing
        .import(
            &["--arch", "amd64", "--tags", "one", "--missing-arch", "skip"],
            "",
        )
        .exits(0);
}

/// What the hint says is done, word for word.
#[test]
fn what_the_hint_says_mends_a_sparse_one() {
    let crossing = Crossing::new();
    let lost = standard(3).image("arm64").layers[1].digest();
    crossing.inside.remove_blob(&lost);
    let sparse = [
        "--arch",
        "arm64",
        "--mode",
        "sparse-index",
        "--tags",
        "index",
    ];
    let report = crossing.import(&sparse, "").exits(1).json();
    let hint = report["error"]["hint"].as_str().expect("a hint").to_owned();
    let commands: Vec<&str> = hint.split('`').skip(1).step_by(2).take(2).collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let whole = format!(
        "oci-archive:{}",
        directory.path().join("whole.tar").display()
    );
    for command in commands {
        let command = command.replace("oci-archive:whole.tar", &whole);
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        run(&words).exits(0);
    }
    crossing.import(&sparse, "").exits(0);
}
