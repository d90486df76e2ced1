//! Answers to a request for the rest of a blob, as caches and proxies give them.

use bytes::Bytes;

use super::{copy, single, source};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

const CUT: usize = 100_000;

fn is_layer(request: &Request) -> bool {
    request.is("GET", &single().layers[0].digest())
}

/// The bytes of the layer from `start` to before `end`, with what is said of them.
fn part((start, end): (usize, usize), said: Option<&str>) -> Answer {
    let layer: Bytes = single().layers[0].bytes.clone();
    let answer = Answer::new(206).body("application/octet-stream", layer.slice(start..end));
    match said {
        Some(said) => answer.header("Content-Range", said),
        None => answer,
    }
}

/// Copies from a source that breaks off at [`CUT`], and answers the request for the rest so; with how many requests.
fn copied(answer: Answer) -> usize {
    let source = source(&single());
    source.fail(1, is_layer, Fault::CutBody(CUT as u64));
    source.fail(1, is_layer, Fault::Status(answer));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(0);
    let layer = &single().layers[0];
    let stored = destination.store.blob("y", &layer.digest());
    assert_eq!(stored.as_ref(), Some(&layer.bytes));
    assert!(!output.stderr.contains("damaged"), "{output:#?}");
    source.count(is_layer)
}

#[test]
fn goes_on_where_what_came_is_proved_to_belong() {
    let size = single().layers[0].bytes.len();
    let whole = |start: usize| format!("bytes {start}-{}/{size}", size - 1);
    // From the start of a block, as a cache gives it.
    let block = CUT - 34_464;
    assert_eq!(copied(part((block, size), Some(&whole(block)))), 2);
    // Less than was asked for: one more request gives the rest.
    let end = CUT + 70_000;
    let less = format!("bytes {CUT}-{}/*", end - 1);
    assert_eq!(copied(part((CUT, end), Some(&less))), 3);
}

#[test]
fn starts_again_where_that_is_not_proved() {
    let size = single().layers[0].bytes.len();
    let later = CUT + 1000;
    let said = format!("bytes {later}-{}/{size}", size - 1);
    assert_eq!(copied(part((later, size), Some(&said))), 3);
    assert_eq!(copied(part((0, size), None)), 3);
    let refused = Answer::new(416).header("Content-Range", format!("bytes */{size}"));
    assert_eq!(copied(refused), 3);
}
