//! One request and its answer: authorised, redirected with care, timed, counted. Retrying is the
//! business of whoever calls: [`Repository::small`] for small requests, the transfer for blobs.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};

use super::auth::Authorization;
use super::body::{self, Limits};
use super::credentials::redact::redact;
use super::downgrade::Downgrade;
use super::failure::{self, Refusal};
use super::scope::Scope;
use super::{Repository, SHORT};
use crate::endpoint::backoff::LONGEST_ASKED;
use crate::endpoint::registry::connect;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Side};
use crate::sanitize::clean;

/// How many redirects one request may take.
pub(crate) const MOST_REDIRECTS: usize = 5;

/// A request that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) scope: Scope,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether it may go on where there is no TLS.
    pub(crate) downgrade: Downgrade,
    /// How many bytes of the answer are read at most, and what a longer one is.
    pub(crate) longest: (usize, Kind),
    /// Whether a second 500 is an answer: distribution refuses a manifest in this way if its layers have `urls` that
    /// it does not allow.
    pub(crate) has_urls: bool,
    /// What it is for, as errors say it: `read manifest`.
    pub(crate) doing: &'static str,
    /// To what: a reference.
    pub(crate) target: String,
}

impl Call {
    pub(crate) fn error(&self, kind: Kind) -> Error {
        Error::new(kind, self.doing, &self.target)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where the answer came from.
    pub(crate) url: Url,
    /// Earlier tries of the request failed, and one of them may have been carried out all the same.
    pub(crate) repeated: bool,
    granted: bool,
}

impl Reply {
    /// One that came without a token.
    pub(super) fn new(status: StatusCode, headers: HeaderMap, (body, url): (Bytes, Url)) -> Self {
        Self {
            status,
            headers,
            body,
            url,
            granted: false,
            repeated: false,
        }
    }

    /// Whether this says that what was asked for is not there. At a destination a denied read says so
    /// too: many registries create a repository on its first push, so the write decides.
    pub(crate) fn is_absent(&self, side: Side) -> bool {
        match (self.status.as_u16(), side) {
            (404, _) | (403, Side::Destination) => true,
            (401, Side::Destination) => self.granted,
            _ => false,
        }
    }

    /// Whether a token was granted that does not allow what was asked for.
    pub(crate) fn grant_falls_short(&self) -> bool {
        self.granted && matches!(self.status.as_u16(), 401 | 403)
    }
}

impl Repository {
    /// A small request, repeated while that makes sense, its answer read whole.
    ///
    /// Any status that is not worth a retry is an answer.
    pub(crate) async fn small(&self, call: Call) -> Result<Reply> {
        let (call, mut tries) = (&call, 0_u64);
        let answered = self.backoff.run(|| {
            tries += 1;
            self.attempt_as(call, tries > 1)
        });
        let mut reply = answered.await?;
        reply.repeated = tries > 1;
        Ok(reply)
    }

    /// One try of [`Repository::small`].
    pub(crate) async fn attempt(&self, call: &Call) -> Result<Reply> {
        self.attempt_as(call, false).await
    }

    async fn attempt_as(&self, call: &Call, is_repeat: bool) -> Result<Reply> {
        let (response, granted) = self.send(call, None).await?;
        let (status, headers, url) = (
            response.status(),
            response.headers().clone(),
            response.url().clone(),
        );
        let limits = Limits {
            longest: call.longest,
            stall: self.stall,
        };
        let target = self.target_at(call, &url);
        let body = body::read(response, limits, (call.doing, &target)).await?;
        let reply = Reply {
            status,
            headers,
            body,
            url,
            repeated: false,
            granted,
        };
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(reply);
        }
        let refusal = failure::refused(status, &reply.headers, &reply.body);
        let is_answer = call.has_urls && is_repeat && status == StatusCode::INTERNAL_SERVER_ERROR;
        if refusal.kind.retryable() && !is_answer {
            let error = refusal.error(call.doing, &target);
            // A gateway has sent the request on, and gave up waiting (RFC 9110 section 15.6.5).
            let waited = status == StatusCode::GATEWAY_TIMEOUT;
            return Err(if waited { error.in_doubt() } else { error });
        }
        Ok(reply)
    }

    /// Sends `call`, with `stream` in place of its body where given, and gives the answer's head.
    ///
    /// A 401 renews the token and repeats the request once, unless its body was a stream.
    pub(crate) async fn send(
        &self,
        call: &Call,
        mut stream: Option<Body>,
    ) -> Result<(Response, bool)> {
        let streamed = stream.is_some();
        let mut url = call.url.clone();
        let (mut renewed, mut redirects) = (false, 0);
        loop {
            self.mind_downgrade(self.session().await?, call, &url)?;
            let authorization = self.authorization(&url, &call.scope).await?;
            let mut request = Request::new(call.method.clone(), url.clone());
            request.headers_mut().extend(call.headers.clone());
            if let Some(header) = &authorization.header {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            }
            *request.body_mut() = match stream.take() {
                Some(body) => Some(body),
                None if call.body.is_empty() => None,
                None => Some(Body::from(call.body.clone())),
            };
            let response = self.execute(request, call, streamed).await?;
            if !renewed && self.is_own(&url) && wants_new_token(&response, call, &authorization) {
                renewed = true;
                let challenge = connect::challenge_of(response.headers());
                let again = self
                    .auth
                    .rejected(&authorization, challenge, &call.scope)
                    .await?;
                if again && !streamed {
                    continue;
                }
            } else if let Some(next) = redirect(&response, call, &url)? {
                redirects += 1;
                if redirects > MOST_REDIRECTS {
                    return Err(call.error(Kind::Protocol).because("too many redirects"));
                }
                url = next;
                continue;
            }
            return Ok((response, authorization.granted));
        }
    }

    /// Credentials are for the registry's own origin alone.
    async fn authorization(&self, url: &Url, scope: &Scope) -> Result<Authorization> {
        let session = self.session().await?;
        if !self.is_own(url) {
            return Ok(Authorization::default());
        }
        self.auth.authorize(session, scope).await
    }

    pub(crate) fn is_own(&self, url: &Url) -> bool {
        self.base()
            .is_some_and(|base| base.origin() == url.origin())
    }

    async fn execute(&self, request: Request, call: &Call, streamed: bool) -> Result<Response> {
        // Whoever streams has waited already, and counts the time from then on.
        let _pass = if streamed {
            None
        } else {
            Some(self.throttle.enter().await)
        };
        self.backoff.events.send(Event::Request(self.side));
        tracing::debug!(method = %request.method(), path = redact(request.url().path()), side = %self.side, "request");
        let target = self.target_at(call, request.url());
        let client = self.session().await?.client(request.url())?;
        let answer = client.execute(request);
        // Whoever streams watches the stream; there is no limit on the whole.
        let answer = if streamed {
            answer.await
        } else {
            tokio::time::timeout(self.patience(&call.method), answer)
                .await
                .map_err(|_| self.stalled(call, &target))?
        };
        let answer = answer.map_err(|error| failure::unanswered(&error, call.doing, &target))?;
        self.check_pull_limit(answer.headers());
        match answer.status().as_u16() {
            429 | 503 => {
                let wait = failure::retry_after(answer.headers(), SystemTime::now());
                self.throttle
                    .pushed_back(wait.filter(|wait| *wait <= LONGEST_ASKED));
            }
            _ => self.throttle.went_well(),
        }
        Ok(answer)
    }

    /// Writes may take a registry longer than reads.
    fn patience(&self, method: &Method) -> Duration {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        self.stall * if reads { 1 } else { 4 }
    }

    pub(crate) fn stalled(&self, call: &Call, target: &str) -> Error {
        Error::new(Kind::Unavailable, call.doing, target)
            .because(format!(
                "no answer within {} s",
                self.patience(&call.method).as_secs()
            ))
            .in_doubt()
    }

    /// The error that `reply` to `call` is.
    pub(crate) fn error_of(&self, reply: &Reply, call: &Call) -> Error {
        let refusal = failure::refused(reply.status, &reply.headers, &reply.body);
        self.explain(refusal, call, (&reply.url, reply.granted))
    }

    /// To what `call` is, when `url` is asked: another host than the registry is named.
    pub(crate) fn target_at(&self, call: &Call, url: &Url) -> String {
        if self.is_own(url) {
            call.target.clone()
        } else {
            format!("{} ({})", call.target, failure::sent_on_to(url))
        }
    }

    /// What helps where the registry has uploads go to `url`, at another host.
    pub(crate) fn own_name(&self, url: &Url) -> String {
        let host = failure::authority(url);
        format!(
            "the registry sends uploads to {host}: if that is the name it gives itself (Quay: SERVER_HOSTNAME), write {host}/{} instead; otherwise ask the registry's operator to let {host} accept uploads",
            self.name
        )
    }

    /// The error that `refusal` of `call` by `url` is, whoever asked.
    pub(crate) fn refused_at(&self, url: &Url, refusal: Refusal, call: &Call) -> Error {
        let denied = matches!(refusal.kind, Kind::Unauthorized | Kind::Denied);
        let error = refusal.error(call.doing, &self.target_at(call, url));
        if denied && !self.is_own(url) && call.method != Method::GET {
            return error.hint(self.own_name(url));
        }
        if denied && !self.is_own(url) {
            return error.hint(format!(
                "it is {}, and not the registry, that refuses this, and no other login changes that; ask whoever runs the registry",
                failure::authority(url)
            ));
        }
        error
    }

    /// `refusal` of `call` by `url`, in the light of who asked: a 401 although a token was `granted` to a
    /// known user means that the user may not do this.
    pub(crate) fn explain(
        &self,
        mut refusal: Refusal,
        call: &Call,
        (url, granted): (&Url, bool),
    ) -> Error {
        if refusal.kind != Kind::Unauthorized || !self.is_own(url) {
            return self.refused_at(url, refusal, call);
        }
        if self.auth.is_token() {
            let cause = format!("the registry token is refused ({})", refusal.cause);
            return call
                .error(Kind::Unauthorized)
                .because(cause)
                .hint("get a new token: it comes from --SIDE-registry-token, or is the `registrytoken` of a file; without it barge gets tokens by itself")
                .hitting_all();
        }
        if granted && !self.auth.is_anonymous() {
            refusal.kind = Kind::Denied;
            let cause = refusal.cause;
            refusal.cause = format!("the login is good, but does not allow this ({cause})");
        }
        let strange = refusal.unanswerable.take().filter(|_| !granted);
        let nobody = refusal.kind == Kind::Unauthorized && self.side == Side::Destination;
        let error = match strange {
            Some(how) => {
                let cause = format!("{}; {how}", refusal.cause);
                failure::unanswerable(call.doing, &call.target, &cause)
            }
            None => refusal.error(call.doing, &call.target),
        };
        // All tags go to one repository, with one login.
        if nobody { error.hitting_all() } else { error }
    }

    /// What is read of the words of a refusal.
    pub(crate) fn short(&self) -> Limits {
        Limits {
            longest: (SHORT, Kind::Protocol),
            stall: self.stall,
        }
    }
}

/// Whether a request may go better with another token. ECR Public says 400 to one that has expired; a
/// read hardly gets a 400 for another reason.
fn wants_new_token(response: &Response, call: &Call, used: &Authorization) -> bool {
    let reads = matches!(call.method, Method::GET | Method::HEAD);
    match response.status() {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::BAD_REQUEST if used.granted => {
            reads || connect::challenge_of(response.headers()).is_some()
        }
        _ => false,
    }
}

/// Whether an answer sends the request on to elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where `response` sends the request on to; only reads are followed.
fn redirect(response: &Response, call: &Call, url: &Url) -> Result<Option<Url>> {
    if !is_redirect(response.status()) {
        return Ok(None);
    }
    if !matches!(call.method, Method::GET | Method::HEAD) {
        let cause = format!(
            "HTTP {}: a redirected write is not followed",
            response.status().as_u16()
        );
        return Err(call.error(Kind::Protocol).because(cause));
    }
    location(response.headers(), url).map(Some).map_err(|why| {
        call.error(Kind::Protocol)
            .because(format!("a redirect without a usable Location: {why}"))
    })
}

/// Where the `Location` of an answer to a request for `url` leads to.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn location(headers: &HeaderMap, url: &Url) -> std::result::Result<Url, String> {
    let text = headers.get(LOCATION).ok_or("there is none")?;
    let text = text.to_str().map_err(|_| "it is not text")?;
    let next = url
        .join(text)
        .map_err(|why| format!("it is no address ({why})"))?;
    let mut next = web_address(next)?;
    // A registry behind a TLS proxy may not know of it: the same host keeps its scheme.
    let same_host = next.host_str() == url.host_str();
    if url.scheme() == "https" && next.scheme() == "http" && same_host {
        next.set_scheme("https").map_err(|()| "it is no address")?;
    }
    Ok(next)
}

/// `url`, if it is one to ask: without user and password, which are never those to show there.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(super) fn web_address(mut url: Url) -> std::result::Result<Url, String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "its scheme is `{}`, neither http nor https",
            clean(url.scheme())
        ));
    }
    if url.fragment().is_some() {
        return Err("it has a fragment (`#`), which no server gets".into());
    }
    // Both fail for addresses without a host alone.
    let bare = url.set_username("").and_then(|()| url.set_password(None));
    bare.map_err(|()| "it has no host")?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_urls() {
        let at = |location_text: &str, url: &str| {
            let headers =
                HeaderMap::from_iter([(LOCATION, location_text.parse().expect("header"))]);
            let next = location(&headers, &Url::parse(url).expect("url"));
            next.map(|url| url.to_string()).ok()
        };
        let url = "https://h.io/v2/a/blobs/uploads/";
        assert_eq!(
            at("/v2/u?x=1%2F", url).as_deref(),
            Some("https://h.io/v2/u?x=1%2F")
        );
        assert_eq!(
            at("u1", url).as_deref(),
            Some("https://h.io/v2/a/blobs/uploads/u1")
        );
        assert_eq!(
            at("http://h.io/v2/u", url).as_deref(),
            Some("https://h.io/v2/u")
        );
        assert_eq!(at("http://s3.io/u", url).as_deref(), Some("http://s3.io/u"));
        let bare = at("https://u:p@h.io/u", url);
        assert_eq!(bare.as_deref(), Some("https://h.io/u"));
        for wrong in [
            "ftp://h.io/u",
            "file:///u",
            "data:u",
            "/u#",
            "https://h.io/u#x",
            "https://[",
        ] {
            assert_eq!(at(wrong, url), None, "{wrong}");
        }
    }
}
