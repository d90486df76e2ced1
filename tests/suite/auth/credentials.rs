//! Where credentials come from, that the right ones are sent, and that a wrong password is sent once.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    LOGIN, PASSWORD, USER, auth_file, bearer, copy, guarded, guarded_source, image, inspect,
    open_source, users,
};
use crate::support::barge::{Barge, Output};
use crate::support::docker_registry::{Config, DockerRegistry, Login};
use crate::support::registry::{Anonymous, Auth, Bearer, FakeRegistry};
use crate::support::wire::Server;

/// How often credentials were sent, right or wrong.
fn passwords_sent(server: &Server) -> usize {
    let basic = |value: &str| value.starts_with("Basic ");
    server.count(|request| request.header("authorization").is_some_and(basic))
}

#[track_caller]
fn keeps_secrets(output: &Output) {
    let encoded = STANDARD.encode(LOGIN);
    for secret in [PASSWORD, "wrong-Pa55", &encoded, "token-", "Bearer "] {
        for text in [&output.stdout, &output.stderr] {
            assert!(!text.contains(secret), "{secret} in {output:#?}");
        }
    }
}

/// A way to give barge the credentials of both hosts.
type Way = fn(Barge, [&str; 2]) -> Barge;

const WAYS: [(&str, Way); 6] = [
    ("a flag for each side", |barge, _| {
        barge.args(["--src-creds", LOGIN, "--dest-creds", LOGIN])
    }),
    ("one flag for both", |barge, _| {
        barge.args(["--creds", LOGIN])
    }),
    ("variables", |barge, _| {
        barge
            .env("BARGE_SRC_CREDS", LOGIN)
            .env("BARGE_DEST_CREDS", LOGIN)
    }),
    ("Docker's config.json", |barge, hosts| {
        let file = barge.home().join("config.json");
        auth_file(&file, &hosts.map(|host| (host, LOGIN)));
        barge
    }),
    ("one authfile", |barge, hosts| {
        let file = barge.home().join("one.json");
        auth_file(&file, &hosts.map(|host| (host, LOGIN)));
        barge.arg("--authfile").arg(file)
    }),
    (
        "an authfile for each side",
        |barge, [source, destination]| {
            let files = ["source.json", "destination.json"].map(|name| barge.home().join(name));
            auth_file(&files[0], &[(source, LOGIN)]);
            auth_file(&files[1], &[(destination, LOGIN)]);
            let barge = barge.arg("--src-authfile").arg(&files[0]);
            barge.arg("--dest-authfile").arg(&files[1])
        },
    ),
];

#[test]
fn every_way_to_give_credentials_works_at_both_sides() {
    let source = DockerRegistry::start_with(Config {
        login: Login::Password,
        ..Config::default()
    });
    image().push_to(&source, "x:1");
    for auth in [Auth::basic(USER, PASSWORD), Auth::Bearer(bearer())] {
        let destination = guarded(auth);
        for (number, (name, way)) in WAYS.iter().enumerate() {
            let target = destination.reference(&format!("y{number}:1"));
            let run = copy(&source.reference("x:1"), &target);
            let output = way(run, [source.host(), &destination.host()]).run();
            assert_eq!(output.code, Some(0), "{name}: {output:#?}");
            let arrived = destination.store.manifest(&format!("y{number}"), "1");
            assert_eq!(arrived, Some(image().root), "{name}");
            keeps_secrets(&output);
        }
    }
}

#[test]
fn a_docker_registry_is_written_with_a_password() {
    let source = open_source();
    let destination = DockerRegistry::start_with(Config {
        login: Login::Password,
        ..Config::default()
    });
    let run = copy(&source.reference("x:1"), &destination.reference("a/y:2"));
    run.args(["--dest-creds", LOGIN]).run().exits(0);
    assert_eq!(
        destination.client().manifest("a/y", "2"),
        Some(image().root)
    );
}

#[test]
fn the_key_with_the_longest_path_wins() {
    let source = open_source();
    let destination = guarded(Auth::Bearer(bearer()));
    let host = destination.host();
    let team = format!("{host}/team");
    let run = |repository: &str| {
        let run = copy(&source.reference("x:1"), &destination.reference(repository));
        let logins = [(team.as_str(), LOGIN), (host.as_str(), "bob:wrong-Pa55")];
        auth_file(&run.home().join("config.json"), &logins);
        run.run()
    };
    keeps_secrets(&run("team/a/y:1").exits(0));
    assert_eq!(
        destination.store.manifest("team/a/y", "1"),
        Some(image().root)
    );
    let output = run("teamwork/y:1").exits(1);
    assert_eq!(output.tag("1")["error"]["kind"], "unauthorized");
    let users: Vec<_> = destination
        .token_requests()
        .into_iter()
        .map(|request| request.user.unwrap_or_default())
        .collect();
    assert_eq!(users, ["alice", "alice", "bob"]);
}

#[test]
fn no_creds_leaves_the_file_alone() {
    let source = guarded(Auth::Bearer(Bearer {
        anonymous: Anonymous::Pull,
        ..bearer()
    }));
    image().push_to(&source, "x:1");
    let destination = FakeRegistry::start();
    for option in ["--src-no-creds", "--no-creds"] {
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        auth_file(
            &run.home().join("config.json"),
            &[(&source.host(), "alice:wrong-Pa55")],
        );
        run.args([option]).run().exits(0);
    }
    assert_eq!(passwords_sent(&source), 0);
    assert!(
        source
            .token_requests()
            .iter()
            .all(|request| request.user.is_none())
    );
}

#[test]
fn a_wrong_password_at_the_source_is_sent_once() {
    let destination = FakeRegistry::start();
    for auth in [Auth::basic(USER, PASSWORD), Auth::Bearer(bearer())] {
        let source = guarded(auth);
        image().push_to(&source, "x:1");
        let run = copy(&source.reference("x"), &destination.reference("y"));
        let login = ["--all-tags", "--src-creds", "alice:wrong-Pa55"];
        let output = run.args(login).run().exits(1);
        let error = &output.json()["error"];
        refused_login(error, &source.host());
        assert_eq!(output.json()["tags"], json!([]));
        assert!(
            (1..=2).contains(&passwords_sent(&source)),
            "{:#?}",
            source.log()
        );
        keeps_secrets(&output);
    }
    assert_eq!(destination.store.repositories(), Vec::<String>::new());
}

#[test]
fn a_wrong_password_at_the_destination_of_30_tags_is_sent_at_most_twice() {
    let source = open_source();
    for number in 2..=30 {
        image().push_to(&source, &format!("x:{number}"));
    }
    for auth in [Auth::basic(USER, PASSWORD), Auth::Bearer(bearer())] {
        let destination = guarded(auth);
        let run = copy(&source.reference("x"), &destination.reference("y"));
        let login = ["--all-tags", "--dest-creds", "alice:wrong-Pa55"];
        let output = run.args(login).run().exits(1);
        let totals = output.json()["totals"].clone();
        let count = |name: &str| totals[name].as_u64().expect("a count");
        // Those that had no turn yet are spared.
        assert_eq!(count("failed") + count("not_attempted"), 30, "{totals:#}");
        refused_login(&output.tag("1")["error"], &destination.host());
        assert!(
            (1..=2).contains(&passwords_sent(&destination)),
            "sent {} times",
            passwords_sent(&destination)
        );
        keeps_secrets(&output);
        assert_eq!(destination.store.repositories(), Vec::<String>::new());
    }
}

#[track_caller]
fn refused_login(error: &Value, host: &str) {
    assert_eq!(error["kind"], "unauthorized", "{error:#}");
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains(host) && message.contains(USER),
        "{message}"
    );
    let hint = error["hint"].as_str().expect("a hint");
    assert!(hint.contains("password"), "{hint}");
}

#[test]
fn without_credentials_the_hint_says_how_to_give_them() {
    let source = guarded(Auth::basic(USER, PASSWORD));
    image().push_to(&source, "x:1");
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(1);
    let error = output.tag("1")["error"].clone();
    assert_eq!(error["kind"], "unauthorized");
    assert!(
        error["hint"]
            .as_str()
            .expect("a hint")
            .contains("--src-creds")
    );
}

#[test]
fn credentials_are_for_their_own_host_alone() {
    let source = open_source();
    let destination = guarded(Auth::basic(USER, PASSWORD));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.args(["--dest-creds", LOGIN]).run().exits(0);
    assert_eq!(
        source.count(|request| request.header("authorization").is_some()),
        0
    );
    assert!(passwords_sent(&destination) > 0);
}

#[test]
fn an_auth_file_that_cannot_be_understood_is_named_and_not_shown() {
    let source = open_source();
    let run = copy(&source.reference("x:1"), &source.reference("y:1"));
    let file = run.home().join("config.json");
    fs::write(&file, r#"{"auths": {"h": {"auth": s3cret-Pa55}}}"#).expect("a file");
    let output = run.run().exits(1);
    let error = output.json()["error"].clone();
    assert_eq!(error["kind"], "local-io");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("config.json"), "{message}");
    keeps_secrets(&output);
}

#[test]
fn the_names_of_hosts_have_no_case() {
    // Loopback speaks plain HTTP, and the key of the host, or of the repository, is found.
    for form in [
        "Localhost:PORT",
        "LOCALHOST:PORT/x",
        "https://LocalHost:PORT/v1/",
    ] {
        let source = guarded_source();
        let port = source.host().replace("127.0.0.1:", "");
        let run = inspect(&format!("docker://LOCALHOST:{port}/x:1"));
        let file = run.home().join("variable.json");
        auth_file(&file, &[(&form.replace("PORT", &port), LOGIN)]);
        run.env("REGISTRY_AUTH_FILE", &file).run().exits(0);
        assert_eq!(users(&source), ["alice"], "{form}");
    }
}
