//! Under rollback what refers is staged like the rest: its tags flip before those of their images, and go back.

use std::path::Path;

use tempfile::tempdir;

use super::{index, listed, sbom_and_signature, single, with};
use crate::support::barge::{Barge, Output, barge};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Artifact, Layout, list_of, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::{Held, Signer};
use crate::support::wire::{Fault, Request};

pub(super) fn rollback(state: &Path, source: &str, destination: &str) -> Barge {
    barge()
        .args([
            "copy",
            "-o",
            "json",
            "--all-tags",
            "--referrers",
            "--policy",
            "rollback",
        ])
        .args(["--retry-times", "0", "--state-dir"])
        .arg(state)
        .args([source, destination])
}

/// Two tags, `1` signed by cosign's tag and `2` with a bill of materials.
pub(super) fn source(signer: &Signer) -> FakeRegistry {
    let (registry, (first, second)) = (with(Referrers::Served), (index(), single()));
    first.push_to(&registry, "x:1");
    push(
        signer.sign(&first.digest()),
        &registry,
        &format!("x:{}", Signer::tag(&first.digest())),
    );
    second.push_to(&registry, "x:2");
    let (sbom, signature) = sbom_and_signature(&second.manifest);
    sbom.put_into(&registry, "x");
    signature.put_into(&registry, "x");
    registry
}

pub(super) fn tagged(registry: &FakeRegistry) -> Vec<(String, String)> {
    let store = &registry.store;
    let digest = |tag: String| {
        let digest = store.tag("y", &tag).expect("a tag has a digest");
        (tag, digest)
    };
    store.tags("y").into_iter().map(digest).collect()
}

pub(super) fn puts(registry: &FakeRegistry) -> Vec<String> {
    let put = |request: Request| {
        let tag = request.path.strip_prefix("/v2/y/manifests/")?.to_owned();
        (request.method == "PUT" && !tag.contains(':')).then_some(tag)
    };
    registry.log().into_iter().filter_map(put).collect()
}

#[test]
fn signatures_are_shown_before_their_images() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let (source, destination) = (source(&signer), with(Referrers::Absent));
    let (from, to) = (source.reference("x"), destination.reference("y"));
    let output = rollback(state.path(), &from, &to).run().exits(0);
    assert_eq!(signer.verify(&Held::Fake(&destination, "y"), "1"), Ok(()));
    let tag = list_tag(&single().digest());
    let list = destination.store.manifest("y", &tag).expect("a list");
    let (sbom, _) = sbom_and_signature(&single().manifest);
    assert_eq!(listed(&list), [sbom.root.digest()]);
    let order = puts(&destination);
    let digest_tags = order.iter().position(|tag| tag == "1" || tag == "2");
    assert_eq!(digest_tags, Some(3), "{order:?}");
    assert_eq!(order.len(), 5, "each is written once: {order:?}");
    assert_eq!(output.tag("2")["referrers"]["copied"], 2);
    let again = rollback(state.path(), &from, &to).run().exits(0);
    assert_eq!(again.tag("1")["status"], "current");
}

#[test]
fn what_is_signed_later_comes_to_an_image_that_is_there() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let (source, destination) = (with(Referrers::Absent), with(Referrers::Absent));
    single().push_to(&source, "x:1");
    let (from, to) = (source.reference("x"), destination.reference("y"));
    rollback(state.path(), &from, &to).run().exits(0);
    let digest = single().digest();
    push(
        signer.sign(&digest),
        &source,
        &format!("x:{}", Signer::tag(&digest)),
    );
    let output = rollback(state.path(), &from, &to).run().exits(0);
    assert_eq!(output.tag("1")["status"], "copied");
    assert_eq!(signer.verify(&Held::Fake(&destination, "y"), "1"), Ok(()));
    assert_eq!(puts(&destination).last(), Some(&Signer::tag(&digest)));
}

#[test]
fn nothing_is_shown_where_a_tag_fails() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let (source, destination) = (source(&signer), with(Referrers::Absent));
    source.store.remove_blob("x", &single().config_digest());
    let (from, to) = (source.reference("x"), destination.reference("y"));
    rollback(state.path(), &from, &to).run().exits(4);
    assert_eq!(tagged(&destination), []);
    assert_eq!(puts(&destination), [""; 0]);
}

/// Fails the flip of `2`, when the digest tags have moved.
fn fails_at_the_flip(source: &FakeRegistry, destination: &FakeRegistry) -> Output {
    let state = tempdir().expect("a directory");
    let flip =
        |request: &Request| request.method == "PUT" && request.path.ends_with("/manifests/2");
    destination.fail(1, flip, Fault::status(500));
    let (from, to) = (source.reference("x"), destination.reference("y"));
    rollback(state.path(), &from, &to).run().exits(4)
}

#[test]
fn what_was_new_is_gone_again_and_what_was_there_is_back() {
    let signer = Signer::new();
    let (source, destination) = (source(&signer), with(Referrers::Absent));
    // Somebody has signed the same index at the destination, and listed something of the image.
    index().push_to(&destination, "y:other");
    let theirs = Signer::new().sign(&index().digest());
    push(
        &theirs,
        &destination,
        &format!("y:{}", Signer::tag(&index().digest())),
    );
    let listed = Artifact::of(&single().manifest, super::SBOM, "of somebody else").build();
    listed.put_into(&destination, "y");
    destination
        .store
        .put_manifest("y", &list_tag(&single().digest()), list_of(&[&listed]));
    let before = tagged(&destination);
    let output = fails_at_the_flip(&source, &destination);
    assert_eq!(tagged(&destination), before, "{output:#?}");
    let moved = puts(&destination);
    assert!(
        moved.contains(&Signer::tag(&index().digest())),
        "it had moved: {moved:?}"
    );
    assert!(
        moved.contains(&list_tag(&single().digest())),
        "it had moved: {moved:?}"
    );
    assert_eq!(output.tag("1")["status"], "rolled-back");
    assert_eq!(output.tag("2")["status"], "failed");
}

#[test]
fn images_go_back_before_their_signatures_do() {
    let signer = Signer::new();
    let (source, destination) = (source(&signer), with(Referrers::Absent));
    fails_at_the_flip(&source, &destination);
    assert_eq!(tagged(&destination), []);
    let deleted = |request: Request| {
        let tag = request.path.strip_prefix("/v2/y/manifests/")?.to_owned();
        (request.method == "DELETE").then_some(tag)
    };
    let deleted: Vec<String> = destination.log().into_iter().filter_map(deleted).collect();
    let first = deleted.iter().position(|tag| tag.starts_with("sha256-"));
    assert!(
        first > deleted.iter().position(|tag| tag == "1"),
        "{deleted:?}"
    );
}

#[test]
fn a_real_registry_is_flipped_with_its_signatures() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let (source, destination) = (source(&signer), DockerRegistry::start());
    let to = destination.reference("y");
    rollback(state.path(), &source.reference("x"), &to)
        .run()
        .exits(0);
    assert_eq!(signer.verify(&Held::Docker(&destination, "y"), "1"), Ok(()));
    let client = destination.client();
    assert!(
        client
            .manifest("y", &list_tag(&single().digest()))
            .is_some()
    );
}

#[test]
fn a_list_that_somebody_else_writes_is_left_to_them() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let (source, destination) = (source(&signer), with(Referrers::Absent));
    let theirs = Artifact::of(&single().manifest, super::SBOM, "of somebody else").build();
    let tag = list_tag(&single().digest());
    let (store, list, name) = (destination.store.clone(), list_of(&[&theirs]), tag.clone());
    let path = format!("/v2/y/manifests/{tag}");
    let mut put = false;
    destination.on(move |request| {
        if put && request.method == "GET" && request.path == path {
            store.put_manifest("y", &name, list.clone());
        }
        put |= request.method == "PUT" && request.path == path;
        None
    });
    let (from, to) = (source.reference("x"), destination.reference("y"));
    let output = rollback(state.path(), &from, &to).run().exits(5);
    let failed = output.tag("2");
    assert_eq!(failed["error"]["kind"], "conflict", "{failed}");
    assert!(
        failed["error"]["message"].to_string().contains(&tag),
        "{failed}"
    );
    assert_eq!(destination.store.tags("y"), [tag]);
}

#[test]
fn a_signature_that_changed_since_it_was_found_right_is_a_conflict() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let (source, destination) = (source(&signer), with(Referrers::Absent));
    let (from, to) = (source.reference("x"), destination.reference("y"));
    rollback(state.path(), &from, &to).run().exits(0);
    // `1` and its signature stay as they are, `2` moves.
    index().push_to(&source, "x:2");
    single().push_to(&source, "x:3");
    let digest = index().digest();
    let (theirs, tag) = (Signer::new().sign(&digest), Signer::tag(&digest));
    push(&theirs, &destination, "y:theirs");
    let (store, name, root) = (destination.store.clone(), tag.clone(), theirs.root.clone());
    let mut recorded = false;
    destination.on(move |request| {
        recorded |= request.is("GET", "/y/manifests/2");
        if recorded && request.is("HEAD", "/y/manifests/sha256:") {
            store.put_manifest("y", &name, root.clone());
        }
        None
    });
    destination.clear_log();
    let output = rollback(state.path(), &from, &to).run().exits(4);
    assert_eq!(output.tag("1")["error"]["kind"], "conflict", "{output:#?}");
    assert_eq!(destination.store.tag("y", &tag), Some(theirs.root.digest()));
    assert_eq!(puts(&destination), [""; 0]);
}

#[test]
fn a_layout_is_flipped_with_its_signatures() {
    let (signer, state) = (Signer::new(), tempdir().expect("a directory"));
    let source = source(&signer);
    let layout = Layout::at(&state.path().join("layout"));
    let to = layout.reference("");
    rollback(state.path(), &source.reference("x"), &to)
        .run()
        .exits(0);
    assert_eq!(signer.verify(&Held::Layout(&layout), "1"), Ok(()));
    assert!(layout.manifest(&list_tag(&single().digest())).is_some());
    let broken = with(Referrers::Served);
    single().push_to(&broken, "x:3");
    let lost = Artifact::of(&single().manifest, super::SBOM, "x").build();
    lost.put_into(&broken, "x");
    broken
        .store
        .remove_blob("x", &crate::support::content::sha256(&lost.blobs[1]));
    let before = layout.index();
    let from = broken.reference("x");
    rollback(state.path(), &from, &to).run().exits(4);
    assert_eq!(layout.index(), before);
}
