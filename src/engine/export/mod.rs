//! Writing an archive: every tag is read first; then the blobs come; then the file gets its name.

mod docker;
mod oci;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::bring::Tally;
use super::{Shared, Showing, Tag, TagEnd, unfinished};
use crate::bounded::{late, try_all};
use crate::endpoint::Endpoint;
use crate::endpoint::archive::compose::Beside;
use crate::endpoint::archive::docker_manifest;
use crate::endpoint::archive::shelf::Shelved;
use crate::error::{Error, Kind, Result};
use crate::event::Status;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest, Stated};
use crate::options::Run;
use crate::plan::Choice;
use crate::sanitize::few;

/// A tag that has been read and is to be written.
pub(super) struct Ready {
    pub(super) tag: Tag,
    pub(super) load: Load,
    /// Whether the archive is not as it should be for this tag.
    changes: bool,
}

/// What comes into the archive for a tag.
pub(super) struct Load {
    root: Arc<Shelved>,
    below: Vec<Arc<Shelved>>,
    /// What refers to them.
    beside: Vec<Beside>,
    repository: Option<String>,
}

impl Tag {
    /// Reads every manifest of `choice`; the plan of the archive holds none of them.
    pub(super) async fn load(&mut self, choice: &Choice) -> Result<Load> {
        let filtered = &choice.filtered;
        let kept = filtered.kept.iter();
        let images = try_all(kept.map(|entry| late(|| self.shelve(entry, choice)))).await?;
        let mut beside = self.gather(choice.subjects()).await?;
        let root = self.grown(choice).await?;
        let waiting = &self.shared.shelf;
        let root = waiting.put(&root)?;
        let nested = filtered.nested.iter().map(|index| waiting.put(index));
        let mut below: Vec<Arc<Shelved>> = nested.collect::<Result<_>>()?;
        below.extend(images);
        let all: Vec<&Arc<Shelved>> = std::iter::once(&root).chain(&below).collect();
        beside.extend(self.lists_with(&all).await?);
        Ok(Load {
            beside,
            root,
            below,
            // A list belongs to a digest, wherever that is.
            repository: match self.merged {
                Some(_) => None,
                None => self.shared.source.repository(&self.job.source).await?,
            },
        })
    }

    async fn shelve(&self, entry: &Descriptor, choice: &Choice) -> Result<Arc<Shelved>> {
        let _room = self.shared.children.of(entry.size).await;
        self.shared.shelf.put(&self.image(entry, choice).await?)
    }
}

impl Load {
    /// The one image, where it is one.
    fn image(&self) -> Result<Manifest> {
        self.below.first().unwrap_or(&self.root).read()
    }

    /// What docker calls the one image: the digest of its config.
    pub(super) fn image_id(&self) -> Result<Digest> {
        docker_manifest::config(&self.image()?).map(|config| config.digest.clone())
    }
}

impl Ready {
    pub(super) fn new(tag: Tag, load: Load) -> Self {
        Self {
            tag,
            load,
            changes: true,
        }
    }
}

/// Writes the archive of all that is `ready`; what became of each, in the order of the tags.
/// Where all or nothing is to be shown, nothing is written once a tag `failed`, here or before.
pub(super) async fn run(
    shared: &Arc<Shared>,
    mut ready: Vec<Ready>,
    (failed, cancelled): (bool, &CancellationToken),
) -> Vec<TagEnd> {
    ready.sort_by_key(|ready| ready.tag.place);
    match &shared.destination {
        Endpoint::OciArchive(archive) => {
            let mut export = Export::of((shared, archive.as_ref()), ready, failed);
            let written = export.write(cancelled).await;
            export.ends(written)
        }
        Endpoint::DockerArchive(archive) => {
            let mut export = Export::of((shared, archive.as_ref()), ready, failed);
            let written = export.write(cancelled).await;
            export.ends(written)
        }
        Endpoint::Registry(_) | Endpoint::Layout(_) => Vec::new(),
    }
}

/// An archive on its way.
struct Export<'a, A> {
    shared: &'a Arc<Shared>,
    archive: &'a A,
    ready: Vec<Ready>,
    /// Why a tag is not in it, by the place of the tag in `ready`.
    failed: Vec<Option<Error>>,
    /// Whether a tag failed before it was ready.
    others_failed: bool,
    /// Whether what went out cannot become an archive any more.
    is_abandoned: bool,
}

/// A blob as a descriptor states it, and the tags that need it so.
struct Needed {
    blob: Descriptor,
    users: Vec<usize>,
}

/// Those of `needed` of which two sizes are stated: one is wrong.
fn disputed(needed: BTreeMap<Stated, Needed>) -> Vec<Needed> {
    let mut sizes: BTreeMap<&Digest, usize> = BTreeMap::new();
    for (digest, _) in needed.keys() {
        *sizes.entry(digest).or_default() += 1;
    }
    let several = |(digest, _): &Stated| sizes.get(digest).is_some_and(|count| *count > 1);
    let disputed: BTreeSet<Stated> = needed.keys().filter(|key| several(key)).cloned().collect();
    let needed = needed.into_iter();
    let needed = needed.filter(|(stated, _)| disputed.contains(stated));
    needed.map(|(_, needed)| needed).collect()
}

impl<'a, A> Export<'a, A> {
    fn of((shared, archive): (&'a Arc<Shared>, &'a A), ready: Vec<Ready>, failed: bool) -> Self {
        Self {
            shared,
            archive,
            failed: ready.iter().map(|_| None).collect(),
            ready,
            others_failed: failed,
            is_abandoned: false,
        }
    }

    /// Whether nothing is written, since not everything can be.
    fn is_off(&self) -> bool {
        let failed = self.others_failed || self.alive() < self.ready.len();
        self.is_abandoned || (self.shared.showing == Showing::Later && failed)
    }

    /// Asks the source for the sizes of `blobs`, and fails the tags that state another one.
    async fn check_sizes(&mut self, blobs: Vec<Needed>) -> Result<()> {
        let source = &self.shared.source;
        let asked = blobs.iter().map(async |needed| {
            let size = source.blob_size(&needed.blob).await;
            Ok::<_, Error>(match size {
                Ok(size) => size.and_then(|size| source.check_size(&needed.blob, size).err()),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => Some(error),
            })
        });
        let wrong = try_all(asked).await?;
        for (needed, wrong) in blobs.iter().zip(wrong) {
            if let Some(error) = wrong {
                self.fail(&needed.users, &error);
            }
        }
        Ok(())
    }

    /// Whether a tag fails for what it states of the largest of the blobs that are `needed`: where an archive cannot
    /// be begun, that may be why.
    async fn doubt_largest(&mut self, needed: BTreeMap<Stated, Needed>) -> Result<bool> {
        let tags = self.alive();
        let needed = needed.into_values();
        let alive = needed.filter(|needed| self.is_wanted(Some(&needed.users)));
        let largest = alive.max_by_key(|needed| needed.blob.size);
        self.check_sizes(largest.into_iter().collect()).await?;
        Ok(self.alive() < tags)
    }

    /// How many tags have not failed.
    fn alive(&self) -> usize {
        self.failed.iter().filter(|failed| failed.is_none()).count()
    }

    fn fail_all(&mut self, error: &Error) {
        for (ready, failed) in self.ready.iter().zip(&mut self.failed) {
            failed.get_or_insert_with(|| match error.kind() {
                Kind::Interrupted => unfinished(&ready.tag.job, self.shared),
                _ => error.clone(),
            });
        }
    }

    /// Whether a blob of these tags is still needed; one of no tag is, since the archive had it.
    fn is_wanted(&self, users: Option<&[usize]>) -> bool {
        let alive = |user: &usize| matches!(self.failed.get(*user), Some(None));
        users.is_none_or(|users| users.iter().any(alive))
    }

    fn fail(&mut self, users: &[usize], error: &Error) {
        for user in users {
            if let Some(failed) = self.failed.get_mut(*user) {
                failed.get_or_insert_with(|| error.clone());
            }
        }
    }

    /// What became of each tag once the archive is `written`; an error is every tag's.
    fn ends(mut self, written: Result<()>) -> Vec<TagEnd> {
        if let Err(error) = written {
            self.fail_all(&error);
        }
        let abandoned = self.abandoned();
        let is_off = self.is_off();
        let (run, showing) = (self.shared.settings.run, self.shared.showing);
        let ended = |(mut ready, failed): (Ready, Option<Error>)| {
            let changes = ready.changes;
            if showing == Showing::Later && run == Run::Real && changes {
                let before = ready.tag.there.as_ref().map(|head| head.digest.clone());
                ready.tag.outcome.previous_digest = before;
            }
            if failed.is_some() || (is_off && run == Run::Real) {
                // Nothing of it is in the archive.
                *ready.tag.tally() = Tally::default();
            }
            if failed.is_none() && abandoned.is_some() {
                ready.tag.outcome.error.clone_from(&abandoned);
                return ready.tag.end(Ok(Status::RolledBack));
            }
            ready.tag.end(match (failed, changes, run) {
                (Some(error), _, _) => Err(error),
                (None, false, _) => Ok(Status::Current),
                (None, true, Run::Dry) => Ok(Status::WouldCopy),
                (None, true, Run::Real) => Ok(Status::Copied),
            })
        };
        self.ready.into_iter().zip(self.failed).map(ended).collect()
    }

    /// Why tags that did not fail themselves are not in a stream.
    fn abandoned(&self) -> Option<Error> {
        if !self.is_abandoned {
            return None;
        }
        let tags = self.ready.iter().zip(&self.failed);
        let failed = tags.filter(|(_, failed)| failed.is_some());
        let names: Vec<&str> = failed.map(|(ready, _)| &*ready.tag.job.name).collect();
        let names = few(&names);
        let cause = format!("the stream was abandoned because {names} failed");
        let hint = format!(
            "a stream is all or nothing: leave {names} out (--exclude-tags), or write to a file, where the others are kept"
        );
        let error = Error::new(Kind::Unsupported, "write", &self.shared.destination);
        Some(error.because(cause).hint(hint))
    }
}

/// A signal came: every tag is told in its own words.
fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "write the archive", "")
}
