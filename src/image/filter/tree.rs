//! An index with the indexes nested in it, as far as they are known.
//!
//! Every distinct index is looked at once however often it is listed, so that a small index cannot
//! unfold into a large tree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Known, MAX_DEPTH, Need};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::platform::Platform;

/// What decides about an entry.
pub(super) enum Role<'a> {
    /// What is in it.
    Index,
    /// The entry that it is about, if it names one.
    Attestation(Option<Digest>),
    /// Its platform, if it is an image that has one.
    Image(Option<&'a Platform>),
}

/// An index and what is known of those nested in it.
pub(super) struct Tree<'a> {
    pub(super) root: &'a Manifest,
    known: &'a Known,
    /// Each distinct nested index in the order in which they are met.
    order: Vec<&'a Descriptor>,
    /// How deep each is at its deepest.
    depths: BTreeMap<&'a Digest, usize>,
}

impl<'a> Tree<'a> {
    /// Goes through the indexes level by level, and refuses what is nested too deep.
    pub(super) fn of(root: &'a Manifest, known: &'a Known) -> Result<Self> {
        let mut tree = Self {
            root,
            known,
            order: Vec::new(),
            depths: BTreeMap::new(),
        };
        let mut level = vec![root];
        let mut depth = 0;
        while !level.is_empty() {
            depth += 1;
            level = tree.descend(&level, depth)?;
        }
        Ok(tree)
    }

    /// The known indexes that are listed in those of one level, each once.
    fn descend(&mut self, level: &[&'a Manifest], depth: usize) -> Result<Vec<&'a Manifest>> {
        let mut next = Vec::new();
        let entries = level.iter().flat_map(|index| index.entries());
        for entry in entries.filter(|entry| entry.is_index()) {
            if depth > MAX_DEPTH {
                return Err(self.invalid(format!("indexes are nested more than {MAX_DEPTH} deep")));
            }
            match self.depths.insert(&entry.digest, depth) {
                None => self.order.push(entry),
                Some(seen) if seen == depth => continue,
                Some(_) => {}
            }
            if let Some(index) = self.known.manifests.get(&entry.digest) {
                if !index.is_index() {
                    let digest = &entry.digest;
                    return Err(
                        self.invalid(format!("{digest} is listed as an index, but is an image"))
                    );
                }
                next.push(index);
            }
        }
        Ok(next)
    }

    /// Whether everything is known that is needed and that `matters`.
    pub(super) fn check(&self, matters: impl Fn(&Need) -> bool) -> Result<()> {
        match self.needs().into_iter().find(matters) {
            None => Ok(()),
            Some(Need::Index(entry) | Need::Platform(entry)) => {
                Err(self.invalid(format!("the content of {} was not read", entry.digest)))
            }
        }
    }

    /// What has to be read before this tree can be filtered.
    pub(super) fn needs(&self) -> Vec<Need> {
        let unread = |entry: &&&Descriptor| !self.known.manifests.contains_key(&entry.digest);
        let indexes = self.order.iter().filter(unread);
        let mut seen = BTreeSet::new();
        let images = self.indexes().flat_map(|(_, index)| index.entries());
        let images = images.filter(|entry| {
            matches!(self.role(entry), Role::Image(None))
                && !self.known.platforms.contains_key(&entry.digest)
                && seen.insert(&entry.digest)
        });
        indexes
            .map(|entry| Need::Index((*entry).clone()))
            .chain(images.map(|entry| Need::Platform(entry.clone())))
            .collect()
    }

    /// The root and every known nested index, by the digests that they are listed with.
    pub(super) fn indexes(&self) -> impl Iterator<Item = (&'a Digest, &'a Manifest)> {
        let nested = self.order.iter().filter_map(|entry| {
            let index = self.nested_in(entry)?;
            Some((&entry.digest, index))
        });
        std::iter::once((&self.root.digest, self.root)).chain(nested)
    }

    /// The known nested indexes, the deepest first, by the digests that they are listed with.
    pub(super) fn nested(&self) -> impl Iterator<Item = Manifest> {
        let mut order = self.order.clone();
        order.sort_by_key(|entry| Reverse(self.depths.get(&entry.digest)));
        order.into_iter().filter_map(|entry| {
            let mut index = self.nested_in(entry)?.clone();
            index.digest = entry.digest.clone();
            Some(index)
        })
    }

    /// The nested index that an entry lists.
    pub(super) fn nested_in(&self, entry: &Descriptor) -> Option<&'a Manifest> {
        self.known.manifests.get(&entry.digest)
    }

    /// What decides about `entry`.
    pub(super) fn role<'e>(&'e self, entry: &'e Descriptor) -> Role<'e> {
        if entry.is_index() {
            Role::Index
        } else if entry.is_attestation() {
            let is_gone = self.known.gone.contains(&entry.digest);
            Role::Attestation(entry.attests().filter(|_| !is_gone))
        } else {
            let by_config = || self.known.platforms.get(&entry.digest)?.as_ref();
            Role::Image(entry.platform.as_ref().or_else(by_config))
        }
    }

    fn invalid(&self, cause: String) -> Error {
        Error::new(Kind::InvalidManifest, "filter index", &self.root.digest).because(cause)
    }
}
