//! `barge undo`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::listener::Listener;
use super::panics;
use super::signals::Signals;
use super::{Code, failed, print, recovery};
use crate::cli::Form;
use crate::config::{Task, UndoConfig};
use crate::endpoint::registry::Repository;
use crate::endpoint::{Endpoint, Target};
use crate::engine::Stop;
use crate::engine::rollback::{self, Doubts, UndoJob};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side, Undone};
use crate::journal::{Journal, State};
use crate::reference::{Reference, Role};
use crate::report::json::{ErrorReport, SettledReport};
use crate::report::progress::Style;
use crate::report::summary::Outcome;
use crate::report::text;
use crate::sanitize::{self, clean, plural};
use crate::state::{self, StateDirectory, Stored};

/// Does with journals what `config` asks for.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(config: UndoConfig) -> anyhow::Result<Code> {
    let form = config.output.form;
    let done = match &config.task {
        Task::List => list(&config.state).map(|list| tell_list(&list, form)),
        Task::Forget(name) => forget(&config.state, name).map(|path| tell_forgotten(&path, form)),
        Task::Settle(name) => match config.state.find(name) {
            Ok(stored) => return settle(&config, vec![stored], 0).await,
            Err(error) => Err(error),
        },
        Task::SettleAll => match config.state.journals() {
            Ok(stored) => {
                let (closed, unfinished): (Vec<_>, _) = stored.into_iter().partition(is_closed);
                return settle(&config, unfinished, closed.len()).await;
            }
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(text) => {
            print(&text)?;
            Ok(0)
        }
        Err(error) => failed(&error, form),
    }
}

fn is_closed(stored: &Stored) -> bool {
    let journal = stored.journal.as_ref();
    journal.is_ok_and(|journal| journal.state == State::Closed)
}

/// The standing of a journal whose run has not ended.
const AT_WORK: &str = "at-work";
/// That of one whose run was killed.
const UNFINISHED: &str = "unfinished";

/// A journal as the list shows it.
#[derive(Serialize)]
struct Listed {
    journal: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Known {
        destination: String,
        state: &'static str,
        created: u64,
        tags: Vec<String>,
    },
    Unknown {
        state: &'static str,
        error: String,
    },
}

impl Content {
    fn is_unfinished(&self) -> bool {
        matches!(self, Self::Known { state, .. } if *state == UNFINISHED)
    }
}

fn list(directory: &StateDirectory) -> Result<Vec<Listed>> {
    let stored = directory.journals()?.into_iter();
    stored
        .map(|Stored { path, journal }| {
            let content = match journal {
                Ok(journal) => known(directory, journal)?,
                Err(error) => Content::Unknown {
                    state: "unreadable",
                    error: error.to_string(),
                },
            };
            Ok(Listed {
                journal: path.display().to_string(),
                content,
            })
        })
        .collect()
}

fn known(directory: &StateDirectory, journal: Journal) -> Result<Content> {
    let state = standing(directory, &journal)?;
    let mut tags: Vec<String> = journal.tags.into_iter().map(|moved| moved.tag).collect();
    tags.sort_unstable();
    Ok(Content::Known {
        destination: journal.destination,
        state,
        created: journal.created,
        tags,
    })
}

fn standing(directory: &StateDirectory, journal: &Journal) -> Result<&'static str> {
    Ok(match journal.state {
        State::Closed => "closed",
        State::Open if directory.is_locked(&journal.destination)? => AT_WORK,
        State::Open => UNFINISHED,
    })
}

fn tell_list(list: &[Listed], form: Form) -> String {
    if form == Form::Json {
        return sanitize::json(&serde_json::json!({ "schema": 1, "journals": list }));
    }
    if list.is_empty() {
        return "no journal: every rollback run came to its end\n".to_owned();
    }
    let mut told = String::new();
    for Listed { journal, content } in list {
        let what = match content {
            Content::Known {
                destination,
                state,
                created,
                tags,
            } => format!(
                "{state}, {}, {destination}: {}",
                age(*created),
                tags.join(", ")
            ),
            Content::Unknown { state, error } => format!("{state}: {error}"),
        };
        let _ = writeln!(told, "{}\n  {}", clean(journal), clean(&what));
    }
    if list.iter().any(|listed| listed.content.is_unfinished()) {
        told.push_str("barge undo JOURNAL puts the tags of an unfinished one back\n");
    }
    told.push_str("barge undo --forget JOURNAL drops one, and leaves its tags as they are\n");
    told
}

/// How long ago, roughly.
fn age(created: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs()).saturating_sub(created);
    match seconds {
        0..120 => format!("{seconds} s old"),
        120..7200 => format!("{} min old", seconds / 60),
        7200..172_800 => format!("{} h old", seconds / 3600),
        _ => format!("{} days old", seconds / 86_400),
    }
}

fn forget(directory: &StateDirectory, name: &str) -> Result<PathBuf> {
    let stored = directory.find(name)?;
    if let Ok(journal) = &stored.journal {
        for keeper in directory.keepers(&stored.path, &journal.destination) {
            if standing(&keeper, journal)? == AT_WORK {
                let error = Error::new(Kind::Conflict, "drop", stored.path.display());
                return Err(error.because("its run is at work"));
            }
        }
    }
    state::remove(&stored.path)?;
    Ok(stored.path)
}

fn tell_forgotten(path: &Path, form: Form) -> String {
    let path = path.display().to_string();
    match form {
        Form::Json => sanitize::json(&serde_json::json!({ "schema": 1, "forgotten": path })),
        Form::Text => format!("dropped {}; its tags stay as they are\n", clean(&path)),
    }
}

/// What became of one journal.
struct Settled {
    path: PathBuf,
    end: Result<End>,
}

enum End {
    /// Its tags are back, but for those that are named.
    Undone(Undone),
    /// Its run, which was at work, has come to its end by itself.
    Ended,
}

impl Settled {
    fn undone(&self) -> Option<&Undone> {
        match &self.end {
            Ok(End::Undone(undone)) => Some(undone),
            Ok(End::Ended) | Err(_) => None,
        }
    }
}

/// Puts back the tags of `journals`; so many that are `closed` are passed over.
async fn settle(config: &UndoConfig, journals: Vec<Stored>, closed: usize) -> anyhow::Result<Code> {
    let signals = Signals::listen();
    let listener = Listener::new(if config.output.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    let events = listener.events();
    let mut settled = Vec::new();
    for stored in journals {
        if signals.stop.soon.is_cancelled() {
            break;
        }
        let path = stored.path.clone();
        let end = panics::caught(
            "put back tags",
            one(config, stored, (&events, &signals.stop)),
        );
        let end = end.await.flatten();
        settled.push(Settled { path, end });
    }
    let outcome = outcome(&settled, &signals);
    print(&match config.output.form {
        Form::Json => json(&settled, outcome),
        Form::Text if settled.is_empty() => told_nothing(closed),
        Form::Text => told(&settled),
    })?;
    Ok(outcome.exit_code())
}

fn outcome(settled: &[Settled], signals: &Signals) -> Outcome {
    let left = |each: &Settled| {
        let undone = each.undone();
        undone.is_some_and(|undone| !undone.left.is_empty())
    };
    if settled.iter().any(left) {
        return Outcome::RollbackIncomplete;
    }
    match signals.came() {
        Some(signal) => Outcome::Interrupted(signal),
        None if settled.iter().any(|each| each.end.is_err()) => Outcome::Failed,
        None => Outcome::Success,
    }
}

/// Puts back the tags of one journal, once its run is no longer at work.
async fn one(config: &UndoConfig, stored: Stored, (events, stop): (&Events, &Stop)) -> Result<End> {
    let place = Reference::parse(&stored.journal?.destination, Role::Destination)?;
    let options = config.access.options(Side::Destination, events);
    let endpoint = Endpoint::new(&place, options)?;
    let Endpoint::Registry(repository) = &endpoint else {
        return Err(Error::new(Kind::Unsupported, "put back tags of", &place)
            .because("it is no repository of a registry"));
    };
    tokio::select! {
        biased;
        () = stop.soon.cancelled() => return Err(interrupted(&place)),
        contacted = endpoint.contact(Side::Destination) => contacted?,
    }
    let mut locks = Vec::new();
    for keeper in config.state.keepers(&stored.path, &place.to_string()) {
        let lock = rollback::only_one(&keeper, &place.to_string(), (events, stop)).await;
        locks.push(lock.map_err(|error| match error.kind() {
            Kind::Interrupted => interrupted(&place),
            _ => error,
        })?);
    }
    let again = match state::read(&stored.path) {
        Some(again) if config.task != Task::SettleAll || !is_closed(&again) => again,
        Some(_) | None => return Ok(End::Ended),
    };
    let journal = again.journal?;
    may_look(repository, &journal).await?;
    let options = recovery::options(&config.access, &config.state);
    let job = UndoJob {
        repository,
        journal: &journal,
        path: &stored.path,
        options: &options,
    };
    let doubts = Doubts::new();
    let work = rollback::undo(job, &doubts, stop);
    let undone = rollback::saying_so(stop, events, work).await;
    if !undone
        .left
        .iter()
        .any(|left| rollback::is_worth_another_try(&left.error))
    {
        rollback::close(job, &undone)?;
    }
    Ok(End::Undone(undone))
}

/// Fails where whoever asks may not even look at a tag: nothing can be said of any then.
async fn may_look(repository: &Repository, journal: &Journal) -> Result<()> {
    let Some(first) = journal.tags.first() else {
        return Ok(());
    };
    let target = Target::Tag(first.tag.clone());
    match repository.head_for_certain(&target).await {
        Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Denied) => Err(error),
        _ => Ok(()),
    }
}

fn interrupted(place: &Reference) -> Error {
    Error::new(Kind::Interrupted, "put back tags of", place)
        .because("a signal ended it")
        .hint("run the same command again: it goes on where this one stopped")
}

fn json(settled: &[Settled], outcome: Outcome) -> String {
    let done = settled
        .iter()
        .filter_map(|each| SettledReport::new([(each.path.as_path(), each.undone()?)]));
    let ended = settled
        .iter()
        .filter(|each| matches!(each.end, Ok(End::Ended)));
    let ended = ended.map(|each| each.path.display().to_string());
    let failures = settled.iter().filter_map(|each| {
        let error = ErrorReport::new(each.end.as_ref().err()?);
        let journal = each.path.display().to_string();
        Some(serde_json::json!({ "journal": journal, "error": error }))
    });
    sanitize::json(&serde_json::json!({
        "schema": 1,
        "outcome": outcome.name(),
        "settled": done.collect::<Vec<_>>(),
        "ended": ended.collect::<Vec<_>>(),
        "failed": failures.collect::<Vec<_>>(),
    }))
}

fn told_nothing(closed: usize) -> String {
    match closed {
        0 => "no unfinished journal: nothing to put back\n".to_owned(),
        closed => format!(
            "no unfinished journal; {} could not be put back whole: `barge undo` lists what is left, `barge undo JOURNAL` tries again\n",
            plural(closed as u64, "closed one")
        ),
    }
}

fn told(settled: &[Settled]) -> String {
    let mut told = String::new();
    for Settled { path, end } in settled {
        let path = clean(&path.display().to_string());
        match end {
            Ok(End::Ended) => {
                let _ = writeln!(
                    told,
                    "{path}: its run has come to its end, there is nothing to undo"
                );
            }
            Ok(End::Undone(undone)) => {
                let _ = writeln!(told, "{path}: {}", text::what_was_done(undone));
                for left in &undone.left {
                    let (tag, kind) = (clean(&left.tag), left.error.kind().name());
                    let _ = writeln!(told, "{tag}: {kind}: {}", text::error(&left.error));
                }
            }
            Err(error) => {
                let _ = writeln!(
                    told,
                    "{path}: {}: {}",
                    error.kind().name(),
                    text::error(error)
                );
            }
        }
    }
    told
}
