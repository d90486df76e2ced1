//! A registry that asks for a pause: requests that wait for its end are not forgotten.

use std::time::Duration;

use super::copy;
use crate::support::image::{Form, ImageSpec, IndexBuilder, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

/// Requests that a registry gets at once: 32, and the 8 jobs.
const AT_ONCE: usize = 40;

/// An index of images for this many platforms, the first of them seeded `first`.
fn many(images: usize, (first, others): (u64, u64)) -> MultiArch {
    let images = (0..images).map(|number| {
        let image = ImageSpec::new("linux", "arm").variant(&format!("v{number}"));
        let seed = if number == 0 { first } else { others };
        image.seed(seed).layers(1, 10).build()
    });
    let index = IndexBuilder::new(Form::Oci);
    images
        .fold(index, |index, image| index.image(&image))
        .build()
}

#[test]
fn a_tag_goes_on_after_a_pause_in_which_others_failed() {
    // What is refused is in all indexes that fail: one alone asks for 32 at once, and more than two times
    // `AT_ONCE` are to be under way or to wait.
    let tags = ["a", "a2", "a3", "a4"];
    let failing = [1, 2, 3, 4].map(|seed| many(AT_ONCE, (1, seed)));
    let other = many(3, (5, 5));
    let source = FakeRegistry::start();
    for (tag, index) in tags.iter().zip(&failing) {
        crate::support::image::push(index, &source, &format!("x:{tag}"));
    }
    crate::support::image::push(&other, &source, "x:b");
    let first = failing[0].image("arm/v0");
    let refused = first.digest();
    // `b` comes when all requests are those of the tags that fail, and more of them wait.
    let late = Fault::Delay(Duration::from_millis(500));
    source.fail(1, |request| request.is("GET", "/manifests/b"), late);
    let free = refused.clone();
    let is_child = move |request: &Request| {
        request.is("GET", "/manifests/sha256:") && !request.path.ends_with(&free)
    };
    let pause = Answer::new(429).header("Retry-After", "2");
    source.fail(AT_ONCE, is_child.clone(), Fault::StallThen(pause));
    let destination = FakeRegistry::start();
    // It asks for nothing more that would have to wait behind the others.
    let layers = first.layers.iter().map(|layer| &layer.bytes);
    for blob in layers.chain([&first.config]) {
        destination.store.put_blob("y", blob.clone());
    }
    let is_refused = move |request: &Request| request.is("PUT", &refused);
    let denied = Fault::StallThen(Answer::new(403));
    destination.fail(1, is_refused.clone(), denied);
    destination.fail(tags.len() - 1, is_refused.clone(), Fault::status(403));
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
    for failed in tags {
        assert_eq!(output.tag(failed)["error"]["kind"], "denied");
    }
    assert_eq!(destination.store.tag("y", "b"), Some(other.digest()));
}
