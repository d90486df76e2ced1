//! Which journals stay open, which are closed, and who lets go of them.

use std::fs;

use serde_json::json;

use super::kill::kill_after_flips;
use super::{TAGS, World, after, before, bundles, image, is_flip, is_true, refuse_f, undo};
use crate::support::barge::barge;
use crate::support::image::push;
use crate::support::registry::{Deletes, Settings};
use crate::support::wire::{Answer, Fault, Request};

/// The standing of the only journal.
#[track_caller]
fn standing(world: &World) -> String {
    let listed = undo(world.state.path(), &[]).run().exits(0).json();
    let journals = listed["journals"].as_array().expect("journals");
    assert_eq!(journals.len(), 1, "{listed:#}");
    journals[0]["state"].as_str().expect("a state").to_owned()
}

/// What the undo of a run meets at `a`, and whether it may go better another time.
fn obstacles() -> [(Fault, &'static str); 6] {
    let refusal = |status| Fault::Status(Answer::new(status));
    [
        (refusal(401), "unfinished"),
        (refusal(403), "unfinished"),
        (refusal(503), "unfinished"),
        (Fault::Reset, "unfinished"),
        (refusal(409), "closed"),
        (refusal(405), "closed"),
    ]
}

/// Spoils the second PUT of `a`, which puts it back.
fn spoil_restore(world: &World, fault: Fault) {
    let mut seen = 0;
    world.destination.on(move |request| {
        let of_a = is_flip(request) && request.path.ends_with("/a");
        seen += usize::from(of_a);
        (of_a && seen > 1).then(|| fault.clone())
    });
}

#[test]
fn an_undo_that_may_go_better_leaves_the_journal_of_its_run_open() {
    for (fault, expected) in obstacles() {
        let world = World::new();
        spoil_restore(&world, fault.clone());
        let output = refuse_f(&world.destination, world.copy(&[]), || {}).exits(5);
        is_true(&output, &world.destination, expected);
        assert_eq!(output.json()["left"], json!(["a"]), "{fault:?}");
        assert_eq!(standing(&world), expected, "{fault:?}");
        world.destination.behave();
        let report = world.copy(&[]).run().exits(0).json();
        let settled = report.get("settled").is_some();
        assert_eq!(settled, expected == "unfinished", "{fault:?}");
        assert!(world.journals().is_empty(), "{fault:?}");
        assert_eq!(world.tags(), after());
    }
}

/// Kills a run when `a` has moved.
fn kill_with_a_moved(world: &World) {
    let others = |request: &Request| is_flip(request) && !request.path.ends_with("/a");
    let stall = move |request: &Request| others(request).then_some(Fault::Stall);
    world.destination.on(stall);
    let running = world.copy(&[]).spawn();
    let moved = |request: &Request| is_flip(request) && request.status == 201;
    world.destination.wait_for(1, moved);
    running.signal("KILL");
    assert_eq!(running.wait().code, None);
    world.destination.behave();
}

#[test]
fn settling_that_may_go_better_stops_the_run_and_leaves_the_journal_open() {
    for (fault, expected) in obstacles() {
        let world = World::new();
        kill_with_a_moved(&world);
        let of_a = |request: &Request| is_flip(request) && request.path.ends_with("/a");
        world.destination.fail(1, of_a, fault.clone());
        let output = world.copy(&[]).run();
        let report = output.json();
        assert_eq!(report["settled"]["left"][0]["tag"], "a", "{report:#}");
        if expected == "unfinished" {
            assert_eq!(output.code, Some(1), "{fault:?}: {report:#}");
            assert_eq!(standing(&world), expected, "{fault:?}");
            world.copy(&[]).run().exits(0);
        } else {
            assert_eq!(output.code, Some(0), "{fault:?}: {report:#}");
        }
        assert!(world.journals().is_empty(), "{fault:?}");
        assert_eq!(world.tags(), after());
    }
}

/// To put those tags back later would undo the run that moved them.
#[test]
fn a_run_that_moves_all_tags_of_a_closed_journal_drops_it() {
    let world = World::with(Settings {
        deletes: Deletes::Off,
        ..Settings::default()
    });
    refuse_f(&world.destination, world.copy(&[]), || {}).exits(5);
    world.destination.behave();
    assert_eq!(standing(&world), "closed");
    // Not one that is rolled back, and not one of other tags.
    let of_f = |request: &Request| is_flip(request) && request.path.ends_with("/f");
    world.destination.fail(1, of_f, Fault::status(403));
    world.copy(&[]).run().exits(4);
    assert_eq!(world.journals().len(), 1);
    image(50).push_to(&world.source, "x:other");
    world.copy(&["--exclude-tags", "[a-e]"]).run().exits(0);
    assert_eq!(world.journals().len(), 1);
    world.copy(&[]).run().exits(0);
    assert!(world.journals().is_empty());
}

/// A world with a closed journal that holds `d` and `e`, and the journal's name.
fn closed() -> (World, String) {
    let world = World::with(Settings {
        deletes: Deletes::Off,
        ..Settings::default()
    });
    let output = refuse_f(&world.destination, world.copy(&[]), || {}).exits(5);
    world.destination.behave();
    assert_eq!(output.json()["left"], json!(["d", "e"]));
    assert_eq!(held(&world), ["d", "e"]);
    let journal = world.journals().remove(0);
    (world, journal.display().to_string())
}

/// The tags of the only journal, if there is one.
fn held(world: &World) -> Vec<String> {
    let listed = undo(world.state.path(), &[]).run().exits(0).json();
    let tags = listed["journals"][0]["tags"].as_array().cloned();
    let names = tags.unwrap_or_default().into_iter();
    names
        .map(|tag| tag.as_str().expect("a tag").to_owned())
        .collect()
}

/// Its other tags are back, and whoever moves them again means it.
#[test]
fn a_closed_journal_is_about_the_tags_that_it_left_alone() {
    let (world, journal) = closed();
    let everything = Settings::default().deletes;
    world
        .destination
        .configure(|settings| settings.deletes = everything);
    for tag in ["a", "b", "c", "f"] {
        push(bundles(tag).0, &world.destination, &format!("y:{tag}"));
    }
    let report = undo(world.state.path(), &[&journal]).run().exits(0).json();
    assert_eq!(report["settled"][0]["restored"], json!([]));
    assert_eq!(report["settled"][0]["deleted"], json!(["d", "e"]));
    let mut expected = after();
    expected.retain(|tag, _| !["d", "e"].contains(&tag.as_str()));
    assert_eq!(world.tags(), expected);
}

#[test]
fn what_a_later_run_makes_right_is_no_longer_taken_back() {
    for policy in ["best-effort", "rollback"] {
        let (world, journal) = closed();
        let of = |policy: &str, tags: &str| {
            let from = world.source.reference("x");
            let command = barge().args(["copy", "--policy", policy, "--tags", tags]);
            let command = command.arg("--state-dir").arg(world.state.path());
            command.args([from, world.destination.reference("y")])
        };
        of(policy, "e").arg("--dry-run").run().exits(0);
        assert_eq!(held(&world), ["d", "e"], "{policy}");
        // It is right already.
        of(policy, "e").run().exits(0);
        assert_eq!(held(&world), ["d"], "{policy}");
        // One that fails leaves it to the journal.
        world.destination.store.remove_tag("y", "d");
        let of_d = |request: &Request| is_flip(request) && request.path.ends_with("/d");
        world.destination.fail(1, of_d, Fault::status(403));
        assert_ne!(of(policy, "[ad]").run().code, Some(0));
        assert_eq!(held(&world), ["d"], "{policy}");
        of(policy, "[ad]").run().exits(0);
        assert!(world.journals().is_empty(), "{policy}");
        let gone = undo(world.state.path(), &[&journal]).run().exits(1);
        assert_eq!(gone.json()["error"]["kind"], "not-found");
    }
}

/// `barge copy` of these tags with this policy.
fn copy_of(world: &World, policy: &str, tags: &str) -> crate::support::barge::Barge {
    let command = barge().args(["copy", "-o", "json", "--policy", policy, "--tags", tags]);
    let command = command.arg("--state-dir").arg(world.state.path());
    let (from, to) = (
        world.source.reference("x"),
        world.destination.reference("y"),
    );
    command.args([from, to])
}

#[test]
fn a_tag_that_a_later_run_found_right_is_not_taken_back_by_undo() {
    for policy in ["best-effort", "rollback"] {
        let world = World::new();
        kill_with_a_moved(&world);
        copy_of(&world, policy, "a").arg("--dry-run").run().exits(0);
        assert_eq!(held(&world).len(), TAGS.len(), "{policy}");
        let output = copy_of(&world, policy, "a").run().exits(0);
        assert_eq!(output.tag("a")["status"], "current", "{policy}");
        let journal = world.journals().remove(0).display().to_string();
        assert!(output.stderr.contains(&journal), "{output:#?}");
        assert_eq!(standing(&world), "unfinished");
        assert_eq!(held(&world), ["b", "c", "d", "e", "f"], "{policy}");
        let report = undo(world.state.path(), &["--all"]).run().exits(0).json();
        assert_eq!(report["settled"][0]["left"], json!([]), "{policy}");
        let mut expected = before();
        expected.insert("a".to_owned(), after()["a"].clone());
        assert_eq!(world.tags(), expected, "{policy}");
    }
}

/// That run may still take it back.
#[test]
fn a_tag_that_a_run_at_work_has_moved_is_not_called_current() {
    let world = World::new();
    let others = |request: &Request| is_flip(request) && !request.path.ends_with("/a");
    world
        .destination
        .on(move |request| others(request).then_some(Fault::Stall));
    let running = world.copy(&[]).spawn();
    let moved = |request: &Request| is_flip(request) && request.status == 201;
    world.destination.wait_for(1, moved);
    let output = copy_of(&world, "best-effort", "a").run().exits(1);
    assert_eq!(output.tag("a")["error"]["kind"], "conflict");
    assert_eq!(output.tag("a")["error"]["hint"], "run again when it has");
    world.destination.behave();
    world.destination.release();
    running.wait().exits(0);
    copy_of(&world, "best-effort", "a").run().exits(0);
}

#[test]
fn what_was_settled_is_told_beside_what_the_run_did_not_touch() {
    let world = World::new();
    kill_after_flips(&world, 3);
    let lost = image(13).digest();
    world.source.store.remove_manifest("x", &lost);
    let command = world.copy(&["-o", "text"]);
    let output = command.run().exits(4);
    let place = world.destination.reference("y");
    let says = format!("ROLLED BACK: no tag of {place} was touched by this run itself");
    assert!(output.stdout.contains(&says), "{output:#?}");
    assert!(output.stdout.contains("settled "), "{output:#?}");
    assert_eq!(world.tags(), before());
}

#[test]
fn who_waited_for_a_run_that_succeeded_is_told_so() {
    let world = World::new();
    let stall = |request: &Request| is_flip(request).then_some(Fault::Stall);
    world.destination.on(stall);
    let running = world.copy(&[]).spawn();
    world.destination.wait_for(TAGS.len(), is_flip);
    let journal = world.journals().remove(0);
    // A copy of the journal is kept from the same tags by the same lock, and so is the file itself
    // where nothing says in which directory it is.
    let copy = world.state.path().join("copy.json");
    fs::copy(&journal, &copy).expect("a copy");
    let (journal, copy) = (journal.to_string_lossy(), copy.to_string_lossy());
    let of_copy = undo(world.state.path(), &[&copy]).spawn();
    let settling = crate::support::barge::barge()
        .args(["undo", &journal])
        .spawn();
    for waiting in [&of_copy, &settling] {
        waiting.wait_until_said("another rollback run");
    }
    of_copy.signal("INT");
    let interrupted = of_copy.wait().exits(130).json();
    let error = &interrupted["failed"][0]["error"];
    assert_eq!(error["kind"], "interrupted");
    assert_eq!(
        error["hint"],
        "run the same command again: it goes on where this one stopped"
    );
    world.destination.behave();
    world.destination.release();
    running.wait().exits(0);
    let output = settling.wait().exits(0);
    let says = "its run has come to its end, there is nothing to undo";
    assert!(output.stdout.contains(says), "{output:#?}");
    assert_eq!(world.tags(), after());
}

/// What a registry says of a DELETE is told as it said it.
#[test]
fn a_manifest_that_the_registry_denies_to_have_is_not_called_deleted() {
    let world = World::new();
    let delete = |request: &Request| request.method == "DELETE";
    world.destination.fail(100, delete, Fault::status(404));
    let output = refuse_f(&world.destination, world.copy(&[]), || {}).exits(5);
    is_true(&output, &world.destination, "404");
    let message = output.tag("e")["error"]["message"].to_string();
    assert!(message.contains("no such manifest"), "{message}");
    assert!(!message.contains("deleted the manifest"), "{message}");
}
