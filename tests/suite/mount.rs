//! Inside one registry blobs are mounted from repository to repository, and cross no network.

use serde_json::json;

use crate::support::barge::copy;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Attestations, MultiArch};
use crate::support::proxy::Proxy;
use crate::support::registry::{FakeRegistry, Mounts, Settings};
use crate::support::wire::Server;

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 95)
}

fn reads_of_blobs(server: &Server) -> usize {
    server.count(|request| request.method == "GET" && request.reads_blob())
}

fn uploads(server: &Server) -> u64 {
    let log = server.log();
    let uploads = log.iter().filter(|request| request.is_upload());
    uploads.map(|request| request.body_len).sum()
}

#[test]
fn blobs_are_mounted_and_none_is_read() {
    let registry = DockerRegistry::start();
    image().push_to(&registry, "team/x:1");
    let proxy = Proxy::start(registry.host());
    let (from, to) = (proxy.reference("team/x:1"), proxy.reference("other/y"));
    let output = copy(&["--arch", "arm64"], &from, &to).exits(0);
    let tag = output.tag("1");
    assert_eq!(
        tag["blobs"],
        json!({"copied": 0, "mounted": 5, "existing": 0})
    );
    assert_eq!(tag["bytes"], 0);
    assert_eq!((reads_of_blobs(&proxy), uploads(&proxy)), (0, 0));
    let client = registry.client();
    let layer = &image().image("arm64").layers[0].clone();
    assert_eq!(
        client.blob("other/y", &layer.digest()).as_deref(),
        Some(&layer.bytes[..])
    );
}

#[test]
fn a_second_tag_finds_what_was_mounted() {
    let registry = FakeRegistry::start();
    image().push_to(&registry, "x:1");
    image().push_to(&registry, "x:2");
    let (from, to) = (registry.reference("x"), registry.reference("y"));
    let report = copy(&["--all-tags"], &from, &to).exits(0).json();
    let count = |name: &str| {
        let tags = report["tags"].as_array().into_iter().flatten();
        tags.filter_map(|tag| tag["blobs"][name].as_u64())
            .sum::<u64>()
    };
    let blobs = crate::support::image::Bundle::from(&image()).blobs.len() as u64;
    assert_eq!(
        (count("mounted"), count("existing"), count("copied")),
        (blobs, blobs, 0)
    );
    assert_eq!(reads_of_blobs(&registry), 0);
}

#[test]
fn a_registry_that_mounts_nothing_gets_the_bytes() {
    let registry = FakeRegistry::start_with(Settings {
        mounts: Mounts::Ignored,
        ..Settings::default()
    });
    image().push_to(&registry, "x:1");
    let tag = copy(&[], &registry.reference("x:1"), &registry.reference("y"))
        .exits(0)
        .tag("1");
    assert_eq!(
        (&tag["blobs"]["mounted"], &tag["blobs"]["existing"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(tag["bytes"], uploads(&registry));
    assert_eq!(registry.store.manifest("y", "1"), Some(image().root));
    assert_eq!(registry.store.open_uploads(), 0, "every session was used");
}
