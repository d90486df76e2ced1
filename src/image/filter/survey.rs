//! What is kept and what is left out, listed in the order in which the source lists it.

use std::collections::{BTreeMap, BTreeSet};

use super::Filtered;
use super::choice::Choice;
use super::tree::{Role, Tree};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::platform::{Platform, PlatformSelector, Wanted};

/// What a platform is called that nobody has written down.
const UNKNOWN: &str = "unknown";

/// Goes through the whole tree. The result has the source's own indexes.
pub(super) fn survey(tree: &Tree<'_>, choice: &Choice<'_>) -> Filtered {
    let mut survey = Survey {
        tree,
        choice,
        visited: BTreeSet::new(),
        kept: Side::default(),
        omitted: Side::default(),
        found: BTreeSet::new(),
    };
    survey.visit(tree.root);
    let Survey {
        kept,
        omitted,
        found,
        ..
    } = survey;
    let mut left_out = omitted.entries;
    left_out.retain(|entry| !kept.digests.contains(&entry.digest));
    let nested = tree.nested();
    let wanted = choice.wanted();
    Filtered {
        root: tree.root.clone(),
        nested: nested
            .filter(|index| choice.keeps_digest(&index.digest))
            .collect(),
        kept: kept.entries,
        omitted: left_out,
        platforms: kept.platforms,
        omitted_platforms: omitted.platforms,
        missing: missing(wanted.into_iter().flat_map(Wanted::selectors), &found),
        missing_required: missing(
            wanted.into_iter().flat_map(|wanted| &wanted.required),
            &found,
        ),
        replaced: BTreeMap::new(),
    }
}

/// The selectors, as they were written, that match none of the platforms found; each once.
fn missing<'s>(
    selectors: impl Iterator<Item = &'s PlatformSelector>,
    found: &BTreeSet<Platform>,
) -> Vec<String> {
    let mut missing = Vec::new();
    for selector in selectors {
        let written = selector.to_string();
        if !found.iter().any(|platform| selector.matches(platform)) && !missing.contains(&written) {
            missing.push(written);
        }
    }
    missing
}

struct Survey<'a> {
    tree: &'a Tree<'a>,
    choice: &'a Choice<'a>,
    /// The nested indexes that were gone through.
    visited: BTreeSet<&'a Digest>,
    kept: Side,
    omitted: Side,
    /// Every platform that there is.
    found: BTreeSet<Platform>,
}

impl<'a> Survey<'a> {
    /// Goes no deeper than the tree, which is bounded.
    fn visit(&mut self, index: &'a Manifest) {
        for entry in index.entries() {
            let keeps = self.choice.keeps(self.tree, entry);
            let side = if keeps {
                &mut self.kept
            } else {
                &mut self.omitted
            };
            match self.tree.role(entry) {
                Role::Attestation(_) => side.add(entry),
                Role::Image(platform) => {
                    side.add(entry);
                    side.add_platform(platform);
                    self.found.extend(platform.cloned());
                }
                Role::Index => {
                    if !keeps {
                        side.add(entry);
                    }
                    if let Some(nested) = self.tree.nested_in(entry)
                        && self.visited.insert(&entry.digest)
                    {
                        self.visit(nested);
                    }
                }
            }
        }
    }
}

/// Entries on one side of the choice, each digest and each platform once.
#[derive(Default)]
struct Side {
    entries: Vec<Descriptor>,
    digests: BTreeSet<Digest>,
    platforms: Vec<String>,
}

impl Side {
    fn add(&mut self, entry: &Descriptor) {
        if self.digests.insert(entry.digest.clone()) {
            self.entries.push(entry.clone());
        }
    }

    fn add_platform(&mut self, platform: Option<&Platform>) {
        let name = platform.map_or_else(|| UNKNOWN.to_owned(), Platform::to_string);
        if !self.platforms.contains(&name) {
            self.platforms.push(name);
        }
    }
}
