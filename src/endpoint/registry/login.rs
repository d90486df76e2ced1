//! Whether a registry lets somebody in: what `login` checks before it stores anything.

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;

use super::auth::Authenticator;
use super::connect::{self, Session};
use super::credentials::Credentials;
use super::scope::Scope;
use super::{RegistryOptions, failure};
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::reference::RegistryScope;

/// What a registry said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The credentials are good.
    Good,
    /// It asks nobody for credentials, at least not here.
    NotAsked,
}

/// Shows `credentials` to the registry once.
///
/// # Errors
///
/// `unauthorized` where they are refused, or why the registry could not be asked.
pub async fn check(
    registry: &RegistryScope,
    credentials: Credentials,
    options: RegistryOptions,
) -> Result<Verdict> {
    let host = &registry.host;
    // A login is for what is written, wherever images are read.
    let place = options
        .registries
        .resolve(host, &registry.namespace, Side::Destination)?;
    let mut tls = options.tls;
    if place.insecure {
        tls.verify = tls.verify.or(Some(false));
    }
    let contact = || connect::connect(host, &tls, options.stall);
    let session = options.backoff.run(contact).await?;
    if let Some(how) = &session.unanswerable {
        let target = format!("registry {host}");
        let cause = format!("HTTP 401: {how}");
        return Err(failure::unanswerable("log in to", &target, &cause));
    }
    if session.challenge.is_none() {
        return Ok(Verdict::NotAsked);
    }
    let events = options.backoff.events.clone();
    let auth = Authenticator::new(host, options.stall, options.side, events);
    auth.identify_as(credentials);
    auth.learn(session.challenge.clone());
    let attempt = || enter(&session, &auth, host);
    options.backoff.run(attempt).await?;
    Ok(Verdict::Good)
}

/// Gets in, or not.
async fn enter(session: &Session, auth: &Authenticator, host: &str) -> Result<()> {
    let authorization = auth.authorize(session, &Scope::none()).await?;
    let Some(header) = authorization.header.filter(|_| authorization.granted) else {
        // A password has been shown, and taken.
        return Ok(());
    };
    let target = format!("registry {host}");
    let base = session
        .base
        .join("v2/")
        .map_err(|why| Error::new(Kind::Protocol, "log in to", &target).because(why))?;
    let client = session.client(&base)?;
    let request = client.get(base).header(AUTHORIZATION, header);
    let response = auth.answer(request, "log in to", &target).await?;
    let status = response.status();
    let refusal = failure::refused(status, response.headers(), &[]);
    match status {
        StatusCode::UNAUTHORIZED => Err(Error::new(Kind::Unauthorized, "log in to", &target)
            .because("it does not take the token that its token server gave")
            .hint("user and password are good; whoever runs the registry can say why it does not trust its token server, or whether their clocks differ")),
        _ if refusal.kind.retryable() => Err(refusal.error("log in to", &target)),
        _ => Ok(()),
    }
}
