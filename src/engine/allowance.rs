//! Whether a registry that counts pulls will let the run come to its end (`RateLimit-Remaining`; Docker Hub
//! counts each GET of a manifest).

use std::sync::{Mutex, PoisonError};

/// What the tags seen so far say of those to come.
#[derive(Debug, Default)]
pub(super) struct Allowance(Mutex<Forecast>);

#[derive(Debug, Default)]
struct Forecast {
    tags: u64,
    seen: u64,
    pulls: u64,
    said: bool,
}

impl Allowance {
    /// For a run of so many tags.
    pub(super) fn of(tags: usize) -> Self {
        Self(Mutex::new(Forecast {
            tags: tags as u64,
            ..Forecast::default()
        }))
    }

    /// A tag took `pulls` and will take `more`; the registry allows `left` from now on. Gives about how many
    /// the run still needs, once, when that is more.
    pub(super) fn exceeded(&self, pulls: u64, more: u64, left: Option<u64>) -> Option<u64> {
        let mut forecast = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forecast.exceeded(pulls, more, left)
    }
}

impl Forecast {
    fn exceeded(&mut self, pulls: u64, more: u64, left: Option<u64>) -> Option<u64> {
        self.seen += 1;
        self.pulls += pulls + more;
        let unseen = self.tags.saturating_sub(self.seen);
        let needed = more + (self.pulls * unseen).div_ceil(self.seen);
        let exceeded = !self.said && left? < needed;
        self.said |= exceeded;
        exceeded.then_some(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_to_come_are_taken_to_be_like_those_seen() {
        let run = |left| Allowance::of(10).exceeded(1, 4, left);
        assert_eq!(run(Some(48)), Some(49));
        assert_eq!(run(Some(49)), None);
        assert_eq!(run(None), None);
        let allowance = Allowance::of(3);
        assert_eq!(allowance.exceeded(0, 0, Some(0)), None);
        assert_eq!(allowance.exceeded(1, 2, Some(3)), Some(4));
        assert_eq!(allowance.exceeded(1, 2, Some(0)), None, "said once");
    }
}
