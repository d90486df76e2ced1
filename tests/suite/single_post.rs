//! Registries that store a blob in one request (olareg, zot) get it so; others are not bothered.

use crate::support::barge::copy;
use crate::support::image::{Bundle, Image, ImageSpec};
use crate::support::registry::{FakeRegistry, Mounts, Settings, Uploads};
use crate::support::wire::{Request, Server};

fn image() -> Image {
    ImageSpec::new("linux", "arm64").layers(20, 2000).build()
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

fn storing(mounts: Mounts) -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        uploads: Uploads::Single,
        mounts,
        ..Settings::default()
    })
}

fn about_blobs(server: &Server) -> usize {
    server.count(|request| request.path.contains("/blobs/"))
}

fn is_single(request: &Request) -> bool {
    request.is("POST", "/uploads/") && request.parameter("digest").is_some()
}

fn is_complete(destination: &FakeRegistry) {
    let bundle = Bundle::from(&image());
    assert_eq!(
        destination.store.manifest("y", "1").as_ref(),
        Some(&bundle.root)
    );
    assert_eq!(destination.store.open_uploads(), 0);
}

#[test]
fn a_small_blob_costs_one_request_in_a_new_repository() {
    let (source, destination) = (source(), storing(Mounts::default()));
    let to = destination.reference("y");
    let output = copy(&[], &source.reference("x:1"), &to).exits(0);
    is_complete(&destination);
    let blobs = Bundle::from(&image()).blobs;
    assert_eq!(destination.count(is_single), blobs.len());
    // Beside those: HEAD of the config that names the platform; the mount that opened an upload, HEAD, the
    // end of that upload, and the mount that tells.
    assert_eq!(about_blobs(&destination), blobs.len() + 5);
    assert_eq!(source.count(Request::reads_blob), blobs.len());
    let bytes: usize = blobs.iter().map(bytes::Bytes::len).sum();
    assert_eq!(output.tag("1")["bytes"], bytes);
    let sent: u64 = destination
        .log()
        .iter()
        .filter(|r| is_single(r))
        .map(|r| r.body_len)
        .sum();
    assert_eq!(sent, bytes as u64);
}

#[test]
fn what_is_there_is_not_sent_again() {
    let (source, destination) = (source(), storing(Mounts::default()));
    image().push_to(&destination, "y:old");
    let own = ImageSpec::new("linux", "arm64")
        .seed(7)
        .layers(3, 2000)
        .build();
    own.push_to(&source, "x:2");
    destination.clear_log();
    let to = destination.reference("y");
    let output = copy(&["--all-tags"], &source.reference("x"), &to).exits(0);
    assert_eq!(output.tag("1")["blobs"]["copied"], 0);
    let bytes: u64 = destination
        .log()
        .iter()
        .map(|request| {
            if request.path.contains("/blobs/") {
                request.body_len
            } else {
                0
            }
        })
        .sum();
    let expected: usize = Bundle::from(&own).blobs.iter().map(bytes::Bytes::len).sum();
    assert_eq!(bytes, expected as u64);
}

#[test]
fn where_mounts_tell_nothing_a_blob_costs_two_requests() {
    let (source, destination) = (source(), storing(Mounts::Ignored));
    image().push_to(&destination, "y:old");
    destination.store.remove_tag("y", "old");
    for layer in &image().layers {
        destination.store.remove_blob("y", &layer.digest());
    }
    destination.store.remove_blob("y", &image().config_digest());
    destination.clear_log();
    copy(&[], &source.reference("x:1"), &destination.reference("y")).exits(0);
    is_complete(&destination);
    let singles = destination.count(is_single);
    assert!(singles >= 19, "{singles}");
    assert!(about_blobs(&destination) <= 2 * 21 + 6);
}

#[test]
fn those_that_name_their_uploads_as_distribution_does_are_not_tried() {
    let (source, destination) = (source(), FakeRegistry::start());
    copy(&[], &source.reference("x:1"), &destination.reference("y")).exits(0);
    is_complete(&destination);
    assert_eq!(destination.count(is_single), 0);
}
