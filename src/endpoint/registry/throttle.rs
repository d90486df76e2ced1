//! How many requests a registry gets at once: fewer when it pushes back (429, 503), slowly more again
//! when it does not, and none while it asks for a pause.
//!
//! The permits are a semaphore's, so a waiter that is dropped passes its wake-up on. A pause is slept through
//! without a permit: whoever is dropped then owes nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers in a row that are no refusal, after which one more request is allowed at once.
const CALM: usize = 20;

/// The gate in front of one registry.
#[derive(Debug)]
pub(crate) struct Throttle {
    permits: Semaphore,
    window: Mutex<Window>,
}

/// How many permits there are to be, and until when none is used.
#[derive(Debug)]
struct Window {
    most: usize,
    size: usize,
    /// Permits beyond `size` that were out when it shrank: they are not given back.
    excess: usize,
    calm: usize,
    closed_until: Option<Instant>,
}

/// The right to one request; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    throttle: &'a Throttle,
    /// `None` once it has been given back.
    permit: Option<SemaphorePermit<'a>>,
}

impl Throttle {
    /// A gate for at most `most` requests at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            permits: Semaphore::new(most),
            window: Mutex::new(Window::new(most)),
        }
    }

    /// Waits until one more request is welcome.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        loop {
            let pause = self.window().pause(Instant::now());
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
                continue;
            }
            let permit = self.permits.acquire().await;
            let pass = Pass {
                throttle: self,
                permit: Some(permit.expect("the semaphore is never closed")),
            };
            // The registry may have asked for a pause meanwhile: all who wait see so, one after the other.
            if self.window().pause(Instant::now()).is_none() {
                return pass;
            }
        }
    }

    /// The registry pushed back, and asked for `wait` without requests.
    pub(crate) fn pushed_back(&self, wait: Option<Duration>) {
        let mut window = self.window();
        let fewer = window.push_back(wait, Instant::now());
        window.excess += fewer - self.permits.forget_permits(fewer);
    }

    /// The registry answered as it should.
    pub(crate) fn went_well(&self) {
        let mut window = self.window();
        if window.calm_down() && !window.pay_back() {
            self.permits.add_permits(1);
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let mut window = self.throttle.window();
        if window.pay_back() {
            permit.forget();
        } else {
            drop(permit);
        }
    }
}

impl Window {
    fn new(most: usize) -> Self {
        Self {
            most,
            size: most,
            excess: 0,
            calm: 0,
            closed_until: None,
        }
    }

    /// How long no request is welcome.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.closed_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// How many permits fewer there are to be.
    fn push_back(&mut self, wait: Option<Duration>, now: Instant) -> usize {
        let before = self.size;
        // Those that were on their way together are one refusal, not many.
        if self.calm > 0 || self.size == self.most {
            self.size = (self.size / 2).max(1);
        }
        self.calm = 0;
        let until = wait.and_then(|wait| now.checked_add(wait));
        self.closed_until = self.closed_until.max(until);
        before - self.size
    }

    /// Whether there is to be one permit more.
    fn calm_down(&mut self) -> bool {
        self.calm += 1;
        if self.calm < CALM {
            return false;
        }
        self.calm = 0;
        let grows = self.size < self.most;
        self.size += usize::from(grows);
        grows
    }

    /// Whether one permit less is in excess now.
    fn pay_back(&mut self) -> bool {
        let owes = self.excess > 0;
        self.excess -= usize::from(owes);
        owes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::stepwise::{Scripts, Waiter, all_get_in};

    #[test]
    fn halves_on_a_refusal_and_grows_back_slowly() {
        let now = Instant::now();
        let mut window = Window::new(32);
        window.calm = 5;
        assert_eq!((window.push_back(None, now), window.size), (16, 16));
        assert_eq!(window.push_back(None, now), 0, "the same wave");
        window.calm_down();
        assert_eq!((window.push_back(None, now), window.size), (8, 8));
        let grown = (0..CALM).filter(|_| window.calm_down());
        assert_eq!(grown.count(), 1);
        for _ in 0..CALM * 100 {
            window.calm_down();
        }
        assert_eq!(window.size, 32);
        for _ in 0..20 {
            window.calm_down();
            window.push_back(None, now);
        }
        assert_eq!(window.size, 1);
    }

    #[test]
    fn is_closed_for_as_long_as_the_registry_asks() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut window = Window::new(1);
        window.push_back(Some(second * 5), now);
        window.push_back(Some(second), now);
        assert_eq!(window.pause(now), Some(second * 5));
        assert_eq!(window.pause(now + second * 5), None);
    }

    #[tokio::test]
    async fn shrinks_although_all_permits_are_out_and_grows_for_waiters() {
        let throttle = Throttle::new(4);
        let mut passes = Vec::new();
        for _ in 0..4 {
            passes.push(throttle.enter().await);
        }
        throttle.pushed_back(None);
        passes.truncate(2);
        let mut waiting = Box::pin(throttle.enter());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        for _ in 0..CALM {
            throttle.went_well();
        }
        waiting.await;
        passes.clear();
        assert_eq!(throttle.permits.available_permits(), 3);
    }

    /// What a step does, besides polling or dropping a waiter.
    const PUSH_BACK: usize = 0;

    #[test]
    fn lets_waiters_in_whoever_is_dropped_before_them() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _timers = runtime.enter();
        let pause = Duration::from_millis(100);
        for (most, waiters) in [(1, 3), (2, 4)] {
            let scripts = Scripts::of(waiters, 4).with_others(1);
            let throttles: Vec<_> = scripts.clone().map(|_| Throttle::new(most)).collect();
            let mut rest = Vec::new();
            for (script, throttle) in scripts.zip(&throttles) {
                let mut all: Vec<_> = (0..waiters)
                    .map(|_| Waiter::new(throttle.enter()))
                    .collect();
                all.iter_mut().for_each(Waiter::poll);
                script.run(&mut all, |other| {
                    assert_eq!(other, PUSH_BACK);
                    throttle.pushed_back(Some(pause));
                });
                rest.push((script, all));
            }
            all_get_in(rest);
        }
    }
}
