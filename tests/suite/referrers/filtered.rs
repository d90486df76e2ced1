//! A filtered index is another index: what is signed of the source's does not speak for it.

use serde_json::json;

use super::{SBOM, counts, index, single, with};
use crate::support::barge::{copy, run};
use crate::support::image::{Artifact, Form, IndexBuilder, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::{Held, Signer};
use crate::support::wire::Request;

const COSIGN: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const LEFT: &str = "source index signed; not valid for the filtered index";

/// An index at `x:1` whose root is signed, and an image of it too.
fn signed(signer: &Signer) -> FakeRegistry {
    let (registry, image) = (with(Referrers::Served), index());
    image.push_to(&registry, "x:1");
    for digest in [image.digest(), image.image("amd64").digest()] {
        push(
            signer.sign(&digest),
            &registry,
            &format!("x:{}", Signer::tag(&digest)),
        );
    }
    registry
}

fn writes(request: &Request) -> bool {
    !request.reads()
}

#[test]
fn the_report_is_honest() {
    let signer = Signer::new();
    let (source, destination) = (signed(&signer), with(Referrers::Served));
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let output = copy(&["--arch", "amd64", "--referrers"], &from, &to).exits(0);
    let tag = output.tag("1");
    assert_eq!(tag["signatures"], LEFT);
    assert!(
        tag["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("sparse-index")),
        "{tag}"
    );
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 0}));
    // The child keeps its own.
    let held = Held::Fake(&destination, "y");
    assert_eq!(
        signer.verify(&held, &index().image("amd64").digest()),
        Ok(())
    );
    assert_eq!(destination.store.tags("y").len(), 2);
    let again = run(&["copy", "--arch", "amd64", "--referrers", &from, &to]).exits(0);
    for part in [LEFT, "hint: --mode sparse-index", "REFERRERS"] {
        assert!(again.stdout.contains(part), "{again:#?}");
    }
}

#[test]
fn what_stays_behind_is_named() {
    let signer = Signer::new();
    let (source, destination) = (signed(&signer), with(Referrers::Served));
    for content in ["one", "two"] {
        let bill = Artifact::of(&index().root, SBOM, content).build();
        bill.put_into(&source, "x");
    }
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let bills = json!({"type": SBOM, "count": 2});
    let signature = json!({"type": COSIGN, "count": 1});
    let of_type = format!("--referrers={SBOM}");
    let every = json!([bills, signature]);
    for (options, left) in [
        (&["--referrers", "--dry-run"][..], &every),
        (&["--referrers"], &every),
        (&[&of_type], &json!([bills])),
    ] {
        let tag = copy(&[&["--arch", "amd64"], options].concat(), &from, &to)
            .exits(0)
            .tag("1");
        assert_eq!(tag["referrers_left"], *left, "{options:?}");
        assert_eq!(tag["signatures"], LEFT, "{options:?}");
        assert!(tag["hint"].to_string().contains("sparse-index"), "{tag}");
    }
    let text = run(&["copy", "--arch", "amd64", "--referrers", &from, &to]).exits(0);
    let says = format!(
        "note: 1: left behind with the source's index: 3 referrers (2 of {SBOM}, {COSIGN})\n"
    );
    assert!(text.stdout.contains(&says), "{text:#?}");
    // Without the flag nothing is asked, and where the index stays nothing is left behind.
    let asked = source.count(|request| request.is("GET", "/referrers/"));
    copy(&["--arch", "amd64"], &from, &to).exits(0);
    let count = source.count(|request| request.is("GET", "/referrers/"));
    assert_eq!(count, asked);
    let sparse = ["--arch", "amd64", "--mode", "sparse-index", "--referrers"];
    for options in [&sparse[..], &["--arch", "amd64,arm64", "--referrers"]] {
        let tag = copy(options, &from, &to).exits(0).tag("1");
        for field in ["referrers_left", "signatures", "hint"] {
            assert_eq!(tag.get(field), None, "{options:?}");
        }
    }
}

/// The filter makes another index of each that it takes something from, however deep.
#[test]
fn a_nested_index_is_as_honest() {
    let (inner, whole) = (index(), single());
    let whole = IndexBuilder::new(Form::Oci).image(&whole).build();
    let outer = IndexBuilder::new(Form::Oci)
        .index(&inner)
        .index(&whole)
        .build();
    let (source, destination) = (with(Referrers::Served), with(Referrers::Served));
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    outer.push_to(&source, "x:1");
    let signer = Signer::new();
    let sign = |digest: &str| {
        let tag = format!("x:{}", Signer::tag(digest));
        push(signer.sign(digest), &source, &tag);
    };
    sign(&whole.digest());
    let filter = ["--arch", "arm64", "--require-signature"];
    copy(&filter, &from, &to).exits(0);
    sign(&inner.digest());
    let failed = copy(&filter, &from, &to).exits(1).tag("1");
    assert_eq!(failed["error"]["kind"], "unsupported", "{failed}");
    let message = failed["error"]["message"].to_string();
    assert!(message.contains(&inner.digest()), "{failed}");
    let output = copy(&["--arch", "arm64", "--referrers"], &from, &to).exits(0);
    let tag = output.tag("1");
    assert_eq!(tag["signatures"], LEFT);
    assert_eq!(tag["referrers_left"], json!([{"type": COSIGN, "count": 1}]));
    // One of which nothing is left out keeps its own.
    assert_eq!(counts(&output, "1"), json!({"copied": 1, "existing": 0}));
    let held = Held::Fake(&destination, "y");
    assert_eq!(signer.verify(&held, &whole.digest()), Ok(()));
    // An index that is new is nothing that the source could have referrers of.
    let strange = source.count(|request| {
        let asked = request.path.split_once("/referrers/");
        asked.is_some_and(|(_, digest)| source.store.manifest("x", digest).is_none())
    });
    assert_eq!(strange, 0);
}

#[test]
fn where_nothing_is_dropped_signatures_stay_good() {
    let signer = Signer::new();
    let (source, destination) = (signed(&signer), with(Referrers::Absent));
    let arguments = [
        "--arch",
        "amd64,arm64",
        "--referrers",
        "--require-signature",
    ];
    let output = copy(
        &arguments,
        &source.reference("x:1"),
        &destination.reference("y"),
    )
    .exits(0);
    assert_eq!(output.tag("1").get("signatures"), None);
    assert_eq!(signer.verify(&Held::Fake(&destination, "y"), "1"), Ok(()));
}

#[test]
fn a_signed_index_can_be_required_to_stay() {
    let signer = Signer::new();
    let (source, destination) = (signed(&signer), with(Referrers::Served));
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let filter = ["--arch", "amd64", "--require-signature"];
    for more in [
        &[][..],
        &["--referrers"],
        &["--referrers=application/spdx+json"],
    ] {
        let failed = copy(&[&filter, more].concat(), &from, &to)
            .exits(1)
            .tag("1");
        assert_eq!(failed["error"]["kind"], "unsupported", "{failed}");
        let hint = failed["error"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("sparse-index"), "{failed}");
    }
    assert_eq!(destination.count(writes), 0);
    // Signed is what a signature refers to, in either form.
    source
        .store
        .remove_tag("x", &Signer::tag(&index().digest()));
    Artifact::of(&index().root, SBOM, "bill")
        .build()
        .put_into(&source, "x");
    copy(&filter, &from, &to).exits(0);
    Artifact::of(&index().root, super::NOTARY, "signed")
        .build()
        .put_into(&source, "x");
    copy(&filter, &from, &to).exits(1);
    copy(
        &[&filter[..], &["--mode", "sparse-index"]].concat(),
        &from,
        &to,
    )
    .exits(0);
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let signer = Signer::new();
    let (source, destination) = (signed(&signer), with(Referrers::Absent));
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let output = copy(&["--referrers", "--dry-run"], &from, &to).exits(0);
    assert_eq!(output.tag("1")["status"], "would-copy");
    assert_eq!(counts(&output, "1"), json!({"copied": 2, "existing": 0}));
    assert_eq!(destination.count(writes), 0);
    let sent = output.tag("1")["bytes"].clone();
    let real = copy(&["--referrers"], &from, &to).exits(0);
    assert_eq!(real.tag("1")["bytes"], sent);
}

#[test]
fn types_have_to_be_types() {
    let said = run(&["copy", "--referrers=sbom", "docker://h.io/a", "oci:x"]).exits(2);
    assert!(said.stderr.contains("no artifact type"), "{said:#?}");
}

#[test]
fn a_docker_archive_has_no_place_for_them() {
    let said = run(&[
        "copy",
        "--referrers",
        "docker://h.io/a",
        "docker-archive:x.tar",
    ])
    .exits(2);
    assert!(said.stderr.contains("oci-archive"), "{said:#?}");
}

#[test]
fn an_image_that_refers_to_something_itself_is_listed() {
    let (source, destination) = (with(Referrers::Served), with(Referrers::Absent));
    let subject = single();
    let artifact = Artifact::of(&subject.manifest, SBOM, "bill").build();
    push(&artifact, &source, "x:bill");
    let (from, to) = (source.reference("x:bill"), destination.reference("y"));
    copy(&["--referrers"], &from, &to).exits(0);
    let tag = crate::support::image::list_tag(&subject.digest());
    let list = destination.store.manifest("y", &tag).expect("a list");
    assert_eq!(super::listed(&list), [artifact.root.digest()]);
}
