//! Asking a token server, wherever it sends on to, and what its refusals mean. It keeps no token.

use reqwest::{Response, StatusCode, Url};

use super::super::challenge::Bearer;
use super::super::connect::Session;
use super::super::credentials::redact::{self, redact};
use super::super::credentials::{Credentials, Secret};
use super::super::failure::{authority, sent_on_to};
use super::super::request::{MOST_REDIRECTS, is_redirect, location, web_address};
use super::super::scope::Scope;
use super::super::token::{Asked, Token};
use super::super::{body, downgrade, failure};
use super::{Authenticator, DOING};
use crate::error::{Error, Kind, Result};
use crate::sanitize::clean;

/// What came of a question for a token, and from whom.
struct Answered {
    response: Response,
    /// As errors name it.
    target: String,
    /// Whether it was asked by whoever barge is to be, if anybody, and not past a redirect to elsewhere.
    credentials_shown: bool,
}

impl Authenticator {
    pub(super) async fn fetch(
        &self,
        session: &Session,
        bearer: &Bearer,
        scope: &Scope,
    ) -> Result<Token> {
        let realm = self.realm(session, bearer)?;
        tracing::debug!(%scope, server = authority(&realm), "fetching a token");
        let asked = Asked::now();
        let Answered {
            response,
            target,
            credentials_shown,
        } = self.ask(session, &realm, (bearer, scope)).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body::read(response, self.limits, (DOING, &target)).await?;
        if !status.is_success() {
            let refusal = failure::refused(status, &headers, &body);
            return Err(if credentials_shown {
                self.token_refused(status, refusal, (&target, scope))
            } else {
                refusal.error(DOING, &target)
            });
        }
        if credentials_shown {
            // Fails where it is known already.
            let _ = self.accepted.set(());
        }
        Token::parse(&body, asked, redact::note)
            .map_err(|cause| Error::new(Kind::Protocol, DOING, &target).because(cause))
    }

    /// The answer of the token server at `realm`, wherever that sends on to. Credentials go to its own
    /// origin alone.
    async fn ask(
        &self,
        session: &Session,
        realm: &Url,
        (bearer, scope): (&Bearer, &Scope),
    ) -> Result<Answered> {
        let named = format!("{} from token server {}", self.host, authority(realm));
        let mut url = with_query(realm.clone(), self.question(bearer, scope));
        for _ in 0..=MOST_REDIRECTS {
            let own = url.origin() == realm.origin();
            let target = if own {
                named.clone()
            } else {
                format!("{named} ({})", sent_on_to(&url))
            };
            let client = if own {
                session.token_client(&url)?
            } else {
                session.client(&url)?
            };
            let request = match self.credentials() {
                Credentials::Identity(token) if own => {
                    let form = refresh(bearer, scope, token);
                    client.post(url.clone()).form(&form)
                }
                Credentials::Identity(_) => {
                    return Err(Error::new(Kind::Protocol, DOING, &target)
                        .because("without the identity token there is nothing to ask for"));
                }
                _ => client.get(url.clone()),
            };
            let response = if own {
                self.show_password(request, DOING, &target).await?
            } else {
                self.answer(request, DOING, &target).await?
            };
            match Self::next(session, &response, (&url, &target))? {
                Some(next) => url = next,
                None => {
                    return Ok(Answered {
                        response,
                        target,
                        credentials_shown: own,
                    });
                }
            }
        }
        Err(Error::new(Kind::Protocol, DOING, named).because("too many redirects"))
    }

    /// What is asked in the address: all, unless an identity token goes with it in a form.
    fn question(&self, bearer: &Bearer, scope: &Scope) -> Vec<(&'static str, String)> {
        match self.credentials() {
            Credentials::Identity(_) => Vec::new(),
            _ => query(bearer, scope),
        }
    }

    /// The token server's address; one that would leak the password is refused.
    fn realm(&self, session: &Session, bearer: &Bearer) -> Result<Url> {
        let failed = |cause: String| {
            let target = format!("{} from token server `{}`", self.host, shown(&bearer.realm));
            Error::new(Kind::Protocol, DOING, target).because(cause)
        };
        let joined = session.base.join(&bearer.realm);
        let realm = joined
            .map_err(|why| format!("it is no address ({why})"))
            .and_then(web_address)
            .map_err(|why| failed(format!("this cannot be asked: {why}")).hint(ASK))?;
        if session.is_downgrade(&session.base, &realm) && !self.is_anonymous() {
            let cause = format!(
                "the {} registry uses TLS, and names a token server without TLS, http://{}; no password is sent there",
                self.side,
                authority(&realm)
            );
            return Err(downgrade::hinted(failed(cause)));
        }
        Ok(realm)
    }

    /// Where `response` from `url` sends the question on to.
    fn next(
        session: &Session,
        response: &Response,
        (url, target): (&Url, &str),
    ) -> Result<Option<Url>> {
        let status = response.status();
        if !is_redirect(status) {
            return Ok(None);
        }
        let failed = |cause: &str| {
            let cause = format!("HTTP {}: {cause}", status.as_u16());
            Error::new(Kind::Protocol, DOING, target).because(cause)
        };
        let next = location(response.headers(), url)
            .map_err(|why| failed(&format!("a redirect without a usable Location: {why}")))?;
        if session.is_downgrade(url, &next) {
            let cause = format!("it sends on to http://{}, without TLS", authority(&next));
            return Err(downgrade::hinted(failed(&cause)));
        }
        Ok(Some(next))
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
        // Token servers differ in how they refuse a password: 401, 403, or 400 (`invalid_grant`).
        let refuses = matches!(status.as_u16(), 400 | 401 | 403);
        if !refuses {
            return Error::new(Kind::Protocol, DOING, target)
                .because(refusal.cause)
                .hint("this is where the registry sends for tokens: check that the address is the registry's, or ask whoever runs it");
        }
        let known = !self.is_anonymous() && self.accepted.initialized();
        if !self.is_anonymous() && !known {
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
}

const ASK: &str = "this is what the registry says in WWW-Authenticate: check that the address is the registry's, or ask whoever runs it";

/// A realm as errors show it: without user, password and question.
fn shown(realm: &str) -> String {
    let address = realm.split(['?', '#']).next().unwrap_or_default();
    let shown = match (address.split_once("//"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}//{rest}"),
        (None, Some((_, rest))) => rest.to_owned(),
        (_, None) => address.to_owned(),
    };
    clean(&redact(&shown))
}

fn with_query(mut url: Url, question: Vec<(&str, String)>) -> Url {
    if !question.is_empty() {
        url.query_pairs_mut().extend_pairs(question);
    }
    url
}

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

    #[test]
    fn realms_are_shown_without_user_and_question() {
        for (realm, expected) in [
            ("https://t.io/token?a=b#c", "https://t.io/token"),
            ("https://u:p@t.io/token", "https://t.io/token"),
            ("https://u:p@x@[t/token", "https://[t/token"),
            ("u:p@t", "t"),
            ("/token", "/token"),
        ] {
            assert_eq!(shown(realm), expected);
        }
    }
}
