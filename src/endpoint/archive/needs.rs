//! What is still needed of an archive that passes by once: who has not decided yet, who claims what, and
//! who waits for it. Pure.

use std::collections::{HashMap, HashSet};

/// So many bytes may be here and not taken before reading waits until as many blobs are on their way as may
/// be: a slow destination must not fill the disk.
const BUDGET: u64 = 64 << 20;
/// A member of at most so many bytes may be read again by those who have not decided yet: configs tell
/// platforms, also of images whose blobs are at the destination.
const SMALL: u64 = 4 << 20;

/// What somebody has to do with the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum Hold {
    /// They are going to say what they need, and wait for no blob to take until then.
    Deciding,
    /// They find out what they need on the way.
    Finding,
    /// They need this member, or will.
    Claim(String),
    /// They find out whether to take this member, and wait for none of them meanwhile.
    Ask(String),
    /// They cannot go on before they have read this member.
    Read(String),
    /// They take this member once it has come, and then wait for no other one until they have.
    Take(String),
}

/// The needs of all.
#[derive(Debug)]
pub(super) struct Needs {
    deciding: usize,
    finding: usize,
    claims: Count,
    asked: Count,
    /// Those that have not come, as the next ones.
    reads: Count,
    awaited: Count,
    /// Those that have come.
    taken: Count,
    /// How many may be taken at once.
    at_once: usize,
    /// How many bytes the disk has room for.
    room: u64,
    /// Members that nobody takes any more, since they are where they were to be.
    done: HashSet<String>,
    /// Members that may be asked for at any time.
    lasting: HashSet<String>,
}

/// How often each is held.
#[derive(Debug, Default)]
struct Count(HashMap<String, usize>);

impl Count {
    fn add(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    /// Whether it was held.
    fn remove(&mut self, name: &str) -> bool {
        let Some(count) = self.0.get_mut(name) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.0.remove(name);
        }
        true
    }
}

impl Needs {
    /// Nothing is known yet; the disk has `room` for so many bytes.
    pub(super) fn new(room: u64) -> Self {
        Self {
            deciding: 0,
            finding: 0,
            claims: Count::default(),
            asked: Count::default(),
            reads: Count::default(),
            awaited: Count::default(),
            taken: Count::default(),
            at_once: 0,
            room,
            done: HashSet::new(),
            lasting: HashSet::new(),
        }
    }

    /// Something begins to hold; `has_come` says whether what is to be read or taken has.
    pub(super) fn hold(&mut self, hold: &Hold, has_come: bool) {
        match hold {
            Hold::Deciding => self.deciding += 1,
            Hold::Finding => self.finding += 1,
            Hold::Claim(name) => self.claims.add(name),
            Hold::Ask(name) => self.asked.add(name),
            Hold::Read(_) if has_come => {}
            Hold::Read(name) => self.reads.add(name),
            Hold::Take(name) if has_come => self.taken.add(name),
            Hold::Take(name) => self.awaited.add(name),
        }
    }

    /// It holds no longer.
    pub(super) fn release(&mut self, hold: &Hold) {
        match hold {
            Hold::Deciding => self.deciding -= 1,
            Hold::Finding => self.finding -= 1,
            Hold::Claim(name) => drop(self.claims.remove(name)),
            Hold::Ask(name) => drop(self.asked.remove(name)),
            Hold::Read(name) => drop(self.reads.remove(name)),
            Hold::Take(name) => drop(self.taken.remove(name) || self.awaited.remove(name)),
        }
    }

    /// A member has come: who waited for it goes on.
    pub(super) fn came(&mut self, name: &str) {
        self.reads.0.remove(name);
        if let Some(count) = self.awaited.0.remove(name) {
            *self.taken.0.entry(name.to_owned()).or_default() += count;
        }
    }

    /// So many may be taken at once.
    pub(super) fn take_at_once(&mut self, most: usize) {
        self.at_once = most;
    }

    /// This member is where it was to be.
    pub(super) fn done(&mut self, name: &str) {
        self.done.insert(name.to_owned());
    }

    /// This member may be asked for at any time.
    pub(super) fn keep(&mut self, name: &str) {
        self.lasting.insert(name.to_owned());
    }

    /// Whether what nobody claims is needed by nobody.
    pub(super) fn are_known(&self) -> bool {
        self.deciding == 0 && self.finding == 0
    }

    /// Whether a member of `size` bytes has to be kept.
    pub(super) fn want(&self, name: &str, size: u64) -> bool {
        let done = self.done.contains(name);
        self.lasting.contains(name)
            || !self.are_known() && (size <= SMALL || !done)
            || self.claims.0.contains_key(name) && !done
    }

    /// Whether reading waits before a member of `size` bytes while `kept` bytes are here. It goes on where
    /// somebody needs what is still outside and nobody else is sure to make room.
    pub(super) fn hold_back(&self, kept: u64, size: u64) -> bool {
        let decided = self.deciding == 0;
        let needless = self.reads.0.is_empty() && (self.awaited.0.is_empty() || !decided);
        if needless && !decided {
            return true;
        }
        let enough = kept.saturating_add(size);
        let taken = self.taken.0.len();
        let busy = taken > 0 && taken >= self.at_once;
        let waits = needless || self.are_asking();
        enough > BUDGET && (busy || waits) || enough > self.room && (taken > 0 || waits)
    }

    /// Whether it will soon be known of some member whether it is taken.
    fn are_asking(&self) -> bool {
        let is_known = |name: &String| {
            let known = [&self.awaited, &self.taken];
            self.done.contains(name) || known.iter().any(|count| count.0.contains_key(name))
        };
        self.asked.0.keys().any(|name| !is_known(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str) -> Hold {
        Hold::Claim(name.to_owned())
    }

    fn take(name: &str) -> Hold {
        Hold::Take(name.to_owned())
    }

    fn needs() -> Needs {
        Needs::new(u64::MAX)
    }

    #[test]
    fn everything_is_kept_until_all_have_decided() {
        for hold in [Hold::Deciding, Hold::Finding] {
            let mut needs = needs();
            needs.hold(&hold, false);
            needs.hold(&claim("a"), false);
            assert!(needs.want("a", 9) && needs.want("b", 9) && !needs.are_known());
            needs.release(&hold);
            assert!(needs.want("a", 9) && !needs.want("b", 9) && needs.are_known());
            needs.keep("b");
            assert!(needs.want("b", 9));
        }
    }

    #[test]
    fn what_is_claimed_is_kept_until_it_is_done() {
        let mut needs = needs();
        needs.hold(&claim("a"), false);
        needs.hold(&claim("a"), false);
        needs.release(&claim("a"));
        assert!(needs.want("a", 9));
        needs.done("a");
        assert!(!needs.want("a", 9));
        needs.release(&claim("a"));
        needs.hold(&claim("b"), false);
        needs.release(&claim("b"));
        assert!(!needs.want("b", 9));
    }

    #[test]
    fn what_is_done_and_small_is_kept_for_those_who_decide() {
        let mut needs = needs();
        needs.hold(&Hold::Deciding, false);
        needs.done("a");
        assert!(needs.want("a", SMALL) && !needs.want("a", SMALL + 1));
        needs.release(&Hold::Deciding);
        assert!(!needs.want("a", SMALL));
    }

    #[test]
    fn while_somebody_decides_only_what_they_have_to_read_comes() {
        let mut needs = needs();
        needs.hold(&Hold::Deciding, false);
        needs.hold(&take("blob"), false);
        assert!(needs.hold_back(0, 0));
        let read = Hold::Read("manifest".to_owned());
        needs.hold(&read, false);
        assert!(!needs.hold_back(BUDGET, BUDGET));
        needs.came("manifest");
        assert!(needs.hold_back(0, 0));
        needs.hold(&read, true);
        assert!(needs.hold_back(0, 0));
        needs.release(&read);
        needs.release(&read);
        needs.release(&Hold::Deciding);
        assert!(!needs.hold_back(BUDGET, BUDGET));
    }

    #[test]
    fn reading_waits_only_where_others_go_on() {
        let mut needs = needs();
        needs.take_at_once(2);
        assert!(!needs.hold_back(0, BUDGET) && needs.hold_back(1, BUDGET));
        // Somebody wants what is outside, and one more could take it.
        for name in ["a", "b", "c"] {
            needs.hold(&take(name), false);
        }
        needs.came("a");
        assert!(!needs.hold_back(1, BUDGET));
        needs.came("b");
        assert!(needs.hold_back(1, BUDGET) && !needs.hold_back(1, BUDGET - 1));
        // Nobody makes room: it would be waited for without end.
        needs.release(&take("a"));
        needs.release(&take("b"));
        assert!(!needs.hold_back(u64::MAX, BUDGET));
    }

    #[test]
    fn reading_waits_until_it_is_known_what_is_taken() {
        let mut needs = needs();
        needs.take_at_once(2);
        needs.hold(&take("b"), false);
        let ask = Hold::Ask("a".to_owned());
        needs.hold(&ask, false);
        assert!(needs.hold_back(1, BUDGET) && !needs.hold_back(0, BUDGET));
        // Another one who asks the same waits for who takes it.
        needs.hold(&take("a"), false);
        assert!(!needs.hold_back(1, BUDGET));
        needs.release(&take("a"));
        assert!(needs.hold_back(1, BUDGET));
        needs.release(&ask);
        assert!(!needs.hold_back(1, BUDGET));
    }

    #[test]
    fn on_a_small_disk_one_that_is_on_its_way_is_enough() {
        let mut needs = Needs::new(10);
        needs.take_at_once(6);
        needs.hold(&take("a"), true);
        needs.hold(&take("b"), false);
        assert!(needs.hold_back(5, 6) && !needs.hold_back(5, 5));
        needs.release(&take("a"));
        assert!(!needs.hold_back(5, 6));
    }
}
