//! Tokens: one fetch for however many requests wait, kept until shortly before they end.
//!
//! Credentials go to the registry that they are for and to the token server that it names, over a
//! connection no less protected than the registry's own; to nobody else.

mod server;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::body::{self, Limits};
use super::challenge::{Bearer, Challenge};
use super::connect::Session;
use super::credentials::{Credentials, redact};
use super::failure;
use super::scope::Scope;
use super::token::{Token, bearer, secret_header};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Side};

/// Token answers are small; more than this is no token.
const LONGEST_ANSWER: usize = 1 << 20;

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
    /// What requests that need a scope need in truth, where the registry said so.
    wider: Mutex<HashMap<Scope, Scope>>,
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
            wider: Mutex::default(),
            refused: OnceLock::new(),
            accepted: tokio::sync::OnceCell::new(),
        }
    }

    /// Whom to be from now on; nobody until then. The first to say so is obeyed.
    pub(crate) fn identify_as(&self, credentials: Credentials) {
        redact::note_credentials(&credentials);
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
                header: Some(self.widest_token(session, &challenge, scope).await?),
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
        let request = session.client(&base)?.get(base);
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

    /// A token for what the registry asked for when `scope` was not enough; where that is not granted, for
    /// `scope` alone.
    async fn widest_token(
        &self,
        session: &Session,
        challenge: &Bearer,
        scope: &Scope,
    ) -> Result<HeaderValue> {
        if let Some(wider) = self.wider(scope) {
            let token = self.token(session, challenge, &wider).await;
            let refused = token.as_ref().err();
            if refused.is_none_or(|error| error.kind().retryable()) {
                return token;
            }
        }
        self.token(session, challenge, scope).await
    }

    fn wider(&self, scope: &Scope) -> Option<Scope> {
        let wider = self.wider.lock().unwrap_or_else(PoisonError::into_inner);
        wider.get(scope).cloned()
    }

    /// Remembers what requests that need `scope` need in truth. Whether that is news.
    fn widen(&self, scope: &Scope, wider: Scope) -> bool {
        let mut known = self.wider.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(scope.clone(), wider.clone()) != Some(wider)
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
        let named = challenge.as_ref().and_then(Challenge::scope);
        let wider = named.and_then(|named| scope.widened(named));
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
                if wider.is_none_or(|wider| !self.widen(scope, wider)) {
                    self.forget(used, scope).await;
                }
                Ok(true)
            }
        }
    }

    /// Forgets the token that was `used` for `scope`.
    async fn forget(&self, used: &Authorization, scope: &Scope) {
        for scope in [Some(scope.clone()), self.wider(scope)].iter().flatten() {
            let slot = self.slot(scope);
            let mut known = slot.lock().await;
            if let Some(Ok(token)) = known.as_ref()
                && Some(&token.header) == used.header.as_ref()
            {
                *known = None;
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
