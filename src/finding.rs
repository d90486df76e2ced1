//! What verifying a tag came to: the language between the engine, which looks, and the report.

use std::time::Duration;

use crate::error::{Error, Kind};
use crate::image::digest::Digest;
use crate::inventory::difference::LeftOut;

/// What verifying a tag came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is there, as it should be.
    Complete,
    /// Something is missing or damaged.
    Incomplete,
    /// All is there, and the source has something else.
    Different,
    /// It could not be found out, or there is nothing to look at.
    Failed,
}

impl Verdict {
    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Different => "different",
            Self::Failed => "failed",
        }
    }
}

/// What a part of an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A nested index.
    Index,
    /// The manifest of an image.
    Manifest,
    /// The manifest of an attestation.
    Attestation,
    /// The config of an image.
    Config,
    /// A layer of an image.
    Layer,
    /// A blob that an index lists.
    Blob,
    /// What refers to an image.
    Referrer,
    /// The list of that, where it is one.
    ReferrersList,
}

impl Part {
    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Attestation => "attestation",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Blob => "blob",
            Self::Referrer => "referrer",
            Self::ReferrersList => "referrers-list",
        }
    }

    /// Whether it belongs to an image without being part of it.
    #[must_use]
    pub fn refers(self) -> bool {
        matches!(self, Self::Referrer | Self::ReferrersList)
    }
}

/// How something is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is not there.
    Missing,
    /// Its file cannot be read.
    Unreadable,
    /// It is not what its digest or its size says.
    Damaged,
    /// A list that is there says what is not so.
    Wrong,
}

impl Flaw {
    /// The word in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Wrong => "wrong",
        }
    }
}

/// A part that is not there, or is not what it should be.
#[derive(Clone, Debug)]
pub struct Lack {
    pub part: Part,
    /// Its digest; `None` where only a tag names it.
    pub digest: Option<Digest>,
    /// The tag that names it, where one does: that of a list of referrers also where the registry keeps it
    /// without one.
    pub tag: Option<String>,
    /// Its size in bytes, as whatever lists it says; 0 where nothing does.
    pub size: u64,
    /// The platform of the image that it is of, where that is known.
    pub platform: Option<String>,
    /// What refers to an image, where it is a part of that.
    pub of: Option<Holder>,
    /// What is wrong: `not-found` where it is missing, `digest-mismatch` or `invalid-manifest` where it is
    /// damaged, `local-io` where its file cannot be read.
    pub error: Error,
}

/// What refers to an image, as what a part is of.
#[derive(Clone, Debug)]
pub struct Holder {
    pub referrer: Digest,
    /// That of what it refers to.
    pub subject: Digest,
}

impl Lack {
    /// Whether it comes with `--referrers` alone.
    #[must_use]
    pub fn comes_with_referrers(&self) -> bool {
        self.of.is_some() || self.part.refers()
    }

    /// How it is not as it should be.
    #[must_use]
    pub fn flaw(&self) -> Flaw {
        match (self.error.kind(), self.part) {
            (Kind::NotFound, _) => Flaw::Missing,
            (Kind::LocalIo, _) => Flaw::Unreadable,
            (Kind::InvalidManifest, Part::ReferrersList) => Flaw::Wrong,
            _ => Flaw::Damaged,
        }
    }
}

/// What was found out about one tag.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The tag or REF; the digest, for a reference by digest.
    pub tag: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What the tag points at, once known.
    pub digest: Option<Digest>,
    /// What the source's tag points at, where that was asked for.
    pub source_digest: Option<Digest>,
    /// The platforms that were looked at, as the index writes them.
    pub platforms: Vec<String>,
    /// The platforms asked for that the tag does not list.
    pub missing_platforms: Vec<String>,
    /// What nobody asked for, and the index lists without its being there: the platforms, or the digest of
    /// what has none.
    pub absent_platforms: Vec<String>,
    /// What is missing or damaged.
    pub lacks: Vec<Lack>,
    /// What refers to the tag's images at the source by its own account, and is lost there: it cannot be
    /// compared.
    pub source_lost: Vec<Lack>,
    /// What an archive leaves out by design.
    pub left_out: Vec<LeftOut>,
    /// Manifests of the tag that were looked at, its root among them.
    pub manifests: u64,
    /// Blobs of the tag that are right as far as they were looked into, each of an image once.
    pub blobs: u64,
    pub bytes: u64,
    /// Nondistributable layers, which nobody pushes: they are not looked for.
    pub foreign: u64,
    /// What refers to the tag's images and was looked at; `None` where nobody asked for that.
    pub referrers: Option<u64>,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it is not complete.
    pub error: Option<Error>,
}

impl Finding {
    /// Nothing is known of `tag` but its name.
    #[must_use]
    pub fn new(tag: impl Into<String>) -> Self {
        Self {
            tag: tag.into(),
            verdict: Verdict::Failed,
            digest: None,
            source_digest: None,
            platforms: Vec::new(),
            missing_platforms: Vec::new(),
            absent_platforms: Vec::new(),
            lacks: Vec::new(),
            source_lost: Vec::new(),
            left_out: Vec::new(),
            manifests: 0,
            blobs: 0,
            foreign: 0,
            bytes: 0,
            referrers: None,
            elapsed: Duration::ZERO,
            error: None,
        }
    }

    /// `tag` could not be looked at.
    #[must_use]
    pub fn failed(tag: impl Into<String>, error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::new(tag)
        }
    }
}
