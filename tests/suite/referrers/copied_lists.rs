//! What goes to the tag of a list of referrers is judged by that tag: a list is merged, whatever it is called at
//! the source, and nothing else takes its place.

use tempfile::{TempDir, tempdir};

use super::lists::{LISTS, ROLLBACK, artifact, sorted, tag};
use super::rollback::rollback;
use super::{SBOM, index, listed, single, with};
use crate::support::barge::{Output, barge, copy};
use crate::support::content::{Manifest, OCI_INDEX};
use crate::support::image::{Bundle, Layout, list_of, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::wire::{Fault, Request};

/// A registry without the API, with these artifacts in `repository` and a list of them under `tag`.
fn holding(repository: &str, tag: &str, artifacts: &[&Bundle]) -> FakeRegistry {
    let registry = with(Referrers::Absent);
    for artifact in artifacts {
        artifact.put_into(&registry, repository);
    }
    registry
        .store
        .put_manifest(repository, tag, list_of(artifacts));
    registry
}

fn is_written(registry: &FakeRegistry) -> bool {
    registry.count(|request| request.method == "PUT" && request.path.ends_with(&tag())) > 0
}

#[test]
fn a_list_is_merged_whatever_it_is_called_at_the_source() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    let source = holding("x", "mylist", &[&ours]);
    let by_digest = format!("x@{}", list_of(&[&ours]).digest());
    for policy in [&[][..], &ROLLBACK] {
        for from in ["x:mylist", &by_digest] {
            let mirror = holding("y", &tag(), &[&theirs]);
            let to = mirror.reference(&format!("y:{}", tag()));
            let output = copy(policy, &source.reference(from), &to).exits(0);
            let found = mirror.store.manifest("y", &tag()).expect("a list");
            assert_eq!(listed(&found), sorted(&[&ours, &theirs]), "{output:#?}");
            assert_eq!(output.json()["tags"][0]["digest"], found.digest());
            assert_eq!(output.json()["tags"][0]["status"], "copied");
        }
    }
}

/// Under another tag it is an index like others.
#[test]
fn a_list_that_goes_elsewhere_is_copied_as_it_is() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    let source = holding("x", &tag(), &[&ours]);
    let mirror = holding("y", "mylist", &[&theirs]);
    let from = source.reference(&format!("x:{}", tag()));
    copy(&[], &from, &mirror.reference("y:mylist")).exits(0);
    let found = mirror.store.manifest("y", "mylist").expect("a list");
    assert_eq!(listed(&found), sorted(&[&ours]));
}

#[test]
fn what_is_no_list_takes_no_lists_place() {
    let theirs = artifact("theirs");
    let source = with(Referrers::Absent);
    index().push_to(&source, "x:index");
    single().push_to(&source, "x:image");
    for policy in [&[][..], &ROLLBACK] {
        for from in ["x:index", "x:image"] {
            let directory = tempdir().expect("a directory");
            let layout = Layout::at(&directory.path().join("layout"));
            let archive = format!("oci-archive:{}", directory.path().join("a.tar").display());
            let mirror = holding("y", &tag(), &[&theirs]);
            let (here, there) = (mirror.reference("y"), format!(":{}", tag()));
            for file in [layout.reference(""), archive.clone()] {
                copy(&[], &format!("{here}{there}"), &file).exits(0);
            }
            // The image that such a tag is made of is one too, but no list is there to be lost.
            for to in [&here, &layout.reference(""), &archive] {
                let to = format!("{to}{there}");
                let output = copy(policy, &source.reference(from), &to);
                let told = output.json()["tags"][0].clone();
                assert_eq!(told["error"]["kind"], "conflict", "{to}: {told}");
                let back = with(Referrers::Absent);
                copy(&[], &to, &back.reference("z")).exits(0);
                let found = back.store.manifest("z", &tag()).expect("a list");
                assert_eq!(listed(&found), sorted(&[&theirs]), "{to}");
            }
            assert!(!is_written(&mirror), "{from} {policy:?}");
            let blobs = |request: &Request| request.method == "POST";
            assert_eq!(mirror.count(blobs), 0, "nothing moves in vain");
        }
    }
}

#[test]
fn an_image_goes_where_no_list_is() {
    let source = with(Referrers::Absent);
    index().push_to(&source, "x:index");
    single().push_to(&source, "x:image");
    let mirror = with(Referrers::Absent);
    let to = mirror.reference(&format!("y:{}", tag()));
    for from in ["x:index", "x:image", "x:index"] {
        copy(&[], &source.reference(from), &to).exits(0);
        let found = mirror.store.tag("y", &tag());
        let tag = from.split_once(':').map(|(_, tag)| tag);
        assert_eq!(found, source.store.tag("x", tag.unwrap_or_default()));
    }
}

#[test]
fn a_merged_list_does_not_keep_its_digest_and_says_so() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    let source = holding("x", &tag(), &[&ours]);
    let from = source.reference("x");
    let directory = tempdir().expect("a directory");
    let archive = format!("oci-archive:{}", directory.path().join("a.tar").display());
    let mirror = holding("y", &tag(), &[&theirs]);
    copy(&LISTS, &mirror.reference("y"), &archive).exits(0);
    for to in [mirror.reference("y"), archive] {
        let output = copy(&[&LISTS[..], &["--preserve-digests"]].concat(), &from, &to).exits(1);
        assert_eq!(output.tag(&tag())["error"]["kind"], "unsupported", "{to}");
        assert!(!is_written(&mirror));
    }
    // One that is there in the same bytes, or not at all, keeps it; with --referrers it only comes along.
    single().push_to(&source, "x:1");
    let whole = with(Referrers::Absent);
    for _ in 0..2 {
        let options = [&LISTS[..], &["--preserve-digests"]].concat();
        copy(&options, &from, &whole.reference("y")).exits(0);
    }
    let to = mirror.reference("y");
    copy(
        &["--referrers", "--preserve-digests"],
        &format!("{from}:1"),
        &to,
    )
    .exits(0);
    let found = mirror.store.manifest("y", &tag()).expect("a list");
    assert_eq!(listed(&found), sorted(&[&ours, &theirs]));
}

#[test]
fn a_merged_list_is_told_among_many_tags() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    let source = holding("x", &tag(), &[&ours]);
    single().push_to(&source, "x:1");
    let mirror = holding("y", &tag(), &[&theirs]);
    let run = || {
        let run = barge().arg("copy").args(LISTS);
        run.args([source.reference("x"), mirror.reference("y")])
            .run()
            .exits(0)
    };
    let note = format!("note: {}: the list was merged", tag());
    let (first, second) = (run(), run());
    assert!(first.stdout.contains(&note), "{first:#?}");
    assert!(!second.stdout.contains("merged"), "{second:#?}");
    let alone = barge()
        .arg("copy")
        .arg(source.reference(&format!("x:{}", tag())));
    let alone = alone.arg(mirror.reference("y")).run().exits(0);
    assert!(alone.stdout.contains("(the list was merged)"), "{alone:#?}");
}

/// An index that names a subject, and lists one artifact.
fn nested(part: &Bundle) -> Manifest {
    let mut index = list_of(&[part]).json();
    let subject = &single().manifest;
    index["artifactType"] = SBOM.into();
    index["subject"] = serde_json::json!({
        "mediaType": subject.media_type, "digest": subject.digest(), "size": subject.bytes.len()
    });
    Manifest::new(OCI_INDEX, index.to_string())
}

fn all_of(manifests: &[&Manifest]) -> Manifest {
    let entries = manifests.iter().map(|manifest| {
        serde_json::json!({
            "mediaType": manifest.media_type, "digest": manifest.digest(),
            "size": manifest.bytes.len(), "artifactType": SBOM,
        })
    });
    let list = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries.collect::<Vec<_>>()
    });
    Manifest::new(OCI_INDEX, list.to_string())
}

#[test]
fn what_a_copied_list_names_and_is_gone_fails_it_or_stays_behind() {
    let (here, gone, part) = (artifact("here"), artifact("gone"), artifact("part"));
    let (parted, absent) = (nested(&part), nested(&artifact("absent")));
    let source = with(Referrers::Absent);
    here.put_into(&source, "x");
    // One artifact is gone, an index is, and an index has lost what it lists.
    source
        .store
        .put_manifest("x", &parted.digest(), parted.clone());
    for (what, name) in [
        (&gone.root, gone.root.digest()),
        (&absent, absent.digest()),
        (&parted, part.root.digest()),
    ] {
        let list = all_of(&[&here.root, what]);
        source.store.put_manifest("x", &tag(), list);
        for policy in [&[][..], &ROLLBACK] {
            let mirror = with(Referrers::Absent);
            let (from, to) = (source.reference("x"), mirror.reference("y"));
            let output = copy(&[&LISTS[..], policy].concat(), &from, &to);
            let error = output.tag(&tag())["error"].clone();
            assert_eq!(error["kind"], "not-found", "{error}");
            let message = error["message"].to_string();
            assert!(message.contains("list of referrers"), "{error}");
            assert!(message.contains(&name), "{error}");
            let hint = error["hint"].to_string();
            assert!(hint.contains("--missing-referrers skip"), "{error}");
            assert!(!is_written(&mirror));
            let skip = ["--missing-referrers", "skip"];
            for status in ["copied", "current"] {
                let options = [&LISTS[..], policy, &skip].concat();
                let output = copy(&options, &from, &to).exits(0);
                assert_eq!(output.tag(&tag())["status"], status);
                assert!(output.stderr.contains(&name), "{output:#?}");
                let found = mirror.store.manifest("y", &tag()).expect("a list");
                assert_eq!(listed(&found), sorted(&[&here]));
            }
        }
    }
}

#[test]
fn what_the_destination_has_need_not_be_at_the_source() {
    let ours = artifact("ours");
    let source = with(Referrers::Absent);
    source.store.put_manifest("x", &tag(), list_of(&[&ours]));
    let mirror = holding("y", &tag(), &[&ours, &artifact("theirs")]);
    let output = copy(&LISTS, &source.reference("x"), &mirror.reference("y")).exits(0);
    assert_eq!(output.tag(&tag())["status"], "current");
}

/// The mirror, compared with its source.
fn verified(source: &FakeRegistry, mirror: &FakeRegistry) -> Output {
    let run = barge().args(["verify", "-o", "json"]).args(LISTS);
    run.args(["--against", &source.reference("x"), &mirror.reference("y")])
        .run()
}

#[test]
fn a_merged_list_is_complete_where_all_is_in_it_that_the_source_lists() {
    let (ours, theirs, new) = (artifact("ours"), artifact("theirs"), artifact("new"));
    let source = holding("x", &tag(), &[&ours]);
    let mirror = holding("y", &tag(), &[&theirs]);
    copy(&LISTS, &source.reference("x"), &mirror.reference("y")).exits(0);
    verified(&source, &mirror).exits(0);
    new.put_into(&source, "x");
    let both = list_of(&[&ours, &new]);
    source.store.put_manifest("x", &tag(), both);
    let told = verified(&source, &mirror).exits(1).tag(&tag()).clone();
    assert_eq!(told["error"]["kind"], "digest-mismatch", "{told}");
    let message = told["error"]["message"].to_string();
    assert!(message.contains(&new.root.digest()), "{told}");
    assert!(!message.contains(&ours.root.digest()), "{told}");
    // What the source has lost cannot be asked of a copy.
    let both = list_of(&[&ours, &artifact("absent")]);
    source.store.put_manifest("x", &tag(), both);
    verified(&source, &mirror).exits(0);
    let (from, to) = (source.reference("x"), mirror.reference("y"));
    let skip = ["--missing-referrers", "skip"];
    copy(&[&LISTS[..], &skip].concat(), &from, &to).exits(0);
    verified(&source, &mirror).exits(0);
    // What is no list is none of this.
    let image = single().manifest;
    source.store.put_manifest("x", &tag(), image);
    let told = verified(&source, &mirror).tag(&tag()).clone();
    assert_eq!(told["error"]["kind"], "digest-mismatch", "{told}");
}

/// A run whose flip of `2` fails, when somebody else has moved a tag that it had moved.
struct RolledBack {
    output: Output,
    mirror: FakeRegistry,
    state: TempDir,
}

impl RolledBack {
    fn with(moved: &str, theirs: &Manifest) -> Self {
        let source = with(Referrers::Served);
        single().push_to(&source, "x:2");
        artifact("ours").put_into(&source, "x");
        push(artifact("sig"), &source, &format!("x:{}.sig", tag()));
        let mirror = holding("y", &tag(), &[&artifact("theirs")]);
        let (store, moved, theirs) = (mirror.store.clone(), moved.to_owned(), theirs.clone());
        mirror.on(move |request| {
            let flip = request.is("PUT", "/y/manifests/2");
            flip.then(|| {
                store.put_manifest("y", &moved, theirs.clone());
                Fault::status(403)
            })
        });
        let state = tempdir().expect("a directory");
        let (from, to) = (source.reference("x"), mirror.reference("y"));
        let output = rollback(state.path(), &from, &to).run().exits(5);
        mirror.behave();
        Self {
            output,
            mirror,
            state,
        }
    }

    fn undo(&self, what: &[&str]) -> Output {
        let undo = barge().arg("undo").args(what).arg("--state-dir");
        undo.arg(self.state.path()).run()
    }
}

#[test]
fn a_list_that_somebody_added_to_is_named_and_stays_whole() {
    let (ours, theirs, foreign) = (artifact("ours"), artifact("theirs"), artifact("foreign"));
    let all = list_of(&[&theirs, &ours, &foreign]);
    let run = RolledBack::with(&tag(), &all);
    let output = &run.output;
    assert_eq!(output.json()["left"], serde_json::json!([tag()]));
    assert_eq!(run.mirror.store.tags("y"), [tag()]);
    let error = output.tag("2")["error"].clone();
    let hint = error["hint"].to_string();
    assert!(!hint.contains("barge copy"), "{error}");
    assert!(hint.contains("only grow"), "{error}");
    // There is nothing to be done, so nothing is kept for it.
    assert_eq!(output.json().get("journal"), None, "{output:#?}");
    let undo = run.undo(&["--all"]).exits(0);
    assert!(undo.stdout.contains("nothing to put back"), "{undo:#?}");
    assert_eq!(run.mirror.store.manifest("y", &tag()), Some(all));
}

#[test]
fn a_signatures_tag_that_somebody_moved_is_named() {
    let signature = format!("{}.sig", tag());
    let run = RolledBack::with(&signature, &artifact("theirs").root);
    let report = run.output.json();
    assert_eq!(report["left"], serde_json::json!([signature]));
    assert_eq!(run.mirror.store.tags("y"), [tag(), signature.clone()]);
    // The journal that is named is there, and undo tells of it.
    let journal = report["journal"].as_str().expect("a journal");
    assert!(std::path::Path::new(journal).exists());
    let undo = run.undo(&["--all"]).exits(0);
    assert!(undo.stdout.contains("1 closed one"), "{undo:#?}");
    let list = run.undo(&[]).exits(0);
    assert!(list.stdout.contains(&signature), "{list:#?}");
}
