//! What moves when: nothing waits that need not, the largest blob first, the first tag first.

use std::time::Duration;

use crate::support::barge::copy;
use crate::support::image::{Attestations, Image, ImageSpec, Layer, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

fn only(log: Vec<Request>, is_so: impl Fn(&Request) -> bool) -> Request {
    let mut found = log.into_iter().filter(is_so);
    let first = found.next().expect("a request");
    assert!(found.next().is_none(), "one request alone");
    first
}

#[test]
fn an_image_is_there_before_another_of_its_tag_is_read() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let index = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 31);
    index.push_to(&source, "x:1");
    let digest = |platform| format!("/manifests/{}", index.image(platform).digest());
    let (early, late) = (digest("amd64"), digest("arm64"));
    let slow = late.clone();
    let reads_late = move |request: &Request| request.is("GET", &slow);
    source.fail(1, reads_late, Fault::Delay(Duration::from_secs(2)));
    copy(&[], &source.reference("x:1"), &destination.reference("y")).exits(0);
    let read = only(source.log(), |request| request.is("GET", &late));
    let put = only(destination.log(), |request| request.is("PUT", &early));
    assert!(put.ended < read.ended, "{put:#?} {read:#?}");
}

#[test]
fn the_largest_blobs_of_a_tag_come_first() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let sizes = [30_000, 90_000, 10_000, 110_000, 70_000, 130_000, 50_000];
    let layers = sizes
        .iter()
        .zip(0..)
        .map(|(size, seed)| Layer::random(seed, *size));
    let image: Image = layers
        .fold(ImageSpec::new("linux", "arm64"), ImageSpec::layer)
        .build();
    image.push_to(&source, "x:1");
    let to = destination.reference("y");
    copy(&["-j", "1"], &source.reference("x:1"), &to).exits(0);
    let log = source.log().into_iter();
    let read = log.filter(|request| request.method == "GET" && request.reads_blob());
    let lengths = read.map(|request| request.answer_len);
    // The config, the smallest, is read first: it names the platform.
    let read: Vec<u64> = lengths.filter(|size| *size >= 10_000).collect();
    assert_eq!(read.len(), sizes.len());
    // The first finds out what a mount tells, the next comes when nobody waits yet.
    assert!(read[2..].is_sorted_by(|a, b| a >= b), "{read:?}");
}
