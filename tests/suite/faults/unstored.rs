//! A registry that says that it stored a tag, and did not: what counts is where the tag points after that.

use super::{copy, index, single, source};
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Fault, Request};

fn puts_tag(request: &Request) -> bool {
    request.is("PUT", "/manifests/1")
}

fn heads_tag(request: &Request) -> bool {
    request.is("HEAD", "/manifests/1")
}

fn reads_tag(request: &Request) -> bool {
    request.reads() && request.is_manifest() && request.path.ends_with("/1")
}

/// Spoils the first `count` requests that are so and come behind the PUT of the tag.
fn after_put(registry: &FakeRegistry, count: usize, (is_so, fault): (fn(&Request) -> bool, Fault)) {
    let (mut put, mut left) = (false, count);
    registry.on(move |request| {
        put |= puts_tag(request);
        let spoilt = put && left > 0 && is_so(request);
        left -= usize::from(spoilt);
        spoilt.then(|| fault.clone())
    });
}

#[test]
fn fails_with_conflict_when_the_tag_is_not_there_after_its_put() {
    for (recheck, code) in [("children", 1), ("blobs", 1), ("none", 0)] {
        let (source, destination) = (source(&index()), FakeRegistry::start());
        destination.fail(9, puts_tag, Fault::status(201));
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let run = run.args(["--retry-times", "1", "--recheck", recheck]);
        let output = run.run().exits(code);
        if code == 1 {
            let error = output.tag("1")["error"].clone();
            assert_eq!(error["kind"], "conflict", "{error:#}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains("did not store it"), "{message}");
            assert!(message.contains("another writer"), "{message}");
        }
    }
}

#[test]
fn fails_with_conflict_when_the_tag_points_elsewhere_after_its_put() {
    let (source, destination) = (source(&index()), FakeRegistry::start());
    single().push_to(&destination, "y:1");
    destination.fail(9, puts_tag, Fault::status(201));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "0"]).run().exits(1);
    let error = output.tag("1")["error"].clone();
    assert_eq!(error["kind"], "conflict", "{error:#}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(&single().digest()), "{message}");
}

#[test]
fn fails_with_conflict_when_a_manifest_is_not_there_after_its_put_by_digest() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    let path = format!("/manifests/{}", single().digest());
    destination.on(move |request| request.is("PUT", &path).then(|| Fault::status(201)));
    let from = source.reference(&format!("x@{}", single().digest()));
    let run = copy(&from, &destination.reference("y"));
    let output = run.args(["--retry-times", "0"]).run().exits(1);
    let report = output.json();
    assert_eq!(report["tags"][0]["error"]["kind"], "conflict", "{report:#}");
}

#[test]
fn looks_at_a_copied_tag_once() {
    for (recheck, heads) in [("none", 1), ("children", 2)] {
        let (source, destination) = (source(&single()), FakeRegistry::start());
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.args(["--recheck", recheck]).run().exits(0);
        assert_eq!(destination.count(heads_tag), heads, "{recheck}");
        assert_eq!(destination.count(reads_tag), heads, "{recheck}");
        assert_eq!(output.json()["totals"]["retries"], 0);
    }
}

#[test]
fn waits_for_a_replica_that_is_behind() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    after_put(&destination, 4, (reads_tag, Fault::status(404)));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(0);
    assert_eq!(output.tag("1")["status"], "copied");
    assert_eq!(output.json()["totals"]["retries"], 2);
}

/// Nexus answers so.
#[test]
fn believes_a_get_when_head_denies_the_tag() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    destination.on(|request| heads_tag(request).then(|| Fault::status(404)));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(0);
    assert_eq!(output.json()["totals"]["retries"], 0);
}

#[test]
fn believes_the_put_when_the_login_may_not_read() {
    for status in [401, 403] {
        let (source, destination) = (source(&single()), FakeRegistry::start());
        after_put(&destination, 9, (reads_tag, Fault::status(status)));
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.run().exits(0);
        assert_eq!(output.tag("1")["status"], "copied", "{status}");
    }
}

#[test]
fn believes_the_put_and_warns_when_the_tag_cannot_be_seen_afterwards() {
    let (source, destination) = (source(&single()), FakeRegistry::start());
    after_put(&destination, 9, (reads_tag, Fault::status(503)));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "0"]).run().exits(0);
    assert_eq!(output.tag("1")["status"], "copied");
    let warning = "written, but not seen afterwards: failed to read manifest";
    assert!(output.stderr.contains(warning), "{output:#?}");
}
