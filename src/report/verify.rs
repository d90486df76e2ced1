//! What `verify` tells: a line a tag, everything that is missing, the totals; and the same for scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::DecimalBytes;
use serde::Serialize;

use super::json::{ErrorReport, LeftOutReport, is_zero, rounded};
use super::summary::{Outcome, Signal};
use super::text::{self, aligned, line, or_dash, short, short_name, traffic};
use crate::error::{Error, Kind};
use crate::finding::{Finding, Holder, Lack, Part, Verdict};
use crate::image::digest::Digest;
use crate::inventory::difference;
use crate::options::Depth;
use crate::sanitize::{self, LONGEST_TEXT, brief, clean, excerpt, plural};
use crate::select::is_digest_tag;

/// All that there is to tell.
#[derive(Debug)]
pub struct Verification {
    /// What was looked at.
    pub reference: String,
    /// What it was compared with.
    pub against: Option<String>,
    /// How far blobs were looked into.
    pub depth: Depth,
    /// What was found, sorted by tag.
    pub findings: Vec<Finding>,
    /// Why nothing was looked at.
    pub error: Option<Error>,
    /// The signal that ended it.
    pub signal: Option<Signal>,
    pub effort: Effort,
}

/// What verifying took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    /// Blobs that are right as far as they were looked into, each once.
    pub blobs: u64,
    pub bytes: u64,
    pub requests: u64,
    /// Requests and transfers that were tried again.
    pub retries: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Verification {
    /// How it came out.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let complete = self.count(Verdict::Complete);
        match self.signal {
            Some(signal) => Outcome::Interrupted(signal),
            None if self.error.is_some() || complete == 0 => Outcome::Failed,
            None if complete < self.findings.len() => Outcome::Partial,
            None => Outcome::Success,
        }
    }

    /// Blobs that an archive leaves out by design.
    fn left_out(&self) -> Amount {
        let parts = self.findings.iter().flat_map(|finding| &finding.left_out);
        let blobs = parts.filter(|part| part.part == difference::Part::Blob);
        Amount::of(blobs.map(|part| (&part.digest, part.size)))
    }

    /// Blobs that are not there.
    fn missing(&self) -> Amount {
        self.lacked(|kind| kind == Kind::NotFound)
    }

    /// Blobs that are not what they should be.
    fn damaged(&self) -> Amount {
        self.lacked(|kind| kind != Kind::NotFound)
    }

    fn lacked(&self, counts: impl Fn(Kind) -> bool) -> Amount {
        let lacks = self.findings.iter().flat_map(|finding| &finding.lacks);
        let blobs = lacks.filter(|lack| {
            matches!(lack.part, Part::Config | Part::Layer | Part::Blob)
                && counts(lack.error.kind())
        });
        Amount::of(blobs.filter_map(|lack| Some((lack.digest.as_ref()?, lack.size))))
    }

    fn count(&self, verdict: Verdict) -> usize {
        let same = self
            .findings
            .iter()
            .filter(|finding| finding.verdict == verdict);
        same.count()
    }
}

/// How many blobs, each once, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    blobs: u64,
    bytes: u64,
}

impl Amount {
    fn of<'a>(blobs: impl Iterator<Item = (&'a Digest, u64)>) -> Self {
        let each: BTreeMap<&Digest, u64> = blobs.collect();
        Self {
            blobs: each.len() as u64,
            bytes: each.into_values().fold(0, u64::saturating_add),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    barge: &'static str,
    reference: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a str>,
    deep: bool,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
    tags: Vec<TagReport<'a>>,
    totals: TotalsReport,
}

#[derive(Serialize)]
struct TagReport<'a> {
    tag: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    platforms: &'a [String],
    missing_platforms: &'a [String],
    absent_platforms: &'a [String],
    missing: Vec<LackReport<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_lost: Vec<LackReport<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOutReport<'a>>,
    manifests: u64,
    blobs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    nondistributable: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: Option<u64>,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

#[derive(Serialize)]
struct LackReport<'a> {
    part: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    kind: &'static str,
    message: String,
}

#[derive(Serialize)]
struct TotalsReport {
    tags: usize,
    complete: usize,
    incomplete: usize,
    different: usize,
    failed: usize,
    blobs: u64,
    bytes: u64,
    left_out_blobs: u64,
    left_out_bytes: u64,
    missing_blobs: u64,
    missing_bytes: u64,
    damaged_blobs: u64,
    damaged_bytes: u64,
    requests: u64,
    retries: u64,
    seconds: f64,
}

/// The JSON text of `verification`, with a line end.
#[must_use]
pub fn json(verification: &Verification) -> String {
    let effort = &verification.effort;
    let left_out = verification.left_out();
    let (missing, damaged) = (verification.missing(), verification.damaged());
    sanitize::json(&Report {
        schema: 1,
        barge: env!("CARGO_PKG_VERSION"),
        reference: &verification.reference,
        against: verification.against.as_deref(),
        deep: verification.depth == Depth::Content,
        outcome: verification.outcome().name(),
        error: verification.error.as_ref().map(ErrorReport::new),
        tags: verification.findings.iter().map(tag).collect(),
        totals: TotalsReport {
            tags: verification.findings.len(),
            complete: verification.count(Verdict::Complete),
            incomplete: verification.count(Verdict::Incomplete),
            different: verification.count(Verdict::Different),
            failed: verification.count(Verdict::Failed),
            blobs: effort.blobs,
            bytes: effort.bytes,
            left_out_blobs: left_out.blobs,
            left_out_bytes: left_out.bytes,
            missing_blobs: missing.blobs,
            missing_bytes: missing.bytes,
            damaged_blobs: damaged.blobs,
            damaged_bytes: damaged.bytes,
            requests: effort.requests,
            retries: effort.retries,
            seconds: rounded(effort.elapsed),
        },
    })
}

fn tag(finding: &Finding) -> TagReport<'_> {
    TagReport {
        tag: &finding.tag,
        status: finding.verdict.name(),
        source_digest: finding.source_digest.as_ref().map(Digest::as_str),
        digest: finding.digest.as_ref().map(Digest::as_str),
        platforms: &finding.platforms,
        missing_platforms: &finding.missing_platforms,
        absent_platforms: &finding.absent_platforms,
        missing: finding.lacks.iter().map(lack).collect(),
        source_lost: finding.source_lost.iter().map(lack).collect(),
        left_out: finding.left_out.iter().map(LeftOutReport::new).collect(),
        manifests: finding.manifests,
        blobs: finding.blobs,
        bytes: finding.bytes,
        nondistributable: finding.foreign,
        referrers: finding.referrers,
        seconds: rounded(finding.elapsed),
        error: finding.error.as_ref().map(ErrorReport::new),
    }
}

fn lack(lack: &Lack) -> LackReport<'_> {
    LackReport {
        part: lack.part.name(),
        digest: lack.digest.as_ref().map(Digest::as_str),
        tag: lack.tag.as_deref(),
        size: lack.size,
        platform: lack.platform.as_deref(),
        referrer: lack.of.as_ref().map(|holder| holder.referrer.as_str()),
        subject: lack.of.as_ref().map(|holder| holder.subject.as_str()),
        kind: lack.error.kind().name(),
        message: lack.error.to_string(),
    }
}

/// The text of `verification`.
#[must_use]
pub fn render(verification: &Verification) -> String {
    let mut told = String::new();
    let findings = &verification.findings;
    if !findings.is_empty() {
        let head = [
            "TAG",
            "STATUS",
            "PLATFORMS",
            "DIGEST",
            "BLOBS",
            "BYTES",
            "TIME",
        ];
        let rows = std::iter::once(head.map(str::to_owned)).chain(findings.iter().map(row));
        aligned(&mut told, &rows.collect::<Vec<_>>());
    }
    for finding in findings {
        notes(&mut told, finding);
    }
    if let Some(error) = &verification.error {
        line(&mut told, &format!("error: {}", text::error(error)));
    }
    if verification.outcome() == Outcome::Partial {
        let bad = findings.len() - verification.count(Verdict::Complete);
        let all = plural(findings.len() as u64, "tag");
        line(&mut told, &format!("PARTIAL: {bad} of {all} not complete"));
    }
    for finding in findings {
        problems(&mut told, finding);
    }
    line(&mut told, &closing(verification));
    told
}

fn row(finding: &Finding) -> [String; 7] {
    [
        short_name(&finding.tag),
        finding.verdict.name().to_owned(),
        or_dash(text::platforms(&finding.platforms)),
        or_dash(finding.digest.as_ref().map(short).unwrap_or_default()),
        finding.blobs.to_string(),
        DecimalBytes(finding.bytes).to_string(),
        format!("{:.1}s", finding.elapsed.as_secs_f64()),
    ]
}

fn notes(told: &mut String, finding: &Finding) {
    let tag = brief(&finding.tag);
    // What belongs to an image seldom has more.
    let is_worth_it = |count: &u64| *count > 0 || !is_digest_tag(&finding.tag);
    if let Some(count) = finding.referrers.filter(is_worth_it) {
        line(
            told,
            &format!("note: {tag} has {}", plural(count, "referrer")),
        );
    }
    if finding.foreign > 0 {
        let layers = plural(finding.foreign, "nondistributable layer");
        line(
            told,
            &format!("note: {tag}: {layers} not looked for: others have them"),
        );
    }
    for (names, words) in [
        (&finding.missing_platforms, "does not list"),
        (&finding.absent_platforms, "is sparse: it lacks"),
    ] {
        if !names.is_empty() {
            let names = excerpt(&names.join(", "), LONGEST_TEXT);
            line(told, &format!("note: {tag} {words} {names}"));
        }
    }
    for lost in &finding.source_lost {
        let error = clean(&lost.error.to_string());
        let said = format!("note: {tag} is not compared with what the source has lost: {error}");
        line(told, &said);
    }
    left_out(told, finding);
}

fn left_out(told: &mut String, finding: &Finding) {
    if finding.left_out.is_empty() {
        return;
    }
    let sizes = finding.left_out.iter().map(|part| part.size);
    let bytes = DecimalBytes(sizes.fold(0, u64::saturating_add));
    let parts = plural(finding.left_out.len() as u64, "part");
    let tag = brief(&finding.tag);
    line(
        told,
        &format!(
            "note: {tag} leaves out {parts} ({bytes}) by design: the place it goes to has to have them"
        ),
    );
}

fn problems(told: &mut String, finding: &Finding) {
    let Some(error) = &finding.error else { return };
    let (tag, kind) = (brief(&finding.tag), error.kind().name());
    line(told, &format!("{tag}: {kind}: {}", text::error(error)));
    for lack in &finding.lacks {
        let mut what = format!("{} {}", lack.flaw().name(), lack.part.name());
        let digest = lack.digest.as_ref().map(Digest::as_str);
        for name in [lack.tag.as_deref(), digest].into_iter().flatten() {
            let _ = write!(what, " {}", brief(name));
        }
        let size = (lack.size > 0).then(|| DecimalBytes(lack.size).to_string());
        let about = [lack.platform.as_deref().map(brief), size];
        let about: Vec<String> = about.into_iter().flatten().collect();
        if !about.is_empty() {
            let _ = write!(what, " ({})", about.join(", "));
        }
        if let Some(Holder { referrer, subject }) = &lack.of {
            let _ = write!(what, " of the referrer {referrer} of {subject}");
        }
        if lack.error.kind() != Kind::NotFound {
            let _ = write!(what, ": {}", clean(lack.error.cause()));
        }
        line(told, &format!("  {what}"));
    }
}

fn closing(verification: &Verification) -> String {
    let said = match verification.signal {
        Some(Signal::Interrupt) => "interrupted: ",
        Some(Signal::Terminate) => "terminated: ",
        None => "",
    };
    let verdicts = [
        Verdict::Complete,
        Verdict::Incomplete,
        Verdict::Different,
        Verdict::Failed,
    ];
    let counts = verdicts.map(|verdict| (verification.count(verdict), verdict.name()));
    let some = counts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = some
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    let Effort {
        blobs,
        bytes,
        requests,
        retries,
        elapsed,
    } = verification.effort;
    let looked = match verification.depth {
        Depth::Presence => "found",
        Depth::Content => "read",
    };
    let mut others = String::new();
    for (amount, what) in [
        (verification.left_out(), "left out"),
        (verification.missing(), "missing"),
        (verification.damaged(), "damaged"),
    ] {
        let Amount { blobs, bytes } = amount;
        if blobs > 0 {
            let _ = write!(others, ", {blobs} ({}) {what}", DecimalBytes(bytes));
        }
    }
    format!(
        "{said}{}{colon}{}; {} ({}) {looked}{others}, {}",
        plural(verification.findings.len() as u64, "tag"),
        parts.join(", "),
        plural(blobs, "blob"),
        DecimalBytes(bytes),
        traffic((requests, retries), elapsed)
    )
}
