//! Does each piece of work once a run: the first caller does it, the others wait for the result.
//!
//! A permanent failure is shared by all callers. A temporary one, after all its retries, is shared only by the
//! callers that waited for it, so that their waits do not add up; a later caller tries again, since the outage
//! may be over by then.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::image::digest::Digest;

/// Results by everything they depend on: a digest, and for a blob what its descriptor states.
pub(crate) struct OnceMap<T, K = Digest> {
    cells: Mutex<HashMap<K, Arc<Cell<T>>>>,
}

/// One piece of work.
struct Cell<T> {
    /// How many attempts failed temporarily.
    failures: AtomicUsize,
    /// How the last attempt ended. Locked during an attempt, which makes the other callers wait.
    ended: tokio::sync::Mutex<Option<Result<T>>>,
}

/// A result, and which call produced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done<T> {
    /// This call did the work.
    Now(T),
    /// An earlier call did the work.
    Before(T),
}

impl<T> Done<T> {
    pub(crate) fn into_inner(self) -> T {
        match self {
            Self::Now(value) | Self::Before(value) => value,
        }
    }
}

impl<T, K> Default for OnceMap<T, K> {
    fn default() -> Self {
        Self {
            cells: Mutex::default(),
        }
    }
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self {
            failures: AtomicUsize::new(0),
            ended: tokio::sync::Mutex::new(None),
        }
    }
}

impl<T: Clone, K: Clone + Eq + Hash> OnceMap<T, K> {
    /// Does `work` unless it has been done.
    pub(crate) async fn run(
        &self,
        key: &K,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Done<T>> {
        let cell = self.cell(key);
        let failures = cell.failures();
        let mut ended = cell.ended.lock().await;
        if let Some(known) = cell.known(ended.as_ref(), failures) {
            return known.map(Done::Before);
        }
        let done = work.await;
        if let Err(error) = &done {
            cell.count(error);
        }
        *ended = Some(done.clone());
        done.map(Done::Now)
    }

    /// Looks whether the work need not be done, unless it has been done; while this goes on nobody does it.
    pub(crate) async fn look(
        &self,
        key: &K,
        look: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<T>> {
        let cell = self.cell(key);
        let failures = cell.failures();
        let mut ended = cell.ended.lock().await;
        if let Some(known) = cell.known(ended.as_ref(), failures) {
            return known.map(Some);
        }
        let found = look.await;
        match &found {
            Err(error) if error.kind().retryable() => {
                cell.count(error);
                *ended = Some(Err(error.clone()));
            }
            // That the look failed for good does not say that the work would.
            Err(_) | Ok(None) => {}
            Ok(Some(value)) => *ended = Some(Ok(value.clone())),
        }
        found
    }

    /// Forgets a result, so that the next caller does the work again; those who wait for it now are not disturbed.
    pub(crate) fn forget(&self, key: &K) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.remove(key);
    }

    fn cell(&self, key: &K) -> Arc<Cell<T>> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(key.clone()).or_default())
    }
}

impl<T: Clone> Cell<T> {
    fn failures(&self) -> usize {
        self.failures.load(Ordering::Relaxed)
    }

    fn count(&self, error: &Error) {
        let passing = usize::from(error.kind().retryable());
        self.failures.fetch_add(passing, Ordering::Relaxed);
    }

    /// How the work `ended`, for a call that saw so many `failures` when it began to wait; `None`: it is to do
    /// the work itself.
    fn known(&self, ended: Option<&Result<T>>, failures: usize) -> Option<Result<T>> {
        match ended? {
            Err(error) if error.kind().retryable() && self.failures() == failures => None,
            known => Some(known.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    #[tokio::test]
    async fn work_is_done_once_and_taken_over() {
        let once = OnceMap::default();
        let digest = Digest::of(b"x");
        let fail = |kind| async move { Err::<u8, _>(Error::new(kind, "do", "x")) };
        assert!(once.run(&digest, fail(Kind::Unavailable)).await.is_err());
        let done = once.run(&digest, async { Ok(1) }).await;
        assert_eq!(done.ok(), Some(Done::Now(1)));
        let done = once.run(&digest, async { Ok(2) }).await;
        assert_eq!(done.ok(), Some(Done::Before(1)));
        let other = Digest::of(b"y");
        assert!(once.run(&other, fail(Kind::DigestMismatch)).await.is_err());
        assert!(once.run(&other, async { Ok(3) }).await.is_err());
    }

    #[tokio::test]
    async fn a_failure_that_may_pass_is_shared_by_those_who_waited() {
        let once = OnceMap::default();
        let digest = Digest::of(b"x");
        let (begun, end) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let first = once.run(&digest, async {
            begun.notify_one();
            end.notified().await;
            Err::<u8, _>(Error::new(Kind::Unavailable, "do", "x"))
        });
        let others = async {
            begun.notified().await;
            let waiting = (0..3).map(|_| once.run(&digest, async { Ok(1) }));
            let waiting = futures_util::future::join_all(waiting);
            let release = async { end.notify_one() };
            tokio::join!(waiting, release).0
        };
        let (first, others) = tokio::join!(first, others);
        assert!(first.is_err());
        assert!(others.iter().all(Result::is_err), "{others:?}");
        let later = once.run(&digest, async { Ok(2) }).await;
        assert_eq!(later.ok(), Some(Done::Now(2)));
    }

    #[tokio::test]
    async fn what_was_found_need_not_be_done() {
        let once = OnceMap::default();
        let digest = Digest::of(b"x");
        let found = once.look(&digest, async { Ok(None) }).await;
        assert_eq!(found.ok(), Some(None));
        let found = once.look(&digest, async { Ok(Some(1)) }).await;
        assert_eq!(found.ok(), Some(Some(1)));
        let done = once.run(&digest, async { Ok(2) }).await;
        assert_eq!(done.ok(), Some(Done::Before(1)));
        let found = once.look(&digest, async { Ok(None) }).await;
        assert_eq!(found.ok(), Some(Some(1)));
    }
}
