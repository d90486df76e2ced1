//! `verify --referrers`: of what a lost part is and what brings it again; `--against` a source that has itself lost
//! something.

use serde_json::{Value, json};

use super::blamed::{MEND, assert_says, signed};
use super::shown::{missing, verify};
use super::{NOTARY, counts, single, with};
use crate::support::barge::{Output, run};
use crate::support::content::sha256;
use crate::support::image::{Artifact, list_of, list_tag};
use crate::support::registry::Referrers;
use crate::support::signing::Signer;

#[test]
fn verify_says_how_to_bring_a_blob_of_a_signature_again() {
    let (source, mirror) = (signed(), with(Referrers::Served));
    let to = mirror.reference("y:1");
    source.copied(&["--referrers"], &to).exits(0);
    let blob = sha256(&source.signature.blobs[1]);
    mirror.store.remove_blob("y", &blob);
    let output = verify(&[], &to).exits(1);
    assert_eq!(missing(&output), [(json!("layer"), json!(blob))]);
    let lack = &output.tag("1")["missing"][0];
    let digest = source.signature.root.digest();
    assert_eq!(lack["referrer"], json!(digest));
    assert_eq!(lack["subject"], json!(source.image));
    assert_says(&output.tag("1")["error"], "hint", &[&MEND.join(" ")]);
    let text = run(&["verify", "--referrers", &to]).exits(1).stdout;
    let line = format!(" of the referrer {digest} of {}", source.image);
    assert!(text.contains(&line), "{text}");
    source.copied(&MEND, &to).exits(0);
    verify(&[], &to).exits(0);
}

#[test]
fn what_the_source_has_lost_is_no_fault_of_the_mirror() {
    let source = signed();
    let held = Artifact::of(&single().manifest, NOTARY, "signed").build();
    held.put_into(&source.registry, "x");
    let tag = list_tag(&source.image);
    let list = list_of(&[&source.sbom, &held]);
    source.registry.store.put_manifest("x", &tag, list.clone());
    let store = &source.registry.store;
    store.remove_manifest("x", &source.sbom.root.digest());
    let (mirror, from) = (with(Referrers::Served), source.registry.reference("x:1"));
    let to = mirror.reference("y:1");
    let options = ["--referrers", "--missing-referrers", "skip"];
    let output = source.copied(&options, &to).exits(0);
    assert_eq!(counts(&output, "1")["missing"], 1);
    // An entry; the signature; the whole list.
    let gone = |output: &Output| -> Vec<Value> {
        let told = output.tag("1")["source_lost"].clone();
        told.as_array().cloned().unwrap_or_default()
    };
    let output = verify(&["--against", &from], &to).exits(0);
    assert_eq!(output.tag("1")["status"], "complete", "{output:#?}");
    let [one] = gone(&output).try_into().expect("one is lost");
    assert_eq!(one["digest"], json!(source.sbom.root.digest()));
    assert_says(&one, "message", &[&tag, &source.image]);
    let text = run(&["verify", "--referrers", "--against", &from, &to]).exits(0);
    assert!(text.stdout.contains("the source has lost"), "{text:#?}");
    store.remove_manifest("x", &source.signature.root.digest());
    let output = verify(&["--against", &from], &to).exits(0);
    let names: Vec<Value> = gone(&output).iter().map(|one| one["tag"].clone()).collect();
    assert_eq!(names, [json!(Signer::tag(&source.image)), Value::Null]);
    store.remove_manifest("x", &list.digest());
    let output = verify(&["--against", &from], &to).exits(0);
    assert!(gone(&output).iter().any(|one| one["tag"] == tag.as_str()));
    // What the source has, and the mirror has not, stays a lack of the mirror.
    store.put_manifest("x", &tag, list);
    mirror.store.remove_manifest("y", &held.root.digest());
    let output = verify(&["--against", &from], &to).exits(1);
    assert_eq!(
        missing(&output),
        [(json!("referrer"), json!(held.root.digest()))]
    );
}
