//! An OCI archive: each blob has its place before the first one moves, so several come at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::bring::Tally;
use super::{Export, Needed, Ready, disputed, interrupted};
use crate::endpoint::Endpoint;
use crate::endpoint::archive::OciArchive;
use crate::endpoint::archive::compose::Incoming;
use crate::endpoint::archive::members::Listing;
use crate::endpoint::archive::writer::Writer;
use crate::endpoint::{Arrival, Target};
use crate::error::{Error, Result};
use crate::image::manifest::Stated;
use crate::inventory::difference::Part;
use crate::once_map::Done;
use crate::options::Run;

impl Ready {
    fn incoming(&self) -> Incoming<'_> {
        let without = match &self.tag.shared.destination {
            Endpoint::OciArchive(archive) => archive.without(),
            Endpoint::Registry(_) | Endpoint::Layout(_) | Endpoint::DockerArchive(_) => None,
        };
        Incoming {
            without,
            target: &self.tag.job.destination,
            repository: self.load.repository.as_deref(),
            root: &self.load.root,
            below: &self.load.below,
            beside: &self.load.beside,
        }
    }
}

impl Export<'_, OciArchive> {
    /// Writes the archive; an error is every tag's.
    pub(super) async fn write(&mut self, cancelled: &CancellationToken) -> Result<()> {
        // A pipe that nobody reads is never open, and never takes what is written.
        let filled = cancelled.run_until_cancelled(self.fill()).await;
        match filled.unwrap_or_else(|| Err(interrupted()))? {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    }

    /// All but the end of the archive; nothing where nothing is to be written, and where a stream had its
    /// end.
    async fn fill(&mut self) -> Result<Option<Writer>> {
        for (ready, failed) in self.ready.iter().zip(&mut self.failed) {
            *failed = self.archive.check_owner(&ready.incoming()).await.err();
        }
        // Decided before anything has its place: a stream takes nothing back.
        self.check_sizes(disputed(self.needed())).await?;
        self.count().await?;
        let changes = |(ready, failed): (&Ready, &Option<Error>)| failed.is_none() && ready.changes;
        let any = self.ready.iter().zip(&self.failed).any(changes);
        if !any || self.shared.settings.run == Run::Dry || self.is_off() {
            return Ok(None);
        }
        let Some((listing, writer)) = self.begin().await? else {
            return Ok(None);
        };
        let mut writer = Arc::new(writer);
        let mut tags = self.alive();
        let all: Vec<usize> = (0..listing.blobs.len()).collect();
        self.bring(&writer, &listing, &all).await?;
        loop {
            if self.alive() == 0 || self.is_off() {
                return Ok(None);
            }
            if self.alive() == tags {
                break;
            }
            tags = self.alive();
            self.count().await?;
            let kept = self.listing().await?;
            let sole = Arc::get_mut(&mut writer).ok_or_else(still_written)?;
            let missing = sole.keep(&kept).await?;
            self.bring(&writer, &kept, &missing).await?;
        }
        let writer = Arc::into_inner(writer).ok_or_else(still_written)?;
        if writer.is_stream() {
            writer.finish().await?;
            return Ok(None);
        }
        Ok(Some(writer))
    }

    /// Begins to write what the archive is to hold; nothing where no tag is left.
    async fn begin(&mut self) -> Result<Option<(Listing, Writer)>> {
        loop {
            let listing = self.listing().await?;
            let writer = self.archive.write(&listing, self.shared.settings.jobs);
            let error = match writer.await {
                Ok(writer) => return Ok(Some((listing, writer))),
                Err(error) => error,
            };
            if !self.doubt_largest(self.needed()).await? {
                return Err(error);
            }
            self.count().await?;
            if self.alive() == 0 || self.is_off() {
                return Ok(None);
            }
        }
    }

    /// What the archive holds with every tag that has not failed.
    async fn listing(&self) -> Result<Listing> {
        let tags = self.ready.iter().zip(&self.failed);
        let alive = tags.filter(|(_, failed)| failed.is_none());
        let images: Vec<Incoming> = alive.map(|(ready, _)| ready.incoming()).collect();
        self.archive.listing(&images, &self.shared.shelf).await
    }

    /// Counts what comes for each tag.
    async fn count(&mut self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (ready, failed) in self.ready.iter_mut().zip(&self.failed) {
            let mut tally = Tally::default();
            if failed.is_none() {
                let incoming = ready.incoming();
                let mut changes = !ready.tag.is_right(&incoming.root.digest);
                for blob in incoming.blobs() {
                    let arrival = if self.archive.has_blob(blob).await? {
                        Done::Now(Arrival::Existing)
                    } else {
                        changes = true;
                        if seen.insert(blob.stated()) {
                            Done::Now(Arrival::Copied)
                        } else {
                            Done::Before(Arrival::Copied)
                        }
                    };
                    tally.add(blob, arrival);
                }
                for part in incoming.left_out() {
                    if part.part == Part::Manifest {
                        continue;
                    }
                    if seen.insert((part.digest.clone(), part.size)) {
                        tally.leave_out(part.size);
                    } else {
                        let counted = Done::Before(Arrival::Existing);
                        tally.add(&part.descriptor(), counted);
                    }
                }
                for manifest in incoming.manifests() {
                    let target = Target::Digest(manifest.digest.clone());
                    changes |= self.archive.head(&target).await?.is_none();
                }
                for manifest in incoming.all_manifests() {
                    tally.add_foreign(manifest.foreign);
                }
                for beside in incoming.beside {
                    if let Some(target @ Target::Tag(_)) = &beside.entry {
                        let there = self.archive.head(target).await?;
                        let there = there.map(|there| there.digest);
                        changes |= there.as_ref() != Some(&beside.manifest.digest);
                    }
                }
                ready.changes = changes;
            }
            *ready.tag.tally() = tally;
        }
        Ok(())
    }

    /// Brings the blobs of these places. One that fails fails the tags that need it, or all where nothing
    /// but the archive itself needs it. A stream, from which it cannot be left out, ends there.
    async fn bring(
        &mut self,
        writer: &Arc<Writer>,
        listing: &Listing,
        places: &[usize],
    ) -> Result<()> {
        let needed = self.needed();
        let mut waiting = places.iter().copied();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.shared.settings.jobs
                && let Some(place) = waiting.next()
            {
                let Some(blob) = listing.blobs.get(place) else {
                    continue;
                };
                if !self.is_wanted(users(&needed, &blob.stated())) {
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
                    brought.map_err(|error| (blob.stated(), error))
                }));
            }
            let Some(ended) = running.join_next().await else {
                return Ok(());
            };
            let panicked = |_| Error::internal("write", &self.shared.destination);
            let ended = ended.map_err(panicked)?;
            if let Err((stated, error)) = ended {
                match users(&needed, &stated) {
                    Some(users) if !error.is_fatal() => self.fail(users, &error),
                    _ => return Err(error),
                }
                if writer.is_stream() {
                    self.is_abandoned = true;
                    return Ok(());
                }
            }
        }
    }

    /// The blobs that the tags need which have not failed.
    fn needed(&self) -> BTreeMap<Stated, Needed> {
        let mut needed: BTreeMap<Stated, Needed> = BTreeMap::new();
        let tags = self.ready.iter().zip(&self.failed).enumerate();
        let alive = tags.filter(|(_, (_, failed))| failed.is_none());
        for (number, (ready, _)) in alive {
            for blob in ready.incoming().blobs() {
                let known = needed.entry(blob.stated());
                let known = known.or_insert_with(|| Needed {
                    blob: blob.clone(),
                    users: Vec::new(),
                });
                known.users.push(number);
            }
        }
        needed
    }
}

fn users<'n>(needed: &'n BTreeMap<Stated, Needed>, blob: &Stated) -> Option<&'n [usize]> {
    Some(&needed.get(blob)?.users)
}

fn still_written() -> Error {
    Error::internal("write the archive", "")
}
