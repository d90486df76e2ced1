//! The undo: carries out what [`journal::undo`](crate::journal::undo) decides, tag by tag; each is
//! looked at right before it is touched. Used by the run itself, by the next one, and by `barge undo`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::{StreamExt as _, stream};

use super::super::Stop;
use super::flip::{Doubt, Doubts};
use super::stage::lacks_content;
use super::{AT_ONCE, Options};
use crate::endpoint::Target;
use crate::endpoint::registry::{Deletion, Repository};
use crate::error::{Error, Kind, Result};
use crate::event::{Left, Undone};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::journal::undo::{Action, Now, Reach, keeps, undo as steps};
use crate::journal::{Journal, Move};
use crate::once_map::OnceMap;
use crate::select::is_digest_tag;

/// How one tag ended.
enum End {
    AsBefore,
    Restored,
    Deleted,
    /// It is to be deleted, but the registry does not delete tags by name.
    Undeletable(Error),
    /// Somebody else has changed it.
    Theirs(Error),
}

/// A journal whose tags are put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UndoJob<'a> {
    /// The repository that it is of.
    pub repository: &'a Repository,
    pub journal: &'a Journal,
    pub path: &'a Path,
    /// How the repository was reached.
    pub options: &'a Options,
}

/// Puts back the tags of a journal, some of which are in doubt. Only [`Stop::now`] ends it early.
pub(crate) async fn undo(job: UndoJob<'_>, doubts: &Doubts, stop: &Stop) -> Undone {
    let undo = Undo {
        doubts: doubts.clone(),
        ..Undo::of(job)
    };
    let journal = job.journal;
    let mut open: BTreeSet<String> = journal.tags.iter().map(|each| each.tag.clone()).collect();
    let mut undone = Undone::default();
    let done = tokio::select! {
        biased;
        () = stop.now.cancelled() => false,
        () = Box::pin(undo.run(&mut undone, &mut open)) => true,
    };
    undone.finished = done;
    for tag in open {
        let error = Error::new(Kind::Interrupted, "put back", undo.name(&tag))
            .because(
                "a second signal ended the undo; the tag may point at its old or its new manifest",
            )
            .hint(format!("run: {}", undo.command()));
        undone.left.push(Left { tag, error });
    }
    undone.sort();
    undone
}

pub(super) struct Undo<'a> {
    pub(super) job: UndoJob<'a>,
    doubts: Doubts,
    /// Children of what is restored, that are there again.
    brought: OnceMap<Brought>,
}

/// Whether a child of what is restored had to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    WasThere,
    Put,
}

impl<'a> Undo<'a> {
    /// Of tags of which none is in doubt.
    pub(super) fn of(job: UndoJob<'a>) -> Self {
        Self {
            job,
            doubts: Doubts::new(),
            brought: OnceMap::default(),
        }
    }

    /// `open` are the tags that are not done with.
    async fn run(&self, undone: &mut Undone, open: &mut BTreeSet<String>) {
        self.round(undone, open).await;
        // What is in doubt gets another look as late as can be.
        self.round(undone, open).await;
        let mut doubtful = std::mem::take(open);
        doubtful.retain(|tag| self.doubts.get(tag) != Some(&Doubt::Moved));
        undone.left.extend(doubtful.into_iter().map(|tag| Left {
            error: self.in_doubt(&tag),
            tag,
        }));
    }

    /// Gives every tag that is `open` a turn. Those that are in doubt after it stay so. What belongs to an
    /// image comes last: nobody sees the image without its signatures.
    async fn round(&self, undone: &mut Undone, open: &mut BTreeSet<String>) {
        let tags = self.job.journal.tags.iter();
        let tags = tags.filter(|moved| open.contains(&moved.tag));
        let (belonging, others): (Vec<&Move>, Vec<&Move>) =
            tags.partition(|moved| is_digest_tag(&moved.tag));
        let mut undeletable = BTreeMap::new();
        for wave in [others, belonging] {
            undeletable.extend(self.put_back_all(wave, undone, open).await);
        }
        if undeletable.is_empty() {
            return;
        }
        for (tag, end) in self.delete_digests(undeletable).await {
            if self.doubts.get(&tag) != Some(&Doubt::Lasting) || end.is_err() {
                open.remove(&tag);
            }
            match end {
                Ok(()) => undone.deleted.push(tag),
                Err(error) => {
                    let error = self.failed(&tag, &error);
                    undone.left.push(Left { tag, error });
                }
            }
        }
    }

    /// Gives these a turn, many at once; those that are to be deleted and cannot be, by tag.
    async fn put_back_all(
        &self,
        moved: Vec<&Move>,
        undone: &mut Undone,
        open: &mut BTreeSet<String>,
    ) -> BTreeMap<String, Error> {
        let ends = stream::iter(moved).map(|moved| async move { (moved, self.one(moved).await) });
        let mut ends = ends.buffer_unordered(AT_ONCE);
        let mut undeletable = BTreeMap::new();
        while let Some((moved, end)) = ends.next().await {
            let tag = moved.tag.clone();
            let doubtful = self.is_doubtful(&tag, &end);
            let error = match end {
                Ok(End::Undeletable(error)) => {
                    undeletable.insert(tag, error);
                    continue;
                }
                Ok(End::Restored) => {
                    undone.restored.push(tag.clone());
                    None
                }
                Ok(End::Deleted) => {
                    undone.deleted.push(tag.clone());
                    None
                }
                Ok(End::AsBefore) => None,
                Ok(End::Theirs(error)) => {
                    undone
                        .grown
                        .extend(self.is_list(moved).then(|| tag.clone()));
                    Some(error)
                }
                Err(error) => Some(self.failed(&tag, &error)),
            };
            if doubtful {
                continue;
            }
            open.remove(&tag);
            undone.left.extend(error.map(|error| Left { tag, error }));
        }
        undeletable
    }

    /// Whether the registry may still move a tag that is as it was.
    fn is_doubtful(&self, tag: &str, end: &Result<End>) -> bool {
        match (self.doubts.get(tag), end) {
            (None, _) | (_, Err(_) | Ok(End::Theirs(_) | End::Undeletable(_))) => false,
            (Some(Doubt::Lasting), _) => true,
            (Some(Doubt::UntilSeen | Doubt::Moved), Ok(end)) => matches!(end, End::AsBefore),
        }
    }

    async fn one(&self, moved: &Move) -> Result<End> {
        let action = self.action(&moved.tag).await;
        let seen = action.is_ok();
        let end = match action {
            Ok(action) => self.put_back(moved, action).await,
            Err(error) => Err(error),
        };
        // An answer may have been lost on its way: what counts is what is there.
        if end.is_err() && matches!(self.action(&moved.tag).await, Ok(Action::Nothing)) {
            return Ok(match moved.before {
                _ if !seen => End::AsBefore,
                Some(_) => End::Restored,
                None => End::Deleted,
            });
        }
        end
    }

    async fn put_back(&self, moved: &Move, action: Action) -> Result<End> {
        match action {
            Action::Nothing => Ok(End::AsBefore),
            Action::Restore(before) => self.restore(moved, &before).await,
            Action::Delete => self.delete(&moved.tag).await,
            Action::Leave { found } => Ok(End::Theirs(self.leave(moved, found.as_ref()).await)),
        }
    }

    /// What the tag needs as it is now.
    pub(super) async fn action(&self, tag: &str) -> Result<Action> {
        let head = self
            .job
            .repository
            .head_for_certain(&Target::Tag(tag.to_owned()))
            .await?;
        let now = Now::from([(tag.to_owned(), head.map(|head| head.digest))]);
        let mut steps = steps(self.job.journal, &now).into_iter();
        Ok(steps.next().map_or(Action::Nothing, |step| step.action))
    }

    async fn restore(&self, moved: &Move, before: &Digest) -> Result<End> {
        let tag = &moved.tag;
        let root = self.job.journal.manifest(before)?;
        if self.bring_children(&root).await? == Brought::Put {
            // That took a while.
            match self.action(tag).await? {
                Action::Restore(_) => {}
                Action::Nothing | Action::Delete => return Ok(End::AsBefore),
                Action::Leave { found } => {
                    return Ok(End::Theirs(self.leave(moved, found.as_ref()).await));
                }
            }
        }
        let target = Target::Tag(tag.clone());
        let repository = self.job.repository;
        match repository.put_manifest(&root, &target).await {
            Ok(()) => {
                let confirmed = repository.confirm(&root, &target).await;
                confirmed.map(|()| End::Restored)
            }
            Err(error) if lacks_content(&error) => Err(lost(&root, &error)),
            Err(error) => Err(error),
        }
    }

    /// Puts the children of `root` that the registry has dropped since.
    pub(super) async fn bring_children(&self, root: &Manifest) -> Result<Brought> {
        let mut brought = Brought::WasThere;
        for child in self.job.journal.children(root)? {
            if self.bring(&child).await? == Brought::Put {
                brought = Brought::Put;
            }
        }
        Ok(brought)
    }

    /// Puts a manifest by its digest where the registry has dropped it.
    pub(super) async fn bring(&self, manifest: &Manifest) -> Result<Brought> {
        let work = self.brought.run(&manifest.digest, async {
            let target = Target::Digest(manifest.digest.clone());
            let repository = self.job.repository;
            if repository.head_for_certain(&target).await?.is_some() {
                return Ok(Brought::WasThere);
            }
            match repository.put_manifest(manifest, &target).await {
                Ok(()) => Ok(Brought::Put),
                Err(error) if lacks_content(&error) => Err(lost(manifest, &error)),
                Err(error) => Err(error),
            }
        });
        Ok(work.await?.into_inner())
    }

    async fn delete(&self, tag: &str) -> Result<End> {
        let target = Target::Tag(tag.to_owned());
        let absent = match self.job.repository.delete(&target).await? {
            Deletion::Done => Error::new(Kind::Unsupported, "delete", self.name(tag))
                .because("the registry said that it did, but the tag is still there"),
            Deletion::Absent(error) => error,
            Deletion::Impossible(error) => return Ok(End::Undeletable(error)),
        };
        // What counts is what is there: somebody else was quicker, an answer was lost, or this registry
        // means something else by what it said.
        match self.job.repository.head_for_certain(&target).await? {
            None => Ok(End::Deleted),
            Some(_) => Ok(End::Undeletable(absent)),
        }
    }

    /// Deletes by digest what cannot be deleted by tag, where nobody else needs the manifest. What goes
    /// may be what kept another, so it is tried again as long as something goes.
    async fn delete_digests(&self, tags: BTreeMap<String, Error>) -> Vec<(String, Result<()>)> {
        let mut groups: BTreeMap<&Digest, BTreeSet<String>> = BTreeMap::new();
        for moved in &self.job.journal.tags {
            if tags.contains_key(&moved.tag) {
                let group = groups.entry(&moved.after).or_default();
                group.insert(moved.tag.clone());
            }
        }
        let mut others = match self.reaches().await {
            Ok(others) => others,
            Err(error) => {
                let why = |tag: &String| (tag.clone(), Err(error.clone()));
                return tags.keys().map(why).collect();
            }
        };
        let mut ends = Vec::new();
        loop {
            let free = groups
                .iter()
                .find(|(digest, group)| keeps(self.job.journal, digest, group, &others).is_none());
            let Some((digest, group)) = free.map(|(digest, group)| (*digest, group.clone())) else {
                break;
            };
            groups.remove(digest);
            let end = self.delete_digest(digest, &group).await;
            if end.is_ok() {
                others.retain(|other| !group.contains(&other.tag));
            }
            ends.extend(group.into_iter().map(|tag| (tag, end.clone())));
        }
        for (digest, group) in groups {
            let why = keeps(self.job.journal, digest, &group, &others).unwrap_or_default();
            for tag in group {
                let refusal = tags.get(&tag).map(Error::cause).unwrap_or_default();
                let cause = format!("the registry deletes no tag by itself ({refusal}), and {why}");
                let error = Error::new(Kind::Unsupported, "delete tag", &tag).because(cause);
                ends.push((tag, Err(error)));
            }
        }
        ends
    }

    async fn delete_digest(&self, digest: &Digest, tags: &BTreeSet<String>) -> Result<()> {
        let failed = |why: &str| Error::new(Kind::Unsupported, "delete", digest).because(why);
        if self.job.repository.has_referrers(digest).await? == Some(true) {
            return Err(failed("other manifests refer to it"));
        }
        let otherwise = match self
            .job
            .repository
            .delete(&Target::Digest(digest.clone()))
            .await?
        {
            Deletion::Done => "the registry deleted the manifest, but not its tag".to_owned(),
            Deletion::Absent(error) => format!(
                "the registry says that there is no such manifest ({}), but its tag is still there",
                error.cause()
            ),
            Deletion::Impossible(error) => return Err(failed(error.cause())),
        };
        for tag in tags {
            let target = Target::Tag(tag.clone());
            if self
                .job
                .repository
                .head_for_certain(&target)
                .await?
                .is_some()
            {
                return Err(failed(&otherwise));
            }
        }
        Ok(())
    }

    /// What every tag of the repository leads to. A failure to find out is one: nothing is deleted then.
    async fn reaches(&self) -> Result<Vec<Reach>> {
        let tags = self.job.repository.tags().await?;
        let known = OnceMap::default();
        let reads = stream::iter(tags).map(|tag| {
            let known = &known;
            async move { self.reach(tag, known).await }
        });
        let reads: Vec<Result<Reach>> = reads.buffer_unordered(AT_ONCE).collect().await;
        reads.into_iter().collect()
    }

    async fn reach(&self, tag: String, known: &OnceMap<Vec<Digest>>) -> Result<Reach> {
        let mut digests = BTreeSet::new();
        let root = self
            .job
            .repository
            .head_for_certain(&Target::Tag(tag.clone()))
            .await?;
        let mut open: Vec<Digest> = root.map(|root| root.digest).into_iter().collect();
        while let Some(digest) = open.pop() {
            if digests.insert(digest.clone()) {
                let children = known.run(&digest, self.named_by(&digest));
                open.extend(children.await?.into_inner());
            }
        }
        Ok(Reach { tag, digests })
    }

    /// The digests that a manifest lists; none where it is not there.
    async fn named_by(&self, digest: &Digest) -> Result<Vec<Digest>> {
        let manifest = self
            .job
            .repository
            .manifest_for_certain(&Target::Digest(digest.clone()))
            .await?;
        let entries = manifest.iter().flat_map(Manifest::entries);
        Ok(entries.map(|entry| entry.digest.clone()).collect())
    }
}

/// The error of a manifest that the registry refuses to take back. Most say that they have lost what it
/// names; some refuse it without a reason, which may be that.
fn lost(manifest: &Manifest, error: &Error) -> Error {
    let why = match error.kind() {
        Kind::NotFound => "whose content the registry has lost",
        _ => "which the registry no longer takes; it may have lost its content",
    };
    let (digest, said) = (&manifest.digest, error.cause());
    let cause = format!("what it pointed at leads to {digest}, {why}: {said}");
    Error::new(Kind::NotFound, "write manifest", digest).because(cause)
}
