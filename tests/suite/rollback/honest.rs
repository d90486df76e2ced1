//! What is said of the destination is what is there, also where a registry or a layout is not.

use serde_json::json;
use tempfile::tempdir;

use super::{World, image, index, is_flip, refuse_f, rollback, tags};
use crate::support::barge::copy;
use crate::support::image::Layout;
use crate::support::registry::{Deletes, FakeRegistry, Settings};
use crate::support::wire::{Answer, Fault};

#[test]
fn a_delete_that_did_nothing_is_not_believed() {
    let world = World::new();
    let deaf = |request: &crate::support::wire::Request| request.method == "DELETE";
    let deafness = Fault::Status(Answer::new(202));
    world.destination.fail(100, deaf, deafness);
    let output = refuse_f(&world.destination, world.copy(&[]), || {}).exits(5);
    let left = output.json()["left"].clone();
    let left: Vec<&str> = left
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tag| tag.as_str())
        .collect();
    assert!(!left.is_empty());
    for tag in left {
        assert!(world.tags().contains_key(tag), "{tag}");
        // Why it had to be put back at all is told with it.
        let message = output.tag(tag)["error"]["message"].to_string();
        assert!(message.contains("since the run failed to"), "{message}");
    }
}

#[test]
fn a_new_tag_that_is_a_child_of_another_goes_too() {
    for _ in 0..5 {
        let (source, directory) = (FakeRegistry::start(), tempdir().expect("a directory"));
        let index = index(5);
        index.push_to(&source, "x:all");
        index.image("arm64").push_to(&source, "x:arm64");
        image(7).push_to(&source, "x:zz");
        let destination = FakeRegistry::start_with(Settings {
            deletes: Deletes::DigestOnly,
            ..Settings::default()
        });
        let refused = |request: &crate::support::wire::Request| {
            is_flip(request) && request.path.ends_with("/zz")
        };
        destination.fail(100, refused, Fault::status(403));
        let run = rollback(
            &source.reference("x"),
            &destination.reference("y"),
            directory.path(),
        );
        let output = run.run().exits(4);
        assert_eq!(output.json()["outcome"], "rolled-back");
        assert!(tags(&destination).is_empty(), "{:?}", tags(&destination));
    }
}

#[test]
fn a_ref_of_another_repository_is_that_tags_failure() {
    let (source, directory) = (FakeRegistry::start(), tempdir().expect("a directory"));
    image(1).push_to(&source, "first:a");
    for tag in ["a", "b"] {
        image(2).push_to(&source, &format!("second:{tag}"));
    }
    let layout = Layout::at(&directory.path().join("layout"));
    copy(
        &["--all-tags"],
        &source.reference("first"),
        &layout.reference(""),
    )
    .exits(0);
    let run = rollback(
        &source.reference("second"),
        &layout.reference(""),
        directory.path(),
    );
    let output = run.run().exits(4);
    assert_eq!(output.tag("a")["error"]["kind"], "conflict");
    assert_eq!(output.tag("b")["status"], "rolled-back");
    assert_eq!(json!(layout.references()), json!(["a"]));
}
