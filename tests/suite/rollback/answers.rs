//! Answers that are lost: a tag is where it is, whatever was said of it.

use super::{World, after, before, is_flip, is_true, refuse_f};
use crate::support::wire::{Fault, Request};

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
