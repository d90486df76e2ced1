//! A PUT of a tag that got no answer in time may still be carried out: what nobody can know is not
//! claimed.

use serde_json::json;

use super::{TAGS, World, after, before, image, is_flip, is_true, refuse_f, undo};
use crate::support::barge::Output;
use crate::support::image::push;
use crate::support::wire::{Answer, Fault, Request};

fn is_flip_of_f(request: &Request) -> bool {
    is_flip(request) && request.path.ends_with("/f")
}

fn looks_at_f(request: &Request) -> bool {
    request.method == "HEAD" && request.path.ends_with("/manifests/f")
}

/// Whether exactly `f` is named, with a command that can be run later.
#[track_caller]
fn names_f(world: &World, output: &Output) {
    is_true(output, &world.destination, "in doubt");
    let report = output.json();
    assert_eq!(report["outcome"], "rollback-incomplete");
    assert_eq!(report["left"], json!(["f"]));
    let error = output.tag("f")["error"].clone();
    assert_eq!(error["kind"], "unavailable", "{error:#}");
    let message = error["message"].to_string();
    assert!(message.contains("may still carry it out"), "{message}");
    let journal = world.journals().remove(0);
    let command = format!(
        "barge undo --state-dir {} {}",
        world.state.path().display(),
        journal.display()
    );
    let hint = error["hint"].as_str().expect("a hint");
    assert!(hint.ends_with(&command), "{hint}");
    let listed = undo(world.state.path(), &[]).run().exits(0).json();
    assert_eq!(listed["journals"][0]["state"], "unfinished");
}

/// What a gateway says that has sent the request on and gave up waiting.
fn gateway_timeout() -> Fault {
    Fault::status(504)
}

#[test]
fn what_the_registry_does_after_the_undo_is_put_back_by_the_next() {
    for again in [false, true] {
        let world = World::new();
        world.destination.fail(1, is_flip_of_f, gateway_timeout());
        let output = world.copy(&[]).run().exits(5);
        assert_eq!(world.tags(), before());
        names_f(&world, &output);
        // It comes after all.
        push(&image(16), &world.destination, "y:f");
        if again {
            let report = world.copy(&[]).run().exits(0).json();
            assert_eq!(report["settled"]["deleted"], json!(["f"]));
            assert_eq!(world.tags(), after());
        } else {
            undo(world.state.path(), &["--all"]).run().exits(0);
            assert_eq!(world.tags(), before());
        }
        assert!(world.journals().is_empty());
    }
}

#[test]
fn a_registry_that_does_not_answer_in_time_leaves_a_doubt() {
    let world = World::new();
    world.destination.fail(1, is_flip_of_f, Fault::Stall);
    let output = world.copy(&["--stall-timeout", "1"]).run().exits(5);
    names_f(&world, &output);
    undo(world.state.path(), &["--all"]).run().exits(0);
    assert_eq!(world.tags(), before());
    assert!(world.journals().is_empty());
}

#[test]
fn an_answer_or_a_broken_connection_is_no_doubt() {
    let statuses = [400, 403, 409, 500, 502, 503];
    let answers = statuses.map(|status| Fault::Status(Answer::new(status)));
    for fault in answers.into_iter().chain([Fault::Reset]) {
        let world = World::new();
        world.destination.fail(1, is_flip_of_f, fault.clone());
        let output = world.copy(&[]).run().exits(4);
        is_true(&output, &world.destination, "refused");
        assert!(world.journals().is_empty(), "{fault:?}");
    }
}

/// The second look, after all else is done.
#[test]
fn what_the_registry_does_during_the_undo_is_put_back() {
    let world = World::new();
    let (store, late) = (world.destination.store.clone(), image(16).manifest);
    let (mut sent, mut looks) = (false, 0);
    world.destination.on(move |request| {
        if is_flip_of_f(request) {
            sent = true;
            return Some(gateway_timeout());
        }
        looks += usize::from(sent && looks_at_f(request));
        if sent && looks == 2 && store.tag("y", "f").is_none() {
            store.put_manifest("y", "f", late.clone());
            sent = false;
        }
        None
    });
    let output = world.copy(&[]).run().exits(4);
    is_true(&output, &world.destination, "late");
    assert_eq!(world.tags(), before());
    assert!(world.journals().is_empty());
}

/// The first try may still be carried out, although the second was.
#[test]
fn a_try_without_an_answer_stays_in_doubt_when_another_was_answered() {
    let world = World::new();
    let refusal = Answer::error(403, "DENIED", &json!({}));
    let of_e = |request: &Request| is_flip(request) && request.path.ends_with("/e");
    world.destination.fail(1, is_flip_of_f, gateway_timeout());
    world.destination.fail(1, of_e, Fault::StallThen(refusal));
    let running = world.copy(&["--retry-times", "1"]).spawn();
    let moved = |request: &Request| is_flip(request) && request.status == 201;
    world.destination.wait_for(TAGS.len() - 1, moved);
    world.destination.wait_for(1, of_e);
    world.destination.release();
    let output = running.wait().exits(5);
    assert_eq!(world.tags(), before());
    names_f(&world, &output);
}

/// A replica that is behind: the tag was put, and is denied once.
#[test]
fn a_tag_that_moved_and_seems_absent_is_looked_at_again() {
    let world = World::new();
    let looks_at_e =
        |request: &Request| request.method == "HEAD" && request.path.ends_with("/manifests/e");
    let output = refuse_f(&world.destination, world.copy(&[]), || {
        world.destination.fail(1, looks_at_e, Fault::status(404));
    });
    let output = output.exits(4);
    is_true(&output, &world.destination, "a false 404");
    assert_eq!(world.tags(), before());
}
