//! How many requests a registry gets at once: fewer when it pushes back (429, 503), slowly more again
//! when it does not; and nobody asks while it wants to be left alone.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Answers in a row that are no refusal, after which one more request is allowed at once.
const CALM: usize = 20;

/// The gate in front of one registry.
#[derive(Debug)]
pub(crate) struct Throttle {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug)]
struct State {
    most: usize,
    limit: usize,
    inside: usize,
    calm: usize,
    closed_until: Option<Instant>,
}

/// The right to one request; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Throttle);

impl Throttle {
    /// A gate for at most `most` requests at once.
    pub(crate) fn new(most: usize) -> Self {
        let state = State {
            most,
            limit: most,
            inside: 0,
            calm: 0,
            closed_until: None,
        };
        Self {
            state: Mutex::new(state),
            left: Notify::new(),
        }
    }

    /// Waits until one more request is welcome.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        loop {
            let left = self.left.notified();
            let entry = self.state().enter(Instant::now());
            match entry {
                Entry::Open => return Pass(self),
                Entry::Full => left.await,
                Entry::Closed(delay) => tokio::time::sleep(delay).await,
            }
        }
    }

    /// The registry pushed back, and asked for `wait` without requests.
    pub(crate) fn pushed_back(&self, wait: Option<Duration>) {
        self.state().push_back(wait, Instant::now());
    }

    /// The registry answered as it should.
    pub(crate) fn went_well(&self) {
        self.state().calm_down();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state().inside -= 1;
        self.0.left.notify_one();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Open,
    Full,
    Closed(Duration),
}

impl State {
    fn enter(&mut self, now: Instant) -> Entry {
        match self.closed_until {
            Some(until) if until > now => return Entry::Closed(until - now),
            _ => self.closed_until = None,
        }
        if self.inside >= self.limit {
            return Entry::Full;
        }
        self.inside += 1;
        Entry::Open
    }

    fn push_back(&mut self, wait: Option<Duration>, now: Instant) {
        // Those that were on their way together are one refusal, not many.
        if self.calm > 0 || self.limit == self.most {
            self.limit = (self.limit / 2).max(1);
        }
        self.calm = 0;
        let until = wait.and_then(|wait| now.checked_add(wait));
        self.closed_until = self.closed_until.max(until);
    }

    fn calm_down(&mut self) {
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.limit = (self.limit + 1).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_on_a_refusal_and_grows_back_slowly() {
        let now = Instant::now();
        let mut state = State {
            most: 32,
            limit: 32,
            inside: 0,
            calm: 5,
            closed_until: None,
        };
        state.push_back(None, now);
        assert_eq!(state.limit, 16);
        state.push_back(None, now);
        assert_eq!(state.limit, 16, "the same wave");
        state.calm_down();
        state.push_back(None, now);
        assert_eq!(state.limit, 8);
        for _ in 0..CALM {
            state.calm_down();
        }
        assert_eq!(state.limit, 9);
        for _ in 0..CALM * 100 {
            state.calm_down();
        }
        assert_eq!(state.limit, 32);
        for _ in 0..20 {
            state.calm_down();
            state.push_back(None, now);
        }
        assert_eq!(state.limit, 1);
    }

    #[test]
    fn is_closed_for_as_long_as_the_registry_asks() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut state = State {
            most: 1,
            limit: 1,
            inside: 0,
            calm: 0,
            closed_until: None,
        };
        state.push_back(Some(second * 5), now);
        state.push_back(Some(second), now);
        assert_eq!(state.enter(now), Entry::Closed(second * 5));
        assert_eq!(state.enter(now + second * 5), Entry::Open);
        assert_eq!(state.enter(now + second * 5), Entry::Full);
    }

    #[tokio::test]
    async fn a_pass_that_is_given_back_lets_the_next_in() {
        let throttle = Throttle::new(1);
        let first = throttle.enter().await;
        let second = throttle.enter();
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        second.await;
        assert_eq!(throttle.state().inside, 0);
    }
}
