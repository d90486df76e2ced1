//! A registry that asks for a pause: requests that wait for its end are not forgotten.

use std::time::Duration;

use super::copy;
use crate::support::image::{Form, ImageSpec, IndexBuilder, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

/// Requests that a registry gets at once: 32, and the 8 jobs.
const AT_ONCE: usize = 40;

/// An index of images for this many platforms.
fn many(images: usize, seed: u64) -> MultiArch {
    let images = (0..images).map(|number| {
        let image = ImageSpec::new("linux", "arm").variant(&format!("v{number}"));
        image.seed(seed).layers(1, 10).build()
    });
    let index = IndexBuilder::new(Form::Oci);
    images
        .fold(index, |index, image| index.image(&image))
        .build()
}

#[test]
fn a_tag_goes_on_after_a_pause_in_which_another_one_failed() {
    let (failing, other) = (many(2 * AT_ONCE + 10, 1), many(3, 2));
    let source = FakeRegistry::start();
    crate::support::image::push(&failing, &source, "x:a");
    crate::support::image::push(&other, &source, "x:b");
    let refused = failing.image("arm/v0").digest();
    // `b` comes when all requests are those of `a`, and as many more wait.
    let late = Fault::Delay(Duration::from_millis(500));
    source.fail(1, |request| request.is("GET", "/manifests/b"), late);
    let first = refused.clone();
    let is_child = move |request: &Request| {
        request.is("GET", "/manifests/sha256:") && !request.path.ends_with(&first)
    };
    let pause = Answer::new(429).header("Retry-After", "2");
    source.fail(AT_ONCE, is_child.clone(), Fault::StallThen(pause));
    let destination = FakeRegistry::start();
    let is_refused = move |request: &Request| request.is("PUT", &refused);
    let denied = Fault::StallThen(Answer::new(403));
    destination.fail(1, is_refused.clone(), denied);
    let run = copy(&source.reference("x"), &destination.reference("y"));
    let running = run.arg("--all-tags").spawn();
    source.wait_for(AT_ONCE, is_child);
    source.wait_for(1, |request| {
        request.is("GET", "/manifests/b") && request.ended.is_some()
    });
    destination.wait_for(1, is_refused);
    source.release();
    running.wait_until_said_times(AT_ONCE, "trying again");
    destination.release();
    let output = running.wait().exits(3);
    assert_eq!(output.tag("a")["error"]["kind"], "denied");
    assert_eq!(destination.store.tag("y", "b"), Some(other.digest()));
}
