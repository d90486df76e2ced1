//! The summary for scripts: schema 1 of the contract, its fields in the order of the documentation.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::summary::{KEEP_INDEX, SIGNATURES_LEFT, Summary, Totals};
use crate::error::Error;
use crate::event::{BlobCounts, TagOutcome, Undone};
use crate::image::digest::Digest;
use crate::inventory::difference::LeftOut;
use crate::options::{self, Run};
use crate::sanitize;

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    barge: &'static str,
    source: &'a str,
    destination: &'a str,
    mode: String,
    policy: String,
    dry_run: bool,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flip_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<SettledReport<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacking: Vec<LeftOutReport<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unnamed: &'a [String],
    tags: Vec<TagReport<'a>>,
    totals: TotalsReport,
}

/// A part that an archive leaves out.
#[derive(Debug, Serialize)]
pub struct LeftOutReport<'a> {
    part: &'static str,
    digest: &'a str,
    size: u64,
    tags: &'a BTreeSet<String>,
}

impl<'a> LeftOutReport<'a> {
    #[must_use]
    pub fn new(part: &'a LeftOut) -> Self {
        Self {
            part: part.part.name(),
            digest: part.digest.as_str(),
            size: part.size,
            tags: &part.tags,
        }
    }
}

/// What putting back an earlier run's tags came to.
#[derive(Debug, Serialize)]
pub struct SettledReport<'a> {
    /// The oldest.
    journal: String,
    /// All, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    journals: Vec<String>,
    restored: Vec<&'a str>,
    deleted: Vec<&'a str>,
    left: Vec<LeftReport<'a>>,
}

#[derive(Debug, Serialize)]
struct LeftReport<'a> {
    tag: &'a str,
    error: ErrorReport,
}

impl<'a> SettledReport<'a> {
    /// Of what is in `settled`, the journals and what became of them; `None` where there is none.
    #[must_use]
    pub fn new<'j>(settled: impl IntoIterator<Item = (&'j Path, &'a Undone)>) -> Option<Self> {
        let (mut restored, mut deleted, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let mut journals = Vec::new();
        for (journal, undone) in settled {
            journals.push(journal.display().to_string());
            restored.extend(undone.restored.iter().map(String::as_str));
            deleted.extend(undone.deleted.iter().map(String::as_str));
            left.extend(undone.left.iter().map(|left| LeftReport {
                tag: &left.tag,
                error: ErrorReport::new(&left.error),
            }));
        }
        restored.sort_unstable();
        deleted.sort_unstable();
        left.sort_by_key(|left| left.tag);
        let journal = journals.first()?.clone();
        if journals.len() == 1 {
            journals.clear();
        }
        Some(Self {
            journal,
            journals,
            restored,
            deleted,
            left,
        })
    }
}

/// An error as the report shows it.
#[derive(Debug, Serialize)]
pub struct ErrorReport {
    kind: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl ErrorReport {
    #[must_use]
    pub fn new(error: &Error) -> Self {
        Self {
            kind: error.kind().name(),
            message: error.to_string(),
            hint: error.advice(),
        }
    }
}

#[derive(Serialize)]
struct TagReport<'a> {
    tag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_tag: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_digest: Option<&'a str>,
    platforms: &'a [String],
    omitted_platforms: &'a [String],
    missing_platforms: &'a [String],
    #[serde(skip_serializing_if = "is_zero")]
    lost_attestations: u64,
    blobs: BlobsReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: Option<ReferrersReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referrers_left: Vec<LeftTypeReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    left_out_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_pulls: Option<u64>,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

#[derive(Serialize)]
struct BlobsReport {
    copied: u64,
    mounted: u64,
    existing: u64,
    /// Layers that are fetched from their `urls`, and not pushed.
    #[serde(skip_serializing_if = "is_zero")]
    nondistributable: u64,
    /// Blobs that an inventory has, and the archive does not.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

#[derive(Serialize)]
struct ReferrersReport {
    copied: u64,
    existing: u64,
    /// Left out, since the source lists them and does not have them.
    #[serde(skip_serializing_if = "is_zero")]
    missing: u64,
}

/// Artifacts that refer to an index of the source, and not to the one that was made of it.
#[derive(Serialize)]
struct LeftTypeReport<'a> {
    #[serde(rename = "type")]
    artifact_type: &'a str,
    count: u64,
}

impl<'a> LeftTypeReport<'a> {
    fn new((artifact_type, count): (&'a String, &u64)) -> Self {
        Self {
            artifact_type,
            count: *count,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(crate) fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct TotalsReport {
    tags: u64,
    copied: u64,
    current: u64,
    skipped: u64,
    failed: u64,
    rolled_back: u64,
    not_attempted: u64,
    would_copy: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    left_out_blobs: u64,
    #[serde(skip_serializing_if = "is_zero")]
    left_out_bytes: u64,
    requests: u64,
    retries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_pulls: Option<u64>,
    seconds: f64,
}

/// The JSON text of `summary`, with a line end.
#[must_use]
pub fn render(summary: &Summary) -> String {
    let dry = summary.asked.run == Run::Dry;
    let report = Report {
        schema: 1,
        barge: env!("CARGO_PKG_VERSION"),
        source: &summary.asked.source,
        destination: &summary.asked.destination,
        mode: options::name(&summary.asked.mode),
        policy: options::name(&summary.asked.policy),
        dry_run: dry,
        outcome: summary.outcome.name(),
        error: summary.error.as_ref().map(ErrorReport::new),
        flip_seconds: summary.rollback.flip.map(rounded),
        journal: summary
            .rollback
            .journal
            .as_ref()
            .map(|path| path.display().to_string()),
        left: summary.left(),
        settled: settled(summary),
        lacking: summary.lacking.iter().map(LeftOutReport::new).collect(),
        unnamed: &summary.unnamed,
        tags: summary
            .tags
            .iter()
            .map(|outcome| tag(outcome, dry))
            .collect(),
        totals: totals(&summary.totals, dry),
    };
    sanitize::json(&report)
}

fn settled(summary: &Summary) -> Option<SettledReport<'_>> {
    let settled = summary.rollback.settled.iter();
    SettledReport::new(settled.map(|(journal, undone)| (journal.as_path(), undone)))
}

fn tag(outcome: &TagOutcome, dry: bool) -> TagReport<'_> {
    let BlobCounts {
        copied,
        mounted,
        existing,
        foreign,
        left_out,
    } = outcome.blobs;
    let left = &outcome.left_behind;
    TagReport {
        tag: &outcome.tag,
        destination_tag: outcome.destination_tag.as_deref(),
        status: outcome.status.name(),
        source_digest: outcome.source_digest.as_ref().map(Digest::as_str),
        digest: outcome.digest.as_ref().map(Digest::as_str),
        previous_digest: outcome.previous_digest.as_ref().map(Digest::as_str),
        platforms: &outcome.platforms,
        omitted_platforms: &outcome.omitted_platforms,
        missing_platforms: &outcome.missing_platforms,
        lost_attestations: outcome.lost_attestations.len() as u64,
        blobs: BlobsReport {
            copied,
            mounted,
            existing,
            nondistributable: foreign,
            left_out: left_out.blobs,
        },
        referrers: outcome.referrers.map(|counts| ReferrersReport {
            copied: counts.copied,
            existing: counts.existing,
            missing: counts.missing,
        }),
        referrers_left: left.types.iter().map(LeftTypeReport::new).collect(),
        signatures: left.signed.then_some(SIGNATURES_LEFT),
        hint: (left.signed || !left.types.is_empty()).then_some(KEEP_INDEX),
        bytes: outcome.bytes,
        left_out_bytes: left_out.bytes,
        source_pulls: dry.then_some(outcome.source_pulls),
        seconds: rounded(outcome.elapsed),
        error: outcome.error.as_ref().map(ErrorReport::new),
    }
}

fn totals(totals: &Totals, dry: bool) -> TotalsReport {
    TotalsReport {
        tags: totals.tags,
        copied: totals.copied,
        current: totals.current,
        skipped: totals.skipped,
        failed: totals.failed,
        rolled_back: totals.rolled_back,
        not_attempted: totals.not_attempted,
        would_copy: totals.would_copy,
        bytes: totals.bytes,
        left_out_blobs: totals.left_out.blobs,
        left_out_bytes: totals.left_out.bytes,
        requests: totals.requests,
        retries: totals.retries,
        source_pulls: dry.then_some(totals.source_pulls),
        seconds: rounded(totals.elapsed),
    }
}

/// Seconds to the millisecond.
pub(super) fn rounded(elapsed: std::time::Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}
