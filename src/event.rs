//! What happens during a run: the one language between the engine, which never prints, and the
//! report, which never asks a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
pub use crate::error::Side;
use crate::image::digest::Digest;
use crate::inventory::difference::LeftOut;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The tags of the run are known.
    Selected {
        /// How many there are.
        tags: usize,
    },
    /// One HTTP request went out.
    Request(Side),
    /// A request, or a transfer, is tried again after `delay`.
    Retry {
        /// Why: what failed.
        error: Error,
        /// How long until the next try.
        delay: Duration,
    },
    /// A blob that the destination lacks is about to be moved.
    BlobStarted {
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Some bytes of a blob went to the destination.
    BlobBytes {
        digest: Digest,
        /// How many bytes more.
        bytes: u64,
    },
    /// The transfer of a blob starts again; what was counted of it no longer counts.
    BlobRestarted { digest: Digest },
    /// The transfer of a blob ended, well or badly.
    BlobEnded {
        digest: Digest,
        /// Bytes of it that went to the destination for nothing: it did not come whole.
        lost: u64,
    },
    /// Something that the user should know and that is no failure.
    Warning(String),
    /// Under rollback: the work on a tag ended, but for showing it.
    TagStaged,
    /// The tags of a rollback run moved, or were to move, in one go that took so long.
    Flipped(Duration),
    /// This journal of the run stays: tags could not be put back.
    Journal(PathBuf),
    /// What an earlier run had left half-way was put back first.
    Settled {
        /// The journal of that run.
        journal: PathBuf,
        /// What that came to.
        undone: Undone,
    },
    /// What an archive leaves out, and the destination does not have: the run cannot begin.
    Lacking(Vec<LeftOut>),
    /// Images of a file that were asked for and have no name under which they could be copied, as each can be named.
    Unnamed(Vec<String>),
    /// A tag came to its end.
    TagEnded(Box<TagOutcome>),
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The destination's tag points at it now.
    Copied,
    /// The destination had it already.
    Current,
    /// Left out, as `--missing-arch skip` asked.
    Skipped,
    /// Not copied; the outcome has the error.
    Failed,
    /// Was fine, but another tag's failure undid it.
    RolledBack,
    /// The run ended before its turn.
    NotAttempted,
    /// A dry run: this is what a run would do.
    WouldCopy,
}

impl Status {
    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Current => "current",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::NotAttempted => "not-attempted",
            Self::WouldCopy => "would-copy",
        }
    }
}

/// What putting tags back came to. All lists are sorted by bytes.
#[derive(Clone, Debug, Default)]
pub struct Undone {
    /// Tags that got back what they had.
    pub restored: Vec<String>,
    /// New tags that are gone again.
    pub deleted: Vec<String>,
    /// Tags that are not as they were before.
    pub left: Vec<Left>,
    /// Those among them that nobody has to put back: lists of referrers that somebody else has written since.
    pub grown: BTreeSet<String>,
    /// Whether every tag had its turn.
    pub finished: bool,
}

impl Undone {
    /// The same with its lists in order, no tag twice in one.
    pub fn sort(&mut self) {
        for names in [&mut self.restored, &mut self.deleted] {
            names.sort_unstable();
            names.dedup();
        }
        self.left.sort_by(|left, right| left.tag.cmp(&right.tag));
    }
}

/// A tag that could not be put back, or that is not ours to put back.
#[derive(Clone, Debug)]
pub struct Left {
    /// The destination's tag.
    pub tag: String,
    /// Why: `conflict` where somebody else moved it or the registry will not let it move,
    /// `unsupported` where it cannot be deleted, or what else went wrong.
    pub error: Error,
}

/// How the blobs of one tag came to the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobCounts {
    /// Sent by this tag.
    pub copied: u64,
    /// Mounted from another repository of the same registry.
    pub mounted: u64,
    /// There already, or sent for another tag of this run.
    pub existing: u64,
    /// Layers with `urls` that are not pushed by convention.
    pub foreign: u64,
    /// Left out of an archive, since an inventory has them.
    pub left_out: LeftOutCounts,
}

/// Blobs that stay behind, each counted for the first tag that needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOutCounts {
    pub blobs: u64,
    pub bytes: u64,
}

/// How what refers to the images of one tag came to the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReferrerCounts {
    /// Brought for this tag.
    pub copied: u64,
    /// There already, or brought for another tag of this run.
    pub existing: u64,
    /// Listed at the source, and gone there.
    pub missing: u64,
}

/// What refers to an index of the source, and not to the one that a filter made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// How many there are of each type that was asked for.
    pub types: BTreeMap<String, u64>,
    /// Whether there is a signature, of whatever type was asked for.
    pub signed: bool,
}

/// The end of one tag.
#[derive(Clone, Debug)]
pub struct TagOutcome {
    /// The source's tag or REF; the digest, for a source by digest.
    pub tag: String,
    /// The destination's tag, where it differs.
    pub destination_tag: Option<String>,
    /// What became of it.
    pub status: Status,
    /// The digest of the source's root, once known.
    pub source_digest: Option<Digest>,
    /// The digest that the destination's tag has, or would have after a dry run; `None` where it has not got it.
    pub digest: Option<Digest>,
    /// What the destination's tag pointed at before a rollback run moved it, or was about to.
    pub previous_digest: Option<Digest>,
    /// The destination's tags that a rollback could not put back, its own and those of what belongs to it; the
    /// error says why.
    pub left: Vec<String>,
    /// Whether it is a list of referrers, which is merged into the one that is there.
    pub is_list: bool,
    /// The platforms copied, as the source's entries write them.
    pub platforms: Vec<String>,
    /// The platforms left out.
    pub omitted_platforms: Vec<String>,
    /// The platforms asked for that the source lacks.
    pub missing_platforms: Vec<String>,
    /// Attestations that the source lists and does not hold, and that a new index does without.
    pub lost_attestations: Vec<Digest>,
    /// How its blobs came.
    pub blobs: BlobCounts,
    /// What refers to its images; `None` where nobody asked for that.
    pub referrers: Option<ReferrerCounts>,
    /// What refers to indexes of the source of which the destination has others.
    pub left_behind: LeftBehind,
    /// Blob bytes sent to the destination for this tag.
    pub bytes: u64,
    /// Source pulls (manifest GETs), which count against a registry's rate limit; for dry runs.
    pub source_pulls: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it failed or was skipped.
    pub error: Option<Error>,
}

impl TagOutcome {
    /// An outcome of which nothing is known but tag and status.
    #[must_use]
    pub fn new(tag: impl Into<String>, status: Status) -> Self {
        Self {
            tag: tag.into(),
            destination_tag: None,
            status,
            source_digest: None,
            digest: None,
            previous_digest: None,
            left: Vec::new(),
            is_list: false,
            platforms: Vec::new(),
            omitted_platforms: Vec::new(),
            missing_platforms: Vec::new(),
            lost_attestations: Vec::new(),
            blobs: BlobCounts::default(),
            referrers: None,
            left_behind: LeftBehind::default(),
            bytes: 0,
            source_pulls: 0,
            elapsed: Duration::ZERO,
            error: None,
        }
    }

    /// The destination's tag.
    #[must_use]
    pub fn destination_name(&self) -> &str {
        self.destination_tag.as_deref().unwrap_or(&self.tag)
    }

    /// Whether it is a list that the destination has in another form than the source.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.is_list && self.digest.is_some() && self.digest != self.source_digest
    }

    /// Whether the destination's tag points at what was asked for.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        matches!(self.status, Status::Copied | Status::Current)
    }
}

/// Where events go: a function that must not block, called from many tasks at once.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Events go to `listener`.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    #[must_use]
    pub fn ignored() -> Self {
        Self::new(|_| {})
    }

    pub fn send(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
