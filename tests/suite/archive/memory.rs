//! What an export holds in memory: large layers at once, none of them whole.

use std::fs;
use std::time::Duration;

use super::place;
use crate::support::barge::barge;
use crate::support::content::{OCI_LAYER, sha256};
use crate::support::image::{ImageSpec, Layer};
use crate::support::registry::FakeRegistry;
use crate::support::wire::Fault;

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
