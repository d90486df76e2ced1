//! Tags that wait for their turn. Where the source passes by once, all of them say first what they need, so
//! that nothing else has to be kept; then each is carried.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tag::{Decided, Step, one_tag};
use super::{Shared, TAGS_AT_ONCE, TagJob};
use crate::endpoint::archive::Held;

/// The work on one tag.
pub(super) type Work = Pin<Box<dyn Future<Output = Step> + Send>>;

/// A tag that is worked on; its place is free again when this is dropped.
pub(super) struct Begun {
    pub(super) job: TagJob,
    _turn: OwnedSemaphorePermit,
}

/// Those that wait.
pub(super) struct Line {
    shared: Arc<Shared>,
    /// How many more may begin, and be carried.
    beginning: Arc<Semaphore>,
    carrying: Arc<Semaphore>,
    new: std::iter::Enumerate<std::vec::IntoIter<(TagJob, Option<Held>)>>,
    decided: BTreeMap<usize, Decided>,
}

impl Line {
    /// All `tags` of the run.
    pub(super) fn new(shared: &Arc<Shared>, tags: Vec<TagJob>) -> Self {
        let source = &shared.source;
        let finds_more = shared.settings.referrers.is_some();
        let hold = || {
            if finds_more {
                source.search()
            } else {
                source.decision()
            }
        };
        let deciding = tags.into_iter().map(|tag| (tag, hold()));
        let deciding: Vec<_> = deciding.collect();
        source.begin(shared.settings.jobs);
        Self {
            shared: Arc::clone(shared),
            beginning: Arc::new(Semaphore::new(TAGS_AT_ONCE)),
            carrying: Arc::new(Semaphore::new(TAGS_AT_ONCE)),
            new: deciding.into_iter().enumerate(),
            decided: BTreeMap::new(),
        }
    }

    /// The next tag, and the work on it; `None` also while too many are worked on.
    pub(super) fn next(&mut self) -> Option<(Begun, Work)> {
        self.next_decided().or_else(|| self.next_new())
    }

    fn next_decided(&mut self) -> Option<(Begun, Work)> {
        let turn = Arc::clone(&self.carrying).try_acquire_owned().ok()?;
        let (_, decided) = self.decided.pop_first()?;
        let job = decided.tag.job.clone();
        Some((Begun { job, _turn: turn }, Box::pin(decided.carry())))
    }

    fn next_new(&mut self) -> Option<(Begun, Work)> {
        let turn = Arc::clone(&self.beginning).try_acquire_owned().ok()?;
        let (place, (job, deciding)) = self.new.next()?;
        let work = one_tag(Arc::clone(&self.shared), job.clone(), place, deciding);
        Some((Begun { job, _turn: turn }, Box::pin(work)))
    }

    /// A tag has decided, and waits again.
    pub(super) fn put_back(&mut self, decided: Decided) {
        self.decided.insert(decided.tag.place, decided);
    }

    /// Those that had no turn.
    pub(super) fn rest(self) -> impl Iterator<Item = TagJob> {
        let decided = self.decided.into_values().map(|decided| decided.tag.job);
        self.new.map(|(_, (job, _))| job).chain(decided)
    }
}
