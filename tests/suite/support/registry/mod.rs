//! A registry in this process, in memory: strict by default, with every oddity of the field on demand.
//!
//! `mod` routes a request; what answers it is in the module of its kind. Log, faults and host are those of
//! [`Server`], which a [`FakeRegistry`] dereferences to.

mod auth;
mod blobs;
mod manifests;
mod settings;
mod sparse;
mod store;
mod tags;

use std::ops::Deref;

use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::json;

use super::wire::{Answer, BoxBody, BoxError, Handler, Received, Server, parameters};

pub(crate) use auth::TokenRequest;
pub(crate) use settings::{
    Anonymous, Auth, Bearer, Blobs, Deletes, Dialect, EmptyList, LifetimeTold, MountAuth, Mounts,
    NewRepositories, Paging, Referrers, Settings, Sparse, SparseHeader, Subjects, TokenField,
    Ungranted, Untagged, Uploads,
};
pub(crate) use store::Store;

use store::World;

/// A running registry; dropped, it is gone.
pub(crate) struct FakeRegistry {
    server: Server,
    /// What it holds, past its log and checks.
    pub(crate) store: Store,
}

impl Deref for FakeRegistry {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl FakeRegistry {
    /// A strict registry open to all.
    pub(crate) fn start() -> Self {
        Self::start_with(Settings::default())
    }

    pub(crate) fn start_with(settings: Settings) -> Self {
        let store = Store::default();
        store.world().settings = settings;
        Self::serve(store)
    }

    /// Starts a second server that holds the same, and redirects every GET of a blob to it.
    ///
    /// The second one refuses requests that carry an `Authorization`, as an object store does.
    pub(crate) fn redirect_blobs(&self) -> Self {
        let storage = Self::serve(self.store.clone());
        let base = format!("http://{}/storage", storage.host());
        self.configure(|settings| settings.blobs = Blobs::Redirected(base));
        storage
    }

    /// Changes how it behaves from the next request on.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.store.world().settings);
    }

    /// Every request for a token so far.
    pub(crate) fn token_requests(&self) -> Vec<TokenRequest> {
        self.store.world().tokens.requests.clone()
    }

    /// The repositories that asking for a token has created, see [`NewRepositories::ByToken`].
    pub(crate) fn created_by_token(&self) -> Vec<String> {
        self.store.world().tokens.created.clone()
    }

    /// Makes every token given so far an expired one.
    pub(crate) fn expire_tokens(&self) {
        self.store.world().tokens.expire();
    }

    fn serve(store: Store) -> Self {
        let server = Server::start(Service(store.clone()));
        Self { server, store }
    }
}

struct Service(Store);

impl Handler for Service {
    async fn answer(
        &self,
        head: Parts,
        body: Received,
    ) -> Result<hyper::Response<BoxBody>, BoxError> {
        match body.collect().await {
            Ok(body) => {
                let call = Call::new(&head, body);
                let answer = limited(&mut self.0.world(), &call);
                let head_only = call.method == "HEAD";
                Ok(if head_only { answer.bodiless() } else { answer }.into_response())
            }
            Err(beginning) => {
                blobs::keep(&mut self.0.world(), &Call::new(&head, beginning));
                Err("the request broke off".into())
            }
        }
    }
}

/// Answers, and counts pulls where they are limited.
fn limited(world: &mut World, call: &Call) -> Answer {
    let Some(left) = world.settings.pulls else {
        return respond(world, call);
    };
    let counts = call.method == "GET" && call.path.contains("/manifests/");
    if counts && left == 0 {
        return Answer::error(429, "TOOMANYREQUESTS", &json!({}));
    }
    let left = left - u64::from(counts);
    world.settings.pulls = Some(left);
    let answer = respond(world, call);
    if !call.path.contains("/manifests/") {
        return answer;
    }
    answer
        .header("RateLimit-Limit", "100;w=21600")
        .header("RateLimit-Remaining", format!("{left};w=21600"))
}

/// One request, read to its end.
struct Call {
    method: String,
    path: String,
    parameters: Vec<(String, String)>,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl Call {
    fn new(head: &Parts, body: Bytes) -> Self {
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            parameters: parameters(head.uri.query().unwrap_or_default()),
            headers: head.headers.clone(),
            body,
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The address that the client used.
    fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }

    fn reads(&self) -> bool {
        self.method == "GET" || self.method == "HEAD"
    }
}

/// What a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Base,
    Uploads {
        repository: &'a str,
    },
    Upload {
        repository: &'a str,
        session: &'a str,
    },
    Blob {
        repository: &'a str,
        digest: &'a str,
    },
    Manifest {
        repository: &'a str,
        reference: &'a str,
    },
    Tags {
        repository: &'a str,
    },
    Referrers {
        repository: &'a str,
        digest: &'a str,
    },
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/v2/")?;
        if path.is_empty() {
            return Some(Self::Base);
        }
        if let Some(repository) = path.strip_suffix("/blobs/uploads/") {
            return Some(Self::Uploads { repository });
        }
        if let Some(repository) = path.strip_suffix("/tags/list") {
            return Some(Self::Tags { repository });
        }
        let (rest, last) = path.rsplit_once('/')?;
        let (repository, kind) = rest.rsplit_once('/')?;
        Some(match kind {
            "uploads" => Self::Upload {
                repository: repository.strip_suffix("/blobs")?,
                session: last,
            },
            "blobs" => Self::Blob {
                repository,
                digest: last,
            },
            "manifests" => Self::Manifest {
                repository,
                reference: last,
            },
            "referrers" => Self::Referrers {
                repository,
                digest: last,
            },
            _ => return None,
        })
    }

    fn repository(self) -> Option<&'a str> {
        match self {
            Self::Base => None,
            Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }
}

fn respond(world: &mut World, call: &Call) -> Answer {
    if call.path == "/token" {
        return auth::token(world, call);
    }
    if let Some(digest) = call.path.strip_prefix("/storage/") {
        return blobs::storage(world, call, digest);
    }
    let Some(route) = Route::of(&call.path) else {
        return Answer::new(404).body("text/plain", "404 page not found");
    };
    let answer = match auth::refuse(world, call, route) {
        Some(refusal) => refusal,
        None => dispatch(world, call, route),
    };
    if route == Route::Base {
        sparse::announce(&world.settings, answer)
    } else {
        answer
    }
}

fn dispatch(world: &mut World, call: &Call, route: Route<'_>) -> Answer {
    match (route, call.method.as_str()) {
        (Route::Base, "GET" | "HEAD") => Answer::new(200).json(&json!({})),
        (Route::Uploads { repository }, "POST") => blobs::start(world, call, repository),
        (
            Route::Upload {
                repository,
                session,
            },
            _,
        ) => blobs::upload(world, call, (repository, session)),
        (Route::Blob { repository, digest }, "GET" | "HEAD") => {
            blobs::read(world, call, (repository, digest))
        }
        (
            Route::Manifest {
                repository,
                reference,
            },
            "GET" | "HEAD",
        ) => manifests::read(world, call, (repository, reference)),
        (
            Route::Manifest {
                repository,
                reference,
            },
            "PUT",
        ) => manifests::write(world, call, (repository, reference)),
        (
            Route::Manifest {
                repository,
                reference,
            },
            "DELETE",
        ) => manifests::delete(world, repository, reference),
        (Route::Tags { repository }, "GET") => tags::list(world, call, repository),
        (Route::Referrers { repository, digest }, "GET") => {
            manifests::referrers(world, call, (repository, digest))
        }
        _ => Answer::error(405, "UNSUPPORTED", &json!({})),
    }
}
