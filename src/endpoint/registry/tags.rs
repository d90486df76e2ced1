//! The tags of a repository, however its registry pages them (distribution-spec, "Listing Tags").

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::Repository;
use super::pages::Pages;
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
        let (mut found, mut pages) = (BTreeSet::new(), Pages::default());
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
            let page: Page = serde_json::from_slice(&reply.body).map_err(|why| {
                call.error(Kind::Protocol)
                    .because(format!("not a list of tags: {why}"))
            })?;
            let tags = page.tags.unwrap_or_default();
            let last = tags.last().cloned();
            let cut = tags.len() == PAGE;
            found.extend(tags);
            if let Some(next) = pages.turn(&call, &reply)? {
                linked = true;
                call.url = next;
                continue;
            }
            let Some(last) = last.filter(|_| !linked && cut) else {
                break;
            };
            call.url = first.clone();
            call.url.query_pairs_mut().append_pair("last", &last);
            // Who ignores `last` has said everything.
            if pages.has(&call.url) {
                break;
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
