//! What refers to images is left out like all else that is there, unless a name leads to it.

use std::collections::BTreeSet;

use super::{Desk, single};
use crate::support::barge::{copy, run};
use crate::support::image::archive::Archive;
use crate::support::image::{Artifact, Bundle, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers, Settings};
use crate::support::signing::{Held, Signer};

const SBOM: &str = "application/spdx+json";
const REFERRERS: [&str; 2] = ["--all-tags", "--referrers"];

fn with(referrers: Referrers) -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        referrers,
        ..Settings::default()
    })
}

fn artifact(content: &str) -> Bundle {
    Artifact::of(&single(1).manifest, SBOM, content).build()
}

/// What is in the archive, by digest.
fn held(archive: &Archive) -> BTreeSet<String> {
    let names = archive.files().into_keys();
    names
        .filter_map(|name| Some(format!("sha256:{}", name.strip_prefix("blobs/sha256/")?)))
        .collect()
}

#[test]
fn only_what_is_new_crosses() {
    for inside in [Referrers::Served, Referrers::Absent] {
        let (desk, signer) = (Desk::new(), Signer::new());
        let (source, mirror) = (with(Referrers::Served), with(inside));
        single(1).push_to(&source, "x:1");
        let digest = single(1).digest();
        let signature = signer.sign(&digest);
        push(&signature, &source, &format!("x:{}", Signer::tag(&digest)));
        let (old, new) = (artifact("old"), artifact("new"));
        old.put_into(&source, "x");
        let (from, to) = (source.reference("x"), mirror.reference("y"));
        copy(&REFERRERS, &from, &to).exits(0);
        new.put_into(&source, "x");

        let inventory = run(&["inventory", "--referrers", &to]).exits(0);
        let have = desk.write("have.json", &inventory.stdout);
        let archive = desk.archive("new.tar");
        let options = [&REFERRERS[..], &["--have", &have]].concat();
        let exported = copy(&options, &from, &archive.reference("")).exits(0);
        let held = held(&archive);
        let counts = &exported.tag("1")["referrers"];
        assert_eq!(counts["copied"], 2, "{inside:?}: {counts}");
        assert_eq!(counts["existing"], 1, "{inside:?}: {counts}");
        let has = |bundle: &Bundle| held.contains(&bundle.root.digest());
        assert!(has(&new) && !has(&old), "{inside:?}: {held:?}");
        assert!(
            has(&signature),
            "{inside:?}: its tag cannot move without it"
        );
        for blob in old.blobs.iter().chain(&signature.blobs) {
            let blob = crate::support::content::sha256(blob);
            assert!(!held.contains(&blob), "{inside:?}: {held:?}");
        }

        let output = copy(&REFERRERS, &archive.reference(""), &to).exits(0);
        let counts = &output.tag("1")["referrers"];
        assert_eq!(counts["copied"], 1, "{inside:?}: {counts}");
        assert_eq!(counts["existing"], 2, "{inside:?}: {counts}");
        assert!(mirror.store.manifest("y", &new.root.digest()).is_some());
        assert_eq!(signer.verify(&Held::Fake(&mirror, "y"), "1"), Ok(()));
        if inside == Referrers::Absent {
            let list = mirror.store.manifest("y", &list_tag(&digest));
            let list = list.expect("a list").json();
            assert_eq!(list["manifests"].as_array().map(Vec::len), Some(2));
        }
    }
}

#[test]
fn an_artifact_that_is_gone_inside_is_missed_before_anything_is_written() {
    let (desk, old) = (Desk::new(), artifact("old"));
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Served));
    single(1).push_to(&source, "x:1");
    old.put_into(&source, "x");
    let (from, to) = (source.reference("x"), mirror.reference("y"));
    copy(&REFERRERS, &from, &to).exits(0);
    let inventory = run(&["inventory", "--referrers", &to]).exits(0);
    let have = desk.write("have.json", &inventory.stdout);
    let archive = desk.archive("new.tar");
    let options = [&REFERRERS[..], &["--have", &have]].concat();
    copy(&options, &from, &archive.reference("")).exits(0);
    mirror.store.remove_manifest("y", &old.root.digest());
    mirror.clear_log();
    let output = copy(&REFERRERS, &archive.reference(""), &to).exits(1);
    assert_eq!(super::lacking(&output.json()), [old.root.digest()]);
    assert!(super::writes(&mirror).is_empty());
}

/// What the hint says is done, word for word.
#[test]
fn the_hint_mends_what_referrers_lack() {
    for flag in ["--referrers", "--referrers=application/spdx+json"] {
        let (desk, old) = (Desk::new(), artifact("old"));
        let (source, mirror) = (with(Referrers::Served), with(Referrers::Served));
        single(1).push_to(&source, "x:1");
        old.put_into(&source, "x");
        let (from, to) = (source.reference("x"), mirror.reference("y"));
        let options = ["--all-tags", flag];
        copy(&options, &from, &to).exits(0);
        let inventory = run(&["inventory", "--referrers", &to]).exits(0);
        let have = desk.write("have.json", &inventory.stdout);
        let archive = desk.archive("new.tar");
        let with_have = [&options[..], &["--have", &have]].concat();
        copy(&with_have, &from, &archive.reference("")).exits(0);
        mirror
            .store
            .remove_blob("y", &crate::support::content::sha256(&old.blobs[1]));
        let import = || copy(&options, &archive.reference(""), &to);
        let report = import().exits(1).json();
        let hint = report["error"]["hint"].as_str().expect("a hint");
        let whole = desk.archive("whole.tar").reference("");
        for command in hint.split('`').skip(1).step_by(2).take(2) {
            assert!(command.contains(&format!(" {flag} ")), "{command}");
            let command = command.replace("oci-archive:whole.tar", &whole);
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            run(&words).exits(0);
        }
        import().exits(0);
    }
}
