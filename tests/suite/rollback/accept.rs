//! What the original request asks for, and what a run tells when nothing is in its way.

use serde_json::json;
use tempfile::tempdir;

use super::{TAGS, Tags, World, after, before, flips, image, rollback};
use crate::support::barge::{Barge, barge};
use crate::support::image::{Layout, write_layout};
use crate::support::registry::FakeRegistry;

/// Tags `latest`, `3.8` and `3.4.9-alpine`, the last of which is broken.
fn one_bad_tag(seed: u64) -> FakeRegistry {
    let source = FakeRegistry::start();
    for (tag, offset) in [("latest", 0), ("3.8", 1), ("3.4.9-alpine", 2)] {
        image(seed + offset).push_to(&source, &format!("x:{tag}"));
    }
    let lost = image(seed + 2).config_digest();
    source.store.remove_blob("x", &lost);
    source
}

fn digests(registry: &FakeRegistry) -> Tags {
    super::tags(registry)
}

/// The acceptance of the original request: a list with one bad tag keeps the good ones under
/// best-effort and leaves all as it was under rollback, and either may follow the other.
#[test]
fn a_list_with_one_bad_tag_under_both_policies_in_turn() {
    let destination = FakeRegistry::start();
    let state = tempdir().expect("a temporary directory");
    let run = |seed: u64, policy: &str| {
        let source = one_bad_tag(seed);
        let list = ["--tag-glob", "latest,3.8,3.4.9-alpine", "--policy", policy];
        barge()
            .args(["copy", "-o", "json", "--state-dir"])
            .arg(state.path())
            .args([source.reference("x"), destination.reference("y")])
            .args(list)
            .run()
    };
    let good = |seed: u64| {
        Tags::from([
            ("latest".to_owned(), image(seed).digest()),
            ("3.8".to_owned(), image(seed + 1).digest()),
        ])
    };
    for (seed, now) in [(100, 100), (300, 300)] {
        let output = run(seed, "best-effort").exits(3);
        assert_eq!(output.json()["outcome"], "partial");
        assert_eq!(output.tag("3.8")["status"], "copied");
        assert_eq!(output.tag("3.4.9-alpine")["error"]["kind"], "not-found");
        assert_eq!(digests(&destination), good(now));

        let output = run(seed + 100, "rollback").exits(4);
        assert_eq!(output.json()["outcome"], "rolled-back");
        assert_eq!(output.tag("3.8")["status"], "rolled-back");
        assert_eq!(output.tag("3.4.9-alpine")["status"], "failed");
        assert_eq!(output.tag("3.4.9-alpine")["error"]["kind"], "not-found");
        assert_eq!(digests(&destination), good(now));
    }
    assert_eq!(
        super::journals(state.path()),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn all_tags_move_together_and_the_report_tells_from_where() {
    let world = World::new();
    let output = world.copy(&[]).run().exits(0);
    super::is_true(&output, &world.destination, "a clean run");
    let report = output.json();
    assert_eq!(report["totals"]["copied"], TAGS.len());
    assert!(report["flip_seconds"].as_f64() > Some(0.0), "{report:#}");
    assert_eq!(report.get("journal"), None);
    for tag in TAGS {
        let entry = output.tag(tag);
        assert_eq!(entry["status"], "copied");
        let previous = before()
            .get(tag)
            .map_or(json!(null), |digest| json!(digest));
        assert_eq!(entry["previous_digest"], previous, "{tag}");
    }
    assert_eq!(flips(&world.destination), TAGS.len());
    assert!(world.journals().is_empty());

    world.destination.clear_log();
    let again = world.copy(&[]).run().exits(0).json();
    assert_eq!(again["totals"]["current"], TAGS.len());
    assert_eq!(again.get("flip_seconds"), None);
    let writes = |request: &crate::support::wire::Request| !request.reads();
    assert_eq!(world.destination.count(writes), 0);
}

#[test]
fn people_read_in_one_sentence_how_the_destination_stands() {
    let world = World::new();
    let text = |command: Barge| command.args(["-o", "text"]).run();
    let place = world.destination.reference("y");
    let bad = image(13).config_digest();
    let saved = world.source.store.blob("x", &bad).expect("a blob");
    world.source.store.remove_blob("x", &bad);
    let output = text(world.copy(&[])).exits(4);
    let says = format!("ROLLED BACK: no tag of {place} was touched");
    assert!(output.stdout.contains(&says), "{output:#?}");
    assert_eq!(world.tags(), before());

    // A tag is no place.
    let one = barge()
        .args(["copy", "--policy", "rollback", "--state-dir"])
        .arg(world.state.path())
        .args([
            world.source.reference("x:c"),
            world.destination.reference("y:c"),
        ]);
    let output = text(one).exits(4);
    assert!(output.stdout.contains(&says), "{output:#?}");

    world.source.store.put_blob("x", saved);
    let output = text(world.copy(&[])).exits(0);
    let says = format!("all tags of {place} moved together, in ");
    assert!(output.stdout.contains(&says), "{output:#?}");
    let output = text(world.copy(&[])).exits(0);
    let says = format!("no tag of {place} had to move");
    assert!(output.stdout.contains(&says), "{output:#?}");
    assert_eq!(world.tags(), after());
}

#[test]
fn the_policy_may_come_from_a_variable() {
    let world = World::new();
    let bad = image(13).config_digest();
    world.source.store.remove_blob("x", &bad);
    let (from, to) = (
        world.source.reference("x"),
        world.destination.reference("y"),
    );
    let command = barge().args(["copy", "-o", "json", "--all-tags", &from, &to]);
    let command = command.env("BARGE_POLICY", "rollback");
    let command = command.env("BARGE_STATE_DIR", world.state.path());
    let output = command.run().exits(4);
    assert_eq!(output.json()["policy"], "rollback");
    assert_eq!(world.tags(), before());
    assert!(world.state.path().join("journal").is_dir());
}

#[test]
fn a_dry_run_writes_nothing_and_tells_that_a_tag_would_fail() {
    let world = World::new();
    let report = world.copy(&["--dry-run"]).run().exits(0).json();
    assert_eq!(report["totals"]["would_copy"], TAGS.len());
    let bad = image(13).manifest.digest();
    world.source.store.remove_manifest("x", &bad);
    let report = world.copy(&["--dry-run"]).run().exits(4).json();
    assert_eq!(report["outcome"], "rolled-back");
    assert_eq!(world.tags(), before());
    assert!(!world.state.path().join("journal").exists());
}

#[test]
fn a_layout_changes_by_one_rename_and_needs_no_journal() {
    let source = one_bad_tag(100);
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("layout");
    let old = image(1);
    let layout = write_layout(&path, &[("latest", (&old).into())]);
    let before = std::fs::read(path.join("index.json")).expect("an index");
    let state = directory.path().join("state");
    let run = || rollback(&source.reference("x"), &layout.reference(""), &state).run();
    run().exits(4);
    assert_eq!(
        std::fs::read(path.join("index.json")).expect("an index"),
        before
    );

    source.store.put_blob("x", image(102).config);
    let output = run().exits(0);
    let previous = output.tag("latest")["previous_digest"].clone();
    assert_eq!(previous, json!(old.digest()));
    assert!(output.json()["flip_seconds"].is_number());
    let mut found = Layout::at(&path).references();
    found.sort();
    assert_eq!(found, ["3.4.9-alpine", "3.8", "latest"]);
    assert_eq!(layout.manifest("latest"), Some(image(100).manifest));
    assert!(!state.exists());
}

#[test]
fn a_single_image_by_digest_has_no_tag_to_flip() {
    let world = World::new();
    let digest = image(15).digest();
    let from = format!("{}@{digest}", world.source.reference("x"));
    let to = world.destination.reference("y");
    let command = barge().args(["copy", "-o", "json", "--policy", "rollback"]);
    let command = command.arg("--state-dir").arg(world.state.path());
    let output = command.args([&from, &to]).run().exits(0);
    assert_eq!(output.json()["tags"][0]["status"], "copied");
    assert!(world.destination.store.manifest("y", &digest).is_some());
    assert_eq!(world.tags(), before());
}

/// One rename shows them: what people read and the report say so.
#[test]
fn a_layout_and_an_archive_say_that_all_moved_together() {
    let source = FakeRegistry::start();
    for (tag, seed) in [("a", 1), ("b", 2)] {
        image(seed).push_to(&source, &format!("x:{tag}"));
    }
    let directory = tempdir().expect("a temporary directory");
    let report = directory.path().join("report.json");
    for place in ["oci:layout", "oci-archive:archive.tar"] {
        let (transport, name) = place.split_once(':').expect("a transport");
        let path = directory.path().join(name);
        let to = format!("{transport}:{}", path.display());
        let run = || {
            rollback(&source.reference("x"), &to, directory.path())
                .args(["-o", "text", "--report"])
                .arg(&report)
                .run()
                .exits(0)
        };
        let output = run();
        let says = format!("all tags of {to} moved together, in ");
        assert!(output.stdout.contains(&says), "{output:#?}");
        let text = std::fs::read(&report).expect("a report");
        let told: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert!(told["flip_seconds"].is_number(), "{told:#}");
        let output = run();
        let says = format!("no tag of {to} had to move");
        assert!(output.stdout.contains(&says), "{output:#?}");
        let text = std::fs::read(&report).expect("a report");
        let told: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(told.get("flip_seconds"), None, "{place}");
    }
}

#[test]
fn a_layout_and_an_archive_say_what_was_there_before() {
    for transport in ["oci", "oci-archive"] {
        let (source, directory) = (FakeRegistry::start(), tempdir().expect("a directory"));
        let to = format!("{transport}:{}", directory.path().join("it").display());
        let run = || rollback(&source.reference("x"), &to, directory.path()).run();
        image(1).push_to(&source, "x:a");
        run().exits(0);
        image(2).push_to(&source, "x:a");
        image(3).push_to(&source, "x:b");
        let output = run().exits(0);
        let previous = ["a", "b"].map(|tag| output.tag(tag)["previous_digest"].clone());
        assert_eq!(previous, [json!(image(1).digest()), json!(null)], "{to}");
    }
}
