//! Looking at the destination before anything moves: is the tag right already, and what is there of it.

use std::collections::BTreeSet;

use super::Tag;
use crate::bounded::{late, try_all};
use crate::endpoint::Target;
use crate::endpoint::hints::damaged_there;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::options::{ForeignLayers, Recheck};
use crate::plan::Choice;

/// The manifests that the destination holds, with all their content.
pub(super) type Held = BTreeSet<Digest>;

/// What looking at the destination came to.
pub(super) enum Check {
    /// The tag is right, and what this run would bring is there.
    Current,
    /// It is not; these images need not be brought again.
    Lacking(Held),
}

impl Tag {
    /// Whether the destination's tag is as this run would leave it (SPEC section 2, `current`).
    pub(super) async fn check(&self, choice: &Choice) -> Result<Check> {
        let Some(there) = &self.there else {
            return Ok(Check::Lacking(Held::new()));
        };
        let same = there.digest == choice.filtered.root.digest;
        let shared = &self.shared;
        let recheck = shared.settings.recheck;
        if same && recheck == Recheck::None {
            return Ok(Check::Current);
        }
        if recheck == Recheck::Blobs {
            return Ok(Check::Lacking(Held::new()));
        }
        // What a registry checked when it took the tag need not be asked for again.
        let checks = shared.destination.caps().checks_content;
        let vouched = checks
            && (!choice.is_own_index() || shared.destination.takes_sparse().await? == Some(false));
        if same && vouched {
            return Ok(Check::Current);
        }
        let held = self.held(choice.children()).await?;
        let complete = choice.children().all(|child| held.contains(&child));
        let root = Target::Digest(choice.filtered.root.digest.clone());
        if same && complete && (checks || self.is_whole(&root).await?) {
            return Ok(Check::Current);
        }
        Ok(Check::Lacking(held))
    }

    /// Which of `digests` the destination holds, asked all at once.
    async fn held(&self, digests: impl Iterator<Item = Digest>) -> Result<Held> {
        let asked = digests.map(|digest| async move {
            let target = Target::Digest(digest.clone());
            let whole = late(|| self.is_whole(&target)).await?;
            Ok::<_, Error>(whole.then_some(digest))
        });
        Ok(try_all(asked).await?.into_iter().flatten().collect())
    }

    /// Whether a manifest is at the destination; where nobody checked its blobs, or `--recheck blobs` is
    /// given, they are looked for.
    pub(super) async fn is_whole(&self, target: &Target) -> Result<bool> {
        let destination = &self.shared.destination;
        if self.is_believed() {
            return Ok(destination.head(target).await?.is_some());
        }
        let Some(manifest) = destination.manifest(target).await.map_err(damaged_there)? else {
            return Ok(false);
        };
        let manifest = match self.shared.settings.foreign {
            ForeignLayers::Left => manifest,
            ForeignLayers::Included => {
                let foreign = manifest.foreign_layers().map(|layer| layer.digest.clone());
                let foreign = foreign.collect();
                manifest.with_layers(&foreign)
            }
        };
        for blob in manifest.blobs() {
            let depth = self.shared.settings.recheck.depth();
            if !destination.holds_blob(blob, depth).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a manifest that is at the destination has all its content, for all that is asked.
    pub(super) fn is_believed(&self) -> bool {
        let shared = &self.shared;
        shared.destination.caps().checks_content && shared.settings.recheck != Recheck::Blobs
    }

    /// Where the destination is known to refuse sparse indexes, fails before any blob moves.
    pub(super) async fn refuse_known_sparse(&self, choice: &Choice) -> Result<()> {
        if !choice.is_sparse() || self.shared.destination.takes_sparse().await? != Some(false) {
            return Ok(());
        }
        let absent = self.absent_of(choice).await?;
        if absent.is_empty() {
            return Ok(());
        }
        Err(self.sparse_rejected(&absent, "the registry says that it takes no sparse index"))
    }

    /// The omitted children that the destination does not hold.
    pub(super) async fn absent_of(&self, choice: &Choice) -> Result<Vec<Digest>> {
        let omitted = choice.filtered.omitted.iter();
        self.absent_among(omitted.map(|entry| entry.digest.clone()))
            .await
    }

    /// Which of `digests` the destination does not hold.
    pub(super) async fn absent_among(
        &self,
        digests: impl Iterator<Item = Digest>,
    ) -> Result<Vec<Digest>> {
        let asked = digests.map(|digest| async move {
            let found = self
                .shared
                .destination
                .head(&Target::Digest(digest.clone()))
                .await?;
            Ok::<_, Error>(found.is_none().then_some(digest))
        });
        Ok(try_all(asked).await?.into_iter().flatten().collect())
    }

    pub(super) fn sparse_rejected(&self, absent: &[Digest], words: &str) -> Error {
        let name = format!("{}:{}", self.shared.destination, self.job.destination);
        let cause = format!("{words} ({} of its children were left out)", absent.len());
        Error::new(Kind::SparseRejected, "write the sparse index", name).because(cause)
    }
}
