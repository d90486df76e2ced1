//! Which entries are kept.
//!
//! Images by their platform, each entry for itself. What follows others (an index what is in it, an
//! attestation what it is about) by one walk from the images that are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Role, Tree};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::platform::{Platform, Wanted};

pub(super) enum Choice<'a> {
    Everything,
    Only {
        wanted: &'a Wanted,
        /// Every digest that is kept: images, attestations, indexes.
        live: BTreeSet<Digest>,
    },
}

impl<'a> Choice<'a> {
    pub(super) fn of(tree: &Tree<'_>, wanted: &'a Wanted) -> Self {
        let mut found = Vec::new();
        let mut followers: BTreeMap<Digest, Vec<&Digest>> = BTreeMap::new();
        for (digest, index) in tree.indexes() {
            for entry in index.entries() {
                match tree.role(entry) {
                    Role::Image(Some(platform)) if wanted.matches(platform) => {
                        found.extend([digest, &entry.digest]);
                    }
                    Role::Image(_) | Role::Attestation(None) => {}
                    Role::Index => followers
                        .entry(entry.digest.clone())
                        .or_default()
                        .push(digest),
                    Role::Attestation(Some(about)) => {
                        followers
                            .entry(about)
                            .or_default()
                            .extend([digest, &entry.digest]);
                    }
                }
            }
        }
        let mut live = BTreeSet::new();
        while let Some(digest) = found.pop() {
            if live.insert(digest.clone()) {
                found.extend(followers.get(digest).into_iter().flatten());
            }
        }
        Self::Only { wanted, live }
    }

    /// What was asked for, unless it is everything.
    pub(super) fn wanted(&self) -> Option<&'a Wanted> {
        match self {
            Self::Everything => None,
            Self::Only { wanted, .. } => Some(wanted),
        }
    }

    /// Whether an index, or what an attestation is about, is kept.
    pub(super) fn keeps_digest(&self, digest: &Digest) -> bool {
        match self {
            Self::Everything => true,
            Self::Only { live, .. } => live.contains(digest),
        }
    }

    /// Whether an image, or a blob, of this platform is kept.
    pub(super) fn keeps_image(&self, platform: Option<&Platform>) -> bool {
        match self {
            Self::Everything => true,
            Self::Only { wanted, .. } => platform.is_some_and(|found| wanted.matches(found)),
        }
    }

    /// Whether this entry is kept.
    pub(super) fn keeps(&self, tree: &Tree<'_>, entry: &Descriptor) -> bool {
        match tree.role(entry) {
            Role::Index => self.keeps_digest(&entry.digest),
            Role::Image(platform) => self.keeps_image(platform),
            Role::Attestation(None) => matches!(self, Self::Everything),
            Role::Attestation(Some(about)) => self.keeps_digest(&about),
        }
    }
}
