//! 200 tags: the flip is one PUT a tag, many at once.

use std::time::Duration;

use super::{image, is_flip, rollback};
use crate::support::registry::FakeRegistry;
use crate::support::wire::Fault;

const TAGS: usize = 200;

#[test]
fn the_flip_of_200_tags_is_one_put_a_tag_and_many_at_once() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let state = tempfile::tempdir().expect("a temporary directory");
    for tag in 0..TAGS {
        let image = image(tag as u64);
        image.push_to(&source, &format!("x:{tag}"));
        // What is below the tags is there: the flip is what is looked at.
        for blob in [&image.config, &image.layers[0].bytes] {
            destination.store.put_blob("y", blob.clone());
        }
    }
    let delay = Duration::from_millis(20);
    destination.on(move |request| is_flip(request).then_some(Fault::Delay(delay)));
    let to = destination.reference("y");
    let report = rollback(&source.reference("x"), &to, state.path())
        .run()
        .exits(0)
        .json();
    assert_eq!(report["totals"]["copied"], TAGS);
    assert_eq!(destination.store.tags("y").len(), TAGS);
    assert_eq!(destination.count(is_flip), TAGS);
    let peak = destination.peak(is_flip);
    assert!(peak >= 16, "{peak} at once");
    let seconds = report["flip_seconds"].as_f64().expect("seconds");
    assert!(seconds >= delay.as_secs_f64(), "{seconds}");
}
