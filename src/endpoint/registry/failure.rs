//! From what a registry answered, or did not, to an error that a person can act on.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use rustls::{AlertDescription, CertificateError};

use super::certificates::KEYS;
use super::connect;
use super::credentials::redact::redact;
use super::trust::Refused;
use crate::error::{Error, Kind};
use crate::sanitize::{clean, excerpt};

/// How much of a registry's words goes into a message.
const LONGEST_WORDS: usize = 600;

/// What a registry said in an error's body: OCI's envelope, `{"error": …}`, or text. Without the secrets
/// that it may have been shown.
pub(crate) fn words(body: &[u8]) -> String {
    shown(&told(body))
}

/// What a registry sent, as errors show it: cut, and without secrets, also such as appear only when invisible
/// marks are gone.
pub(crate) fn shown(text: &str) -> String {
    excerpt(&redact(&clean(&redact(text))), LONGEST_WORDS)
}

fn told(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        let text = String::from_utf8_lossy(body);
        // A proxy's HTML page tells a person nothing.
        let html = text.trim_start().starts_with('<');
        return if html { String::new() } else { text.into() };
    };
    let errors = value.get("errors").and_then(|errors| errors.as_array());
    if let Some(errors) = errors {
        let lines: Vec<String> = errors.iter().take(4).map(one_error).collect();
        let more = errors.len().saturating_sub(lines.len());
        let tail = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        return format!("{}{tail}", lines.join("; "));
    }
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str);
    // OAuth2 (RFC 6749 section 5.2): the code, and perhaps words for a person.
    if let (Some(code), Some(words)) = (text("error"), text("error_description")) {
        return format!("{code}: {words}");
    }
    for key in ["error_description", "details", "message", "error"] {
        if let Some(text) = text(key) {
            return text.to_owned();
        }
    }
    // Written anew, so that no letter of a secret is hidden behind an escape.
    value.to_string()
}

fn one_error(error: &serde_json::Value) -> String {
    let text = |key: &str| {
        error
            .get(key)
            .and_then(|text| text.as_str())
            .unwrap_or_default()
    };
    let detail = match error.get("detail") {
        Some(serde_json::Value::String(detail)) => detail.clone(),
        Some(serde_json::Value::Object(detail)) => match detail.get("message") {
            Some(serde_json::Value::String(message)) => message.clone(),
            _ if detail.is_empty() => String::new(),
            _ => serde_json::Value::Object(detail.clone()).to_string(),
        },
        _ => String::new(),
    };
    let parts = [text("code").to_owned(), text("message").to_owned(), detail];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The error of an answer whose status is not the one hoped for.
pub(crate) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let said = words(body);
    let envelope = serde_json::from_slice::<OciEnvelope>(body).ok();
    let errors = envelope.map_or_else(Vec::new, |envelope| envelope.errors);
    let codes: Vec<OciErrorCode> = errors.into_iter().map(|error| error.code).collect();
    let cause = match status.canonical_reason() {
        _ if !said.is_empty() => format!("HTTP {}: {said}", status.as_u16()),
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    };
    Refusal {
        kind: kind(status, &codes),
        cause,
        wait: retry_after(headers, SystemTime::now()),
        full: status == StatusCode::INSUFFICIENT_STORAGE,
        unanswerable: connect::unanswerable(status, headers),
    }
}

/// Host and port of `url`, as errors name them.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// That not the registry itself answers, but whom it sent on to.
pub(crate) fn sent_on_to(url: &Url) -> String {
    let host = authority(url);
    format!("redirected to {host}, where credentials are not sent")
}

/// The error of a registry that asks for a login in a way that barge cannot answer, which `cause` says.
pub(crate) fn unanswerable(doing: &str, target: &str, cause: &str) -> Error {
    Error::new(Kind::Unauthorized, doing, target)
        .because(cause)
        .hint("barge answers Basic, and Bearer with a token server: check that the address is the registry's, and not that of a gateway in front of it")
}

/// What an answer means, before it is known what was being done.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) cause: String,
    pub(crate) wait: Option<Duration>,
    /// How it asks for a login, where that is no way that barge knows.
    pub(crate) unanswerable: Option<String>,
    /// There is no room left, for this or anything else.
    full: bool,
}

impl Refusal {
    /// The error of `doing` something to `target`.
    pub(crate) fn error(self, doing: &str, target: &str) -> Error {
        let error = Error::new(self.kind, doing, target)
            .because(self.cause)
            .retry_after(self.wait);
        if self.full {
            let hint = "make room at the registry, or have its quota raised; then run again";
            return error.hint(hint).hitting_all();
        }
        error
    }
}

/// Distribution writes the link to a blob in place. A manifest that it checks at that moment, because
/// somebody else pushes the same blob, is refused with both codes: it read an empty link. That passes.
/// A child that is really missing has the second code alone, and a bad digest is not sent in the first place.
fn read_half_a_link(codes: &[OciErrorCode]) -> bool {
    codes.contains(&OciErrorCode::DigestInvalid)
        && codes.contains(&OciErrorCode::ManifestBlobUnknown)
}

fn kind(status: StatusCode, codes: &[OciErrorCode]) -> Kind {
    use OciErrorCode as Code;
    match (status.as_u16(), codes.first()) {
        (400, _) if read_half_a_link(codes) => Kind::Unavailable,
        (401, _) => Kind::Unauthorized,
        (403, _) | (400, Some(Code::Denied)) => Kind::Denied,
        (429, _) | (400, Some(Code::Toomanyrequests)) => Kind::RateLimited,
        (404 | 410, _) => Kind::NotFound,
        (405 | 413 | 415 | 501, _) => Kind::Unsupported,
        (409 | 412, _) => Kind::Conflict,
        (408 | 425 | 500..=599, _) => Kind::Unavailable,
        (400, Some(Code::DigestInvalid | Code::BlobUploadInvalid)) => Kind::DigestMismatch,
        (400, Some(Code::ManifestInvalid | Code::ManifestUnverified)) => Kind::InvalidManifest,
        (400, Some(Code::ManifestBlobUnknown | Code::BlobUnknown | Code::ManifestUnknown)) => {
            Kind::NotFound
        }
        _ => Kind::Protocol,
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The error of a request that got no answer.
pub(crate) fn unanswered(error: &reqwest::Error, doing: &str, target: &str) -> Error {
    let cause = chain(error);
    if let Some(refused) = certificate(error) {
        return Error::new(Kind::Protocol, doing, target)
            .because(&refused.cause)
            .hint(&refused.hint);
    }
    if let Some(alert) = wants_client_certificate(error) {
        let cause = format!("it wants a client certificate that it trusts ({alert:?})");
        return no_client_certificate(doing, target, &cause);
    }
    if matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_))) {
        return Error::new(Kind::Protocol, doing, target).because("it does not answer with TLS");
    }
    if let Some(alert) = shares_nothing(error) {
        return Error::new(Kind::Protocol, doing, target)
            .because(format!(
                "it and barge have no way of TLS in common ({alert:?})"
            ))
            .hint(format!(
                "barge needs TLS 1.2 or 1.3, and a certificate with another key than P-521: {KEYS}"
            ));
    }
    if refuses_tunnel(error) {
        return Error::new(Kind::Unavailable, doing, target)
            .because("the proxy refuses to connect to it");
    }
    Error::new(Kind::Unavailable, doing, target).because(cause)
}

/// The error of a server that lets nobody in without a client certificate.
pub(crate) fn no_client_certificate(doing: &str, target: &str, cause: &str) -> Error {
    Error::new(Kind::Unauthorized, doing, target)
        .because(cause)
        .hint("put the certificate as *.cert, and its key as *.key, into /etc/containers/certs.d/HOST or ~/.config/containers/certs.d/HOST, HOST being the one that asks for it; for the registry itself --SIDE-cert-dir also names such a directory")
        .hitting_all()
}

/// The last two causes of an error, which are those that tell; no URL, since it may hold a secret.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last().is_none_or(|last| !last.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() {
        causes.push("no answer".into());
    }
    let first = causes.len().saturating_sub(2);
    clean(&causes.get(first..).unwrap_or_default().join(": "))
}

/// The certificate that was refused, if that is what happened.
fn certificate(error: &reqwest::Error) -> Option<&Refused> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// How a server says that it got no client certificate, or none that it trusts (RFC 8446 section 6.2).
fn wants_client_certificate(error: &reqwest::Error) -> Option<AlertDescription> {
    use AlertDescription as Alert;
    match tls_error(error)? {
        rustls::Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::UnknownCA
            | Alert::AccessDenied),
        ) => Some(*alert),
        _ => None,
    }
}

/// How a server says that it can do nothing with what it is offered (RFC 8446 section 6.2): it is too old,
/// or its key is of a kind that ring does not have.
fn shares_nothing(error: &reqwest::Error) -> Option<AlertDescription> {
    use AlertDescription as Alert;
    match tls_error(error)? {
        rustls::Error::AlertReceived(
            alert
            @ (Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity),
        ) => Some(*alert),
        _ => None,
    }
}

/// Whether the other side does not speak TLS: it answered something else, or hung up at the greeting.
pub(crate) fn is_not_tls(error: &reqwest::Error) -> bool {
    let connecting = error.is_connect() && !error.is_timeout();
    connecting && (is_plain_answer(error) || hung_up(error))
}

/// Whether the other side answered something that is not TLS.
pub(crate) fn is_plain_answer(error: &reqwest::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

/// Whether a proxy answered that it does not lead there. The type of that error is hyper-util's own.
pub(crate) fn refuses_tunnel(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string() == "tunnel error: unsuccessful")
}

/// Whether a proxy wants a login before it makes a tunnel (407).
pub(crate) fn wants_proxy_login(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string() == "tunnel error: proxy authorization required")
}

/// Whether nobody listens there.
pub(crate) fn is_refused(error: &reqwest::Error) -> bool {
    io_errors(error).any(|kind| kind == std::io::ErrorKind::ConnectionRefused)
}

fn hung_up(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
    io_errors(error).any(|kind| matches!(kind, ConnectionReset | UnexpectedEof))
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

fn causes(error: &reqwest::Error) -> impl Iterator<Item = Cause<'_>> {
    fn next<'a>(cause: &Cause<'a>) -> Option<Cause<'a>> {
        let cause: Cause<'a> = *cause;
        // An `io::Error` hides what it wraps from `source`.
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        wrapped
            .map(|inner| inner as Cause<'a>)
            .or_else(|| cause.source())
    }
    std::iter::successors(error.source(), next)
}

fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

fn io_errors(error: &reqwest::Error) -> impl Iterator<Item = std::io::ErrorKind> {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_form() {
        for (body, said) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no","detail":"why"}]}"#,
                "DENIED no why",
            ),
            (
                r#"{"errors":[{"code":"X","detail":{"message":"deep"},"message":"m"}]}"#,
                "X m deep",
            ),
            (r#"{"errors":[{"code":"X","detail":{}}]}"#, "X"),
            (r#"{"error":"Invalid username"}"#, "Invalid username"),
            (
                r#"{"error":"invalid_grant","error_description":"it has ended"}"#,
                "invalid_grant: it has ended",
            ),
            ("plain \x1b[31mtext\n", "plain [31mtext"),
            ("<html>502</html>", ""),
        ] {
            assert_eq!(words(body.as_bytes()), said);
        }
    }

    #[test]
    fn kinds_follow_status_and_code() {
        let of = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("status");
            refused(status, &HeaderMap::new(), body.as_bytes()).kind
        };
        assert_eq!(of(404, ""), Kind::NotFound);
        assert_eq!(of(503, ""), Kind::Unavailable);
        assert_eq!(
            of(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#),
            Kind::DigestMismatch
        );
        assert_eq!(
            of(400, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#),
            Kind::NotFound
        );
        let both = r#"{"errors":[{"code":"DIGEST_INVALID"},{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#;
        assert_eq!(of(400, both), Kind::Unavailable);
        assert_eq!(of(418, ""), Kind::Protocol);
    }

    #[test]
    fn retry_after_in_both_forms() {
        let headers = |text: &str| {
            let value = text.parse().expect("header");
            HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, value)])
        };
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            retry_after(&headers("7"), now),
            Some(Duration::from_secs(7))
        );
        let date = "Thu, 01 Jan 1970 00:00:09 GMT";
        assert_eq!(
            retry_after(&headers(date), now),
            Some(Duration::from_secs(9))
        );
        assert_eq!(retry_after(&headers("soon"), now), None);
    }
}
