//! From events to the outcome of a run and its exit code. Pure.

use std::time::Duration;

use crate::error::Error;
use crate::event::{Event, Status, TagOutcome};
use crate::options::{Mode, Policy, Run};

/// What was asked for, as the report repeats it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The source reference.
    pub source: String,
    /// The destination reference.
    pub destination: String,
    /// What becomes of an index.
    pub mode: Mode,
    /// What a failed tag means for the others.
    pub policy: Policy,
    /// Whether anything was to be written.
    pub run: Run,
}

/// A signal that ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, or the end of a CI job.
    Terminate,
}

/// How the run came to its end.
#[derive(Clone, Debug)]
pub enum End {
    /// Every tag had its turn.
    Complete,
    /// A signal came.
    Signal(Signal),
    /// It could not start.
    NotStarted(Error),
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every tag is where it should be.
    Success,
    /// No tag is, or the run could not start.
    Failed,
    /// Some tags are.
    Partial,
    /// A signal ended the run.
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
}

impl Tally {
    /// Takes one event in.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Request(_) => self.requests += 1,
            Event::Retry { .. } => self.retries += 1,
            Event::TagEnded(outcome) => self.tags.push(TagOutcome::clone(outcome)),
            Event::Selected { .. }
            | Event::BlobStarted { .. }
            | Event::BlobBytes { .. }
            | Event::BlobRestarted { .. }
            | Event::BlobEnded { .. }
            | Event::Warning(_) => {}
        }
    }

    /// The summary of the run that ended so, after `elapsed`.
    #[must_use]
    pub fn finish(mut self, asked: Asked, end: End, elapsed: Duration) -> Summary {
        self.tags
            .sort_by(|left, right| left.tag.as_bytes().cmp(right.tag.as_bytes()));
        let totals = Totals::of(&self, elapsed);
        let outcome = outcome(&totals, &end);
        let error = match end {
            End::NotStarted(error) => Some(error),
            End::Complete | End::Signal(_) => None,
        };
        Summary {
            asked,
            outcome,
            tags: self.tags,
            totals,
            error,
        }
    }
}

fn outcome(totals: &Totals, end: &End) -> Outcome {
    let bad = totals.failed + totals.not_attempted + totals.rolled_back;
    let good = totals.copied + totals.current + totals.would_copy;
    match end {
        End::Signal(signal) => Outcome::Interrupted(*signal),
        End::Complete if bad == 0 => Outcome::Success,
        End::Complete if good > 0 => Outcome::Partial,
        End::Complete | End::NotStarted(_) => Outcome::Failed,
    }
}

/// The counts of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// All tags.
    pub tags: u64,
    /// Tags copied.
    pub copied: u64,
    /// Tags that were right already.
    pub current: u64,
    /// Tags left out on request.
    pub skipped: u64,
    /// Tags that failed.
    pub failed: u64,
    /// Tags undone because another failed.
    pub rolled_back: u64,
    /// Tags that had no turn.
    pub not_attempted: u64,
    /// Tags that a run would copy.
    pub would_copy: u64,
    /// Blob bytes sent to the destination.
    pub bytes: u64,
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
    /// The counts.
    pub totals: Totals,
    /// Why the run could not start.
    pub error: Option<Error>,
}

impl Summary {
    /// What goes to `--digestfile`: the one digest where one image was asked for, a line for each tag that
    /// is there where tags were selected. `None`: there is nothing to write.
    #[must_use]
    pub fn digest_lines(&self, asked: AskedFor) -> Option<String> {
        let name = |tag: &TagOutcome| {
            tag.destination_tag
                .clone()
                .unwrap_or_else(|| tag.tag.clone())
        };
        let lines = self
            .tags
            .iter()
            .filter(|tag| matches!(tag.status, Status::Copied | Status::Current))
            .filter_map(|tag| tag.digest.as_ref().map(|digest| (digest, name(tag))))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn summary(statuses: &[Status], end: End) -> Summary {
        let mut tally = Tally::default();
        for (index, status) in statuses.iter().enumerate() {
            tally.add(&Event::TagEnded(Box::new(TagOutcome::new(
                format!("{}", 9 - index),
                *status,
            ))));
        }
        let asked = Asked {
            source: "docker://a".into(),
            destination: "docker://b".into(),
            mode: Mode::All,
            policy: Policy::BestEffort,
            run: Run::Real,
        };
        tally.finish(asked, end, Duration::ZERO)
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
    fn tags_are_sorted() {
        let summary = summary(&[Status::Copied, Status::Copied], End::Complete);
        let names: Vec<&str> = summary.tags.iter().map(|tag| tag.tag.as_str()).collect();
        assert_eq!(names, ["8", "9"]);
    }
}
