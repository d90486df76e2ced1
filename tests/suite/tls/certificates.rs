//! Where certificates are found, what a real registry with TLS of its own makes of them, and what is
//! said of those that are refused.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use super::{contains, copy, image, not_started, secured, source};
use crate::support::barge::{Barge, barge};
use crate::support::docker_registry::{Config, DockerRegistry, Login, OwnTls};
use crate::support::registry::{Auth, Bearer, Blobs, FakeRegistry};
use crate::support::skopeo;
use crate::support::tls::{Authority, Clients, Lifetime, TlsServer};

const LOGIN: &str = "alice:s3cret-Pa55";

/// A `docker-registry` that speaks TLS itself and wants a login.
fn own_tls(authority: &Authority, clients: Clients) -> DockerRegistry {
    let (certificate, key) = authority.server("127.0.0.1");
    DockerRegistry::start_with(Config {
        login: Login::Password,
        tls: Some(OwnTls {
            certificate,
            key,
            clients: (clients == Clients::Known).then(|| authority.pem()),
        }),
        ..Config::default()
    })
}

/// A directory with the authority's certificate and, where they are wanted, a client's.
fn directory(authority: &Authority, clients: Clients) -> TempDir {
    let directory = tempdir().expect("a temporary directory");
    authority.write_to(directory.path());
    if clients == Clients::Known {
        authority.write_client_to(directory.path());
    }
    directory
}

#[test]
fn a_real_registry_with_tls_is_written_and_read() {
    for clients in [Clients::Anyone, Clients::Known] {
        let authority = Authority::new();
        let registry = own_tls(&authority, clients);
        let directory = directory(&authority, clients);
        let source = source();
        let run = copy(&source.reference("x:1"), &registry.reference("y:1"));
        let run = run.arg("--dest-cert-dir").arg(directory.path());
        run.args(["--dest-creds", LOGIN]).run().exits(0);
        let run = copy(&registry.reference("y:1"), &source.reference("z:1"));
        let run = run.arg("--src-cert-dir").arg(directory.path());
        run.args(["--src-creds", LOGIN]).run().exits(0);
        assert_eq!(source.store.manifest("z", "1"), Some(image().root));
        let option = format!("--cert-dir={}", directory.path().display());
        let reference = registry.reference("y:1");
        let raw = ["inspect", "--raw", "--creds", LOGIN, &option];
        let raw = [&raw[..], &[&reference]].concat();
        assert_eq!(skopeo::run(&raw), image().root.bytes);
    }
}

#[test]
fn a_client_without_a_certificate_is_told_what_is_missing() {
    let authority = Authority::new();
    let registry = own_tls(&authority, Clients::Known);
    let directory = directory(&authority, Clients::Anyone);
    let source = source();
    let run = copy(&registry.reference("y:1"), &source.reference("z:1"));
    let run = run.arg("--src-cert-dir").arg(directory.path());
    let output = run.args(["--src-creds", LOGIN]).run().exits(1);
    let error = not_started(&output);
    assert_eq!(error["kind"], "unauthorized", "{error:#}");
    contains(&error["message"], "client certificate");
    contains(&error["hint"], "*.key");
}

#[test]
fn of_several_client_certificates_the_one_that_is_known_is_shown() {
    let (registry, server, authority, directory) = secured(Clients::Known);
    authority.write_client_to(directory.path());
    let stranger = Authority::named("a stranger");
    let other = tempdir().expect("a temporary directory");
    stranger.write_client_to(other.path());
    for name in ["cert", "key"] {
        let to = directory.path().join(format!("a-first.{name}"));
        fs::copy(other.path().join(format!("client.{name}")), to).expect("a copy");
    }
    let source = source();
    let run = copy(&source.reference("x:1"), &server.reference("y:1"));
    let run = run.arg("--dest-cert-dir").arg(directory.path());
    run.run().exits(0);
    assert_eq!(registry.store.manifest("y", "1"), Some(image().root));
}

fn inspect(server: &TlsServer) -> Barge {
    barge().args(["inspect", "-v", &server.reference("y:1")])
}

/// Makes `certs.d/HOST` below `place` in the home of a run, with what `write` puts there.
fn certs_d(run: &Barge, (place, server): (&str, &TlsServer), write: impl Fn(&Path)) -> PathBuf {
    let directory = run.home().join(place).join(server.host());
    fs::create_dir_all(&directory).expect("a directory");
    write(&directory);
    directory
}

/// A registry behind TLS with the image as `y:1`.
fn filled(clients: Clients) -> (FakeRegistry, TlsServer, Authority) {
    let (registry, server, authority, _) = secured(clients);
    image().push_to(&registry, "y:1");
    (registry, server, authority)
}

#[test]
fn a_directory_for_the_host_is_found_and_told() {
    for (place, clients) in [
        ("containers/certs.d", Clients::Anyone),
        (".config/containers/certs.d", Clients::Known),
    ] {
        let (_registry, server, authority) = filled(clients);
        let run = inspect(&server);
        let found = certs_d(&run, (place, &server), |directory| {
            authority.write_to(directory);
            authority.write_client_to(directory);
        });
        let output = run.run().exits(0);
        let told = format!(
            "certificates for {} from {}",
            server.host(),
            found.display()
        );
        assert!(output.stderr.contains(&told), "{told}: {output:#?}");
    }
}

#[test]
fn a_directory_that_is_named_replaces_those_for_the_host() {
    let (_registry, server, authority) = filled(Clients::Anyone);
    let empty = tempdir().expect("a temporary directory");
    let run = inspect(&server).arg("--cert-dir").arg(empty.path());
    certs_d(&run, ("containers/certs.d", &server), |directory| {
        authority.write_to(directory);
    });
    run.run().exits(1);
}

#[test]
fn a_directory_of_another_port_is_not_taken() {
    let (_registry, server, authority) = filled(Clients::Anyone);
    let run = inspect(&server);
    let directory = run.home().join("containers/certs.d/127.0.0.1");
    fs::create_dir_all(&directory).expect("a directory");
    authority.write_to(&directory);
    run.run().exits(1);
}

#[test]
fn the_variables_of_openssl_name_authorities() {
    let (_registry, server, authority) = filled(Clients::Anyone);
    let run = inspect(&server);
    let file = run.home().join("roots.pem");
    fs::write(&file, authority.pem()).expect("a file");
    let told = run
        .env("SSL_CERT_FILE", file)
        .arg("-v")
        .run()
        .exits(0)
        .stderr;
    assert!(told.contains(": those of SSL_CERT_FILE alone"), "{told}");
    let run = inspect(&server);
    let directory = run.home().join("roots");
    fs::create_dir(&directory).expect("a directory");
    authority.write_to(&directory);
    // OpenSSL's directories have names of hashes.
    let hashed = directory.join("0123abcd.0");
    fs::rename(directory.join("ca.crt"), hashed).expect("a file");
    run.env("SSL_CERT_DIR", directory).run().exits(0);
    let output = inspect(&server).env("SSL_CERT_FILE", "/no/such.pem").run();
    let said = output.exits(1).stderr;
    assert!(said.contains("/no/such.pem"), "{said}");
    assert!(
        said.contains("the 0 authorities of SSL_CERT_FILE"),
        "{said}"
    );
}

#[test]
fn a_certificate_that_is_its_own_authority_is_trusted_where_it_is_named() {
    let registry = source();
    let server = TlsServer::start_as(&registry.host(), &Authority::itself("127.0.0.1"));
    let run = barge().args(["inspect", &server.reference("x:1")]);
    certs_d(&run, ("containers/certs.d", &server), |directory| {
        fs::write(directory.join("server.crt"), server.pem()).expect("a file");
    });
    run.run().exits(0);
    let output = barge().args(["inspect", &server.reference("x:1")]).run();
    let said = output.exits(1).stderr;
    assert!(said.contains("signed by itself"), "{said}");
    assert!(
        said.contains("nobody that is trusted has signed it"),
        "{said}"
    );
    assert!(said.contains("certs.d/"), "{said}");
    let other = TlsServer::start_as(&registry.host(), &Authority::itself("other.test"));
    let run = barge().args(["inspect", &other.reference("x:1")]);
    certs_d(&run, ("containers/certs.d", &other), |directory| {
        fs::write(directory.join("server.crt"), other.pem()).expect("a file");
    });
    let said = run.run().exits(1).stderr;
    assert!(said.contains("other.test"), "{said}");
}

/// What is said of a certificate of this name and lifetime, whose authority is trusted.
fn refused(name: &str, lifetime: Lifetime) -> (String, String) {
    let registry = source();
    let authority = Authority::named("The Test Authority");
    let server = TlsServer::start_as(&registry.host(), &authority.identity(name, lifetime));
    let directory = directory(&authority, Clients::Anyone);
    let run = copy(&server.reference("x:1"), "oci:y");
    let run = run.arg("--src-cert-dir").arg(directory.path());
    let error = not_started(&run.run().exits(1));
    let text = |key: &str| error[key].as_str().expect("a text").to_owned();
    let (message, hint) = (text("message"), text("hint"));
    let whose = format!("the certificate of {} (CN=", server.host());
    assert!(message.contains(&whose), "{message}");
    assert!(
        message.contains("signed by CN=The Test Authority"),
        "{message}"
    );
    (message, hint)
}

#[test]
fn a_refused_certificate_is_told_with_its_reason() {
    let (message, hint) = refused("127.0.0.1", Lifetime::Over);
    assert!(message.contains("it ended on 2001-"), "{message}");
    assert!(hint.contains("renew"), "{hint}");
    let (message, hint) = refused("127.0.0.1", Lifetime::ToCome);
    assert!(message.contains("it begins only on 2999-"), "{message}");
    assert!(hint.contains("clock"), "{hint}");
    let (message, hint) = refused("other.test", Lifetime::Now);
    assert!(message.contains("for other.test"), "{message}");
    assert!(hint.contains("use a name"), "{hint}");
}

#[test]
fn an_unknown_authority_is_told_with_the_places_that_were_looked_in() {
    let (registry, server, _authority, _) = secured(Clients::Anyone);
    let empty = tempdir().expect("a temporary directory");
    let run = copy(&server.reference("x:1"), "oci:y");
    let run = run.arg("--src-cert-dir").arg(empty.path());
    let error = not_started(&run.run().exits(1));
    contains(&error["message"], "nobody that is trusted has signed it");
    contains(&error["message"], &empty.path().display().to_string());
    contains(&error["hint"], &format!("certs.d/{}", server.host()));
    contains(&error["hint"], "SSL_CERT_FILE");
    assert_eq!(registry.log().len(), 0);
}

/// A registry with a login that leads to a server with TLS of its own, named `localhost`.
#[test]
fn a_certificate_of_another_host_is_told_as_that_hosts() {
    for leads in ["blobs", "tokens"] {
        let registry = source();
        let storage = registry.redirect_blobs();
        let identity = Authority::new().identity("localhost", Lifetime::Now);
        let server = TlsServer::start_as(&storage.host(), &identity);
        let elsewhere = server.host().replace("127.0.0.1", "https://localhost");
        registry.configure(|settings| {
            if leads == "blobs" {
                settings.blobs = Blobs::Redirected(format!("{elsewhere}/storage"));
            } else {
                settings.auth = Auth::Bearer(Bearer {
                    realm: Some(format!("{elsewhere}/token")),
                    ..Bearer::default()
                });
            }
        });
        let run = copy(&registry.reference("x:1"), "oci:y").run().exits(1);
        let said = run.stdout;
        let host = server.host().replace("127.0.0.1", "localhost");
        let told = format!("the certificate of {host} (CN=");
        assert!(said.contains(&told), "{said}");
        assert!(said.contains(&format!("certs.d/{host}")), "{said}");
    }
}

#[test]
fn a_broken_directory_is_told_by_file() {
    let authority = Authority::new();
    for (files, named) in [
        (&[("ca.crt", "no certificate")][..], "ca.crt"),
        (&[("client.key", "x")], "client.key"),
        (&[("client.cert", "CLIENT")], "client.key"),
        (
            &[("client.cert", "CLIENT"), ("client.key", "x")],
            "client.key",
        ),
        (
            &[("client.cert", "CLIENT"), ("client.key", "OTHER")],
            "client.cert",
        ),
    ] {
        let directory = tempdir().expect("a temporary directory");
        let (certificate, _) = authority.server("client");
        let (_, other) = authority.server("client");
        for (name, text) in files {
            let text = text
                .replace("CLIENT", &certificate)
                .replace("OTHER", &other);
            fs::write(directory.path().join(name), text).expect("a file");
        }
        let run = copy("docker://127.0.0.1:1/x:1", "oci:y");
        let run = run.arg("--src-cert-dir").arg(directory.path());
        let error = not_started(&run.run().exits(1));
        assert_eq!(error["kind"], "local-io", "{error:#}");
        let named = directory.path().join(named).display().to_string();
        contains(&error["message"], &named);
    }
}
