//! The pages of a list (distribution-spec, "Listing Tags", "Listing Referrers"): each leads to the next by a `Link`
//! (RFC 8288). A list whose end cannot be found is an error: what is behind would be lost in silence.
//!
//! Registries behind a proxy name themselves as they know themselves, `http://` where the proxy speaks TLS or by
//! a host name of inside. Of a target the path and the query count, and the registry itself is asked.

use std::collections::BTreeSet;

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

use super::request::{Call, Reply, web_address};
use crate::error::{Error, Kind, Result};

/// More pages have no end.
const MOST: usize = 10_000;

/// The pages of one list that were read.
#[derive(Debug)]
pub(super) struct Pages {
    read: BTreeSet<Url>,
    /// How many bytes they and their addresses have.
    bytes: usize,
    /// How many they may have, if another one follows.
    longest: usize,
}

impl Pages {
    /// None yet, of a list whose pages before the last one have at most `bytes`.
    pub(super) fn within(bytes: usize) -> Self {
        Self {
            read: BTreeSet::new(),
            bytes: 0,
            longest: bytes,
        }
    }

    /// Whether `page` was read.
    pub(super) fn has(&self, page: &Url) -> bool {
        self.read.contains(page)
    }

    /// The page behind the one that `reply` answered `call` with; `None`: that was the last.
    ///
    /// # Errors
    ///
    /// `protocol` where the next page is one that was read, or none that can be asked for, or too much came
    /// before it.
    pub(super) fn turn(&mut self, call: &Call, reply: &Reply) -> Result<Option<Url>> {
        let Some(target) = self.note(call, reply) else {
            return Ok(None);
        };
        let next = reply.url.join(target).map_err(|why| why.to_string());
        match next.and_then(web_address) {
            Err(why) => Err(endless(call, &format!("is no address ({why})"))),
            Ok(next) => {
                let mut page = call.url.clone();
                page.set_path(next.path());
                page.set_query(next.query());
                self.ask(call, page).map(Some)
            }
        }
    }

    /// Notes a page that was read, and gives the target of the next one.
    fn note<'r>(&mut self, call: &Call, reply: &'r Reply) -> Option<&'r str> {
        self.bytes += reply.body.len() + call.url.as_str().len();
        self.read.insert(call.url.clone());
        next_target(&reply.headers)
    }

    /// `next`, where that can be the next page.
    ///
    /// # Errors
    ///
    /// `protocol` where it was read, or too much came before it.
    pub(super) fn ask(&self, call: &Call, next: Url) -> Result<Url> {
        let cause = if self.has(&next) {
            "is one that came before".to_owned()
        } else if self.read.len() >= MOST {
            format!("comes behind {MOST} others")
        } else if self.bytes > self.longest {
            format!(
                "comes behind more than {} MiB of others",
                self.longest >> 20
            )
        } else {
            return Ok(next);
        };
        Err(endless(call, &cause))
    }
}

/// The error of a list whose next page is such that it has no end.
pub(super) fn endless(call: &Call, next: &str) -> Error {
    call.error(Kind::Protocol)
        .because(format!("the next page {next}, so the list has no end"))
        .hint("its registry, or a proxy in front of it, has to mend the Link header of its lists")
}

/// The target of `Link: <TARGET>; rel="next"`, also with an unquoted `rel`.
fn next_target(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(LINK).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut links = values.flat_map(links);
    let next = links.find(|(_, is_next)| *is_next);
    next.map(|(target, _)| target)
}

/// Each target of a `Link` header, and whether it is the next page.
fn links(header: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, parameters)) = after.split_once('>') else {
            break;
        };
        let end = parameters.find('<').unwrap_or(parameters.len());
        let (own, next) = parameters.split_at(end);
        let is_next = own.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                let value = value.trim().trim_matches('"');
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .split_whitespace()
                        .any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        found.push((target, is_next));
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_as_registries_write_them() {
        let url = Url::parse("https://h.io/v2/a/tags/list?n=2").expect("url");
        for (header, next) in [
            (
                r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
                Some("https://h.io/v2/a/tags/list?last=b&n=2"),
            ),
            (
                "</v2/a/tags/list?last=b>; rel=next",
                Some("https://h.io/v2/a/tags/list?last=b"),
            ),
            (
                r#"<?last=b>;rel="NEXT""#,
                Some("https://h.io/v2/a/tags/list?last=b"),
            ),
            (r#"<https://o.io/x>; rel="next""#, Some("https://o.io/x")),
            (
                r#"<a>; rel="prev", <b>; rel="next""#,
                Some("https://h.io/v2/a/tags/b"),
            ),
            (r#"<a>; rel="prev""#, None),
            ("<a", None),
            ("<http://[>; rel=next", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(LINK, header.parse().expect("header"))]);
            let target = next_target(&headers).and_then(|target| url.join(target).ok());
            assert_eq!(
                target.map(|url| url.to_string()).as_deref(),
                next,
                "{header}"
            );
        }
    }
}
