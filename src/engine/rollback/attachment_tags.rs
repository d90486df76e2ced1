//! Tags that belong to the images of a run and are made of their digests: cosign's, and lists of referrers.
//! They are staged with the images, flipped before the tags of those, and undone like them.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use futures_util::{StreamExt as _, stream};

use super::super::{Shared, Tag};
use super::flip::Moving;
use super::record::{self, Recorded};
use super::{AT_ONCE, Rollback, Use};
use crate::endpoint::Target;
use crate::endpoint::layout::Arrivals;
use crate::endpoint::registry::Repository;
use crate::error::Result;
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::referrers::{Additions, is_itself, merge};

/// What is staged of them.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct AttachmentTags {
    /// Under each tag of cosign's: the manifest, and whether the destination lacked it.
    tags: BTreeMap<String, (Manifest, bool)>,
    /// What is to be in each list of referrers, by the tag of the list.
    lists: BTreeMap<String, Additions>,
    /// For which of the run's tags each of their tags was staged first.
    owners: BTreeMap<String, String>,
}

impl AttachmentTags {
    /// Stages a tag of cosign's for the tag `owner` of the run.
    pub(in super::super) fn tag(&mut self, tag: &str, (owner, staged): (&str, (Manifest, bool))) {
        self.own(tag, owner);
        self.tags.insert(tag.to_owned(), staged);
    }

    /// Stages what is to be in the list under `tag`.
    pub(in super::super) fn list(&mut self, tag: &str, (owner, added): (&str, Additions)) {
        self.own(tag, owner);
        self.lists.entry(tag.to_owned()).or_default().add(added);
    }

    fn own(&mut self, tag: &str, owner: &str) {
        let owners = self.owners.entry(tag.to_owned());
        owners.or_insert_with(|| owner.to_owned());
    }

    /// The tag of the run that a companion was staged for.
    pub(super) fn owner(&self, tag: &str) -> Option<&str> {
        self.owners.get(tag).map(String::as_str)
    }

    /// What was staged, and for which of the run's tags.
    pub(super) fn staged(&self) -> impl Iterator<Item = (&str, &Digest)> {
        let tags = self.tags.iter();
        let tags = tags.map(|(tag, (manifest, _))| (tag, &manifest.digest));
        let lists = self.lists.iter();
        let lists = lists.flat_map(|(tag, added)| added.digests().map(move |digest| (tag, digest)));
        tags.chain(lists)
            .filter_map(|(tag, digest)| Some((self.owner(tag)?, digest)))
    }

    /// Takes in what was staged again.
    pub(super) fn absorb(&mut self, again: Self) {
        for (tag, (manifest, pushed)) in again.tags {
            let first = self.tags.get(&tag);
            let first = first.is_some_and(|(known, pushed)| *pushed && *known == manifest);
            self.tags.insert(tag, (manifest, pushed || first));
        }
        for (tag, listed) in again.lists {
            self.lists.entry(tag).or_default().add(listed);
        }
        for (tag, owner) in again.owners {
            self.own(&tag, &owner);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.lists.is_empty()
    }

    /// The same for a layout.
    pub(super) fn arrivals(self) -> Arrivals {
        let (tags, lists) = (self.tags.into_iter(), self.lists.into_iter());
        Arrivals {
            images: Vec::new(),
            tags: tags.map(|(tag, (manifest, _))| (tag, manifest)).collect(),
            referrers: lists.collect(),
        }
    }
}

impl Shared {
    pub(super) fn staged_attachment_tags(&self) -> MutexGuard<'_, AttachmentTags> {
        let locked = self.attachment_tags.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tag {
    pub(in super::super) fn attachment_tags(&self) -> MutexGuard<'_, AttachmentTags> {
        self.shared.staged_attachment_tags()
    }
}

impl Rollback<'_> {
    /// Records what the tags of attachments point at now, and where they move.
    pub(super) async fn record_companions(
        &mut self,
        repository: &Repository,
        recorded: &mut Recorded,
    ) -> Option<()> {
        let AttachmentTags { tags, lists, .. } = self.shared.staged_attachment_tags().clone();
        let lists_there = lists.keys().map(String::as_str);
        recorded.turns = self.shared.turns(lists_there).await;
        let tags = tags.into_iter().map(|(tag, (root, pushed))| Wish::Tag {
            tag,
            root: Box::new(root),
            pushed,
        });
        let lists = lists
            .into_iter()
            .map(|(tag, added)| Wish::List { tag, added });
        let reads = stream::iter(tags.chain(lists)).map(|wish| async move {
            let tag = wish.tag();
            (tag, wish.read(repository).await)
        });
        let reads: Vec<_> = reads.buffer_unordered(AT_ONCE).collect().await;
        for (tag, read) in reads {
            match read {
                Ok(Some((moving, before))) => {
                    if let Err(error) = self.shared.journals.allow(&tag, Use::Write) {
                        self.fail(&tag, error);
                        continue;
                    }
                    recorded.manifests.extend(before);
                    recorded.attachment_tags.push(moving);
                }
                Ok(None) => {}
                Err(error) => self.fail(&tag, error),
            }
        }
        recorded
            .attachment_tags
            .sort_by(|left, right| left.tag.cmp(&right.tag));
        self.is_good().then_some(())
    }
}

/// A companion that is to move.
enum Wish {
    Tag {
        tag: String,
        root: Box<Manifest>,
        pushed: bool,
    },
    List {
        tag: String,
        added: Additions,
    },
}

impl Wish {
    fn tag(&self) -> String {
        match self {
            Self::Tag { tag, .. } | Self::List { tag, .. } => tag.clone(),
        }
    }

    /// The move, and the manifests that it takes to undo it; `None` where nothing has to move.
    async fn read(self, repository: &Repository) -> Result<Option<(Moving, Vec<Manifest>)>> {
        let tag = self.tag();
        let (before, moving) = match self {
            Self::Tag { root, pushed, .. } => {
                let before = record::tag(repository, &tag).await?;
                let found = before.first().map(|before| before.digest.clone());
                let moving = Moving::new((tag, found), *root, pushed);
                (before, moving)
            }
            Self::List { added, .. } => {
                // What an old list names is in the new one too: nothing loses a tag that keeps it.
                let target = Target::Tag(tag.clone());
                let before = repository.manifest_for_certain(&target).await?;
                let before = before.filter(|before| !is_itself(&tag, &before.digest));
                let Some(list) = merge(before.as_ref(), &added)? else {
                    return Ok(None);
                };
                let target = Target::Digest(list.digest.clone());
                let pushed = repository.head_for_certain(&target).await?.is_none();
                let found = before.as_ref().map(|before| before.digest.clone());
                let mut moving = Moving::new((tag, found), list, pushed);
                moving.listed = Some(added);
                (before.into_iter().collect(), moving)
            }
        };
        let moves = moving.before.as_ref() != Some(&moving.root.digest);
        Ok(moves.then_some((moving, before)))
    }
}
