//! Rollback runs into the same repository that were killed half-way. A rollback run that selects all
//! their tags puts them back first; anybody else says so, and leaves those tags alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::endpoint::{Endpoint, Target};
use crate::engine::rollback::{self, Doubts, Foreseen, Keeping, Options, UndoJob};
use crate::engine::{Earlier, Policy, Stop, TagJob};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Undone};
use crate::journal::{Journal, Move, State};
use crate::options::{self, Run};
use crate::printable::plural;
use crate::reference::Reference;
use crate::report::summary::Tally;
use crate::request::{Access, CopyRequest, homeless};
use crate::select::is_digest_tag;
use crate::state::{Lock, StateDirectory, Stored};

/// How often a run that waits for another looks whether that has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What a run needs to keep to its policy, where earlier runs are out of its way: `tags` that are not
/// are barred.
///
/// # Errors
///
/// `local-io` where a rollback run could not keep a journal, `interrupted` where a signal ended the wait.
pub(super) async fn clear(
    request: &CopyRequest,
    destination: &Endpoint,
    tags: &mut [TagJob],
    (events, stop): (&Events, &Stop),
) -> Result<Policy> {
    let rollback = request.policy == options::Policy::Rollback;
    let place = request.destination.place().to_string();
    let keeps_nothing = if rollback {
        Policy::Rollback(Keeping::Nothing)
    } else {
        Policy::BestEffort
    };
    let Endpoint::Registry(repository) = destination else {
        return Ok(keeps_nothing);
    };
    if !rollback {
        if let Some(directory) = &request.state {
            let options = options(&request.destination_access, directory);
            avoid((directory, &options), &place, tags, events);
        }
        return Ok(keeps_nothing);
    }
    let directory = request.state.clone().ok_or_else(homeless)?;
    let options = options(&request.destination_access, &directory);
    let lock = match request.run {
        Run::Real => Some(only_one(&directory, &place, (events, stop)).await?),
        Run::Dry if directory.is_locked(&place)? => {
            let text = format!(
                "another rollback run into {place} is at work: a run would wait for its end, and this tells how the tags are now"
            );
            events.send(Event::Warning(text));
            return Ok(keeps_nothing);
        }
        Run::Dry => None,
    };
    for stored in directory.journals_of(&place)? {
        let (path, journal) = match stored.journal {
            Ok(journal) if journal.state == State::Open => (stored.path, journal),
            Ok(_) => continue,
            Err(error) => return Err(not_understood(&place, &error)),
        };
        if !covers((request, tags), &journal) {
            bar((&path, &journal, Standing::Killed), &options, tags, events);
            continue;
        }
        let job = UndoJob {
            repository,
            journal: &journal,
            path: &path,
            options: &options,
        };
        match request.run {
            Run::Real => settle(job, (events, stop)).await?,
            Run::Dry => foresee(job, tags, events).await?,
        }
    }
    Ok(lock.map_or(keeps_nothing, |lock| {
        Policy::Rollback(Keeping::Journal {
            directory,
            lock,
            options,
        })
    }))
}

/// How a run reaches a registry and its own state.
pub(super) fn options(access: &Access, state: &StateDirectory) -> Options {
    Options {
        access: access.as_options(),
        state: state.as_option().to_owned(),
    }
}

/// Waits until no other rollback run into the repository is at work on this machine.
pub(super) async fn only_one(
    directory: &StateDirectory,
    place: &str,
    (events, stop): (&Events, &Stop),
) -> Result<Lock> {
    let mut told = false;
    loop {
        if let Some(lock) = directory.lock(place)? {
            return Ok(lock);
        }
        if !told {
            told = true;
            let text = format!("another rollback run into {place} is at work; waiting for its end");
            events.send(Event::Warning(text));
        }
        tokio::select! {
            biased;
            () = stop.soon.cancelled() => {
                return Err(Error::new(Kind::Interrupted, "wait for another run into", place)
                    .because("a signal ended the wait"));
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Why no rollback run goes into `place`: what it records as before may be what an earlier one left
/// half-way.
fn not_understood(place: &str, error: &Error) -> Error {
    let refused = Error::new(Kind::Conflict, "begin a rollback run into", place).because(error);
    match error.advice() {
        Some(advice) => refused.hint(advice),
        None => refused,
    }
}

/// The journal of a file, where somebody has still to put its tags back.
fn open(stored: Stored, events: &Events) -> Option<(PathBuf, Journal)> {
    match stored.journal {
        Ok(journal) => (journal.state == State::Open).then_some((stored.path, journal)),
        Err(error) => {
            let advice = error.advice().unwrap_or_default();
            events.send(Event::Warning(format!("{error}; {advice}")));
            None
        }
    }
}

fn writes(job: &TagJob, tag: &str) -> bool {
    matches!(&job.destination, Target::Tag(name) if name == tag)
}

/// Whether a run moves all that the journal's moved. What belongs to images comes with them; where nothing
/// else moved, a run does that brings such things.
fn covers((request, tags): (&CopyRequest, &[TagJob]), journal: &Journal) -> bool {
    let moved = journal.tags.iter();
    let comes_along = |moved: &&Move| is_digest_tag(&moved.tag);
    let along =
        !moved.clone().all(|moved| comes_along(&moved)) || request.referrers.types.is_some();
    let mut own = moved.filter(|moved| !(along && comes_along(moved)));
    own.all(|moved| tags.iter().any(|job| writes(job, &moved.tag)))
}

/// Puts back what an earlier run left half-way. Tags that cannot be put back are named, and the run goes
/// on; where that may go better another time it does not, and the journal stays for then.
async fn settle(job: UndoJob<'_>, (events, stop): (&Events, &Stop)) -> Result<()> {
    let doubts = Doubts::new();
    let work = rollback::undo(job, &doubts, stop);
    let undone = rollback::saying_so(stop, events, work).await;
    let hindrance = hindrance(&undone);
    let closed = match &hindrance {
        Some(_) => Ok(()),
        None => rollback::close(job, &undone).map(|_| ()),
    };
    events.send(Event::Settled {
        journal: job.path.to_owned(),
        undone,
    });
    hindrance.map_or(closed, Err)
}

/// Why settling has to wait for another time, if it has.
fn hindrance(undone: &Undone) -> Option<Error> {
    let mut left = undone.left.iter().map(|left| &left.error);
    let hindrance = left.find(|error| rollback::is_worth_another_try(error));
    hindrance.cloned()
}

/// Tells what [`settle`] would do, and has `tags` judged as they would be after it.
async fn foresee(job: UndoJob<'_>, tags: &mut [TagJob], events: &Events) -> Result<()> {
    let Foreseen {
        undone,
        tags: after,
    } = rollback::foresee(job).await;
    for (tag, head) in after {
        for job in tags.iter_mut().filter(|job| writes(job, &tag)) {
            job.earlier = Earlier::Foreseen(head.clone());
        }
    }
    let uncertain = uncertain(job.journal, &undone);
    if !uncertain.is_empty() {
        let text = format!(
            "a run deletes {} only where the registry deletes single tags: to delete by digest would lose manifests that were there before",
            uncertain.join(", ")
        );
        events.send(Event::Warning(text));
    }
    let hindrance = hindrance(&undone);
    events.send(Event::Settled {
        journal: job.path.to_owned(),
        undone,
    });
    hindrance.map_or(Ok(()), Err)
}

/// What a best-effort run has made right is no longer for earlier rollback runs to put back. That they
/// cannot be told is no reason for it to fail.
pub(super) async fn overtake(
    request: &CopyRequest,
    tally: &Tally,
    (events, stop): (&Events, &Stop),
) {
    let (Some(directory), Reference::Registry(_), Run::Real, options::Policy::BestEffort) = (
        &request.state,
        &request.destination,
        request.run,
        request.policy,
    ) else {
        return;
    };
    let (place, tags) = (request.destination.place().to_string(), tally.shown());
    let dropped = async {
        if rollback::overtaken(directory, &place, &tags)?.is_empty() {
            return Ok(());
        }
        let _lock = only_one(directory, &place, (events, stop)).await?;
        rollback::overtake(directory, &place, &tags)
    };
    if let Err(error) = dropped.await {
        events.send(Event::Warning(error.to_string()));
    }
}

/// The tags that are to go, but whose manifests may not: whether a registry deletes a tag alone is known
/// only by doing it.
fn uncertain<'a>(journal: &Journal, undone: &'a Undone) -> Vec<&'a str> {
    let kept = |tag: &&String| {
        let mut moved = journal.tags.iter();
        moved.any(|moved| moved.tag == **tag && !moved.pushed)
    };
    let deleted = undone.deleted.iter().filter(kept);
    deleted.map(String::as_str).collect()
}

/// Bars the tags of unfinished runs. That they cannot be looked for is no reason not to run.
fn avoid(
    (directory, options): (&StateDirectory, &Options),
    place: &str,
    tags: &mut [TagJob],
    events: &Events,
) {
    let stored = match directory.journals_of(place) {
        Ok(stored) => stored,
        Err(error) => return events.send(Event::Warning(error.to_string())),
    };
    let standing = match directory.is_locked(place) {
        Ok(true) => Standing::AtWork,
        Ok(false) => Standing::Killed,
        Err(error) => return events.send(Event::Warning(error.to_string())),
    };
    let unfinished: Vec<_> = stored
        .into_iter()
        .filter_map(|stored| open(stored, events))
        .collect();
    for (path, journal) in &unfinished {
        bar((path, journal, standing), options, tags, events);
    }
}

/// What became of the run of an open journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    AtWork,
    Killed,
}

fn bar(
    (path, journal, standing): (&Path, &Journal, Standing),
    options: &Options,
    tags: &mut [TagJob],
    events: &Events,
) {
    let place = &journal.destination;
    let command = options.undo(path);
    let held = plural(journal.tags.len() as u64, "tag");
    let text = match standing {
        Standing::AtWork => format!(
            "a rollback run into {place} is at work on {held}, and until its end nothing else writes there"
        ),
        Standing::Killed => format!(
            "a rollback run into {place} ended with {held} half-way; `{command}` puts back what they had, and until then nothing else writes there"
        ),
    };
    events.send(Event::Warning(text));
    for moved in &journal.tags {
        let error = Error::new(Kind::Conflict, "write", format!("{place}:{}", moved.tag))
            .because("a rollback run that moved it has not come to its end")
            .hint(match standing {
                Standing::AtWork => "run again when it has".to_owned(),
                Standing::Killed => format!("put it back first: {command}"),
            });
        for job in tags.iter_mut().filter(|job| writes(job, &moved.tag)) {
            job.earlier = Earlier::Bars(error.clone());
        }
    }
}
