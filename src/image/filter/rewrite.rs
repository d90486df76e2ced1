//! The index, and those nested in it, written anew without what is left out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Filtered;
use super::choice::Choice;
use super::cut::{Edit, cut};
use super::tree::Tree;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;

/// Puts the indexes to publish into `filtered`: the root, and those nested in it, the deepest first.
pub(super) fn rewrite(tree: &Tree<'_>, choice: &Choice<'_>, filtered: &mut Filtered) -> Result<()> {
    let mut rewriter = Rewriter {
        tree,
        choice,
        changed: BTreeMap::new(),
    };
    let mut nested = Vec::new();
    let mut seen = BTreeSet::new();
    for index in tree
        .nested()
        .filter(|index| choice.keeps_digest(&index.digest))
    {
        let new = rewriter.rewrite(&index)?;
        if new.digest != index.digest {
            rewriter.changed.insert(index.digest, new.clone());
        }
        if seen.insert(new.digest.clone()) {
            nested.push(new);
        }
    }
    let root = rewriter.rewrite(tree.root)?;
    if root.digest != tree.root.digest {
        let old = tree.root.digest.clone();
        rewriter.changed.insert(old, root.clone());
    }
    let changed = rewriter.changed.into_iter();
    filtered.replaced = changed.map(|(old, new)| (old, new.digest)).collect();
    (filtered.root, filtered.nested) = (root, nested);
    Ok(())
}

struct Rewriter<'a> {
    tree: &'a Tree<'a>,
    choice: &'a Choice<'a>,
    /// The indexes whose bytes changed, by the digest that they had.
    changed: BTreeMap<Digest, Manifest>,
}

impl Rewriter<'_> {
    /// The index after what is in it was rewritten; the same bytes where nothing changes.
    fn rewrite(&self, index: &Manifest) -> Result<Manifest> {
        let entries = index.listed().into_iter();
        let edits: Vec<_> = entries
            .map(|(entry, is_blob)| {
                let keeps = if is_blob {
                    // One without a platform may belong to all.
                    let platform = entry.platform.as_ref();
                    platform.is_none() || self.choice.keeps_image(platform)
                } else {
                    self.choice.keeps(self.tree, entry)
                };
                if !keeps {
                    return Edit::Drop;
                }
                let changed = self.changed.get(&entry.digest);
                changed
                    .filter(|_| entry.is_index())
                    .map_or(Edit::Keep, Edit::Replace)
            })
            .collect();
        if edits.iter().all(|edit| matches!(edit, Edit::Keep)) {
            return Ok(index.clone());
        }
        let invalid = |cause| {
            Error::new(Kind::InvalidManifest, "rewrite index", &index.digest).because(cause)
        };
        let text = std::str::from_utf8(&index.bytes).map_err(|error| invalid(error.to_string()))?;
        let bytes = Bytes::from(cut(text, &edits).map_err(invalid)?);
        let mut new = Manifest::parse(bytes, Some(&index.media_type))?;
        new.digest = index.digest.algorithm().digest(&new.bytes);
        Ok(new)
    }
}
