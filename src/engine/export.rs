//! Writing an archive: every tag is read first, so that each blob has its place before the first one moves;
//! then the blobs come, several at once; then the file gets its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bring::Tally;
use super::once::Done;
use super::{Shared, Showing, Tag, TagEnd, unfinished};
use crate::endpoint::archive::OciArchive;
use crate::endpoint::archive::compose::Incoming;
use crate::endpoint::archive::members::Listing;
use crate::endpoint::archive::writer::Writer;
use crate::endpoint::{Arrival, Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Status;
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::options::Run;
use crate::plan::Choice;

/// A tag that has been read and is to be written.
pub(super) struct Ready {
    pub(super) tag: Tag,
    pub(super) load: Load,
    /// Whether the archive is not as it should be for this tag.
    changes: bool,
}

/// What comes into the archive for a tag.
pub(super) struct Load {
    root: Manifest,
    below: Vec<Manifest>,
    repository: Option<String>,
}

impl Tag {
    /// Reads every manifest of `choice`.
    pub(super) async fn load(&self, choice: &Choice) -> Result<Load> {
        let filtered = &choice.filtered;
        let read = filtered.kept.iter().map(|entry| async move {
            match self.child(entry).await {
                Ok(image) => Ok(Some(image)),
                Err(error) if error.kind() == Kind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let images: Option<Vec<Manifest>> = try_join_all(read).await?.into_iter().collect();
        let Some(images) = images else {
            return Err(self.lost(choice.listed(), &filtered.kept).await);
        };
        Ok(Load {
            root: filtered.root.clone(),
            below: filtered.nested.iter().cloned().chain(images).collect(),
            repository: self.shared.source.repository(&self.job.source).await?,
        })
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

    fn incoming(&self) -> Incoming<'_> {
        Incoming {
            target: &self.tag.job.destination,
            repository: self.load.repository.as_deref(),
            root: &self.load.root,
            below: &self.load.below,
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
    let Endpoint::OciArchive(archive) = &shared.destination else {
        return Vec::new();
    };
    ready.sort_by_key(|ready| ready.tag.place);
    let mut export = Export {
        shared,
        archive,
        failed: ready.iter().map(|_| None).collect(),
        ready,
        others_failed: failed,
    };
    if let Err(error) = export.write(cancelled).await {
        export.fail_all(&error, cancelled);
    }
    export.ends()
}

/// An archive on its way.
struct Export<'a> {
    shared: &'a Arc<Shared>,
    archive: &'a OciArchive,
    ready: Vec<Ready>,
    /// Why a tag is not in it, by the place of the tag in `ready`.
    failed: Vec<Option<Error>>,
    /// Whether a tag failed before it was ready.
    others_failed: bool,
}

impl Export<'_> {
    /// Writes the archive; an error is every tag's.
    async fn write(&mut self, cancelled: &CancellationToken) -> Result<()> {
        if cancelled.is_cancelled() {
            return Err(interrupted());
        }
        for (ready, failed) in self.ready.iter().zip(&mut self.failed) {
            *failed = self.archive.check_owner(&ready.incoming()).await.err();
        }
        self.count().await?;
        let changes = |(ready, failed): (&Ready, &Option<Error>)| failed.is_none() && ready.changes;
        let any = self.ready.iter().zip(&self.failed).any(changes);
        if !any || self.shared.settings.run == Run::Dry || self.is_off() {
            return Ok(());
        }
        let listing = self.listing().await?;
        let writer = self.archive.write(&listing, self.shared.settings.jobs);
        let mut writer = Arc::new(writer.await?);
        let tags = self.alive();
        let all: Vec<usize> = (0..listing.blobs.len()).collect();
        let moved = cancelled.run_until_cancelled(self.bring(&writer, &listing, &all));
        moved.await.unwrap_or_else(|| Err(interrupted()))?;
        if self.alive() == 0 || self.is_off() {
            return Ok(());
        }
        if self.alive() < tags {
            self.count().await?;
            let kept = self.listing().await?;
            let sole = Arc::get_mut(&mut writer).ok_or_else(still_written)?;
            let missing = sole.keep(&kept).await?;
            let moved = cancelled.run_until_cancelled(self.bring(&writer, &kept, &missing));
            moved.await.unwrap_or_else(|| Err(interrupted()))?;
        }
        let writer = Arc::into_inner(writer).ok_or_else(still_written)?;
        writer.finish().await
    }

    /// Whether nothing is written, since not everything can be.
    fn is_off(&self) -> bool {
        let failed = self.others_failed || self.alive() < self.ready.len();
        self.shared.showing == Showing::Later && failed
    }

    /// How many tags have not failed.
    fn alive(&self) -> usize {
        self.failed.iter().filter(|failed| failed.is_none()).count()
    }

    fn fail_all(&mut self, error: &Error, cancelled: &CancellationToken) {
        for (ready, failed) in self.ready.iter().zip(&mut self.failed) {
            failed.get_or_insert_with(|| match error.kind() {
                Kind::Interrupted => unfinished(&ready.tag.job, cancelled),
                _ => error.clone(),
            });
        }
    }

    /// What the archive holds with every tag that has not failed.
    async fn listing(&self) -> Result<Listing> {
        let tags = self.ready.iter().zip(&self.failed);
        let alive = tags.filter(|(_, failed)| failed.is_none());
        let images: Vec<Incoming> = alive.map(|(ready, _)| ready.incoming()).collect();
        self.archive.listing(&images).await
    }

    /// Counts what comes for each tag.
    async fn count(&mut self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (ready, failed) in self.ready.iter_mut().zip(&self.failed) {
            let mut tally = Tally::default();
            if failed.is_none() {
                let incoming = ready.incoming();
                let mut changes = !ready.tag.is_right(incoming.root);
                for blob in incoming.blobs() {
                    let arrival = if self.archive.has_blob(blob).await? {
                        Done::Now(Arrival::Existing)
                    } else {
                        changes = true;
                        if seen.insert(blob.digest.clone()) {
                            Done::Now(Arrival::Copied)
                        } else {
                            Done::Before(Arrival::Copied)
                        }
                    };
                    tally.add(blob, arrival);
                }
                for manifest in incoming.manifests() {
                    let target = Target::Digest(manifest.digest.clone());
                    changes |= self.archive.head(&target).await?.is_none();
                    tally.add_foreign(manifest);
                }
                ready.changes = changes;
            }
            *ready.tag.tally() = tally;
        }
        Ok(())
    }

    /// Brings the blobs of these places. One that fails fails the tags that need it; where its bytes are
    /// out already, or nothing but the archive itself needs it, all.
    async fn bring(
        &mut self,
        writer: &Arc<Writer>,
        listing: &Listing,
        places: &[usize],
    ) -> Result<()> {
        let users = self.users();
        let mut waiting = places.iter().copied();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.shared.settings.jobs
                && let Some(place) = waiting.next()
            {
                let Some(blob) = listing.blobs.get(place) else {
                    continue;
                };
                if !self.is_wanted(users.get(&blob.digest)) {
                    continue;
                }
                let held = self.archive.has_blob(blob).await?;
                let shared = self.shared;
                let source = if held {
                    &shared.destination
                } else {
                    &shared.source
                };
                let (writer, source, blob) = (Arc::clone(writer), source.clone(), blob.clone());
                running.spawn(shared.transfers.track_future(async move {
                    let brought = writer.bring(place, &blob, &source).await;
                    brought.map_err(|error| (blob.digest, error))
                }));
            }
            let Some(ended) = running.join_next().await else {
                return Ok(());
            };
            let ended = ended.map_err(|why| {
                Error::new(Kind::Protocol, "write", &self.shared.destination).because(why)
            })?;
            if let Err((digest, error)) = ended {
                match users.get(&digest) {
                    Some(users) if !writer.is_stream() && !error.hits_all() => {
                        self.fail(users, &error);
                    }
                    _ => return Err(error),
                }
            }
        }
    }

    /// The tags that need each blob.
    fn users(&self) -> BTreeMap<Digest, Vec<usize>> {
        let mut users: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (number, ready) in self.ready.iter().enumerate() {
            for blob in ready.incoming().blobs() {
                users.entry(blob.digest.clone()).or_default().push(number);
            }
        }
        users
    }

    /// Whether a blob of these tags is still needed; one of no tag is, since the archive had it.
    fn is_wanted(&self, users: Option<&Vec<usize>>) -> bool {
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

    fn ends(self) -> Vec<TagEnd> {
        let run = self.shared.settings.run;
        let ended = |(ready, failed): (Ready, Option<Error>)| {
            let changes = ready.changes;
            if failed.is_some() {
                // Nothing of it is in the archive.
                *ready.tag.tally() = Tally::default();
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
}

/// A signal came: every tag is told in its own words.
fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "write the archive", "")
}

fn still_written() -> Error {
    Error::new(Kind::Protocol, "write the archive", "")
        .because("an internal error, please report it")
}
