//! A registry with TLS that leads to plain HTTP on another host: anyone on the way could read and change what
//! crosses there. Only blobs may, since their digests are checked; never credentials.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use reqwest::Url;

use super::Repository;
use super::connect::Session;
use super::failure::authority;
use super::request::Call;
use crate::error::{Error, Kind, Result};
use crate::event::Event;

/// What is done about a request that would go on without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downgrade {
    Refuse,
    /// Told once for each host.
    Warn,
}

/// The hosts of which it was told.
#[derive(Debug, Default)]
pub(super) struct Warned(Mutex<BTreeSet<String>>);

impl Warned {
    /// Whether this is the first time for `host`.
    fn is_new(&self, host: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(host.to_owned())
    }
}

impl Session {
    /// Whether what `from` leads to is less protected, unless protection was not asked for.
    pub(super) fn is_downgrade(&self, from: &Url, to: &Url) -> bool {
        from.scheme() == "https" && to.scheme() == "http" && !self.clients.trust_anyone()
    }
}

impl Repository {
    /// Lets `call` go on to `url`, or not.
    pub(super) fn mind_downgrade(&self, session: &Session, call: &Call, url: &Url) -> Result<()> {
        if !session.is_downgrade(&session.base, url) {
            return Ok(());
        }
        let host = authority(url);
        match call.downgrade {
            Downgrade::Refuse => {
                let cause = format!(
                    "the {} registry uses TLS, but leads to http://{host}, which does not",
                    self.side
                );
                Err(hinted(call.error(Kind::Protocol).because(cause)))
            }
            Downgrade::Warn if session.warned.is_new(&host) => {
                let warning = format!(
                    "the {} registry {} uses TLS, but its blobs come from http://{host}, which does not: others may see which they are; what they hold is checked by digest",
                    self.side, self.host
                );
                self.backoff.events.send(Event::Warning(warning));
                Ok(())
            }
            Downgrade::Warn => Ok(()),
        }
    }
}

/// `error`, with what to do about an address without TLS.
pub(super) fn hinted(error: Error) -> Error {
    error.hint("have its addresses made https where the registry, or the proxy in front of it, is configured; if you trust the network, --SIDE-tls-verify=false does without TLS and its certificates")
}
