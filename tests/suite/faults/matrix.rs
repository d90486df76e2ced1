//! Every request of a small copy × every fault: the copy ends complete and byte for byte, or with the
//! right kind of error and no tag; it never hangs, and it repeats no more than it may.

use std::time::Duration;

use super::{copy, single, source};
use crate::support::content::sha256;
use crate::support::image::Bundle;
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request};

/// The side whose request meets the fault.
#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Destination,
}

/// A rule that spoils the request that comes after `index` others, and no other.
fn spoils(index: usize, fault: Fault) -> impl FnMut(&Request) -> Option<Fault> + Send {
    let mut seen = 0;
    move |_| {
        seen += 1;
        (seen == index + 1).then(|| fault.clone())
    }
}

/// How many requests each side gets when nothing goes wrong.
fn requests() -> (usize, usize) {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    copy(&source.reference("x:1"), &destination.reference("y:1"))
        .run()
        .exits(0);
    (source.log().len(), destination.log().len())
}

/// Spoils each request of both sides in turn. `kinds` are the errors that the fault may end in.
fn every_request(fault: &Fault, kinds: &[&str]) {
    let (reads, writes) = requests();
    let reads = (0..reads).map(|index| (Side::Source, index));
    let writes = (0..writes).map(|index| (Side::Destination, index));
    for (side, index) in reads.chain(writes) {
        one(side, index, fault, kinds);
    }
}

fn one(side: Side, index: usize, fault: &Fault, kinds: &[&str]) {
    let place = format!("{fault:?} at request {index} of the {side:?}");
    let (source, destination) = (source(&single()), FakeRegistry::start());
    let spoilt = match side {
        Side::Source => &source,
        Side::Destination => &destination,
    };
    spoilt.on(spoils(index, fault.clone()));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--stall-timeout", "1"]).run();
    // A repeated request, the HEAD that takes the place of a mount, an upload that starts again.
    let most = requests_at_most(side);
    assert!(
        spoilt.log().len() <= most,
        "{place}: {} requests",
        spoilt.log().len()
    );
    if output.code == Some(0) {
        return is_complete(&destination, &place);
    }
    let report = output.exits(1).json();
    let error = match &report["tags"][0]["error"] {
        serde_json::Value::Null => &report["error"],
        error => error,
    };
    let kind = error["kind"].as_str().unwrap_or_default();
    assert!(kinds.contains(&kind), "{place}: {error:#}");
    assert_eq!(destination.store.tags("y"), Vec::<String>::new(), "{place}");
}

fn requests_at_most(side: Side) -> usize {
    let (reads, writes) = requests_of_a_clean_copy();
    match side {
        Side::Source => reads + 2,
        // A blob that has to be sent again is asked for, opened and written once more.
        Side::Destination => writes + 4,
    }
}

/// The numbers of [`requests`], found out once.
fn requests_of_a_clean_copy() -> (usize, usize) {
    static CLEAN: std::sync::OnceLock<(usize, usize)> = std::sync::OnceLock::new();
    *CLEAN.get_or_init(requests)
}

fn is_complete(destination: &FakeRegistry, place: &str) {
    let bundle = Bundle::from(&single());
    let store = &destination.store;
    assert_eq!(
        store.manifest("y", "1").as_ref(),
        Some(&bundle.root),
        "{place}"
    );
    for blob in &bundle.blobs {
        assert_eq!(
            store.blob("y", &sha256(blob)).as_ref(),
            Some(blob),
            "{place}"
        );
    }
}

#[test]
fn connections_that_close() {
    every_request(&Fault::Reset, &[]);
    every_request(&Fault::LoseAnswer, &[]);
    every_request(&Fault::ResetAfter(1000), &[]);
}

#[test]
fn servers_that_are_ill() {
    for status in [500, 502] {
        every_request(&Fault::status(status), &[]);
    }
}

#[test]
fn servers_that_want_to_be_left_alone() {
    let busy = Answer::new(503).header("Retry-After", "1");
    every_request(&Fault::Status(busy), &[]);
    let limited = Answer::new(429).header("Retry-After", "Thu, 01 Jan 1970 00:00:09 GMT");
    every_request(&Fault::Status(limited), &[]);
}

#[test]
fn answers_that_break_off() {
    every_request(&Fault::CutBody(1), &[]);
    every_request(&Fault::CutBody(100_000), &[]);
}

#[test]
fn answers_that_stop() {
    every_request(&Fault::StallBody(1), &[]);
    every_request(&Fault::Stall, &[]);
}

#[test]
fn answers_that_are_slow() {
    every_request(&Fault::Delay(Duration::from_millis(300)), &[]);
}

#[test]
fn answers_that_are_wrong() {
    every_request(
        &Fault::FlipBit,
        &["digest-mismatch", "invalid-manifest", "protocol"],
    );
}

#[test]
fn refusals() {
    every_request(&Fault::status(401), &["unauthorized"]);
    every_request(&Fault::status(403), &["denied"]);
    every_request(&Fault::status(413), &["unsupported"]);
}
