//! The first contact with a registry: which scheme it speaks, how it wants to be asked, and what it
//! says of itself on `GET /v2/` (distribution-spec, "Determining Support").

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Response, Url};

use super::certificates::AskedFor;
use super::challenge::{self, Challenge};
use super::failure;
use super::trust::Tls;
use crate::error::{Error, Kind, Result};

/// What the first contact told.
#[derive(Debug)]
pub(crate) struct Session {
    /// The client for every request to this registry.
    pub(crate) client: Client,
    /// `https://HOST/` or `http://HOST/`.
    pub(crate) base: Url,
    /// What it wants to see before it answers.
    pub(crate) challenge: Option<Challenge>,
    /// Quay's `X-Sparse-Manifest-Support`, where it is sent.
    pub(crate) sparse: Option<bool>,
}

/// Contacts `host` once, without retrying.
pub(crate) async fn connect(host: &str, tls: &Tls, patience: Duration) -> Result<Session> {
    let door = Door::new(host, tls, patience)?;
    let target = format!("registry {host}");
    let contact = ping(&door.client, host, tls, patience).await;
    let (response, base) = contact.map_err(|error| door.explain(error, &target))?;
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
        client: door.client,
        base,
        challenge: challenge_of(headers),
        sparse: sparse_support(headers),
    })
}

/// The challenge in an answer.
pub(crate) fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE);
    challenge::parse(values.iter().filter_map(|value| value.to_str().ok()))
}

fn sparse_support(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-sparse-manifest-support")?.to_str().ok()? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `GET /v2/` over HTTPS, and over plain HTTP where the rules allow it.
async fn ping(
    client: &Client,
    host: &str,
    tls: &Tls,
    patience: Duration,
) -> Result<(Response, Url)> {
    let target = format!("registry {host}");
    let unverified = tls.verify == Some(false);
    let plain_allowed = unverified || tls.verify.is_none() && is_loopback(host);
    let secure = base("https", host)?;
    let error = match get(client, &secure, patience).await? {
        Ok(response) => return Ok((response, secure)),
        Err(error) => error,
    };
    let speaks_plain = failure::is_not_tls(&error) || unverified && failure::is_refused(&error);
    if !(plain_allowed && speaks_plain) {
        // An answer in plain is certain, and the same next time; a hang-up may be an accident.
        if failure::is_plain_answer(&error) {
            let error = Error::new(Kind::Protocol, "contact", target);
            return Err(error.because("it answers without TLS").hint(PLAIN_HINT));
        }
        let failed = failure::unanswered(&error, "contact", &target);
        return Err(if failure::is_not_tls(&error) {
            failed.hint(PLAIN_HINT)
        } else {
            failed
        });
    }
    let plain = base("http", host)?;
    match get(client, &plain, patience).await? {
        Ok(response) => Ok((response, plain)),
        Err(error) => Err(failure::unanswered(&error, "contact", &target)),
    }
}

const PLAIN_HINT: &str = "if it is a plain HTTP registry that you trust, add --src-tls-verify=false or --dest-tls-verify=false (--tls-verify=false for one reference)";

/// The outer error is a timeout; the inner one is what the client saw.
async fn get(client: &Client, base: &Url, patience: Duration) -> Result<reqwest::Result<Response>> {
    let url = base
        .join("v2/")
        .map_err(|why| Error::usage(format!("invalid host `{base}`: {why}")))?;
    let host = base.host_str().unwrap_or_default();
    tokio::time::timeout(patience, client.get(url).send())
        .await
        .map_err(|_| {
            Error::new(Kind::Unavailable, "contact", format!("registry {host}"))
                .because(format!("no answer within {} s", patience.as_secs()))
        })
}

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

/// `localhost`, 127/8 or `::1`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The client for every request to a registry, and what explains that it does not get through.
struct Door {
    client: Client,
    asked: Arc<AskedFor>,
    proxy: Option<String>,
}

impl Door {
    fn new(host: &str, tls: &Tls, patience: Duration) -> Result<Self> {
        let directory = tls.directory(host);
        let extra = directory
            .as_ref()
            .map(|directory| directory.display().to_string());
        let told = extra.map_or_else(|| ": the system's alone".into(), |it| format!(" from {it}"));
        tracing::info!("certificates for {host}{told}");
        let (config, asked) = tls.config(host, directory.as_deref())?;
        let proxy = proxy(host)?;
        tracing::info!("proxy for {host}: {}", proxy.as_deref().unwrap_or("none"));
        Ok(Self {
            client: client(host, config, patience)?,
            asked,
            proxy,
        })
    }

    /// `error` with what the door knows of its cause.
    fn explain(&self, error: Error, target: &str) -> Error {
        if error.kind() != Kind::Unavailable {
            return error;
        }
        let cause = error.cause().to_owned();
        match (self.asked.verdict(), &self.proxy) {
            (Some(verdict), _) => {
                let cause = format!("{verdict} ({cause})");
                failure::no_client_certificate("contact", target, &cause)
            }
            (None, Some(proxy)) => error.because(format!("{cause} (through the proxy {proxy})")),
            (None, None) => error,
        }
    }
}

fn client(host: &str, config: rustls::ClientConfig, patience: Duration) -> Result<Client> {
    let mut builder = Client::builder()
        .user_agent(concat!("barge/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(patience)
        .tls_backend_preconfigured(config)
        .referer(false);
    if is_loopback(host) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        let target = format!("registry {host}");
        Error::new(Kind::LocalIo, "set up a client for", target).because(failure::chain(&error))
    })
}

/// The proxy that the client takes by itself for `host`, without its user and password.
fn proxy(host: &str) -> Result<Option<String>> {
    if is_loopback(host) {
        return Ok(None);
    }
    let address = base("https", host)?;
    let address = address
        .as_str()
        .parse()
        .map_err(|why| Error::usage(format!("invalid registry host `{host}`: {why}")))?;
    let proxy = Matcher::from_system().intercept(&address);
    Ok(proxy.map(|proxy| proxy.uri().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_host_not_a_prefix() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.8.9.1",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.com",
            "128.0.0.1",
            "[::2]:5000",
            "example.com:127",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn docker_hub_answers_elsewhere() {
        let base = |host| base("https", host).expect("url").to_string();
        assert_eq!(base("docker.io"), "https://registry-1.docker.io/");
        assert_eq!(base("[::1]:5000"), "https://[::1]:5000/");
    }
}
