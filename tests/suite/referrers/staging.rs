//! What belongs to images may expire before the tags move, like all that is staged: it is staged again.

use tempfile::tempdir;

use super::rollback::{puts, rollback, tagged};
use super::{SBOM, listed, single, with};
use crate::support::barge::Output;
use crate::support::content::sha256;
use crate::support::image::{Artifact, Bundle, Image, ImageSpec, list_tag, push};
use crate::support::registry::{Deletes, FakeRegistry, Referrers};
use crate::support::signing::{Held, Signer};
use crate::support::wire::{Fault, Request};

/// Whether a request reads what a tag points at: all is staged then.
fn records(request: &Request) -> bool {
    request.is("GET", "/y/manifests/") && !request.path.contains("sha256")
}

fn artifact(content: &str) -> Bundle {
    Artifact::of(&single().manifest, SBOM, content).build()
}

/// Copies all tags of `x`; `then` happens once all is staged.
fn copied(
    source: &FakeRegistry,
    mirror: &FakeRegistry,
    then: impl FnOnce() + Send + 'static,
) -> Output {
    let state = tempdir().expect("a directory");
    let mut then = Some(then);
    mirror.on(move |request| {
        if records(request)
            && let Some(then) = then.take()
        {
            then();
        }
        None
    });
    let (from, to) = (source.reference("x"), mirror.reference("y"));
    rollback(state.path(), &from, &to).run()
}

fn signed(source: &FakeRegistry, signer: &Signer, image: &Image) -> Bundle {
    image.push_to(source, "x:1");
    let signature = signer.sign(&image.digest());
    let tag = Signer::tag(&image.digest());
    push(signature.clone(), source, &format!("x:{tag}"));
    signature
}

#[test]
fn what_expires_alone_is_staged_again() {
    let (signer, bill) = (Signer::new(), artifact("bill"));
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    let signature = signed(&source, &signer, &single());
    bill.put_into(&source, "x");
    let store = mirror.store.clone();
    let lost = [signature, bill.clone()];
    copied(&source, &mirror, move || {
        for bundle in &lost {
            store.remove_manifest("y", &bundle.root.digest());
            store.remove_blob("y", &sha256(&bundle.blobs[1]));
        }
    })
    .exits(0);
    assert_eq!(signer.verify(&Held::Fake(&mirror, "y"), "1"), Ok(()));
    assert!(mirror.store.manifest("y", &bill.root.digest()).is_some());
    assert!(mirror.store.has_blob("y", &sha256(&bill.blobs[1])));
    assert_eq!(puts(&mirror).len(), 3, "each is written once");
}

#[test]
fn a_list_keeps_what_other_tags_have_in_it() {
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    let (first, second) = (artifact("1"), artifact("2"));
    push(&first, &source, "x:1");
    push(&second, &source, "x:2");
    let (store, expired) = (mirror.store.clone(), first.root.digest());
    copied(&source, &mirror, move || {
        store.remove_manifest("y", &expired);
    })
    .exits(0);
    let list = mirror.store.manifest("y", &list_tag(&single().digest()));
    let mut both = vec![first.root.digest(), second.root.digest()];
    both.sort();
    assert_eq!(listed(&list.expect("a list")), both);
}

#[test]
fn a_tag_that_moved_at_the_source_comes_with_its_own_signature() {
    let (signer, other) = (
        Signer::new(),
        ImageSpec::new("linux", "arm64").seed(404).build(),
    );
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    signed(&source, &signer, &single());
    let (store, from) = (mirror.store.clone(), source.store.clone());
    let signature = signer.sign(&other.digest());
    let tag = Signer::tag(&other.digest());
    // Beside the source, until the tags move there.
    other.push_to(&source, "x:next");
    push(signature.clone(), &source, "x:signature");
    for (tag, moved) in [("next", &other.manifest), ("signature", &signature.root)] {
        source.store.remove_tag("x", tag);
        assert!(source.store.manifest("x", &moved.digest()).is_some());
    }
    let moved = other.manifest.clone();
    copied(&source, &mirror, move || {
        from.put_manifest("x", "1", moved);
        from.put_manifest("x", &tag, signature.root);
        store.remove_manifest("y", &single().digest());
    })
    .exits(0);
    assert_eq!(mirror.store.tag("y", "1"), Some(other.digest()));
    assert_eq!(signer.verify(&Held::Fake(&mirror, "y"), "1"), Ok(()));
}

#[test]
fn what_the_run_pushed_first_can_still_be_deleted() {
    let signer = Signer::new();
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    signed(&source, &signer, &single());
    mirror.configure(|settings| settings.deletes = Deletes::DigestOnly);
    let flip = |request: &Request| request.is("PUT", "/y/manifests/1");
    mirror.fail(1, flip, Fault::status(500));
    let store = mirror.store.clone();
    // The signature stays where it was staged.
    let output = copied(&source, &mirror, move || {
        store.remove_manifest("y", &single().digest());
    });
    assert_eq!(tagged(&mirror), [], "{output:#?}");
    output.exits(4);
}
