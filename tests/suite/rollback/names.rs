//! One registry under two names is one registry: whoever comes by another name finds the journal and the lock.

use serde_json::json;

use super::kill::kill_after_flips;
use super::{World, after, is_flip, rollback, undo};
use crate::support::barge::{Barge, barge};
use crate::support::wire::Fault;

/// The destination's repository by another name of this machine.
fn other_name(world: &World) -> String {
    world
        .destination
        .reference("y")
        .replace("127.0.0.1", "localhost")
}

/// `copy --policy rollback` to the other name.
fn copy_there(world: &World) -> Barge {
    let from = world.source.reference("x");
    rollback(&from, &other_name(world), world.state.path())
}

#[test]
fn settles_a_killed_run_that_used_another_name() {
    let world = World::new();
    kill_after_flips(&world, 3);
    assert_eq!(world.journals().len(), 1);
    let report = copy_there(&world).run().exits(0).json();
    let settled = &report["settled"];
    assert_eq!(settled["left"], json!([]), "{report:#}");
    assert_eq!(world.tags(), after());
    assert!(world.journals().is_empty());
}

#[test]
fn leaves_tags_of_a_killed_run_alone_that_used_another_name() {
    let world = World::new();
    kill_after_flips(&world, 3);
    let tags = world.tags();
    let run = barge().args(["copy", "--all-tags", "-o", "json", "--state-dir"]);
    let run = run.arg(world.state.path());
    let run = run.args([world.source.reference("x"), other_name(&world)]);
    // Those that have moved are right already.
    let report = run.run().exits(3).json();
    let entries = report["tags"].as_array().expect("tags");
    let failed: Vec<_> = entries
        .iter()
        .filter(|tag| tag["status"] == "failed")
        .collect();
    assert_eq!(failed.len(), 3, "{report:#}");
    for tag in failed {
        assert_eq!(tag["error"]["kind"], "conflict", "{tag:#}");
    }
    assert_eq!(world.tags(), tags);
    // What this run found right is no longer for the undo.
    undo(world.state.path(), &["--all"]).run().exits(0);
    assert_eq!(world.tags(), tags);
    assert!(world.journals().is_empty());
}

#[test]
fn waits_for_a_run_that_uses_another_name() {
    let world = World::new();
    world.destination.fail(1, is_flip, Fault::Stall);
    let first = world.copy(&[]).spawn();
    world.destination.wait_for(1, is_flip);
    let second = copy_there(&world).spawn();
    second.wait_until_said("waiting for its end");
    world.destination.release();
    first.wait().exits(0);
    let report = second.wait().exits(0).json();
    assert_eq!(report["totals"]["current"], super::TAGS.len());
}
