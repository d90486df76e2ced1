//! Rollback runs into the same repository that were killed half-way. A rollback run that selects all
//! their tags puts them back first; any other run says so, and the engine keeps it from writing those tags.

use std::path::Path;

use crate::config::{Access, CopyConfig, homeless};
use crate::endpoint::registry::Repository;
use crate::endpoint::{Endpoint, Target};
use crate::engine::rollback::{
    self, Doubts, EarlierJournals, Keeping, Options, Preview, Standing, UndoJob,
};
use crate::engine::{Earlier, Policy, Stop, TagJob};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Undone};
use crate::journal::{Journal, Move, State};
use crate::options::{self, Run};
use crate::sanitize::plural;
use crate::select::is_digest_tag;
use crate::state::{StateDirectory, Stored};

/// What a run needs to keep to its policy, when earlier runs are out of its way, and the journals of those that
/// are not.
///
/// # Errors
///
/// `local-io` where a rollback run could not keep a journal, `interrupted` where a signal ended the wait.
pub(super) async fn clear(
    config: &CopyConfig,
    destination: &Endpoint,
    tags: &mut [TagJob],
    (events, stop): (&Events, &Stop),
) -> Result<(Policy, EarlierJournals)> {
    let rollback = config.policy == options::Policy::Rollback;
    let place = config.destination.place().to_string();
    let keeps_nothing = if rollback {
        Policy::Rollback(Keeping::Nothing)
    } else {
        Policy::BestEffort
    };
    let Endpoint::Registry(repository) = destination else {
        return Ok((keeps_nothing, EarlierJournals::default()));
    };
    if !rollback {
        let journals = config.state.as_ref().map(|directory| {
            let options = options(&config.destination_access, directory);
            mind((directory, &options), &place, events)
        });
        return Ok((keeps_nothing, journals.unwrap_or_default()));
    }
    let directory = config.state.clone().ok_or_else(homeless)?;
    let options = options(&config.destination_access, &directory);
    let lock = match config.run {
        Run::Real => Some(rollback::only_one(&directory, &place, (events, stop)).await?),
        Run::Dry if directory.is_locked(&place)? => {
            let text = format!(
                "another rollback run into {place} is at work: a run would wait for its end, and this tells how the tags are now"
            );
            events.send(Event::Warning(text));
            return Ok((keeps_nothing, EarlierJournals::default()));
        }
        Run::Dry => None,
    };
    let kept = (&directory, &options);
    let journals = settle_all((config, repository), tags, kept, (events, stop)).await?;
    let policy = lock.map_or(keeps_nothing, |lock| {
        Policy::Rollback(Keeping::Journal {
            directory,
            lock,
            options,
        })
    });
    Ok((policy, journals))
}

/// Puts back what earlier runs left half-way whose tags this run selects; the journals that stay.
async fn settle_all(
    (config, repository): (&CopyConfig, &Repository),
    tags: &mut [TagJob],
    (directory, options): (&StateDirectory, &Options),
    (events, stop): (&Events, &Stop),
) -> Result<EarlierJournals> {
    let place = config.destination.place().to_string();
    let mut journals = EarlierJournals::of(&place, directory, options);
    for stored in directory.journals_of(&place)? {
        let path = stored.path;
        let journal = stored
            .journal
            .map_err(|error| not_understood(&place, &error))?;
        if journal.state == State::Closed {
            journals.add(&path, &journal, Standing::Closed);
            continue;
        }
        if !covers((config, tags), &journal) {
            let told = tell((&path, &journal), Standing::Killed, options);
            events.send(Event::Warning(told));
            journals.add(&path, &journal, Standing::Killed);
            continue;
        }
        let job = UndoJob {
            repository,
            journal: &journal,
            path: &path,
            options,
        };
        match config.run {
            Run::Real => {
                settle(job, (events, stop)).await?;
                // What could not be put back is still in its file.
                journals.add(&path, &journal, Standing::Closed);
            }
            Run::Dry => preview(job, tags, events).await?,
        }
    }
    Ok(journals)
}

/// How a run reaches a registry and its own state.
pub(super) fn options(access: &Access, state: &StateDirectory) -> Options {
    Options {
        access: access.as_options(),
        state: state.as_option().to_owned(),
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

fn writes(job: &TagJob, tag: &str) -> bool {
    matches!(&job.destination, Target::Tag(name) if name == tag)
}

/// Whether a run moves all that the journal's moved. What belongs to images comes with them; where nothing
/// else moved, a run does that brings such things.
fn covers((config, tags): (&CopyConfig, &[TagJob]), journal: &Journal) -> bool {
    let moved = journal.tags.iter();
    let comes_along = |moved: &&Move| is_digest_tag(&moved.tag);
    let along = !moved.clone().all(|moved| comes_along(&moved)) || config.referrers.types.is_some();
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
async fn preview(job: UndoJob<'_>, tags: &mut [TagJob], events: &Events) -> Result<()> {
    let Preview {
        undone,
        tags: after,
    } = rollback::preview(job).await;
    for (tag, head) in after {
        for job in tags.iter_mut().filter(|job| writes(job, &tag)) {
            job.earlier = Earlier::Preview(head.clone());
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

/// The journals that a best-effort run minds. That they cannot be looked for is no reason not to run.
fn mind(
    (directory, options): (&StateDirectory, &Options),
    place: &str,
    events: &Events,
) -> EarlierJournals {
    let mut journals = EarlierJournals::of(place, directory, options);
    let stored = directory.journals_of(place);
    let found = stored.and_then(|stored| Ok((stored, directory.is_locked(place)?)));
    let (stored, is_locked) = match found {
        Ok(found) => found,
        Err(error) => {
            events.send(Event::Warning(error.to_string()));
            return journals;
        }
    };
    for Stored { path, journal } in stored {
        let journal = match journal {
            Ok(journal) => journal,
            Err(error) => {
                let advice = error.advice().unwrap_or_default();
                events.send(Event::Warning(format!("{error}; {advice}")));
                continue;
            }
        };
        let standing = match journal.state {
            State::Closed => Standing::Closed,
            State::Open if is_locked => Standing::AtWork,
            State::Open => Standing::Killed,
        };
        if standing != Standing::Closed {
            let told = tell((&path, &journal), standing, options);
            events.send(Event::Warning(told));
        }
        journals.add(&path, &journal, standing);
    }
    journals
}

/// Says that a run ended half-way, or has not ended.
fn tell((path, journal): (&Path, &Journal), standing: Standing, options: &Options) -> String {
    let place = &journal.destination;
    let command = options.undo(path);
    let held = plural(journal.tags.len() as u64, "tag");
    if standing == Standing::AtWork {
        format!(
            "a rollback run into {place} is at work on {held}, and until its end nothing else writes there"
        )
    } else {
        format!(
            "a rollback run into {place} ended with {held} half-way; `{command}` puts back what they had, and until then nothing else writes there"
        )
    }
}
