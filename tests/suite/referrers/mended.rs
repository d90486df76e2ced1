//! A list of referrers outlives what it lists: what is gone behind it comes again.

use super::{copied, sbom_and_signature, single, with};
use crate::support::barge::{Output, copy};
use crate::support::content::sha256;
use crate::support::image::Bundle;
use crate::support::registry::{FakeRegistry, Referrers};

/// A source with an image that has a bill of materials, and a mirror of it that keeps lists under tags.
fn mirrored() -> (FakeRegistry, FakeRegistry, Bundle) {
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    let image = single();
    image.push_to(&source, "x:1");
    let (sbom, _) = sbom_and_signature(&image.manifest);
    sbom.put_into(&source, "x");
    copied(&source, &mirror).exits(0);
    (source, mirror, sbom)
}

fn status(output: &Output) -> String {
    output.tag("1")["status"].to_string()
}

#[test]
fn a_manifest_that_is_gone_comes_again() {
    let (source, mirror, sbom) = mirrored();
    let digest = sbom.root.digest();
    mirror.store.remove_manifest("y", &digest);
    let output = copied(&source, &mirror).exits(0);
    assert_eq!(status(&output), r#""copied""#);
    assert_eq!(mirror.store.manifest("y", &digest), Some(sbom.root));
    let output = copied(&source, &mirror).exits(0);
    assert_eq!(status(&output), r#""current""#);
}

#[test]
fn blobs_that_are_gone_come_again_where_they_are_looked_for() {
    let (source, mirror, sbom) = mirrored();
    let layer = sbom.blobs.last().expect("a layer").clone();
    let layer = sha256(&layer);
    mirror.store.remove_blob("y", &layer);
    let (from, to) = (source.reference("x:1"), mirror.reference("y"));
    let output = copy(&["--referrers", "--recheck", "blobs"], &from, &to).exits(0);
    assert_eq!(status(&output), r#""copied""#);
    assert!(mirror.store.has_blob("y", &layer));
}
