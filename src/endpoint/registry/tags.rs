//! The tags of a repository, however its registry pages them (distribution-spec, "Listing Tags").

use std::collections::BTreeSet;
use std::fmt;

use reqwest::Method;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::pages::{Pages, endless};
use super::request::{Call, Reply};
use super::{Repository, failure};
use crate::error::{Kind, Result};
use crate::event::Event;
use crate::reference::is_tag;
use crate::sanitize::plural;

/// Tags asked for in one page. Registries cap it as they like; 0 breaks some.
const PAGE: usize = 1000;
/// A list of tags can be long, but not endless: this many bytes of one page, and of all but the last one.
const LONGEST: usize = 64 << 20;
/// More names than this in one list are not looked through.
const MOST: usize = 1_000_000;

#[derive(serde::Deserialize)]
struct Page {
    /// `null` occurs.
    #[serde(default)]
    tags: Option<Names>,
}

/// The names of one page, one more than [`MOST`] at most: short ones take a multiple of their bytes.
#[derive(Default)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
        input.deserialize_seq(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> std::result::Result<Names, A::Error> {
        let mut names = Vec::new();
        while names.len() <= MOST
            && let Some(name) = input.next_element()?
        {
            names.push(name);
        }
        while input.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Names(names))
    }
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
        let (mut found, mut pages) = (BTreeSet::new(), Pages::within(LONGEST));
        let mut linked = false;
        loop {
            let reply = self.small(call.clone()).await?;
            // Behind the last tag some registries answer 404.
            if reply.status.as_u16() == 404 && !found.is_empty() {
                break;
            }
            if !reply.status.is_success() {
                return Err(self.error_of(&reply, &call));
            }
            let tags = names(&reply, &call)?;
            let (last, count, before) = (tags.last().cloned(), tags.len(), found.len());
            found.extend(tags);
            if found.len() > MOST {
                let cause = format!("there are more than {MOST} names");
                return Err(call.error(Kind::Protocol).because(cause).hint(TOO_MANY));
            }
            let repeats = count > 0 && found.len() == before;
            if let Some(next) = pages.turn(&call, &reply)? {
                if repeats {
                    return Err(endless(&call, "follows one that only repeats names"));
                }
                linked = true;
                call.url = next;
                continue;
            }
            // A registry that ignores `last` has said everything.
            let Some(last) = last.filter(|_| !linked && count == PAGE && !repeats) else {
                break;
            };
            let mut next = first.clone();
            next.query_pairs_mut().append_pair("last", &last);
            if pages.has(&next) {
                break;
            }
            call.url = pages.ask(&call, next)?;
        }
        Ok(self.usable(found))
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

/// What helps where a list cannot be looked through.
const TOO_MANY: &str = "copy tags by their names, REPOSITORY:TAG, which needs no list";

/// The names on the page that `reply` is.
pub(super) fn names(reply: &Reply, call: &Call) -> Result<Vec<String>> {
    let page: Page = serde_json::from_slice(&reply.body).map_err(|why| {
        let cause = format!("not a list of tags: {}", failure::shown(&why.to_string()));
        call.error(Kind::Protocol).because(cause)
    })?;
    Ok(page.tags.unwrap_or_default().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_gives_many_more_names_than_are_looked_through() {
        let names = "\"a\",".repeat(MOST + 5);
        let text = format!(r#"{{"name":"x","tags":[{names}"b"],"more":null}}"#);
        let page: Page = serde_json::from_str(&text).expect("a page");
        assert_eq!(page.tags.map(|names| names.0.len()), Some(MOST + 1));
    }
}
