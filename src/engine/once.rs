//! Each piece of work once a run, however many tags share it: the one who comes first does it, the
//! others wait, and one of them takes over when it fails for a passing reason.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::image::digest::Digest;

type Cell<T> = Arc<tokio::sync::Mutex<Option<Result<T>>>>;

/// What was done, by digest.
pub(crate) struct Once<T> {
    cells: Mutex<HashMap<Digest, Cell<T>>>,
}

/// The value, and who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done<T> {
    /// This call did the work.
    Now(T),
    /// It had been done before.
    Before(T),
}

impl<T> Done<T> {
    /// The value, whoever made it.
    pub(crate) fn into_inner(self) -> T {
        match self {
            Self::Now(value) | Self::Before(value) => value,
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self {
            cells: Mutex::default(),
        }
    }
}

impl<T: Clone> Once<T> {
    /// Does `work` unless it has been done. A failure that another try cannot mend is everyone's.
    pub(crate) async fn run(
        &self,
        digest: &Digest,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Done<T>> {
        let cell = self.cell(digest);
        // Held while the work goes on: it is what makes the others wait. The worker waits for none of them.
        let mut done = cell.lock().await;
        match &*done {
            Some(Ok(value)) => return Ok(Done::Before(value.clone())),
            Some(Err(error)) => return Err(error.clone()),
            None => {}
        }
        match work.await {
            Ok(value) => {
                *done = Some(Ok(value.clone()));
                Ok(Done::Now(value))
            }
            Err(error) => {
                if !error.kind().retryable() {
                    *done = Some(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Looks whether the work need not be done, unless it has been done; while this goes on nobody does it.
    pub(crate) async fn look(
        &self,
        digest: &Digest,
        look: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<T>> {
        let cell = self.cell(digest);
        let mut done = cell.lock().await;
        if let Some(known) = &*done {
            return known.clone().map(Some);
        }
        let found = look.await?;
        *done = found.clone().map(Ok);
        Ok(found)
    }

    fn cell(&self, digest: &Digest) -> Cell<T> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(digest.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    #[tokio::test]
    async fn work_is_done_once_and_taken_over() {
        let once = Once::default();
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
    async fn what_was_found_need_not_be_done() {
        let once = Once::default();
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
