//! A blob on its way: taken up where it broke off, moved on when it stalls, sent to wherever the registry says.

use super::{copy, single, source};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec};
use crate::support::proxy::Proxy;
use crate::support::registry::{Blobs, FakeRegistry, Settings, Uploads};
use crate::support::wire::{Fault, Request};

fn is_layer(request: &Request) -> bool {
    request.is("GET", &single().layers[0].digest())
}

fn ranges(registry: &FakeRegistry) -> Vec<Option<String>> {
    let log = registry.log().into_iter().filter(is_layer);
    log.map(|request| request.header("range").map(str::to_owned))
        .collect()
}

#[test]
fn a_cut_blob_goes_on_where_it_broke_off_into_the_same_upload() {
    let source = source(&single());
    source.fail(1, is_layer, Fault::CutBody(100_000));
    source.fail(1, is_layer, Fault::CutBody(50_000));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 2);
    let expected = [
        None,
        Some("bytes=100000-".into()),
        Some("bytes=150000-".into()),
    ];
    assert_eq!(ranges(&source), expected);
    let size = single().layers[0].bytes.len() as u64;
    let log = source.log().into_iter().filter(is_layer);
    assert_eq!(log.map(|request| request.answer_len).sum::<u64>(), size);
    // One for each of the two blobs, and one that proves that a mount tells what is there.
    assert_eq!(
        destination.count(|request| request.is("POST", "/uploads/")),
        3
    );
    assert_eq!(
        destination.count(|request| request.is("PUT", "/uploads/")),
        2
    );
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(single().manifest)
    );
    assert_eq!(
        output.tag("1")["bytes"],
        size + single().config.len() as u64
    );
}

#[test]
fn a_server_that_ignores_ranges_works_too() {
    let source = source(&single());
    source.configure(|settings| settings.blobs = Blobs::Whole);
    source.fail(2, is_layer, Fault::CutBody(100_000));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    let layer = &single().layers[0];
    assert_eq!(
        destination.store.blob("y", &layer.digest()),
        Some(layer.bytes.clone())
    );
    assert_eq!(ranges(&source).len(), 3);
    assert_eq!(
        destination.count(|request| request.is("PUT", "/uploads/")),
        2
    );
}

#[test]
fn progress_between_failures_starts_their_count_again() {
    let source = source(&single());
    source.fail(8, is_layer, Fault::CutBody(20_000));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "2"]).run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 8);
}

#[test]
fn fails_after_its_retries_when_each_request_gives_one_byte() {
    let source = source(&single());
    source.fail(40, is_layer, Fault::CutBody(1));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "2"]).run().exits(1);
    assert_eq!(output.tag("1")["error"]["kind"], "unavailable");
    assert_eq!(ranges(&source).len(), 3);
    assert_eq!(destination.store.tag("y", "1"), None);
}

#[test]
fn a_cut_blob_goes_on_from_a_real_registry_into_a_layout() {
    let registry = DockerRegistry::start();
    single().push_to(&registry, "x:1");
    let proxy = Proxy::start(registry.host());
    proxy.fail(1, is_layer, Fault::CutBody(100_000));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = crate::support::image::Layout::at(directory.path());
    copy(&proxy.reference("x:1"), &layout.reference("1"))
        .run()
        .exits(0);
    let layer = &single().layers[0];
    assert_eq!(
        layout.blob(&layer.digest()).as_deref(),
        Some(&layer.bytes[..])
    );
    let last = proxy
        .log()
        .into_iter()
        .rfind(is_layer)
        .expect("a second GET");
    assert_eq!(last.status, 206);
}

#[test]
fn a_stalled_source_is_left_and_asked_for_the_rest() {
    let source = source(&single());
    source.fail(1, is_layer, Fault::StallBody(100_000));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--stall-timeout", "1"]).run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 1);
    assert_eq!(ranges(&source), [None, Some("bytes=100000-".into())]);
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(single().manifest)
    );
}

#[test]
fn resumes_a_blob_and_repeats_a_request_when_hardly_a_byte_comes() {
    let source = source(&single());
    source.fail(
        1,
        |request| request.is("GET", "/manifests/1"),
        Fault::DripBody(9),
    );
    source.fail(1, is_layer, Fault::DripBody(1000));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = crate::support::image::Layout::at(directory.path());
    let run = copy(&source.reference("x:1"), &layout.reference("1"));
    let output = run.args(["--stall-timeout", "1"]).run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 2);
    let [None, Some(rest)] = &ranges(&source)[..] else {
        panic!("two requests, not {:?}", ranges(&source));
    };
    assert_ne!(rest, "bytes=0-");
    assert_eq!(layout.manifest("1"), Some(single().manifest));
}

#[test]
fn requests_that_get_no_answer_are_made_again() {
    let source = source(&single());
    source.fail(1, |request| request.is("GET", "/manifests/1"), Fault::Stall);
    source.fail(1, is_layer, Fault::Stall);
    let destination = FakeRegistry::start();
    destination.fail(1, |request| request.path == "/v2/", Fault::Stall);
    destination.fail(1, |request| request.is("HEAD", "/blobs/"), Fault::Stall);
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--stall-timeout", "1"]).run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 4);
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(single().manifest)
    );
}

/// More than the buffers of two sockets hold.
fn heavy() -> Image {
    ImageSpec::new("linux", "arm64").layers(1, 24 << 20).build()
}

#[test]
fn a_stalled_destination_is_left_and_written_again() {
    let source = source(&heavy());
    let destination = FakeRegistry::start();
    let heavy_put = |request: &Request| {
        let length = request.header("content-length");
        request.is("PUT", "/uploads/") && length.is_some_and(|length| length.len() > 6)
    };
    destination.fail(1, heavy_put, Fault::Stall);
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--stall-timeout", "1"]).run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 1);
    assert_eq!(destination.store.manifest("y", "1"), Some(heavy().manifest));
    assert_eq!(destination.count(heavy_put), 2);
}

#[test]
fn uploads_go_where_the_registry_says() {
    let source = source(&single());
    for uploads in [Uploads::Absolute, Uploads::Relative] {
        let destination = FakeRegistry::start_with(Settings {
            uploads,
            ..Settings::default()
        });
        let run = copy(&source.reference("x:1"), &destination.reference("a/b/y:1"));
        run.run().exits(0);
        assert_eq!(
            destination.store.manifest("a/b/y", "1"),
            Some(single().manifest)
        );
        let sent = destination.log().into_iter();
        let mut sent = sent.filter(|request| request.is("PUT", "/uploads/"));
        assert!(sent.all(|request| request.parameter("state").is_some()));
        assert_eq!(destination.store.open_uploads(), 0);
    }
}

#[test]
fn a_registry_that_has_every_byte_of_a_small_blob_is_not_waited_for_long() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    destination.fail(2, |request| request.is("PUT", "/uploads/"), Fault::Stall);
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let began = std::time::Instant::now();
    run.args(["--stall-timeout", "1"]).run().exits(0);
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(9), "{took:?}");
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(single().manifest)
    );
}
