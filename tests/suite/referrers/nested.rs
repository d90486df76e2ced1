//! A referrer that is an index: what it lists is brought, mended and looked at like the images of a tag.

use serde_json::json;
use tempfile::tempdir;

use super::shown::{missing, verify};
use super::{SBOM, copied, counts, single, with};
use crate::support::barge::copy;
use crate::support::content::{Manifest, OCI_INDEX};
use crate::support::image::archive::Archive;
use crate::support::image::{Artifact, Bundle, Image, ImageSpec, Layout, list_of, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};

/// How an index belongs to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Subject,
    Tag,
}

/// One of the images that the index lists.
fn inner() -> Image {
    ImageSpec::new("linux", "s390x")
        .seed(403)
        .layers(1, 700)
        .build()
}

/// What refers to that.
fn of_inner() -> Bundle {
    Artifact::of(&inner().manifest, SBOM, "of the inner one").build()
}

fn attestations(by: By) -> Bundle {
    let mut index = list_of(&[&Bundle::from(&inner())]).json();
    if by == By::Subject {
        let artifact = Artifact::of(&single().manifest, SBOM, "").build();
        index["subject"] = artifact.root.json()["subject"].clone();
        index["artifactType"] = json!("application/x+json");
    }
    let mut bundle = Bundle::from(&inner());
    bundle.manifests = vec![bundle.root];
    bundle.root = Manifest::new(OCI_INDEX, index.to_string());
    bundle
}

/// A source with an image at `x:1` that such an index belongs to, of which one image has an artifact.
fn source(api: Referrers, by: By) -> FakeRegistry {
    let source = with(api);
    single().push_to(&source, "x:1");
    let index = attestations(by);
    let name = match by {
        By::Tag => format!("x:{}.att", list_tag(&single().digest())),
        By::Subject => format!("x:{}", index.root.digest()),
    };
    push(index.clone(), &source, &name);
    of_inner().put_into(&source, "x");
    if api == Referrers::Absent {
        let store = &source.store;
        store.put_manifest("x", &list_tag(&inner().digest()), list_of(&[&of_inner()]));
        if by == By::Subject {
            store.put_manifest("x", &list_tag(&single().digest()), list_of(&[&index]));
        }
    }
    source
}

const FORMS: [(Referrers, By); 4] = [
    (Referrers::Served, By::Subject),
    (Referrers::Absent, By::Subject),
    (Referrers::Served, By::Tag),
    (Referrers::Absent, By::Tag),
];

#[test]
fn what_refers_to_a_child_of_it_comes_too() {
    for (api, by) in FORMS {
        let (source, mirror) = (source(api, by), with(api));
        let output = copied(&source, &mirror).exits(0);
        // The index and what refers to its child; the child itself is no referrer.
        assert_eq!(
            counts(&output, "1"),
            json!({"copied": 2, "existing": 0}),
            "{api:?} {by:?}"
        );
        let artifact = of_inner().root;
        let there = mirror.store.manifest("y", &artifact.digest());
        assert_eq!(there, Some(artifact), "{api:?} {by:?}");
        let against = ["--against", &source.reference("x:1")];
        let whole = verify(&against, &mirror.reference("y:1")).exits(0);
        assert_eq!(whole.tag("1")["referrers"], 2);
        let again = copied(&source, &mirror).exits(0);
        assert_eq!(again.tag("1")["status"], "current", "{api:?} {by:?}");
        assert_eq!(counts(&again, "1"), json!({"copied": 0, "existing": 2}));
    }
}

#[test]
fn a_child_of_it_that_is_gone_is_missed_and_comes_again() {
    for (api, by) in FORMS {
        let (source, mirror) = (source(api, by), with(api));
        copied(&source, &mirror).exits(0);
        mirror.store.remove_manifest("y", &inner().digest());
        let place = mirror.reference("y:1");
        let lacking = verify(&[], &place).exits(1);
        let expected = (json!("manifest"), json!(inner().digest()));
        assert_eq!(missing(&lacking), [expected], "{api:?} {by:?}");
        let output = copied(&source, &mirror).exits(0);
        assert_eq!(output.tag("1")["status"], "copied", "{api:?} {by:?}");
        verify(&[], &place).exits(0);
    }
}

#[test]
fn a_blob_of_a_child_of_it_that_is_gone_is_missed_and_comes_again() {
    for (api, by) in FORMS {
        let (source, mirror) = (source(api, by), with(api));
        copied(&source, &mirror).exits(0);
        let layer = inner().layers[0].digest();
        mirror.store.remove_blob("y", &layer);
        let place = mirror.reference("y:1");
        let lacking = verify(&[], &place).exits(1);
        let expected = (json!("layer"), json!(layer));
        assert_eq!(missing(&lacking), [expected], "{api:?} {by:?}");
        let options = ["--referrers", "--recheck", "blobs"];
        copy(&options, &source.reference("x:1"), &place).exits(0);
        verify(&[], &place).exits(0);
    }
}

#[test]
fn it_travels_whole_through_layouts_and_archives() {
    let source = source(Referrers::Served, By::Subject);
    let directory = tempdir().expect("a directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let archive = Archive::at(&directory.path().join("bundle.tar"));
    for place in [layout.reference("1"), archive.reference("1")] {
        let options = ["--referrers"];
        let output = copy(&options, &source.reference("x:1"), &place).exits(0);
        let both = json!({"copied": 2, "existing": 0});
        assert_eq!(counts(&output, "1"), both, "{place}");
        verify(&[], &place).exits(0);
        let back = with(Referrers::Served);
        let output = copy(&options, &place, &back.reference("z:1")).exits(0);
        assert_eq!(counts(&output, "1"), both, "{place}");
        for digest in [inner().digest(), of_inner().root.digest()] {
            assert!(back.store.manifest("z", &digest).is_some(), "{place}");
        }
    }
}
