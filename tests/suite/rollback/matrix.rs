//! Every PUT of the flip and every request of the undo, broken in turn: what the exit code and the report
//! say is what the registry has, and the next run succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{TAGS, World, after, before, each, flips, is_flip, is_true, undo};
use crate::support::registry::{Deletes, Settings, Untagged};
use crate::support::wire::{Fault, Request};

/// A refusal, an answer that never comes though the work was done, and a failure before it was done.
fn faults() -> [Fault; 3] {
    [Fault::status(403), Fault::LoseAnswer, Fault::Reset]
}

/// Spoils the PUT of a tag that comes after `index` others.
fn nth_flip(index: usize, fault: Fault) -> impl FnMut(&Request) -> Option<Fault> + Send {
    let mut seen = 0;
    move |request| {
        seen += usize::from(is_flip(request));
        (is_flip(request) && seen == index + 1).then(|| fault.clone())
    }
}

/// The same run again, with nothing in its way.
#[track_caller]
fn then_succeeds(world: &World, place: &str) {
    world.destination.behave();
    let output = world.copy(&[]).run().exits(0);
    is_true(&output, &world.destination, place);
    assert_eq!(world.tags(), after(), "{place}");
}

#[test]
fn every_put_of_the_flip() {
    let cases: Vec<(usize, Fault)> = (0..TAGS.len())
        .flat_map(|index| faults().map(|fault| (index, fault)))
        .collect();
    each(&cases, |(index, fault)| {
        let place = format!("{fault:?} at flip {index}");
        let world = World::new();
        world.destination.on(nth_flip(*index, fault.clone()));
        let output = world.copy(&[]).run().exits(4);
        is_true(&output, &world.destination, &place);
        assert_eq!(world.tags(), before(), "{place}");
        assert!(output.json()["flip_seconds"].is_number(), "{place}");
        assert!(world.journals().is_empty(), "{place}");
        then_succeeds(&world, &place);
    });
}

/// A registry that deletes and keeps in this way.
fn settings(deletes: Deletes, untagged: Untagged) -> Settings {
    Settings {
        deletes,
        untagged,
        ..Settings::default()
    }
}

/// Fails the last PUT of the flip, and spoils the request that comes after `index` others since. How many
/// came since then.
fn spoil(world: &World, index: usize, fault: Fault) -> Arc<AtomicUsize> {
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    let mut flips = 0;
    world.destination.on(move |request| {
        if flips == TAGS.len() {
            let since = count.fetch_add(1, Ordering::SeqCst);
            return (since == index).then(|| fault.clone());
        }
        flips += usize::from(is_flip(request));
        (flips == TAGS.len()).then(|| Fault::status(500))
    });
    came
}

/// Breaks every request of the undo in turn.
fn every_request_of_the_undo(settings: &Settings, clean: i32) {
    let world = World::with(settings.clone());
    let came = spoil(&world, usize::MAX, Fault::Reset);
    world.copy(&[]).run().exits(clean);
    let requests = came.load(Ordering::SeqCst);
    assert!(requests > TAGS.len(), "{requests}");
    let cases: Vec<(usize, Fault)> = (0..requests)
        .flat_map(|index| faults().map(|fault| (index, fault)))
        .collect();
    each(&cases, |(index, fault)| {
        let place = format!("{fault:?} at request {index} of the undo");
        let world = World::with(settings.clone());
        spoil(&world, *index, fault.clone());
        let output = world.copy(&[]).run();
        assert!(matches!(output.code, Some(4 | 5)), "{place}: {output:#?}");
        is_true(&output, &world.destination, &place);
        assert_eq!(
            world.journals().len(),
            usize::from(output.code == Some(5)),
            "{place}"
        );
        then_succeeds(&world, &place);
    });
}

#[test]
fn every_request_of_an_undo_that_deletes_tags() {
    every_request_of_the_undo(&settings(Deletes::Enabled, Untagged::Dropped), 4);
}

#[test]
fn every_request_of_an_undo_that_deletes_digests() {
    every_request_of_the_undo(&settings(Deletes::DigestOnly, Untagged::Kept), 4);
}

/// The command that the report names finishes the work, once nothing is in its way.
#[test]
fn the_command_that_is_named_finishes_the_work() {
    let world = World::with(settings(Deletes::Off, Untagged::Dropped));
    spoil(&world, usize::MAX, Fault::Reset);
    let output = world.copy(&[]).run().exits(5);
    is_true(&output, &world.destination, "no deletes");
    let report = output.json();
    let journal = report["journal"].as_str().expect("a journal").to_owned();
    let left: Vec<&str> = report["left"]
        .as_array()
        .expect("left")
        .iter()
        .filter_map(|tag| tag.as_str())
        .collect();
    assert!(!left.is_empty());
    for tag in &left {
        let error = &output.tag(tag)["error"];
        assert_eq!(error["kind"], "unsupported", "{error:#}");
        let hint = error["hint"].as_str().expect("a hint");
        let state = world.state.path().display();
        let command = format!("barge undo --state-dir {state} {journal}");
        assert!(hint.ends_with(&command), "{hint}");
    }
    world.destination.behave();
    // It is closed, and in nobody's way.
    let listed = undo(world.state.path(), &[]).run().exits(0).json();
    assert_eq!(listed["journals"][0]["state"], "closed", "{listed:#}");
    let all = undo(world.state.path(), &["--all"]).run().exits(0).json();
    assert_eq!(all["settled"], serde_json::json!([]), "{all:#}");
    world
        .destination
        .configure(|settings| settings.deletes = Deletes::Enabled);
    let output = undo(world.state.path(), &[&journal]).run().exits(0);
    let mut deleted: Vec<String> =
        serde_json::from_value(output.json()["settled"][0]["deleted"].clone()).expect("tags");
    deleted.sort();
    assert_eq!(deleted, left);
    assert_eq!(world.tags(), before());
    assert!(world.journals().is_empty());
    assert!(flips(&world.destination) > 0);
}
