//! Tokens that a real registry checks: distribution's own token authentication, with a token server
//! whose tokens name repositories and actions.

use std::time::Duration;

use super::{LOGIN, copy, image, inspect, open_source, write};
use crate::support::client::Client;
use crate::support::image::{Image, ImageSpec};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::token_server::{Grants, IDENTITY, TokenServer};
use crate::support::wire::{Fault, Request};

fn many_layers() -> Image {
    ImageSpec::new("linux", "arm64").layers(12, 2000).build()
}

fn denied(repository: &str, action: &str) -> Grants {
    Grants {
        denied: vec![(repository.to_owned(), action.to_owned())],
        ..Grants::default()
    }
}

/// What was asked for, scopes of one question joined.
fn asked(tokens: &TokenServer) -> Vec<String> {
    let asked = tokens.asked().into_iter();
    asked.map(|asked| asked.scopes.join(" ")).collect()
}

#[test]
fn every_repository_has_scopes_of_its_own() {
    let tokens = TokenServer::start(Grants::default());
    let registry = tokens.registry();
    let source = open_source();
    let run = copy(&source.reference("x:1"), &registry.reference("a/x:1"));
    run.args(["--dest-creds", LOGIN]).run().exits(0);
    assert_eq!(
        asked(&tokens),
        ["repository:a/x:pull", "repository:a/x:pull,push"]
    );
    let run = copy(&registry.reference("a/x:1"), &registry.reference("b/x:1"));
    let output = run.args(["--creds", LOGIN]).run().exits(0);
    let blobs = output.tag("1")["blobs"].clone();
    assert_eq!(blobs["copied"], 0, "all are mounted: {blobs}");
    let both = "repository:a/x:pull repository:b/x:pull,push".to_owned();
    assert!(asked(&tokens).contains(&both), "{:?}", asked(&tokens));
    assert!(tokens.asked().iter().all(|asked| asked.known));
    let run = inspect(&registry.reference("b/x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
}

#[test]
fn a_token_that_grants_nothing_is_denied_in_plain_words() {
    let tokens = TokenServer::start(denied("a/x", "push"));
    let registry = tokens.registry();
    let source = open_source();
    let run = copy(&source.reference("x:1"), &registry.reference("a/x:1"));
    let output = run.args(["--dest-creds", LOGIN]).run().exits(1);
    let error = output.tag("1")["error"].clone();
    assert_eq!(error["kind"], "denied", "{error:#}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("the login is good"), "{message}");
    assert!(message.contains("a/x"), "{message}");
}

#[test]
fn what_is_open_to_all_needs_nothing() {
    let tokens = TokenServer::start(Grants {
        open: vec!["x".into()],
        ..Grants::default()
    });
    let registry = tokens.registry();
    let source = open_source();
    let run = copy(&source.reference("x:1"), &registry.reference("x:1"));
    run.args(["--dest-creds", LOGIN]).run().exits(0);
    let destination = FakeRegistry::start();
    let run = copy(&registry.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(image().root));
    assert!(!tokens.asked().last().expect("a question").known);
    let run = copy(&source.reference("x:1"), &registry.reference("x:2"));
    let error = run.run().exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "unauthorized", "{error:#}");
}

#[test]
fn an_identity_token_is_as_good_as_a_password() {
    let tokens = TokenServer::start(Grants::default());
    let registry = tokens.registry();
    let source = open_source();
    let run = copy(&source.reference("x:1"), &registry.reference("x:1"));
    let entry = serde_json::json!({"auth": "MDAwMDo=", "identitytoken": IDENTITY});
    let config = serde_json::json!({"auths": {registry.host(): entry}});
    write(&run.home().join("config.json"), &config);
    run.run().exits(0);
    assert!(tokens.asked().iter().all(|asked| asked.method == "POST"));
    assert_eq!(asked(&tokens)[1], "repository:x:pull,push");
}

/// Waits until the registry refuses a token that is younger than any that was given before: distribution
/// takes one for a minute after its end, so these are a minute old when they are given.
fn outlive(tokens: &TokenServer, host: &str, scope: &str) {
    let header = format!("Bearer {}", tokens.token(&[scope]));
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let headers = [("Authorization", header.as_str())];
        let client = Client::new(host, None);
        let reply = client.request("GET /v2/x/tags/list", &headers, b"");
        if reply.expect("an answer").status == 401 {
            return;
        }
        assert!(std::time::Instant::now() < patience, "the token lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn old_tokens() -> Grants {
    Grants {
        left: Some(Duration::from_secs(3)),
        ..Grants::default()
    }
}

#[test]
fn a_token_of_the_source_that_ends_in_the_middle_is_renewed() {
    let tokens = TokenServer::start(Grants::default());
    let registry = tokens.registry();
    let filled = FakeRegistry::start();
    many_layers().push_to(&filled, "x:1");
    let run = copy(&filled.reference("x:1"), &registry.reference("x:1"));
    run.args(["--dest-creds", LOGIN]).run().exits(0);
    tokens.grant(old_tokens());

    let proxy = Proxy::start(registry.host());
    let mut blobs = 0;
    proxy.on(move |request| {
        blobs += usize::from(request.reads_blob());
        (request.reads_blob() && blobs == 6).then_some(Fault::StallBody(1000))
    });
    let destination = FakeRegistry::start();
    let before = asked(&tokens).len();
    let run = copy(&proxy.reference("x:1"), &destination.reference("y:1"));
    let running = run.args(["--src-creds", LOGIN, "-j", "1"]).spawn();
    proxy.wait_for(1, |request| {
        request.reads_blob() && request.answer_len == 1000
    });
    outlive(&tokens, registry.host(), "repository:x:pull");
    tokens.grant(Grants::default());
    proxy.release();
    running.wait().exits(0);
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(many_layers().manifest)
    );
    assert_eq!(asked(&tokens)[before..], ["repository:x:pull"; 2]);
    let refused = proxy.count(|request| request.status == 401);
    assert!(refused >= 2, "the first contact, and the old token");
}

#[test]
fn a_token_of_the_destination_that_ends_in_the_middle_is_renewed() {
    let tokens = TokenServer::start(old_tokens());
    let registry = tokens.registry();
    let source = FakeRegistry::start();
    many_layers().push_to(&source, "x:1");
    let mut blobs = 0;
    source.on(move |request| {
        blobs += usize::from(request.reads_blob());
        (request.reads_blob() && blobs == 6).then_some(Fault::StallBody(1000))
    });
    let run = copy(&source.reference("x:1"), &registry.reference("x:1"));
    let running = run.args(["--dest-creds", LOGIN, "-j", "1"]).spawn();
    source.wait_for(1, |request: &Request| {
        request.reads_blob() && request.answer_len == 1000
    });
    outlive(&tokens, registry.host(), "repository:x:pull");
    tokens.grant(Grants::default());
    source.release();
    running.wait().exits(0);
    let pushes = asked(&tokens)
        .into_iter()
        .filter(|scope| scope == "repository:x:pull,push");
    assert_eq!(pushes.count(), 2);
    let run = inspect(&registry.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
}

#[test]
fn a_wrong_password_and_a_good_login_are_told_apart() {
    let tokens = TokenServer::start(Grants::default());
    let registry = tokens.registry();
    let run = inspect(&registry.reference("x:1"));
    let output = run.args(["--creds", "alice:wrong-Pa55"]).run().exits(1);
    assert!(
        output.stderr.contains("wrong user or password"),
        "{output:#?}"
    );
    let run = inspect(&registry.reference("x:1"));
    let output = run.args(["--creds", LOGIN]).run().exits(1);
    assert!(output.stderr.contains("it is not there"), "{output:#?}");
}
