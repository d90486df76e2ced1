//! A real registry: Debian's `docker-registry` (distribution 2.8) on a loopback port, in a directory of its own.
//!
//! It is killed and forgotten when dropped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Client;
use super::content::flip_bit;
use super::secrets;
use super::token_server::{ISSUER, SERVICE};

/// The only user of a registry with [`Login::Password`].
pub(crate) const USER: &str = "alice";
/// The password of [`USER`].
pub(crate) const PASSWORD: &str = "s3cret-Pa55";
const HTPASSWD: &str = "alice:$2y$04$QZEdmTDPMwtHx1qx3rTLKOVg3GdHBbMDqS7sSPQBsYXbRS4XnPpa6\n";

const PATIENCE: Duration = Duration::from_secs(20);

/// Whether anybody may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Login {
    #[default]
    Open,
    /// Basic authentication: [`USER`] and [`PASSWORD`].
    Password,
    /// Tokens of a [`super::token_server::TokenServer`].
    Tokens {
        realm: String,
        /// In PEM form.
        certificate: String,
    },
}

/// Certificates of a registry that speaks TLS itself; all in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnTls {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// Who signs the certificates of clients, where they need one.
    pub(crate) clients: Option<String>,
}

/// Whether manifests can be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deletes {
    /// By digest only, as distribution 2.8 has it.
    #[default]
    Enabled,
    Disabled,
}

/// How a registry is to be run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) deletes: Deletes,
    pub(crate) login: Login,
    pub(crate) tls: Option<OwnTls>,
}

/// A running `docker-registry`.
pub(crate) struct DockerRegistry {
    child: Child,
    host: String,
    directory: TempDir,
    login: Login,
    is_tls: bool,
}

impl DockerRegistry {
    /// An open registry that can delete.
    pub(crate) fn start() -> Self {
        Self::start_with(Config::default())
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a configuration is written where it is used"
    )]
    pub(crate) fn start_with(config: Config) -> Self {
        let attempts = (0..5).find_map(|_| Self::attempt(&config));
        attempts.expect("docker-registry starts within five attempts")
    }

    /// `None` where somebody else took the port.
    fn attempt(config: &Config) -> Option<Self> {
        secrets::note_login(USER, PASSWORD);
        let directory = TempDir::with_prefix("docker-registry-").expect("a temporary directory");
        let host = free_host();
        let nonce = format!("{:016x}", fastrand::u64(..));
        let file = directory.path().join("config.yml");
        fs::write(&file, yaml(config, &host, (&nonce, directory.path())))
            .expect("config.yml can be written");
        for (name, text) in files(config) {
            fs::write(directory.path().join(name), text).expect("its files can be written");
        }
        let log = File::create(directory.path().join("log")).expect("the log can be made");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("docker-registry is installed");
        let mut registry = Self {
            child,
            host,
            directory,
            login: config.login.clone(),
            is_tls: config.tls.is_some(),
        };
        registry.wait_until_ready(&nonce).then_some(registry)
    }

    fn wait_until_ready(&mut self, nonce: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self
            .child
            .try_wait()
            .expect("a child can be asked")
            .is_none()
        {
            if let Ok(reply) = Client::new(&self.host, None).request("GET /v2/", &[], b"") {
                // With TLS of its own it says 400 to a plain request, and nothing of itself.
                return reply.header("x-barge-test") == Some(nonce)
                    || self.is_tls && reply.status == 400;
            }
            assert!(
                Instant::now() < deadline,
                "docker-registry does not answer: {}",
                self.output()
            );
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `docker://HOST/NAME`.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.host)
    }

    /// A client with the credentials that it takes.
    pub(crate) fn client(&self) -> Client {
        let credentials = (self.login == Login::Password).then_some((USER, PASSWORD));
        Client::new(&self.host, credentials)
    }

    /// The directory of its storage.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// The file with the bytes of a blob or manifest, shared by all repositories.
    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
        let path = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.root().join(path)
    }

    pub(crate) fn remove_blob(&self, digest: &str) {
        fs::remove_file(self.blob_path(digest)).expect("the blob is there to be removed");
    }

    /// Turns one bit over; the length stays.
    pub(crate) fn corrupt_blob(&self, digest: &str) {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).expect("the blob is there to be damaged");
        fs::write(&path, flip_bit(&bytes)).expect("the blob can be written");
    }

    /// What it wrote to standard output and error.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Kills it; its storage stays until it is dropped.
    pub(crate) fn stop(&mut self) {
        // Both fail only where it has ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nobody listens on. It is below those that systems give to servers of port 0, so that the
/// first question to it never lands in the log of another test's server, which took it meanwhile.
fn free_host() -> String {
    loop {
        let host = format!("127.0.0.1:{}", fastrand::u16(10_000..30_000));
        if TcpListener::bind(&host).is_ok() {
            return host;
        }
    }
}

/// The files that its configuration names.
fn files(config: &Config) -> Vec<(&'static str, &str)> {
    let mut files = vec![("htpasswd", HTPASSWD)];
    if let Login::Tokens { certificate, .. } = &config.login {
        files.push(("tokens.crt", certificate));
    }
    if let Some(tls) = &config.tls {
        files.push(("server.crt", &tls.certificate));
        files.push(("server.key", &tls.key));
        files.extend(tls.clients.as_deref().map(|pem| ("clients.crt", pem)));
    }
    files
}

fn yaml(config: &Config, host: &str, (nonce, directory): (&str, &Path)) -> String {
    let directory = directory.display();
    let auth = match &config.login {
        Login::Open => String::new(),
        Login::Password => {
            format!("auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}\n")
        }
        Login::Tokens { realm, .. } => format!(
            "auth: {{token: {{realm: '{realm}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {directory}/tokens.crt}}}}\n"
        ),
    };
    let tls = config.tls.as_ref().map_or_else(String::new, |tls| {
        let clients = tls.clients.as_ref().map_or_else(String::new, |_| {
            format!(", clientcas: ['{directory}/clients.crt']")
        });
        format!(
            ", tls: {{certificate: {directory}/server.crt, key: {directory}/server.key{clients}}}"
        )
    });
    let delete = config.deletes == Deletes::Enabled;
    format!(
        "version: 0.1\n\
         log: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {directory}/storage}}, delete: {{enabled: {delete}}}}}\n\
         http: {{addr: '{host}', headers: {{X-Barge-Test: ['{nonce}']}}{tls}}}\n\
         health: {{storagedriver: {{enabled: false}}}}\n\
         {auth}"
    )
}
