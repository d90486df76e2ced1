//! From events to the outcome of a run and its exit code. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::event::{Event, LeftOutCounts, Status, TagOutcome, Undone};
use crate::image::digest::Digest;
use crate::inventory::difference::LeftOut;
use crate::options::{Mode, Policy, Run};

/// Said of a tag of which an index was signed before it was filtered.
pub const SIGNATURES_LEFT: &str = "source index signed; not valid for the filtered index";
/// What to do about that.
pub const KEEP_INDEX: &str =
    "--mode sparse-index keeps the index, its signatures and all that refers to it";

/// What was asked for, as the report repeats it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub source: String,
    pub destination: String,
    /// The same without a tag.
    pub place: String,
    /// What becomes of an index.
    pub mode: Mode,
    /// What a failed tag means for the others.
    pub policy: Policy,
    /// Whether anything was to be written.
    pub run: Run,
    /// Whether blobs stay that came whole when a run ends early: an archive is written as a whole.
    pub keeps_blobs: bool,
    /// What the digests at the destination are of.
    pub digests: DigestsOf,
}

/// What a digest at the destination is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestsOf {
    Manifests,
    /// Configs: a docker-archive has no manifests, and docker calls an image by its config.
    Configs,
}

/// A signal that ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    /// `kill`, or the end of a CI job.
    Terminate,
}

/// How the run came to its end.
#[derive(Clone, Debug)]
pub enum End {
    /// Every tag had its turn.
    Complete,
    /// Every tag had its turn, but the source is not what it should be behind what they needed.
    Damaged(Error),
    Signal(Signal),
    /// It could not start.
    NotStarted(Error),
    /// Under rollback: all tags moved together. A signal that came after that changes nothing.
    Flipped,
    /// Under rollback: no tag moved, for a reason that is no single tag's.
    NotFlipped(Error),
    /// A fault of barge ended it: what became of the other tags is not known.
    Broken(Error),
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every tag is where it should be.
    Success,
    /// No tag is, or the run could not start.
    Failed,
    Partial,
    /// Under rollback: something failed, and the destination's tags are as before.
    RolledBack,
    /// Under rollback: something failed, and some tag could not be put back.
    RollbackIncomplete,
    /// A signal ended the run; under rollback the destination's tags are as before.
    Interrupted(Signal),
}

impl Outcome {
    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::RolledBack => "rolled-back",
            Self::RollbackIncomplete => "rollback-incomplete",
            Self::Interrupted(_) => "interrupted",
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Partial => 3,
            Self::RolledBack => 4,
            Self::RollbackIncomplete => 5,
            Self::Interrupted(Signal::Interrupt) => 130,
            Self::Interrupted(Signal::Terminate) => 143,
        }
    }
}

/// What events add up to while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    tags: Vec<TagOutcome>,
    requests: u64,
    retries: u64,
    rollback: Rollback,
    lacking: Vec<LeftOut>,
    unfinished: BTreeMap<Digest, u64>,
    unnamed: Vec<String>,
}

/// What there is to tell of a rollback run beside its tags.
#[derive(Clone, Debug, Default)]
pub struct Rollback {
    /// How long the tags took to move, from the first request to the last answer.
    pub flip: Option<Duration>,
    /// The journal, where it stays.
    pub journal: Option<PathBuf>,
    /// What was put back first: the journals of earlier runs, and what that came to.
    pub settled: Vec<(PathBuf, Undone)>,
}

impl Rollback {
    /// Whether a second signal ended the undo of an earlier run.
    fn was_cut_off(&self) -> bool {
        self.settled.iter().any(|(_, undone)| !undone.finished)
    }

    /// The tags of earlier runs that are not as they were before those.
    fn left(&self) -> impl Iterator<Item = &str> {
        let left = self.settled.iter().flat_map(|(_, undone)| &undone.left);
        left.map(|left| left.tag.as_str())
    }
}

impl Tally {
    /// Takes one event in.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Request(_) => self.requests += 1,
            Event::Retry { .. } => self.retries += 1,
            Event::TagEnded(outcome) => self.tags.push(as_ended(TagOutcome::clone(outcome))),
            Event::BlobEnded { digest, lost } => {
                if *lost > 0 {
                    self.unfinished.insert(digest.clone(), *lost);
                } else {
                    self.unfinished.remove(digest);
                }
            }
            Event::Flipped(elapsed) => self.rollback.flip = Some(*elapsed),
            Event::Journal(path) => self.rollback.journal = Some(path.clone()),
            Event::Settled { journal, undone } => {
                let settled = (journal.clone(), undone.clone());
                self.rollback.settled.push(settled);
            }
            Event::Selected { .. }
            | Event::BlobStarted { .. }
            | Event::BlobBytes { .. }
            | Event::BlobRestarted { .. }
            | Event::TagStaged
            | Event::Warning(_) => {}
            Event::Lacking(parts) => self.lacking.clone_from(parts),
            Event::Unnamed(images) => self.unnamed.clone_from(images),
        }
    }

    /// How many requests went out, and how many of them, or transfers, were tried again.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        (self.requests, self.retries)
    }

    /// The summary of the run that ended so, after `elapsed`.
    #[must_use]
    pub fn finish(mut self, asked: Asked, end: End, elapsed: Duration) -> Summary {
        self.tags
            .sort_by(|left, right| left.tag.as_bytes().cmp(right.tag.as_bytes()));
        let totals = Totals::of(&self, elapsed);
        let outcome = self.outcome(asked.policy, &totals, &end);
        let error = match end {
            End::NotStarted(error)
            | End::NotFlipped(error)
            | End::Damaged(error)
            | End::Broken(error) => Some(error),
            End::Complete | End::Flipped | End::Signal(_) => None,
        };
        Summary {
            asked,
            outcome,
            tags: self.tags,
            totals,
            error,
            rollback: self.rollback,
            lacking: self.lacking,
            unnamed: self.unnamed,
            unfinished: LostCounts {
                blobs: self.unfinished.len() as u64,
                bytes: self.unfinished.values().sum(),
            },
        }
    }

    fn outcome(&self, policy: Policy, totals: &Totals, end: &End) -> Outcome {
        let bad = totals.failed + totals.not_attempted + totals.rolled_back;
        let good = totals.copied + totals.current + totals.would_copy;
        if self.tags.iter().any(|tag| !tag.left.is_empty()) || self.rollback.was_cut_off() {
            return Outcome::RollbackIncomplete;
        }
        let left_before = self.rollback.left().next().is_some();
        match end {
            // What an earlier run left is not as before; where tags move all the same that is over.
            End::Signal(_) | End::NotFlipped(_) if left_before => Outcome::RollbackIncomplete,
            End::Complete | End::Damaged(_) if left_before && bad > 0 => {
                Outcome::RollbackIncomplete
            }
            End::Signal(signal) => Outcome::Interrupted(*signal),
            End::Damaged(_) if good > 0 => Outcome::Partial,
            End::NotStarted(_) | End::Damaged(_) | End::Broken(_) => Outcome::Failed,
            End::NotFlipped(_) => Outcome::RolledBack,
            End::Complete | End::Flipped => match policy {
                _ if bad == 0 && self.unnamed.is_empty() => Outcome::Success,
                _ if bad == 0 => Outcome::Partial,
                Policy::Rollback => Outcome::RolledBack,
                Policy::BestEffort if good > 0 => Outcome::Partial,
                Policy::BestEffort => Outcome::Failed,
            },
        }
    }
}

/// The counts of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub tags: u64,
    pub copied: u64,
    /// Tags that were right already.
    pub current: u64,
    /// Tags left out on request.
    pub skipped: u64,
    pub failed: u64,
    /// Tags undone because another failed.
    pub rolled_back: u64,
    /// Tags that had no turn.
    pub not_attempted: u64,
    /// Tags that a run would copy.
    pub would_copy: u64,
    /// Blob bytes sent to the destination.
    pub bytes: u64,
    /// Blobs left out of an archive.
    pub left_out: LeftOutCounts,
    /// HTTP requests at both sides.
    pub requests: u64,
    /// Tries after a failure.
    pub retries: u64,
    /// Manifests read from the source.
    pub source_pulls: u64,
    /// How long the run took.
    pub elapsed: Duration,
}

impl Totals {
    fn of(tally: &Tally, elapsed: Duration) -> Self {
        let mut totals = Self {
            requests: tally.requests,
            retries: tally.retries,
            elapsed,
            ..Self::default()
        };
        for tag in &tally.tags {
            totals.tags += 1;
            totals.bytes = totals.bytes.saturating_add(tag.bytes);
            totals.source_pulls += tag.source_pulls;
            let LeftOutCounts { blobs, bytes } = tag.blobs.left_out;
            totals.left_out.blobs += blobs;
            totals.left_out.bytes = totals.left_out.bytes.saturating_add(bytes);
            *match tag.status {
                Status::Copied => &mut totals.copied,
                Status::Current => &mut totals.current,
                Status::Skipped => &mut totals.skipped,
                Status::Failed => &mut totals.failed,
                Status::RolledBack => &mut totals.rolled_back,
                Status::NotAttempted => &mut totals.not_attempted,
                Status::WouldCopy => &mut totals.would_copy,
            } += 1;
        }
        totals
    }
}

/// A run, told.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was asked for.
    pub asked: Asked,
    /// What came of it.
    pub outcome: Outcome,
    /// Every tag, sorted by bytes.
    pub tags: Vec<TagOutcome>,
    pub totals: Totals,
    /// Why the run could not start, or no tag could move.
    pub error: Option<Error>,
    /// What a rollback run tells beside.
    pub rollback: Rollback,
    /// What the source leaves out and the destination does not have: why the run could not start.
    pub lacking: Vec<LeftOut>,
    /// Images that were asked for and have no name to copy them under.
    pub unnamed: Vec<String>,
    /// What was sent for nothing.
    pub unfinished: LostCounts,
}

/// Blobs that did not come whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostCounts {
    pub blobs: u64,
    /// The bytes of them that were sent.
    pub bytes: u64,
}

impl Summary {
    /// The destination's tags that a rollback could not put back, sorted by bytes: this run's, and those
    /// of an earlier one that it was to put back first.
    #[must_use]
    pub fn left(&self) -> Vec<&str> {
        let left = self.tags.iter().flat_map(|tag| &tag.left);
        let mut names: Vec<&str> = left.map(String::as_str).collect();
        if self.outcome == Outcome::RollbackIncomplete {
            names.extend(self.rollback.left());
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The same of a run that a fault of barge ended after all.
    #[must_use]
    pub fn broken(mut self, error: Error) -> Self {
        self.outcome = Outcome::Failed;
        self.error = Some(error);
        self
    }

    /// What goes to `--digestfile`: the one digest where one image was asked for, a line for each tag that
    /// is there where tags were selected. `None`: there is nothing to write.
    #[must_use]
    pub fn digest_lines(&self, asked: AskedFor) -> Option<String> {
        let lines = self
            .tags
            .iter()
            .filter(|tag| tag.is_shown())
            .filter_map(|tag| Some((tag.digest.as_ref()?, tag.destination_name())))
            .map(|(digest, name)| match asked {
                // Without a line end, as skopeo writes it.
                AskedFor::OneImage => digest.to_string(),
                AskedFor::Tags => format!("{digest} {}:{name}\n", self.asked.destination),
            });
        let text: String = lines.collect();
        (!text.is_empty()).then_some(text)
    }
}

/// Whether the run was for one image or for the tags that options select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// The one that the references name.
    OneImage,
    /// However many match.
    Tags,
}

/// The outcome without the digest that its tag was to have, where it does not have it.
fn as_ended(mut outcome: TagOutcome) -> TagOutcome {
    match outcome.status {
        Status::Failed | Status::RolledBack | Status::NotAttempted => outcome.digest = None,
        Status::Copied | Status::Current | Status::Skipped | Status::WouldCopy => {}
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::event::Left;

    fn summary(statuses: &[Status], end: End) -> Summary {
        under(Policy::BestEffort, statuses, end)
    }

    fn under(policy: Policy, statuses: &[Status], end: End) -> Summary {
        let mut tally = Tally::default();
        for (index, status) in statuses.iter().enumerate() {
            tally.add(&Event::TagEnded(Box::new(TagOutcome::new(
                format!("{}", 9 - index),
                *status,
            ))));
        }
        tally.finish(asked(policy), end, Duration::ZERO)
    }

    fn asked(policy: Policy) -> Asked {
        Asked {
            source: "docker://a".into(),
            destination: "docker://b".into(),
            place: "docker://b".into(),
            keeps_blobs: true,
            mode: Mode::All,
            policy,
            run: Run::Real,
            digests: DigestsOf::Manifests,
        }
    }

    #[test]
    fn exit_codes_of_a_rollback_run() {
        use Status::{Copied, Current, Failed, NotAttempted, RolledBack, Skipped};
        let error = || Error::new(Kind::LocalIo, "write journal", "x");
        let signal = End::Signal(Signal::Terminate);
        for (statuses, end, code) in [
            (&[Copied, Current, Skipped][..], End::Flipped, 0),
            (&[Current], End::Complete, 0),
            (&[RolledBack, Failed], End::Complete, 4),
            (&[Current, Failed], End::Complete, 4),
            (&[RolledBack, NotAttempted, Failed], End::Complete, 4),
            (&[RolledBack], End::NotFlipped(error()), 4),
            (&[], End::NotStarted(error()), 1),
            (&[RolledBack], signal.clone(), 143),
        ] {
            let summary = under(Policy::Rollback, statuses, end);
            assert_eq!(summary.outcome.exit_code(), code, "{statuses:?}");
        }
        for end in [End::Complete, signal] {
            let mut left = TagOutcome::new("1", Failed);
            left.left = vec!["1".to_owned()];
            let mut tally = Tally::default();
            tally.add(&Event::TagEnded(Box::new(left)));
            let summary = tally.finish(asked(Policy::Rollback), end, Duration::ZERO);
            assert_eq!(summary.outcome.exit_code(), 5);
            assert_eq!(summary.left(), ["1"]);
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_not_as_before() {
        use Status::{Copied, Failed, RolledBack};
        let error = || Error::new(Kind::Unsupported, "put back", "x");
        let signal = End::Signal(Signal::Interrupt);
        for (status, end, code, left) in [
            (Copied, End::Flipped, 0, &[][..]),
            (Failed, End::Complete, 5, &["b", "d"]),
            (RolledBack, End::NotFlipped(error()), 5, &["b", "d"]),
            (RolledBack, signal, 5, &["b", "d"]),
            (Failed, End::NotStarted(error()), 1, &[]),
        ] {
            let mut tally = Tally::default();
            for tag in ["d", "b"] {
                let (tag, error) = (tag.to_owned(), error());
                let undone = Undone {
                    left: vec![Left { tag, error }],
                    finished: true,
                    ..Undone::default()
                };
                let journal = PathBuf::from("j");
                tally.add(&Event::Settled { journal, undone });
            }
            tally.add(&Event::TagEnded(Box::new(TagOutcome::new("a", status))));
            let summary = tally.finish(asked(Policy::Rollback), end, Duration::ZERO);
            assert_eq!(summary.outcome.exit_code(), code, "{status:?}");
            assert_eq!(summary.left(), left, "{status:?}");
        }
    }

    #[test]
    fn exit_codes_follow_the_contract() {
        use Status::{Copied, Current, Failed, NotAttempted, Skipped, WouldCopy};
        for (statuses, code) in [
            (&[Copied, Current, Skipped][..], 0),
            (&[Skipped], 0),
            (&[WouldCopy, Current], 0),
            (&[Copied, Failed], 3),
            (&[Current, Failed], 3),
            (&[WouldCopy, Failed], 3),
            (&[Failed], 1),
            (&[Failed, Skipped], 1),
            (&[Failed, NotAttempted], 1),
        ] {
            let summary = summary(statuses, End::Complete);
            assert_eq!(summary.outcome.exit_code(), code, "{statuses:?}");
        }
        assert_eq!(
            summary(&[Copied, Failed], End::Signal(Signal::Interrupt))
                .outcome
                .exit_code(),
            130
        );
        assert_eq!(
            summary(&[], End::Signal(Signal::Terminate))
                .outcome
                .exit_code(),
            143
        );
        let error = Error::new(Kind::Unavailable, "contact", "x");
        assert_eq!(summary(&[], End::NotStarted(error)).outcome.exit_code(), 1);
    }

    #[test]
    fn a_broken_run_fails_and_keeps_tags_that_ended() {
        let broken = End::Broken(Error::internal("copy", ""));
        let summary = summary(&[Status::Copied], broken);
        assert_eq!(summary.outcome.exit_code(), 1);
        assert_eq!(
            summary.error.map(|error| error.kind()),
            Some(Kind::Protocol)
        );
        assert_eq!(
            summary.tags.first().map(|tag| tag.status),
            Some(Status::Copied)
        );
    }

    #[test]
    fn tags_are_sorted() {
        let summary = summary(&[Status::Copied, Status::Copied], End::Complete);
        let names: Vec<&str> = summary.tags.iter().map(|tag| tag.tag.as_str()).collect();
        assert_eq!(names, ["8", "9"]);
    }
}
