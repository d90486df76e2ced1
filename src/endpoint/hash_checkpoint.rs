//! States of the running hash of a blob, so that an upload can resume from an earlier offset.

use std::collections::VecDeque;

use crate::image::digest::Hasher;

/// Bytes between two marks.
const STRIDE: u64 = 1 << 20;
/// Marks that are kept: what a registry lost of a broken body is what was on its way, not more.
const KEPT: usize = 64;

/// The hash of the first bytes of a blob.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// How many bytes.
    pub(crate) offset: u64,
    pub(crate) hasher: Hasher,
}

/// The last marks, the newest last.
#[derive(Debug, Default)]
pub(crate) struct HashCheckpoint(VecDeque<Mark>);

impl HashCheckpoint {
    /// The hash stands at `offset`; it is remembered now and then.
    pub(crate) fn note(&mut self, offset: u64, hasher: &Hasher) {
        let last = self.0.back().map_or(0, |mark| mark.offset);
        if offset < last.saturating_add(STRIDE) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let hasher = hasher.clone();
        self.0.push_back(Mark { offset, hasher });
    }

    /// The last mark at or before `offset`; those behind it are forgotten.
    pub(crate) fn back_to(&mut self, offset: u64) -> Option<Mark> {
        while self.0.back().is_some_and(|mark| mark.offset > offset) {
            self.0.pop_back();
        }
        self.0.back().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    #[test]
    fn goes_back_to_the_last_mark_before_an_offset() {
        let mut hasher = Digest::of(b"").hasher();
        let mut trail = HashCheckpoint::default();
        for step in 1..=100_u64 {
            hasher.update(b"a chunk");
            trail.note(step << 19, &hasher);
        }
        let mut at = |offset: u64| trail.back_to(offset).map(|mark| mark.offset);
        assert_eq!(at(u64::MAX), Some(50 << 20));
        assert_eq!(at((40 << 20) + 5), Some(40 << 20));
        assert_eq!(at(41 << 20), Some(40 << 20), "forgotten");
        assert_eq!(at(100), None);
    }

    #[test]
    fn keeps_no_more_than_it_needs() {
        let hasher = Digest::of(b"").hasher();
        let mut trail = HashCheckpoint::default();
        for offset in 1..1000 {
            trail.note(offset * STRIDE, &hasher);
        }
        assert_eq!(trail.0.len(), KEPT);
        assert!(trail.back_to(950 * STRIDE).is_some());
        assert!(trail.back_to(900 * STRIDE).is_none());
    }
}
