//! TLS in front of a plain server, with certificates of an authority that nobody else knows.
//!
//! It moves bytes and looks at none; the log is that of the server behind.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("rcgen self signed cert")
    }

    /// An authority with a name of its own.
    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self {
            issuer: Issuer::new(parameters, key),
            certificate,
        }
    }

    /// Its certificate in PEM form.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a server of this name or address, and its key, in PEM form.
    pub(crate) fn server(&self, name: &str) -> (String, String) {
        let (certificate, key) = self.sign(name);
        (certificate.pem(), key.serialize_pem())
    }

    /// What a server of this name shows.
    pub(crate) fn identity(&self, name: &str, lifetime: Lifetime) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        match lifetime {
            Lifetime::Now => {}
            Lifetime::Over => {
                parameters.not_before = date_time_ymd(2000, 1, 1);
                parameters.not_after = date_time_ymd(2001, 1, 1);
            }
            Lifetime::ToCome => parameters.not_before = date_time_ymd(2999, 1, 1),
        }
        let signed = parameters.signed_by(&key, &self.issuer);
        Identity {
            certificate: signed.expect("a certificate"),
            key,
        }
    }

    /// What a server of this name shows that is an authority itself, as `openssl req -x509` makes them.
    pub(crate) fn itself(name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Identity {
            certificate: parameters.self_signed(&key).expect("a certificate"),
            key,
        }
    }

    /// Writes `ca.crt`, as a directory of `--cert-dir` has it.
    pub(crate) fn write_to(&self, directory: &Path) {
        fs::write(directory.join("ca.crt"), self.certificate.pem()).expect("ca.crt");
    }

    /// Writes `client.cert` and `client.key` for somebody whom this authority knows.
    pub(crate) fn write_client_to(&self, directory: &Path) {
        let (certificate, key) = self.sign("client");
        fs::write(directory.join("client.cert"), certificate.pem()).expect("client.cert");
        fs::write(directory.join("client.key"), key.serialize_pem()).expect("client.key");
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        let signed = parameters.signed_by(&key, &self.issuer);
        (signed.expect("a certificate"), key)
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Now,
    /// Until 2001.
    Over,
    /// From 2999 on.
    ToCome,
}

/// Whom a server lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    Anyone,
    /// Those with a certificate of the server's own authority.
    Known,
}

/// A running TLS server; dropped, it is gone.
pub(crate) struct TlsServer {
    address: SocketAddr,
    pem: String,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsServer {
    /// A server in front of the plain one at `upstream` (`127.0.0.1:PORT`).
    pub(crate) fn start(upstream: &str, authority: &Authority, clients: Clients) -> Self {
        Self::start_named((upstream, "127.0.0.1"), authority, clients)
    }

    /// The same under another name: `localhost`.
    pub(crate) fn start_named(
        (upstream, name): (&str, &str),
        authority: &Authority,
        clients: Clients,
    ) -> Self {
        let identity = authority.identity(name, Lifetime::Now);
        Self::serve(upstream, &identity, config(authority, (clients, &identity)))
    }

    /// The same with another identity, for anyone.
    pub(crate) fn start_as(upstream: &str, identity: &Identity) -> Self {
        let config = config(&Authority::new(), (Clients::Anyone, identity));
        Self::serve(upstream, identity, config)
    }

    fn serve(upstream: &str, identity: &Identity, config: ServerConfig) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (stop, stopped) = oneshot::channel();
        let upstream = upstream.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be made").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, acceptor, upstream) => {}
                }
            });
        });
        Self {
            address,
            pem: identity.certificate.pem(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its certificate in PEM form.
    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// `docker://127.0.0.1:PORT/NAME`.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been printed already.
            drop(thread.join());
        }
    }
}

fn config(authority: &Authority, (clients, identity): (Clients, &Identity)) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    let builder = match clients {
        Clients::Anyone => builder.with_no_client_auth(),
        Clients::Known => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate()).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).expect("a private key");
    builder
        .with_single_cert(vec![identity.certificate.der().clone()], key)
        .expect("a certificate and its key")
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, upstream: String) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        connections.spawn(async move {
            let mut near = acceptor.accept(stream).await?;
            let mut far = TcpStream::connect(upstream).await?;
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        });
    }
}
