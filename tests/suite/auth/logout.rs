//! `barge logout`: what was stored is forgotten, and nothing else.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{LOGIN, PASSWORD, USER, auth_file, write};
use crate::support::barge::{Barge, barge};
use crate::support::helper::Helpers;
use crate::support::skopeo;

const STORED: &str = "containers/auth.json";

fn logout(arguments: &[&str]) -> Barge {
    barge().arg("logout").args(arguments)
}

fn config(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("the file is there");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn one_login_is_forgotten_and_the_others_are_kept() {
    let home = tempdir().expect("a directory");
    let file = home.path().join(STORED);
    let entry = json!({"auth": "b3RoZXI6b3RoZXI="});
    let before = json!({"auths": {"q.io": entry, "https://q.io/v1/": entry, "q.io/team": entry, "o.io": entry}, "x": 1});
    write(&file, &before);
    let output = logout(&["q.io"]).at_home(home.path()).run().exits(0);
    assert_eq!(output.stdout, "logged out of q.io\n");
    let left = json!({"auths": {"q.io/team": entry, "o.io": entry}, "x": 1});
    assert_eq!(config(&file), left);
    logout(&["q.io/team"]).at_home(home.path()).run().exits(0);
    let output = logout(&["q.io"]).at_home(home.path()).run().exits(1);
    assert!(output.stderr.contains("no login"), "{output:#?}");
    assert_eq!(config(&file), json!({"auths": {"o.io": entry}, "x": 1}));
}

#[test]
fn every_name_of_the_hub_is_the_hub() {
    for (key, host) in [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "index.docker.io"),
    ] {
        let run = logout(&[host, "--authfile"]);
        let file = run.home().join("hub.json");
        auth_file(&file, &[(key, LOGIN)]);
        let output = run.arg(file).run().exits(0);
        assert_eq!(output.stdout, "logged out of docker.io\n");
    }
}

#[test]
fn all_logins_are_forgotten() {
    let home = tempdir().expect("a directory");
    let file = home.path().join(STORED);
    auth_file(&file, &[("q.io", LOGIN), ("o.io/x", LOGIN)]);
    let run = logout(&["--all", "-o", "json"]).at_home(home.path());
    let output = run.run().exits(0);
    assert_eq!(output.json(), json!({"registries": ["o.io/x", "q.io"]}));
    assert_eq!(config(&file), json!({"auths": {}}));
    let output = logout(&["-a"]).at_home(home.path()).run().exits(0);
    assert_eq!(output.stdout, "there was no login\n");
}

#[test]
fn the_variable_of_copys_all_does_not_log_out_of_everything() {
    let home = tempdir().expect("a directory");
    let file = home.path().join(STORED);
    auth_file(&file, &[("q.io", LOGIN), ("o.io", LOGIN)]);
    let run = |arguments: &[&str]| {
        let run = logout(arguments).env("BARGE_ALL", "true");
        run.at_home(home.path()).run()
    };
    run(&[]).exits(2);
    run(&["q.io"]).exits(0);
    assert_eq!(
        config(&file)["auths"]["o.io"],
        json!({"auth": "YWxpY2U6czNjcmV0LVBhNTU="})
    );
}

#[test]
fn helpers_forget_too() {
    for arguments in [&["q.io"][..], &["--all"]] {
        let helpers = Helpers::new().keeper("one").keeper("own");
        helpers.has("one", "q.io", [USER, PASSWORD]);
        helpers.has("own", "p.io", [USER, PASSWORD]);
        let home = tempdir().expect("a directory");
        let file = home.path().join(STORED);
        let before =
            json!({"auths": {"q.io": {}}, "credsStore": "one", "credHelpers": {"p.io": "own"}});
        write(&file, &before);
        let run = logout(arguments).env("PATH", helpers.in_path());
        run.at_home(home.path()).run().exits(0);
        assert_eq!(helpers.keeps("one", "q.io"), None);
        let all = arguments == ["--all"];
        assert_eq!(
            helpers.keeps("own", "p.io").is_none(),
            all,
            "{}",
            helpers.log()
        );
        assert_eq!(config(&file)["auths"], json!({}));
        assert_eq!(config(&file)["credsStore"], "one");
    }
}

#[test]
fn a_login_of_another_tool_is_pointed_at() {
    let run = logout(&["q.io"]);
    let file = run.home().join("config.json");
    auth_file(&file, &[("q.io", LOGIN)]);
    let output = run.run().exits(1);
    assert!(
        output.stderr.contains("config.json, key q.io"),
        "{output:#?}"
    );
}

#[test]
fn what_skopeo_stored_is_forgotten() {
    let home = tempdir().expect("a directory");
    let file = home.path().join("shared.json");
    let option = format!("--authfile={}", file.display());
    auth_file(&file, &[("q.io", LOGIN), ("o.io", LOGIN)]);
    logout(&["q.io", &option]).run().exits(0);
    skopeo::run(&["logout", &option, "o.io"]);
    assert_eq!(config(&file)["auths"], json!({}));
}
