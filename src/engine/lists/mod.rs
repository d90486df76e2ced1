//! Lists of referrers, where a place keeps them itself: what is to be in them is collected while manifests come,
//! and written before a tag is shown that needs it. Registries cannot compare and swap, so the runs of this
//! machine take turns. `copied`: a list whose tag is one of the run's.

mod copied;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::rollback::Use;
use super::{Shared, Showing, Tag};
use crate::bounded::try_all;
use crate::endpoint::{Endpoint, Listing};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::image::manifest::Manifest;
use crate::image::referrers::{Additions, list_tag};
use crate::state::{Lock, StateDirectory};

/// How often is looked whether it is this run's turn.
const LOOK: Duration = Duration::from_millis(20);
/// A turn that takes longer to come is told of.
const LONG: Duration = Duration::from_secs(1);

#[derive(Default)]
struct List {
    /// How often writing it failed.
    failures: AtomicUsize,
    /// Locked while it is written: a tag that needs what is to be in it waits.
    wanted: tokio::sync::Mutex<Wanted>,
}

/// What is still to be entered into a list.
#[derive(Default)]
struct Wanted {
    added: Additions,
    /// Why writing it failed last.
    failed: Option<Error>,
}

/// The lists, by their tags.
#[derive(Default)]
pub(super) struct Lists(Mutex<BTreeMap<String, Arc<List>>>);

impl Lists {
    fn of(&self, tag: &str) -> Arc<List> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(tag.to_owned()).or_default())
    }
}

impl Tag {
    fn lists(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an image or index; one that names a subject is to be listed, unless the registry says that it
    /// has done so (distribution-spec 1.1, "Pushing Manifests with Subject").
    pub(super) async fn store(&self, manifest: &Manifest) -> Result<()> {
        let destination = &self.shared.destination;
        let Some(subject) = manifest.subject() else {
            let put = || -> BoxFuture<'_, _> { Box::pin(destination.put_manifest(manifest)) };
            return self.insist(manifest, put).await;
        };
        let put = || -> BoxFuture<'_, _> { Box::pin(destination.put_referrer(manifest)) };
        if self.insist(manifest, put).await? == Listing::Wanted {
            let added = Additions::of([manifest]);
            self.want_listed(&list_tag(&subject.digest), added).await;
        }
        Ok(())
    }

    /// Has `added` be in the list under `tag` before this tag is shown.
    pub(super) async fn want_listed(&self, tag: &str, added: Additions) {
        match self.shared.showing {
            Showing::AtOnce => {
                let list = self.shared.lists.of(tag);
                list.wanted.lock().await.added.add(added);
            }
            Showing::Later => self.attachment_tags().list(tag, (&self.job.name, added)),
        }
    }

    /// Notes a manifest that this tag leads to, whichever tag of the run stored it.
    pub(super) fn note_subject(&self, manifest: &Manifest) {
        if let Some(subject) = manifest.subject() {
            self.lists().insert(list_tag(&subject.digest));
        }
    }

    /// Writes the lists that this tag needs, where they have not been written.
    pub(super) async fn write_lists(&mut self) -> Result<()> {
        let lists = std::mem::take(&mut *self.lists());
        let written = lists.iter().map(|tag| self.shared.write_list(tag));
        try_all(written).await?;
        self.relied.extend(lists.into_iter().map(|tag| (tag, None)));
        Ok(())
    }
}

impl Shared {
    /// Writes the list under `tag`, where something is still to be entered. A failure, after all its retries, is
    /// shared by the tags that waited for it, as in [`OnceMap`](crate::once_map::OnceMap).
    pub(super) async fn write_list(&self, tag: &str) -> Result<()> {
        let list = self.lists.of(tag);
        let failures = list.failures.load(Ordering::Relaxed);
        let mut wanted = list.wanted.lock().await;
        if wanted.added.is_empty() {
            return Ok(());
        }
        if let Some(error) = &wanted.failed
            && list.failures.load(Ordering::Relaxed) != failures
        {
            return Err(error.clone());
        }
        if let Err(error) = self.grow(tag, &wanted.added).await {
            list.failures.fetch_add(1, Ordering::Relaxed);
            wanted.failed = Some(error.clone());
            return Err(error);
        }
        *wanted = Wanted::default();
        Ok(())
    }

    /// Makes the list under `tag` hold `added`. A list that an unfinished rollback run moved is not written.
    async fn grow(&self, tag: &str, added: &Additions) -> Result<()> {
        if let Err(error) = self.journals.allow(tag, Use::Growth) {
            let grown = self.destination.merged_list(tag, added).await?;
            return grown.map_or(Ok(()), |_| Err(error));
        }
        let _turns = self.turns([tag]).await;
        self.destination.list_referrers(tag, added.clone()).await
    }

    /// Waits until no other run of this machine is at the lists under `tags`, and keeps them off. Who cannot
    /// is told, and goes on: runs of other machines cannot be kept off either.
    pub(super) async fn turns(&self, tags: impl IntoIterator<Item = &str>) -> Vec<Lock> {
        let (Some(state), Endpoint::Registry(_)) = (&self.settings.state, &self.destination) else {
            return Vec::new();
        };
        let place = format!("docker://{}", self.destination);
        match self.wait(state, (&place, tags)).await {
            Ok(locks) => locks,
            Err(error) => {
                let warning = format!(
                    "{error}; while lists of referrers are written, other runs of this machine are not kept off"
                );
                self.warned
                    .get_or_init(|| self.events.send(Event::Warning(warning)));
                Vec::new()
            }
        }
    }

    async fn wait(
        &self,
        state: &StateDirectory,
        (place, tags): (&str, impl IntoIterator<Item = &str>),
    ) -> Result<Vec<Lock>> {
        let mut locks = Vec::new();
        for file in state.list_locks(place, tags) {
            let (since, mut told) = (Instant::now(), false);
            loop {
                if let Some(lock) = state.take(&file)? {
                    locks.push(lock);
                    break;
                }
                if !told {
                    tracing::info!(%place, "waiting for another run, which writes lists of referrers");
                    told = true;
                }
                if since.elapsed() >= LONG {
                    self.waited.get_or_init(|| {
                        let text = format!("another run writes lists of referrers into {place}; waiting for its turn to end");
                        self.events.send(Event::Warning(text));
                    });
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(locks)
    }
}
