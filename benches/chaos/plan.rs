//! What happens in a round, decided from a seed before anything is started.

use std::time::Duration;

use fastrand::Rng;

use super::faults::Trouble;
use super::images::{SAMPLES, Sample};
use super::processes::Signal;
use super::support::registry::{
    Blobs, Deletes, Dialect, Mounts, Paging, Referrers, Settings, Sparse, Untagged, Uploads,
};

const TAGS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// One of `choices`, each as likely as the others.
pub(crate) fn one<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())].clone()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Registry,
    Layout,
    Archive,
}

/// A tag: what it points at in the source, and at the destination before the round.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) name: &'static str,
    /// Indexes of [`SAMPLES`].
    new: usize,
    old: Option<usize>,
}

impl Tag {
    pub(crate) fn new(&self) -> &'static Sample {
        &SAMPLES[self.new]
    }

    pub(crate) fn old(&self) -> Option<&'static Sample> {
        self.old.map(|old| &SAMPLES[old])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    BestEffort,
    Rollback,
}

/// One barge process.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its place among the runs of the round.
    pub(crate) number: usize,
    pub(crate) policy: Policy,
    /// Those that are copied; none means all.
    pub(crate) architectures: Vec<&'static str>,
    pub(crate) mode: &'static str,
    pub(crate) referrers: bool,
    pub(crate) tags: Vec<Tag>,
    pub(crate) starts_after: usize,
    pub(crate) signals: Vec<Signal>,
    pub(crate) options: Vec<String>,
}

impl Run {
    fn random(rng: &mut Rng, number: usize, tags: &[Tag]) -> Self {
        let policy = one(rng, &[Policy::BestEffort, Policy::Rollback]);
        let architectures = one(rng, &[vec![], vec!["amd64"], vec!["amd64", "arm64"]]);
        let mode = one(rng, &["filtered-index", "sparse-index"]);
        let referrers = rng.bool();
        let names: Vec<&str> = tags.iter().map(|tag| tag.name).collect();
        let mut options = vec![
            format!("--tag-glob={}", names.join(",")),
            format!("--jobs={}", rng.u8(1..5)),
            format!("--retry-times={}", rng.u8(..4)),
            format!("--recheck={}", one(rng, &["none", "children", "blobs"])),
            "--stall-timeout=1".to_owned(),
        ];
        if policy == Policy::Rollback {
            options.push("--policy=rollback".to_owned());
        }
        if referrers {
            options.push("--referrers".to_owned());
        }
        if !architectures.is_empty() {
            options.push(format!("--arch={}", architectures.join(",")));
            options.push(format!("--mode={mode}"));
        }
        Self {
            number,
            policy,
            architectures,
            mode,
            referrers,
            tags: tags.to_vec(),
            starts_after: number * rng.usize(..50),
            signals: signals(rng),
            options,
        }
    }

    /// Whether its indexes are whole though some of their children stay behind.
    pub(crate) fn is_sparse(&self) -> bool {
        self.mode == "sparse-index" && !self.architectures.is_empty()
    }

    pub(crate) fn selects(&self, name: &str) -> bool {
        self.tags.iter().any(|tag| tag.name == name)
    }
}

fn signals(rng: &mut Rng) -> Vec<Signal> {
    let kinds: [&[&str]; 8] = [
        &[],
        &[],
        &["INT"],
        &["TERM"],
        &["KILL"],
        &["KILL"],
        &["INT", "INT"],
        &["TERM", "KILL"],
    ];
    let names = kinds[rng.usize(..kinds.len())];
    let requests = rng.usize(..90);
    let signal = |name: &&'static str| Signal {
        name,
        requests,
        then: Duration::from_millis(rng.u64(..40)),
    };
    names.iter().map(signal).collect()
}

/// What is done after the runs of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    Undo,
    /// An undo that is killed after this many requests, and another one.
    KilledUndo(usize),
    /// Nothing but the same runs again.
    Again,
}

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) from: Form,
    pub(crate) to: Form,
    pub(crate) tags: Vec<Tag>,
    pub(crate) runs: Vec<Run>,
    /// Whether the runs have a state directory in common, as on one machine.
    pub(crate) one_machine: bool,
    /// Whether the old images have referrers at the destination.
    pub(crate) old_referrers: bool,
    pub(crate) source: Settings,
    pub(crate) destination: Settings,
    /// At the source and at the destination.
    pub(crate) troubles: [Trouble; 2],
    pub(crate) recovery: Recovery,
}

impl Plan {
    pub(crate) fn new(seed: u64, round: u64) -> Self {
        let rng = &mut Rng::with_seed(seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let to = one(
            rng,
            &[Form::Registry, Form::Registry, Form::Layout, Form::Archive],
        );
        let to_registry = to == Form::Registry;
        let from = if to_registry && rng.u8(..4) == 0 {
            Form::Layout
        } else {
            Form::Registry
        };
        let tags: Vec<Tag> = TAGS[..rng.usize(2..=TAGS.len())]
            .iter()
            .map(|name| {
                let new = rng.usize(..SAMPLES.len());
                let old = [None, Some(new), Some(rng.usize(..SAMPLES.len()))];
                Tag {
                    name,
                    new,
                    old: one(rng, &[old[0], old[1], old[2], old[2], old[2]]),
                }
            })
            .collect();
        let middle = tags.len() / 2;
        let runs: Vec<Run> = match rng.u8(..10) {
            0..5 => vec![Run::random(rng, 0, &tags)],
            5 => vec![Run::random(rng, 0, &tags), Run::random(rng, 1, &tags)],
            6 => vec![
                Run::random(rng, 0, &tags[..=middle]),
                Run::random(rng, 1, &tags[middle..]),
            ],
            _ => vec![
                Run::random(rng, 0, &tags[..middle]),
                Run::random(rng, 1, &tags[middle..]),
            ],
        };
        // The journal of one run may be in the way of another.
        let again = if runs.len() == 1 {
            Recovery::Again
        } else {
            Recovery::Undo
        };
        let killed = Recovery::KilledUndo(rng.usize(1..20));
        // A run that does not look again has to believe what it is told.
        let believes = runs
            .iter()
            .any(|run| run.options.iter().any(|option| option == "--recheck=none"));
        Self {
            from,
            to,
            one_machine: rng.u8(..4) > 0,
            old_referrers: rng.bool(),
            source: Settings {
                blobs: one(rng, &[Blobs::Direct, Blobs::Direct, Blobs::Whole]),
                paging: one(rng, &[Paging::Relative, Paging::Fixed(2)]),
                referrers: one(
                    rng,
                    &[Referrers::Absent, Referrers::Served, Referrers::Paged(1)],
                ),
                ..Settings::default()
            },
            destination: destination(rng, &runs),
            troubles: [(); 2].map(|()| {
                let tag = one(rng, &tags).name;
                let trouble = Trouble::random(rng, tag);
                if believes {
                    trouble.without_lies()
                } else {
                    trouble
                }
            }),
            recovery: one(rng, &[Recovery::Undo, Recovery::Undo, killed, again]),
            tags,
            runs,
        }
    }

    /// Whether several runs select the tag.
    pub(crate) fn is_contested(&self, name: &str) -> bool {
        self.runs.iter().filter(|run| run.selects(name)).count() > 1
    }
}

fn destination(rng: &mut Rng, runs: &[Run]) -> Settings {
    // One that takes every index does not hide that an order is wrong.
    let is_sparse = runs.iter().any(Run::is_sparse) || rng.u8(..4) == 0;
    // What takes away more than it is told to has no defence against a second writer.
    let (deletes, untagged) = match rng.u8(..10) {
        0 if runs.len() == 1 => (Deletes::DigestOnly, Untagged::Kept),
        1 if runs.len() == 1 => (Deletes::Enabled, Untagged::Dropped),
        2 => (Deletes::KeepDigest, Untagged::Kept),
        3 => (Deletes::Off, Untagged::Kept),
        _ => (Deletes::Enabled, Untagged::Kept),
    };
    Settings {
        sparse: if is_sparse { Sparse::On } else { Sparse::Off },
        deletes,
        untagged,
        referrers: one(
            rng,
            &[Referrers::Absent, Referrers::Served, Referrers::Paged(1)],
        ),
        uploads: one(
            rng,
            &[Uploads::Absolute, Uploads::Relative, Uploads::Single],
        ),
        dialect: one(
            rng,
            &[
                Dialect::Distribution,
                Dialect::Quay,
                Dialect::Crane,
                Dialect::Olareg,
            ],
        ),
        mounts: one(rng, &[Mounts::Honoured, Mounts::Honoured, Mounts::Ignored]),
        ..Settings::default()
    }
}
