//! What runs hold in memory: large layers at once, none of them whole.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::hostile::packed;
use super::{docker, place};
use crate::support::barge::barge;
use crate::support::content::{Manifest, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, sha256};
use crate::support::image::{Bundle, ImageSpec, Layer, push};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request, times};

const LAYERS: usize = 4;
const SIZE: usize = 48 << 20;
/// The most that may be held, in KiB.
const MOST: u64 = 64 << 10;

/// A layer that is never unpacked.
fn layer(seed: u8) -> Layer {
    let bytes = vec![seed; SIZE];
    Layer {
        diff_id: sha256(&bytes),
        bytes: bytes.into(),
        media_type: OCI_LAYER.to_owned(),
        urls: Vec::new(),
    }
}

/// The most of a layer that may not be in the file yet when almost all of it has been sent.
const BEHIND: usize = 4 << 20;

/// The number behind `name` in a file that tells of a process; `None` where it has ended.
fn told(pid: u32, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let amount = text.lines().find_map(|line| line.strip_prefix(name))?;
    amount.trim().trim_end_matches(" kB").parse().ok()
}

/// Waits until the process has written so many bytes.
fn wait_until_written(pid: u32, bytes: u64) {
    while told(pid, "io", "wchar:").expect("it still writes") < bytes {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn four_large_layers_at_once_are_never_in_memory() {
    let source = FakeRegistry::start();
    let image = (0..LAYERS).fold(ImageSpec::new("linux", "arm64"), |image, seed| {
        image.layer(layer(u8::try_from(seed).expect("few")))
    });
    let image = image.build();
    image.push_to(&source, "x:1");
    let digests: Vec<String> = image.layers.iter().map(Layer::digest).collect();
    let sent = SIZE as u64 - 1;
    source.on(move |request| {
        let is_layer = digests.iter().any(|digest| request.is("GET", digest));
        is_layer.then_some(Fault::StallBody(sent))
    });
    let (_directory, archive) = place();
    let running = barge()
        .args(["copy", &source.reference("x:1"), &archive.reference("")])
        .spawn();
    source.wait_for(LAYERS, |request| request.answer_len == sent);
    wait_until_written(running.pid(), (LAYERS * (SIZE - BEHIND)) as u64);
    let held = told(running.pid(), "status", "VmHWM:").expect("it is stalled");
    assert!(held <= MOST, "{held} KiB");
    source.release();
    running.wait().exits(0);
}

/// Packed so that it takes 32 MiB to unpack.
fn with_a_window(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(25).expect("it can");
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

/// All layers of an archive of `docker save` have to be read before the first is sent.
#[test]
fn layers_are_measured_a_few_at_a_time() {
    let large = vec![0; 33 << 20];
    let packed_large = with_a_window(&large);
    let mut layers: Vec<(Vec<u8>, String)> = Vec::new();
    layers.resize(8, (packed_large, sha256(&large)));
    for seed in 0..300_u32 {
        let bytes = seed.to_le_bytes().repeat(100);
        let diff_id = sha256(&bytes);
        layers.push((bytes, diff_id));
    }
    let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    let config = json!({"architecture": "arm64", "os": "linux", "rootfs": rootfs});
    let names: Vec<String> = (0..layers.len())
        .map(|number| format!("{number}.tar"))
        .collect();
    let list = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": names}]);
    let mut members = vec![
        ("manifest.json".to_owned(), list.to_string().into_bytes()),
        ("c.json".to_owned(), config.to_string().into_bytes()),
    ];
    members.extend(
        names
            .into_iter()
            .zip(layers.into_iter().map(|(bytes, _)| bytes)),
    );
    let (_directory, archive) = place();
    fs::write(archive.path(), [&packed(&members)[..], &[0; 1024]].concat()).expect("a file");
    let destination = FakeRegistry::start();
    let writes = |request: &Request| !matches!(request.method.as_str(), "GET" | "HEAD");
    destination.on(times(1, writes, Fault::Stall));
    let to = destination.reference("y:1");
    let running = barge().args(["copy", &docker(&archive, ""), &to]).spawn();
    destination.wait_for(1, writes);
    let held = told(running.pid(), "status", "VmHWM:").expect("it is stalled");
    // All at once they would take some 400 MiB.
    assert!(held <= 2 * MOST, "{held} KiB");
    destination.release();
    running.wait().exits(0);
}

/// The plan of an archive is made of all tags, and holds the manifests of none.
#[test]
fn large_manifests_of_many_tags_are_never_in_memory_together() {
    const TAGS: usize = 24;
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "arm64").layers(1, 1000).build();
    for tag in 0..TAGS {
        let mut bundle = Bundle::from(&image);
        bundle.manifests.push(bundle.root.clone());
        let entry = json!({"mediaType": OCI_MANIFEST, "digest": image.digest(),
            "size": image.manifest.bytes.len(),
            "platform": {"os": "linux", "architecture": "arm64"}});
        let large = "x".repeat(3_500_000);
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry],
            "annotations": {"number": tag.to_string(), "large": large}});
        bundle.root = Manifest::new(OCI_INDEX, index.to_string());
        push(bundle, &source, &format!("x:{tag}"));
    }
    let layer = image.layers[0].digest();
    source.on(move |request| request.is("GET", &layer).then_some(Fault::StallBody(10)));
    let (_directory, archive) = place();
    let to = archive.reference("");
    let running = barge()
        .args(["copy", "--all-tags", &source.reference("x"), &to])
        .spawn();
    source.wait_for(1, |request| request.answer_len == 10);
    let held = told(running.pid(), "status", "VmHWM:").expect("it is stalled");
    // Three times all of them would be 250 MiB.
    assert!(held <= 5 * MOST / 2, "{held} KiB");
    source.release();
    running.wait().exits(0);
    assert_eq!(archive.references().len(), TAGS);
}
