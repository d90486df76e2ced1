//! The queue of tags. If the source is a stream, all tags first decide which blobs they need; only then are they copied.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::stream_import::Import;
use super::tag::{Decided, Step, one_tag};
use super::{Shared, TAGS_AT_ONCE, TagJob};

/// The work on one tag.
pub(super) type Work = Pin<Box<dyn Future<Output = Step> + Send>>;

/// A tag in progress; dropping it makes room for the next one.
pub(super) struct Begun {
    pub(super) job: TagJob,
    _permit: OwnedSemaphorePermit,
}

/// The tags of a run that are not in progress.
pub(super) struct TagQueue {
    shared: Arc<Shared>,
    /// For tags in progress.
    permits: Arc<Semaphore>,
    new: std::iter::Enumerate<std::vec::IntoIter<TagJob>>,
    /// The stream, until all tags have decided.
    deciding: Option<Arc<Import>>,
    decided: BTreeMap<usize, Decided>,
}

impl TagQueue {
    pub(super) fn new(shared: &Arc<Shared>, tags: Vec<TagJob>) -> Self {
        Self {
            shared: Arc::clone(shared),
            permits: Arc::new(Semaphore::new(TAGS_AT_ONCE)),
            new: tags.into_iter().enumerate(),
            deciding: shared.import.clone(),
            decided: BTreeMap::new(),
        }
    }

    /// The next tag, and the work on it; `None` also while too many are in progress.
    pub(super) fn next(&mut self) -> Option<(Begun, Work)> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        if let Some((place, job)) = self.new.next() {
            let work = one_tag(Arc::clone(&self.shared), job.clone(), place);
            return Some((
                Begun {
                    job,
                    _permit: permit,
                },
                Box::pin(work),
            ));
        }
        let others = TAGS_AT_ONCE - 1 - self.permits.available_permits();
        if let Some(import) = self.deciding.take_if(|_| others == 0) {
            import.begin(&self.shared);
        }
        if self.deciding.is_some() {
            return None;
        }
        let (_, decided) = self.decided.pop_first()?;
        let job = decided.tag.job.clone();
        Some((
            Begun {
                job,
                _permit: permit,
            },
            Box::pin(decided.run()),
        ))
    }

    /// Queues a tag that has decided.
    pub(super) fn put_back(&mut self, decided: Decided) {
        self.decided.insert(decided.tag.place, decided);
    }

    /// No more tags are taken.
    pub(super) fn close(&mut self) {
        if let Some(import) = self.deciding.take() {
            import.give_up();
        }
    }

    /// The tags that were never copied.
    pub(super) fn rest(self) -> impl Iterator<Item = TagJob> {
        let decided = self.decided.into_values().map(|decided| decided.tag.job);
        self.new.map(|(_, job)| job).chain(decided)
    }
}
