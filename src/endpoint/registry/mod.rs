//! One repository in a registry, over the distribution API, on a client of our own: every request is
//! authorised for just what it needs, counted, timed, and repeated where that makes sense.

pub mod answers;
pub(crate) mod auth;
mod blobs;
mod body;
mod certificates;
mod challenge;
mod chunked;
mod clients;
pub(crate) mod connect;
pub mod credentials;
mod deletes;
mod downgrade;
mod encoding;
mod ensure;
pub(crate) mod failure;
pub mod login;
mod manifests;
mod pages;
mod proxies;
mod ranges;
mod referrers;
mod registries;
mod request;
mod scope;
mod session;
mod tags;
mod throttle;
mod token;
mod trust;
mod upload;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use tokio::sync::OnceCell;

pub use deletes::Deletion;
pub use registries::RegistriesConf;
pub use trust::Tls;

use self::auth::Authenticator;
use self::chunked::Chunked;
use self::connect::Session;
use self::credentials::CredentialSource;
use self::downgrade::Downgrade;
use self::request::Call;
use self::scope::Scope;
use self::throttle::Throttle;
use super::backoff::Backoff;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Side};
use crate::image::digest::Digest;
use crate::reference::RegistryReference;

/// How much of an answer is read where no manifest or list is expected.
const SHORT: usize = 1 << 20;

/// How to talk to the registry of one side.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Which side of the copy this is; a command with one reference has a source.
    pub side: Side,
    /// The side that its errors are of; `None` in a command with one reference, whose options have no side.
    pub blame: Option<Side>,
    /// Where to find credentials.
    pub credentials: CredentialSource,
    /// Whom to trust.
    pub tls: Tls,
    /// Where registries are configured.
    pub registries: RegistriesConf,
    /// A connection that moves no byte for that long, or less than 1 KiB/s for four times as long, is dropped.
    pub stall: Duration,
    /// How often to try again.
    pub backoff: Backoff,
    /// Requests that the registry gets at once, while it does not mind.
    pub requests: usize,
}

/// A repository, connected on first use.
pub struct Repository {
    host: String,
    name: String,
    pub(crate) side: Side,
    pub(crate) blame: Option<Side>,
    pub(crate) stall: Duration,
    pub(crate) backoff: Backoff,
    tls: Tls,
    credentials: CredentialSource,
    auth: Authenticator,
    session: OnceCell<Result<Session>>,
    throttle: Throttle,
    pieces: Chunked,
    /// Why the registry takes no upload of this login.
    refused_uploads: OnceLock<Error>,
    /// The registry refused a sparse index in this run.
    refused_sparse: AtomicBool,
    warned_of_limit: OnceLock<()>,
    /// Repositories of the same registry from which nothing can be mounted.
    unmountable: Mutex<BTreeSet<String>>,
    /// A mount from the repository itself has told that a blob is there.
    mount_tells: AtomicBool,
    /// Held while the first blob finds out whether mounts tell that.
    proving: tokio::sync::Mutex<()>,
    /// Small blobs that were read to be looked into, until they are copied.
    looked_into: Mutex<HashMap<Digest, Bytes>>,
    /// Whether there is a referrers API.
    referrers_api: OnceCell<bool>,
    /// The digest tags of a source; `None` where it does not list its tags.
    digest_tags: OnceCell<Option<BTreeSet<String>>>,
    /// Whether each digest tag is asked for, whatever is known of them.
    each: AtomicBool,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({}/{})", self.host, self.name)
    }
}

impl Repository {
    /// The repository of `reference`; nothing is contacted.
    ///
    /// # Errors
    ///
    /// `local-io` when a configuration of registries cannot be understood, `denied` where it blocks this one.
    pub fn new(reference: &RegistryReference, options: RegistryOptions) -> Result<Self> {
        let (host, name) = (&reference.host, &reference.repository);
        let place = options.registries.resolve(host, name, options.side)?;
        for note in place.notes {
            options.backoff.events.send(Event::Warning(note));
        }
        let mut tls = options.tls;
        if place.insecure {
            tls.verify = tls.verify.or(Some(false));
        }
        let events = options.backoff.events.clone();
        let auth = Authenticator::new(&place.host, options.stall, options.side, events);
        Ok(Self {
            name: place.path,
            side: options.side,
            blame: options.blame,
            stall: options.stall,
            backoff: options.backoff,
            tls,
            credentials: options.credentials,
            auth,
            session: OnceCell::new(),
            throttle: Throttle::new(options.requests),
            pieces: Chunked::new(&place.host),
            refused_uploads: OnceLock::new(),
            refused_sparse: AtomicBool::new(false),
            warned_of_limit: OnceLock::new(),
            unmountable: Mutex::default(),
            mount_tells: AtomicBool::new(false),
            proving: tokio::sync::Mutex::default(),
            looked_into: Mutex::default(),
            referrers_api: OnceCell::new(),
            digest_tags: OnceCell::new(),
            each: AtomicBool::new(false),
            host: place.host,
        })
    }

    /// The registry's name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name in its registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the registry takes an index without all its children: what it says, or has shown.
    ///
    /// # Errors
    ///
    /// When the registry cannot be contacted.
    pub async fn takes_sparse(&self) -> Result<Option<bool>> {
        if self.refused_sparse.load(Ordering::Relaxed) {
            return Ok(Some(false));
        }
        Ok(self.session().await?.sparse)
    }

    /// Remembers that a sparse index was refused.
    pub fn note_sparse_refused(&self) {
        self.refused_sparse.store(true, Ordering::Relaxed);
    }

    /// Warns once when the registry allows no more pulls (Docker Hub counts each GET of a manifest).
    fn check_pull_limit(&self, headers: &HeaderMap) {
        if pulls_left(headers).is_some_and(|left| left <= 0) && self.warned_of_limit.set(()).is_ok()
        {
            let warning = format!(
                "{} allows no more pulls for now: log in for a higher limit, or run again later",
                self.host
            );
            self.backoff.events.send(Event::Warning(warning));
        }
    }

    /// The first contact, made once; its failure is everyone's.
    async fn session(&self) -> Result<&Session> {
        let contacted = self.session.get_or_init(|| async {
            let found = self.credentials.find(&self.host, &self.name);
            let found = Box::pin(found).await?;
            tracing::info!("credentials for {self}: {found}");
            self.auth.identify_as(found.credentials);
            let session = self.backoff.run(|| {
                self.backoff.events.send(Event::Request(self.side));
                connect::connect(&self.host, &self.tls, self.stall)
            });
            let session = session.await?;
            self.auth.learn(session.challenge.clone());
            Ok(session)
        });
        // In every request's future, and run once.
        let contacted = Box::pin(contacted).await;
        contacted.as_ref().map_err(Clone::clone)
    }

    fn base(&self) -> Option<&Url> {
        self.session
            .get()?
            .as_ref()
            .ok()
            .map(|session| &session.base)
    }

    /// A request below this repository: `path` as in `manifests/latest`.
    async fn call(&self, method: Method, path: &str, doing: &'static str) -> Result<Call> {
        let target = self.to_string();
        let base = &self.session().await?.base;
        let url = base
            .join(&format!("v2/{}/{path}", self.name))
            .map_err(|why| Error::new(Kind::Usage, doing, &target).because(why))?;
        Ok(Call {
            method,
            url,
            scope: Scope::pull(&self.name),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            downgrade: Downgrade::Refuse,
            longest: (SHORT, Kind::Protocol),
            has_urls: false,
            doing,
            target,
        })
    }

    /// The same as [`Repository::call`], with the right to write.
    async fn write_call(&self, method: Method, path: &str, doing: &'static str) -> Result<Call> {
        let mut call = self.call(method, path, doing).await?;
        call.scope = Scope::push(&self.name);
        Ok(call)
    }

    fn can_mount_from(&self, repository: &str) -> bool {
        let unmountable = self
            .unmountable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !unmountable.contains(repository)
    }

    fn note_unmountable(&self, repository: &str) {
        let mut unmountable = self
            .unmountable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unmountable.insert(repository.to_owned());
    }
}

/// The pulls that are left: `RateLimit-Remaining: 76;w=21600`.
fn pulls_left(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get("ratelimit-remaining")?.to_str().ok()?;
    text.split(';').next()?.trim().parse().ok()
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}
