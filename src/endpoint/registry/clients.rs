//! The HTTP clients for a registry and for the hosts that it leads to. A certificate directory is for one
//! origin, so each origin has a client of its own. Decides nothing of what is sent where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, Proxy, Url};

use super::certificates::AskedFor;
use super::failure;
use super::proxies::Proxies;
use super::trust::{Role, Tls};
use crate::error::{Error, Kind, Result};

/// Clients by role and origin, made when they are first needed.
pub(super) struct Clients {
    registry: String,
    tls: Tls,
    proxies: Proxies,
    patience: Duration,
    own: Client,
    others: Mutex<HashMap<(Role, String), Client>>,
}

impl Clients {
    /// Those of `registry`; also tells whether it asks for a client certificate.
    pub(super) fn new(
        registry: &str,
        (tls, proxies): (&Tls, &Proxies),
        patience: Duration,
    ) -> Result<(Self, Arc<AskedFor>)> {
        let peer = tls.registry(registry);
        tracing::info!("certificates{}", tls.told(&peer));
        let (config, asked) = tls.config(peer)?;
        let own = client(config, proxies, patience).map_err(|why| failed(registry, &why))?;
        let clients = Self {
            registry: registry.to_owned(),
            tls: tls.clone(),
            proxies: proxies.clone(),
            patience,
            own,
            others: Mutex::default(),
        };
        Ok((clients, asked))
    }

    /// For the registry itself.
    pub(super) fn own(&self) -> &Client {
        &self.own
    }

    /// For the host of `url`, which is not the registry's.
    pub(super) fn other(&self, url: &Url, role: Role) -> Result<Client> {
        let key = (role, url.origin().ascii_serialization());
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.get(&key) {
            return Ok(known.clone());
        }
        let host = failure::authority(url);
        let peer = self.tls.elsewhere(&host, (role, &self.registry));
        if url.scheme() == "https" {
            tracing::info!("certificates{}", self.tls.told(&peer));
        }
        let (config, _) = self.tls.config(peer)?;
        let made = client(config, &self.proxies, self.patience).map_err(|why| failed(&host, &why));
        Ok(others.entry(key).or_insert(made?).clone())
    }

    /// Whether nothing that is sent need be protected: `--tls-verify=false`.
    pub(super) fn trust_anyone(&self) -> bool {
        self.tls.verify == Some(false)
    }
}

fn client(
    config: rustls::ClientConfig,
    proxies: &Proxies,
    patience: Duration,
) -> reqwest::Result<Client> {
    let proxies = proxies.clone();
    // What a digest names is what is stored, not what is made of it for the way.
    let as_stored = (ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .default_headers(HeaderMap::from_iter([as_stored]))
        .user_agent(concat!("barge/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(patience)
        .tls_backend_preconfigured(config)
        .referer(false)
        // Every request by its own URL: a registry may send it on, and its token server is elsewhere.
        .proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
        .build()
}

fn failed(host: &str, why: &reqwest::Error) -> Error {
    Error::new(Kind::LocalIo, "set up a client for", host).because(failure::chain(why))
}
