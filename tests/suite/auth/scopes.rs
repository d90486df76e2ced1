//! What barge asks the right to do: no more than it is about to do, and less where more is refused.

use super::{LOGIN, bearer, copy, guarded, guarded_source, image, inspect, open_source};
use crate::support::barge::Output;
use crate::support::image::Bundle;
use crate::support::registry::{
    Anonymous, Auth, Bearer, FakeRegistry, MountAuth, Mounts, NewRepositories, Settings, Sparse,
    Ungranted,
};
use crate::support::wire::{Answer, Fault};

/// A Quay: a token with push makes the repository.
fn quay(bearer: Bearer) -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        auth: Auth::Bearer(Bearer {
            new_repositories: NewRepositories::ByToken,
            ..bearer
        }),
        ..Settings::quay(Sparse::Off)
    })
}

fn copy_to(destination: &FakeRegistry, options: &[&str]) -> Output {
    let source = open_source();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.args(["--dest-creds", LOGIN]).args(options).run()
}

/// The scopes of every token that was asked for, in order.
fn asked(registry: &FakeRegistry) -> Vec<String> {
    let requests = registry.token_requests().into_iter();
    requests.map(|request| request.scopes.join(" ")).collect()
}

#[test]
fn push_is_asked_for_only_where_something_is_written() {
    let destination = quay(bearer());
    copy_to(&destination, &["--dry-run"]).exits(0);
    assert_eq!(asked(&destination), ["repository:y:pull"]);
    assert_eq!(destination.created_by_token(), Vec::<String>::new());

    copy_to(&destination, &[]).exits(0);
    let written = [
        "repository:y:pull",
        "repository:y:pull",
        "repository:y:pull,push",
    ];
    assert_eq!(asked(&destination), written);
    assert_eq!(destination.created_by_token(), ["y"]);

    let output = copy_to(&destination, &[]).exits(0);
    assert_eq!(output.tag("1")["status"], "current");
    assert_eq!(asked(&destination)[3..], ["repository:y:pull"]);
}

#[test]
fn what_must_fail_does_not_make_a_repository() {
    let destination = quay(bearer());
    let output = copy_to(&destination, &["--arch", "riscv64"]).exits(1);
    assert_eq!(output.tag("1")["error"]["kind"], "missing-platform");
    assert_eq!(destination.created_by_token(), Vec::<String>::new());
}

#[test]
fn reads_that_a_granted_token_does_not_allow_mean_absent_and_the_write_is_denied() {
    for ungranted in [
        vec!["pull".to_owned(), "push".to_owned()],
        vec!["push".to_owned()],
    ] {
        for insufficient in [401, 403] {
            let denied = ungranted
                .iter()
                .map(|action| ("y".to_owned(), action.clone()));
            let destination = guarded(Auth::Bearer(Bearer {
                denied: denied.collect(),
                insufficient,
                ungranted: Ungranted::NoActions,
                ..bearer()
            }));
            let output = copy_to(&destination, &[]).exits(1);
            let error = output.tag("1")["error"].clone();
            assert_eq!(error["kind"], "denied", "{insufficient}: {error:#}");
            assert!(error["message"].as_str().expect("a message").contains("/y"));
            assert_eq!(destination.store.tags("y"), Vec::<String>::new());
            assert_eq!(output.json()["totals"]["retries"], 0);
        }
    }
}

#[test]
fn a_token_server_that_refuses_push_denies_it() {
    let destination = guarded(Auth::Bearer(Bearer {
        denied: vec![("y".to_owned(), "push".to_owned())],
        ungranted: Ungranted::Status(403),
        ..bearer()
    }));
    let output = copy_to(&destination, &[]).exits(1);
    assert_eq!(output.tag("1")["error"]["kind"], "denied");
}

#[test]
fn an_anonymous_push_wants_credentials() {
    let source = open_source();
    let destination = guarded(Auth::Bearer(Bearer {
        anonymous: Anonymous::Pull,
        ..bearer()
    }));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let error = run.run().exits(1).tag("1")["error"].clone();
    assert_eq!(error["kind"], "unauthorized", "{error:#}");
    assert!(
        error["hint"]
            .as_str()
            .expect("a hint")
            .contains("--dest-creds")
    );
}

fn blobs_of_all() -> usize {
    Bundle::from(&image()).blobs.len()
}

/// Copies `x:1` to `y:1` inside `registry`.
fn copy_within(registry: &FakeRegistry) -> Output {
    image().push_to(registry, "x:1");
    let run = copy(&registry.reference("x:1"), &registry.reference("y:1"));
    let output = run.args(["--creds", LOGIN]).run().exits(0);
    assert_eq!(registry.store.manifest("y", "1"), Some(image().root));
    output
}

#[test]
fn a_mount_asks_for_both_repositories_in_one_token() {
    let registry = guarded(Auth::Bearer(bearer()));
    let output = copy_within(&registry);
    let both = "repository:x:pull repository:y:pull,push".to_owned();
    assert!(asked(&registry).contains(&both), "{:?}", asked(&registry));
    let blobs = &output.tag("1")["blobs"];
    assert_eq!(
        (&blobs["copied"], &blobs["mounted"]),
        (&0.into(), &blobs_of_all().into())
    );
    assert_eq!(registry.count(|request| request.is("PUT", "/blobs/")), 0);
}

#[test]
fn where_a_token_for_two_is_refused_everything_is_copied() {
    for status in [400, 401, 403] {
        let registry = guarded(Auth::Bearer(Bearer {
            two_repositories: Some(status),
            ..bearer()
        }));
        let output = copy_within(&registry);
        let blobs = &output.tag("1")["blobs"];
        assert_eq!(
            (&blobs["copied"], &blobs["mounted"]),
            (&blobs_of_all().into(), &0.into()),
            "{status}"
        );
        assert!(asked(&registry).contains(&"repository:y:pull,push".to_owned()));
        let refused = registry.token_requests().into_iter();
        assert_eq!(
            refused.filter(|request| request.status == status).count(),
            1
        );
    }
}

#[test]
fn where_a_mount_is_not_allowed_its_upload_is_used() {
    let registry = guarded(Auth::Bearer(Bearer {
        denied: vec![("y".to_owned(), "delete".to_owned())],
        mount: MountAuth::Session,
        ..bearer()
    }));
    registry.configure(|settings| settings.mounts = Mounts::Ignored);
    let output = copy_within(&registry);
    assert_eq!(output.tag("1")["blobs"]["copied"], blobs_of_all());
    let opened = registry.count(|request| request.is("POST", "/y/blobs/uploads/"));
    assert_eq!(opened, blobs_of_all());
    assert_eq!(registry.store.open_uploads(), 0);
}

/// Lets nobody read `x` who has not got a token for these scopes too.
fn wants_besides(registry: &FakeRegistry, scopes: &'static str) {
    let realm = format!("http://{}/token", registry.host());
    let challenge = format!(
        r#"Bearer realm="{realm}",service="fake registry",scope="{scopes}",error="insufficient_scope""#
    );
    let refusal = Answer::new(401).header("WWW-Authenticate", challenge);
    let mut granted = false;
    registry.on(move |request| {
        granted |= request.is_token() && request.query.contains("mapped");
        let refused = request.path.starts_with("/v2/x/") && !granted;
        refused.then(|| Fault::Status(refusal.clone()))
    });
}

#[test]
fn a_scope_that_the_challenge_names_is_asked_for_besides() {
    for scopes in [
        "repository:mapped/x:pull",
        "repository:mapped/x:pull repository:x:pull",
    ] {
        let source = guarded_source();
        wants_besides(&source, scopes);
        let destination = FakeRegistry::start();
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        run.args(["--src-creds", LOGIN]).run().exits(0);
        assert_eq!(
            asked(&source),
            [
                "repository:x:pull",
                "repository:mapped/x:pull repository:x:pull"
            ]
        );
        let token = |request: &crate::support::wire::Request| request.is_token();
        let last = source.log().into_iter().rfind(token).expect("a token");
        assert_eq!(last.query.matches("scope=").count(), 2, "{}", last.query);
    }
}

/// What is asked for besides may be nobody's to have, while the request itself is for its own scope.
#[test]
fn a_scope_that_is_refused_besides_is_asked_for_once() {
    let source = guarded_source();
    source.configure(|settings| {
        settings.auth = Auth::Bearer(Bearer {
            two_repositories: Some(403),
            ..bearer()
        });
    });
    wants_besides(&source, "repository:mapped/x:pull");
    let run = inspect(&source.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
    let both = "repository:mapped/x:pull repository:x:pull";
    let asked = asked(&source);
    assert_eq!(asked, ["repository:x:pull", both]);
}
