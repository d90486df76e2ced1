//! Indexes that list blobs: caches as BuildKit writes them, checkpoints as containerd does.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::{copy, run};
use crate::support::content::{Manifest, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec, Layer};
use crate::support::registry::FakeRegistry;

const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

struct Cache {
    blobs: Vec<(&'static str, Vec<u8>)>,
    image: Image,
    index: Manifest,
}

/// Layers and the config of a cache, with an image between them.
fn cache() -> Cache {
    let layer = |seed| (OCI_LAYER, Layer::random(seed, 3000).bytes.to_vec());
    let blobs = vec![
        layer(1),
        layer(2),
        (CACHE_CONFIG, b"{\"layers\":[]}".to_vec()),
    ];
    let image = ImageSpec::new("linux", "amd64").layers(1, 500).build();
    let mut entries: Vec<Value> = blobs
        .iter()
        .map(|(kind, bytes)| json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()}))
        .collect();
    let manifest = &image.manifest;
    let platform = json!({"os": "linux", "architecture": "amd64"});
    entries.insert(
        1,
        json!({"mediaType": OCI_MANIFEST, "digest": manifest.digest(),
        "size": manifest.bytes.len(), "platform": platform}),
    );
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let index = Manifest::new(OCI_INDEX, index.to_string());
    Cache {
        blobs,
        image,
        index,
    }
}

impl Cache {
    fn source(&self) -> FakeRegistry {
        let source = FakeRegistry::start();
        self.image.push_to(&source, "x:image");
        for (_, bytes) in &self.blobs {
            source.store.put_blob("x", bytes.clone());
        }
        source.store.put_manifest("x", "cache", self.index.clone());
        source
    }
}

#[test]
fn blobs_are_copied_counted_and_verified_as_blobs() {
    let cache = cache();
    let source = cache.source();
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().display();
    let (fake, real) = (FakeRegistry::start(), DockerRegistry::start());
    let last = fake.reference("z:cache");
    for to in [
        fake.reference("y:cache"),
        real.reference("y:cache"),
        format!("oci:{path}/layout:cache"),
        format!("oci-archive:{path}/a.tar:cache"),
    ] {
        let tag = copy(&[], &source.reference("x:cache"), &to)
            .exits(0)
            .tag("cache");
        assert_eq!(tag["digest"], cache.index.digest(), "{to}");
        let blobs = &tag["blobs"];
        let all = blobs["copied"].as_u64().zip(blobs["existing"].as_u64());
        assert_eq!(
            all.map(|(copied, there)| copied + there),
            Some(5),
            "{to}: {tag:#}"
        );
        let report = run(&["verify", "-o", "json", &to]).exits(0).json();
        assert_eq!(report["totals"]["blobs"], 5, "{to}: {report:#}");
        let inspected = run(&["inspect", "-o", "json", &to]).exits(0).json();
        assert_eq!(inspected["blobs"], 3, "{inspected:#}");
        assert_eq!(inspected["platforms"].as_array().map(Vec::len), Some(1));
        // And from there on.
        copy(&["--recheck", "blobs"], &to, &last).exits(0);
    }
    for (_, bytes) in &cache.blobs {
        assert!(fake.store.has_blob("z", &sha256(bytes)));
    }
}

#[test]
fn a_blob_that_is_missing_is_told_as_one() {
    let cache = cache();
    let source = cache.source();
    let lost = sha256(&cache.blobs[0].1);
    source.store.remove_blob("x", &lost);
    let report = run(&["verify", "-o", "json", &source.reference("x:cache")])
        .exits(1)
        .json();
    let missing = &report["tags"][0]["missing"];
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(
        (&missing[0]["part"], &missing[0]["digest"]),
        (&json!("blob"), &json!(lost))
    );
    let to = FakeRegistry::start();
    let output = copy(&[], &source.reference("x:cache"), &to.reference("y:1")).exits(1);
    let error = output.tag("cache")["error"].clone();
    assert_eq!(error["kind"], "not-found");
    assert!(error["message"].to_string().contains(&lost), "{error:#}");
}

#[test]
fn blobs_of_no_platform_stay_in_an_index_of_some_platforms() {
    let cache = cache();
    let (source, destination) = (cache.source(), FakeRegistry::start());
    let (from, to) = (source.reference("x:cache"), destination.reference("y:1"));
    copy(&["--arch", "amd64"], &from, &to).exits(0);
    assert_eq!(destination.store.tag("y", "1"), Some(cache.index.digest()));
}
