//! The files that other tools keep credentials in: which one counts, and what their entries mean.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::{LOGIN, auth_file, guarded_source, inspect, users, write};
use crate::support::barge::Barge;

/// Every place, the first one first, below the home of a run.
const PLACES: [&str; 5] = [
    "variable.json",
    "run/containers/auth.json",
    "config/containers/auth.json",
    ".config/containers/auth.json",
    ".docker/config.json",
];

/// A run in whose home every place is another file.
fn scattered(run: Barge) -> Barge {
    let home = run.home().to_path_buf();
    run.env("XDG_RUNTIME_DIR", home.join("run"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env_remove("DOCKER_CONFIG")
}

#[test]
fn the_first_file_with_an_entry_counts() {
    for first in 0..PLACES.len() {
        let source = guarded_source();
        let run = scattered(inspect(&source.reference("x:1")));
        let files = PLACES.map(|place| run.home().join(place));
        for file in &files[first + 1..] {
            auth_file(file, &[(&source.host(), "bob:wrong-Pa55")]);
        }
        auth_file(&files[first], &[(&source.host(), LOGIN)]);
        for file in files.iter().take(first).skip(1) {
            auth_file(file, &[("elsewhere.io", "carol:other-Pa55")]);
        }
        let run = match first {
            0 => run.env("REGISTRY_AUTH_FILE", &files[0]),
            _ => run,
        };
        let output = run.run().exits(0);
        assert_eq!(users(&source), ["alice"], "{}", PLACES[first]);
        let told = format!("{}, key {}", files[first].display(), source.host());
        assert!(output.stderr.contains(&told), "{told}: {output:#?}");
    }
}

#[test]
fn docker_config_names_another_directory() {
    let source = guarded_source();
    let run = inspect(&source.reference("x:1"));
    let directory = run.home().join("elsewhere");
    auth_file(&directory.join("config.json"), &[(&source.host(), LOGIN)]);
    run.env("DOCKER_CONFIG", directory).run().exits(0);
    assert_eq!(users(&source), ["alice"]);
}

#[test]
fn a_named_file_is_the_only_one_and_has_to_be_there() {
    let source = guarded_source();
    let host = source.host();
    for option in [Some("--authfile"), None] {
        let run = |name: &str| {
            let run = inspect(&source.reference("x:1"));
            let file = run.home().join(name);
            auth_file(&run.home().join("config.json"), &[(&host, LOGIN)]);
            auth_file(&run.home().join("empty.json"), &[]);
            match option {
                Some(option) => run.arg(option).arg(file),
                None => run.env("REGISTRY_AUTH_FILE", file),
            }
        };
        let output = run("empty.json").run().exits(1);
        assert!(output.stderr.contains("HTTP 401"), "{output:#?}");
        let output = run("missing.json").run().exits(1);
        assert!(output.stderr.contains("missing.json"), "{output:#?}");
    }
    assert!(users(&source).iter().all(String::is_empty));
}

#[test]
fn the_flag_beats_the_variable_and_credentials_beat_both() {
    let source = guarded_source();
    let run = |wrong: &str| {
        let run = inspect(&source.reference("x:1"));
        for name in ["right.json", "wrong.json"] {
            let login = if name == wrong {
                "bob:wrong-Pa55"
            } else {
                LOGIN
            };
            auth_file(&run.home().join(name), &[(&source.host(), login)]);
        }
        run
    };
    let one = run("wrong.json");
    let [right, wrong] = ["right.json", "wrong.json"].map(|name| one.home().join(name));
    let one = one.env("REGISTRY_AUTH_FILE", wrong);
    one.arg("--authfile").arg(right).run().exits(0);
    let both = run("wrong.json");
    let wrong = both.home().join("wrong.json");
    let both = both.arg("--authfile").arg(wrong).args(["--creds", LOGIN]);
    both.run().exits(0);
    assert_eq!(users(&source), ["alice", "alice"]);
}

#[test]
fn keys_have_the_forms_of_every_tool() {
    let source = guarded_source();
    let host = source.host();
    for key in [
        host.clone(),
        format!("{host}/x"),
        format!("https://{host}"),
        format!("https://{host}/v1/"),
        format!("http://{host}/v2/"),
    ] {
        let run = inspect(&source.reference("x:1"));
        auth_file(&run.home().join("config.json"), &[(&key, LOGIN)]);
        run.run().exits(0);
    }
    for key in [format!("{host}/y"), format!("{host}0"), "docker.io".into()] {
        let run = inspect(&source.reference("x:1"));
        auth_file(&run.home().join("config.json"), &[(&key, LOGIN)]);
        run.run().exits(1);
    }
}

/// As docker once wrote them.
#[test]
fn a_password_may_be_padded_with_zeros() {
    let source = guarded_source();
    let run = inspect(&source.reference("x:1"));
    let padded = format!("{LOGIN}\0\0");
    auth_file(
        &run.home().join("config.json"),
        &[(&source.host(), &padded)],
    );
    run.run().exits(0);
}

#[test]
fn an_entry_without_a_login_is_none() {
    let source = guarded_source();
    let run = inspect(&source.reference("x:1"));
    let empty = json!({"auths": {source.host(): {}, format!("{}/x", source.host()): {"auth": ""}}});
    write(&run.home().join("containers/auth.json"), &empty);
    let login = json!({"auths": {source.host(): {"username": "alice", "password": "s3cret-Pa55"}}});
    write(&run.home().join("config.json"), &login);
    run.run().exits(0);
    assert_eq!(users(&source), ["alice"]);
}

#[test]
fn a_registry_token_in_a_file_is_sent_as_it_is() {
    let source = guarded_source();
    let run = inspect(&source.reference("x:1"));
    let entry = json!({"auths": {source.host(): {"registrytoken": "a-token-of-mine"}}});
    write(&run.home().join("config.json"), &entry);
    let output = run.run().exits(1);
    let shown = |value: &str| value == "Bearer a-token-of-mine";
    let sent = source.count(|request| request.header("authorization").is_some_and(shown));
    assert!(sent > 0, "{:#?}", source.log());
    assert!(!output.stderr.contains("a-token-of-mine"), "{output:#?}");
    assert!(source.token_requests().is_empty());
}

#[test]
fn what_is_odd_elsewhere_in_a_file_disables_nothing() {
    let source = guarded_source();
    let login = json!({"auth": "YWxpY2U6czNjcmV0LVBhNTU=", "email": 5});
    for odd in [
        json!(null),
        json!(5),
        json!(["a"]),
        json!({"auth": 5}),
        json!({"auth": "not base64", "identitytoken": {}}),
    ] {
        let run = inspect(&source.reference("x:1"));
        let config = json!({
            "auths": {"other.io": odd, source.host(): login},
            "credHelpers": {"other.io": odd, source.host(): null},
            "credsStore": odd,
        });
        write(&run.home().join("config.json"), &config);
        run.run().exits(0);
    }
    assert_eq!(users(&source), ["alice"; 5]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let source = guarded_source();
    let host = source.host();
    let cases: [(&str, String, &str); 6] = [
        ("broken", "{\"auths\":".into(), "line 1"),
        (
            "wrong-type",
            format!(r#"{{"auths": {{"{host}": {{"auth": 5}}}}}}"#),
            &host,
        ),
        (
            "no-entry",
            format!(r#"{{"auths": {{"{host}": ["hidden-Pa55"]}}}}"#),
            &host,
        ),
        (
            "no-name",
            format!(r#"{{"credHelpers": {{"{host}": 5}}}}"#),
            "credHelpers",
        ),
        ("no-store", r#"{"credsStore": 5}"#.into(), "credsStore"),
        (
            "not-base64",
            format!(r#"{{"auths": {{"{host}": {{"auth": "hidden-Pa55!"}}}}}}"#),
            "USER:PASSWORD",
        ),
    ];
    for (name, text, why) in cases {
        let run = inspect(&source.reference("x:1"));
        let file: PathBuf = run.home().join("config.json");
        fs::write(&file, text).expect("a file");
        let output = run.run().exits(1);
        let said = &output.stderr;
        assert!(
            said.contains("config.json") && said.contains(why),
            "{name}: {said}"
        );
        assert!(!said.contains("hidden-Pa55"), "{said}");
    }
    assert_eq!(source.log().len(), 0, "nobody was asked");
}
