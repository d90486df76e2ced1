//! What another writer, or damage, changes before the tags of a run move.

use tempfile::tempdir;

use super::{image, rollback, tags};
use crate::support::barge::copy;
use crate::support::image::Layout;
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

/// While a layer of another tag is on its way; a tag that is new, and one that moves.
#[test]
fn a_tag_that_another_writer_changes_while_images_are_copied_is_a_conflict() {
    for changed in ["a", "b", "new"] {
        let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
        for (tag, seed) in [("a", 91), ("b", 92), ("new", 93)] {
            image(seed).push_to(&source, &format!("x:{tag}"));
        }
        image(1).push_to(&destination, "y:a");
        image(2).push_to(&destination, "y:b");
        let held = image(92).config_digest();
        let is_held = move |request: &Request| request.is("GET", &held);
        source.fail(1, is_held.clone(), Fault::Stall);
        let state = tempdir().expect("a temporary directory");
        let run = rollback(
            &source.reference("x"),
            &destination.reference("y"),
            state.path(),
        );
        let running = run.spawn();
        source.wait_for(1, is_held);
        for tag in ["a", "b", "new"] {
            destination.wait_for(1, |request| {
                request.is("HEAD", &format!("/manifests/{tag}"))
            });
        }
        image(94).push_to(&destination, &format!("y:{changed}"));
        let now = tags(&destination);
        source.release();
        let output = running.wait().exits(4);
        assert_eq!(
            output.tag(changed)["error"]["kind"],
            "conflict",
            "{changed}"
        );
        assert_eq!(tags(&destination), now, "{changed}");
    }
}

#[test]
fn a_layouts_tag_that_another_run_changes_meanwhile_is_a_conflict() {
    let source = FakeRegistry::start();
    image(91).push_to(&source, "x:a");
    image(92).push_to(&source, "x:b");
    image(94).push_to(&source, "z:a");
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let held = image(92).config_digest();
    let is_held = move |request: &Request| request.is("GET", &held);
    source.fail(1, is_held.clone(), Fault::Stall);
    let running = rollback(
        &source.reference("x"),
        &layout.reference(""),
        directory.path(),
    )
    .spawn();
    source.wait_for(1, is_held);
    source.wait_for(1, |request| {
        request.is("GET", &image(91).config_digest()) && request.ended.is_some()
    });
    copy(
        &["--force"],
        &source.reference("z:a"),
        &layout.reference("a"),
    )
    .exits(0);
    source.release();
    let output = running.wait().exits(4);
    assert_eq!(output.tag("a")["error"]["kind"], "conflict");
    assert_eq!(layout.references(), ["a"]);
    assert_eq!(layout.manifest("a"), Some(image(94).manifest));
}

#[test]
fn a_damaged_manifest_of_a_layout_is_written_again() {
    let source = FakeRegistry::start();
    image(91).push_to(&source, "x:a");
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let (from, to) = (source.reference("x"), layout.reference(""));
    rollback(&from, &to, directory.path()).run().exits(0);
    std::fs::write(layout.blob_path(&image(91).digest()), "{}").expect("it can be written");
    let run = rollback(&from, &to, directory.path());
    run.args(["--recheck", "blobs"]).run().exits(0);
    assert_eq!(layout.manifest("a"), Some(image(91).manifest));
}
