//! Credential helpers: who is asked, what their answers mean, and what is told of those that fail.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{LOGIN, PASSWORD, USER, auth_file, guarded_source, image, inspect, users, write};
use crate::support::barge::{Barge, Output};
use crate::support::helper::Helpers;
use crate::support::registry::{Auth, Bearer, FakeRegistry, Settings};

/// `barge inspect` of `x:1` with these helpers and this `config.json`.
fn run(source: &FakeRegistry, helpers: &Helpers, config: &Value) -> Barge {
    let run = inspect(&source.reference("x:1")).env("PATH", helpers.in_path());
    write(&run.home().join("config.json"), config);
    run
}

#[test]
fn a_helper_of_the_host_or_of_all_hosts_is_asked() {
    let source = guarded_source();
    let host = source.host();
    for config in [
        json!({"credHelpers": {host.clone(): "one"}}),
        json!({"credHelpers": {host.clone(): "one"}, "credsStore": "other"}),
        json!({"credsStore": "one", "auths": {host.clone(): {}}}),
    ] {
        let helpers = Helpers::new().keeper("one").keeper("other");
        helpers.has("one", &host, [USER, PASSWORD]);
        helpers.has("other", &host, ["bob", "wrong-Pa55"]);
        let output = run(&source, &helpers, &config).run().exits(0);
        assert!(
            output.stderr.contains("docker-credential-one"),
            "{output:#?}"
        );
        assert_eq!(helpers.log().lines().count(), 1, "{}", helpers.log());
        assert!(helpers.log().starts_with("docker-credential-one get:"));
    }
    assert_eq!(users(&source), ["alice", "alice", "alice"]);
}

#[test]
fn credentials_not_found_moves_on() {
    let source = guarded_source();
    let host = source.host();
    let helpers = Helpers::new().keeper("none");
    for config in [
        json!({"credHelpers": {host.clone(): "none"}}),
        json!({"credsStore": "none"}),
    ] {
        let run = run(&source, &helpers, &json!({})).env("PATH", helpers.in_path());
        write(&run.home().join("containers/auth.json"), &config);
        auth_file(&run.home().join("config.json"), &[(&host, LOGIN)]);
        run.run().exits(0);
    }
    assert_eq!(users(&source), ["alice", "alice"]);
    assert_eq!(helpers.log().lines().count(), 2);
}

#[test]
fn an_entry_for_a_part_comes_before_the_hosts_helper_and_that_before_its_entry() {
    let source = guarded_source();
    let host = source.host();
    let helpers = Helpers::new().keeper("one");
    helpers.has("one", &host, [USER, PASSWORD]);
    let wrong = json!({"username": "bob", "password": "wrong-Pa55"});
    let right = json!({"username": USER, "password": PASSWORD});
    let config = json!({"credHelpers": {host.clone(): "one"}, "auths": {host.clone(): wrong}});
    run(&source, &helpers, &config).run().exits(0);
    helpers.has("one", &host, ["bob", "wrong-Pa55"]);
    let part = format!("{host}/x");
    let config = json!({"credHelpers": {host: "one"}, "auths": {part: right}});
    run(&source, &helpers, &config).run().exits(0);
    assert_eq!(users(&source), ["alice", "alice"]);
}

#[test]
fn an_empty_name_wants_no_helper() {
    let source = guarded_source();
    let helpers = Helpers::new().script("one", "#!/bin/sh\nexit 1\n");
    let right = json!({"username": USER, "password": PASSWORD});
    let host = source.host();
    let config =
        json!({"credsStore": "one", "credHelpers": {host.clone(): ""}, "auths": {host: right}});
    run(&source, &helpers, &config).run().exits(0);
}

#[test]
fn a_helper_may_keep_an_identity_token() {
    let source = FakeRegistry::start_with(Settings {
        auth: Auth::Bearer(Bearer {
            identity_token: Some("identity-of-a-helper".into()),
            ..Bearer::user(USER, PASSWORD)
        }),
        ..Settings::default()
    });
    image().push_to(&source, "x:1");
    let helpers = Helpers::new().keeper("one");
    helpers.has("one", &source.host(), ["<token>", "identity-of-a-helper"]);
    let config = json!({"credsStore": "one"});
    run(&source, &helpers, &config).run().exits(0);
    assert_eq!(source.token_requests()[0].method, "POST");
}

/// The output of a run whose helper is this script, or is not there.
fn broken(script: Option<&str>) -> Output {
    let source = guarded_source();
    source.clear_log();
    let helpers = Helpers::new();
    let helpers = match script {
        Some(script) => helpers.script("broken", script),
        None => helpers,
    };
    let config = json!({"credsStore": "broken"});
    let run = run(&source, &helpers, &config).args(["--stall-timeout", "1"]);
    let output = run.run().exits(1);
    assert_eq!(source.log().len(), 0, "nobody was asked");
    let said = &output.stderr;
    assert!(said.contains("docker-credential-broken"), "{said}");
    assert!(said.contains("config.json"), "{said}");
    output
}

#[test]
fn a_helper_that_is_missing_is_named() {
    assert!(broken(None).stderr.contains("no such program"));
}

#[test]
fn a_helper_that_fails_is_named_with_its_words() {
    for output in ["", " >&2"] {
        let script = format!("#!/bin/sh\necho 'the keychain is locked'{output}\nexit 3\n");
        let said = broken(Some(&script)).stderr;
        let told = "it ended with exit status: 3: the keychain is locked\n";
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn what_a_helper_that_fails_prints_is_not_shown_where_it_may_be_a_secret() {
    let login = json!({"Username": USER, "Secret": "hidden-Pa55"});
    let script = format!("#!/bin/sh\necho '{login}'\necho why >&2\nexit 3\n");
    let said = broken(Some(&script)).stderr;
    assert!(said.contains("exit status: 3: why\n"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
}

#[test]
fn a_helper_that_hangs_is_ended() {
    let started = Instant::now();
    // What it has started ends with it: whoever reads what that never writes comes to the end.
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let script = format!("#!/bin/sh\nsleep 600 > '{}' &\nwait\n", pipe.display());
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(std::fs::read(pipe)));
    let said = broken(Some(&script)).stderr;
    // Whatever --stall-timeout says: a helper may ask a person.
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    assert!(waited < Duration::from_secs(55), "{waited:?}");
    assert!(said.contains("within 30 s"), "{said}");
    let read = ended.recv_timeout(Duration::from_mins(1));
    let read = read.expect("what it started has ended");
    assert_eq!(read.expect("a pipe"), b"");
}

#[test]
fn a_helper_that_prints_without_end_is_ended() {
    for output in ["", " >&2"] {
        let started = Instant::now();
        let said = broken(Some(&format!("#!/bin/sh\nexec yes nonsense{output}\n"))).stderr;
        assert!(said.contains("more than 64 KiB"), "{said}");
        assert!(started.elapsed() < Duration::from_secs(25), "{said}");
    }
}

#[test]
fn a_helper_that_leaves_a_program_running_is_taken_by_its_exit() {
    let source = guarded_source();
    let script = format!(
        "#!/bin/sh\nsleep 60 &\necho '{}'\n",
        json!({"Username": USER, "Secret": PASSWORD})
    );
    let helpers = Helpers::new().script("one", &script);
    let started = Instant::now();
    run(&source, &helpers, &json!({"credsStore": "one"}))
        .run()
        .exits(0);
    assert!(started.elapsed() < Duration::from_secs(25));
    assert_eq!(users(&source), [USER]);
}

#[test]
fn json_without_credentials_is_nonsense() {
    for printed in [
        "{}",
        "[]",
        "[1]",
        "null",
        r#"{"Username": "u"}"#,
        r#"{"Username": "", "Secret": ""}"#,
    ] {
        let said = broken(Some(&format!("#!/bin/sh\necho '{printed}'\n"))).stderr;
        assert!(said.contains("it printed"), "{printed}: {said}");
    }
}

#[test]
fn a_helper_that_prints_nonsense_is_named_and_its_words_are_not_shown() {
    for printed in [
        "hidden-Pa55",
        r#"{"Username": "u", "Secret": ["hidden-Pa55"]}"#,
    ] {
        let script = format!("#!/bin/sh\necho '{printed}'\n");
        let said = broken(Some(&script)).stderr;
        assert!(!said.contains("hidden-Pa55"), "{said}");
        assert!(said.contains("not the JSON expected"), "{said}");
    }
    for printed in [
        r#"{"Username": "u", "Secret": "hidden-Pa55"}"#,
        "hidden-Pa55",
    ] {
        let script = format!("#!/bin/sh\necho '{printed}'\necho locked >&2\nexit 1\n");
        let said = broken(Some(&script)).stderr;
        assert!(!said.contains("hidden-Pa55"), "{said}");
        assert!(said.contains("exit status: 1: locked"), "{said}");
    }
}

#[test]
fn no_creds_asks_no_helper() {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    let helpers = Helpers::new().keeper("one");
    let config = json!({"credsStore": "one"});
    let run = run(&source, &helpers, &config).arg("--no-creds");
    run.run().exits(0);
    assert_eq!(helpers.log(), "");
}

#[test]
fn refuses_helper_names_with_a_path_or_control_characters() {
    for name in ["../one", "a/b", "a\\b", "a\nb", "a\u{0}b"] {
        let source = guarded_source();
        source.clear_log();
        let helpers = Helpers::new();
        let host = source.host();
        for (config, key) in [
            (json!({"credsStore": name}), "credsStore"),
            (json!({"credHelpers": {host.clone(): name}}), "credHelpers"),
        ] {
            let said = run(&source, &helpers, &config).run().exits(1).stderr;
            assert!(said.contains("config.json") && said.contains(key), "{said}");
            assert!(
                said.contains("not the name of a credential helper"),
                "{said}"
            );
        }
        assert_eq!(source.log().len(), 0, "nobody was asked");
    }
}

#[test]
fn helpers_inherit_no_variables_of_barge() {
    let (source, destination) = (guarded_source(), FakeRegistry::start());
    let helpers = Helpers::new();
    let seen = helpers.path().join("seen");
    let script = format!(
        "#!/bin/sh\nenv > '{}'\necho '{}'\n",
        seen.display(),
        json!({"Username": USER, "Secret": PASSWORD})
    );
    let helpers = helpers.script("one", &script);
    let run = super::copy(&source.reference("x:1"), &destination.reference("y:1"));
    write(
        &run.home().join("config.json"),
        &json!({"credsStore": "one"}),
    );
    let run = run.env("PATH", helpers.in_path());
    let run = run.env("BARGE_DEST_CREDS", "bob:hidden-Pa55");
    let run = run.env("BARGE_JOBS", "1").env("OTHER", "kept");
    run.run().exits(0);
    let seen = std::fs::read_to_string(seen).expect("it was asked");
    assert!(seen.contains("OTHER=kept"), "{seen}");
    assert!(!seen.contains("BARGE_"), "{seen}");
}
