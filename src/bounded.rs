//! The requests of one step, a bounded number of them under way at once: how many there are to make is often
//! said by a registry. Nothing here retries or spawns.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::error::Result;

/// How many are under way at once.
pub(crate) const AT_ONCE: usize = 32;

/// The results of `work`, in its order.
pub(crate) fn all<'a, F>(work: impl IntoIterator<Item = F>) -> BoxFuture<'a, Vec<F::Output>>
where
    F: Future<Output: Send> + Send + 'a,
{
    let work: Vec<_> = work.into_iter().map(succeed).collect();
    let done = run(work);
    Box::pin(async { done.await.unwrap_or_default() })
}

/// The results of `work`, in its order; the first failure ends the rest at once, whatever its place.
pub(crate) fn try_all<'a, T, F>(work: impl IntoIterator<Item = F>) -> BoxFuture<'a, Result<Vec<T>>>
where
    T: Send + 'a,
    F: Future<Output = Result<T>> + Send + 'a,
{
    // The future holds no iterator: one with closures over references could not go to another thread.
    Box::pin(run(work.into_iter().collect()))
}

/// Creates the future when it is first polled, so that queued work stays small.
pub(crate) async fn late<F: Future>(begin: impl FnOnce() -> F) -> F::Output {
    Box::pin(begin()).await
}

async fn run<T>(work: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let mut waiting = work.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut done = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((number, work)) = waiting.next()
        {
            running.push(numbered(number, work));
        }
        let Some(ended) = running.next().await else {
            done.sort_unstable_by_key(|(number, _)| *number);
            return Ok(done.into_iter().map(|(_, value)| value).collect());
        };
        done.push(ended?);
    }
}

async fn numbered<T>(number: usize, work: impl Future<Output = Result<T>>) -> Result<(usize, T)> {
    Ok((number, work.await?))
}

async fn succeed<F: Future>(work: F) -> Result<F::Output> {
    Ok(work.await)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Error, Kind};

    #[tokio::test]
    async fn runs_at_most_so_many_at_once_and_keeps_the_order() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |number: usize| {
            let (running, most) = (&running, &most);
            async move {
                most.fetch_max(
                    running.fetch_add(1, Ordering::Relaxed) + 1,
                    Ordering::Relaxed,
                );
                for _ in 0..number % 7 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::Relaxed);
                Ok(number)
            }
        };
        let done = try_all((0..200).map(work)).await.expect("none fails");
        assert_eq!(done, (0..200).collect::<Vec<_>>());
        assert_eq!(most.into_inner(), AT_ONCE);
    }

    #[tokio::test]
    async fn a_failure_does_not_wait_for_those_before_it() {
        let work = |number: usize| async move {
            if number == 1 {
                return Err(Error::new(Kind::NotFound, "do", "x"));
            }
            std::future::pending::<Result<()>>().await
        };
        assert!(try_all((0..3).map(work)).await.is_err());
    }
}
