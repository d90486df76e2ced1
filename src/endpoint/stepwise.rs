//! For tests of what waits: futures that are polled and dropped step by step, in every order, and then only
//! when they were woken. A wake-up that is lost on the way leaves one of them waiting.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long the last waiter may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A future, or the right that it gave, until either is dropped.
pub(crate) struct Waiter<'a, T> {
    state: State<'a, T>,
    woken: Arc<Woken>,
}

enum State<'a, T> {
    Waiting(Pin<Box<dyn Future<Output = T> + 'a>>),
    In(T),
    Gone,
}

struct Woken {
    flag: AtomicBool,
    thread: Thread,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.flag.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl<'a, T> Waiter<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self {
            state: State::Waiting(Box::pin(future)),
            woken: Arc::new(Woken {
                flag: AtomicBool::new(true),
                thread: std::thread::current(),
            }),
        }
    }

    /// Polls it, unless it is in.
    pub(crate) fn poll(&mut self) {
        if let State::Waiting(future) = &mut self.state {
            self.woken.flag.store(false, Ordering::SeqCst);
            let waker = Arc::clone(&self.woken).into();
            if let Poll::Ready(right) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.state = State::In(right);
            }
        }
    }

    /// Drops it, whether it waits or is in.
    pub(crate) fn leave(&mut self) {
        self.state = State::Gone;
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    fn is_woken(&self) -> bool {
        self.woken.flag.load(Ordering::SeqCst)
    }
}

/// What is done, step by step: numbers below twice the waiters poll one (even) or drop it (odd).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Script {
    waiters: usize,
    steps: Vec<usize>,
}

impl Script {
    /// Does it to `waiters`; `other` does what is done to none of them.
    pub(crate) fn run<T>(&self, waiters: &mut [Waiter<'_, T>], mut other: impl FnMut(usize)) {
        for step in &self.steps {
            match waiters.get_mut(step / 2) {
                Some(waiter) if step % 2 == 0 => waiter.poll(),
                Some(waiter) => waiter.leave(),
                None => other(step - 2 * self.waiters),
            }
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.steps.iter().map(|step| match (step / 2, step % 2) {
            (waiter, 0) if waiter < self.waiters => format!("poll {waiter}"),
            (waiter, _) if waiter < self.waiters => format!("drop {waiter}"),
            _ => format!("other {}", step - 2 * self.waiters),
        });
        f.debug_list().entries(told).finish()
    }
}

/// Every script of some length.
#[derive(Clone)]
pub(crate) struct Scripts {
    waiters: usize,
    length: u32,
    letters: usize,
    next: usize,
}

impl Scripts {
    /// Of `length` steps with so many `waiters`.
    pub(crate) fn of(waiters: usize, length: u32) -> Self {
        Self {
            waiters,
            length,
            letters: 2 * waiters,
            next: 0,
        }
    }

    /// The same with steps that concern no waiter.
    pub(crate) fn with_others(mut self, others: usize) -> Self {
        self.letters += others;
        self
    }
}

impl Iterator for Scripts {
    type Item = Script;

    fn next(&mut self) -> Option<Script> {
        let mut number = self.next;
        self.next += 1;
        let mut steps = Vec::new();
        for _ in 0..self.length {
            steps.push(number % self.letters);
            number /= self.letters;
        }
        (number == 0).then_some(Script {
            waiters: self.waiters,
            steps,
        })
    }
}

/// Lets those that are in leave, and polls the others when they are woken, until all have been in.
///
/// # Panics
///
/// When one of them is never woken.
pub(crate) fn all_get_in<T>(rest: Vec<(Script, Vec<Waiter<'_, T>>)>) {
    let began = Instant::now();
    let mut rest = rest;
    loop {
        for (_, waiters) in &mut rest {
            waiters.retain(Waiter::is_waiting);
            let woken = waiters.iter_mut().filter(|waiter| waiter.is_woken());
            woken.for_each(Waiter::poll);
            // That these leave wakes others.
            waiters.retain(Waiter::is_waiting);
        }
        rest.retain(|(_, waiters)| !waiters.is_empty());
        let Some((script, waiters)) = rest.first() else {
            return;
        };
        assert!(
            began.elapsed() < PATIENCE,
            "{} scripts leave waiters behind, the first {} after {script:?}",
            rest.len(),
            waiters.len()
        );
        std::thread::park_timeout(PATIENCE);
    }
}
