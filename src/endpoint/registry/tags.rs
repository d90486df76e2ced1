//! The tags of a repository, however its registry pages them (distribution-spec, "Listing Tags").

use std::collections::BTreeSet;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::Repository;
use crate::error::{Kind, Result};
use crate::event::Event;
use crate::printable::plural;
use crate::reference::is_tag;

/// Tags asked for in one page. Registries cap it as they like; 0 breaks some.
const PAGE: usize = 1000;
/// A list of tags can be long, but not endless.
const LONGEST: usize = 64 << 20;

#[derive(Deserialize)]
struct Page {
    /// `null` occurs.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Repository {
    /// Every tag, sorted by bytes.
    ///
    /// Without a `Link` a list of other than `n` tags is whole (distribution-spec, "Listing Tags": fewer
    /// than `n` come only where there are no more, or with a `Link`). One of just `n` may have been cut:
    /// it is asked for once more behind its last tag.
    ///
    /// # Errors
    ///
    /// `not-found` when the repository does not exist, or what else went wrong.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let tags = self.list_tags().await?;
        self.note_digest_tags(&tags);
        Ok(tags)
    }

    /// The same, of which nothing is remembered.
    pub(super) async fn list_tags(&self) -> Result<Vec<String>> {
        let mut call = self.call(Method::GET, "tags/list", "list tags of").await?;
        call.longest.0 = LONGEST;
        call.url
            .query_pairs_mut()
            .append_pair("n", &PAGE.to_string());
        let first = call.url.clone();
        let mut found = BTreeSet::new();
        let mut asked = BTreeSet::new();
        let mut linked = false;
        while asked.insert(call.url.to_string()) {
            let reply = self.small(call.clone()).await?;
            // Behind the last tag some registries answer 404.
            if reply.status.as_u16() == 404 && !found.is_empty() {
                break;
            }
            if !reply.status.is_success() {
                return Err(self.error_of(&reply, &call));
            }
            let page: Page = serde_json::from_slice(&reply.body).map_err(|why| {
                call.error(Kind::Protocol)
                    .because(format!("not a list of tags: {why}"))
            })?;
            let tags = page.tags.unwrap_or_default();
            let last = tags.last().cloned();
            let cut = tags.len() == PAGE;
            found.extend(tags);
            if let Some(next) = next_page(&reply.headers, &reply.url) {
                if next.origin() != first.origin() {
                    return Err(call
                        .error(Kind::Protocol)
                        .because("the next page is on another host"));
                }
                linked = true;
                call.url = next;
            } else {
                let Some(last) = last.filter(|_| !linked && cut) else {
                    break;
                };
                call.url = first.clone();
                call.url.query_pairs_mut().append_pair("last", &last);
            }
        }
        Ok(self.usable(found))
    }

    /// Whether the registry does not know the repository: then nothing is in it.
    pub(super) async fn is_unknown(&self) -> Result<bool> {
        let mut call = self.call(Method::GET, "tags/list", "list tags of").await?;
        call.longest.0 = LONGEST;
        call.url.query_pairs_mut().append_pair("n", "1");
        Ok(self.small(call).await?.status == StatusCode::NOT_FOUND)
    }

    fn usable(&self, found: BTreeSet<String>) -> Vec<String> {
        let (tags, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|tag| is_tag(tag));
        if !others.is_empty() {
            let warning = format!(
                "{self} lists {} that no tag can have; left out",
                plural(others.len() as u64, "name")
            );
            self.backoff.events.send(Event::Warning(warning));
        }
        tags
    }
}

/// The URL of `Link: <URL>; rel="next"` (RFC 8288), also with an unquoted `rel`.
pub(super) fn next_page(headers: &HeaderMap, url: &Url) -> Option<Url> {
    let values = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(links)
        .find(|(_, is_next)| *is_next)
        .and_then(|(target, _)| url.join(target).ok())
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
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(LINK, header.parse().expect("header"))]);
            assert_eq!(
                next_page(&headers, &url)
                    .map(|url| url.to_string())
                    .as_deref(),
                next,
                "{header}"
            );
        }
    }
}
