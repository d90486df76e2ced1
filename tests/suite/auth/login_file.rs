//! The file that a login is stored in: what else it says, what it is, and what cannot be stored.

use std::fs;

use serde_json::json;
use tempfile::tempdir;

use super::guarded_source;
use super::login::{STORED, is_private, login, stored};
use crate::support::barge::barge;

#[test]
fn other_keys_and_entries_of_the_file_stay_in_their_order() {
    let source = guarded_source();
    let host = source.host();
    let home = tempdir().expect("a directory");
    let file = home.path().join("odd.json");
    let text = |entry: &str| {
        format!(
            r#"{{ "zeta":12345678901234567890123, "auths":{{ "other.io": {{"auth": "b3RoZXI6b3RoZXI=","n":1.50e+01}},{entry} "last.io":{{"b":1,"a":[2.0]}} }}, "alpha":{{"y":null,"x":-0.10}} }}"#
        )
    };
    let entry = |auth: &str| format!(r#""{host}":{{ "email":"a\u0040b.c", "auth":"{auth}" }},"#);
    let flat = |text: &str| text.split_whitespace().collect::<String>();
    let read = || fs::read_to_string(&file).expect("the file");
    fs::write(&file, text(&entry("b2xkOm9sZA=="))).expect("a file");
    login(&host).arg("--authfile").arg(&file).run().exits(0);
    let new = text(&entry("YWxpY2U6czNjcmV0LVBhNTU="));
    assert_eq!(flat(&read()), flat(&new));
    let run = barge().args(["logout", &host, "--authfile"]).arg(&file);
    run.run().exits(0);
    assert_eq!(flat(&read()), flat(&text("")));
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_its_target_is_replaced() {
    let source = guarded_source();
    for there in [true, false] {
        let home = tempdir().expect("a directory");
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("a directory");
        let target = elsewhere.join("auth.json");
        if there {
            fs::write(&target, "{}").expect("a file");
        }
        let [first, second] = ["first.json", "second.json"].map(|name| home.path().join(name));
        std::os::unix::fs::symlink("second.json", &first).expect("a link");
        std::os::unix::fs::symlink("elsewhere/auth.json", &second).expect("a link");
        let run = login(&source.host()).arg("--authfile").arg(&first);
        run.run().exits(0);
        for link in [first, second] {
            assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
        }
        let entry = stored(&target)["auths"][source.host()].clone();
        assert_eq!(entry, json!({"auth": "YWxpY2U6czNjcmV0LVBhNTU="}));
        is_private(&target);
    }
}

#[test]
fn a_file_that_cannot_be_understood_stays_as_it_is() {
    let source = guarded_source();
    for text in ["{\"auths\": [", "[]", "{\"auths\": 5}"] {
        let home = tempdir().expect("a directory");
        let file = home.path().join("broken.json");
        fs::write(&file, text).expect("a file");
        let output = login(&source.host()).arg("--authfile").arg(&file).run();
        let output = output.exits(1);
        assert!(output.stderr.contains("broken.json"), "{output:#?}");
        assert_eq!(fs::read_to_string(&file).expect("the file"), text);
    }
}

#[test]
fn a_login_that_cannot_be_stored_says_where() {
    let source = guarded_source();
    let home = tempdir().expect("a directory");
    let file = home.path().join("directory.json");
    fs::create_dir(&file).expect("a directory");
    let output = login(&source.host()).arg("--authfile").arg(&file).run();
    assert!(output.exits(1).stderr.contains("directory.json"));
    let run = login(&source.host()).after("ulimit -f 0");
    let target = run.home().join(STORED);
    let output = run.run().exits(1);
    let said = format!("failed to write credentials to {}", target.display());
    assert!(output.stderr.contains(&said), "{output:#?}");
}
