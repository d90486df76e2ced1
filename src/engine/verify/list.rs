//! Comparing a list of referrers that is itself a tag: copies merge such lists, so the digests may differ.

use std::collections::BTreeSet;

use super::tag::Tag;
use crate::catalog::{Catalog, content_error};
use crate::endpoint::Target;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::may_be_list;
use crate::sanitize::few;
use crate::select::is_list_tag;

impl Tag<'_> {
    /// Whether the tag is a referrers tag and `root` is a list of referrers.
    pub(super) fn is_list(&self, root: &Manifest) -> bool {
        matches!(&self.job.target, Target::Tag(tag) if is_list_tag(tag)) && may_be_list(root)
    }

    /// Returns an error if the source's list names a complete manifest that the list here does not.
    pub(super) async fn compare_list(
        &self,
        (source, target): (&Catalog, &Target),
        here: &Manifest,
    ) -> Result<Option<Error>> {
        let list = source.root(target).await?;
        let known: BTreeSet<&Digest> = here.entries().iter().map(|entry| &entry.digest).collect();
        let mut lacking = Vec::new();
        for entry in list.entries() {
            if !known.contains(&entry.digest) && is_whole(source, entry).await? {
                lacking.push(entry.digest.as_str());
            }
        }
        if lacking.is_empty() && may_be_list(&list) {
            return Ok(None);
        }
        let there = source.name(target);
        let cause = if may_be_list(&list) {
            format!("{there} also lists {}", few(&lacking))
        } else {
            format!("here it is a list of referrers, {there} is none")
        };
        let name = self.shared.catalog.name(&self.job.target);
        Ok(Some(
            Error::new(Kind::DigestMismatch, "compare", name)
                .because(cause)
                .hint("`barge copy` adds to the list what the source has now"),
        ))
    }
}

/// Whether the source holds `entry` and everything below it: a copy cannot have what the source has lost. Stops
/// at the first missing manifest.
async fn is_whole(source: &Catalog, entry: &Descriptor) -> Result<bool> {
    let mut waiting = vec![entry.clone()];
    let mut seen = BTreeSet::new();
    while let Some(entry) = waiting.pop() {
        if !seen.insert(entry.digest.clone()) {
            continue;
        }
        match content_error(source.child(&entry).await)? {
            Ok(manifest) => waiting.extend(manifest.entries().iter().cloned()),
            Err(error) if error.kind() == Kind::NotFound => return Ok(false),
            Err(_) => {}
        }
    }
    Ok(true)
}
