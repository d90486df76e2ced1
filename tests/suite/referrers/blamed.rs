//! Who is told to have lost or harmed what refers to an image, of which image, and what mends it: the source, its
//! list, or the destination.

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{SBOM, single, with};
use crate::support::barge::{Output, copy, run};
use crate::support::content::{Manifest, OCI_INDEX, sha256};
use crate::support::image::{Artifact, Bundle, Layout, list_of, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::Signer;
use crate::support::wire::{Answer, Fault, Request};

pub(super) const MEND: [&str; 3] = ["--referrers", "--recheck", "blobs"];

/// An image at `x:1` with a bill of materials in a list, and a signature of cosign's.
pub(super) struct Signed {
    pub(super) registry: FakeRegistry,
    pub(super) image: String,
    pub(super) sbom: Bundle,
    pub(super) signature: Bundle,
}

pub(super) fn signed() -> Signed {
    let (registry, image) = (with(Referrers::Absent), single());
    image.push_to(&registry, "x:1");
    let sbom = Artifact::of(&image.manifest, SBOM, "bill").build();
    sbom.put_into(&registry, "x");
    let image = image.digest();
    let list = list_of(&[&sbom]);
    registry.store.put_manifest("x", &list_tag(&image), list);
    let signature = Signer::new().sign(&image);
    let name = format!("x:{}", Signer::tag(&image));
    push(signature.clone(), &registry, &name);
    Signed {
        registry,
        image,
        sbom,
        signature,
    }
}

impl Signed {
    pub(super) fn copied(&self, options: &[&str], to: &str) -> Output {
        copy(options, &self.registry.reference("x:1"), to)
    }

    /// The error of a copy, which leaves its tag alone.
    #[track_caller]
    fn fails(&self, options: &[&str]) -> Value {
        let to = with(Referrers::Served);
        let output = self.copied(options, &to.reference("y")).exits(1);
        assert_eq!(to.store.tag("y", "1"), None);
        output.tag("1")["error"].clone()
    }
}

#[track_caller]
pub(super) fn assert_says(error: &Value, part: &str, words: &[&str]) {
    let text = error[part].to_string();
    for word in words {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

#[test]
fn what_is_altered_is_told_of_its_image_and_list() {
    let source = signed();
    let digest = source.sbom.root.digest();
    let harmed = digest.clone();
    let is_it = move |request: &Request| request.is("GET", &harmed);
    source.registry.fail(9, is_it, Fault::FlipBit);
    for options in [&MEND[..1], &["--referrers", "--missing-referrers", "skip"]] {
        let error = source.fails(options);
        assert_eq!(error["kind"], "digest-mismatch");
        let names = [&digest, &source.image, &list_tag(&source.image), SBOM];
        assert_says(&error, "message", &names);
        assert_says(&error, "hint", &["put back at the source"]);
    }
}

/// Harbor's API gives the size of an artifact with all its parts.
#[test]
fn an_artifact_that_its_list_describes_wrongly_is_taken_as_it_is() {
    for referrers in [Referrers::Absent, Referrers::Served] {
        let source = signed();
        let digest = source.sbom.root.digest();
        let mut list = list_of(&[&source.sbom]).json();
        list["manifests"][0]["size"] = json!(5);
        let answer = Answer::new(200).body(OCI_INDEX, list.to_string());
        let list = Manifest::new(OCI_INDEX, list.to_string());
        let tag = list_tag(&source.image);
        source.registry.store.put_manifest("x", &tag, list);
        if matches!(referrers, Referrers::Served) {
            let path = format!("/referrers/{}", source.image);
            source.registry.on(move |request| {
                let asked = request.is("GET", &path);
                asked.then(|| Fault::Status(answer.clone()))
            });
        }
        let to = with(Referrers::Absent);
        let output = source.copied(&["--referrers"], &to.reference("y")).exits(0);
        assert_eq!(output.stderr.matches("5 bytes").count(), 1, "{output:#?}");
        let stored = to.store.manifest("y", &tag).expect("a list").json();
        let size = source.sbom.root.bytes.len();
        assert_eq!(stored["manifests"][0]["size"], size);
        assert_eq!(stored["manifests"][0]["digest"], digest);
        if matches!(referrers, Referrers::Served) {
            run(&["verify", "--referrers", &source.registry.reference("x:1")]).exits(0);
        }
    }
}

#[test]
fn a_blob_that_is_gone_is_told_of_what_it_is_of() {
    for is_tagged in [false, true] {
        let source = signed();
        let (bundle, name) = if is_tagged {
            (&source.signature, Signer::tag(&source.image))
        } else {
            (&source.sbom, source.sbom.root.digest())
        };
        let blob = sha256(bundle.blobs.last().expect("a layer"));
        source.registry.store.remove_blob("x", &blob);
        for options in [&MEND[..1], &["--referrers", "--missing-referrers", "skip"]] {
            let error = source.fails(options);
            assert_eq!(error["kind"], "not-found");
            assert_says(&error, "message", &[&blob, &name, &source.image]);
            assert_says(&error, "hint", &["put back at the source"]);
        }
    }
}

/// A blob of the image itself is not one of its signature.
#[test]
fn what_is_no_referrer_is_told_as_before() {
    let source = signed();
    source
        .registry
        .store
        .remove_blob("x", &single().layers[0].digest());
    let error = source.fails(&["--referrers"]);
    assert!(
        !error["message"].to_string().contains("referrer"),
        "{error}"
    );
}

#[test]
fn the_source_is_not_blamed_for_what_is_damaged_at_the_destination() {
    let source = signed();
    for name in [source.signature.root.digest(), list_tag(&source.image)] {
        let to = with(Referrers::Absent);
        source.copied(&["--referrers"], &to.reference("y")).exits(0);
        let is_it = move |request: &Request| request.is("GET", &name);
        to.fail(9, is_it, Fault::FlipBit);
        let output = source.copied(&MEND, &to.reference("y")).exits(1);
        let error = output.tag("1")["error"].clone();
        assert_eq!(error["kind"], "digest-mismatch", "{error}");
        assert_says(&error, "hint", &["delete it there"]);
    }
    let directory = tempdir().expect("a directory");
    let layout = Layout::at(&directory.path().join("layout"));
    let to = layout.reference("1");
    source.copied(&["--referrers"], &to).exits(0);
    let path = layout.blob_path(&source.signature.root.digest());
    let mut bytes = std::fs::read(&path).expect("a manifest");
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).expect("it can be altered");
    let output = source.copied(&MEND, &to).exits(1);
    assert_says(&output.tag("1")["error"], "hint", &["delete it there"]);
}

/// Both sides are one repository: what fails there is named alike.
#[test]
fn a_refusal_of_the_destination_is_none_of_the_source() {
    let source = signed();
    let blobs = source.sbom.blobs.iter().map(|blob| sha256(blob));
    let parts: Vec<String> = blobs.chain([source.sbom.root.digest()]).collect();
    source.registry.on(move |request| {
        let is_part = parts.iter().any(|part| request.path.ends_with(part));
        let denied = request.method == "POST" || request.method == "HEAD" && is_part;
        denied.then(|| Fault::status(404))
    });
    let to = source.registry.reference("x:2");
    let output = source.copied(&["--referrers"], &to).exits(1);
    let error = output.json()["tags"][0]["error"].clone();
    assert_eq!(error["kind"], "not-found", "{error:#}");
    assert!(
        !error["hint"].to_string().contains("at the source"),
        "{error:#}"
    );
}
