//! A registry with TLS that leads to plain HTTP on another host.

use serde_json::Value;
use tempfile::TempDir;

use super::{copy, image, secured, source};
use crate::support::barge::{Barge, Output, barge};
use crate::support::registry::{Auth, Bearer, Blobs, FakeRegistry};
use crate::support::tls::{Clients, TlsServer};
use crate::support::wire::{Answer, Fault, Request};

const LOGIN: &str = "alice:s3cret-Pa55";

/// A registry behind TLS, and the same content without TLS on a host of another name.
struct Registry {
    behind: FakeRegistry,
    plain: FakeRegistry,
    server: TlsServer,
    directory: TempDir,
}

impl Registry {
    fn start() -> Self {
        let (behind, server, _, directory) = secured(Clients::Anyone);
        image().push_to(&behind, "x:1");
        let plain = behind.redirect_blobs();
        behind.configure(|settings| settings.blobs = Blobs::Direct);
        Self {
            behind,
            plain,
            server,
            directory,
        }
    }

    /// `localhost:PORT` of the plain one.
    fn elsewhere(&self) -> String {
        self.plain.host().replace("127.0.0.1", "localhost")
    }

    /// Sends requests with this in their path on to the plain one, with this status.
    fn leads(&self, (method, part): (&'static str, &'static str), status: u16) {
        let elsewhere = self.elsewhere();
        self.behind.on(move |request: &Request| {
            let location = format!("http://{elsewhere}{}?{}", request.path, request.query);
            let answer = Answer::new(status).header("Location", location);
            request.is(method, part).then_some(Fault::Status(answer))
        });
    }

    fn trusted(&self, run: Barge, option: &str) -> Barge {
        run.arg(option).arg(self.directory.path())
    }

    /// Fails unless `error` names the plain host and this side, and nothing was asked there.
    #[track_caller]
    fn refuses(&self, error: &Value, side: &str) {
        assert_eq!(error["kind"], "protocol", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        let told = format!("http://{}", self.elsewhere());
        assert!(
            message.contains(&told) && message.contains(side),
            "{message}"
        );
        let hint = error["hint"].as_str().expect("a hint");
        assert!(hint.contains("tls-verify=false"), "{hint}");
        assert_eq!(self.plain.log().len(), 0, "nothing is asked without TLS");
    }
}

#[test]
fn refuses_manifests_and_tags_that_https_sends_on_to_http() {
    for (verb, part) in [("inspect", "/manifests/"), ("list-tags", "/tags/list")] {
        let registry = Registry::start();
        registry.leads(("GET", part), 307);
        registry.leads(("HEAD", part), 307);
        let reference = match verb {
            "inspect" => registry.server.reference("x:1"),
            _ => registry.server.reference("x"),
        };
        let run = || registry.trusted(barge().args([verb, "-o", "json", &reference]), "--cert-dir");
        registry.refuses(&run().run().exits(1).json()["error"], "source");
        // Whoever does not ask for protection gets none.
        let output = run().arg("--tls-verify=false").run();
        output.exits(0);
        assert!(!registry.plain.log().is_empty());
    }
}

#[test]
fn refuses_uploads_that_https_sends_on_to_http() {
    let registry = Registry::start();
    registry.leads(("POST", "/uploads/"), 202);
    let source = source();
    let run = || {
        let run = copy(&source.reference("x:1"), &registry.server.reference("y:1"));
        registry.trusted(run, "--dest-cert-dir")
    };
    let error = run().run().exits(1).tag("1")["error"].clone();
    registry.refuses(&error, "destination");
    run().arg("--dest-tls-verify=false").run();
    assert!(registry.plain.count(Request::is_upload) > 0);
}

#[test]
fn refuses_redirected_writes_of_every_method() {
    for method in ["POST", "PUT", "PATCH"] {
        let registry = Registry::start();
        registry.leads((method, "/"), 307);
        if method == "PATCH" {
            let whole = Fault::status(413);
            registry
                .behind
                .fail(9, |request| request.is("PUT", "/uploads/"), whole);
        }
        let source = source();
        let run = copy(&source.reference("x:1"), &registry.server.reference("y:1"));
        let run = registry.trusted(run, "--dest-cert-dir");
        run.run().exits(1);
        assert_eq!(registry.plain.log().len(), 0, "{method}");
    }
}

fn warnings<'a>(output: &'a Output, host: &str) -> Vec<&'a str> {
    let lines = output.stderr.lines();
    lines
        .filter(|line| line.contains("warning") && line.contains(host))
        .collect()
}

#[test]
fn warns_once_of_blobs_that_https_sends_on_to_http() {
    let registry = Registry::start();
    let storage = format!("http://{}/storage", registry.elsewhere());
    registry.behind.configure(|settings| {
        settings.blobs = Blobs::Redirected(storage);
        settings.auth = Auth::basic("alice", "s3cret-Pa55");
    });
    let run = |options: &[&str]| {
        let run = copy(&registry.server.reference("x:1"), "oci:y");
        let run = registry.trusted(run, "--src-cert-dir");
        run.args(["--src-creds", LOGIN])
            .args(options)
            .run()
            .exits(0)
    };
    let told = run(&[]);
    assert_eq!(warnings(&told, &registry.elsewhere()).len(), 1, "{told:#?}");
    assert!(registry.plain.count(Request::reads_blob) > 1);
    let authorized = |request: &Request| request.header("authorization").is_some();
    assert_eq!(registry.plain.count(authorized), 0);
    let told = run(&["--src-tls-verify=false"]);
    assert_eq!(warnings(&told, &registry.elsewhere()).len(), 0, "{told:#?}");
}

#[test]
fn password_goes_to_token_server_without_tls_only_if_tls_is_not_verified() {
    let registry = Registry::start();
    let realm = Some(format!("http://{}/token", registry.elsewhere()));
    let bearer = Bearer {
        realm,
        ..Bearer::user("alice", "s3cret-Pa55")
    };
    registry
        .behind
        .configure(|settings| settings.auth = Auth::Bearer(bearer));
    let run = || {
        let run = barge().args(["inspect", "-o", "json", "--creds", LOGIN]);
        registry.trusted(run.arg(registry.server.reference("x:1")), "--cert-dir")
    };
    let error = run().run().exits(1).json()["error"].clone();
    registry.refuses(&error, "source");
    run().arg("--tls-verify=false").run().exits(0);
    assert_eq!(registry.plain.count(Request::is_token), 1);
}
