//! What becomes of an index: which entries are copied, and the bytes of the index that is pushed.
//!
//! Pure. The caller asks [`needs`] what has to be known, fetches it, and asks again until nothing is
//! needed; then [`filter`] (or [`everything`]) decides. Nothing is fetched or pushed here.

mod choice;
mod cut;
mod rewrite;
mod survey;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use self::choice::Choice;
use self::rewrite::rewrite;
use self::survey::survey;
use self::tree::Tree;
use super::digest::Digest;
use super::manifest::{Descriptor, Manifest};
use super::platform::{Platform, Wanted};
use crate::error::{Error, Kind, Result};

/// How deep indexes may be nested in an index.
pub const MAX_DEPTH: usize = 8;

/// How many bytes the indexes that are nested in one may have together: all of them are read at once.
pub const MAX_NESTED_BYTES: u64 = 32 << 20;

/// What was read so far of the content of an index.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Nested indexes, by the digest that their entries have.
    pub manifests: BTreeMap<Digest, Manifest>,
    /// The platforms, by config, of entries that are written without one; `None` for an artifact.
    pub platforms: BTreeMap<Digest, Option<Platform>>,
    /// Attestations that are listed and cannot be had: what is about an image that is kept is left out all the same.
    pub gone: BTreeSet<Digest>,
}

/// What must be read before an index can be filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// This nested index, into [`Known::manifests`].
    Index(Descriptor),
    /// The platform of this image, into [`Known::platforms`]. Nothing but [`filter`] wants it.
    Platform(Descriptor),
}

/// What is pushed as the index once entries are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A new index without them (filtered-index).
    Rewrite,
    /// The source's own bytes, which still list them (sparse-index).
    Keep,
}

/// What became of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// The index to push: rewritten, or the source's own where nothing was dropped from it or it is kept.
    pub root: Manifest,
    /// The nested indexes to push before it, the deepest first; those that keep nothing are among them where the
    /// root is kept as it is, and dropped where it is rewritten.
    pub nested: Vec<Manifest>,
    /// The entries to copy, attestations among them and indexes not, each digest once.
    pub kept: Vec<Descriptor>,
    /// The entries that are left out, nested indexes that are dropped and what they list among them, each digest
    /// once.
    pub omitted: Vec<Descriptor>,
    /// The platforms of what is kept, as the source writes them.
    pub platforms: Vec<String>,
    /// The platforms of what is left out; `unknown` for an artifact.
    pub omitted_platforms: Vec<String>,
    /// What was asked for, as it was written, and is not there.
    pub missing: Vec<String>,
    /// The required ones among the missing.
    pub missing_required: Vec<String>,
    /// The indexes that are new: the source's digest of each, and its own. The root is among them, where any is.
    pub replaced: BTreeMap<Digest, Digest>,
}

impl Filtered {
    /// Whether the root's bytes differ from the source's.
    #[must_use]
    pub fn is_rewritten(&self) -> bool {
        !self.replaced.is_empty()
    }
}

/// What has to be read before `index` can be filtered, beyond what is `known`; each digest once.
///
/// # Errors
///
/// `invalid-manifest` where indexes are nested deeper than [`MAX_DEPTH`] or are larger than [`MAX_NESTED_BYTES`]
/// together, or an image is listed as an index.
pub fn needs(index: &Manifest, known: &Known) -> Result<Vec<Need>> {
    let needs = Tree::of(index, known)?.needs();
    let read = known.manifests.values();
    let read = read.map(|nested| nested.bytes.len() as u64);
    let sizes = needs.iter().map(|need| match need {
        Need::Index(entry) => entry.size,
        Need::Platform(_) => 0,
    });
    let nested = read.chain(sizes).fold(0, u64::saturating_add);
    if nested <= MAX_NESTED_BYTES {
        return Ok(needs);
    }
    let cause = format!(
        "the indexes in it have {nested} bytes together, and at most {MAX_NESTED_BYTES} are read"
    );
    Err(Error::new(Kind::InvalidManifest, "read index", &index.digest).because(cause))
}

/// Leaves out of `index` what is not `wanted`.
///
/// Where nothing is wanted of it, `kept` and `platforms` are empty and `root` is the source's own.
///
/// ```
/// use barge::image::filter::{filter, Form, Known};
/// use barge::image::manifest::Manifest;
/// use barge::image::platform::Wanted;
///
/// let source = |dropped: &str| format!(
///     r#"{{ "manifests": [{dropped}
///         {{"digest": "sha256:{:064}", "size": 2, "platform": {{"os": "linux", "architecture": "arm64"}}}}
///     ], "annotations": {{"kept": "as written"}} }}"#, 2);
/// let amd64 = format!(
///     r#"{{"digest": "sha256:{:064}", "size": 1, "platform": {{"os": "linux", "architecture": "amd64"}}}},"#, 1);
/// let index = Manifest::parse(source(&amd64).into(), None).unwrap();
///
/// let wanted = Wanted { platforms: vec!["arm64".parse().unwrap()], ..Wanted::default() };
/// let filtered = filter(&index, &wanted, &Known::default(), Form::Rewrite).unwrap();
/// assert_eq!(filtered.platforms, ["linux/arm64"]);
/// assert_eq!(filtered.omitted_platforms, ["linux/amd64"]);
/// assert!(filtered.root.bytes.ends_with(br#""annotations": {"kept": "as written"} }"#));
/// ```
///
/// # Errors
///
/// As [`needs`], and `invalid-manifest` where something that it asks for is not `known`.
pub fn filter(index: &Manifest, wanted: &Wanted, known: &Known, form: Form) -> Result<Filtered> {
    let tree = Tree::of(index, known)?;
    tree.check(|_| true)?;
    let choice = Choice::of(&tree, wanted);
    let mut filtered = survey(&tree, &choice);
    if !filtered.kept.is_empty() {
        match form {
            Form::Rewrite => rewrite(&tree, &choice, &mut filtered)?,
            // The root lists even those that keep nothing, and without them nobody can tell what is in them.
            Form::Keep => {
                filtered.nested = tree.nested().collect();
                filtered.omitted.retain(|entry| !entry.is_index());
            }
        }
    }
    Ok(filtered)
}

/// Keeps all of `index`, for a copy of everything.
///
/// Entries without a platform are `unknown` unless it is known; [`Need::Platform`] need not be met.
///
/// # Errors
///
/// As [`needs`], and `invalid-manifest` where a nested index is not known.
pub fn everything(index: &Manifest, known: &Known) -> Result<Filtered> {
    let tree = Tree::of(index, known)?;
    tree.check(|need| matches!(need, Need::Index(_)))?;
    Ok(survey(&tree, &Choice::Everything))
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
