//! What can go wrong on demand, and the rules that say when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Answer, Request};

/// One way to misbehave. The first ones happen before the handler changes anything.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This answer instead, after the request's body was read.
    Status(Answer),
    /// This answer instead, the request's body unread, and the connection closes.
    Early(Answer),
    /// The connection closes without an answer, the request's body unread.
    Reset,
    /// The connection closes when so many bytes of the request's body have been read.
    ResetAfter(u64),
    /// Nothing happens until [`super::Server::release`]; then the request is answered as if nothing had been.
    Stall,
    /// Nothing happens until [`super::Server::release`]; then this answer comes instead.
    StallThen(Answer),
    /// The request is answered late.
    Delay(Duration),
    /// The handler does its work, but the connection closes without an answer.
    LoseAnswer,
    /// The connection closes after so many bytes of the answer's body.
    CutBody(u64),
    /// After so many bytes of the answer's body nothing comes until [`super::Server::release`]; then the rest does.
    StallBody(u64),
    /// After so many bytes of the answer's body the rest comes byte by byte, far less than 1 KiB a second.
    DripBody(u64),
    /// One bit of the answer's body is wrong.
    FlipBit,
}

impl Fault {
    /// A plain answer with this status and no body.
    pub(crate) fn status(status: u16) -> Self {
        Self::Status(Answer::new(status))
    }
}

/// The rule that spoils the first `count` requests that are so.
pub(crate) fn times(
    count: usize,
    is_so: impl Fn(&Request) -> bool + Send + 'static,
    fault: Fault,
) -> impl FnMut(&Request) -> Option<Fault> + Send + 'static {
    let mut left = count;
    move |request| {
        if left == 0 || !is_so(request) {
            return None;
        }
        left -= 1;
        Some(fault.clone())
    }
}

type Rule = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

#[derive(Clone, Default)]
pub(super) struct Rules(Arc<Mutex<Vec<Rule>>>);

impl Rules {
    pub(super) fn add(&self, rule: Rule) {
        self.0.lock().expect("no rule panicked").push(rule);
    }

    pub(super) fn clear(&self) {
        self.0.lock().expect("no rule panicked").clear();
    }

    pub(super) fn fault(&self, request: &Request) -> Option<Fault> {
        let mut rules = self.0.lock().expect("no rule panicked");
        rules.iter_mut().find_map(|rule| rule(request))
    }
}
