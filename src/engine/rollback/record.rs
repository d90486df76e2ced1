//! Records what the destination's tags point at right before the flip, with the bytes needed to restore them on
//! a registry that drops manifests when they lose their tag.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};

use super::flip::Moving;
use super::{AT_ONCE, Rollback, look};
use crate::catalog::walk;
use crate::endpoint::Target;
use crate::endpoint::registry::Repository;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::referrers::is_itself;
use crate::once_map::OnceMap;
use crate::state::Lock;

/// The state before the flip.
#[derive(Default)]
pub(super) struct Recorded {
    /// What each tag points at; `None` if it does not exist.
    pub(super) tags: BTreeMap<String, Option<Digest>>,
    /// The manifests that the tags lead to.
    pub(super) manifests: Vec<Manifest>,
    /// Where tags move that belong to images.
    pub(super) attachment_tags: Vec<Moving>,
    /// What keeps other runs from the lists among those.
    pub(super) turns: Vec<Lock>,
}

impl Rollback<'_> {
    /// Reads what the tags to be flipped point at; `None` if a tag failed.
    pub(super) async fn record(&mut self, repository: &Repository) -> Option<Recorded> {
        let known = OnceMap::default();
        let staged = self.ends.iter().filter(|end| end.staged.is_some());
        let tags: Vec<String> = staged.filter_map(super::TagEnd::tag).collect();
        let reads = stream::iter(tags).map(|tag| {
            let known = &known;
            async move {
                let read = one(repository, known, &tag).await;
                (tag, read)
            }
        });
        let reads: Vec<_> = reads.buffer_unordered(AT_ONCE).collect().await;
        let mut recorded = Recorded::default();
        let mut manifests = BTreeMap::new();
        for (tag, read) in reads {
            match read {
                Ok(found) => {
                    let root = found.first().map(|root| root.digest.clone());
                    if !self.was_there(&tag, root.as_ref()) {
                        let name = format!("{repository}:{tag}");
                        self.fail(&tag, look::moved(&name, root.as_ref()));
                        continue;
                    }
                    recorded.tags.insert(tag, root);
                    manifests.extend(found.into_iter().map(|each| (each.digest.clone(), each)));
                }
                Err(error) => self.fail(&tag, error),
            }
        }
        recorded.manifests = manifests.into_values().collect();
        self.is_good().then_some(recorded)
    }

    /// Whether `tag` points at what it did when this run began to stage it.
    fn was_there(&self, tag: &str, found: Option<&Digest>) -> bool {
        let mut ends = self.ends.iter();
        let end = ends.find(|end| end.tag().as_deref() == Some(tag));
        let staged = end.and_then(|end| end.staged.as_ref());
        staged.is_none_or(|staged| {
            let before = staged.before.as_ref();
            // GitLab's registry takes the tag of a list for the digest.
            before == found || before.is_none() && found.is_some_and(|found| is_itself(tag, found))
        })
    }
}

/// The manifests that `tag` leads to, the root first; empty if the tag does not exist.
pub(super) async fn tag(repository: &Repository, tag: &str) -> Result<Vec<Manifest>> {
    one(repository, &OnceMap::default(), tag).await
}

/// The same, for several tags that share `known` children.
async fn one(
    repository: &Repository,
    known: &OnceMap<Option<Manifest>>,
    tag: &str,
) -> Result<Vec<Manifest>> {
    let root = repository
        .manifest_for_certain(&Target::Tag(tag.to_owned()))
        .await;
    let root = root.map_err(|error| match error.kind() {
        Kind::Unsupported | Kind::InvalidManifest => cannot_keep(repository, tag, &error),
        _ => error,
    })?;
    let Some(root) = root else {
        return Ok(Vec::new());
    };
    let below = walk::below(&root, |entry| {
        Box::pin(async move {
            let digest = &entry.digest;
            let read = known.run(digest, child(repository, digest)).await?;
            Ok(read.into_inner())
        })
    });
    let below = below.await?;
    Ok([root].into_iter().chain(below).collect())
}

/// Reads a child of a recorded manifest; `None` if a sparse index lacks it or barge cannot read it, since then
/// it cannot be restored.
async fn child(repository: &Repository, digest: &Digest) -> Result<Option<Manifest>> {
    match repository
        .manifest_for_certain(&Target::Digest(digest.clone()))
        .await
    {
        Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::InvalidManifest) => Ok(None),
        other => other,
    }
}

fn cannot_keep(repository: &Repository, tag: &str, error: &Error) -> Error {
    Error::new(error.kind(), "record", format!("{repository}:{tag}"))
        .because(error.cause())
        .hint("what the tag points at now could not be put back; delete the tag, or use --policy best-effort")
}
