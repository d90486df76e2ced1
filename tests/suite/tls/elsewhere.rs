//! Certificates for a registry are for its own address, not for the hosts that it leads to.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use super::{copy, image};
use crate::support::barge::{Barge, Output};
use crate::support::registry::{Auth, Bearer, Blobs, FakeRegistry};
use crate::support::tls::{Authority, Clients, TlsServer};

/// A registry behind TLS, and another host with TLS of the same authority that it leads to.
struct Leading {
    registry: FakeRegistry,
    _storage: FakeRegistry,
    server: TlsServer,
    other: TlsServer,
    authority: Authority,
    /// What `--src-cert-dir` names: the authority and a client certificate.
    directory: TempDir,
}

impl Leading {
    fn start(clients: Clients) -> Self {
        let registry = FakeRegistry::start();
        image().push_to(&registry, "x:1");
        let authority = Authority::new();
        let storage = registry.redirect_blobs();
        let server = TlsServer::start(&registry.host(), &authority, clients);
        let other = TlsServer::start_named((&storage.host(), "localhost"), &authority, clients);
        let directory = tempdir().expect("a directory");
        authority.write_to(directory.path());
        authority.write_client_to(directory.path());
        let elsewhere = other.host().replace("127.0.0.1", "https://localhost");
        registry.configure(|settings| {
            settings.blobs = Blobs::Redirected(format!("{elsewhere}/storage"));
        });
        Self {
            registry,
            _storage: storage,
            server,
            other,
            authority,
            directory,
        }
    }

    /// Copies from it, with what `write` puts into `certs.d` for the other host.
    fn copy(&self, write: impl Fn(&Authority, &Path)) -> Barge {
        let run = copy(&self.server.reference("x:1"), "oci:y");
        let host = self.other.host().replace("127.0.0.1", "localhost");
        let place = run.home().join("containers/certs.d").join(host);
        fs::create_dir_all(&place).expect("a directory");
        write(&self.authority, &place);
        run.arg("--src-cert-dir").arg(self.directory.path())
    }
}

#[track_caller]
fn message(output: &Output) -> String {
    let error = output.tag("1")["error"].clone();
    error["message"].as_str().expect("a message").to_owned()
}

#[test]
fn cert_dir_of_a_registry_is_not_for_where_its_blobs_are() {
    let leading = Leading::start(Clients::Known);
    let output = leading.copy(|_, _| {}).run().exits(1);
    let told = message(&output);
    assert!(told.contains("the certificate of localhost"), "{told}");
    let hint = output.tag("1")["error"]["hint"].to_string();
    let place = leading
        .other
        .host()
        .replace("127.0.0.1", "certs.d/localhost");
    assert!(hint.contains(&place), "{hint}");
    assert!(!hint.contains("cert-dir"), "{hint}");
    // Its own directory names whom to trust there, and what to show.
    let trusted = leading.copy(Authority::write_to);
    let told = message(&trusted.args(["--retry-times", "0"]).run().exits(1));
    assert!(told.contains("localhost"), "{told}");
    let shown = leading.copy(|authority, place| {
        authority.write_to(place);
        authority.write_client_to(place);
    });
    shown.run().exits(0);
}

#[test]
fn tls_verify_false_is_also_for_where_a_registry_leads_to() {
    let leading = Leading::start(Clients::Anyone);
    let run = leading.copy(|_, _| {}).arg("--src-tls-verify=false");
    run.run().exits(0);
}

#[test]
fn token_server_of_the_registrys_authority_is_trusted_and_shown_no_client_certificate() {
    for (clients, code) in [(Clients::Anyone, 0), (Clients::Known, 1)] {
        let leading = Leading::start(clients);
        let elsewhere = leading
            .other
            .host()
            .replace("127.0.0.1", "https://localhost");
        leading.registry.configure(|settings| {
            settings.blobs = Blobs::Direct;
            settings.auth = Auth::Bearer(Bearer {
                realm: Some(format!("{elsewhere}/token")),
                ..Bearer::user("alice", "s3cret-Pa55")
            });
        });
        let run = leading.copy(|_, _| {}).args(["--retry-times", "0"]);
        run.args(["--src-creds", "alice:s3cret-Pa55"])
            .run()
            .exits(code);
    }
}
