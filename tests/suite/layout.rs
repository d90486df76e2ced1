//! OCI layouts on disk: into them and back byte for byte, with skopeo.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::support::barge::{barge, copy};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{
    Attestations, Bundle, Image, ImageSpec, Layer, Layout, MultiArch, write_layout,
};
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;

fn standard() -> MultiArch {
    let platforms = ["amd64", "arm64/v8", "arm/v7"];
    MultiArch::standard(&platforms, Attestations::With, 61)
}

fn single(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(6, 20_000))
        .layers(1, 2000)
        .build()
}

/// A directory, and a path in it where no layout is yet.
fn place() -> (TempDir, PathBuf) {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("layout");
    (directory, path)
}

#[test]
fn through_a_layout_and_back_nothing_changes() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    let (_directory, path) = place();
    let layout = Layout::at(&path);
    let tag = copy(&[], &source.reference("x:1"), &layout.reference(""))
        .exits(0)
        .tag("1");
    assert_eq!(tag["digest"], image.digest());
    assert_eq!(layout.references(), ["1"], "the tag is the REF");
    assert_eq!(layout.manifest("1"), Some(image.root.clone()));
    layout.assert_tidy();
    let marker = fs::read_to_string(path.join("oci-layout")).expect("the marker of a layout");
    assert_eq!(marker, r#"{"imageLayoutVersion":"1.0.0"}"#);

    copy(&[], &layout.reference("1"), &destination.reference("y")).exits(0);
    let client = destination.client();
    assert_eq!(client.manifest("y", "1"), Some(image.root.clone()));
    for platform in ["amd64", "arm64", "arm/v7"] {
        let image = image.image(platform);
        for layer in &image.layers {
            assert_eq!(
                client.blob("y", &layer.digest()).as_deref(),
                Some(&layer.bytes[..])
            );
        }
    }
    let second = copy(&[], &source.reference("x:1"), &layout.reference("")).exits(0);
    assert_eq!(second.tag("1")["status"], "current");
}

#[test]
fn skopeo_reads_our_layouts() {
    let source = FakeRegistry::start();
    let image = standard();
    image.push_to(&source, "x:1");
    single(1).push_to(&source, "x:2");
    let (_directory, path) = place();
    let layout = Layout::at(&path);
    copy(
        &["--all-tags"],
        &source.reference("x"),
        &layout.reference(""),
    )
    .exits(0);
    assert_eq!(
        skopeo::inspect_raw(&layout.reference("1")),
        image.root.bytes
    );
    let destination = DockerRegistry::start();
    for tag in ["1", "2"] {
        let to = destination.reference(&format!("y:{tag}"));
        skopeo::copy_all(&layout.reference(tag), &to);
    }
    let client = destination.client();
    assert_eq!(client.manifest("y", "1"), Some(image.root));
    assert_eq!(client.manifest("y", "2"), Some(single(1).manifest));
}

#[test]
fn we_read_and_extend_skopeos_layouts() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    single(2).push_to(&source, "x:2");
    let (_directory, path) = place();
    let layout = Layout::at(&path);
    skopeo::copy_all(&source.reference("x:1"), &layout.reference("one"));
    copy(&[], &layout.reference(""), &destination.reference("y")).exits(0);
    assert_eq!(
        destination.client().manifest("y", "one"),
        Some(image.root.clone())
    );
    copy(&[], &source.reference("x:2"), &layout.reference("two")).exits(0);
    assert_eq!(layout.references(), ["one", "two"]);
    assert_eq!(
        skopeo::inspect_raw(&layout.reference("one")),
        image.root.bytes
    );
    assert_eq!(
        skopeo::inspect_raw(&layout.reference("two")),
        single(2).manifest.bytes
    );
}

#[test]
fn what_others_wrote_into_the_index_stays() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let (_directory, path) = place();
    let layout = write_layout(&path, &[("old", Bundle::from(&single(9)))]);
    let mut index = layout.index();
    index["annotations"] = json!({"org.example": "kept"});
    index["unknown"] = json!([1, {"a": null}]);
    let foreign = json!({
        "mediaType": "application/x-foreign", "size": 3, "digest": format!("sha256:{}", "5".repeat(64)),
        "annotations": {"org.example.note": "é"}, "artifactType": "application/x", "data": "AAAA",
    });
    index["manifests"]
        .as_array_mut()
        .expect("entries")
        .push(foreign);
    fs::write(path.join("index.json"), index.to_string()).expect("it can be written");
    copy(&[], &source.reference("x:1"), &layout.reference("new")).exits(0);
    let after = layout.index();
    for field in ["annotations", "unknown", "schemaVersion"] {
        assert_eq!(after[field], index[field], "{field}");
    }
    let entries = after["manifests"].as_array().expect("entries");
    assert_eq!(
        entries[..2],
        index["manifests"].as_array().expect("entries")[..]
    );
    assert_eq!(entries[2]["digest"], single(1).digest());
    assert_eq!(entries.len(), 3);
}

#[test]
fn a_tag_that_is_there_is_replaced() {
    let source = FakeRegistry::start();
    let (_directory, path) = place();
    let layout = Layout::at(&path);
    for seed in [1, 2, 2] {
        single(seed).push_to(&source, "x:1");
        single(7).push_to(&source, "x:other");
        copy(
            &["--all-tags"],
            &source.reference("x"),
            &layout.reference(""),
        )
        .exits(0);
        let mut references = layout.references();
        references.sort();
        assert_eq!(references, ["1", "other"]);
        assert_eq!(layout.manifest("1"), Some(single(seed).manifest));
    }
    layout.assert_tidy();
}

#[test]
fn without_a_name_the_only_image_is_meant() {
    let destination = FakeRegistry::start();
    let (_directory, path) = place();
    let layout = write_layout(&path, &[("v1", Bundle::from(&single(1)))]);
    let output = copy(&[], &layout.reference(""), &destination.reference("x")).exits(0);
    assert_eq!(output.tag("v1")["status"], "copied");
    assert_eq!(destination.store.tag("x", "v1"), Some(single(1).digest()));

    let two = [
        ("v1", Bundle::from(&single(1))),
        ("v2", Bundle::from(&single(2))),
    ];
    let several = write_layout(&path.join("several"), &two);
    let output = copy(&[], &several.reference(""), &destination.reference("y")).exits(1);
    let message = output.json()["error"]["message"].to_string();
    assert!(
        message.contains(":v1") && message.contains(":v2"),
        "{message}"
    );
    assert_eq!(destination.store.tags("y"), [""; 0]);
}

#[test]
fn an_image_can_be_named_by_its_digest() {
    let destination = FakeRegistry::start();
    let (_directory, path) = place();
    let images = [
        ("v1", Bundle::from(&single(1))),
        ("v2", Bundle::from(&single(2))),
    ];
    let layout = write_layout(&path, &images);
    let (digest, root) = (single(2).digest(), single(2).manifest);
    let reference = format!("{}@{digest}", layout.reference(""));
    let output = copy(&[], &reference, &destination.reference("x")).exits(0);
    let tag = output.tag(&digest);
    assert_eq!(
        (&tag["digest"], &tag["destination_tag"]),
        (&json!(digest), &json!(null))
    );
    assert_eq!(
        destination.store.tags("x"),
        [""; 0],
        "pushed by digest alone"
    );
    assert_eq!(destination.store.manifest("x", &digest), Some(root.clone()));
    let tag = copy(&[], &reference, &destination.reference("x:named"))
        .exits(0)
        .tag(&digest);
    assert_eq!(tag["destination_tag"], "named");
    assert_eq!(destination.store.manifest("x", "named"), Some(root));
    // And into a layout, from a registry, without any name.
    let other = Layout::at(&path.join("other"));
    let from = destination.reference(&format!("x@{digest}"));
    copy(&[], &from, &other.reference("")).exits(0);
    let entries = other.index()["manifests"].clone();
    assert_eq!(entries[0]["digest"], digest);
    assert_eq!(
        (other.references().len(), entries.as_array().map(Vec::len)),
        (0, Some(1))
    );
}

#[test]
fn a_layout_that_is_not_there_is_an_error() {
    let destination = FakeRegistry::start();
    let (_directory, path) = place();
    let from = Layout::at(&path).reference("1");
    let report = copy(&[], &from, &destination.reference("x"))
        .exits(1)
        .json();
    let error = [
        &report["error"]["kind"],
        &report["tags"][0]["error"]["kind"],
    ];
    assert!(error.contains(&&json!("not-found")), "{report:#}");
    assert!(!path.exists());
}

/// Leaves a file beside what is to be replaced as a run does that is killed, `age` ago.
fn left(path: &Path, age: Duration) -> File {
    let file = File::create(path).expect("a file can be made");
    let then = SystemTime::now() - age;
    file.set_modified(then).expect("its time can be set");
    file
}

#[test]
fn removes_old_partial_files_whose_writer_is_gone() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    single(2).push_to(&source, "x:2");
    let (directory, path) = place();
    let layout = Layout::at(&path);
    copy(&[], &source.reference("x:1"), &layout.reference("")).exits(0);
    let old = Duration::from_hours(2);
    let places = [
        path.clone(),
        path.join("blobs/sha256"),
        directory.path().to_owned(),
    ];
    let report = directory.path().join("report.json").display().to_string();
    let there = |name: &str| places.clone().map(|place| place.join(name).exists());
    let mut alive = Vec::new();
    for place in &places {
        left(&place.join(".barge-dead.partial"), old);
        left(&place.join(".barge-young.partial"), Duration::from_mins(30));
        left(&place.join("others.partial"), old);
        let file = left(&place.join(".barge-alive.partial"), old);
        file.lock().expect("a lock");
        alive.push(file);
    }
    let run = |options: &[&str]| {
        let options = [options, &["--report", &report]].concat();
        copy(&options, &source.reference("x:2"), &layout.reference("")).exits(0)
    };
    run(&["--dry-run"]);
    assert_eq!(there(".barge-dead.partial")[..2], [true, true]);
    run(&[]);
    assert_eq!(there(".barge-dead.partial"), [false; 3]);
    for kept in ["young", "alive"] {
        assert_eq!(
            there(&format!(".barge-{kept}.partial")),
            [true; 3],
            "{kept}"
        );
    }
    assert_eq!(there("others.partial"), [true; 3]);
    // Also where nothing is to be written.
    drop(alive);
    assert_eq!(run(&[]).tag("2")["status"], "current");
    assert_eq!(there(".barge-alive.partial"), [false; 3]);
}

#[test]
fn waits_for_another_process_that_writes_it() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    single(2).push_to(&source, "x:2");
    let (_directory, path) = place();
    let layout = Layout::at(&path);
    copy(&[], &source.reference("x:1"), &layout.reference("")).exits(0);
    let lock = File::options().write(true).open(path.join(".barge.lock"));
    let lock = lock.expect("the lock of a layout");
    for policy in ["best-effort", "rollback"] {
        let run = || {
            let run = barge().args(["copy", "-o", "json", "--all-tags", "--policy", policy]);
            run.args([source.reference("x"), layout.reference("")])
                .spawn()
        };
        lock.lock().expect("a lock");
        let waiting = run();
        waiting.wait_until_said("another process is writing");
        for signal in [("INT", 130), ("TERM", 143)] {
            let running = run();
            running.wait_until_said("another process is writing");
            running.signal(signal.0);
            let output = running.wait().exits(signal.1);
            assert_eq!(output.json()["outcome"], "interrupted");
            assert_ne!(output.tag("2")["status"], "copied");
        }
        assert_eq!(
            layout.references().contains(&"2".to_owned()),
            policy == "rollback"
        );
        lock.unlock().expect("it is held");
        let output = waiting.wait().exits(0);
        assert_eq!(
            output.stderr.matches("another process").count(),
            1,
            "{output:#?}"
        );
        assert_eq!(layout.references(), ["1", "2"]);
        single(if policy == "rollback" { 2 } else { 3 }).push_to(&source, "x:2");
    }
}

/// What survives a power cut is what was synced before: blobs, then their names, then the index that names them.
#[test]
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "a skip is told")]
fn syncs_blobs_and_their_names_before_the_index_names_them() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let (directory, path) = place();
    let trace = directory.path().join("trace");
    let strace = format!(
        "strace -f -y -s 400 -e trace=rename,renameat,renameat2,fsync,fdatasync -o {}",
        trace.display()
    );
    let probe = std::process::Command::new("sh")
        .args(["-c", &format!("{strace} true")])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no strace here, or it may not trace");
        return;
    }
    let layout = Layout::at(&path);
    let run = barge().args(["copy", &source.reference("x:1"), &layout.reference("")]);
    run.after(&format!("exec {strace} \"$@\"")).run().exits(0);
    let trace = fs::read_to_string(&trace).expect("a trace");
    let calls: Vec<&str> = trace.lines().collect();
    let last = |words: &[&str]| {
        let is_it = |call: &&str| words.iter().all(|word| call.contains(word));
        let found = calls.iter().rposition(is_it);
        found.unwrap_or_else(|| panic!("{words:?} is not in {trace}"))
    };
    let within = |name: &str| format!("{}/{name}", path.display());
    let synced = |name: &str| {
        last(&[
            "sync(",
            &format!("<{}>", within(name).trim_end_matches('/')),
        ])
    };
    let parent = last(&["sync(", &format!("<{}>", directory.path().display())]);
    let order = [
        last(&["rename", &within("blobs/sha256/")]),
        synced("blobs/sha256"),
        synced("blobs"),
        last(&["rename", &within("index.json\"")]),
        synced(""),
    ];
    assert!(
        order.is_sorted() && parent < order[4],
        "{order:?} in {trace}"
    );
    for digest in [single(1).layers[0].digest(), single(1).digest()] {
        let hex = digest.trim_start_matches("sha256:");
        let named = last(&["rename", &format!("{hex}\"")]);
        let temporary = calls[named].split('"').nth(1).expect("a path");
        assert!(last(&["sync(", temporary]) < named, "{digest} in {trace}");
    }
}

#[test]
fn no_directories_are_made_above_a_destination() {
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "amd64").layers(1, 10).build();
    image.push_to(&source, "x:1");
    let directory = tempdir().expect("a temporary directory");
    let mount = directory.path().join("mount");
    for transport in ["oci", "oci-archive", "docker-archive"] {
        let to = format!("{transport}:{}", mount.join("images").display());
        for dry in [&[][..], &["--dry-run"]] {
            let output = copy(dry, &source.reference("x:1"), &to).exits(1);
            let error = output.json()["error"].clone();
            assert_eq!(error["kind"], "local-io", "{to}: {error:#}");
            let hint = error["hint"].as_str().expect("a hint");
            assert!(hint.contains("mount the disk"), "{hint}");
            assert!(!mount.exists(), "{to}");
        }
    }
    fs::create_dir(&mount).expect("it can be made");
    let to = format!("oci:{}", mount.join("images").display());
    copy(&[], &source.reference("x:1"), &to).exits(0);
}
