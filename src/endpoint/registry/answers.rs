//! What the client reads in one answer of a registry or a token server, without a network: for the fuzzer.
//! It decides nothing; every field is what the module that owns it says.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use super::challenge::Challenge;
use super::credentials::redact;
use super::downgrade::Downgrade;
use super::pages::Pages;
use super::ranges::ContentRange;
use super::request::{Call, Reply, location};
use super::scope::Scope;
use super::throttle::Throttle;
use super::token::{Asked, Token};
use super::{SHORT, connect, failure, manifests, pulls_left, referrers, session, tags};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;

/// An answer as it comes from the network.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Its HTTP status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// All bytes of its body.
    pub body: &'a [u8],
}

/// Everything that the client may read in it, whatever it has asked for.
#[derive(Debug)]
pub struct Reading {
    /// Where an upload, or a redirected read, goes on.
    pub location: Option<String>,
    /// The next page of a list.
    pub next_page: Result<Option<String>>,
    /// The tags of a page.
    pub tags: Result<Vec<String>>,
    /// The digests of a page of referrers.
    pub referrers: Result<Vec<Digest>>,
    /// How many bytes an upload has.
    pub uploaded: Option<u64>,
    /// Where the bytes of a part begin.
    pub range_start: Option<u64>,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Content-Type` without parameters.
    pub content_type: Option<String>,
    /// `Docker-Content-Digest`.
    pub digest: Option<Digest>,
    /// How long to wait.
    pub wait: Option<Duration>,
    /// How many pulls are left.
    pub pulls_left: Option<i64>,
    /// Where tokens come from.
    pub realm: Option<String>,
    /// The token, and how it is shown.
    pub token: Option<(String, String)>,
    /// The error that it is where a success was hoped for.
    pub refusal: Error,
}

impl Reading {
    /// Reads `answer` to a request for `asked`, by a run that keeps `secret` to itself; `None` where no
    /// client of HTTP gets such an answer.
    #[must_use]
    pub fn of(answer: &Answer<'_>, asked: &str, secret: &str) -> Option<Self> {
        redact::note(secret);
        let call = call(asked)?;
        let (reply, headers) = (reply(answer, &call.url)?, headers(answer)?);
        let wait = failure::retry_after(&headers, SystemTime::UNIX_EPOCH);
        let throttle = Throttle::new(2);
        throttle.pushed_back(wait);
        throttle.went_well();
        let listed = referrers::listed_by(&reply, &call);
        let mut given = None;
        let token = Token::parse(&reply.body, Asked::now(), |token| {
            given = Some(token.to_owned());
        });
        let shown = token.ok().map(|token| format!("{token:?}"));
        let text = |url: Url| url.to_string();
        Some(Self {
            location: location(&headers, &call.url).ok().map(text),
            next_page: Pages::within(usize::MAX)
                .turn(&call, &reply)
                .map(|next| next.map(text)),
            tags: tags::names(&reply, &call),
            referrers: listed.map(|index| {
                let entries = index.entries().iter();
                entries.map(|entry| entry.digest.clone()).collect()
            }),
            uploaded: session::bytes_of(&headers),
            range_start: ContentRange::of(&headers).map(|range| range.start),
            length: manifests::content_length(&headers),
            content_type: manifests::content_type(&headers),
            digest: manifests::digest_header(&headers),
            wait,
            pulls_left: pulls_left(&headers),
            realm: match connect::challenge_of(&headers) {
                Some(Challenge::Bearer(bearer)) => Some(bearer.realm),
                Some(Challenge::Basic) | None => None,
            },
            token: given.zip(shown),
            refusal: failure::refused(reply.status, &headers, &reply.body)
                .error(call.doing, &call.target),
        })
    }
}

fn call(asked: &str) -> Option<Call> {
    Some(Call {
        method: Method::GET,
        url: Url::parse(asked).ok()?,
        scope: Scope::none(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        downgrade: Downgrade::Refuse,
        longest: (SHORT, Kind::Protocol),
        has_urls: false,
        doing: "read",
        target: "an answer".to_owned(),
    })
}

fn reply(answer: &Answer<'_>, url: &Url) -> Option<Reply> {
    let status = StatusCode::from_u16(answer.status).ok()?;
    let body = Bytes::copy_from_slice(answer.body);
    Some(Reply::new(status, headers(answer)?, (body, url.clone())))
}

fn headers(answer: &Answer<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}
