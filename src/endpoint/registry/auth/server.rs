//! Asking a token server, and what its refusals mean. It keeps no token.

use reqwest::{StatusCode, Url};

use super::super::challenge::Bearer;
use super::super::connect::Session;
use super::super::credentials::concealed::conceal;
use super::super::credentials::{Credentials, Secret};
use super::super::scope::Scope;
use super::super::token::{Asked, Token};
use super::super::{body, failure};
use super::{Authenticator, DOING};
use crate::error::{Error, Kind, Result};
use crate::printable::clean;

impl Authenticator {
    pub(super) async fn fetch(
        &self,
        session: &Session,
        bearer: &Bearer,
        scope: &Scope,
    ) -> Result<Token> {
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
    use std::time::Duration;

    use super::*;
    use crate::event::{Events, Side};

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
