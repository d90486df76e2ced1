//! Basic and Bearer are good enough for skopeo, and their oddities are there.

use std::time::Duration;

use crate::support::client::{Client, Reply};
use crate::support::image::{Attestations, Image, ImageSpec, MultiArch};
use crate::support::registry::{
    Auth, Bearer, FakeRegistry, MountAuth, NewRepositories, Settings, TokenField, Ungranted,
};
use crate::support::skopeo;

fn start(auth: Auth) -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        auth,
        ..Settings::default()
    })
}

fn image() -> Image {
    ImageSpec::new("linux", "arm64").layers(1, 300).build()
}

fn ask(registry: &FakeRegistry, line: &str, token: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let headers = if token.is_empty() {
        &headers[..0]
    } else {
        &headers[..]
    };
    Client::new(&registry.host(), None)
        .request(line, headers, b"")
        .expect("an answer")
}

/// A token for `scopes` (a query: `scope=…&scope=…`), given to alice.
fn token(registry: &FakeRegistry, scopes: &str) -> Reply {
    let client = Client::new(&registry.host(), Some(("alice", "self-Pa55")));
    let line = format!("GET /token?service=fake%20registry&{scopes}");
    client.request(&line, &[], b"").expect("an answer")
}

fn value(reply: &Reply, field: &str) -> String {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    body[field].as_str().expect("a token").to_owned()
}

#[test]
fn skopeo_logs_in_with_basic() {
    let registry = start(Auth::basic("alice", "self-Pa55"));
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    let login = ["--dest-creds=alice:self-Pa55"];
    skopeo::copy_all_with(&login, &source.reference("x:1"), &registry.reference("x:1"));
    assert_eq!(registry.store.manifest("x", "1"), Some(image().manifest));
    assert_eq!(ask(&registry, "GET /v2/", "").status, 401);
}

#[test]
fn skopeo_logs_in_with_bearer() {
    let registry = start(Auth::Bearer(Bearer {
        new_repositories: NewRepositories::ByToken,
        ..Bearer::user("alice", "self-Pa55")
    }));
    let source = FakeRegistry::start();
    let index = MultiArch::standard(&["amd64", "arm64"], Attestations::With, 3);
    index.push_to(&source, "x:1");
    let login = ["--dest-creds=alice:self-Pa55"];
    skopeo::copy_all_with(
        &login,
        &source.reference("x:1"),
        &registry.reference("new/x:1"),
    );
    assert_eq!(registry.store.manifest("new/x", "1"), Some(index.root));
    let requests = registry.token_requests();
    let user =
        |request: &crate::support::registry::TokenRequest| request.user.as_deref() == Some("alice");
    assert!(requests.iter().any(user), "{requests:#?}");
    assert_eq!(registry.created_by_token(), ["new/x"]);
    assert_eq!(ask(&registry, "GET /v2/new/x/tags/list", "").status, 401);
}

#[test]
fn tokens_allow_what_was_asked_and_no_more() {
    let registry = start(Auth::Bearer(Bearer {
        uses: Some(2),
        ..Bearer::user("alice", "self-Pa55")
    }));
    image().push_to(&registry, "x:1");
    let reply = ask(&registry, "DELETE /v2/x/manifests/1", "");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(
        challenge.ends_with("service=\"fake registry\",scope=\"repository:x:delete\""),
        "{challenge}"
    );

    let pull = value(&token(&registry, "scope=repository:x:pull"), "token");
    assert_eq!(
        ask(&registry, "DELETE /v2/x/manifests/1", &pull).status,
        401
    );
    assert_eq!(ask(&registry, "GET /v2/x/tags/list", &pull).status, 200);
    assert_eq!(ask(&registry, "GET /v2/x/tags/list", &pull).status, 200);
    assert_eq!(ask(&registry, "GET /v2/x/tags/list", &pull).status, 401);
    let stranger = Client::new(&registry.host(), Some(("alice", "wrong")));
    let refused = stranger
        .request("GET /token?service=fake%20registry", &[], b"")
        .expect("an answer");
    assert_eq!(refused.status, 401);
    assert_eq!(registry.token_requests()[0].scopes, ["repository:x:pull"]);
}

#[test]
fn tokens_have_the_oddities_of_the_field() {
    let registry = start(Auth::Bearer(Bearer {
        two_repositories: Some(403),
        lifetime: Some(Duration::from_mins(5)),
        field: TokenField::AccessToken,
        denied: vec![("x".to_owned(), "push".to_owned())],
        ungranted: Ungranted::NoActions,
        expired: 400,
        ..Bearer::user("alice", "self-Pa55")
    }));
    image().push_to(&registry, "x:1");
    let two = token(&registry, "scope=repository:x:pull&scope=repository:y:pull");
    assert_eq!(two.status, 403);
    let given = token(&registry, "scope=repository:x:pull,push");
    assert!(String::from_utf8_lossy(&given.body).contains("\"expires_in\":300"));
    let given = value(&given, "access_token");
    assert_eq!(
        ask(&registry, "POST /v2/x/blobs/uploads/", &given).status,
        401
    );
    assert_eq!(ask(&registry, "GET /v2/x/tags/list", &given).status, 200);
    registry.expire_tokens();
    assert_eq!(ask(&registry, "GET /v2/x/tags/list", &given).status, 400);
}

#[test]
fn a_mount_needs_a_token_for_both() {
    for (mount, status) in [(MountAuth::Challenge, 401), (MountAuth::Session, 202)] {
        let registry = start(Auth::Bearer(Bearer {
            mount,
            ..Bearer::user("alice", "self-Pa55")
        }));
        image().push_to(&registry, "x:1");
        let digest = image().layers[0].digest();
        let line = format!("POST /v2/y/blobs/uploads/?mount={digest}&from=x");
        let one = value(&token(&registry, "scope=repository:y:pull,push"), "token");
        assert_eq!(ask(&registry, &line, &one).status, status);
        let both = "scope=repository:y:pull,push&scope=repository:x:pull";
        let both = value(&token(&registry, both), "token");
        assert_eq!(ask(&registry, &line, &both).status, 201);
        assert!(registry.store.has_blob("y", &digest));
    }
}
