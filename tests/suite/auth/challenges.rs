//! Challenges and token servers as they really answer; and where credentials never go.

use tempfile::tempdir;

use super::login::{STORED, login};
use super::{
    LOGIN, PASSWORD, USER, bearer, copy, guarded, guarded_source, image, inspect, open_source,
};
use crate::support::registry::{Auth, Bearer, FakeRegistry};
use crate::support::tls::{Authority, Clients, TlsServer};
use crate::support::wire::{Answer, Fault, Request};

fn authorized(request: &Request) -> bool {
    request.header("authorization").is_some()
}

/// Answers whoever shows nothing with these challenges, `REALM` in them replaced.
fn challenge(registry: &FakeRegistry, headers: &[&str]) {
    let realm = format!("http://{}/token", registry.host());
    let mut answer = Answer::new(401);
    for header in headers {
        answer = answer.header("WWW-Authenticate", header.replace("REALM", &realm));
    }
    registry.on(move |request| {
        let asks = request.path.starts_with("/v2/") && !authorized(request);
        asks.then(|| Fault::Status(answer.clone()))
    });
}

#[test]
fn challenges_have_every_form() {
    for headers in [
        &[r#"bEARER realm="REALM",service="fake registry""#][..],
        &[r#"Bearer service="fake registry" , scope="a b" ,realm="REALM""#],
        &[r#"Basic realm="x", Bearer realm="REALM",service="fake registry""#],
        &[r#"Bearer realm="REALM",service="fake registry", Basic realm="x""#],
        &[
            r#"Basic realm="x""#,
            r#"bearer Realm="REALM",Service="fake registry""#,
        ],
        &[r#"Negotiate, Bearer realm="/token",service="fake registry""#],
    ] {
        let source = guarded_source();
        challenge(&source, headers);
        let run = inspect(&source.reference("x:1"));
        run.args(["--creds", LOGIN]).run().exits(0);
        assert_eq!(source.token_requests().len(), 1, "{headers:?}");
    }
    for headers in [&["bASIC"][..], &[r#"basic Realm="x", Digest realm="y""#]] {
        let source = guarded(Auth::basic(USER, PASSWORD));
        challenge(&source, headers);
        let run = inspect(&source.reference("y:1"));
        let output = run.args(["--creds", LOGIN]).run().exits(1);
        assert!(output.stderr.contains("it is not there"), "{output:#?}");
    }
}

#[test]
fn the_service_comes_back_exactly() {
    let service = "odd &=+%/:;?#service 100%41";
    let source = guarded(Auth::Bearer(Bearer {
        service: service.into(),
        ..bearer()
    }));
    image().push_to(&source, "x:1");
    let run = inspect(&source.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
    let asked = source.log().into_iter().find(Request::is_token);
    let asked = asked.expect("a token was asked for");
    assert_eq!(asked.parameter("service").as_deref(), Some(service));
}

#[test]
fn what_a_token_server_says_is_shown() {
    let oci = r#"{"errors":[{"code":"DENIED","message":"your plan has ended"}]}"#;
    for (status, body, kind) in [
        (403, oci, "denied"),
        (401, r#"{"error": "your plan has ended"}"#, "unauthorized"),
        (401, r#"{"details": "your plan has ended"}"#, "unauthorized"),
        (403, "your plan has ended\n", "denied"),
        (
            400,
            r#"{"error": "invalid_grant", "error_description": "your plan has ended"}"#,
            "unauthorized",
        ),
    ] {
        let source = guarded_source();
        let answer = Answer::new(status).body("text/plain", body);
        source.fail(9, Request::is_token, Fault::Status(answer));
        let run = inspect(&source.reference("x:1")).args(["-o", "json"]);
        let output = run.args(["--creds", LOGIN]).run().exits(1);
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], kind, "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("your plan has ended"), "{message}");
        assert_eq!(source.count(Request::is_token), 1, "{body}");
    }
}

/// The registry behind TLS, and a run that trusts it.
fn behind_tls(registry: &FakeRegistry) -> (TlsServer, tempfile::TempDir) {
    let authority = Authority::new();
    let server = TlsServer::start(&registry.host(), &authority, Clients::Anyone);
    let directory = tempdir().expect("a directory");
    authority.write_to(directory.path());
    (server, directory)
}

#[test]
fn a_password_does_not_go_to_a_token_server_without_tls() {
    for login in [LOGIN, "token"] {
        // Its realm is http://HOST/token, whatever is in front.
        let registry = guarded_source();
        let elsewhere = FakeRegistry::start();
        let realm = Some(format!("http://{}/token", elsewhere.host()));
        registry.configure(|settings| settings.auth = Auth::Bearer(Bearer { realm, ..bearer() }));
        let (server, directory) = behind_tls(&registry);
        let run = inspect(&server.reference("x:1"));
        let run = run.arg("--cert-dir").arg(directory.path());
        if login == LOGIN {
            let output = run.args(["--creds", LOGIN]).run().exits(1);
            assert!(
                output.stderr.contains("token server without TLS"),
                "{output:#?}"
            );
        } else {
            let entry = serde_json::json!({"identitytoken": "identity-in-the-plain"});
            let host = server.reference("").replace("docker://", "");
            let config = serde_json::json!({"auths": {host.trim_end_matches('/'): entry}});
            super::write(&run.home().join("config.json"), &config);
            let output = run.run().exits(1);
            assert!(
                output.stderr.contains("token server without TLS"),
                "{output:#?}"
            );
        }
        assert_eq!(elsewhere.log().len(), 0, "{login}");
    }
}

#[test]
fn a_redirect_or_location_in_plain_gets_nothing() {
    let registry = guarded(Auth::basic(USER, PASSWORD));
    image().push_to(&registry, "x:1");
    let elsewhere = FakeRegistry::start();
    // A name of its own: a port of the same host would be taken for the registry behind its TLS.
    let other = elsewhere.host().replace("127.0.0.1", "localhost");
    let (server, directory) = behind_tls(&registry);
    let to = move |request: &Request| {
        let location = format!("http://{other}{}", request.path);
        match request.method.as_str() {
            "GET" if request.path.contains("/blobs/") => {
                Some(Fault::Status(Answer::new(307).header("Location", location)))
            }
            "POST" if request.is_upload() => Some(Fault::Status(
                Answer::new(202).header("Location", format!("{location}session?_state=x")),
            )),
            _ => None,
        }
    };
    registry.on(to);
    let source = open_source();
    let trust = |run: crate::support::barge::Barge, option: &str| {
        run.arg(option)
            .arg(directory.path())
            .args(["--creds", LOGIN])
    };
    let run = trust(
        copy(&source.reference("x:1"), &server.reference("y:1")),
        "--dest-cert-dir",
    );
    run.args(["--retry-times", "0"]).run().exits(1);
    let run = trust(
        copy(&server.reference("x:1"), &source.reference("y:1")),
        "--src-cert-dir",
    );
    run.args(["--retry-times", "0"]).run().exits(1);
    let seen = elsewhere.log();
    assert!(!seen.iter().any(Request::is_upload), "{seen:#?}");
    assert!(seen.iter().any(Request::reads_blob), "{seen:#?}");
    assert_eq!(elsewhere.count(authorized), 0, "{seen:#?}");
}

/// The token server of `registry` sends on to `location`, so often.
fn sends_on(registry: &FakeRegistry, times: usize, location: String) {
    let answer = Answer::new(307).header("Location", location);
    registry.fail(times, Request::is_token, Fault::Status(answer));
}

#[test]
fn a_token_server_that_sends_on_to_itself_is_followed_with_the_login() {
    let source = guarded_source();
    let again = "/token?service=fake+registry&scope=repository:x:pull&again=1";
    sends_on(&source, 5, again.to_owned());
    let run = inspect(&source.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
    let asked: Vec<Request> = source.log().into_iter().filter(Request::is_token).collect();
    assert_eq!(asked.len(), 6);
    assert!(asked.iter().all(authorized), "{asked:#?}");
    assert!(
        asked
            .last()
            .is_some_and(|last| last.query.ends_with("again=1"))
    );

    let source = guarded_source();
    sends_on(&source, usize::MAX, again.to_owned());
    let run = inspect(&source.reference("x:1"));
    let output = run.args(["--creds", LOGIN]).run().exits(1);
    assert!(output.stderr.contains("too many redirects"), "{output:#?}");
    assert_eq!(source.count(Request::is_token), 6);
}

#[test]
fn a_token_server_that_sends_on_to_another_is_followed_without_the_login() {
    // Whoever asks there is nobody, who may read.
    let source = guarded_source();
    let auth = Auth::Bearer(Bearer {
        anonymous: crate::support::registry::Anonymous::Pull,
        ..bearer()
    });
    source.configure(|settings| settings.auth = auth);
    let other = source.host().replace("127.0.0.1", "localhost");
    let mut first = true;
    let at = other.clone();
    source.on(move |request| {
        let sent_on = request.is_token() && std::mem::take(&mut first);
        let location = format!("http://{at}/token?{}", request.query);
        sent_on.then(|| Fault::Status(Answer::new(307).header("Location", location)))
    });
    let run = inspect(&source.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
    let asked: Vec<Request> = source.log().into_iter().filter(Request::is_token).collect();
    let shown: Vec<bool> = asked.iter().map(authorized).collect();
    assert_eq!(shown, [true, false]);

    let source = guarded_source();
    let elsewhere = FakeRegistry::start();
    sends_on(&source, 9, format!("http://{}/token", elsewhere.host()));
    let run = inspect(&source.reference("x:1"));
    let output = run.args(["--creds", LOGIN]).run().exits(1);
    let told = format!("redirected to {}, where credentials", elsewhere.host());
    assert!(output.stderr.contains(&told), "{output:#?}");
    assert_eq!(elsewhere.count(authorized), 0);
    assert_eq!(elsewhere.log().len(), 1);
}

#[test]
fn a_token_server_behind_tls_that_sends_on_to_the_plain_is_not_followed() {
    let registry = guarded_source();
    let elsewhere = FakeRegistry::start();
    let realm = Some("/token".to_owned());
    registry.configure(|settings| settings.auth = Auth::Bearer(Bearer { realm, ..bearer() }));
    let (server, directory) = behind_tls(&registry);
    let other = elsewhere.host().replace("127.0.0.1", "localhost");
    sends_on(&registry, 9, format!("http://{other}/token"));
    let run = inspect(&server.reference("x:1"));
    let run = run.arg("--cert-dir").arg(directory.path());
    let output = run.args(["--creds", LOGIN]).run().exits(1);
    assert!(output.stderr.contains("without TLS"), "{output:#?}");
    assert_eq!(elsewhere.log().len(), 0);
}

/// Answers everything with a 401 that holds these challenges.
fn refuses_all(headers: &'static [&'static str]) -> FakeRegistry {
    let registry = FakeRegistry::start();
    registry.on(move |_| {
        let refusal = headers.iter().fold(Answer::new(401), |answer, header| {
            answer.header("WWW-Authenticate", *header)
        });
        Some(Fault::Status(refusal))
    });
    registry
}

const UNANSWERABLE: [(&[&str], &str); 4] = [
    (&[], "no WWW-Authenticate"),
    (&[r#"Digest realm="x", nonce="y""#], "does not know: Digest"),
    (&["Negotiate", "NTLM"], "does not know: Negotiate, NTLM"),
    (
        &[r#"Bearer service="x""#],
        "does not know: Bearer without a realm",
    ),
];

#[test]
fn a_login_that_cannot_be_checked_is_not_stored() {
    for (headers, told) in UNANSWERABLE {
        let registry = refuses_all(headers);
        let home = tempdir().expect("a directory");
        let run = login(&registry.host()).at_home(home.path());
        let output = run.args(["-o", "json"]).run().exits(1);
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], "unauthorized");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(told), "{message}");
        assert!(!home.path().join(STORED).exists(), "{headers:?}");
    }
}

/// A source whose blobs, and a destination whose uploads, are at a host that answers `fault` to all.
fn parts_elsewhere(fault: Fault) -> (FakeRegistry, FakeRegistry, FakeRegistry) {
    let elsewhere = FakeRegistry::start();
    elsewhere.on(move |_| Some(fault.clone()));
    let (source, destination) = (guarded_source(), guarded(Auth::Bearer(bearer())));
    for registry in [&source, &destination] {
        let host = elsewhere.host();
        registry.on(move |request| {
            let location = format!("http://{host}{}", request.path);
            match request.method.as_str() {
                "GET" if request.reads_blob() => Some(307),
                "POST" if request.is_upload() && authorized(request) => Some(202),
                _ => None,
            }
            .map(|status| Fault::Status(Answer::new(status).header("Location", location)))
        });
    }
    (source, destination, elsewhere)
}

#[test]
fn whoever_a_registry_sends_on_to_is_named_where_that_fails() {
    for (fault, kind) in [
        (Fault::status(401), "unauthorized"),
        (Fault::status(403), "denied"),
        (Fault::status(500), "unavailable"),
        (Fault::Reset, "unavailable"),
    ] {
        let (source, destination, elsewhere) = parts_elsewhere(fault);
        let told = format!(
            "(redirected to {}, where credentials are not sent)",
            elsewhere.host()
        );
        let good = (open_source(), FakeRegistry::start());
        for (from, to) in [
            (source.reference("x:1"), good.1.reference("y:1")),
            (good.0.reference("x:1"), destination.reference("y:1")),
        ] {
            let run = copy(&from, &to).args(["--creds", LOGIN, "--retry-times", "0"]);
            let error = run.run().exits(1).tag("1")["error"].clone();
            assert_eq!(error["kind"], kind, "{error:#}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains(&told), "{message}");
            let hint = error["hint"].as_str().expect("a hint");
            assert!(!hint.contains("credentials"), "{hint}");
        }
        assert_eq!(elsewhere.count(authorized), 0);
    }
}

/// Credentials are given, and are not what is wrong.
#[track_caller]
fn asks_for_no_credentials(error: &serde_json::Value, told: &str) {
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(told), "{message}");
    let hint = error["hint"].as_str().expect("a hint");
    assert!(
        !hint.contains("credentials") && !hint.contains("log in"),
        "{hint}"
    );
}

#[test]
fn a_challenge_that_cannot_be_answered_is_told() {
    for (headers, told) in UNANSWERABLE {
        let registry = refuses_all(headers);
        for (from, to) in [
            (registry.reference("x:1"), "oci:y".to_owned()),
            (open_source().reference("x:1"), registry.reference("y:1")),
        ] {
            let output = copy(&from, &to).args(["--creds", LOGIN]).run().exits(1);
            let report = output.json();
            let error = match &report["error"] {
                serde_json::Value::Null => &report["tags"][0]["error"],
                error => error,
            };
            assert_eq!(error["kind"], "unauthorized", "{report:#}");
            asks_for_no_credentials(error, told);
        }
    }
}

#[test]
fn a_token_server_that_is_none_is_told() {
    for status in [404, 405] {
        let source = guarded_source();
        source.fail(9, Request::is_token, Fault::status(status));
        let run = inspect(&source.reference("x:1")).args(["-o", "json"]);
        let output = run.args(["--creds", LOGIN]).run().exits(1);
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], "protocol");
        let told = format!("token server {}: HTTP {status}", source.host());
        asks_for_no_credentials(&error, &told);
    }
}

/// A registry whose token server is at this address.
fn with_realm(realm: impl FnOnce(&str) -> String) -> FakeRegistry {
    let source = guarded_source();
    let realm = Some(realm(&source.host()));
    source.configure(|settings| settings.auth = Auth::Bearer(Bearer { realm, ..bearer() }));
    source
}

#[test]
fn user_info_of_a_realm_is_dropped() {
    crate::support::secrets::note("of-Mallory-pw");
    let source = with_realm(|host| format!("http://mallory:of-Mallory-pw@{host}/token"));
    let login = format!("Basic {}", super::login_in_base64());
    let run = inspect(&source.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(0);
    source.fail(1, Request::is_token, Fault::status(404));
    let run = inspect(&source.reference("x:1"));
    run.args(["--creds", LOGIN]).run().exits(1);
    let shown = || {
        let asked = source.log().into_iter().filter(Request::is_token);
        let shown = asked.map(|request| request.header("authorization").map(str::to_owned));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(shown(), [Some(login.clone()), Some(login)]);
    source.clear_log();
    inspect(&source.reference("x:1")).run().exits(1);
    assert!(shown().iter().all(Option::is_none), "{:?}", shown());
}

#[test]
fn refuses_realm_that_is_no_web_address() {
    crate::support::secrets::note("of-Mallory-pw");
    for (realm, told) in [
        ("ftp://t.test/token", "`ftp`"),
        ("file:///etc/passwd", "`file`"),
        ("http://t.test/token#part", "fragment"),
        ("http://mallory:of-Mallory-pw@[t/token", "IPv6"),
    ] {
        let source = with_realm(|_| realm.to_owned());
        let run = inspect(&source.reference("x:1")).args(["-o", "json"]);
        let output = run.args(["--creds", LOGIN]).run().exits(1);
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], "protocol", "{error:#}");
        asks_for_no_credentials(&error, told);
    }
}

#[test]
fn refuses_location_that_is_no_web_address() {
    for (location, told) in [
        ("ftp://s.test/x", "`ftp`"),
        ("http://s.test/x#y", "fragment"),
    ] {
        let (source, destination) = (open_source(), FakeRegistry::start());
        destination.on(move |request| {
            let answer = Answer::new(202).header("Location", location);
            (request.method == "POST").then_some(Fault::Status(answer))
        });
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let error = run.run().exits(1).tag("1")["error"].clone();
        assert_eq!(error["kind"], "protocol", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(told), "{message}");
        source.on(move |request| {
            let answer = Answer::new(307).header("Location", location);
            request.reads_blob().then_some(Fault::Status(answer))
        });
        let run = copy(&source.reference("x:1"), "oci:y").run().exits(1);
        let error = run.tag("1")["error"].clone();
        assert_eq!(error["kind"], "protocol", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(told), "{message}");
    }
}
