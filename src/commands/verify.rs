//! `barge verify`.

use std::time::Instant;

use super::copy::{DEFAULT_TAG, nothing_selected};
use super::listener::Listener;
use super::names;
use super::panics;
use super::signals::Signals;
use super::{Code, print};
use crate::cli::Form;
use crate::config::VerifyConfig;
use crate::endpoint::{Endpoint, Target};
use crate::engine::Stop;
use crate::engine::verify::{self, Job, TagJob, Verified};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::reference::{Reference, tag_of};
use crate::report::progress::Style;
use crate::report::verify::{Effort, Verification, json, render};

/// Looks at what `config` names, and tells what is missing.
///
/// # Errors
///
/// When the report cannot be written. What is wrong with a tag is in the report.
pub async fn run(config: VerifyConfig) -> anyhow::Result<Code> {
    let started = Instant::now();
    let signals = Signals::listen();
    let listener = Listener::new(if config.output.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    let events = listener.events();
    let worked = panics::caught("verify", work(&config, &events, &signals.stop)).await;
    let (requests, retries) = listener.finish().traffic();
    let (findings, error, (blobs, bytes)) = match worked.flatten() {
        Ok(verified) => (verified.findings, None, (verified.blobs, verified.bytes)),
        Err(error) => (Vec::new(), Some(error), (0, 0)),
    };
    let verification = Verification {
        reference: config.reference.to_string(),
        against: config.against.as_ref().map(ToString::to_string),
        depth: config.depth,
        findings,
        error,
        signal: signals.came(),
        effort: Effort {
            blobs,
            bytes,
            requests,
            retries,
            elapsed: started.elapsed(),
        },
    };
    print(&match config.output.form {
        Form::Json => json(&verification),
        Form::Text => render(&verification),
    })?;
    Ok(verification.outcome().exit_code())
}

async fn work(config: &VerifyConfig, events: &Events, stop: &Stop) -> Result<Verified> {
    let job = tokio::select! {
        biased;
        () = stop.soon.cancelled() => {
            return Err(Error::new(Kind::Interrupted, "verify", &config.reference)
                .because("a signal ended the run")
                .hint("run the same command again"));
        }
        job = prepare(config, events) => job?,
    };
    Ok(verify::run(job, stop).await)
}

/// Both places talked to, the tags known.
async fn prepare(config: &VerifyConfig, events: &Events) -> Result<Job> {
    // Neither side is written, so both are read as a source is.
    let place = Endpoint::new(
        &config.reference,
        config.access.options(Side::Source, events),
    )?;
    place.contact(Side::Source).await?;
    let source = match &config.against {
        None => None,
        Some(reference) => {
            let access = config.source_access.options(Side::Source, events);
            let source = Endpoint::new(reference, access)?;
            source.contact(Side::Source).await?;
            Some(source)
        }
    };
    let tags = match &config.selection {
        None => vec![one_tag(config, &place, source.as_ref()).await?],
        Some(selection) => {
            // A tag that the source has and the place lacks is what a comparison is to find.
            let looked_at = config.against.as_ref().unwrap_or(&config.reference);
            let asked = source.as_ref().unwrap_or(&place);
            let all = names::all(asked, looked_at).await?;
            let selected = names::selected(asked, selection, &all).await?;
            if selected.is_empty() {
                return Err(nothing_selected(looked_at, all.len(), &[]));
            }
            let held = if source.is_some() && place.is_local() {
                place.tags().await?
            } else {
                Vec::new()
            };
            let job = |name: &String| {
                // What a file calls by a whole name a copy has called by its tag.
                let is_brought = source.is_some() && !held.contains(name);
                let called = if is_brought { tag_of(name) } else { name };
                TagJob {
                    name: name.clone(),
                    target: Target::Tag(called.to_owned()),
                    source: source.is_some().then(|| Target::Tag(name.clone())),
                }
            };
            selected.into_iter().map(job).collect()
        }
    };
    Ok(Job {
        place,
        source,
        tags,
        wanted: config.wanted.clone(),
        referrers: config.referrers.clone(),
        depth: config.depth,
        jobs: config.jobs,
        events: events.clone(),
    })
}

/// The one image that the references name; one that names none means what the other names.
async fn one_tag(
    config: &VerifyConfig,
    place: &Endpoint,
    source: Option<&Endpoint>,
) -> Result<TagJob> {
    let by_source = match (source, &config.against) {
        (Some(source), Some(against)) => named(source, against).await?,
        _ => None,
    };
    let target = match (named(place, &config.reference).await?, by_source.clone()) {
        (None, Some(Target::Tag(tag))) => counterpart(place, &tag).await?,
        (Some(target), _) | (None, Some(target)) => target,
        (None, None) => only_image(place).await?,
    };
    let source = match (source, by_source) {
        (None, _) => None,
        (Some(_), Some(named)) => Some(named),
        (Some(source), None) => Some(match &target {
            Target::Tag(tag) => counterpart(source, tag).await?,
            Target::Digest(_) => only_image(source).await?,
        }),
    };
    Ok(TagJob {
        name: target.to_string(),
        target,
        source,
    })
}

/// What `reference` names at its place; `None` where it names the place alone.
async fn named(place: &Endpoint, reference: &Reference) -> Result<Option<Target>> {
    Ok(match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Some(Target::Digest(digest.clone())),
        (None, Some(tag)) => Some(place.named(tag).await?),
        (None, None) => None,
    })
}

/// What `place` calls the image that is `name` at the other side: a file may have its whole name.
async fn counterpart(place: &Endpoint, name: &str) -> Result<Target> {
    if place.is_local() && place.tags().await?.iter().any(|held| held == name) {
        return Ok(Target::Tag(name.to_owned()));
    }
    place.named(tag_of(name)).await
}

/// What is meant where nothing is named.
async fn only_image(place: &Endpoint) -> Result<Target> {
    let Some(image) = place.only_image().await? else {
        return Ok(Target::Tag(DEFAULT_TAG.into()));
    };
    Ok(match image.name {
        Some(name) => Target::Tag(name),
        None => Target::Digest(image.digest),
    })
}
