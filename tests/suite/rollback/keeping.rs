//! What is kept: what was staged until the flip, and the journal on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{TAGS, World, after, before, image, is_flip, rollback};
use crate::support::barge::barge;
use crate::support::image::{ImageSpec, push};
use crate::support::registry::{FakeRegistry, Settings, Sparse, SparseHeader};
use crate::support::wire::{Fault, Request};

/// Whether a request reads what a tag points at, to record it.
fn records(request: &Request) -> bool {
    request.method == "GET" && request.is_manifest() && !request.path.contains("sha256:")
}

#[test]
fn what_expires_before_the_flip_is_staged_again() {
    let world = World::new();
    let store = world.destination.store.clone();
    let staged = super::index(12);
    let lost = [
        staged.root.digest(),
        staged.children[0].content.manifest().digest(),
    ];
    let blob = image(16).config_digest();
    let root = image(16).digest();
    let mut done = false;
    world.destination.on(move |request| {
        if records(request) && !done {
            done = true;
            // An index with one of its images, and an image with one of its blobs.
            for digest in &lost {
                store.remove_manifest("y", digest);
            }
            store.remove_manifest("y", &root);
            store.remove_blob("y", &blob);
        }
        None
    });
    let output = world.copy(&[]).run().exits(0);
    super::is_true(&output, &world.destination, "expired");
    assert_eq!(super::flips(&world.destination), TAGS.len());
}

#[test]
fn a_registry_that_drops_what_is_staged_at_once_is_told_so() {
    let world = World::new();
    let store = world.destination.store.clone();
    let root = image(16).digest();
    world.destination.on(move |request| {
        let looked_at = request.method == "HEAD" && request.path.ends_with(&root);
        if looked_at && store.manifest("y", &root).is_some() {
            store.remove_manifest("y", &root);
        }
        None
    });
    let output = world.copy(&[]).run().exits(4);
    super::is_true(&output, &world.destination, "dropped");
    let error = output.tag("f")["error"].clone();
    assert_eq!(error["kind"], "unsupported", "{error:#}");
}

#[test]
fn the_journal_is_there_before_the_first_tag_moves() {
    let world = World::new();
    world
        .destination
        .on(|request| is_flip(request).then_some(Fault::Stall));
    let running = world.copy(&[]).spawn();
    world.destination.wait_for(1, is_flip);
    let path = world.journals().remove(0);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&path).expect("a journal");
    let journal: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(journal["version"], 1);
    let tags = journal["tags"].as_array().expect("tags");
    assert_eq!(tags.len(), TAGS.len());
    for moved in tags {
        let tag = moved["tag"].as_str().expect("a tag");
        let old = before()
            .get(tag)
            .map_or(json!(null), |digest| json!(digest));
        assert_eq!(moved["before"], old, "{tag}");
        assert_eq!(moved["after"], json!(after()[tag]), "{tag}");
    }
    // The old roots, and the children of the one that is an index.
    let kept = journal["manifests"].as_object().expect("manifests");
    assert_eq!(kept.len(), 3 + 2);
    world.destination.behave();
    world.destination.release();
    running.wait().exits(0);
    assert!(!path.exists());
}

#[test]
fn a_state_directory_that_cannot_be_written_fails_the_run_at_its_start() {
    let world = World::new();
    let file = world.state.path().join("file");
    fs::write(&file, "").expect("written");
    let to = world.destination.reference("y");
    let output = rollback(&world.source.reference("x"), &to, &file)
        .run()
        .exits(1);
    let report = output.json();
    assert_eq!(report["error"]["kind"], "local-io", "{report:#}");
    let hint = report["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("--state-dir"), "{hint}");
    assert_eq!(report["tags"], json!([]));
    assert_eq!(world.tags(), before());
}

#[test]
fn a_journal_for_which_there_is_no_room_fails_the_run_before_the_flip() {
    let world = World::new();
    let output = world.copy(&[]).after("ulimit -f 0").run().exits(4);
    let report = output.json();
    assert_eq!(report["outcome"], "rolled-back");
    assert_eq!(report["error"]["kind"], "local-io", "{report:#}");
    assert_eq!(report["totals"]["rolled_back"], TAGS.len());
    assert_eq!(world.tags(), before());
    assert_eq!(super::flips(&world.destination), 0);
    assert!(world.journals().is_empty());
}

/// Quay refuses a sparse index by digest without a reason; what was left out tells it.
#[test]
fn a_root_that_is_refused_without_a_reason_is_diagnosed() {
    let world = World::with(Settings::quay(Sparse::Off));
    world.destination.configure(|settings| {
        settings.sparse_header = SparseHeader::Absent;
    });
    let options = ["--arch", "arm64", "--mode", "sparse-index"];
    let output = world.copy(&options).run().exits(4);
    let error = output.tag("b")["error"].clone();
    assert_eq!(error["kind"], "sparse-rejected", "{error:#}");
    assert_eq!(world.tags(), before());
}

/// Quay says nothing either of an index whose image has expired.
#[test]
fn a_child_that_expired_is_named() {
    let world = World::with(Settings::quay(Sparse::Off));
    let store = world.destination.store.clone();
    let staged = super::index(12);
    let (root, child) = (
        staged.root.digest(),
        staged.children[1].content.manifest().digest(),
    );
    let lost = child.clone();
    world.destination.on(move |request| {
        if request.is("PUT", &root) {
            store.remove_manifest("y", &lost);
        }
        None
    });
    let output = world.copy(&[]).run().exits(4);
    let error = output.tag("b")["error"].clone();
    assert_eq!(error["kind"], "invalid-manifest", "{error:#}");
    assert!(error["message"].to_string().contains(&child), "{error:#}");
    super::is_true(&output, &world.destination, "an expired child");
}

#[test]
fn journals_are_where_the_desktop_specification_has_state() {
    // The home is `XDG_STATE_HOME` too, where a test says nothing else.
    for (state_home, directory) in [(None, "barge"), (Some(""), ".local/state/barge")] {
        let world = World::new();
        world
            .destination
            .on(|request| is_flip(request).then_some(Fault::Stall));
        let mut command = barge().args(["copy", "--all-tags", "--policy", "rollback"]);
        if let Some(state_home) = state_home {
            command = command.env("XDG_STATE_HOME", state_home);
        }
        let [from, to] = [
            world.source.reference("x"),
            world.destination.reference("y"),
        ];
        let running = command.args([from, to]).spawn();
        world.destination.wait_for(1, is_flip);
        let found = super::journals(&running.home().join(directory));
        assert_eq!(found.len(), 1, "{directory}");
        world.destination.behave();
        world.destination.release();
        running.wait().exits(0);
    }
}

/// A first mirror: the repository is not there yet.
#[test]
fn a_repository_that_is_new_goes_away_with_its_tags() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let state = tempfile::tempdir().expect("a temporary directory");
    for seed in 0..3 {
        let image = ImageSpec::new("linux", "arm64")
            .seed(seed)
            .layers(1, 100)
            .build();
        push(&image, &source, &format!("x:{seed}"));
    }
    let run = || {
        rollback(
            &source.reference("x"),
            &destination.reference("y"),
            state.path(),
        )
        .run()
    };
    let mut flips = 0;
    destination.on(move |request| {
        flips += usize::from(is_flip(request));
        (is_flip(request) && flips == 3).then(|| Fault::status(500))
    });
    run().exits(4);
    assert_eq!(destination.store.tags("y"), Vec::<String>::new());
    destination.behave();
    run().exits(0);
    assert_eq!(destination.store.tags("y"), ["0", "1", "2"]);
}
