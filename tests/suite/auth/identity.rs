//! Identity tokens: stored by `docker login` for registries as Azure's, sent by POST to the token server.

use serde_json::{Value, json};

use super::{PASSWORD, USER, copy, guarded, image, inspect, open_source, write};
use crate::support::registry::{Auth, Bearer, FakeRegistry, TokenField};
use crate::support::wire::Request;

const IDENTITY: &str = "identity-t0ken-of-alice";

fn registry() -> FakeRegistry {
    guarded(Auth::Bearer(Bearer {
        identity_token: Some(IDENTITY.into()),
        field: TokenField::AccessToken,
        ..Bearer::user(USER, PASSWORD)
    }))
}

/// What `docker login` leaves: a user of zeros, and the token.
fn entry(host: &str, token: &str) -> Value {
    json!({"auths": {host: {"auth": "MDAwMDo=", "identitytoken": token}}})
}

#[test]
fn an_identity_token_gets_tokens_by_post() {
    let (source, destination) = (open_source(), registry());
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let config = entry(&destination.host(), IDENTITY);
    write(&run.home().join("config.json"), &config);
    run.run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(image().root));
    let asked = destination.token_requests();
    assert!(asked.iter().all(|request| request.method == "POST"));
    let scopes: Vec<String> = asked
        .iter()
        .map(|request| request.scopes.join(" "))
        .collect();
    assert_eq!(scopes, ["repository:y:pull", "repository:y:pull,push"]);
    // In the body, where no log of a server has it.
    let in_query = |request: &Request| request.query.contains(IDENTITY);
    assert_eq!(destination.count(in_query), 0);
    assert_eq!(
        destination.count(|request| request
            .header("authorization")
            .is_some_and(|value| value.contains(IDENTITY))),
        0
    );
}

#[test]
fn an_identity_token_that_is_refused_is_sent_once() {
    let source = registry();
    let run = inspect(&source.reference("x:1"));
    let config = entry(&source.host(), "identity-of-yesterday");
    write(&run.home().join("config.json"), &config);
    let output = run.run().exits(1);
    assert_eq!(source.token_requests().len(), 1);
    let said = &output.stderr;
    assert!(said.contains("identity token"), "{said}");
    assert!(said.contains("barge login"), "{said}");
    assert!(!said.contains("identity-of-yesterday"), "{said}");
}

#[test]
fn where_a_password_is_asked_for_an_identity_token_says_so() {
    let source = guarded(Auth::basic(USER, PASSWORD));
    let run = inspect(&source.reference("x:1"));
    let config = entry(&source.host(), IDENTITY);
    write(&run.home().join("config.json"), &config);
    let output = run.run().exits(1);
    assert!(output.stderr.contains("identity token"), "{output:#?}");
    let sent = source.count(|request| request.header("authorization").is_some());
    assert_eq!(sent, 0);
}
