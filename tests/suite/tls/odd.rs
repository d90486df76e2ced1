//! Certificates as `openssl` makes them and webpki cannot read them, kept in `made/`, since rcgen cannot
//! make them. They are good until 2126: X.509 v1 (`openssl x509 -req`), a small key (`rsa_keygen_bits:1024`), keys
//! on P-521 (`ecparam -name secp521r1`), and a P-256 authority that signs with SHA-512 (`x509 -req -sha512`).

use std::fs;

use tempfile::{TempDir, tempdir};

use super::{contains, copy, image, not_started, source};
use crate::support::docker_registry::{Config, DockerRegistry, OwnTls};
use crate::support::tls::Authority;

const CLIENT: &str = include_str!("made/client.crt");
const CLIENT_KEY: &str = include_str!("made/client.key");
const CLIENTS_AUTHORITY: &str = include_str!("made/authority.crt");
const OLD: &str = include_str!("made/v1.crt");
const OLD_KEY: &str = include_str!("made/v1.key");
const SMALL: &str = include_str!("made/rsa1024.crt");
const SMALL_KEY: &str = include_str!("made/rsa1024.key");
const P521: &str = include_str!("made/p521-server.crt");
const P521_KEY: &str = include_str!("made/p521-server.key");
const P521_CLIENT: &str = include_str!("made/p521-client.crt");
const P521_CLIENT_KEY: &str = include_str!("made/p521-client.key");
const P521_AUTHORITY: &str = include_str!("made/p521-authority.crt");
const BY_P521: &str = include_str!("made/by-p521.crt");
const BY_SHA512: &str = include_str!("made/by-sha512.crt");
const P256_AUTHORITY: &str = include_str!("made/p256-authority.crt");
/// A key with a passphrase, as openssl writes it now (`genpkey -aes256`) and did before (`ec -aes256`).
const LOCKED: [&str; 2] = [
    include_str!("made/locked.key"),
    include_str!("made/locked-before.key"),
];
/// That of both certificates that are by somebody.
const BY_KEY: &str = include_str!("made/by-p521.key");

fn registry(tls: OwnTls) -> DockerRegistry {
    DockerRegistry::start_with(Config {
        tls: Some(tls),
        ..Config::default()
    })
}

#[test]
fn without_verification_a_certificate_need_not_be_readable() {
    for (certificate, key) in [
        (OLD, OLD_KEY),
        (SMALL, SMALL_KEY),
        (P521, P521_KEY),
        (BY_P521, BY_KEY),
    ] {
        let registry = registry(OwnTls {
            certificate: certificate.into(),
            key: key.into(),
            clients: None,
        });
        let source = source();
        let run = || copy(&source.reference("x:1"), &registry.reference("y:1"));
        let error = not_started(&run().run().exits(1));
        assert_eq!(error["kind"], "protocol", "{error:#}");
        run().arg("--dest-tls-verify=false").run().exits(0);
        let run = copy(&registry.reference("y:1"), &source.reference("z:1"));
        run.arg("--src-tls-verify=false").run().exits(0);
        assert_eq!(source.store.manifest("z", "1"), Some(image().root));
    }
}

/// A directory of `--cert-dir` with the old certificate of a client, and this key.
fn client(key: &str) -> TempDir {
    let directory = tempdir().expect("a temporary directory");
    fs::write(directory.path().join("client.cert"), CLIENT).expect("client.cert");
    fs::write(directory.path().join("client.key"), key).expect("client.key");
    directory
}

#[test]
fn an_old_client_certificate_is_sent_as_it_is() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("127.0.0.1");
    let registry = registry(OwnTls {
        certificate,
        key,
        clients: Some(CLIENTS_AUTHORITY.into()),
    });
    let source = source();
    let run = |directory: &TempDir| {
        authority.write_to(directory.path());
        let run = copy(&source.reference("x:1"), &registry.reference("y:1"));
        run.arg("--dest-cert-dir").arg(directory.path()).run()
    };
    run(&client(CLIENT_KEY)).exits(0);
    let error = not_started(&run(&client(OLD_KEY)).exits(1));
    contains(
        &error["message"],
        "client.key is not that of the certificate",
    );
}

/// The error of a run that meets this certificate and trusts this authority.
fn refused((certificate, key): (&str, &str), authority: &str) -> serde_json::Value {
    let registry = registry(OwnTls {
        certificate: certificate.into(),
        key: key.into(),
        clients: None,
    });
    let directory = tempdir().expect("a directory");
    fs::write(directory.path().join("ca.crt"), authority).expect("ca.crt");
    let source = source();
    let run = copy(&source.reference("x:1"), &registry.reference("y:1"));
    let run = run.arg("--dest-cert-dir").arg(directory.path());
    not_started(&run.run().exits(1))
}

#[test]
fn keys_and_signatures_that_cannot_be_checked_are_told() {
    let error = refused((P521, P521_KEY), P521_AUTHORITY);
    contains(&error["message"], "no way of TLS in common");
    contains(&error["hint"], "another key than P-521");
    for (certificate, authority, why) in [
        (BY_P521, P521_AUTHORITY, "by a key on the curve P-521"),
        (BY_SHA512, P256_AUTHORITY, "by ECDSA with SHA-512"),
    ] {
        let error = refused((certificate, BY_KEY), authority);
        contains(&error["message"], why);
        contains(&error["message"], "(CN=127.0.0.1, signed by CN=A P-");
        contains(&error["hint"], "have it signed anew");
    }
}

#[test]
fn a_client_key_that_cannot_be_used_is_told() {
    let directory = tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).expect("a file");
    };
    write("client.cert", P521_CLIENT);
    write("client.key", P521_CLIENT_KEY);
    let run = copy("docker://127.0.0.1:1/x:1", "oci:y");
    let run = run.arg("--src-cert-dir").arg(directory.path());
    let error = not_started(&run.run().exits(1));
    contains(&error["message"], "client.cert");
    contains(&error["message"], "its key is on the curve P-521");
    contains(&error["hint"], "P-256, P-384 or Ed25519");
}

#[test]
fn certificates_that_are_named_and_cannot_be_checked_are_told() {
    for (certificate, key, why, hint) in [
        (OLD, OLD_KEY, "not of X.509 version 3", "made anew"),
        (SMALL, SMALL_KEY, "fewer than 2048 bits", "another key"),
    ] {
        let error = refused((certificate, key), certificate);
        assert_eq!(error["kind"], "protocol");
        contains(&error["message"], "the certificate of 127.0.0.1:");
        contains(&error["message"], why);
        contains(&error["hint"], hint);
        contains(&error["hint"], "--dest-tls-verify=false");
    }
}

#[test]
fn a_client_key_with_a_passphrase_is_told() {
    for key in LOCKED {
        let directory = client(key);
        let run = copy("docker://127.0.0.1:1/x:1", "oci:y");
        let run = run.arg("--src-cert-dir").arg(directory.path());
        let error = not_started(&run.run().exits(1));
        contains(&error["message"], "client.key: the key has a passphrase");
        contains(&error["hint"], "without one");
    }
}
