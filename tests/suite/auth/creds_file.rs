//! `--creds-file`: a login that no list of processes shows.

use std::fs;

use super::login::login;
use super::{LOGIN, PASSWORD, bearer, copy, guarded, guarded_source, image, inspect, users};
use crate::support::barge::Barge;
use crate::support::registry::Auth;
use crate::support::wire::{Fault, Request};

#[test]
fn a_file_holds_the_login_of_its_side() {
    let source = guarded_source();
    let destination = guarded(Auth::Bearer(bearer()));
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let [one, two] = ["one.given", "two.given"].map(|name| run.home().join(name));
    fs::write(&one, LOGIN).expect("a file");
    fs::write(&two, format!("{LOGIN}\r\n")).expect("a file");
    let run = run.arg("--src-creds-file").arg(one);
    run.arg("--dest-creds-file").arg(two).run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(image().root));
}

#[test]
fn standard_input_holds_the_login_of_one_side_or_of_both() {
    let source = guarded_source();
    let destination = guarded(Auth::Bearer(bearer()));
    for (number, options) in [
        &["--src-creds-file", "-", "--dest-creds", LOGIN][..],
        &["--src-creds", LOGIN, "--dest-creds-file", "-"],
        &["--creds-file", "-"],
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("y:{number}");
        let run = copy(&source.reference("x:1"), &destination.reference(&target));
        let run = run.args(options).input(&format!("{LOGIN}\n"));
        run.run().exits(0);
    }
    assert_eq!(destination.store.tags("y"), ["0", "1", "2"]);
}

#[test]
fn a_variable_names_the_file_and_a_flag_switches_it_off() {
    let source = guarded_source();
    let run = inspect(&source.reference("x:1"));
    let file = run.home().join("login.given");
    fs::write(&file, "bob:wrong-Pa55").expect("a file");
    let run = run.env("BARGE_CREDS_FILE", &file);
    run.args(["--creds", LOGIN]).run().exits(0);
    assert_eq!(users(&source), ["alice"]);
    let run = inspect(&source.reference("x:1")).env("BARGE_CREDS_FILE", "-");
    run.input(LOGIN).run().exits(0);
}

#[test]
fn what_is_no_login_is_told_without_it() {
    let source = guarded_source();
    source.clear_log();
    let run = |text: Option<&str>| {
        let run = inspect(&source.reference("x:1"));
        let file = run.home().join("login.given");
        if let Some(text) = text {
            fs::write(&file, text).expect("a file");
        }
        let output = run.arg("--creds-file").arg(file).run().exits(1);
        assert!(output.stderr.contains("login.given"), "{output:#?}");
        output
    };
    assert!(!run(Some(":hidden-Pa55")).stderr.contains("hidden"));
    assert!(run(Some("\n")).stderr.contains("USER:PASSWORD"));
    run(None);
    assert_eq!(source.log().len(), 0);
}

#[test]
fn a_file_of_more_than_one_line_is_no_login() {
    for text in [
        "\nalice:hidden-Pa55\n",
        "# mine\nalice:hidden-Pa55",
        "alice\r\nhidden-Pa55",
    ] {
        let run = inspect("docker://h.invalid/x:1");
        let file = run.home().join("login.given");
        fs::write(&file, text).expect("a file");
        let output = run.arg("--creds-file").arg(file).run().exits(1);
        assert!(output.stderr.contains("more than one line"), "{output:#?}");
        assert!(output.stderr.contains("USER:PASSWORD"), "{output:#?}");
        assert!(!output.stderr.contains("hidden"), "{output:#?}");
    }
}

/// Where it has no end, too: what is read of it is limited, not what is kept.
#[cfg(unix)]
#[test]
fn what_is_too_long_for_a_login_is_not_read_to_its_end() {
    let endless = |run: Barge| {
        let output = run.run().exits(1);
        assert!(output.stderr.contains("more than 64 KiB"), "{output:#?}");
    };
    let run = inspect("docker://h.invalid/x:1");
    endless(run.args(["--creds-file", "/dev/zero"]));
    let long = "a".repeat((64 << 10) + 1);
    let run = inspect("docker://h.invalid/x:1");
    endless(run.args(["--creds-file", "-"]).input(&long));
    endless(login("h.invalid").input(&long));
}

#[test]
fn two_ways_at_once_are_a_usage_error() {
    for options in [
        &["--creds-file", "-", "--creds", LOGIN][..],
        &["--src-creds-file", "a", "--src-no-creds"],
        &["--src-creds-file", "-", "--dest-creds-file", "-"],
    ] {
        let run = copy("docker://h.invalid/x:1", "oci:y").args(options);
        let output = run.run().exits(2);
        assert!(output.stderr.contains("creds-file"), "{output:#?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn standard_input_is_no_login_where_it_is_the_source() {
    for option in ["--dest-creds-file", "--creds-file"] {
        let destination = guarded(Auth::Bearer(bearer()));
        let run = copy("oci-archive:-", &destination.reference("y:1"));
        let output = run.args([option, "-"]).input(LOGIN).run().exits(2);
        let told = "SOURCE and a file with credentials both name standard input";
        assert!(output.stderr.contains(told), "{output:#?}");
        assert_eq!(output.stdout, "");
        assert_eq!(destination.log().len(), 0);
    }
}

/// What a list of processes shows, and what a process has been given.
#[cfg(target_os = "linux")]
#[test]
fn no_list_of_processes_shows_it() {
    let source = guarded_source();
    let destination = guarded(Auth::Bearer(bearer()));
    source.fail(1, Request::reads_blob, Fault::Stall);
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let running = run.args(["--creds-file", "-"]).input(LOGIN).spawn();
    source.wait_for(1, Request::reads_blob);
    let process = std::path::Path::new("/proc").join(running.pid().to_string());
    for name in ["cmdline", "comm", "environ"] {
        let shown = fs::read(process.join(name)).expect("a process can be looked at");
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(!shown.contains(PASSWORD), "{name}: {shown}");
    }
    source.release();
    running.wait().exits(0);
}
