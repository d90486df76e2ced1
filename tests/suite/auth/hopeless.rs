//! A login that fails for one tag fails for all: the run ends early, and the rest is not attempted.

use serde_json::{Value, json};

use super::{LOGIN, PASSWORD, USER, bearer, copy, guarded, image, open_source, write};
use crate::support::barge::{Barge, Output};
use crate::support::registry::{Auth, FakeRegistry};
use crate::support::wire::{Answer, Fault, Request};

/// `barge copy` of 30 tags.
fn many(source: &FakeRegistry, destination: &FakeRegistry) -> Barge {
    for number in 2..=30 {
        image().push_to(source, &format!("x:{number}"));
    }
    let run = copy(&source.reference("x"), &destination.reference("y"));
    run.args(["--all-tags", "--retry-times", "0"])
}

/// The first failure, after which most tags were spared.
#[track_caller]
fn first_failure(output: &Output) -> Value {
    let report = output.json();
    let spared = report["totals"]["not_attempted"].as_u64().expect("a count");
    assert!(spared > 0, "{report:#}");
    let tags = report["tags"].as_array().expect("tags").clone();
    let failed = tags.into_iter().find(|tag| tag["status"] == "failed");
    failed.expect("one failed")["error"].clone()
}

#[test]
fn an_anonymous_write_to_a_registry_that_wants_a_password() {
    let destination = guarded(Auth::basic(USER, PASSWORD));
    let output = many(&open_source(), &destination).run().exits(1);
    assert_eq!(first_failure(&output)["kind"], "unauthorized");
}

#[test]
fn an_identity_token_where_a_password_is_asked_for() {
    let destination = guarded(Auth::basic(USER, PASSWORD));
    let source = open_source();
    let run = many(&source, &destination);
    let entry = json!({"auths": {destination.host(): {"identitytoken": "identity-t0ken"}}});
    write(&run.home().join("config.json"), &entry);
    let error = first_failure(&run.run().exits(1));
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("identity token is stored"), "{message}");
}

#[test]
fn an_anonymous_write_to_a_registry_that_all_may_read() {
    let destination = FakeRegistry::start();
    let refusal = Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\"");
    let writes = |request: &Request| !request.reads();
    destination.fail(usize::MAX, writes, Fault::Status(refusal));
    let output = many(&open_source(), &destination).run().exits(1);
    assert_eq!(first_failure(&output)["kind"], "unauthorized");
}

#[test]
fn a_token_server_that_refuses_the_password_in_another_way() {
    let source = open_source();
    for (status, kind) in [(400, "unauthorized"), (403, "denied")] {
        let destination = guarded(Auth::Bearer(bearer()));
        let answer = Answer::new(status).json(&json!({"error": "bad login"}));
        destination.fail(usize::MAX, Request::is_token, Fault::Status(answer));
        let run = many(&source, &destination);
        let output = run.args(["--dest-creds", LOGIN]).run().exits(1);
        let error = first_failure(&output);
        assert_eq!(error["kind"], kind, "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(
            message.contains("as alice") && message.contains("bad login"),
            "{message}"
        );
        assert_eq!(destination.count(Request::is_token), 1);
    }
}

#[test]
fn a_registry_without_room() {
    let destination = FakeRegistry::start();
    let writes = |request: &Request| !request.reads();
    destination.fail(usize::MAX, writes, Fault::status(507));
    let output = many(&open_source(), &destination).run().exits(1);
    let error = first_failure(&output);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|it| it.contains("507")),
        "{error:#}"
    );
}
