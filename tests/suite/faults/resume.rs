//! An upload that breaks: it goes on from where the registry says that it stands, or starts again.

use super::{copy, source};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec};
use crate::support::proxy::Proxy;
use crate::support::registry::{FakeRegistry, Settings, Sparse};
use crate::support::wire::{Fault, Request, Server};

const SIZE: usize = 6_000_000;
const CAME: u64 = 4_000_000;

fn heavy() -> Image {
    ImageSpec::new("linux", "arm64").layers(1, SIZE).build()
}

fn is_large(request: &Request) -> bool {
    let length = request.header("content-length");
    let length: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    request.is_upload() && length > 1_000_000
}

fn asks_for_the_session(request: &Request) -> bool {
    request.is("GET", "/uploads/")
}

/// The `Range` of each read of the layer.
fn ranges(source: &Server) -> Vec<Option<String>> {
    let layer = heavy().layers[0].digest();
    let log = source.log().into_iter();
    let log = log.filter(|request| request.is("GET", &layer));
    log.map(|request| request.header("range").map(str::to_owned))
        .collect()
}

fn breaks_once(settings: Settings) {
    let source = source(&heavy());
    let destination = FakeRegistry::start_with(settings);
    destination.fail(1, is_large, Fault::ResetAfter(CAME));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(heavy().manifest));
    assert_eq!(destination.count(asks_for_the_session), 1);
    let log = destination.log().into_iter();
    let sent: Vec<Request> = log.filter(is_large).collect();
    let [_, rest] = &sent[..] else {
        panic!("two bodies, not {sent:#?}");
    };
    let size = heavy().layers[0].bytes.len() as u64;
    let came = size - rest.body_len;
    assert!(
        came >= CAME,
        "{came} of {CAME} bytes that came were not sent again"
    );
    let range = format!("{came}-{}", size - 1);
    assert_eq!(rest.header("content-range"), Some(&range[..]));
    // The source is read again from a little before.
    let [None, Some(again)] = &ranges(&source)[..] else {
        panic!("{:?}", ranges(&source));
    };
    let from: u64 = again["bytes=".len()..]
        .trim_end_matches('-')
        .parse()
        .expect("a number");
    assert!(from <= came && came - from < 3 << 20, "{from} for {came}");
    assert_eq!(output.json()["totals"]["retries"], 1);
    assert_eq!(destination.store.open_uploads(), 0);
}

#[test]
fn it_goes_on_from_where_the_registry_says() {
    breaks_once(Settings::default());
    // Whose ranges are off by one.
    breaks_once(Settings::quay(Sparse::default()));
}

#[test]
fn a_registry_that_cannot_tell_gets_it_from_the_start() {
    let source = source(&heavy());
    let registry = DockerRegistry::start();
    let proxy = Proxy::start(registry.host());
    proxy.fail(1, is_large, Fault::ResetAfter(CAME));
    let run = copy(&source.reference("x:1"), &proxy.reference("y:1"));
    run.run().exits(0);
    // distribution 2.8 ends an upload whose state does not say how far it came.
    assert_eq!(proxy.count(asks_for_the_session), 1);
    assert_eq!(ranges(&source), [None, None]);
    let layer = &heavy().layers[0];
    let stored = registry.client().blob("y", &layer.digest());
    assert_eq!(stored.as_deref(), Some(&layer.bytes[..]));
}

#[test]
fn a_registry_that_tells_what_cannot_be_gets_it_from_the_start() {
    let source = source(&heavy());
    let destination = FakeRegistry::start();
    destination.fail(1, is_large, Fault::ResetAfter(CAME));
    let lie = crate::support::wire::Answer::new(204).header("Range", "0-5999999999");
    destination.fail(1, asks_for_the_session, Fault::Status(lie));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    assert_eq!(ranges(&source), [None, None]);
    assert_eq!(destination.store.manifest("y", "1"), Some(heavy().manifest));
}

#[test]
fn breaks_with_progress_between_them_are_no_failures_in_a_row() {
    let source = source(&heavy());
    let destination = FakeRegistry::start();
    let mut breaks = [2_000_000_u64, 1_500_000, 1_000_000].into_iter();
    let mut fault = move || breaks.next().map(Fault::ResetAfter);
    destination.on(move |request| is_large(request).then(&mut fault).flatten());
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "1"]).run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(heavy().manifest));
    assert_eq!(output.json()["totals"]["retries"], 2);
    // Two resets of large bodies count as a refusal of their size: the rest goes in pieces.
    let sent: u64 = destination
        .log()
        .iter()
        .filter(|request| request.is_upload())
        .map(|request| request.body_len)
        .sum();
    assert!(sent < SIZE as u64 + 1_500_000, "{sent}");
}

#[test]
fn an_upload_ends_after_its_retries_when_each_request_takes_one_byte() {
    let source = source(&heavy());
    let destination = FakeRegistry::start();
    destination.fail(1, is_large, Fault::ResetAfter(2_000_000));
    destination.fail(20, is_large, Fault::ResetAfter(1));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "2"]).run().exits(1);
    assert_eq!(output.tag("1")["error"]["kind"], "unavailable");
    // Progress, three failures in a row, and one that was taken for a refusal of so large a body.
    let bodies = destination.count(is_large);
    assert!(bodies <= 5, "{bodies}");
    assert_eq!(destination.store.tag("y", "1"), None);
}
