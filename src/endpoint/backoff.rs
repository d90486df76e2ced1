//! When to try again: a policy as a value, and the one loop that follows it.
//!
//! Whoever owns an operation owns its retries; nothing below it has a loop of its own.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::{Event, Events};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);
/// A registry that asks for more patience than this is not waited for: the error says so.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Bytes that count as progress between two failures of a transfer; of a small blob the hundredth part.
const PROGRESS: u64 = 64 << 10;

/// Failures in a row of one transfer. Their count starts again after enough progress: a source that gives a
/// byte a request comes to an end.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_row: u32,
    /// The farthest offset at a failure.
    farthest: u64,
}

/// How often a failing operation is tried again.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Failures in a row, without progress between them, that are forgiven.
    pub times: u32,
    /// Who is told about each retry.
    pub events: Events,
}

impl Failures {
    /// The transfer has come to `offset` of `size` bytes, as far as it is sure to keep.
    pub(crate) fn note_progress(&mut self, offset: u64, size: u64) {
        let enough = PROGRESS.min(size / 100).max(1);
        if offset.saturating_sub(self.farthest) >= enough {
            self.in_row = 0;
        }
        self.farthest = self.farthest.max(offset);
    }
}

impl Backoff {
    /// Runs `operation` until it succeeds, fails for good, or has failed too often.
    ///
    /// # Errors
    ///
    /// The last failure of `operation`.
    pub async fn run<T, F, Fut>(&self, mut operation: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut failures = 0;
        loop {
            match operation().await {
                Ok(value) => return Ok(value),
                Err(error) => self.pause(error, &mut failures).await?,
            }
        }
    }

    /// [`Backoff::pause`] of a transfer.
    ///
    /// # Errors
    ///
    /// `error` itself.
    pub(crate) async fn pause_transfer(&self, error: Error, failures: &mut Failures) -> Result<()> {
        self.pause(error, &mut failures.in_row).await
    }

    /// Waits before the next try, or gives `error` back when there is none.
    ///
    /// `failures` counts in a row.
    ///
    /// # Errors
    ///
    /// `error` itself.
    pub async fn pause(&self, error: Error, failures: &mut u32) -> Result<()> {
        *failures += 1;
        if !error.kind().retryable() || *failures > self.times {
            return Err(error);
        }
        let Some(delay) = delay(*failures, error.wait(), fastrand::f64()) else {
            return Err(error);
        };
        tracing::info!(%error, ?delay, "trying again");
        self.events.send(Event::Retry { error, delay });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// The delay before try `failures + 1`: what was `asked`, or twice the last one, by `jitter` (0 to 1)
/// between half and the whole of it. `None`: more patience was asked for than barge has.
fn delay(failures: u32, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
    if let Some(asked) = asked {
        let spread = Duration::from_millis(250).mul_f64(jitter);
        return (asked <= LONGEST_ASKED).then_some(asked + spread);
    }
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    Some(doubled.min(LONGEST).mul_f64(0.5 + jitter / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_progress_starts_the_count_of_failures_again() {
        let kib = 1 << 10;
        for (size, steps, expected) in [
            (1 << 30, &[64 * kib, 128 * kib][..], 1),
            (1 << 30, &[64 * kib, 127 * kib], 2),
            (1 << 30, &[1, 2, 3, 4], 4),
            // The hundredth part of a small blob, and never nothing.
            (1000, &[10, 20], 1),
            (1000, &[9, 18, 27], 3),
            (50, &[1, 2], 1),
            (0, &[0, 0], 2),
            // What was sent before and lost is no progress.
            (1 << 30, &[64 * kib, 0, 64 * kib], 3),
        ] {
            let mut failures = Failures::default();
            for offset in steps {
                failures.note_progress(*offset, size);
                failures.in_row += 1;
            }
            assert_eq!(failures.in_row, expected, "{size} {steps:?}");
        }
    }

    #[test]
    fn delays_grow_to_a_limit_and_obey_the_registry() {
        let millis = |failures, jitter| delay(failures, None, jitter).map(|d| d.as_millis());
        assert_eq!(millis(1, 1.0), Some(200));
        assert_eq!(millis(1, 0.0), Some(100));
        assert_eq!(millis(4, 1.0), Some(1600));
        assert_eq!(millis(40, 1.0), Some(30_000));
        assert_eq!(
            delay(1, Some(Duration::from_secs(7)), 0.0),
            Some(Duration::from_secs(7))
        );
        assert_eq!(delay(1, Some(Duration::from_hours(1)), 0.0), None);
    }
}
