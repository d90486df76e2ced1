//! The journals that earlier rollback runs left: which of their tags a run must not use, and their removal from
//! a journal once a run has made them right. Nothing of a journal is put back here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Showing, Stop, Tag, TagEnd};
use super::{Options, shorten};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::journal::{Journal, State};
use crate::options::Run;
use crate::state::{self, Lock, StateDirectory, Stored};

/// How often is looked whether another run has ended.
const LOOK: Duration = Duration::from_millis(100);

/// How far the run of a journal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may still put its tags back.
    AtWork,
    /// It was killed, and `barge undo` puts its tags back.
    Killed,
    /// Its undo had to leave these tags.
    Closed,
}

/// How a run uses a tag of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Use {
    /// It has to be written.
    Write,
    /// It is a list of referrers that has to grow: a run at work keeps others off until its end.
    Growth,
    /// It is right, and has to stay so.
    AsItIs,
}

/// The journals of a repository as they were when this run began.
#[derive(Debug, Default)]
pub(crate) struct EarlierJournals {
    place: String,
    directory: Option<StateDirectory>,
    options: Options,
    known: Vec<Known>,
    /// The tags of a run take turns: the lock between runs would make them wait for each other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    tags: BTreeSet<String>,
    standing: Standing,
}

impl EarlierJournals {
    /// None yet, of the repository `place`.
    #[must_use]
    pub(crate) fn of(place: &str, directory: &StateDirectory, options: &Options) -> Self {
        Self {
            place: place.to_owned(),
            directory: Some(directory.clone()),
            options: options.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, path: &Path, journal: &Journal, standing: Standing) {
        self.known.push(Known {
            path: path.to_owned(),
            tags: journal.tags.iter().map(|moved| moved.tag.clone()).collect(),
            standing,
        });
    }

    /// Refuses a use of `tag` that an earlier run, or its undo, would make wrong.
    pub(in super::super) fn allow(&self, tag: &str, wanted: Use) -> Result<()> {
        for known in self.known.iter().filter(|known| known.tags.contains(tag)) {
            let hint = match (known.standing, wanted) {
                (Standing::Closed, _)
                | (Standing::AtWork, Use::Growth)
                | (Standing::Killed, Use::AsItIs) => continue,
                (Standing::AtWork, Use::Write | Use::AsItIs) => "run again when it has".to_owned(),
                (Standing::Killed, Use::Write | Use::Growth) => {
                    let command = self.options.undo(&known.path);
                    format!("put it back first: {command}")
                }
            };
            let doing = match wanted {
                Use::Write | Use::Growth => "write",
                Use::AsItIs => "rely on",
            };
            let name = format!("{}:{tag}", self.place);
            return Err(Error::new(Kind::Conflict, doing, name)
                .because("a rollback run that moved it has not come to its end")
                .hint(hint));
        }
        Ok(())
    }

    /// Removes `tags`, which this run wrote or found right, from the journals, and says so. The caller is the
    /// one run that may.
    pub(super) fn remove(&self, tags: &BTreeSet<String>, events: &Events) {
        for known in self.naming(tags) {
            if let Err(error) = self.remove_from(&known.path, tags, events) {
                events.send(Event::Warning(error.to_string()));
            }
        }
    }

    fn remove_from(&self, path: &Path, tags: &BTreeSet<String>, events: &Events) -> Result<()> {
        let Some(journal) = state::read(path).map(|stored| stored.journal).transpose()? else {
            return Ok(());
        };
        let named = journal.tags.iter().map(|moved| moved.tag.as_str());
        let named: Vec<&str> = named.filter(|tag| tags.contains(*tag)).collect();
        if named.is_empty() {
            return Ok(());
        }
        shorten(path, journal.without(|tag| tags.contains(tag)))?;
        let text = format!(
            "{} of {}: right as of this run, so no longer in {}, the journal of an earlier rollback run; `barge undo` leaves them as they are",
            named.join(", "),
            self.place,
            path.display()
        );
        events.send(Event::Warning(text));
        Ok(())
    }

    fn naming<'a>(&'a self, tags: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Known> {
        let known = self.known.iter();
        known.filter(|known| known.standing != Standing::AtWork && !known.tags.is_disjoint(tags))
    }

    /// The same for a run that is not the only one, once no rollback run is at work.
    async fn remove_in_turn(&self, tags: &BTreeSet<String>, (events, stop): (&Events, &Stop)) {
        let Some(directory) = &self.directory else {
            return;
        };
        if self.naming(tags).next().is_none() {
            return;
        }
        let _turn = self.turn.lock().await;
        match only_one(directory, &self.place, (events, stop)).await {
            Ok(_lock) => self.remove(tags, events),
            Err(error) => events.send(Event::Warning(error.to_string())),
        }
    }

    /// Removes `tags` from the closed journals that are there now: a rollback run that was at work when this one
    /// began may have left one.
    pub(in super::super) async fn remove_from_new(
        &self,
        tags: &BTreeSet<String>,
        (events, stop): (&Events, &Stop),
    ) {
        let Some(directory) = &self.directory else {
            return;
        };
        let stored = match directory.journals_of(&self.place) {
            Ok(stored) => stored,
            Err(error) => return events.send(Event::Warning(error.to_string())),
        };
        let mut closed = Self::of(&self.place, directory, &self.options);
        for Stored { path, journal } in stored {
            if let Ok(journal) = journal
                && journal.state == State::Closed
            {
                closed.add(&path, &journal, Standing::Closed);
            }
        }
        closed.remove_in_turn(tags, (events, stop)).await;
    }
}

impl TagEnd {
    /// The tags that are right when this one is shown: itself, and what belongs to its images.
    pub(in super::super) fn overtakes(&self) -> impl Iterator<Item = String> + use<'_> {
        let shown = self.outcome.is_shown().then(|| self.tag().into_iter());
        let shown = shown.map(|own| own.chain(self.relied.keys().cloned()));
        shown.into_iter().flatten()
    }
}

impl Tag {
    /// Removes `tags`, which are right, from the journals of earlier runs. Under rollback tags are right when all
    /// have moved.
    pub(in super::super) async fn overtake(&self, tags: BTreeSet<String>) {
        let shared = &self.shared;
        if shared.showing == Showing::AtOnce && shared.settings.run == Run::Real {
            let removal = shared
                .journals
                .remove_in_turn(&tags, (&shared.events, &shared.stop));
            removal.await;
        }
    }
}

/// Waits until no other rollback run into the repository is at work on this machine.
///
/// # Errors
///
/// `local-io` when its lock cannot be taken, `interrupted` when a signal ends the wait.
pub(crate) async fn only_one(
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
