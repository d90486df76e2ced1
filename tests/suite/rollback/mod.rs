//! `--policy rollback`: all tags or none, whatever happens in between.

mod accept;
mod answers;
mod doubt;
mod dry;
mod honest;
mod journal;
mod keeping;
mod kill;
mod looks;
mod many;
mod matrix;
mod meanwhile;
mod names;
mod others;
mod real;
mod signals;
mod trust;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::barge::{Barge, Output, barge};
use crate::support::image::{Attestations, Bundle, Image, ImageSpec, Layer, MultiArch};
use crate::support::registry::{FakeRegistry, Settings};
use crate::support::wire::{Answer, Fault, Request, Server};

/// Tags and the digests that they point at.
type Tags = BTreeMap<String, String>;

/// An image of a layer that all have and a config of its own.
fn image(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(1, 1000))
        .build()
}

fn index(seed: u64) -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::Without, seed)
}

/// What the tag is to point at after a run, and what it points at before.
fn bundles(tag: &str) -> (Bundle, Option<Bundle>) {
    match tag {
        "a" => ((&image(11)).into(), Some((&image(1)).into())),
        "b" => ((&index(12)).into(), Some((&image(2)).into())),
        "c" => ((&image(13)).into(), Some((&index(3)).into())),
        // A new tag with the digest of one that moves, as `latest` and `3.9` have.
        "d" => ((&image(11)).into(), None),
        "e" => ((&image(15)).into(), None),
        _ => ((&image(16)).into(), None),
    }
}

const TAGS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A source with the six tags, a destination where three of them point at something else, and a
/// directory for journals.
struct World {
    source: FakeRegistry,
    destination: FakeRegistry,
    state: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A destination with these settings.
    fn with(settings: Settings) -> Self {
        let (source, destination) = (FakeRegistry::start(), FakeRegistry::start_with(settings));
        for tag in TAGS {
            let (after, before) = bundles(tag);
            crate::support::image::push(after, &source, &format!("x:{tag}"));
            if let Some(before) = before {
                crate::support::image::push(before, &destination, &format!("y:{tag}"));
            }
        }
        image(7).push_to(&destination, "y:untouched");
        Self {
            source,
            destination,
            state: TempDir::with_prefix("barge-state-").expect("a temporary directory"),
        }
    }

    /// `barge copy --policy rollback` of all tags, with these options.
    fn copy(&self, options: &[&str]) -> Barge {
        let to = self.destination.reference("y");
        rollback(&self.source.reference("x"), &to, self.state.path()).args(options)
    }

    fn tags(&self) -> Tags {
        tags(&self.destination)
    }

    fn journals(&self) -> Vec<std::path::PathBuf> {
        journals(self.state.path())
    }
}

fn rollback(source: &str, destination: &str, state: &Path) -> Barge {
    barge()
        .env("BARGE_OUTPUT", "json")
        .env("BARGE_RETRY_TIMES", "0")
        .args(["copy", "--all-tags", "--policy", "rollback", "--state-dir"])
        .arg(state)
        .args([source, destination])
}

/// `barge undo -o json` with these options.
fn undo(state: &Path, options: &[&str]) -> Barge {
    barge()
        .env("BARGE_OUTPUT", "json")
        .args(["undo", "--state-dir"])
        .arg(state)
        .args(options)
}

fn journals(state: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(state.join("journal")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    found.sort();
    found
}

fn tags(registry: &FakeRegistry) -> Tags {
    let store = &registry.store;
    let digest = |tag: String| {
        let digest = store.tag("y", &tag).expect("a tag has a digest");
        (tag, digest)
    };
    store.tags("y").into_iter().map(digest).collect()
}

fn untouched() -> (String, String) {
    ("untouched".to_owned(), image(7).digest())
}

/// The destination's tags before any run.
fn before() -> Tags {
    let old = TAGS.iter().filter_map(|tag| {
        let (_, before) = bundles(tag);
        Some(((*tag).to_owned(), before?.root.digest()))
    });
    old.chain([untouched()]).collect()
}

/// The destination's tags after a run.
fn after() -> Tags {
    let new = TAGS.iter().map(|tag| {
        let (after, _) = bundles(tag);
        ((*tag).to_owned(), after.root.digest())
    });
    new.chain([untouched()]).collect()
}

/// Whether everything below each tag is there.
#[track_caller]
fn are_whole(registry: &FakeRegistry) {
    let store = &registry.store;
    for tag in store.tags("y") {
        let mut open = vec![store.manifest("y", &tag).expect("a tag leads somewhere")];
        while let Some(manifest) = open.pop() {
            let json = manifest.json();
            for entry in json["manifests"].as_array().into_iter().flatten() {
                let digest = entry["digest"].as_str().expect("a digest");
                let child = store.manifest("y", digest);
                open.push(child.unwrap_or_else(|| panic!("{tag} lacks {digest}")));
            }
            let layers = json["layers"].as_array().into_iter().flatten();
            for blob in layers.chain(json.get("config")) {
                let digest = blob["digest"].as_str().expect("a digest");
                assert!(store.has_blob("y", digest), "{tag} lacks {digest}");
            }
        }
    }
}

/// Whether exit code and report are exactly true about the destination, whatever they are.
#[track_caller]
fn is_true(output: &Output, registry: &FakeRegistry, place: &str) {
    are_whole(registry);
    let now = tags(registry);
    let (before, after) = (before(), after());
    for tag in TAGS {
        let now = now.get(tag);
        assert!(
            now == before.get(tag) || now == after.get(tag),
            "{place}: {tag} is {now:?}"
        );
    }
    assert_eq!(now.get("untouched"), before.get("untouched"), "{place}");
    let report = output.json();
    let left: Vec<&str> = report["left"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let failed = |tag: &Value| tag["status"] == "failed";
    let entries = report["tags"].as_array().expect("tags");
    match output.code {
        Some(0) => {
            assert_eq!(now, after, "{place}");
            assert_eq!(report["outcome"], "success", "{place}");
        }
        Some(1) => {
            assert_eq!(now, before, "{place}");
            assert!(report["error"]["kind"].is_string(), "{place}: {report:#}");
        }
        Some(4) => {
            assert_eq!(now, before, "{place}: {report:#}");
            assert_eq!(report["outcome"], "rolled-back", "{place}");
            let failures = entries.iter().any(failed) || report["error"].is_object();
            assert!(failures && left.is_empty(), "{place}: {report:#}");
        }
        Some(5) => {
            assert_eq!(report["outcome"], "rollback-incomplete", "{place}");
            assert!(!left.is_empty(), "{place}: {report:#}");
        }
        code => panic!("{place}: {code:?} {output:#?}"),
    }
    if matches!(output.code, Some(4 | 5)) {
        for entry in entries {
            let tag = entry["tag"].as_str().expect("a tag");
            if left.contains(&tag) {
                assert!(failed(entry), "{place}: {entry:#}");
            } else {
                assert_eq!(now.get(tag), before.get(tag), "{place}: {report:#}");
            }
            assert_ne!(entry["status"], "copied", "{place}: {entry:#}");
            shows_where_it_points(entry, before.get(tag).filter(|_| !left.contains(&tag)));
        }
    }
}

/// A tag that did not move shows no digest that it was to get, and what it points at where it is as `before`.
#[track_caller]
fn shows_where_it_points(entry: &Value, before: Option<&String>) {
    if matches!(entry["status"].as_str(), Some("failed" | "rolled-back")) {
        assert!(entry["digest"].is_null(), "{entry:#}");
    }
    if entry["status"] == "rolled-back" {
        let previous = entry["previous_digest"].as_str();
        assert_eq!(previous, before.map(String::as_str), "{entry:#}");
    }
}

/// A PUT of a manifest under a tag.
fn is_flip(request: &Request) -> bool {
    request.method == "PUT" && request.is_manifest() && !request.path.contains("sha256:")
}

/// Refuses the PUT of `f` when all other tags have moved and `meanwhile` has happened.
#[track_caller]
fn refuse_f(server: &Server, run: Barge, meanwhile: impl FnOnce()) -> Output {
    let of_f = |request: &Request| is_flip(request) && request.path.ends_with("/f");
    let moved = |request: &Request| is_flip(request) && request.status == 201;
    let refusal = Answer::error(403, "DENIED", &serde_json::json!({}));
    server.fail(1, of_f, Fault::StallThen(refusal));
    let running = run.spawn();
    server.wait_for(1, of_f);
    server.wait_for(TAGS.len() - 1, moved);
    meanwhile();
    server.release();
    running.wait()
}

/// How many manifests were put under a tag.
fn flips(server: &Server) -> usize {
    server.count(is_flip)
}

/// Runs each case, two at a time.
fn each<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            run(case);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
}
