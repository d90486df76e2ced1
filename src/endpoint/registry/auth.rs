//! Tokens: one fetch for however many requests wait, kept until shortly before they end.
//!
//! Credentials go to the registry that they are for and to the token server that it names, over a
//! connection no less protected than the registry's own; to nobody else.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::body::{self, Limits};
use super::challenge::{Bearer, Challenge};
use super::connect::Session;
use super::credentials::concealed::{self, conceal};
use super::credentials::{Credentials, Secret};
use super::failure;
use super::token::{Asked, Token, bearer, secret_header};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Side};
use crate::printable::clean;

/// Token answers are small; more than this is no token.
const LONGEST_ANSWER: usize = 1 << 20;

/// What a request needs to be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(BTreeSet<String>);

impl Scope {
    /// Nothing but to be known.
    pub(crate) fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// To read `repository`.
    pub(crate) fn pull(repository: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{repository}:pull")]))
    }

    /// To write `repository`.
    pub(crate) fn push(repository: &str) -> Self {
        Self(BTreeSet::from([format!(
            "repository:{repository}:pull,push"
        )]))
    }

    /// To delete in `repository`, where that is a right of its own.
    pub(crate) fn delete(repository: &str) -> Self {
        Self(BTreeSet::from([format!(
            "repository:{repository}:pull,push,delete"
        )]))
    }

    /// This and what `other` allows.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<&str> = self.0.iter().map(String::as_str).collect();
        f.write_str(&scopes.join(" "))
    }
}

/// How one request identifies itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorization {
    /// The header, if any.
    pub(crate) header: Option<HeaderValue>,
    /// Whether a token server granted it.
    pub(crate) granted: bool,
}

/// The token for one scope, or the refusal of one: neither is asked for twice.
type Slot = Arc<tokio::sync::Mutex<Option<Result<Token>>>>;

/// All that is known about getting in at one registry.
pub(crate) struct Authenticator {
    limits: Limits,
    host: String,
    side: Side,
    /// Who is told of every request.
    events: Events,
    credentials: OnceLock<Credentials>,
    challenge: Mutex<Option<Challenge>>,
    slots: Mutex<HashMap<Scope, Slot>>,
    /// A password that was refused once is not sent again: registries lock accounts.
    refused: OnceLock<Error>,
    /// The password was good once, so that a later refusal is of what was asked for.
    accepted: tokio::sync::OnceCell<()>,
}

impl Authenticator {
    pub(crate) fn new(host: &str, stall: Duration, side: Side, events: Events) -> Self {
        Self {
            side,
            events,
            limits: Limits {
                longest: (LONGEST_ANSWER, Kind::Protocol),
                stall,
            },
            host: host.to_owned(),
            credentials: OnceLock::new(),
            challenge: Mutex::default(),
            slots: Mutex::default(),
            refused: OnceLock::new(),
            accepted: tokio::sync::OnceCell::new(),
        }
    }

    /// Whom to be from now on; nobody until then. The first to say so is obeyed.
    pub(crate) fn identify_as(&self, credentials: Credentials) {
        concealed::note_credentials(&credentials);
        // Fails where it is known already.
        let _ = self.credentials.set(credentials);
    }

    fn credentials(&self) -> &Credentials {
        self.credentials.get().unwrap_or(&Credentials::Anonymous)
    }

    /// Whether there is anything to show.
    pub(crate) fn is_anonymous(&self) -> bool {
        *self.credentials() == Credentials::Anonymous
    }

    /// Whether a token is shown that the user has given, which no token server granted to this run.
    pub(crate) fn is_token(&self) -> bool {
        matches!(self.credentials(), Credentials::Token(_))
    }

    /// Remembers what the registry asks for.
    pub(crate) fn learn(&self, challenge: Option<Challenge>) {
        if challenge.is_some() {
            *self
                .challenge
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = challenge;
        }
    }

    fn challenge(&self) -> Option<Challenge> {
        self.challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The header for a request that needs `scope`, from the cache or the token server.
    pub(crate) async fn authorize(
        &self,
        session: &Session,
        scope: &Scope,
    ) -> Result<Authorization> {
        if let Credentials::Token(token) = self.credentials() {
            return Ok(Authorization {
                header: bearer(token.expose()),
                granted: false,
            });
        }
        match self.challenge() {
            None => Ok(Authorization::default()),
            Some(Challenge::Basic) if self.is_anonymous() => Ok(Authorization::default()),
            Some(Challenge::Basic) if self.is_identity() => Err(self.no_token_server()),
            Some(Challenge::Basic) => {
                let tried = self.accepted.get_or_try_init(|| self.try_password(session));
                tried.await?;
                self.unless_refused()?;
                Ok(Authorization {
                    header: self.basic(),
                    granted: false,
                })
            }
            Some(Challenge::Bearer(challenge)) => Ok(Authorization {
                header: Some(self.token(session, &challenge, scope).await?),
                granted: true,
            }),
        }
    }

    fn is_identity(&self) -> bool {
        matches!(self.credentials(), Credentials::Identity(_))
    }

    fn no_token_server(&self) -> Error {
        Error::new(Kind::Unauthorized, "log in to", &self.host)
            .because("an identity token is stored for it, but it asks for user and password")
            .hint(format!("store a password: barge login {}", self.host))
            .hitting_all()
    }

    fn unless_refused(&self) -> Result<()> {
        self.refused.get().cloned().map_or(Ok(()), Err)
    }

    /// Shows the password once, before many requests show it at the same time.
    async fn try_password(&self, session: &Session) -> Result<()> {
        // Others may have waited for a password that has been refused meanwhile.
        self.unless_refused()?;
        let target = format!("registry {}", self.host);
        let base = session
            .base
            .join("v2/")
            .map_err(|why| Error::new(Kind::Protocol, "contact", &target).because(why))?;
        let request = session.client.get(base);
        let response = self.show_password(request, "contact", &target).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let refusal = failure::refused(
            status,
            &headers,
            &body::read(response, self.limits, ("contact", &target)).await?,
        );
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.refuse(Kind::Unauthorized, refusal.cause));
        }
        if !status.is_success() && refusal.kind.retryable() {
            return Err(refusal.error("contact", &target));
        }
        Ok(())
    }

    async fn show_password(
        &self,
        mut request: RequestBuilder,
        doing: &str,
        target: &str,
    ) -> Result<Response> {
        if let Some(basic) = self.basic() {
            request = request.header(AUTHORIZATION, basic);
        }
        self.answer(request, doing, target).await
    }

    /// The head of the answer to `request`, which is not waited for longer than for anything else.
    pub(super) async fn answer(
        &self,
        request: RequestBuilder,
        doing: &str,
        target: &str,
    ) -> Result<Response> {
        self.events.send(Event::Request(self.side));
        let answer = tokio::time::timeout(self.limits.stall, request.send());
        let answer = answer.await.map_err(|_| {
            let cause = format!("no answer within {} s", self.limits.stall.as_secs());
            Error::new(Kind::Unavailable, doing, target).because(cause)
        })?;
        answer.map_err(|error| failure::unanswered(&error, doing, target))
    }

    async fn token(
        &self,
        session: &Session,
        challenge: &Bearer,
        scope: &Scope,
    ) -> Result<HeaderValue> {
        let slot = self.slot(scope);
        let mut known = slot.lock().await;
        match known.as_ref() {
            Some(Ok(token)) if Instant::now() < token.renew => return Ok(token.header.clone()),
            Some(Err(refused)) => return Err(refused.clone()),
            _ => self.unless_refused()?,
        }
        let fetched = self.fetch(session, challenge, scope).await;
        let header = fetched.as_ref().map(|token| token.header.clone());
        let header = header.map_err(Clone::clone);
        let passing = fetched
            .as_ref()
            .is_err_and(|error| error.kind().retryable());
        *known = (!passing).then_some(fetched);
        header
    }

    /// The registry did not take `used`. Whether another try can go better.
    ///
    /// # Errors
    ///
    /// When the password was refused.
    pub(crate) async fn rejected(
        &self,
        used: &Authorization,
        challenge: Option<Challenge>,
        scope: &Scope,
    ) -> Result<bool> {
        self.learn(challenge);
        if self.is_token() {
            return Ok(false);
        }
        match self.challenge() {
            None => Ok(false),
            Some(Challenge::Basic) if self.is_anonymous() => Ok(false),
            Some(Challenge::Basic) if used.header.is_none() => Ok(true),
            Some(Challenge::Basic) => Err(self.refuse(Kind::Unauthorized, "HTTP 401".into())),
            Some(Challenge::Bearer(_)) => {
                let slot = self.slot(scope);
                let mut known = slot.lock().await;
                if let Some(Ok(token)) = known.as_ref()
                    && Some(&token.header) == used.header.as_ref()
                {
                    *known = None;
                }
                Ok(true)
            }
        }
    }

    fn slot(&self, scope: &Scope) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(scope.clone()).or_default())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let Credentials::Password { user, password } = self.credentials() else {
            return None;
        };
        let pair = format!("{user}:{}", password.expose());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        secret_header(&format!("Basic {encoded}"))
    }

    async fn fetch(&self, session: &Session, bearer: &Bearer, scope: &Scope) -> Result<Token> {
        let realm = self.realm(&session.base, bearer)?;
        let host = realm.host_str().unwrap_or_default().to_owned();
        tracing::debug!(%scope, server = host, "fetching a token");
        let asked = Asked::now();
        let target = format!("{} from token server {host}", self.host);
        let request = match self.credentials() {
            Credentials::Identity(token) => {
                let form = refresh(bearer, scope, token);
                session.client.post(realm).form(&form)
            }
            _ => session.client.get(realm).query(&query(bearer, scope)),
        };
        let response = self.show_password(request, DOING, &target).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body::read(response, self.limits, (DOING, &target)).await?;
        if !status.is_success() {
            let refusal = failure::refused(status, &headers, &body);
            return Err(self.token_refused(status, refusal, (&target, scope)));
        }
        // Fails where it is known already.
        let _ = self.accepted.set(());
        Token::parse(&body, asked)
            .map_err(|cause| Error::new(Kind::Protocol, DOING, &target).because(cause))
    }

    /// The token server's address; one that would leak the password is refused.
    fn realm(&self, base: &Url, bearer: &Bearer) -> Result<Url> {
        let target = format!(
            "{} from token server `{}`",
            self.host,
            clean(&conceal(&bearer.realm))
        );
        let realm = base
            .join(&bearer.realm)
            .map_err(|why| Error::new(Kind::Protocol, DOING, &target).because(why))?;
        if base.scheme() == "https" && realm.scheme() != "https" && !self.is_anonymous() {
            return Err(Error::new(Kind::Protocol, DOING, target).because(
                "the registry names a token server without TLS; the password is not sent there",
            ));
        }
        Ok(realm)
    }

    fn token_refused(
        &self,
        status: StatusCode,
        refusal: failure::Refusal,
        (target, scope): (&str, &Scope),
    ) -> Error {
        if refusal.kind.retryable() {
            return refusal.error(DOING, target);
        }
        let known = !self.is_anonymous() && self.accepted.initialized();
        // Token servers differ in how they refuse a password: 401, 403, or 400 (`invalid_grant`).
        let refuses = matches!(status.as_u16(), 400 | 401 | 403);
        if refuses && !self.is_anonymous() && !known {
            let unclear = status == StatusCode::FORBIDDEN && *scope != Scope::none();
            let kind = if unclear {
                Kind::Denied
            } else {
                Kind::Unauthorized
            };
            return self.refuse(kind, refusal.cause);
        }
        let denied = known || refusal.kind == Kind::Denied;
        let kind = if denied {
            Kind::Denied
        } else {
            Kind::Unauthorized
        };
        Error::new(kind, DOING, target).because(refusal.cause)
    }

    /// Remembers that the password is wrong, or, where this is `denied`, that it may be: a 403 says that
    /// somebody else would have to ask, which may be the same user with the right password (GitHub).
    fn refuse(&self, kind: Kind, cause: String) -> Error {
        self.refused
            .get_or_init(|| self.wrong_password(kind, cause))
            .clone()
    }

    fn wrong_password(&self, kind: Kind, cause: String) -> Error {
        let (doing, advice) = if kind == Kind::Denied {
            (
                DOING,
                "the user may not be allowed this, or the password be wrong: check both",
            )
        } else {
            ("log in to", "check user and password")
        };
        let user = match self.credentials() {
            Credentials::Password { user, .. } => format!(" as {user}"),
            Credentials::Identity(_) => " with the identity token stored for it".into(),
            Credentials::Anonymous | Credentials::Token(_) => String::new(),
        };
        Error::new(kind, doing, format!("{}{user}", self.host))
            .because(cause)
            .hitting_all()
            .hint(format!(
                "{advice}, or log in again with `barge login {}`; barge sends a refused password only once, since registries lock accounts",
                self.host
            ))
    }
}

const DOING: &str = "get a token for";

fn query(bearer: &Bearer, scope: &Scope) -> Vec<(&'static str, String)> {
    let service = bearer
        .service
        .iter()
        .map(|service| ("service", service.clone()));
    service
        .chain(scope.0.iter().map(|scope| ("scope", scope.clone())))
        .collect()
}

/// The form that an identity token is sent in (`OAuth2`, section 6 of RFC 6749; distribution's
/// `spec/auth/oauth`).
fn refresh(bearer: &Bearer, scope: &Scope, token: &Secret) -> Vec<(&'static str, String)> {
    let fixed = [
        ("grant_type", "refresh_token".to_owned()),
        ("client_id", "barge".to_owned()),
        ("refresh_token", token.expose().to_owned()),
    ];
    let service = bearer.service.clone().map(|service| ("service", service));
    let scopes = scope.to_string();
    let scopes = (!scopes.is_empty()).then_some(("scope", scopes));
    fixed.into_iter().chain(service).chain(scopes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(1);

    #[test]
    fn a_password_does_not_leave_tls() {
        let credentials = Credentials::Password {
            user: "u".into(),
            password: Secret::new("p"),
        };
        let with = Authenticator::new("h.io", STALL, Side::Source, Events::ignored());
        with.identify_as(credentials);
        let without = Authenticator::new("h.io", STALL, Side::Source, Events::ignored());
        let base = Url::parse("https://h.io/").expect("url");
        let bearer = Bearer {
            realm: "http://t.io/token".into(),
            ..Bearer::default()
        };
        assert!(with.realm(&base, &bearer).is_err());
        assert!(without.realm(&base, &bearer).is_ok());
    }
}
