//! Lists of referrers are merged, also where their tags are copied like others; and a manifest with a subject
//! is listed where the registry does not, also without `--referrers`.

use tempfile::tempdir;

use super::{SBOM, listed, single, with};
use crate::support::barge::{Output, barge, copy};
use crate::support::content::{Manifest, OCI_INDEX, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::{Archive, pack};
use crate::support::image::{
    Artifact, Bundle, Layout, Target, list_of, list_tag, push, write_layout,
};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::Signer;
use crate::support::wire::{Fault, Request};

pub(super) const LISTS: [&str; 2] = ["--all-tags", "--include-digest-tags"];
pub(super) const ROLLBACK: [&str; 2] = ["--policy", "rollback"];

pub(super) fn artifact(content: &str) -> Bundle {
    Artifact::of(&single().manifest, SBOM, content).build()
}

pub(super) fn tag() -> String {
    list_tag(&single().digest())
}

/// The same list in another text, so that its bytes tell whose it is.
fn spaced(list: &Manifest) -> Manifest {
    let text = String::from_utf8_lossy(&list.bytes).replacen('{', "{ ", 1);
    Manifest::new(OCI_INDEX, text)
}

fn list(artifacts: &[&Bundle]) -> Manifest {
    spaced(&list_of(artifacts))
}

/// `repository` of a registry without the API, with the image and a list of these artifacts.
fn holding(repository: &str, artifacts: &[&Bundle]) -> FakeRegistry {
    let registry = with(Referrers::Absent);
    single().push_to(&registry, &format!("{repository}:1"));
    for artifact in artifacts {
        artifact.put_into(&registry, repository);
    }
    registry
        .store
        .put_manifest(repository, &tag(), list(artifacts));
    registry
}

pub(super) fn sorted(artifacts: &[&Bundle]) -> Vec<String> {
    let digests = artifacts.iter().map(|artifact| artifact.root.digest());
    let mut digests: Vec<String> = digests.collect();
    digests.sort();
    digests
}

fn run(options: &[&[&str]], source: &FakeRegistry, destination: &str) -> Output {
    copy(&options.concat(), &source.reference("x"), destination)
}

fn writes_list(request: &Request) -> bool {
    request.method == "PUT" && request.path.ends_with(&tag())
}

#[test]
fn a_list_that_is_copied_as_a_tag_is_merged() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    for policy in [&[][..], &ROLLBACK] {
        for flag in [&[][..], &["--referrers"]] {
            let (source, mirror) = (holding("x", &[&ours]), holding("y", &[&theirs]));
            let to = mirror.reference("y");
            let output = run(&[&LISTS, policy, flag], &source, &to).exits(0);
            let found = mirror.store.manifest("y", &tag()).expect("a list");
            assert_eq!(listed(&found), sorted(&[&ours, &theirs]), "{output:#?}");
            let told = output.tag(&tag());
            assert_eq!(told["status"], "copied", "{told}");
            assert_eq!(told["digest"], found.digest(), "{told}");
            assert_eq!(mirror.count(writes_list), 1, "{policy:?} {flag:?}");
            let again = run(&[&LISTS, policy, flag], &source, &to).exits(0);
            let told = again.tag(&tag());
            assert_eq!(told["status"], "current", "{told}");
            assert_eq!(told["digest"], found.digest(), "{told}");
            assert_eq!(mirror.count(writes_list), 1, "{policy:?} {flag:?}");
        }
    }
}

#[test]
fn a_list_is_copied_byte_for_byte_where_that_loses_nothing() {
    let (first, second) = (artifact("1"), artifact("2"));
    let both = list(&[&first, &second]);
    for policy in [&[][..], &ROLLBACK] {
        for mirror in [with(Referrers::Absent), holding("y", &[&second])] {
            let source = holding("x", &[&first, &second]);
            run(&[&LISTS, policy], &source, &mirror.reference("y")).exits(0);
            assert_eq!(mirror.store.manifest("y", &tag()).as_ref(), Some(&both));
        }
    }
}

#[test]
fn a_dry_run_tells_whether_a_list_would_grow() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    let source = holding("x", &[&ours]);
    for (mirror, status) in [
        (holding("y", &[&theirs]), "would-copy"),
        (holding("y", &[&theirs, &ours]), "current"),
    ] {
        for policy in [&[][..], &ROLLBACK] {
            let to = mirror.reference("y");
            let output = run(&[&LISTS, policy, &["--dry-run"]], &source, &to).exits(0);
            assert_eq!(output.tag(&tag())["status"], status);
            assert_eq!(mirror.count(|request| request.method == "PUT"), 0);
        }
    }
}

#[test]
fn a_merged_list_goes_back_where_the_run_fails() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    let (source, mirror) = (holding("x", &[&ours]), holding("y", &[&theirs]));
    push(artifact("a tag"), &source, "x:2");
    let flip = |request: &Request| request.is("PUT", "/manifests/2");
    mirror.fail(usize::MAX, flip, Fault::status(500));
    let options = [&LISTS[..], &ROLLBACK, &["--retry-times", "0"]];
    let output = run(&options, &source, &mirror.reference("y")).exits(4);
    assert_eq!(mirror.count(writes_list), 2, "there and back: {output:#?}");
    let list = list(&[&theirs]);
    assert_eq!(mirror.store.manifest("y", &tag()), Some(list));
    assert_eq!(output.tag(&tag())["status"], "rolled-back");
}

#[test]
fn files_merge_lists_too() {
    let (ours, theirs) = (artifact("ours"), artifact("theirs"));
    for policy in [&[][..], &ROLLBACK] {
        let directory = tempdir().expect("a directory");
        let path = directory.path().join("place");
        for place in [
            format!("oci:{}", path.join("layout").display()),
            format!("oci-archive:{}", path.join("archive.tar").display()),
        ] {
            std::fs::create_dir_all(&path).expect("a directory");
            for artifact in [&theirs, &ours] {
                run(&[&LISTS, policy], &holding("x", &[artifact]), &place).exits(0);
            }
            let back = with(Referrers::Absent);
            copy(&LISTS, &place, &back.reference("y")).exits(0);
            let found = back.store.manifest("y", &tag()).expect("a list");
            assert_eq!(listed(&found), sorted(&[&ours, &theirs]), "{place}");
        }
    }
}

/// An image of the same name is not in the way, as GitLab answers.
#[test]
fn what_a_registry_takes_for_the_digest_is_no_list() {
    let source = with(Referrers::Absent);
    push(artifact("1"), &source, "x:1");
    let mirror = with(Referrers::Absent);
    single().push_to(&mirror, &format!("y:{}", tag()));
    copy(&[], &source.reference("x:1"), &mirror.reference("y")).exits(0);
    let found = mirror.store.manifest("y", &tag()).expect("a list");
    assert_eq!(listed(&found), sorted(&[&artifact("1")]));
}

#[test]
fn a_manifest_with_a_subject_is_listed_without_the_flag() {
    let (first, second) = (artifact("1"), artifact("2"));
    for policy in [&[][..], &ROLLBACK] {
        let source = with(Referrers::Served);
        push(&first, &source, "x:1");
        push(&second, &source, "x:2");
        let theirs = artifact("theirs");
        let mirror = holding("y", &[&theirs]);
        let to = mirror.reference("y");
        run(&[&["--all-tags"], policy], &source, &to).exits(0);
        let found = mirror.store.manifest("y", &tag()).expect("a list");
        assert_eq!(listed(&found), sorted(&[&first, &second, &theirs]));
        // What is in it already is not written again.
        mirror.clear_log();
        run(&[&["--all-tags"], policy], &source, &to).exits(0);
        assert_eq!(mirror.count(|request| request.method == "PUT"), 0);
    }
}

#[test]
fn a_listing_comes_before_its_tag_and_fails_it() {
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    push(artifact("1"), &source, "x:1");
    mirror.fail(1, writes_list, Fault::status(403));
    let (from, to) = (source.reference("x:1"), mirror.reference("y"));
    copy(&[], &from, &to).exits(1);
    assert_eq!(mirror.store.tags("y"), [""; 0]);
    copy(&[], &from, &to).exits(0);
    assert_eq!(mirror.store.tags("y"), ["1".to_owned(), tag()]);
}

#[test]
fn two_tags_of_one_manifest_wait_for_its_list() {
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    for tag in ["1", "2"] {
        push(artifact("1"), &source, &format!("x:{tag}"));
    }
    mirror.fail(usize::MAX, writes_list, Fault::status(403));
    run(&[&["--all-tags"]], &source, &mirror.reference("y")).exits(1);
    assert_eq!(mirror.store.tags("y"), [""; 0]);
}

#[test]
fn what_an_index_lists_is_listed_as_referring() {
    let (first, second) = (artifact("1"), artifact("2"));
    let index = list_of(&[&first, &second]);
    for policy in [&[][..], &ROLLBACK] {
        let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
        for artifact in [&first, &second] {
            artifact.put_into(&source, "x");
        }
        source.store.put_manifest("x", "all", index.clone());
        run(&[&["--all-tags"], policy], &source, &mirror.reference("y")).exits(0);
        let found = mirror.store.manifest("y", &tag()).expect("a list");
        assert_eq!(listed(&found), sorted(&[&first, &second]));
        assert_eq!(mirror.count(writes_list), 1, "one write for both");
    }
}

#[test]
fn a_registry_that_lists_it_gets_no_list() {
    let (source, mirror) = (with(Referrers::Absent), with(Referrers::Served));
    push(artifact("1"), &source, "x:1");
    copy(&[], &source.reference("x:1"), &mirror.reference("y")).exits(0);
    let asked = |request: &Request| {
        request.path.contains("sha256-")
            || request.path.contains("/referrers/")
            || request.path.ends_with("/tags/list")
    };
    assert_eq!(mirror.count(asked) + source.count(asked), 0);
    assert_eq!(mirror.count(|request| request.is("PUT", "/manifests/")), 2);
}

#[test]
fn a_real_registry_lists_what_has_a_subject() {
    let source = with(Referrers::Served);
    push(artifact("1"), &source, "x:1");
    for policy in [&[][..], &ROLLBACK] {
        let mirror = DockerRegistry::start();
        let theirs = artifact("theirs");
        theirs.put_into(Target::Docker(&mirror), "y");
        let client = mirror.client();
        client.put_manifest("y", &tag(), &list(&[&theirs]));
        run(&[&["--all-tags"], policy], &source, &mirror.reference("y")).exits(0);
        let found = client.manifest("y", &tag()).expect("a list");
        assert_eq!(listed(&found), sorted(&[&artifact("1"), &theirs]));
    }
}

/// Each tag adds its own to the list of the image, and so does the next run.
#[test]
fn an_archive_lists_what_has_a_subject() {
    let all = ["2", "3", "4"].map(artifact);
    for policy in [&[][..], &ROLLBACK] {
        let (source, directory) = (with(Referrers::Absent), tempdir());
        single().push_to(&source, "x:1");
        push(&all[0], &source, "x:2");
        push(&all[1], &source, "x:3");
        let directory = directory.expect("a directory");
        let archive = Archive::at(&directory.path().join("archive.tar"));
        let place = archive.reference("");
        run(&[&["--all-tags"], policy], &source, &place).exits(0);
        push(&all[2], &source, "x:4");
        run(&[&["--all-tags"], policy], &source, &place).exits(0);
        let expected = sorted(&[&all[0], &all[1], &all[2]]);
        let found = archive.manifest(&tag()).expect("a list");
        assert_eq!(listed(&found), expected);
        let again = run(&[&["--all-tags"], policy], &source, &place).exits(0);
        assert_eq!(again.tag("4")["status"], "current");
        let mirror = with(Referrers::Absent);
        let image = archive.reference("1");
        let output = copy(&["--referrers"], &image, &mirror.reference("y")).exits(0);
        assert_eq!(output.tag("1")["referrers"]["copied"], 3);
        let found = mirror.store.manifest("y", &tag()).expect("a list");
        assert_eq!(listed(&found), expected);
    }
}

/// As other tools write layouts: what refers to an image has a name of its own, and is in no list.
#[test]
fn a_named_entry_may_refer_to_an_image() {
    let directory = tempdir().expect("a directory");
    let images = [("1", Bundle::from(&single())), ("sbom", artifact("named"))];
    let path = directory.path().join("layout");
    let layout = write_layout(&path, &images);
    let archive = pack(&path, &directory.path().join("archive.tar"));
    for image in [layout.reference("1"), archive.reference("1")] {
        let mirror = with(Referrers::Served);
        let output = copy(&["--referrers"], &image, &mirror.reference("y")).exits(0);
        assert_eq!(output.tag("1")["referrers"]["copied"], 1, "{image}");
        let root = artifact("named").root;
        assert_eq!(mirror.store.manifest("y", &root.digest()), Some(root));
    }
    // What is wrong with one that nobody asked for is no matter of the image.
    std::fs::remove_file(layout.blob_path(&artifact("named").root.digest())).expect("a blob");
    let mirror = with(Referrers::Served);
    let to = mirror.reference("y");
    copy(&["--referrers"], &layout.reference("1"), &to).exits(0);
}

#[test]
fn a_layout_lists_what_has_a_subject() {
    let source = with(Referrers::Served);
    push(artifact("1"), &source, "x:1");
    for policy in [&[][..], &ROLLBACK] {
        let directory = tempdir().expect("a directory");
        let layout = Layout::at(&directory.path().join("layout"));
        run(&[&["--all-tags"], policy], &source, &layout.reference("")).exits(0);
        let found = layout.manifest(&tag()).expect("a list");
        assert_eq!(listed(&found), sorted(&[&artifact("1")]));
        let image = barge()
            .args(["inspect", "-o", "json", &layout.reference("1")])
            .run()
            .exits(0)
            .json();
        assert_eq!(image["digest"], sha256(&artifact("1").root.bytes));
    }
}

#[test]
fn what_is_of_no_platform_comes_with_its_image() {
    let source = holding("x", &[&artifact("bill")]);
    let signature = Signer::new().sign(&single().digest());
    let name = Signer::tag(&single().digest());
    push(signature, &source, &format!("x:{name}"));
    let digests = ["--all-tags", "--include-digest-tags", "--arch", "arm64"];
    for (missing, status) in [("fail", "failed"), ("skip", "skipped")] {
        let destination = with(Referrers::Absent);
        let options = [&digests[..], &["--missing-arch", missing]];
        let output = run(&options, &source, &destination.reference("y"));
        for tag in [&name, &tag()] {
            let found = output.tag(tag);
            assert_eq!(found["status"], status, "{found}");
            let hint = found["error"]["hint"].to_string();
            assert!(hint.contains("--referrers"), "{found}");
        }
        let hint = output.tag("1")["error"]["hint"].to_string();
        assert!(!hint.contains("--referrers"), "{hint}");
    }
}
