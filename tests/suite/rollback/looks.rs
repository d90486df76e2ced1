//! Each tag is looked at again right before the flip: what another writer changed since is left alone.

use serde_json::json;

use super::{TAGS, Tags, World, before, bundles, flips, image, is_flip};
use crate::support::image::push;
use crate::support::registry::{FakeRegistry, Store};
use crate::support::wire::Request;

fn of_tag(request: &Request) -> bool {
    request.is_manifest() && !request.path.contains("sha256:")
}

fn looks(registry: &FakeRegistry) -> usize {
    registry.count(|request| request.method == "HEAD" && of_tag(request))
}

/// A world where `f` is right already.
fn with_f_current() -> World {
    let world = World::new();
    push(bundles("f").0, &world.destination, "y:f");
    world
}

/// Has another writer act when all tags but `f` have been recorded, and what is staged is looked at.
fn act_after_recording(world: &World, act: impl Fn(&Store) + Send + 'static) {
    let (mut recorded, store) = (0, world.destination.store.clone());
    world.destination.on(move |request| {
        recorded += usize::from(request.method == "GET" && of_tag(request));
        if recorded == TAGS.len() - 1 && request.method == "HEAD" && !of_tag(request) {
            recorded += 1;
            act(&store);
        }
        None
    });
}

#[test]
fn a_tag_that_changed_since_it_was_recorded_is_a_conflict_and_left_alone() {
    // One that moves, a new one, and one that was found current; moved by another, or deleted.
    let cases = [
        ("a", false),
        ("a", true),
        ("e", false),
        ("f", false),
        ("f", true),
    ];
    for (tag, deleted) in cases {
        let world = with_f_current();
        let theirs = image(90);
        push(&theirs, &world.destination, "y:theirs");
        let manifest = theirs.manifest.clone();
        act_after_recording(&world, move |store| {
            if deleted {
                store.remove_tag("y", tag);
            } else {
                store.put_manifest("y", tag, manifest.clone());
            }
        });
        let output = world.copy(&[]).run().exits(4);
        let error = output.tag(tag)["error"].clone();
        assert_eq!(error["kind"], "conflict", "{tag}: {error}");
        assert_eq!(output.tag(tag)["status"], "failed");
        assert_eq!(output.json().get("left"), None, "{tag}");
        let mut expected: Tags = before();
        expected.insert("f".to_owned(), bundles("f").0.root.digest());
        expected.insert("theirs".to_owned(), theirs.digest());
        if deleted {
            expected.remove(tag);
        } else {
            expected.insert(tag.to_owned(), theirs.digest());
        }
        assert_eq!(world.tags(), expected, "{tag}");
        assert_eq!(flips(&world.destination), 0, "{tag}");
        assert!(world.journals().is_empty(), "{tag}");
        world.destination.behave();
        let report = world.copy(&[]).run().exits(0).json();
        assert_eq!(report["outcome"], json!("success"));
    }
}

#[test]
fn each_tag_is_looked_at_once_more_before_a_flip_alone() {
    let world = with_f_current();
    world.copy(&[]).run().exits(0);
    let look = |request: &Request| request.method == "HEAD" && of_tag(request);
    let mut log = world.destination.log();
    log.truncate(log.iter().position(is_flip).expect("a flip"));
    let looks_before = log.iter().filter(|request| look(request)).count();
    assert_eq!(looks_before, 2 * TAGS.len());
    assert!(log.last().is_some_and(look), "nothing comes between");
    world.destination.clear_log();
    world.copy(&[]).run().exits(0);
    assert_eq!(looks(&world.destination), TAGS.len(), "nothing is flipped");
}
