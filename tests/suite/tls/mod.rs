//! Whom barge trusts, and that it never speaks plain HTTP where TLS was asked for.

mod certificates;
mod downgrade;
mod elsewhere;
mod odd;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::barge::{Barge, Output, barge};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::tls::{Authority, Clients, TlsServer};

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 1)
}

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

fn copy(source: &str, destination: &str) -> Barge {
    barge().args(["copy", "-o", "json", source, destination])
}

/// A registry behind TLS, and the directory with its authority's certificate.
fn secured(clients: Clients) -> (FakeRegistry, TlsServer, Authority, TempDir) {
    let registry = FakeRegistry::start();
    let authority = Authority::new();
    let server = TlsServer::start(&registry.host(), &authority, clients);
    let directory = tempdir().expect("a temporary directory");
    authority.write_to(directory.path());
    (registry, server, authority, directory)
}

/// The error of a run that could not start, and at once.
#[track_caller]
fn not_started(output: &Output) -> Value {
    let report = output.json();
    assert_eq!(report["tags"], serde_json::json!([]));
    assert_eq!(report["totals"]["retries"], 0, "{report:#}");
    report["error"].clone()
}

#[track_caller]
fn contains(text: &Value, part: &str) {
    assert!(
        text.as_str().is_some_and(|text| text.contains(part)),
        "{part} in {text:#}"
    );
}

#[test]
fn plain_http_is_spoken_to_loopback_unless_tls_is_asked_for() {
    let source = source();
    let destination = FakeRegistry::start();
    let [from, to] = [source.reference("x:1"), destination.reference("y:1")];
    let refused = ["--src-tls-verify=true", "--dest-tls-verify=true"];
    for option in refused {
        source.clear_log();
        destination.clear_log();
        let output = copy(&from, &to).arg(option).run().exits(1);
        let error = not_started(&output);
        contains(&error["hint"], "tls-verify=false");
        contains(&error["message"], "without TLS");
        let plain = if option.starts_with("--src") {
            &source
        } else {
            &destination
        };
        assert_eq!(plain.log().len(), 0, "{option}");
    }
    let unverified = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    copy(&from, &to).args(unverified).run().exits(0);
    assert_eq!(destination.store.manifest("y", "1"), Some(image().root));
}

#[test]
fn an_authority_in_the_cert_dir_is_trusted() {
    let (registry, server, _authority, directory) = secured(Clients::Anyone);
    let source = source();
    let run = copy(&source.reference("x:1"), &server.reference("y:1"));
    let run = run.arg("--dest-cert-dir").arg(directory.path());
    run.run().exits(0);
    assert_eq!(registry.store.manifest("y", "1"), Some(image().root));

    let run = copy(&server.reference("y:1"), &source.reference("z:1"));
    let run = run.arg("--src-cert-dir").arg(directory.path());
    run.arg("--src-tls-verify=true").run().exits(0);
    assert_eq!(source.store.manifest("z", "1"), Some(image().root));

    let run = barge().args(["inspect", "--raw", &server.reference("y:1")]);
    let output = run.arg("--cert-dir").arg(directory.path()).run().exits(0);
    assert_eq!(output.stdout.as_bytes(), image().root.bytes);
}

#[test]
fn an_unknown_authority_is_an_error_about_the_certificate() {
    let (registry, server, _authority, _) = secured(Clients::Anyone);
    let stranger = tempdir().expect("a temporary directory");
    Authority::new().write_to(stranger.path());
    let source = source();
    for options in [
        vec![],
        vec!["--dest-cert-dir", stranger.path().to_str().expect("UTF-8")],
        vec!["--dest-tls-verify=true"],
    ] {
        let run = copy(&source.reference("x:1"), &server.reference("y:1"));
        let output = run.args(&options).run().exits(1);
        let error = not_started(&output);
        contains(&error["message"], "certificate");
        contains(&error["hint"], "--dest-cert-dir");
    }
    assert_eq!(registry.log().len(), 0);
}

#[test]
fn without_verification_every_certificate_will_do() {
    let (registry, server, _authority, _) = secured(Clients::Anyone);
    let source = source();
    let run = copy(&source.reference("x:1"), &server.reference("y:1"));
    let run = run.args(["--dest-tls-verify=false", "-v"]);
    let told = run.run().exits(0).stderr;
    assert!(told.contains(": not verified"), "{told}");
    assert_eq!(registry.store.manifest("y", "1"), Some(image().root));
}

#[test]
fn a_client_certificate_in_the_cert_dir_is_shown() {
    let (registry, server, authority, directory) = secured(Clients::Known);
    let source = source();
    let run = || {
        let run = copy(&source.reference("x:1"), &server.reference("y:1"));
        let run = run.arg("--dest-cert-dir").arg(directory.path());
        run.args(["--retry-times", "0"]).run()
    };
    let output = run().exits(1);
    contains(&not_started(&output)["message"], "ertificate");
    assert_eq!(registry.log().len(), 0);
    authority.write_client_to(directory.path());
    run().exits(0);
    assert_eq!(registry.store.manifest("y", "1"), Some(image().root));
}

#[test]
fn a_cert_dir_that_is_not_there_is_named() {
    let source = source();
    let run = copy(&source.reference("x:1"), &source.reference("y:1"));
    let output = run.args(["--dest-cert-dir", "/no/such"]).run().exits(1);
    let error = not_started(&output);
    assert_eq!(error["kind"], "local-io");
    contains(&error["message"], "/no/such");
}
