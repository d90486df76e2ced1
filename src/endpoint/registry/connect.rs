//! The first contact with a registry: which scheme it speaks, how it wants to be asked, and what it
//! says of itself on `GET /v2/` (distribution-spec, "Determining Support").

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};

use super::certificates::AskedFor;
use super::challenge::{self, Challenge};
use super::clients::Clients;
use super::credentials::redact::redact;
use super::downgrade::Warned;
use super::failure;
use super::proxies::{Proxies, is_loopback};
use super::trust::{Role, Tls};
use crate::error::{Error, Kind, Result};
use crate::sanitize::excerpt;

/// How much of the challenges that cannot be answered goes into a message.
const LONGEST_CHALLENGE: usize = 300;

/// What the first contact told.
pub(crate) struct Session {
    pub(super) clients: Clients,
    pub(super) warned: Warned,
    /// `https://HOST/` or `http://HOST/`.
    pub(crate) base: Url,
    /// What it wants to see before it answers.
    pub(crate) challenge: Option<Challenge>,
    /// How it asks for a login, where that is no way that barge knows.
    pub(crate) unanswerable: Option<String>,
    /// Quay's `X-Sparse-Manifest-Support`, where it is sent.
    pub(crate) sparse: Option<bool>,
}

impl Session {
    /// The client for `url`, which is at the registry or where it leads to.
    pub(super) fn client(&self, url: &Url) -> Result<Client> {
        self.client_as(url, Role::Elsewhere)
    }

    /// The client for the token server at `realm`.
    pub(super) fn token_client(&self, realm: &Url) -> Result<Client> {
        self.client_as(realm, Role::TokenServer)
    }

    fn client_as(&self, url: &Url, role: Role) -> Result<Client> {
        if url.origin() == self.base.origin() {
            Ok(self.clients.own().clone())
        } else {
            self.clients.other(url, role)
        }
    }
}

/// Contacts `host` once, without retrying.
pub(crate) async fn connect(host: &str, tls: &Tls, patience: Duration) -> Result<Session> {
    let door = Door::new(host, tls, patience)?;
    let target = format!("registry {host}");
    let (response, base) = door.ping(tls.verify).await?;
    let status = response.status();
    if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
        let refusal = failure::refused(status, response.headers(), &[]);
        return Err(refusal.error("contact", &target));
    }
    let headers = response.headers();
    tracing::debug!(
        host,
        scheme = base.scheme(),
        status = status.as_u16(),
        "contacted"
    );
    Ok(Session {
        clients: door.clients,
        warned: Warned::default(),
        base,
        challenge: challenge_of(headers),
        unanswerable: unanswerable(status, headers),
        sparse: sparse_support(headers),
    })
}

/// The challenge in an answer.
pub(crate) fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    challenge::parse(challenges(headers))
}

/// How a 401 asks for a login, where it holds no challenge that can be answered.
pub(crate) fn unanswerable(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let lost = status == StatusCode::UNAUTHORIZED && challenge_of(headers).is_none();
    lost.then(|| {
        let how = challenge::unanswerable(challenges(headers));
        excerpt(&redact(&how), LONGEST_CHALLENGE)
    })
}

fn challenges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(WWW_AUTHENTICATE).into_iter();
    values.filter_map(|value| value.to_str().ok())
}

fn sparse_support(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-sparse-manifest-support")?.to_str().ok()? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The error of a registry that does not answer over TLS.
fn without_tls(error: &reqwest::Error, target: &str) -> Error {
    // An answer in plain is certain, and the same next time; a hang-up may be an accident.
    if failure::is_plain_answer(error) {
        let error = Error::new(Kind::Protocol, "contact", target);
        return error.because("it answers without TLS").hint(PLAIN_HINT);
    }
    let failed = failure::unanswered(error, "contact", target);
    if failure::is_not_tls(error) {
        failed.hint(PLAIN_HINT)
    } else {
        failed
    }
}

const PLAIN_HINT: &str =
    "if it is a plain HTTP registry that you trust, add --SIDE-tls-verify=false";

/// The address of a registry's API; Docker Hub's is not its name.
fn base(scheme: &str, host: &str) -> Result<Url> {
    let host = if host == "docker.io" {
        "registry-1.docker.io"
    } else {
        host
    };
    Url::parse(&format!("{scheme}://{host}/"))
        .map_err(|why| Error::usage(format!("invalid registry host `{host}`: {why}")))
}

/// The client for every request to a registry, and what explains that it does not get through.
struct Door {
    host: String,
    clients: Clients,
    asked: Arc<AskedFor>,
    proxies: Proxies,
    patience: Duration,
}

impl Door {
    fn new(host: &str, tls: &Tls, patience: Duration) -> Result<Self> {
        let proxies = Proxies::from_environment()?;
        let (clients, asked) = Clients::new(host, (tls, &proxies), patience)?;
        Ok(Self {
            host: host.to_owned(),
            clients,
            asked,
            proxies,
            patience,
        })
    }

    /// `GET /v2/` over HTTPS, and over plain HTTP where the rules allow it.
    async fn ping(&self, verify: Option<bool>) -> Result<(Response, Url)> {
        let host = &self.host;
        let target = format!("registry {host}");
        let unverified = verify == Some(false);
        let plain_allowed = unverified || verify.is_none() && is_loopback(host);
        let secure = base("https", host)?;
        let proxy = self.proxies.shown(&secure);
        tracing::info!("proxy for {host}: {}", proxy.as_deref().unwrap_or("none"));
        let error = match self.get(&secure).await? {
            Ok(response) => return Ok((response, secure)),
            Err(error) => error,
        };
        // A refused connection is the registry's where there is no proxy, and else the proxy's own; many
        // lead to port 443 alone, and to any port in plain.
        let refused = match proxy {
            None => failure::is_refused(&error),
            Some(_) => failure::refuses_tunnel(&error),
        };
        let speaks_plain = failure::is_not_tls(&error) || unverified && refused;
        if !(plain_allowed && speaks_plain) {
            return Err(self.explain(without_tls(&error, &target), &secure));
        }
        let plain = base("http", host)?;
        let proxy = self.proxies.shown(&plain);
        let proxy = proxy.as_deref().unwrap_or("none");
        tracing::info!("proxy for {host} over plain HTTP: {proxy}");
        match self.get(&plain).await? {
            Ok(response) => Ok((response, plain)),
            Err(error) => {
                let error = failure::unanswered(&error, "contact", &target);
                Err(self.explain(error, &plain))
            }
        }
    }

    /// The outer error is a timeout; the inner one is what the client saw.
    async fn get(&self, base: &Url) -> Result<reqwest::Result<Response>> {
        let url = base
            .join("v2/")
            .map_err(|why| Error::usage(format!("invalid host `{base}`: {why}")))?;
        let answer = tokio::time::timeout(self.patience, self.clients.own().get(url).send()).await;
        let answer = answer.map_err(|_| {
            let host = base.host_str().unwrap_or_default();
            let error = Error::new(Kind::Unavailable, "contact", format!("registry {host}"));
            let seconds = self.patience.as_secs();
            self.explain(error.because(format!("no answer within {seconds} s")), base)
        })?;
        let wants_login = match &answer {
            Ok(response) => response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Err(error) => failure::wants_proxy_login(error),
        };
        match self.proxies.shown(base) {
            Some(proxy) if wants_login => Err(self.proxy_login(&proxy)),
            _ => Ok(answer),
        }
    }

    fn proxy_login(&self, proxy: &str) -> Error {
        let target = format!("registry {}", self.host);
        Error::new(Kind::Unauthorized, "contact", target)
            .because(format!("the proxy {proxy} wants a login (HTTP 407)"))
            .hint(
                "write the proxy as http://USER:PASSWORD@HOST:PORT into HTTPS_PROXY and HTTP_PROXY",
            )
    }

    /// The error of a request to `base`, with what the door knows of its cause.
    fn explain(&self, error: Error, base: &Url) -> Error {
        if error.kind() != Kind::Unavailable {
            return error;
        }
        let cause = error.cause().to_owned();
        match (self.asked.verdict(), self.proxies.shown(base)) {
            (Some(verdict), _) => {
                let cause = format!("{verdict} ({cause})");
                let target = format!("registry {}", self.host);
                failure::no_client_certificate("contact", &target, &cause)
            }
            (None, Some(proxy)) => error.because(format!("{cause} (through the proxy {proxy})")),
            (None, None) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_answers_elsewhere() {
        let base = |host| base("https", host).expect("url").to_string();
        assert_eq!(base("docker.io"), "https://registry-1.docker.io/");
        assert_eq!(base("[::1]:5000"), "https://[::1]:5000/");
    }
}
