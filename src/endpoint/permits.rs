//! A bounded number of turns, given to whoever ranks first among those who wait: the earliest tag, and
//! of one tag the largest blob.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Who comes first: the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    tag: usize,
    size: Reverse<u64>,
}

impl Rank {
    /// A blob of `size` bytes that the tag at `tag` needs.
    #[must_use]
    pub fn new(tag: usize, size: u64) -> Self {
        Self {
            tag,
            size: Reverse(size),
        }
    }
}

/// What is given out.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: BinaryHeap<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    rank: Rank,
    turn: oneshot::Sender<Permit>,
}

/// One turn; the next in line has it when it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// `None` once it has been given back.
    turns: Option<Permits>,
}

impl Permits {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let state = State {
            free: most,
            waiting: BinaryHeap::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits until it is the turn of `rank`.
    pub async fn take(&self, rank: Rank) -> Permit {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return self.turn();
            }
            let (turn, waiting) = oneshot::channel();
            state.waiting.push(Waiter { rank, turn });
            waiting
        };
        // The sender is dropped only with the turns themselves, which this call keeps.
        waiting.await.unwrap_or_else(|_| self.turn())
    }

    fn turn(&self) -> Permit {
        Permit {
            turns: Some(self.clone()),
        }
    }

    fn give_back(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.pop();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(waiter) = next else { return };
            match waiter.turn.send(self.turn()) {
                Ok(()) => return,
                // Nobody waits there any more: the turn that came back is given to the one after.
                Err(mut refused) => refused.turns = None,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.give_back();
        }
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest.
        other.rank.cmp(&self.rank)
    }
}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Waiter {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::stepwise::{Scripts, Waiter, all_get_in};
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn the_earliest_tag_and_its_largest_blob_come_first() {
        let turns = Permits::new(1);
        let first = turns.take(Rank::new(9, 1)).await;
        let ranks = [
            Rank::new(1, 9),
            Rank::new(0, 1),
            Rank::new(0, 5),
            Rank::new(2, 99),
        ];
        let order = Mutex::new(Vec::new());
        let waiting = ranks.map(|rank| {
            let (turns, order) = (&turns, &order);
            async move {
                let _turn = turns.take(rank).await;
                order.lock().expect("a lock").push(rank);
            }
        });
        let give = async move { drop(first) };
        tokio::join!(futures_util::future::join_all(waiting), give);
        let expected = [
            Rank::new(0, 5),
            Rank::new(0, 1),
            Rank::new(1, 9),
            Rank::new(2, 99),
        ];
        assert_eq!(order.into_inner().expect("a lock"), expected);
    }

    #[tokio::test]
    async fn a_turn_that_nobody_waits_for_is_not_lost() {
        let turns = Permits::new(1);
        let first = turns.take(Rank::new(0, 0)).await;
        let mut given_up = Box::pin(turns.take(Rank::new(0, 9)));
        let mut waiting = Box::pin(turns.take(Rank::new(1, 1)));
        assert!((&mut given_up).now_or_never().is_none());
        assert!((&mut waiting).now_or_never().is_none());
        drop(given_up);
        drop(first);
        let second = waiting.now_or_never();
        assert!(second.is_some());
        drop(second);
        assert_eq!(turns.state().free, 1);
    }

    #[test]
    fn lets_waiters_in_whoever_is_dropped_before_them() {
        for (most, waiters, length) in [(1, 3, 5), (2, 4, 4)] {
            let scripts = Scripts::of(waiters, length);
            let all_turns: Vec<_> = scripts.clone().map(|_| Permits::new(most)).collect();
            let mut rest = Vec::new();
            for (script, turns) in scripts.zip(&all_turns) {
                let ranks = (0..waiters).map(|waiter| Rank::new(waiters - waiter, 1));
                let mut all: Vec<_> = ranks.map(|rank| Waiter::new(turns.take(rank))).collect();
                all.iter_mut().for_each(Waiter::poll);
                script.run(&mut all, |_| {});
                rest.push((script, all));
            }
            all_get_in(rest);
            assert!(all_turns.iter().all(|turns| turns.state().free == most));
        }
    }
}
