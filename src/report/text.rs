//! The summary for people: a line a tag, what failed and what to do about it, the totals.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::DecimalBytes;

use super::summary::{DigestsOf, KEEP_INDEX, Outcome, SIGNATURES_LEFT, Signal, Summary, Totals};
use crate::error::Error;
use crate::event::{LeftBehind, LeftOutCounts, ReferrerCounts, Status, TagOutcome, Undone};
use crate::image::digest::Digest;
use crate::inventory::difference::LeftOut;
use crate::options::{Policy, Run};
use crate::sanitize::{LONGEST_TEXT, brief, clean, excerpt, plural};

/// How much of a digest is enough to tell it from others by eye.
const SHORT_DIGEST: usize = "sha256:".len() + 12;

/// So many parts that are missing are listed.
const MOST_LACKING: usize = 40;

/// So many tags are named that failed for one reason.
const MOST_NAMES: usize = 8;

/// The text of `summary`.
#[must_use]
pub fn render(summary: &Summary) -> String {
    let mut text = String::new();
    if !summary.tags.is_empty() {
        table(&mut text, &summary.tags);
    }
    if let [tag] = summary.tags.as_slice() {
        one(&mut text, tag, summary.asked.digests);
    }
    notes(&mut text, &summary.tags);
    problems(&mut text, summary);
    standing(&mut text, summary);
    unfinished(&mut text, summary);
    line(&mut text, &closing(summary));
    text
}

/// An error as people read it: what failed, and on a line of its own what to do.
#[must_use]
pub fn error(error: &Error) -> String {
    let mut text = clean(&error.to_string());
    if let Some(hint) = error.advice() {
        let _ = write!(text, "\n  hint: {}", clean(&hint));
    }
    text
}

pub(super) fn line(text: &mut String, content: &str) {
    text.push_str(content.trim_end());
    text.push('\n');
}

fn table(text: &mut String, tags: &[TagOutcome]) {
    let mut rows =
        vec![["TAG", "STATUS", "PLATFORMS", "DIGEST", "BYTES", "TIME"].map(str::to_owned)];
    rows.extend(tags.iter().map(row));
    if tags.iter().all(|tag| tag.referrers.is_none()) {
        return aligned(text, &rows);
    }
    let counts = tags.iter().map(|tag| or_dash(referrers(tag)));
    let counts = std::iter::once("REFERRERS".to_owned()).chain(counts);
    let rows: Vec<_> = rows.into_iter().zip(counts).collect();
    let rows = rows
        .into_iter()
        .map(|([tag, status, platforms, digest, bytes, time], count)| {
            [tag, status, platforms, digest, count, bytes, time]
        });
    aligned(text, &rows.collect::<Vec<_>>());
}

/// How many refer to the images of a tag: `5, 2 new, 1 gone`.
fn referrers(tag: &TagOutcome) -> String {
    let Some(counts) = tag.referrers else {
        return String::new();
    };
    let ReferrerCounts {
        copied,
        existing,
        missing,
    } = counts;
    let all = std::iter::once((copied + existing).to_string());
    let parts = [(copied, "new"), (missing, "gone")].into_iter();
    let parts = parts.filter(|(count, _)| *count > 0);
    let parts = parts.map(|(count, what)| format!("{count} {what}"));
    all.chain(parts).collect::<Vec<String>>().join(", ")
}

/// Rows whose cells, which may be foreign text of any length, stand below one another.
pub(super) fn aligned<const CELLS: usize>(text: &mut String, rows: &[[String; CELLS]]) {
    let cells = |row: &[String; CELLS]| row.each_ref().map(|cell| brief(cell));
    let rows: Vec<_> = rows.iter().map(cells).collect();
    let mut widths = [0; CELLS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(text, &cells.join("  "));
    }
}

/// A cell that is never empty.
pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn row(tag: &TagOutcome) -> [String; 6] {
    let name = match &tag.destination_tag {
        Some(destination) => {
            format!("{} -> {}", brief(&short_name(&tag.tag)), brief(destination))
        }
        None => short_name(&tag.tag),
    };
    let moved = matches!(tag.status, Status::Copied | Status::WouldCopy);
    [
        name,
        tag.status.name().to_owned(),
        or_dash(platforms(&tag.platforms)),
        or_dash(tag.digest.as_ref().map(short).unwrap_or_default()),
        if moved {
            DecimalBytes(tag.bytes).to_string()
        } else {
            "-".into()
        },
        format!("{:.1}s", tag.elapsed.as_secs_f64()),
    ]
}

/// The platforms, an operating system written once where it repeats: `linux/amd64,arm64`.
pub(super) fn platforms(names: &[String]) -> String {
    let mut system = "";
    let parts = names.iter().map(|name| match name.split_once('/') {
        Some((own, rest)) if own == system => rest,
        Some((own, _)) => {
            system = own;
            name
        }
        None => name,
    });
    parts.collect::<Vec<&str>>().join(",")
}

/// A tag that is a digest is cut as digests are.
pub(super) fn short_name(name: &str) -> String {
    match name.parse::<Digest>() {
        Ok(digest) => short(&digest),
        Err(_) => name.to_owned(),
    }
}

pub(super) fn short(digest: &Digest) -> String {
    digest.as_str().chars().take(SHORT_DIGEST).collect()
}

/// With one tag there is room for whole digests.
fn one(text: &mut String, tag: &TagOutcome, digests: DigestsOf) {
    let Some(digest) = &tag.digest else { return };
    let (of, why) = match digests {
        DigestsOf::Manifests if tag.is_merged() => ("", " (the list was merged)"),
        DigestsOf::Manifests => ("", " (the index was rewritten)"),
        DigestsOf::Configs => (" (the image ID)", ""),
    };
    line(text, &format!("digest: {digest}{of}"));
    match &tag.source_digest {
        Some(source) if source != digest => line(text, &format!("source: {source}{why}")),
        _ => {}
    }
}

/// What is worth knowing about tags that are fine.
fn notes(text: &mut String, tags: &[TagOutcome]) {
    for tag in tags.iter().filter(|tag| tag.status != Status::Failed) {
        if tag.status == Status::Skipped {
            let why = tag
                .error
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            line(
                text,
                &format!("skipped {}: {}", brief(&tag.tag), clean(&why)),
            );
        } else if !tag.missing_platforms.is_empty() {
            let missing = tag.missing_platforms.join(", ");
            line(
                text,
                &format!("note: {} has no {}", brief(&tag.tag), clean(&missing)),
            );
        }
        if !tag.lost_attestations.is_empty() {
            let name = brief(&tag.tag);
            let lost: Vec<&str> = tag.lost_attestations.iter().map(Digest::as_str).collect();
            let count = plural(lost.len() as u64, "attestation");
            let lost = excerpt(&crate::sanitize::few(&lost), LONGEST_TEXT);
            line(
                text,
                &format!(
                    "note: {name}: left out, since the source does not hold it: {count} ({lost})"
                ),
            );
        }
        if tag.is_merged() && matches!(tag.status, Status::Copied | Status::WouldCopy) {
            let name = brief(tag.destination_name());
            line(text, &format!("note: {name}: the list was merged"));
        }
        left_behind(text, tag);
        if tag.blobs.foreign > 0 {
            let (name, count) = (brief(&tag.tag), plural(tag.blobs.foreign, "layer"));
            line(
                text,
                &format!("note: {name}: not pushed: {count} that must not be distributed"),
            );
        }
    }
}

/// What refers to an index, and could not come along with another one.
fn left_behind(text: &mut String, tag: &TagOutcome) {
    let LeftBehind { types, signed } = &tag.left_behind;
    let name = brief(&tag.tag);
    if *signed {
        line(text, &format!("note: {name}: {SIGNATURES_LEFT}"));
    }
    if !types.is_empty() {
        let count = types.values().sum();
        let each = types.iter().map(|(name, count)| match count {
            1 => brief(name),
            _ => format!("{count} of {}", brief(name)),
        });
        let each = excerpt(&each.collect::<Vec<_>>().join(", "), LONGEST_TEXT);
        let said = format!(
            "left behind with the source's index: {}",
            plural(count, "referrer")
        );
        line(text, &format!("note: {name}: {said} ({each})"));
    }
    if *signed || !types.is_empty() {
        line(text, &format!("  hint: {KEEP_INDEX}"));
    }
}

fn problems(text: &mut String, summary: &Summary) {
    if let Some(failure) = &summary.error {
        line(text, &format!("error: {}", error(failure)));
    }
    for part in summary.lacking.iter().take(MOST_LACKING) {
        line(text, &lacking(part));
    }
    if summary.lacking.len() > MOST_LACKING {
        let more = summary.lacking.len() - MOST_LACKING;
        line(text, &format!("  and {more} more: -o json has all"));
    }
    let failed: Vec<&TagOutcome> = summary
        .tags
        .iter()
        .filter(|tag| tag.status == Status::Failed)
        .collect();
    if summary.outcome == Outcome::Partial {
        line(text, &partial(summary, failed.len()));
    }
    failures(text, &failed, summary.error.as_ref());
    undone(text, &summary.tags);
}

fn partial(summary: &Summary, failed: usize) -> String {
    if failed > 0 {
        let tags = plural(summary.tags.len() as u64, "tag");
        return format!("PARTIAL: {failed} of {tags} failed");
    }
    if !summary.unnamed.is_empty() {
        let images = plural(summary.unnamed.len() as u64, "image");
        let each = excerpt(
            &clean(&crate::sanitize::few(&summary.unnamed)),
            LONGEST_TEXT,
        );
        return format!(
            "PARTIAL: not copied, without a name: {images} ({each}): copy each by itself, to a tag of its own"
        );
    }
    let there = plural(
        summary.tags.iter().filter(|tag| tag.is_shown()).count() as u64,
        "tag",
    );
    format!(
        "PARTIAL: no tag failed ({there} copied or current), but the source could not be read to its end"
    )
}

/// `v1, v2, v3`, and how many more; the table has all.
fn few(names: &[&str]) -> String {
    let first = names.iter().take(MOST_NAMES).map(|name| brief(name));
    let first = first.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMES) {
        0 => first,
        rest => format!("{first} and {}", plural(rest as u64, "more tag")),
    }
}

/// Why tags failed: each reason once, with all that it hit; `told` is what stands above already.
fn failures(text: &mut String, failed: &[&TagOutcome], told: Option<&Error>) {
    let told = told.map(error);
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for tag in failed {
        let Some(failure) = &tag.error else { continue };
        let said = error(failure);
        let reason = if told.as_ref() == Some(&said) {
            "what is needed did not come".to_owned()
        } else {
            format!("{}: {said}", failure.kind().name())
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, tags)) => tags.push(&tag.tag),
            None => reasons.push((reason, vec![&tag.tag])),
        }
    }
    for (reason, tags) in reasons {
        line(text, &format!("{}: {reason}", few(&tags)));
    }
}

/// Why tags are undone where they have a reason of their own, which is the same for all.
fn undone(text: &mut String, tags: &[TagOutcome]) {
    let undone = tags.iter().filter(|tag| tag.status == Status::RolledBack);
    let mut reasons = undone.filter_map(|tag| tag.error.as_ref());
    if let Some(reason) = reasons.next() {
        let count = plural(reasons.count() as u64 + 1, "other tag");
        line(text, &format!("{count}: {}", error(reason)));
    }
}

/// `  missing blob sha256:… (12 MB) of v1, v2`.
fn lacking(part: &LeftOut) -> String {
    let tags: Vec<&str> = part.tags.iter().map(String::as_str).collect();
    format!(
        "  missing {} {} ({}) of {}",
        part.part.name(),
        part.digest,
        DecimalBytes(part.size),
        excerpt(&tags.join(", "), LONGEST_TEXT)
    )
}

/// What a rollback run has made of the destination, in one sentence.
fn standing(text: &mut String, summary: &Summary) {
    if summary.asked.policy != Policy::Rollback {
        return;
    }
    let place = clean(&summary.asked.place);
    for (journal, undone) in &summary.rollback.settled {
        let journal = clean(&journal.display().to_string());
        let done = what_was_done(undone);
        let said = match summary.asked.run {
            Run::Real => format!("settled {journal} first: {done}"),
            Run::Dry => format!("a run would settle {journal} first: {done}"),
        };
        line(text, &said);
    }
    if summary.asked.run == Run::Dry {
        return;
    }
    let flip = summary.rollback.flip;
    let sentence = match (summary.outcome, flip) {
        (Outcome::Success, Some(flip)) => {
            format!(
                "all tags of {place} moved together, in {:.2}s",
                flip.as_secs_f64()
            )
        }
        (Outcome::Success, None) => format!("no tag of {place} had to move"),
        (Outcome::RolledBack | Outcome::Interrupted(_), None) => {
            let by_whom = match summary.rollback.settled.as_slice() {
                [] => "",
                _ => " by this run itself",
            };
            format!("ROLLED BACK: no tag of {place} was touched{by_whom}")
        }
        (Outcome::RolledBack | Outcome::Interrupted(_), Some(_)) => {
            format!("ROLLED BACK: every tag of {place} is as it was before")
        }
        (Outcome::RollbackIncomplete, _) => {
            let names = summary.left();
            format!(
                "ROLLBACK INCOMPLETE: {} of {place} may not be as before: {}; every other tag is",
                plural(names.len() as u64, "tag"),
                clean(&names.join(", "))
            )
        }
        (Outcome::Failed | Outcome::Partial, _) => return,
    };
    line(text, &sentence);
}

/// `2 tags restored, 1 tag deleted, 1 tag left (v3)`.
#[must_use]
pub fn what_was_done(undone: &Undone) -> String {
    let names: Vec<&str> = undone.left.iter().map(|left| left.tag.as_str()).collect();
    let counts = [
        (undone.restored.len(), "restored".to_owned()),
        (undone.deleted.len(), "deleted".to_owned()),
        (names.len(), format!("left ({})", clean(&names.join(", ")))),
    ];
    let some = counts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = some
        .map(|(count, what)| format!("{} {what}", plural(*count as u64, "tag")))
        .collect();
    if parts.is_empty() {
        "every tag was as before".to_owned()
    } else {
        parts.join(", ")
    }
}

/// What a run that ended early has sent for nothing.
fn unfinished(text: &mut String, summary: &Summary) {
    let (lost, keeps) = (summary.unfinished, summary.asked.keeps_blobs);
    let is_early = match summary.outcome {
        Outcome::Success | Outcome::RollbackIncomplete => false,
        Outcome::Partial => keeps,
        Outcome::Failed | Outcome::RolledBack | Outcome::Interrupted(_) => true,
    };
    if !is_early || lost.blobs == 0 {
        return;
    }
    let of_them = format!(
        "{} of {} that did not come whole",
        DecimalBytes(lost.bytes),
        plural(lost.blobs, "blob")
    );
    line(
        text,
        &if keeps {
            format!("lost: {of_them}; whole blobs are reused by the next run")
        } else {
            format!("lost: {of_them}, and all others: an archive is written as a whole")
        },
    );
}

fn closing(summary: &Summary) -> String {
    let totals = &summary.totals;
    let said = match summary.outcome {
        Outcome::Interrupted(Signal::Interrupt) => "interrupted: ",
        Outcome::Interrupted(Signal::Terminate) => "terminated: ",
        Outcome::Success
        | Outcome::Failed
        | Outcome::Partial
        | Outcome::RolledBack
        | Outcome::RollbackIncomplete => "",
    };
    let bytes = DecimalBytes(totals.bytes);
    let sent = match summary.asked.run {
        Run::Real => format!("{bytes} sent"),
        Run::Dry => format!(
            "{bytes} to send, {}; nothing was written",
            plural(totals.source_pulls, "source pull")
        ),
    };
    let left_out = match totals.left_out {
        LeftOutCounts { blobs: 0, .. } => String::new(),
        LeftOutCounts { blobs, bytes } => {
            let count = plural(blobs, "blob");
            format!(", {} left out ({count})", DecimalBytes(bytes))
        }
    };
    let (tags, counts) = (plural(totals.tags, "tag"), counts(totals));
    let traffic = traffic((totals.requests, totals.retries), totals.elapsed);
    let lacking = lacking_platforms(&summary.tags);
    format!("{said}{tags}{counts}{lacking}; {sent}{left_out}, {traffic}")
}

/// `; 2 tags lack arm64`: what was asked for and the source does not have, of tags that are fine otherwise.
fn lacking_platforms(tags: &[TagOutcome]) -> String {
    let lacking = |tag: &&TagOutcome| {
        let is_fine = !matches!(tag.status, Status::Failed | Status::Skipped);
        is_fine && !tag.missing_platforms.is_empty()
    };
    let lacking: Vec<&TagOutcome> = tags.iter().filter(lacking).collect();
    if lacking.is_empty() {
        return String::new();
    }
    let names = lacking.iter().flat_map(|tag| &tag.missing_platforms);
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(" or ");
    let (count, verb) = (
        lacking.len() as u64,
        if lacking.len() == 1 { "lacks" } else { "lack" },
    );
    let names = excerpt(&clean(&names), LONGEST_TEXT);
    format!("; {} {verb} {names}", plural(count, "tag"))
}

/// `40 requests, 2 retries, 1.2s`.
pub(super) fn traffic((requests, retries): (u64, u64), elapsed: Duration) -> String {
    let retries = match retries {
        0 => String::new(),
        some => format!(", {}", plural(some, "retry")),
    };
    let requests = plural(requests, "request");
    format!("{requests}{retries}, {:.1}s", elapsed.as_secs_f64())
}

/// `: 3 copied, 1 failed`: the counts that are not zero.
fn counts(totals: &Totals) -> String {
    let counts = [
        (totals.copied, "copied"),
        (totals.would_copy, "to copy"),
        (totals.current, "current"),
        (totals.skipped, "skipped"),
        (totals.failed, "failed"),
        (totals.rolled_back, "rolled back"),
        (totals.not_attempted, "not attempted"),
    ];
    let some = counts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = some
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(": {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        let said = |counts| traffic(counts, Duration::from_millis(1250));
        assert_eq!(said((1, 1)), "1 request, 1 retry, 1.2s");
        assert_eq!(said((2, 2)), "2 requests, 2 retries, 1.2s");
        assert_eq!(said((0, 0)), "0 requests, 1.2s");
    }

    #[test]
    fn an_operating_system_is_written_once() {
        let short =
            |names: &[&str]| platforms(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            short(&["linux/amd64", "linux/arm/v7", "windows/amd64:10.0.1"]),
            "linux/amd64,arm/v7,windows/amd64:10.0.1"
        );
        assert_eq!(short(&["unknown"]), "unknown");
        assert_eq!(short(&[]), "");
    }
}
