//! Certificates as `openssl` makes them and webpki cannot read them, kept in `made/`, since rcgen cannot
//! make them. They are good until 2126: X.509 v1 (`openssl x509 -req`) and a small key (`rsa_keygen_bits:1024`).

use super::{contains, copy, image, not_started, source};
use crate::support::docker_registry::{Config, DockerRegistry, OwnTls};

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
