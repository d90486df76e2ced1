//! Runs barge processes side by side, sends them their signals, and ends those that hang.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::barge::{Barge, Output};

/// The longest that a process may take: the stalls and retries of a round are far shorter.
const DEADLINE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(1);

/// A signal for a process: after this many requests of the round, and this long after that.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    pub(crate) name: &'static str,
    pub(crate) requests: usize,
    pub(crate) then: Duration,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) output: Output,
    /// The signals that it got.
    pub(crate) sent: Vec<&'static str>,
    pub(crate) hung: bool,
}

impl Ended {
    pub(crate) fn was_killed(&self) -> bool {
        self.output.code.is_none()
    }
}

/// Runs `command`, from this many `requests` on (or a second later), to its end. Each of its signals waits for
/// the one before.
pub(crate) fn watch(
    command: Barge,
    (starts_after, signals): (usize, &[Signal]),
    requests: &AtomicUsize,
) -> Ended {
    let seen = || requests.load(Ordering::SeqCst);
    let began = Instant::now();
    while seen() < starts_after && began.elapsed() < Duration::from_secs(1) {
        thread::sleep(TICK);
    }
    let (mut running, began) = (command.spawn(), Instant::now());
    let (mut signals, mut sent, mut due) = (signals.iter().peekable(), Vec::new(), None);
    while running.is_running() && began.elapsed() < DEADLINE {
        if let Some(signal) = signals.next_if(|signal| {
            let is_due = seen() >= signal.requests;
            is_due && due.get_or_insert_with(Instant::now).elapsed() >= signal.then
        }) {
            running.signal(signal.name);
            sent.push(signal.name);
            due = None;
        }
        thread::sleep(TICK);
    }
    let hung = running.is_running();
    if hung {
        running.signal("KILL");
    }
    Ended {
        output: running.wait(),
        sent,
        hung,
    }
}
