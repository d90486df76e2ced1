//! SIGINT and SIGTERM while everything is staged, while tags move, and while they are put back.

use super::{TAGS, World, after, before, is_flip, is_true, undo};
use crate::support::wire::{Fault, Request};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// What is said when a signal has been heard and does not end the run at once.
const HEARD: &str = "a second signal stops that";

/// Stalls the PUT of every tag that comes after `moved` others.
fn stall_flip(world: &World, moved: usize) {
    let mut seen = 0;
    world.destination.on(move |request| {
        seen += usize::from(is_flip(request));
        (is_flip(request) && seen > moved).then_some(Fault::Stall)
    });
}

/// Fails the last PUT of the flip, and stalls whatever is put after it.
fn stall_undo(world: &World) {
    let mut flips = 0;
    world.destination.on(move |request| {
        if flips == TAGS.len() {
            return (!request.reads()).then_some(Fault::Stall);
        }
        flips += usize::from(is_flip(request));
        (flips == TAGS.len()).then(|| Fault::status(500))
    });
}

fn is_answered_flip(request: &Request) -> bool {
    is_flip(request) && request.status == 201
}

fn is_write_of_a_tag(request: &Request) -> bool {
    is_flip(request) || request.method == "DELETE"
}

#[test]
fn in_staging_nothing_has_moved() {
    for (signal, code) in SIGNALS {
        let world = World::new();
        let slow = super::image(15).config_digest();
        world.source.on(move |request| {
            let stalls = request.is("GET", &slow);
            stalls.then_some(Fault::Stall)
        });
        let running = world.copy(&[]).spawn();
        let slow = super::image(15).config_digest();
        world.source.wait_for(1, |request| request.is("GET", &slow));
        running.signal(signal);
        let report = running.wait().exits(code).json();
        assert_eq!(report["outcome"], "interrupted");
        assert_eq!(world.tags(), before());
        assert!(world.journals().is_empty());
        for tag in report["tags"].as_array().expect("tags") {
            assert_ne!(tag["status"], "copied", "{tag:#}");
        }
        world.source.behave();
        world.copy(&[]).run().exits(0);
        assert_eq!(world.tags(), after());
    }
}

#[test]
fn in_the_flip_what_moved_goes_back() {
    for (signal, code) in SIGNALS {
        for moved in [0, 3, TAGS.len() - 1] {
            let world = World::new();
            stall_flip(&world, moved);
            let running = world.copy(&[]).spawn();
            world.destination.wait_for(TAGS.len(), is_flip);
            world.destination.wait_for(moved, is_answered_flip);
            running.signal(signal);
            // What is under way is waited for: it may still happen.
            running.wait_until_said(HEARD);
            world.destination.behave();
            world.destination.release();
            let output = running.wait().exits(code);
            let report = output.json();
            assert_eq!(report["outcome"], "interrupted", "{report:#}");
            assert_eq!(report["totals"]["rolled_back"], TAGS.len());
            assert_eq!(world.tags(), before(), "{report:#}");
            assert!(world.journals().is_empty());
            world.copy(&[]).run().exits(0);
        }
    }
}

#[test]
fn in_the_undo_it_finishes() {
    for (signal, code) in SIGNALS {
        let world = World::new();
        stall_undo(&world);
        let running = world.copy(&[]).spawn();
        // Three that had a manifest, and new ones that are deleted.
        world
            .destination
            .wait_for(TAGS.len() + 4, is_write_of_a_tag);
        running.signal(signal);
        running.wait_until_said(HEARD);
        world.destination.behave();
        world.destination.release();
        let output = running.wait().exits(code);
        assert_eq!(output.json()["outcome"], "interrupted");
        assert_eq!(world.tags(), before());
        assert!(world.journals().is_empty());
    }
}

#[test]
fn a_second_signal_in_the_undo_says_what_is_left_and_stops() {
    for (signal, _) in SIGNALS {
        let world = World::new();
        stall_undo(&world);
        let running = world.copy(&[]).spawn();
        world
            .destination
            .wait_for(TAGS.len() + 4, is_write_of_a_tag);
        running.signal(signal);
        running.wait_until_said(HEARD);
        running.signal(signal);
        let output = running.wait();
        world.destination.behave();
        let output = output.exits(5);
        is_true(&output, &world.destination, "a second signal");
        let report = output.json();
        let left = report["left"].as_array().expect("left").clone();
        assert!(!left.is_empty());
        for tag in &left {
            let entry = output.tag(tag.as_str().expect("a tag"));
            assert_eq!(entry["error"]["kind"], "interrupted", "{entry:#}");
        }
        // The undo did not run to its end, so the journal is open, and the next run settles it.
        let journal = report["journal"].as_str().expect("a journal").to_owned();
        let listed = undo(world.state.path(), &[]).run().exits(0).json();
        assert_eq!(listed["journals"][0]["state"], "unfinished");
        let output = world.copy(&[]).run().exits(0);
        assert_eq!(
            output.json()["settled"]["journal"],
            serde_json::json!(journal)
        );
        assert_eq!(world.tags(), after());
    }
}

#[test]
fn after_the_last_answer_a_signal_changes_nothing() {
    let world = World::new();
    let running = world.copy(&[]).spawn();
    world.destination.wait_for(TAGS.len(), is_answered_flip);
    running.signal("INT");
    let output = running.wait();
    match output.code {
        // It came before barge had read the last answer, or after.
        Some(130) => assert_eq!(world.tags(), before()),
        _ => is_true(&output, &world.destination, "after the flip"),
    }
}
