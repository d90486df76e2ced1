//! What a live Quay answers, and what helps then.

use crate::support::barge::{barge, copy};
use crate::support::image::{Attestations, ImageSpec, MultiArch};
use crate::support::registry::{Auth, Bearer, FakeRegistry, Settings, Sparse, SparseHeader};
use crate::support::wire::{Answer, Fault, Request};

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64", "s390x"], Attestations::Without, 81)
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

#[test]
fn a_refusal_that_names_a_digest_is_told_with_its_platform() {
    let destination = FakeRegistry::start_with(Settings {
        sparse_header: SparseHeader::Absent,
        ..Settings::quay(Sparse::Off)
    });
    let options = ["--arch", "amd64,s390x", "--mode", "sparse-index"];
    let (from, to) = (source(), destination.reference("y:1"));
    let output = copy(&options, &from.reference("x:1"), &to).exits(1);
    let error = output.tag("1")["error"].clone();
    let missing = image().image("arm64").digest();
    let named = format!("{missing} is linux/arm64");
    assert!(error["message"].to_string().contains(&named), "{error:#}");
    let hint = error["hint"].to_string();
    assert!(
        hint.contains("before March 2026 SPARSE_INDEX_REQUIRED_ARCHS"),
        "{hint}"
    );
}

/// Quay calls itself by its `SERVER_HOSTNAME`, whatever name it was called by.
#[test]
fn uploads_that_go_to_another_host_are_told_with_the_name_to_use() {
    let (source, other) = (source(), FakeRegistry::start());
    other.on(|request| (request.method == "PUT").then(|| Fault::status(401)));
    for host in [other.host(), "127.0.0.1:1".into()] {
        let destination = FakeRegistry::start();
        let location = format!("http://{host}/v2/y/blobs/uploads/1?state=2");
        destination.on(move |request| {
            let answer = Answer::new(202).header("Location", location.clone());
            (request.method == "POST").then(|| Fault::Status(answer))
        });
        let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
        let output = copy(&["--retry-times", "0"], &from, &to).exits(1);
        let hint = output.tag("1")["error"]["hint"].to_string();
        let name = format!("write {host}/y instead");
        assert!(
            hint.contains("SERVER_HOSTNAME") && hint.contains(&name),
            "{hint}"
        );
    }
}

#[test]
fn a_refused_upload_is_not_tried_for_each_blob() {
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "arm64").layers(20, 1000).build();
    image.push_to(&source, "x:1");
    let destination = FakeRegistry::start_with(Settings {
        auth: Auth::Bearer(Bearer::user("alice", "s3cret-Pa55")),
        ..Settings::default()
    });
    let opens = |request: &Request| request.method == "POST";
    let denied = Answer::error(401, "UNAUTHORIZED", &serde_json::json!({}));
    destination.fail(usize::MAX, opens, Fault::Status(denied));
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    let run = barge().args(["copy", "-o", "json", "--dest-creds", "alice:s3cret-Pa55"]);
    let output = run.args([&from, &to]).run().exits(1);
    let kind = &output.tag("1")["error"]["kind"];
    assert!(kind == "denied" || kind == "unauthorized", "{kind}");
    let (posts, tokens) = (
        destination.count(opens),
        destination.count(Request::is_token),
    );
    assert!(
        posts <= 4 && tokens <= 6,
        "{posts} uploads, {tokens} tokens"
    );
}
