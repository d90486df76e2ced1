//! Answers that are lost, and answers that are not true: a tag is where it is, whatever was said of it.

use serde_json::json;

use super::{World, after, before, is_flip, is_true, refuse_f};
use crate::support::wire::{Answer, Fault, Request};

fn is_flip_of(tag: &'static str) -> impl Fn(&Request) -> bool + Copy {
    move |request| is_flip(request) && request.path.rsplit('/').next() == Some(tag)
}

#[test]
fn flips_a_tag_when_only_the_repeat_of_its_put_is_refused() {
    for status in [400, 403, 409, 412] {
        let world = World::new();
        let of_a = is_flip_of("a");
        world.destination.fail(1, of_a, Fault::LoseAnswer);
        world.destination.fail(1, of_a, Fault::status(status));
        let run = world.copy(&["--retry-times", "1"]);
        run.run().exits(0);
        assert_eq!(world.tags(), after(), "{status}");
        assert!(world.journals().is_empty(), "{status}");
    }
}

#[test]
fn counts_a_tag_as_deleted_when_only_the_repeat_of_its_delete_is_refused() {
    for status in [404, 405, 403] {
        let world = World::new();
        let deletes = |request: &Request| request.is("DELETE", "/manifests/");
        let of_e = move |request: &Request| deletes(request) && request.path.ends_with("/e");
        world.destination.fail(1, of_e, Fault::LoseAnswer);
        world.destination.fail(9, of_e, Fault::status(status));
        let run = world.copy(&["--retry-times", "1"]);
        let output = refuse_f(&world.destination, run, || {}).exits(4);
        is_true(&output, &world.destination, "deleted");
        assert_eq!(world.tags(), before(), "{status}");
        let by_digest = |request: &Request| deletes(request) && request.path.contains("sha256:");
        assert_eq!(world.destination.count(by_digest), 0, "{status}");
    }
}

#[test]
fn rolls_back_when_a_tag_is_not_there_after_its_put() {
    let world = World::new();
    world
        .destination
        .fail(1, is_flip_of("f"), Fault::status(201));
    let output = world.copy(&[]).run().exits(4);
    is_true(&output, &world.destination, "not stored");
    assert_eq!(output.tag("f")["error"]["kind"], "conflict");
    assert_eq!(world.tags(), before());

    world.destination.behave();
    world
        .destination
        .fail(1, is_flip_of("f"), Fault::status(201));
    let output = world.copy(&["--recheck", "none"]).run().exits(0);
    assert_eq!(output.tag("f")["status"], "copied");
}

#[test]
fn looks_at_each_flipped_tag_once() {
    for (recheck, looks) in [("none", 0), ("children", 1)] {
        let world = World::new();
        let mut flipped = false;
        let (sender, looked) = std::sync::mpsc::channel();
        world.destination.on(move |request| {
            flipped |= is_flip(request);
            let by_tag =
                request.reads() && request.is_manifest() && !request.path.contains("sha256:");
            if flipped && by_tag {
                sender.send(request.path.clone()).expect("a receiver");
            }
            None
        });
        world.copy(&["--recheck", recheck]).run().exits(0);
        assert_eq!(looked.try_iter().count(), looks * super::TAGS.len());
    }
}

#[test]
fn names_a_tag_whose_restore_is_answered_and_not_done() {
    let world = World::new();
    let mut seen = 0;
    let of_a = is_flip_of("a");
    world.destination.on(move |request| {
        seen += usize::from(of_a(request));
        (of_a(request) && seen > 1).then(|| Fault::Status(Answer::new(201)))
    });
    let output = refuse_f(&world.destination, world.copy(&[]), || {}).exits(5);
    is_true(&output, &world.destination, "not restored");
    assert_eq!(output.json()["left"], json!(["a"]));
    assert_eq!(output.tag("a")["error"]["kind"], "conflict");
}
