//! `barge login`: checked, then stored where podman and skopeo look, and nobody but a person is asked.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{
    LOGIN, PASSWORD, USER, auth_file, bearer, copy, guarded, guarded_source, image, write,
};
use crate::support::barge::{Barge, barge};
use crate::support::docker_registry::{Config, DockerRegistry, Login};
use crate::support::helper::Helpers;
use crate::support::registry::{Auth, Bearer, FakeRegistry};
use crate::support::skopeo;
use crate::support::wire::{Fault, Request};

/// `barge login -u alice --password-stdin` of this registry, the password given.
pub(super) fn login(registry: &str) -> Barge {
    let run = barge().args(["login", "-vv", "-u", USER, "--password-stdin", registry]);
    run.input(&format!("{PASSWORD}\n"))
}

/// The file below a home that a login goes to.
pub(super) const STORED: &str = "containers/auth.json";

#[track_caller]
pub(super) fn stored(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("a login is stored");
    serde_json::from_str(&text).expect("what is stored is JSON")
}

#[track_caller]
fn is_for_its_owner(path: &Path, expected: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, expected, "{}", path.display());
    }
}

#[track_caller]
pub(super) fn is_private(file: &Path) {
    is_for_its_owner(file, 0o600);
    let names = fs::read_dir(file.parent().expect("a directory")).expect("a directory");
    assert_eq!(names.count(), 1, "nothing is left beside it");
}

#[test]
fn a_login_is_stored_for_the_next_command() {
    for auth in [Auth::Bearer(bearer()), Auth::basic(USER, PASSWORD)] {
        let source = guarded(auth);
        image().push_to(&source, "x:1");
        let home = tempdir().expect("a directory");
        let output = login(&source.host()).at_home(home.path()).run().exits(0);
        let file = home.path().join(STORED);
        let said = format!(
            "logged in to {} as alice; stored in {}\n",
            source.host(),
            file.display()
        );
        assert_eq!(output.stdout, said);
        is_private(&file);
        is_for_its_owner(file.parent().expect("a directory"), 0o700);
        let inspect = barge().args(["inspect", &source.reference("x:1")]);
        inspect.at_home(home.path()).run().exits(0);
        let who = barge().args(["login", "--get-login", &source.host()]);
        let output = who.at_home(home.path()).run().exits(0);
        assert_eq!(output.stdout, "alice\n");
    }
}

#[test]
fn a_password_that_is_refused_is_sent_once_and_not_stored() {
    for auth in [Auth::Bearer(bearer()), Auth::basic(USER, PASSWORD)] {
        let source = guarded(auth);
        let run = barge().args(["login", "-u", USER, "--password-stdin", "-o", "json"]);
        let home = tempdir().expect("a directory");
        let run = run
            .arg(source.host())
            .input("wrong-Pa55")
            .at_home(home.path());
        let output = run.run().exits(1);
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], "unauthorized");
        assert!(!output.stderr.contains("wrong-Pa55"), "{output:#?}");
        let sent = source.count(|request| request.header("authorization").is_some());
        assert_eq!(sent, 1);
        assert!(!home.path().join(STORED).exists());
    }
}

/// Nothing but the login is asked about, so that is what is refused.
#[test]
fn a_403_to_a_login_is_a_refusal_of_the_password() {
    let source = guarded(Auth::Bearer(bearer()));
    source.fail(usize::MAX, Request::is_token, Fault::status(403));
    let output = login(&source.host()).args(["-o", "json"]).run().exits(1);
    assert_eq!(output.json()["error"]["kind"], "unauthorized");
    assert_eq!(source.count(Request::is_token), 1);
}

#[test]
fn two_logins_at_once_are_both_stored() {
    let registries: Vec<FakeRegistry> = (0..6).map(|_| guarded(Auth::Bearer(bearer()))).collect();
    let home = tempdir().expect("a directory");
    let start = |registry: &FakeRegistry| login(&registry.host()).at_home(home.path()).spawn();
    let running: Vec<_> = registries.iter().map(start).collect();
    for run in running {
        run.wait().exits(0);
    }
    let stored = stored(&home.path().join(STORED));
    assert_eq!(
        stored["auths"].as_object().map(serde_json::Map::len),
        Some(6)
    );
}

#[test]
fn a_namespace_has_a_login_of_its_own() {
    let source = guarded_source();
    image().push_to(&source, "team/x:1");
    let home = tempdir().expect("a directory");
    let team = format!("{}/team", source.host());
    login(&team).at_home(home.path()).run().exits(0);
    let inspect = |name: &str| {
        let run = barge().args(["inspect", &source.reference(name)]);
        run.at_home(home.path()).run()
    };
    inspect("team/x:1").exits(0);
    inspect("x:1").exits(1);
    let who = |registry: &str| {
        let run = barge().args(["login", "--get-login", registry]);
        run.at_home(home.path()).run()
    };
    assert_eq!(who(&team).exits(0).stdout, "alice\n");
    let output = who(&source.host()).exits(1);
    assert!(output.stderr.contains("barge login"), "{output:#?}");
}

#[test]
fn the_configured_helper_keeps_the_login() {
    let source = guarded_source();
    let host = source.host();
    let helpers = Helpers::new().keeper("one");
    let auths = json!({host.clone(): {"auth": "b2xkOm9sZA=="}});
    for config in [
        json!({"auths": auths, "credsStore": "one"}),
        json!({"auths": auths, "credHelpers": {host.clone(): "one"}}),
    ] {
        let home = tempdir().expect("a directory");
        let file = home.path().join(STORED);
        write(&file, &config);
        let run = login(&host).env("PATH", helpers.in_path());
        let output = run.at_home(home.path()).run().exits(0);
        assert!(
            output.stdout.ends_with("stored in docker-credential-one\n"),
            "{output:#?}"
        );
        let kept = json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD});
        assert_eq!(helpers.keeps("one", &host), Some(kept));
        assert_eq!(stored(&file)["auths"], json!({host.clone(): {}}));
        let inspect = barge().args(["inspect", &source.reference("x:1")]);
        let inspect = inspect.env("PATH", helpers.in_path());
        inspect.at_home(home.path()).run().exits(0);
    }
    assert!(!helpers.log().contains(PASSWORD), "{}", helpers.log());
}

#[test]
fn what_a_helper_complains_of_is_shown_without_the_secret_that_it_was_given() {
    let source = guarded_source();
    let script = "#!/bin/sh\ncat >&2\nexit 3\n";
    let helpers = Helpers::new().script("one", script);
    let run = login(&source.host()).env("PATH", helpers.in_path());
    write(&run.home().join(STORED), &json!({"credsStore": "one"}));
    // That the secret is in none of its outputs, every run is asked.
    let said = run.run().exits(1).stderr;
    let told = "it ended with exit status: 3: {";
    assert!(said.contains(told) && said.contains("[redacted]"), "{said}");
}

#[test]
fn a_helper_keeps_no_login_of_a_namespace() {
    let source = guarded_source();
    let helpers = Helpers::new().keeper("one");
    let run = login(&format!("{}/team", source.host())).env("PATH", helpers.in_path());
    write(&run.home().join(STORED), &json!({"credsStore": "one"}));
    let output = run.run().exits(2);
    assert!(
        output.stderr.contains("docker-credential-one"),
        "{output:#?}"
    );
    assert_eq!(helpers.log(), "");
}

#[test]
fn skopeo_reads_what_barge_stores_and_the_reverse() {
    let registry = DockerRegistry::start_with(Config {
        login: Login::Password,
        ..Config::default()
    });
    image().push_to(&registry, "x:1");
    let home = tempdir().expect("a directory");
    let ours = home.path().join("ours.json");
    let run = login(registry.host()).arg("--authfile").arg(&ours);
    run.run().exits(0);
    let file = format!("--authfile={}", ours.display());
    skopeo::copy_all_with(
        &[&file],
        &registry.reference("x:1"),
        &registry.reference("by-skopeo:1"),
    );
    let theirs = home.path().join("theirs.json");
    let file = format!("--authfile={}", theirs.display());
    let options = [
        "login",
        "--tls-verify=false",
        "-u",
        USER,
        "--password-stdin",
    ];
    let options = [&options[..], &[&file, registry.host()]].concat();
    skopeo::run_with_input(&options, PASSWORD);
    let run = copy(
        &registry.reference("by-skopeo:1"),
        &registry.reference("by-barge:1"),
    );
    run.arg("--authfile").arg(&theirs).run().exits(0);
    assert_eq!(
        registry.client().manifest("by-barge", "1"),
        Some(image().root)
    );
    // And each in the other's file, at the same place.
    login(registry.host())
        .arg("--authfile")
        .arg(&theirs)
        .run()
        .exits(0);
    let who = ["login", "--get-login", &file, registry.host()];
    assert_eq!(skopeo::run(&who), b"alice\n");
}

#[test]
fn a_registry_that_asks_for_no_login_is_told_of() {
    let open = FakeRegistry::start();
    let output = login(&open.host()).run().exits(0);
    assert!(
        output.stderr.contains("could not be checked"),
        "{output:#?}"
    );
    let run = barge().args(["login", "-q", "-u", USER, "--password-stdin", &open.host()]);
    let output = run.input(PASSWORD).run().exits(0);
    assert_eq!(output.stderr, "");
}

#[test]
fn a_registry_that_does_not_take_the_token_it_sent_for_is_told_of() {
    let source = guarded(Auth::Bearer(Bearer {
        uses: Some(0),
        ..bearer()
    }));
    let output = login(&source.host()).run().exits(1);
    assert!(
        output.stderr.contains("does not take the token"),
        "{output:#?}"
    );
    assert!(!output.stdout.contains("stored"), "{output:#?}");
    assert!(
        output.stderr.contains("user and password are good"),
        "{output:#?}"
    );
}

/// Whether a login's own token is tried.
fn shows_token(request: &Request) -> bool {
    let header = request.header("authorization").unwrap_or_default();
    request.path == "/v2/" && header.starts_with("Bearer ")
}

#[test]
fn a_registry_in_trouble_lets_nobody_in_and_is_asked_again() {
    for (times, code) in [(1, 0), (2, 1)] {
        let source = guarded(Auth::Bearer(bearer()));
        source.fail(times, shows_token, Fault::status(503));
        let run = login(&source.host()).args(["--retry-times", "1"]);
        let file = run.home().join(STORED).display().to_string();
        let output = run.run().exits(code);
        assert_eq!(output.stdout.contains(&file), code == 0, "{output:#?}");
    }
}

#[test]
fn the_end_of_the_line_is_no_part_of_the_password() {
    let source = guarded_source();
    for end in ["", "\n", "\r\n"] {
        let run = login(&source.host()).input(&format!("{PASSWORD}{end}"));
        run.run().exits(0);
    }
}

#[test]
fn a_registry_that_does_not_answer_the_login_is_given_up() {
    let source = guarded(Auth::Bearer(bearer()));
    source.fail(usize::MAX, shows_token, Fault::Stall);
    let run = login(&source.host()).args(["--stall-timeout", "1", "--retry-times", "0"]);
    let output = run.run().exits(1);
    assert!(
        output.stderr.contains("no answer within 1 s"),
        "{output:#?}"
    );
    assert!(!output.stdout.contains("stored"), "{output:#?}");
    source.release();
}

#[test]
fn a_script_is_never_asked() {
    let source = guarded_source();
    source.clear_log();
    let host = source.host();
    for (arguments, hint) in [
        (&["login", host.as_str()][..], "--username"),
        (&["login", "-u", USER, &host], "--password-stdin"),
        (&["login", "--password-stdin", &host], "--username"),
        (
            &["login", "-u", "", "--password-stdin", &host],
            "--username",
        ),
        (&["login", "-u", USER, "--password-stdin", &host], "empty"),
        (
            &["login", "--get-login", "--password-stdin", &host],
            "--get-login",
        ),
        (&["login", "-u", USER, "https://quay.io"], "HOST[:PORT]"),
        (&["login", "-u", "a:b", "--password-stdin", &host], "empty"),
        (&["login"], "HOST"),
        (&["logout"], "HOST"),
        (&["logout", "--all", &host], "--all"),
    ] {
        let output = barge().args(arguments).run().exits(2);
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(output.stderr.contains(hint), "{arguments:?}: {output:#?}");
    }
    assert_eq!(source.log().len(), 0);
}

#[test]
fn a_user_with_a_colon_cannot_be_stored_in_a_file() {
    let open = FakeRegistry::start();
    let run = barge().args(["login", "-u", "a:b", "--password-stdin", &open.host()]);
    let output = run.input(PASSWORD).run().exits(2);
    assert!(output.stderr.contains("colon"), "{output:#?}");
}

/// Waits until a terminal does not show what is typed.
fn wait_for_silence(terminal: &str) {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let settings = Command::new("stty").args(["-a", "-F", terminal]).output();
        let settings = settings.expect("stty is there").stdout;
        if String::from_utf8_lossy(&settings).contains(" -echo ") {
            return;
        }
        assert!(Instant::now() < patience, "{terminal} shows what is typed");
    }
}

/// Types at a terminal, each time when the question is there; all that was shown, and whether it ended well.
fn at_a_terminal(line: &str, answers: &[(&str, &str)]) -> (String, bool) {
    // Debian's bsdutils, which every system has.
    let mut child = Command::new("timeout")
        .args(["60", "script", "-q", "-e", "-c", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is there");
    let mut output = child.stdout.take().expect("piped");
    let mut keyboard = child.stdin.take().expect("piped");
    let mut answers = answers.iter().peekable();
    let mut shown = Vec::new();
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = output.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&shown);
        if let Some((question, keys)) = answers.next_if(|(question, _)| text.contains(question)) {
            if question.starts_with("Password") {
                wait_for_silence(text.lines().next().expect("the terminal's name"));
            }
            keyboard.write_all(keys.as_bytes()).expect("it reads");
        }
    }
    let status = child.wait().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&shown).into_owned();
    assert!(
        answers.peek().is_none() && status.code() != Some(124),
        "{text}"
    );
    (text, status.success())
}

#[cfg(target_os = "linux")]
#[test]
fn a_person_is_asked_and_what_is_typed_is_not_shown() {
    let source = guarded_source();
    let home = tempdir().expect("a directory");
    let line = |user: &str| {
        let file = home.path().join("typed.json");
        let binary = env!("CARGO_BIN_EXE_barge");
        format!(
            "tty; {binary} login {user} --authfile {} {}",
            file.display(),
            source.host()
        )
    };
    let (shown, ended_well) = at_a_terminal(&line("-u alice"), &[("Password", "s3cret-Pa55\n")]);
    assert!(ended_well, "{shown}");
    assert!(shown.contains("logged in to"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    let entry = stored(&home.path().join("typed.json"))["auths"][source.host()].clone();
    assert_eq!(entry, json!({"auth": "YWxpY2U6czNjcmV0LVBhNTU="}));
    let check = "test $code = 130 && stty -a | grep -q ' echo ' && echo echo is back; exit $code";
    let interrupted = format!("{}; code=$?; {check}", line("-u bob"));
    // Ctrl-C ends it with nothing changed.
    let (shown, ended_well) = at_a_terminal(&interrupted, &[("Password", "\x03")]);
    assert!(!ended_well, "{shown}");
    assert!(shown.contains("echo is back"), "{shown}");
    let after = stored(&home.path().join("typed.json"));
    assert_eq!(after["auths"][source.host()], entry);
    let answers = [
        ("Username", "nobody\n"),
        ("Password of nobody", "wrong-Pa55\n"),
    ];
    let (shown, ended_well) = at_a_terminal(&line(""), &answers);
    assert!(!ended_well && !shown.contains("wrong-Pa55"), "{shown}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_again_what_is_typed_after_every_end() {
    let source = guarded_source();
    let line = format!(
        "{} login -u bob {}",
        env!("CARGO_BIN_EXE_barge"),
        source.host()
    );
    let check = "stty -a | grep -q ' echo ' && echo echo is back";
    // From outside, when nothing has been typed.
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        // The shell's own jobs are out of the terminal's foreground; the one who kills is one of them.
        let kill = "until stty -a -F $terminal | grep -q ' -echo '; do sleep 0.1; done";
        let kill = format!("me=$$; terminal=$(tty); ({kill}; pkill -{signal} -P $me -x barge) & ");
        let script = format!("tty; {kill} {line}; code=$?; test $code = {code} && {check}; exit 0");
        let (shown, _) = at_a_terminal(&script, &[]);
        assert!(shown.contains("echo is back"), "{signal}: {shown}");
        assert!(
            shown.contains("failed to log in: a signal"),
            "{signal}: {shown}"
        );
    }
    let script = format!("tty; {line}; code=$?; test $code = 2 && {check}; exit 0");
    let (shown, _) = at_a_terminal(&script, &[("Password", "\x04")]);
    assert!(shown.contains("no password was given"), "{shown}");
    assert!(shown.contains("echo is back"), "{shown}");
}

#[test]
fn the_result_is_json_where_it_is_asked_for() {
    let source = guarded_source();
    let run = login(&source.host()).args(["-o", "json"]);
    let file = run.home().join(STORED).display().to_string();
    let expected = json!({"registry": source.host(), "user": USER, "stored": file});
    assert_eq!(run.run().exits(0).json(), expected);
    let who = barge().args(["login", "--get-login", "-o", "json", &source.host()]);
    auth_file(&who.home().join("config.json"), &[(&source.host(), LOGIN)]);
    let expected = json!({"registry": source.host(), "user": USER});
    assert_eq!(who.run().exits(0).json(), expected);
}

#[test]
fn waits_for_another_login_until_a_signal_comes() {
    let source = guarded(Auth::basic(USER, PASSWORD));
    let home = tempdir().expect("a directory");
    let file = home.path().join("auth.json");
    let directory = fs::File::open(home.path()).expect("a directory");
    directory.lock().expect("a lock");
    let run = || login(&source.host()).arg("--authfile").arg(&file).spawn();
    let (interrupted, waiting) = (run(), run());
    for running in [&interrupted, &waiting] {
        running.wait_until_said("another process is writing");
    }
    interrupted.signal("INT");
    interrupted.wait().exits(130);
    assert!(!file.exists());
    drop(directory);
    waiting.wait().exits(0);
    assert!(file.exists());
}
