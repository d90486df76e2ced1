//! The choices of a run that have names: each an enum, spelt as on the command line and in the report.

use clap::ValueEnum;

/// What becomes of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A new index of just the platforms asked for
    FilteredIndex,
    /// The original index, its digest kept; only the children asked for come along
    SparseIndex,
    /// Every child, and the index itself
    All,
}

/// What happens to the other tags when one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Every tag that can be copied is copied
    BestEffort,
    /// All tags or none
    Rollback,
}

/// What happens to a tag with none of the platforms asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MissingArch {
    /// The tag fails
    Fail,
    /// The tag is left out, and the summary says so
    Skip,
}

/// What happens where the source lists a referrer that it does not have any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MissingReferrers {
    /// The tag fails
    Fail,
    /// It is left out, and the summary says so
    Skip,
}

/// How far blobs are looked into when a place is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Whether they are there, in their right size.
    Presence,
    /// Every byte is read and hashed.
    Content,
}

/// How far a tag whose digest is already right is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Recheck {
    /// Not at all
    None,
    /// Its wanted children, where the index is the source's own
    Children,
    /// Every blob of them too, in a layout its bytes: repairs a damaged mirror
    Blobs,
}

impl Recheck {
    /// How far blobs that are there are looked into.
    #[must_use]
    pub fn depth(self) -> Depth {
        match self {
            Self::None | Self::Children => Depth::Presence,
            Self::Blobs => Depth::Content,
        }
    }
}

/// Whether what is written may have another digest than its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// It may, where the mode or the destination's format asks for it.
    MayChange,
    /// A tag whose digest would change fails.
    Preserve,
}

/// Whether nondistributable layers are copied, which their `urls` have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignLayers {
    /// They stay where they are.
    Left,
    /// They are copied like any other, where the source has them.
    Included,
}

/// What becomes of an index that is signed, where platforms are to be left out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedIndex {
    /// It is filtered as any other; its signatures stay behind.
    MayChange,
    /// The tag fails.
    MustStay,
}

/// Whether a run writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It does what it plans.
    Real,
    /// It only says what it would do.
    Dry,
}

/// The name of a choice, as it is written on the command line.
pub fn name(choice: &impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}
