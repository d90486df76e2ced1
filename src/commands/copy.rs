//! `barge copy`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::files;
use super::inventory;
use super::listener::{self, Listener};
use super::names;
use super::panics;
use super::signals::Signals;
use super::{Code, print, recovery};
use crate::cli::Form;
use crate::config::CopyConfig;
use crate::endpoint::{Endpoint, Labels, Target};
use crate::engine::difference::Selected;
use crate::engine::{self, Earlier, Ended, Job, Settings, Stop, TagJob};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Side};
use crate::inventory::Inventory;
use crate::inventory::difference::{Origin, Without};
use crate::options::{self, ForeignLayers, Run};
use crate::reference::{Reference, tag_of};
use crate::report::summary::{Asked, AskedFor, DigestsOf, End, Outcome, Summary};
use crate::report::{self, json, text};
use crate::sanitize::{few, plural};

/// The tag of a registry where none is named.
pub(super) const DEFAULT_TAG: &str = "latest";

/// Copies what `config` asks for, and tells what came of it.
///
/// # Errors
///
/// When the summary cannot be written. What fails in the copy itself is in the summary.
pub async fn run(config: CopyConfig) -> anyhow::Result<Code> {
    let started = Instant::now();
    let signals = Signals::listen();
    let style = listener::style(config.progress, config.output.quiet, config.jobs);
    let listener = Listener::new(style);
    let events = listener.events();
    for note in &config.notes {
        events.send(Event::Warning(note.clone()));
    }
    let worked = async {
        tokio::select! {
            end = work(&config, &events, &signals.stop) => end,
            () = listener.narrate() => End::Complete,
        }
    };
    let end = panics::caught("copy", Box::pin(worked)).await;
    let end = end.unwrap_or_else(|error| End::Broken(error.hint(hint_after_panic(&config))));
    let tally = listener.finish();
    let end = match (signals.came(), end) {
        (
            Some(signal),
            End::Complete | End::Damaged(_) | End::NotStarted(_) | End::NotFlipped(_),
        ) => End::Signal(signal),
        (_, end) => end,
    };
    let asked = Asked {
        source: config.source.to_string(),
        destination: config.destination.to_string(),
        place: config.destination.place().to_string(),
        mode: config.mode,
        policy: config.policy,
        run: config.run,
        keeps_blobs: match &config.destination {
            Reference::Registry(_) | Reference::Layout(_) => true,
            Reference::OciArchive(_) | Reference::DockerArchive(_) => false,
        },
        digests: match &config.destination {
            Reference::DockerArchive(_) => DigestsOf::Configs,
            _ => DigestsOf::Manifests,
        },
    };
    tell(
        &config,
        tally.finish(asked, end, started.elapsed()),
        &signals,
    )
    .await
}

/// What helps where the state of the destination is not known.
fn hint_after_panic(config: &CopyConfig) -> &'static str {
    match config.policy {
        options::Policy::BestEffort => "run the same command again",
        options::Policy::Rollback => {
            "`barge undo` lists what this run may have left; the same command again puts it back first"
        }
    }
}

/// The exit code of a run whose results are told but for a file that waited for its reader.
fn ended_by_signal(error: anyhow::Error, signals: &Signals) -> anyhow::Result<Code> {
    match (error.downcast_ref::<Error>(), signals.came()) {
        (Some(why), Some(signal)) if why.kind() == Kind::Interrupted => {
            report::say(&text::error(why));
            Ok(Outcome::Interrupted(signal).exit_code())
        }
        _ => Err(error),
    }
}

/// Finds out which tags there are and copies them.
async fn work(config: &CopyConfig, events: &Events, stop: &Stop) -> End {
    if let Err(error) = begin_files(config) {
        return End::NotStarted(error);
    }
    let prepared = tokio::select! {
        biased;
        () = stop.soon.cancelled() => return End::Complete,
        prepared = prepare(config, events) => prepared,
    };
    let started = match prepared {
        Ok(prepared) => start(config, prepared, (events, stop)).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(job) => match engine::run(job, stop).await {
            Ended::Tags => End::Complete,
            Ended::Damaged(error) => End::Damaged(error),
            Ended::Flipped => End::Flipped,
            Ended::NotFlipped(error) => End::NotFlipped(error),
        },
        Err(error) => End::NotStarted(error),
    }
}

/// Both places, and the tags to copy.
struct Prepared {
    source: Endpoint,
    destination: Endpoint,
    tags: Vec<TagJob>,
}

/// Whether an archive from a pipe can be read in one pass: the blobs that a copy needs are known from its manifests.
fn can_stream(config: &CopyConfig) -> bool {
    config.run == Run::Real
        && config.referrers.types.is_none()
        && config.foreign == ForeignLayers::Left
}

/// Both places, talked to.
async fn places(config: &CopyConfig, events: &Events) -> Result<(Endpoint, Endpoint)> {
    let source = Endpoint::new(
        &config.source,
        config.source_access.options(Side::Source, events),
    )?;
    let source = match &config.destination {
        Reference::Registry(_) | Reference::Layout(_) if can_stream(config) => source.streamed(),
        _ => source,
    };
    let destination = Endpoint::new(
        &config.destination,
        config.destination_access.options(Side::Destination, events),
    )?;
    let have = match config.have.clone() {
        Some(path) => Some(inventory::read(path).await?),
        None => None,
    };
    let destination = destination.labelled(Labels {
        without: have.map(|inventory| Arc::new(without(config, inventory))),
        repository: match (&config.repository, &config.source) {
            (Some(asked), _) => Some(asked.clone()),
            (None, Reference::Registry(source)) => Some(source.place()),
            (None, _) => None,
        },
        overwrite: config.overwrite,
        ..Labels::default()
    });
    tokio::try_join!(
        source.contact(Side::Source),
        destination.contact(Side::Destination)
    )?;
    Ok((source, destination))
}

/// Both places talked to, the tags known; nothing is written yet.
async fn prepare(config: &CopyConfig, events: &Events) -> Result<Prepared> {
    let (source, mut destination) = places(config, events).await?;
    let tags = match &config.selection {
        None => vec![one_tag(config, &source).await?],
        Some(selection) => {
            let all = names::all(&source, &config.source).await?;
            let selected = names::selected(&source, selection, &all).await?;
            let unnamed = if selection.selects_all() && config.source.repository_in_file().is_none()
            {
                names::unnamed(&source).await?
            } else {
                Vec::new()
            };
            if selected.is_empty() {
                return Err(nothing_selected(&config.source, all.len(), &unnamed));
            }
            if !unnamed.is_empty() {
                events.send(Event::Unnamed(unnamed));
            }
            names::jobs(&selected, (&config.source, &config.destination))?
        }
    };
    if let (Endpoint::Layout(layout), false) =
        (&mut destination, matches!(source, Endpoint::Registry(_)))
    {
        Arc::make_mut(layout).labels.repositories = names::repositories(&source, &tags).await?;
    }
    let open = |reference: &Reference| {
        let access = &config.destination_access;
        Endpoint::new(reference, access.options(Side::Destination, events))
    };
    let place = (&config.destination, &destination);
    let selected = Selected {
        tags: &tags,
        mode: config.mode,
        wanted: &config.wanted,
        referrers: config.referrers.types.as_ref(),
    };
    let source = engine::difference::complete(source, place, &selected, (open, events)).await?;
    Ok(Prepared {
        source,
        destination,
        tags,
    })
}

/// What is left out, and what makes the archive that leaves it out.
fn without(config: &CopyConfig, inventory: Inventory) -> Without {
    let source = config.source.place().to_string();
    Without {
        inventory,
        origin: Origin::of(source, &config.wanted, options::name(&config.mode)),
    }
}

/// The job of `config`, once earlier runs are out of its way.
async fn start(
    config: &CopyConfig,
    prepared: Prepared,
    (events, stop): (&Events, &Stop),
) -> Result<Job> {
    let Prepared {
        source,
        destination,
        mut tags,
    } = prepared;
    let (policy, journals) =
        recovery::clear(config, &destination, &mut tags, (events, stop)).await?;
    Ok(Job {
        source,
        destination,
        tags,
        policy,
        journals,
        settings: Settings {
            mode: config.mode,
            wanted: config.wanted.clone(),
            missing: config.missing,
            recheck: config.recheck,
            digests: config.digests,
            referrers: config.referrers.types.clone(),
            missing_referrers: config.referrers.missing,
            signed_index: config.referrers.signed_index,
            foreign: config.foreign,
            jobs: config.jobs,
            run: config.run,
            state: config.state.clone(),
        },
        events: events.clone(),
    })
}

/// The error of tag options that select none of so many tags; the images without a name are no tags.
pub(super) fn nothing_selected(source: &Reference, looked_at: usize, unnamed: &[String]) -> Error {
    if !unnamed.is_empty() {
        let cause = format!(
            "it has {}, and none is selected; without a name it has {}",
            plural(looked_at as u64, "tag"),
            few(unnamed)
        );
        return Error::new(Kind::NotFound, "select tags of", source)
            .because(cause)
            .hint("copy each by itself, to a tag of its own");
    }
    Error::new(Kind::NotFound, "select tags of", source)
        .because(format!(
            "it has {}, and none is selected",
            plural(looked_at as u64, "tag")
        ))
        .hint("`barge list-tags` with the same tag options shows what they select")
}

/// The one image that the references name.
async fn one_tag(config: &CopyConfig, source: &Endpoint) -> Result<TagJob> {
    let (target, name) = match (&config.source, config.source.tag(), config.source.digest()) {
        (_, tag, Some(digest)) => (Target::Digest(digest.clone()), tag.map(str::to_owned)),
        // In a file it may be a whole name.
        (_, Some(name), None) => (source.named(name).await?, Some(tag_of(name).to_owned())),
        (Reference::Registry(_), None, None) => {
            (Target::Tag(DEFAULT_TAG.into()), Some(DEFAULT_TAG.into()))
        }
        (_, None, None) => only_image(source, &config.destination).await?,
    };
    // A repository of docker without a tag means its default one.
    let default = config.repository.as_ref().map(|_| DEFAULT_TAG.to_owned());
    let written = config.tag.clone().or_else(|| name.clone());
    let destination = match written.or(default) {
        Some(tag) => Target::Tag(tag),
        None => match &target {
            Target::Digest(digest) => Target::Digest(digest.clone()),
            Target::Tag(tag) => Target::Tag(tag.clone()),
        },
    };
    let name = match (name, &target) {
        (Some(name), Target::Tag(_)) => name,
        (_, target) => target.to_string(),
    };
    let destination_tag = match &destination {
        Target::Tag(tag) if *tag != name => Some(tag.clone()),
        _ => None,
    };
    Ok(TagJob {
        source: target,
        destination,
        name,
        destination_tag,
        earlier: Earlier::Nothing,
    })
}

/// The only image of a layout or archive; in a registry it needs a tag, and without a REF that is the
/// default one.
async fn only_image(
    source: &Endpoint,
    destination: &Reference,
) -> Result<(Target, Option<String>)> {
    let Some(image) = source.only_image().await? else {
        return Err(Error::usage("the source names no image"));
    };
    Ok(match image.name {
        Some(name) => {
            let tag = tag_of(&name).to_owned();
            (Target::Tag(name), Some(tag))
        }
        None if matches!(destination, Reference::Registry(_)) => {
            (Target::Digest(image.digest), Some(DEFAULT_TAG.into()))
        }
        None => (Target::Digest(image.digest), None),
    })
}

/// Files that cannot be written later are found out about before anything is copied. What an earlier run left in
/// the digest file is never taken for what this one did.
fn begin_files(config: &CopyConfig) -> Result<()> {
    if let Some(path) = &config.digestfile {
        files::empty(path)?;
    }
    for path in [&config.report, &config.digestfile].into_iter().flatten() {
        files::check(path)?;
    }
    Ok(())
}

/// Writes the files and prints the summary: none is missing where another cannot be written. Files whose reader
/// has to be waited for come last.
async fn tell(
    config: &CopyConfig,
    mut summary: Summary,
    signals: &Signals,
) -> anyhow::Result<Code> {
    let told = match config.output.form {
        Form::Json => Ok(None),
        Form::Text => panics::caught_at_once("tell the summary", || Some(text::render(&summary))),
    };
    let told = told.unwrap_or_else(|error| {
        let told = format!("error: {}\n", text::error(&error));
        summary = summary.clone().broken(error);
        Some(told)
    });
    let json = json::render(&summary);
    let (waiting, plain): (Vec<_>, Vec<_>) = files_of(config, &summary, &json)
        .into_iter()
        .partition(|(path, _)| files::is_special(path));
    let written = write(&plain, signals).await;
    let told = told.as_ref().unwrap_or(&json);
    let printed = if config.destination.is_standard() {
        // Standard output has the archive.
        report::print_aside(told.as_bytes());
        Ok(())
    } else {
        print(told)
    };
    let waited = write(&waiting, signals).await;
    match printed.and(written).and(waited) {
        Ok(()) => Ok(summary.outcome.exit_code()),
        Err(error) => ended_by_signal(error, signals),
    }
}

/// The files that are to be written, and what is in them.
fn files_of<'a>(config: &'a CopyConfig, summary: &Summary, json: &str) -> Vec<(&'a Path, String)> {
    let asked = if config.selection.is_some() {
        AskedFor::Tags
    } else {
        AskedFor::OneImage
    };
    let report = config.report.as_deref();
    let report = report.map(|path| (path, json.to_owned()));
    let digests = config.digestfile.as_deref();
    let digests = digests.and_then(|path| Some((path, summary.digest_lines(asked)?)));
    report.into_iter().chain(digests).collect()
}

async fn write(files: &[(&Path, String)], signals: &Signals) -> anyhow::Result<()> {
    for (path, text) in files {
        files::write_whole(path, text, signals.next()).await?;
    }
    Ok(())
}
