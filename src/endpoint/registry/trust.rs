//! Whether a registry's certificate is trusted; where it is not, an error that says whose it is, why,
//! and what to do. Verifying itself is rustls's.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;

use super::certificates::{AskedFor, Certificates, Identities, KEYS, P521, system, whose};
use crate::error::{Error, Kind, Result};
use crate::sanitize::clean;

/// How to trust a registry.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// `--tls-verify`, where it was given.
    pub verify: Option<bool>,
    /// A directory with `*.crt` authorities and `*.cert` + `*.key` client certificates of the registry itself.
    pub cert_dir: Option<PathBuf>,
    /// Directories with such a directory for each `HOST[:PORT]`; the first that is there is taken, unless
    /// `cert_dir` is given.
    pub certs_d: Vec<PathBuf>,
}

impl Tls {
    /// The certificate directory for `host`, if there is one.
    #[must_use]
    pub fn directory(&self, host: &str) -> Option<PathBuf> {
        let found = || {
            let mut candidates = self.certs_d.iter().map(|directory| directory.join(host));
            candidates.find(|directory| directory.is_dir())
        };
        self.cert_dir.clone().or_else(found)
    }

    pub(super) fn registry(&self, host: &str) -> Peer {
        Peer {
            host: host.to_owned(),
            role: Role::Registry,
            own: self.directory(host),
            authorities: None,
        }
    }

    /// Another host, which `registry` leads to: what is for the registry is not for it. The authorities alone
    /// are for its token server too, as docker and podman have it: both are often of one organisation.
    pub(super) fn elsewhere(&self, host: &str, (role, registry): (Role, &str)) -> Peer {
        let others = Self {
            cert_dir: None,
            ..self.clone()
        };
        // The host is the registry's word, and no way out of the directory.
        let own = (!host.starts_with('.')).then(|| others.directory(host));
        let authorities = (role == Role::TokenServer).then(|| self.directory(registry));
        Peer {
            host: host.to_owned(),
            role,
            own: own.flatten(),
            authorities: authorities.flatten(),
        }
    }

    /// What certificates are checked against, after the word `certificates`, for `-v`.
    pub(super) fn told(&self, peer: &Peer) -> String {
        let from = peer.directories();
        let from = (!from.is_empty()).then(|| format!(" from {}", from.join(" and ")));
        let told = match (self.verify, from) {
            (Some(false), from) => format!("{}: not verified", from.unwrap_or_default()),
            (_, Some(from)) => from,
            (_, None) => format!(": those of {} alone", whose()),
        };
        format!(" for {}{told}", peer.host)
    }

    /// rustls's configuration for `peer`.
    pub(super) fn config(&self, peer: Peer) -> Result<(ClientConfig, Arc<AskedFor>)> {
        let read = |directory: &Option<PathBuf>| {
            let directory = directory.as_deref();
            directory.map_or_else(|| Ok(Certificates::default()), Certificates::read)
        };
        let mut certificates = read(&peer.own)?;
        let more = read(&peer.authorities)?;
        certificates.authorities.extend(more.authorities);
        let target = format!("registry {}", peer.host);
        let failed = |why: &dyn fmt::Display| {
            Error::new(Kind::LocalIo, "set up TLS for", &target).because(why)
        };
        let verifier = match self.verify {
            Some(false) => Ok(Verifier::anyone(peer)),
            _ => Verifier::new(peer, certificates.authorities),
        };
        let verifier = Arc::new(verifier.map_err(|error| failed(&error))?);
        let asked = Arc::new(AskedFor::default());
        let identities = Identities {
            known: certificates.identities,
            asked: Arc::clone(&asked),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(identities));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((config, asked))
    }
}

/// What a host is to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Registry,
    /// Which the registry names, for passwords to be shown to.
    TokenServer,
    /// Where the registry sends a request on to.
    Elsewhere,
}

/// A host, and the directories with what is for it.
#[derive(Debug)]
pub(super) struct Peer {
    /// `HOST[:PORT]`.
    host: String,
    role: Role,
    /// Authorities and client certificates.
    own: Option<PathBuf>,
    /// A directory whose authorities are good for it, and whose client certificates are not.
    authorities: Option<PathBuf>,
}

impl Peer {
    fn directories(&self) -> Vec<String> {
        let paths = [&self.own, &self.authorities].into_iter().flatten();
        paths.map(|path| path.display().to_string()).collect()
    }
}

/// Verifies as rustls does, and tells what is wrong in words.
#[derive(Debug)]
struct Verifier {
    peer: Peer,
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
    /// Where authorities were looked for.
    sources: String,
}

#[derive(Debug)]
enum Trust {
    /// Not even the key is looked at: webpki reads none out of an X.509 v1 certificate, takes no RSA key
    /// below 2048 bits, and a signature by a key that anybody may have made proves nothing.
    Anyone,
    /// There is no authority at all.
    Nobody,
    Known {
        webpki: Arc<WebPkiServerVerifier>,
        /// What the certificate directory names.
        own: Vec<CertificateDer<'static>>,
    },
}

impl Verifier {
    fn anyone(peer: Peer) -> Self {
        Self {
            peer,
            trust: Trust::Anyone,
            algorithms: ring::default_provider().signature_verification_algorithms,
            sources: String::new(),
        }
    }

    fn new(
        peer: Peer,
        own: Vec<CertificateDer<'static>>,
    ) -> std::result::Result<Self, rustls::server::VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        let certificates = system().certs.iter().chain(&own).cloned();
        let (known, _) = roots.add_parsable_certificates(certificates);
        let mut verifier = Self::anyone(peer);
        let system_authorities = known - own.len().min(known);
        verifier.sources = sources(system_authorities, &verifier.peer.directories());
        let provider = Arc::new(ring::default_provider());
        verifier.trust = if roots.is_empty() {
            Trust::Nobody
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            Trust::Known { webpki: built, own }
        };
        Ok(verifier)
    }

    fn explain(
        &self,
        error: rustls::Error,
        certificate: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
    ) -> rustls::Error {
        match error {
            rustls::Error::InvalidCertificate(why) => {
                let hosts = Hosts {
                    shown: self.host_of(server_name),
                    peer: &self.peer,
                };
                let refused = Refused::new(&hosts, &why, (certificate, &self.sources));
                CertificateError::Other(OtherError(Arc::new(refused))).into()
            }
            other => other,
        }
    }

    /// The error of a server that signs with a key too small to be checked: not its certificate is at fault,
    /// and the error names none.
    fn explain_signature(
        &self,
        error: rustls::Error,
        certificate: &CertificateDer<'_>,
    ) -> rustls::Error {
        if !has_small_key(certificate) {
            return error;
        }
        let refused = Refused {
            cause: format!(
                "the certificate of {} is not accepted: its key is RSA with fewer than 2048 bits, which proves nothing any more",
                self.peer.host
            ),
            hint: format!("have a certificate made for another key: {KEYS}; {TRUST_ANYONE}"),
        };
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }

    /// Who was spoken to: the peer, or the proxy on the way to it, whose port is not known here.
    fn host_of(&self, server_name: &ServerName<'_>) -> String {
        let (name, host) = (server_name.to_str(), &self.peer.host);
        let rest = host.trim_start_matches('[').strip_prefix(&*name);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ']'])) {
            host.clone()
        } else {
            name.into_owned()
        }
    }
}

/// Where authorities were looked for, for a person.
fn sources(system_authorities: usize, directories: &[String]) -> String {
    let mut sources = format!("the {system_authorities} authorities of {}", whose());
    if let Some(error) = system().errors.first() {
        sources = format!("{sources} (not all could be read: {error})");
    }
    for directory in directories {
        sources = format!("{sources} and {directory}");
    }
    sources
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let (webpki, own) = match &self.trust {
            Trust::Anyone => return Ok(ServerCertVerified::assertion()),
            Trust::Nobody => {
                let nobody = CertificateError::UnknownIssuer.into();
                return Err(self.explain(nobody, end_entity, server_name));
            }
            Trust::Known { webpki, own } => (webpki, own),
        };
        let verified =
            webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let mut named = own.iter().chain(&system().certs);
        verified
            .or_else(|error| {
                // `openssl req -x509` makes a certificate that is server and authority in one. Where it is
                // named itself, it is trusted, as every other client does; webpki takes none such.
                if named.any(|named| named == end_entity) {
                    verify_alone(end_entity, server_name, now)
                } else {
                    Err(error)
                }
            })
            .map_err(|error| self.explain(error, end_entity, server_name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.trust, Trust::Anyone) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| self.explain_signature(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.trust, Trust::Anyone) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| self.explain_signature(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        if matches!(self.trust, Trust::Anyone) {
            // Which ring cannot check, and nobody is going to.
            schemes.push(SignatureScheme::ECDSA_NISTP521_SHA512);
        }
        schemes
    }
}

/// Name and time of a certificate that is trusted by itself.
fn verify_alone(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> std::result::Result<ServerCertVerified, rustls::Error> {
    let encoding = |_| rustls::Error::from(CertificateError::BadEncoding);
    let parsed = Certificate::from_der(certificate).map_err(encoding)?;
    let validity = parsed.tbs_certificate().validity();
    let now = std::time::Duration::from_secs(now.as_secs());
    if validity.not_after.to_unix_duration() < now {
        return Err(CertificateError::Expired.into());
    }
    if validity.not_before.to_unix_duration() > now {
        return Err(CertificateError::NotValidYet.into());
    }
    rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    Ok(ServerCertVerified::assertion())
}

/// A certificate that is not trusted.
#[derive(Debug)]
pub(super) struct Refused {
    /// Whose it is and why it is not accepted.
    pub(super) cause: String,
    pub(super) hint: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Refused {}

/// Whose certificate it is, and on the way to whom, whose directories hold what is trusted.
struct Hosts<'a> {
    shown: String,
    peer: &'a Peer,
}

impl Refused {
    fn new(
        hosts: &Hosts<'_>,
        why: &CertificateError,
        (certificate, sources): (&CertificateDer<'_>, &str),
    ) -> Self {
        let parsed = Certificate::from_der(certificate).ok();
        let (whose, from, until) = parsed.as_ref().map_or_else(Default::default, describe);
        let mut hint = TRUST_ANYONE.to_owned();
        let reason = match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                hint = format!("renew it, or set this machine's clock right; {hint}");
                format!("it ended on {until}")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                hint = format!("set the clock of this machine right; {hint}");
                format!("it begins only on {from}")
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                hint = format!("use a name that the certificate is for; {hint}");
                format!("it is not for this host, but for {}", names(presented))
            }
            CertificateError::UnknownIssuer => {
                hint = authority_hint(hosts.peer);
                format!("nobody that is trusted has signed it ({sources})")
            }
            CertificateError::BadSignature => {
                hint = authority_hint(hosts.peer);
                format!(
                    "an authority of that name is trusted, but another key signed it ({sources})"
                )
            }
            why => {
                if let Some(reason) = unsupported(why) {
                    hint = format!(
                        "have it signed anew, by {KEYS} and with SHA-256 or SHA-384; {hint}"
                    );
                    reason
                } else {
                    let (reason, own_hint) = unusable(why, (hosts, sources));
                    hint = own_hint.unwrap_or(hint);
                    reason
                }
            }
        };
        Self {
            cause: format!(
                "the certificate of {}{whose} is not accepted: {reason}",
                hosts.shown
            ),
            hint,
        }
    }
}

const TRUST_ANYONE: &str = "--SIDE-tls-verify=false accepts any certificate";

fn authority_hint(peer: &Peer) -> String {
    let host = &peer.host;
    // Where a request is sent on to, a directory for the registry does not count.
    let named = match peer.role {
        Role::Registry | Role::TokenServer => ", or name its directory with --SIDE-cert-dir",
        Role::Elsewhere => "",
    };
    format!(
        "put the certificate of its authority, as a *.crt file, into /etc/containers/certs.d/{host} or ~/.config/containers/certs.d/{host}{named}, or name the file with SSL_CERT_FILE; {TRUST_ANYONE}"
    )
}

/// What kind of signature cannot be checked, on the certificate or on one of its authorities.
fn unsupported(why: &CertificateError) -> Option<String> {
    let (signature, key) = match why {
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        } => (signature_algorithm_id, None),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => (signature_algorithm_id, Some(public_key_algorithm_id)),
        _ => return None,
    };
    if key.is_some_and(|key| key.ends_with(P521.as_bytes())) {
        return Some("it is signed by a key on the curve P-521, which barge cannot check".into());
    }
    let name = match identifier(signature)?.to_string().as_str() {
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512".to_owned(),
        "1.2.840.10045.4.1" => "ECDSA with SHA-1".to_owned(),
        "1.2.840.113549.1.1.5" => "RSA with SHA-1".to_owned(),
        other => format!("the kind {other}"),
    };
    Some(format!("it is signed by {name}, which barge cannot check"))
}

/// What webpki says of a certificate in no words but its own, which rustls passes on as text alone; and what
/// to do.
fn unusable(
    why: &CertificateError,
    (hosts, sources): (&Hosts<'_>, &str),
) -> (String, Option<String>) {
    let CertificateError::Other(OtherError(inner)) = why else {
        return (clean(&why.to_string()), None);
    };
    match inner.to_string().as_str() {
        // `openssl req -x509` makes such certificates, and most that are signed by themselves are made so.
        // One that is named itself does not come here.
        "CaUsedAsEndEntity" => (
            format!("nobody that is trusted has signed it ({sources})"),
            Some(authority_hint(hosts.peer)),
        ),
        "UnsupportedCertVersion" => (
            "it is not of X.509 version 3, and barge can check no other".to_owned(),
            Some(format!(
                "have it made anew, with a name in subjectAltName; {TRUST_ANYONE}"
            )),
        ),
        other => (clean(other), None),
    }
}

/// Whether the key is RSA with fewer than 2048 bits, with which ring checks nothing.
fn has_small_key(certificate: &CertificateDer<'_>) -> bool {
    let parsed = Certificate::from_der(certificate).ok();
    parsed.is_some_and(|parsed| {
        let key = parsed.tbs_certificate().subject_public_key_info();
        // The bytes hold the modulus and a little more.
        key.algorithm.oid == RSA && key.subject_public_key.raw_bytes().len() < 2048 / 8
    })
}

/// `rsaEncryption` (RFC 8017 appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The object identifier in front of an `AlgorithmIdentifier`'s content.
fn identifier(algorithm: &[u8]) -> Option<ObjectIdentifier> {
    let length = usize::from(*algorithm.get(1)?);
    let identifier = algorithm.get(2..)?.get(..length)?;
    ObjectIdentifier::from_bytes(identifier).ok()
}

/// Whose a certificate is, and when it begins and ends.
fn describe(certificate: &Certificate) -> (String, String, String) {
    let inner = certificate.tbs_certificate();
    let (subject, issuer) = (inner.subject().to_string(), inner.issuer().to_string());
    let validity = inner.validity();
    let whose = if subject == issuer {
        format!(" ({}, signed by itself)", clean(&subject))
    } else {
        format!(" ({}, signed by {})", clean(&subject), clean(&issuer))
    };
    let (from, until) = (
        validity.not_before.to_string(),
        validity.not_after.to_string(),
    );
    (whose, from, until)
}

/// Names as rustls shows them, `DnsName("a.io")`, as a person writes them.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        clean(inner.trim_end_matches(')').trim_matches('"'))
    };
    let names: Vec<String> = presented.iter().map(bare).collect();
    if names.is_empty() {
        "no name at all".into()
    } else {
        names.join(", ")
    }
}
