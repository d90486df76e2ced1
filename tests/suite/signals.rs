//! SIGINT and SIGTERM half-way, and a reader of standard output that leaves: barge ends as it promises,
//! and the next run goes on from there.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::tempdir;

use crate::support::barge::{Barge, Output, Running, barge};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec, Layout};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];
/// More than are worked on at once.
const TAGS: usize = 40;

fn image(seed: usize) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed as u64)
        .layers(1, 200_000)
        .build()
}

/// A registry with as many tags; the layer of every other one stalls half-way.
fn stalling_source() -> FakeRegistry {
    let source = FakeRegistry::start();
    let mut stalled = Vec::new();
    for number in 10..10 + TAGS {
        image(number).push_to(&source, &format!("x:{number}"));
        if number % 2 == 0 {
            stalled.push(image(number).layers[0].digest());
        }
    }
    source.on(move |request| {
        let stalls = stalled.iter().any(|digest| request.is("GET", digest));
        stalls.then_some(Fault::StallBody(100_000))
    });
    source
}

fn is_stalled(request: &Request) -> bool {
    request.reads_blob() && request.answer_len == 100_000
}

fn copy_all(source: &FakeRegistry, destination: &str) -> Barge {
    let options = ["--all-tags", "-o", "json", "-j", "2"];
    barge()
        .args(["copy", &source.reference("x"), destination])
        .args(options)
}

/// Runs until both transfers stall, and sends the signal then.
#[track_caller]
fn interrupted(source: &FakeRegistry, destination: &str, (signal, code): (&str, i32)) -> Output {
    source.clear_log();
    let running = copy_all(source, destination).spawn();
    source.wait_for(2, is_stalled);
    running.signal(signal);
    let output = running.wait().exits(code);
    tells_what_became_of_each_tag(&output.json());
    output
}

#[track_caller]
fn tells_what_became_of_each_tag(report: &Value) {
    assert_eq!(report["outcome"], "interrupted");
    let tags = report["tags"].as_array().expect("tags");
    assert_eq!(tags.len(), TAGS);
    for tag in tags {
        let kind = &tag["error"]["kind"];
        match tag["status"].as_str() {
            Some("failed") => assert_eq!(kind, "interrupted", "{tag:#}"),
            Some("copied" | "not-attempted") => assert!(kind.is_null(), "{tag:#}"),
            _ => panic!("{tag:#}"),
        }
    }
    for status in ["failed", "not_attempted"] {
        assert!(report["totals"][status].as_u64() > Some(0), "{report:#}");
    }
}

/// The tags that a report calls copied.
fn copied(output: &Output) -> Vec<String> {
    let report = output.json();
    let tags = report["tags"].as_array().into_iter().flatten();
    let copied = tags.filter(|tag| tag["status"] == "copied");
    copied
        .filter_map(|tag| Some(tag["tag"].as_str()?.to_owned()))
        .collect()
}

/// Every tag that was reported is there. One more may be, whose answer the signal overtook; all are whole.
#[track_caller]
fn are_whole(tags: &[String], output: &Output, has: impl Fn(&str, &Image) -> bool) {
    for tag in copied(output) {
        assert!(tags.contains(&tag), "{tag} is reported and not there");
    }
    for tag in tags {
        let image = image(tag.parse().expect("a number"));
        assert!(has(tag, &image), "{tag} is not whole");
    }
}

fn in_layout(layout: &Layout) -> impl Fn(&str, &Image) -> bool {
    |tag, image| {
        let layer = layout.has_blob(&image.layers[0].digest());
        let config = layout.has_blob(&image.config_digest());
        layer && config && layout.manifest(tag).as_ref() == Some(&image.manifest)
    }
}

/// Every name below `directory` that a run left behind.
fn leftovers(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with(".barge-") || name.contains("partial"))
        .collect()
}

#[test]
fn a_registry_has_whole_tags_alone_and_the_next_run_reuses_what_arrived() {
    for signal in SIGNALS {
        let source = stalling_source();
        let destination = FakeRegistry::start();
        let output = interrupted(&source, &destination.reference("y"), signal);
        let store = &destination.store;
        are_whole(&store.tags("y"), &output, |tag, image| {
            let layer = store.has_blob("y", &image.layers[0].digest());
            let config = store.has_blob("y", &image.config_digest());
            layer && config && store.manifest("y", tag).as_ref() == Some(&image.manifest)
        });
        let there = store.tags("y").len();

        source.behave();
        source.clear_log();
        let again = copy_all(&source, &destination.reference("y")).run();
        let report = again.exits(0).json();
        assert_eq!(destination.store.tags("y").len(), TAGS);
        assert_eq!(report["totals"]["current"], there);
        for tag in copied(&output) {
            let layer = &image(tag.parse().expect("a number")).layers[0];
            let digest = layer.digest();
            assert_eq!(source.count(|request| request.is("GET", &digest)), 0);
        }
    }
}

#[test]
fn a_blob_that_arrived_before_the_signal_is_not_sent_again() {
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "arm64").layers(3, 200_000).build();
    image.push_to(&source, "x:1");
    let last = image.layers[2].digest();
    let slow = last.clone();
    source.on(move |request| {
        let stalls = request.is("GET", &slow);
        stalls.then_some(Fault::StallBody(1000))
    });
    let destination = FakeRegistry::start();
    let run = || copy_all(&source, &destination.reference("y"));
    let running = run().spawn();
    source.wait_for(1, |request| request.answer_len == 1000);
    let done = |request: &Request| request.is("PUT", "/uploads/") && request.status == 201;
    destination.wait_for(3, done);
    running.signal("INT");
    let output = running.wait().exits(130);
    assert_eq!(output.tag("1")["error"]["kind"], "interrupted");
    assert_eq!(destination.store.tags("y"), Vec::<String>::new());

    source.behave();
    let output = run().run().exits(0);
    let blobs = &output.tag("1")["blobs"];
    assert_eq!(
        (&blobs["copied"], &blobs["existing"]),
        (&1.into(), &3.into())
    );
}

#[test]
fn a_real_registry_has_whole_tags_alone() {
    let source = stalling_source();
    let destination = DockerRegistry::start();
    let proxy = Proxy::start(destination.host());
    let output = interrupted(&source, &proxy.reference("y"), SIGNALS[0]);
    let client = destination.client();
    are_whole(&client.tags("y"), &output, |tag, image| {
        let layer = client.has_blob("y", &image.layers[0].digest());
        layer && client.manifest("y", tag).as_ref() == Some(&image.manifest)
    });
    source.behave();
    copy_all(&source, &proxy.reference("y")).run().exits(0);
    assert_eq!(destination.client().tags("y").len(), TAGS);
}

#[test]
fn a_layout_has_whole_tags_and_no_temporary_file() {
    for signal in SIGNALS {
        let source = stalling_source();
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("layout");
        let layout = Layout::at(&path);
        let output = interrupted(&source, &layout.reference(""), signal);
        assert_eq!(leftovers(&path.join("blobs/sha256")), Vec::<String>::new());
        if path.join("index.json").exists() {
            are_whole(&layout.references(), &output, in_layout(&layout));
        } else {
            assert_eq!(copied(&output), Vec::<String>::new());
        }

        source.behave();
        copy_all(&source, &layout.reference("")).run().exits(0);
        assert_eq!(layout.references().len(), TAGS);
        assert_eq!(leftovers(&path.join("blobs/sha256")), Vec::<String>::new());
    }
}

#[test]
fn a_kill_leaves_no_tag_and_the_next_run_succeeds() {
    let source = stalling_source();
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(directory.path());
    let running = copy_all(&source, &layout.reference("")).spawn();
    source.wait_for(2, is_stalled);
    running.signal("KILL");
    assert_eq!(running.wait().code, None);
    if directory.path().join("index.json").exists() {
        for tag in layout.references() {
            let image = image(tag.parse().expect("a number"));
            assert!(in_layout(&layout)(&tag, &image), "{tag} is not whole");
        }
    }
    source.behave();
    copy_all(&source, &layout.reference("")).run().exits(0);
    assert_eq!(layout.references().len(), TAGS);
}

#[test]
fn a_signal_before_the_first_answer_ends_the_run_too() {
    for (signal, code) in SIGNALS {
        let source = FakeRegistry::start();
        source.on(|_| Some(Fault::Stall));
        let target = FakeRegistry::start();
        let running = copy_all(&source, &target.reference("y")).spawn();
        source.wait_for(1, |request| request.path == "/v2/");
        running.signal(signal);
        let report = running.wait().exits(code).json();
        assert_eq!(report["outcome"], "interrupted");
    }
}

#[test]
fn a_signal_while_barge_waits_for_its_next_try_ends_the_run() {
    let source = FakeRegistry::start();
    image(1).push_to(&source, "x:1");
    let limited = crate::support::wire::Answer::new(429).header("Retry-After", "200");
    source.on(move |request| {
        let limited = Fault::Status(limited.clone());
        request.is_manifest().then_some(limited)
    });
    let target = FakeRegistry::start();
    let running = copy_all(&source, &target.reference("y")).spawn();
    let refused = |request: &Request| request.status == 429;
    source.wait_for(1, refused);
    running.signal("TERM");
    let output = running.wait().exits(143);
    assert_eq!(output.tag("1")["error"]["kind"], "interrupted");
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    let source = FakeRegistry::start();
    image(1).push_to(&source, "x:1");
    let target = FakeRegistry::start();
    let [from, to] = [source.reference("x:1"), target.reference("y:1")];
    let commands: [&[&str]; 4] = [
        &["copy", &from, &to],
        &["inspect", "--raw", &from],
        &["list-tags", &source.reference("x")],
        &["completions", "bash"],
    ];
    for command in commands {
        let home = tempdir().expect("a temporary directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_barge"))
            .args(command)
            .env("HOME", home.path())
            .env("DOCKER_CONFIG", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("barge is built");
        drop(child.stdout.take());
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        let status = child.wait().expect("a child can be waited for");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        assert_ne!(status.code(), Some(101), "{command:?}: {said}");
    }
    assert_eq!(target.store.manifest("y", "1"), Some(image(1).manifest));
}

fn is_tag_write(request: &Request) -> bool {
    request.is("PUT", "/manifests/1")
}

/// A copy of one tag whose last write has been sent and is not answered.
fn in_last_write(destination: &FakeRegistry) -> Running {
    let source = FakeRegistry::start();
    image(1).push_to(&source, "x:1");
    destination.on(|request| is_tag_write(request).then_some(Fault::Stall));
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let running = barge().args(["copy", "-o", "json", &from, &to]).spawn();
    destination.wait_for(1, is_tag_write);
    running
}

#[test]
fn waits_for_the_answer_to_the_write_of_a_tag_after_a_signal() {
    for (signal, code) in SIGNALS {
        let destination = FakeRegistry::start();
        let running = in_last_write(&destination);
        running.signal(signal);
        running.wait_until_said("a second signal ends that");
        destination.behave();
        destination.release();
        let output = running.wait().exits(code);
        let tag = output.tag("1");
        assert_eq!(tag["status"], "copied", "{tag:#}");
        assert_eq!(destination.store.tags("y"), ["1"]);
    }
}

#[test]
fn a_second_signal_ends_the_wait_for_the_write_of_a_tag() {
    let destination = FakeRegistry::start();
    let running = in_last_write(&destination);
    running.signal("INT");
    running.wait_until_said("a second signal ends that");
    running.signal("INT");
    let output = running.wait().exits(130);
    assert_eq!(output.tag("1")["error"]["kind"], "interrupted");
}

/// Waits until files in `directory` that are not whole have so many bytes.
fn wait_for_partial(directory: &Path, bytes: u64) {
    for _ in 0..3000 {
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        let partial = files.filter(|file| file.path().to_string_lossy().ends_with(".partial"));
        let sizes = partial.filter_map(|file| Some(file.metadata().ok()?.len()));
        if sizes.sum::<u64>() >= bytes {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no {bytes} bytes came into {}", directory.display());
}

#[test]
fn says_how_much_of_unfinished_blobs_is_lost() {
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "amd64")
        .layers(2, 3_000_000)
        .build();
    image.push_to(&source, "x:1");
    for layer in &image.layers {
        let digest = layer.digest();
        let is_it = move |request: &Request| request.is("GET", &digest);
        source.fail(1, is_it, Fault::StallBody(1_500_000));
    }
    let directory = tempdir().expect("a temporary directory");
    let to = format!("oci:{}", directory.path().display());
    let running = barge()
        .args(["copy", &source.reference("x:1"), &to])
        .spawn();
    wait_for_partial(&directory.path().join("blobs/sha256"), 2_000_000);
    running.signal("INT");
    let output = running.wait().exits(130);
    let line = output
        .stdout
        .lines()
        .find(|line| line.starts_with("lost: "));
    let line = line.unwrap_or_else(|| panic!("{output:#?}"));
    let kept = "MB of 2 blobs that did not come whole; whole blobs are reused by the next run";
    assert!(line.ends_with(kept), "{line}");
}

#[test]
fn the_wait_for_the_write_of_a_tag_ends_by_itself() {
    let destination = FakeRegistry::start();
    let running = in_last_write(&destination);
    running.signal("TERM");
    let output = running.wait().exits(143);
    let error = output.tag("1")["error"].clone();
    assert_eq!(error["kind"], "interrupted");
    assert!(
        error["message"].to_string().contains("it may have been"),
        "{error:#}"
    );
}
