//! What a certificate directory holds (containers-certs.d(5), the form of `/etc/docker/certs.d/HOST`):
//! `*.crt` authorities, `*.cert` with `*.key` client certificates. Reads files; trusts nobody yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};

use crate::disk::{self, LONGEST_SETTINGS};
use crate::error::{Error, Kind, Result};

/// The certificates of one directory.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Whom to trust besides the system's authorities.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// What to show where the server asks.
    pub(super) identities: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Everything in `directory`, in the order of its names.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut found = Self::default();
        for path in files(directory)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.authorities.extend(chain(&path)?),
                Some("cert") => found.identities.push(Arc::new(identity(&path)?)),
                Some("key") if !path.with_extension("cert").exists() => {
                    let why = format!(
                        "it is the key of a client certificate, and there is no {}",
                        path.with_extension("cert").display()
                    );
                    return Err(unreadable(&path, &why));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| unreadable(directory, &error))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = disk::read(path, LONGEST_SETTINGS).map_err(|error| unreadable(path, &error))?;
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = read.map_err(|error| unreadable(path, &error))?;
    if chain.is_empty() {
        return Err(unreadable(path, &"it holds no certificate in PEM form"));
    }
    Ok(chain)
}

/// The client certificate at `path` with the key beside it.
fn identity(path: &Path) -> Result<CertifiedKey> {
    let key_path = path.with_extension("key");
    let pem = disk::read(&key_path, LONGEST_SETTINGS).map_err(|error| {
        let why = format!("the key of {}: {error}", path.display());
        unreadable(&key_path, &why)
    })?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        if has_passphrase(&pem) {
            unreadable(&key_path, &"the key has a passphrase").hint(format!(
                "barge needs the key without one: openssl pkey -in {0} -out NEW.key",
                key_path.display()
            ))
        } else {
            unreadable(&key_path, &error)
        }
    })?;
    let chain = chain(path)?;
    let loaded = ring::default_provider().key_provider.load_private_key(key);
    let key = loaded.map_err(|error| {
        if chain.first().is_some_and(has_p521) {
            unreadable(
                path,
                &"its key is on the curve P-521, which barge cannot use",
            )
            .hint(format!("have a certificate made for another key: {KEYS}"))
        } else {
            unreadable(&key_path, &error)
        }
    })?;
    let identity = CertifiedKey::new(chain, key);
    if belong_together(&identity) == Some(false) {
        let why = format!(
            "the key in {} is not that of the certificate",
            key_path.display()
        );
        return Err(unreadable(path, &why));
    }
    Ok(identity)
}

/// Whether a key in PEM form is encrypted: in PKCS#8 (RFC 7468 section 11), or as openssl did before (RFC 1421).
fn has_passphrase(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).lines().any(|line| {
        line.contains("BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with("Proc-Type: 4,ENCRYPTED")
    })
}

/// Whether certificate and key have the same public key, where that can be told. rustls tells it of X.509
/// v3 alone, and what a client shows is the server's to judge.
fn belong_together(identity: &CertifiedKey) -> Option<bool> {
    let certificate = Certificate::from_der(identity.cert.first()?).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    Some(identity.key.public_key()?.as_ref() == key.to_der().ok()?)
}

/// Keys that work, as hints name them.
pub(super) const KEYS: &str = "RSA (2048 bits or more), P-256, P-384 or Ed25519";

/// The curve P-521 as certificates name it (RFC 5480 section 2.1.1.1). ring knows nothing of it.
pub(super) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

fn has_p521(certificate: &CertificateDer<'_>) -> bool {
    let parsed = Certificate::from_der(certificate).ok();
    let curve = parsed.and_then(|parsed| {
        let key = parsed.tbs_certificate().subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref()?.decode_as();
        curve.ok()
    });
    curve == Some(P521)
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::LocalIo, "read certificates from", path.display())
        .because(why)
        .hint("a certificate directory holds *.crt of authorities, and *.cert with *.key of clients, all in PEM form")
}

/// The certificates of the system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR`, where they are set),
/// and what went wrong with reading them.
pub(super) fn system() -> &'static rustls_native_certs::CertificateResult {
    static SYSTEM: OnceLock<rustls_native_certs::CertificateResult> = OnceLock::new();
    SYSTEM.get_or_init(rustls_native_certs::load_native_certs)
}

/// Whose the authorities of [`system`] are, for people.
pub(super) fn whose() -> String {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let names: Vec<&str> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter(set)
        .collect();
    if names.is_empty() {
        "the system".into()
    } else {
        names.join(" and ")
    }
}

/// Shows the client certificate that the server's authorities have signed, else the first.
#[derive(Debug)]
pub(super) struct Identities {
    pub(super) known: Vec<Arc<CertifiedKey>>,
    pub(super) asked: Arc<AskedFor>,
}

/// Whether the server asked for a client certificate, and got one. Over HTTP/2 this is all that tells
/// why it hung up: the alert that says so is lost on the way.
#[derive(Debug, Default)]
pub(super) struct AskedFor {
    asked: AtomicBool,
    shown: AtomicBool,
}

impl AskedFor {
    /// What the server made of the client certificate, after it has ended the connection.
    pub(super) fn verdict(&self) -> Option<&'static str> {
        let asked = self.asked.load(Ordering::Relaxed);
        asked.then(|| {
            if self.shown.load(Ordering::Relaxed) {
                "it hung up after it was shown a client certificate, which it does not seem to trust"
            } else {
                "it asked for a client certificate, and hung up without one"
            }
        })
    }
}

impl ResolvesClientCert for Identities {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.asked.store(true, Ordering::Relaxed);
        let fits = |identity: &&Arc<CertifiedKey>| {
            let mut issuers = identity.cert.iter().filter_map(issuer);
            issuers.any(|issuer| authorities.contains(&issuer.as_slice()))
        };
        let fitting = self.known.iter().find(fits);
        let shown = fitting.or_else(|| self.known.first()).cloned();
        self.asked.shown.store(shown.is_some(), Ordering::Relaxed);
        shown
    }

    fn has_certs(&self) -> bool {
        // Without any, too: whether the server asks is of interest.
        true
    }
}

/// Who signed a certificate, as TLS names it.
fn issuer(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    parsed.tbs_certificate().issuer().to_der().ok()
}
