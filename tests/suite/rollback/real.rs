//! Against Debian's docker-registry, which deletes no tag by itself, and by digest every tag of it.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{TAGS, Tags, bundles, image, refuse_f, rollback, undo};
use crate::support::barge::{Barge, Output};
use crate::support::docker_registry::{Config, Deletes, DockerRegistry};
use crate::support::image::push;
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;

/// The tags of [`super::World`] before a real registry.
struct Real {
    source: FakeRegistry,
    registry: DockerRegistry,
    proxy: Proxy,
    state: TempDir,
}

impl Real {
    fn new(deletes: Deletes) -> Self {
        let source = FakeRegistry::start();
        let registry = DockerRegistry::start_with(Config {
            deletes,
            ..Config::default()
        });
        for tag in TAGS {
            let (after, before) = bundles(tag);
            push(after, &source, &format!("x:{tag}"));
            if let Some(before) = before {
                push(before, &registry, &format!("y:{tag}"));
            }
        }
        Self {
            source,
            proxy: Proxy::start(registry.host()),
            registry,
            state: TempDir::with_prefix("barge-state-").expect("a temporary directory"),
        }
    }

    fn copy(&self) -> Barge {
        let (from, to) = (self.source.reference("x"), self.proxy.reference("y"));
        rollback(&from, &to, self.state.path())
    }

    /// A run whose last tag is refused, after `meanwhile` has happened.
    #[track_caller]
    fn refused(&self, meanwhile: impl FnOnce()) -> Output {
        let output = refuse_f(&self.proxy, self.copy(), meanwhile);
        self.proxy.behave();
        output
    }

    /// The tags that lead somewhere, and where.
    fn tags(&self) -> Tags {
        let client = self.registry.client();
        let digest = |tag: String| {
            let manifest = client.manifest("y", &tag)?;
            Some((tag, manifest.digest()))
        };
        client.tags("y").into_iter().filter_map(digest).collect()
    }
}

fn left(report: &Value) -> Vec<&str> {
    let left = report["left"].as_array().into_iter().flatten();
    left.filter_map(Value::as_str).collect()
}

fn after() -> Tags {
    let new = |tag: &&str| ((*tag).to_owned(), bundles(tag).0.root.digest());
    TAGS.iter().map(new).collect()
}

#[test]
fn where_digests_can_be_deleted_everything_goes_back() {
    let real = Real::new(Deletes::Enabled);
    let before = real.tags();
    assert_eq!(before.len(), 3);
    let output = real.refused(|| {}).exits(4);
    assert_eq!(real.tags(), before, "{:#}", output.json());
    real.copy().run().exits(0);
    assert_eq!(real.tags(), after());
}

#[test]
fn a_tag_that_shares_the_digest_of_a_new_one_survives() {
    let real = Real::new(Deletes::Enabled);
    let shared = image(15);
    shared.push_to(&real.registry, "y:untouched");
    let before = real.tags();
    let output = real.refused(|| {}).exits(5);
    let report = output.json();
    assert_eq!(left(&report), ["e"], "{report:#}");
    let error = output.tag("e")["error"].clone();
    assert_eq!(error["kind"], "unsupported");
    let mut expected = before;
    expected.insert("e".to_owned(), shared.digest());
    assert_eq!(real.tags(), expected);

    // The journal is closed, and the next run goes on from there.
    let report = real.copy().run().exits(0).json();
    assert_eq!(report.get("settled"), None);
    let mut expected = after();
    expected.insert("untouched".to_owned(), shared.digest());
    assert_eq!(real.tags(), expected);
}

/// Nobody leads to it, but it was there before: what somebody keeps by its digest stays.
#[test]
fn a_manifest_that_was_there_before_the_run_survives() {
    let real = Real::new(Deletes::Enabled);
    let kept = image(15);
    push(&kept, &real.registry, "y:passing");
    real.registry.client().delete_manifest("y", &kept.digest());
    let client = real.registry.client();
    client.put_manifest("y", &kept.digest(), &kept.manifest);
    let before = real.tags();
    let output = real.refused(|| {}).exits(5);
    assert_eq!(left(&output.json()), ["e"]);
    let mut expected = before;
    expected.insert("e".to_owned(), kept.digest());
    assert_eq!(real.tags(), expected);
}

#[test]
fn what_somebody_else_tagged_meanwhile_survives() {
    for by_index in [false, true] {
        let real = Real::new(Deletes::Enabled);
        let before = real.tags();
        let client = real.registry.client();
        let theirs = if by_index {
            index_of(&image(15).manifest)
        } else {
            image(15).manifest
        };
        let output = real.refused(|| client.put_manifest("y", "theirs", &theirs));
        let output = output.exits(5);
        assert_eq!(left(&output.json()), ["e"]);
        let mut expected = before;
        expected.insert("e".to_owned(), image(15).digest());
        expected.insert("theirs".to_owned(), theirs.digest());
        assert_eq!(real.tags(), expected);
    }
}

/// An index of one image.
fn index_of(child: &crate::support::content::Manifest) -> crate::support::content::Manifest {
    let media_type = crate::support::content::OCI_INDEX;
    let entry = json!({
        "mediaType": child.media_type,
        "digest": child.digest(),
        "size": child.bytes.len(),
    });
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]});
    crate::support::content::Manifest::new(media_type, index.to_string())
}

#[test]
fn where_nothing_can_be_deleted_new_tags_stay_and_are_named() {
    let real = Real::new(Deletes::Disabled);
    let before = real.tags();
    let output = real.refused(|| {}).exits(5);
    let report = output.json();
    let now = real.tags();
    let new = ["d", "e"];
    assert_eq!(left(&report), new, "{report:#}");
    for (tag, digest) in &before {
        assert_eq!(now.get(tag), Some(digest), "{tag}");
    }
    for tag in new {
        assert_eq!(output.tag(tag)["error"]["kind"], "unsupported");
    }
    let listed = undo(real.state.path(), &[]).run().exits(0).json();
    assert_eq!(listed["journals"][0]["state"], "closed");
    real.copy().run().exits(0);
    assert_eq!(real.tags(), after());
}
