//! Certificates as `openssl` makes them and webpki cannot read them, kept in `made/`, since rcgen cannot
//! make them. They are good until 2126: X.509 v1 (`openssl x509 -req`) and a small key (`rsa_keygen_bits:1024`).

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

fn registry(tls: OwnTls) -> DockerRegistry {
    DockerRegistry::start_with(Config {
        tls: Some(tls),
        ..Config::default()
    })
}

#[test]
fn without_verification_a_certificate_need_not_be_readable() {
    for (certificate, key) in [(OLD, OLD_KEY), (SMALL, SMALL_KEY)] {
        let registry = registry(OwnTls {
            certificate: certificate.into(),
            key: key.into(),
            clients: None,
        });
        let source = source();
        let run = || copy(&source.reference("x:1"), &registry.reference("y:1"));
        let error = not_started(&run().run().exits(1));
        contains(&error["message"], "certificate");
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
