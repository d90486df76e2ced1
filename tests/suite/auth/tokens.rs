//! Tokens: fetched once, renewed when they end, and never shown to another host.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{LOGIN, PASSWORD, USER, bearer, copy, guarded, image, open_source};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec};
use crate::support::registry::{Anonymous, Auth, Bearer, FakeRegistry, LifetimeTold, TokenField};
use crate::support::wire::{Fault, Request};

fn many_layers() -> Image {
    ImageSpec::new("linux", "arm64").layers(20, 2000).build()
}

/// How often each set of scopes was asked for.
fn asked(registry: &FakeRegistry) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in registry.token_requests() {
        *counts.entry(request.scopes.join(" ")).or_insert(0) += 1;
    }
    counts
}

#[test]
fn anonymous_pulls_use_a_token() {
    let source = guarded(Auth::Bearer(Bearer {
        anonymous: Anonymous::Pull,
        ..bearer()
    }));
    image().push_to(&source, "x:1");
    let destination = DockerRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    assert_eq!(destination.client().manifest("y", "1"), Some(image().root));
    assert_eq!(
        asked(&source),
        BTreeMap::from([("repository:x:pull".into(), 1)])
    );
    assert_eq!(source.token_requests()[0].user, None);
}

#[test]
fn one_token_serves_every_request_that_needs_it() {
    let [source, destination] = [(); 2].map(|()| guarded(Auth::Bearer(bearer())));
    for number in 0..20 {
        let layers = ImageSpec::new("linux", "arm64").seed(number).layers(3, 500);
        layers.build().push_to(&source, &format!("x:{number}"));
    }
    let run = copy(&source.reference("x"), &destination.reference("y"));
    run.args(["--all-tags", "--creds", LOGIN]).run().exits(0);
    assert_eq!(destination.store.tags("y").len(), 20);
    assert_eq!(
        asked(&source),
        BTreeMap::from([("repository:x:pull".into(), 1)])
    );
    let expected = [
        ("repository:y:pull".into(), 1),
        ("repository:y:pull,push".into(), 1),
    ];
    assert_eq!(asked(&destination), BTreeMap::from(expected));
}

/// Registries whose tokens are good for fewer requests than a copy takes.
fn short_lived(bearer: &Bearer) -> [FakeRegistry; 2] {
    // More than are sent at once: the destination is asked for all blobs before the first is sent.
    [6, 30].map(|uses| {
        let uses = Some(uses);
        guarded(Auth::Bearer(Bearer {
            uses,
            ..bearer.clone()
        }))
    })
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed() {
    for (lifetime_told, expired) in [
        (LifetimeTold::Yes, 401),
        (LifetimeTold::No, 401),
        // ECR Public.
        (LifetimeTold::Yes, 400),
    ] {
        let [source, destination] = short_lived(&Bearer {
            lifetime_told,
            expired,
            ..bearer()
        });
        many_layers().push_to(&source, "x:1");
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.args(["--creds", LOGIN, "-j", "2"]).run().exits(0);
        assert_eq!(
            destination.store.manifest("y", "1"),
            Some(many_layers().manifest)
        );
        assert_eq!(output.tag("1")["blobs"]["copied"], 21);
        assert!(asked(&source)["repository:x:pull"] > 3);
        assert!(asked(&destination)["repository:y:pull,push"] > 1);
    }
}

#[test]
fn a_token_that_ends_while_a_blob_is_on_its_way_is_renewed() {
    let auth = Auth::Bearer(bearer());
    let [source, destination] = [auth.clone(), auth].map(guarded);
    many_layers().push_to(&source, "x:1");
    let mut blobs = 0;
    source.on(move |request| {
        blobs += usize::from(request.reads_blob());
        (request.reads_blob() && blobs == 10).then_some(Fault::StallBody(1000))
    });
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let running = run.args(["--creds", LOGIN, "-j", "1"]).spawn();
    source.wait_for(1, |request| {
        request.reads_blob() && request.answer_len == 1000
    });
    source.expire_tokens();
    destination.expire_tokens();
    source.release();
    running.wait().exits(0);
    assert_eq!(
        destination.store.manifest("y", "1"),
        Some(many_layers().manifest)
    );
    assert_eq!(asked(&source)["repository:x:pull"], 2);
    assert_eq!(asked(&destination)["repository:y:pull,push"], 2);
}

#[test]
fn a_token_may_be_called_access_token() {
    for field in [TokenField::AccessToken, TokenField::Both] {
        let destination = guarded(Auth::Bearer(Bearer { field, ..bearer() }));
        let source = open_source();
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        run.args(["--dest-creds", LOGIN]).run().exits(0);
        assert_eq!(destination.store.manifest("y", "1"), Some(image().root));
    }
}

#[test]
fn a_token_server_that_stumbles_is_asked_again() {
    let source = guarded(Auth::Bearer(bearer()));
    image().push_to(&source, "x:1");
    for fault in [
        Fault::status(503),
        Fault::Reset,
        Fault::CutBody(5),
        Fault::status(429),
    ] {
        source.fail(1, Request::is_token, fault);
        let destination = FakeRegistry::start();
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.args(["--src-creds", LOGIN]).run().exits(0);
        assert_eq!(output.json()["totals"]["retries"], 1);
        source.behave();
    }
}

#[test]
fn a_token_server_elsewhere_gets_the_password_and_the_blob_store_gets_nothing() {
    let source = guarded(Auth::Bearer(bearer()));
    image().push_to(&source, "x:1");
    let other = source.redirect_blobs();
    let realm = Some(format!("http://{}/token", other.host()));
    source.configure(|settings| settings.auth = Auth::Bearer(Bearer { realm, ..bearer() }));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.args(["--src-creds", LOGIN]).run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(image().root));
    let authorized = |request: &Request| request.header("authorization").is_some();
    assert_eq!(
        other.count(|request| request.is_token() && authorized(request)),
        1
    );
    assert!(other.count(|request| request.reads_blob() && request.status == 200) > 0);
    assert_eq!(
        other.count(|request| request.reads_blob() && authorized(request)),
        0
    );
}

#[test]
fn a_registry_token_is_sent_as_it_is() {
    let source = guarded(Auth::Bearer(bearer()));
    image().push_to(&source, "x:1");
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run
        .args(["--src-registry-token", "no-such-token"])
        .run()
        .exits(1);
    refused_token(&output.tag("1")["error"]);
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains("no-such-token"), "{text}");
    }
    let sent = |request: &Request| request.header("authorization") == Some("Bearer no-such-token");
    assert!(source.count(sent) > 0);
    assert!(source.token_requests().is_empty());
}

#[track_caller]
fn refused_token(error: &Value) {
    assert_eq!(error["kind"], "unauthorized", "{error:#}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("registry token is refused"), "{message}");
    assert!(!message.contains("login is good"), "{message}");
}

#[test]
fn a_registry_token_that_a_destination_refuses_ends_the_run() {
    let source = open_source();
    for number in 2..=30 {
        image().push_to(&source, &format!("x:{number}"));
    }
    let destination = guarded(Auth::Bearer(bearer()));
    let run = copy(&source.reference("x"), &destination.reference("y"));
    let token = ["--all-tags", "--dest-registry-token", "no-such-token"];
    let output = run.args(token).run().exits(1);
    let tags = output.json()["tags"].clone();
    let tags = tags.as_array().expect("tags");
    let failed = tags.iter().filter(|tag| tag["status"] == "failed");
    failed.for_each(|tag| refused_token(&tag["error"]));
    assert!(
        output.json()["totals"]["not_attempted"].as_u64() > Some(0),
        "{output:#?}"
    );
    // It is not taken for a tag that is absent.
    assert_eq!(destination.count(|request| !request.reads()), 0);
}

#[test]
fn a_registry_token_that_no_header_can_carry_is_a_usage_error() {
    let source = open_source();
    source.clear_log();
    for (flag, token) in [
        ("--src-registry-token", "br0ken-t0ken\n"),
        ("--dest-registry-token", "br0ken t0ken"),
        ("--dest-registry-token", "br0ken-tök€n"),
    ] {
        let run = copy(&source.reference("x:1"), &source.reference("y:1"));
        let output = run.args([flag, token]).run().exits(2);
        assert!(output.stderr.contains(flag), "{output:#?}");
    }
    assert_eq!(source.log().len(), 0);
}

#[test]
fn requests_for_tokens_and_of_passwords_are_counted() {
    for auth in [Auth::Bearer(bearer()), Auth::basic(USER, PASSWORD)] {
        let [source, destination] = [auth.clone(), auth].map(guarded);
        image().push_to(&source, "x:1");
        source.clear_log();
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.args(["--creds", LOGIN]).run().exits(0);
        let sent = source.log().len() + destination.log().len();
        assert_eq!(output.json()["totals"]["requests"], sent);
    }
}
