//! The file that a login is stored in: what else it says, what it is, and what cannot be stored.

use std::fs;

use serde_json::json;
use tempfile::tempdir;

use super::guarded_source;
use super::login::{STORED, is_private, login, stored};
use crate::support::barge::barge;

/// A file that no tool would write this way: HOST and OLD stand for a registry and what is stored for it.
const ODD: &str = "\r\n{ \"zeta\":12345678901234567890123,\"auths\" :{\n\t\"other.io\": {\"auth\": \"b3RoZXI6b3RoZXI=\",\"n\":1.50e+01},\"HOST\":{ \"email\":\"a\\u0040b.c\" , OLD},\n  \"twice.io\":{}, \"twice.io\": {\"b\":1, \"a\":{\"z\":[1,2.0], \"z\":0}}},\n\"alpha\": {\"big\":-0.10, \"y\":null} }";

/// [`ODD`] with this stored for a registry.
fn odd(host: &str, stored: &str) -> String {
    ODD.replace("HOST", host).replace("OLD", stored)
}

#[test]
fn what_else_the_file_says_is_kept_to_the_byte() {
    let source = guarded_source();
    let host = source.host();
    let home = tempdir().expect("a directory");
    let file = home.path().join("odd.json");
    let new = r#""auth": "YWxpY2U6czNjcmV0LVBhNTU=""#;
    for end in ["", "\n", "\n\n"] {
        for old in [
            r#""auth": "b2xkOm9sZA==""#,
            r#""auth": "b2xkOm9sZA==" , "identitytoken":"x""#,
        ] {
            fs::write(&file, odd(&host, old) + end).expect("a file");
            login(&host).arg("--authfile").arg(&file).run().exits(0);
            let after = fs::read_to_string(&file).expect("the file");
            assert_eq!(after, odd(&host, new) + end);
        }
        let run = barge().args(["logout", &host, "--authfile"]).arg(&file);
        run.run().exits(0);
        let after = fs::read_to_string(&file).expect("the file");
        let entry = format!(",\"{host}\":{{ \"email\":\"a\\u0040b.c\" , {new}}}");
        assert_eq!(after, odd(&host, new).replace(&entry, "") + end);
    }
}

#[test]
fn an_entry_that_is_there_twice_is_changed_and_forgotten_twice() {
    let source = guarded_source();
    let host = source.host();
    let home = tempdir().expect("a directory");
    let file = home.path().join("twice.json");
    let twice = |[first, last]: [&str; 2]| {
        format!(r#"{{"auths":{{"{host}":{first},"x":1,"{host}":{last}}}}}"#)
    };
    let before = [
        r#"{"auth":"b2xkOm9sZA==","first":1}"#,
        r#"{"auth":"b2xkOm9sZA==","last":1}"#,
    ];
    fs::write(&file, twice(before)).expect("a file");
    login(&host).arg("--authfile").arg(&file).run().exits(0);
    let text = fs::read_to_string(&file).expect("the file");
    // Every reader takes the last.
    let after = r#"{"auth":"YWxpY2U6czNjcmV0LVBhNTU=","last":1}"#;
    assert_eq!(text, twice([after; 2]));
    let run = barge().args(["logout", &host, "--authfile"]).arg(&file);
    run.run().exits(0);
    let text = fs::read_to_string(&file).expect("the file");
    assert_eq!(text, r#"{"auths":{"x":1}}"#);
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
