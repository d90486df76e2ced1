//! All or nothing: everything is staged by digest, what tags point at is recorded, then they are
//! flipped together; on a failure or a signal they are put back. A layout is flipped by one rename.

pub(super) mod attachment_tags;
mod earlier;
mod flip;
mod look;
mod preview;
mod record;
mod stage;
mod undo;
mod undo_messages;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(super) use self::earlier::Use;
pub(crate) use self::earlier::{EarlierJournals, Standing, only_one};
pub(crate) use self::flip::Doubts;
use self::flip::{Flip, Moving};
pub(crate) use self::preview::{Preview, preview};
use self::record::Recorded;
pub(crate) use self::stage::Staged;
pub(crate) use self::undo::{UndoJob, undo};
use super::{Ended, Shared, Stop, TagEnd, TagJob, work};
use crate::bounded::AT_ONCE;
use crate::endpoint::layout::{Arrivals, Layout};
use crate::endpoint::registry::Repository;
use crate::endpoint::{Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Status, Undone};
use crate::journal::Journal;
use crate::options::Run;
use crate::sanitize::word;
use crate::state::{self, Lock, StateDirectory};

/// What a rollback run keeps on this machine.
#[derive(Debug)]
pub(crate) enum Keeping {
    /// The destination changes by one rename: there is nothing to keep.
    Nothing,
    Journal {
        directory: StateDirectory,
        /// The right to be the only such run.
        lock: Lock,
        /// How the destination is reached.
        options: Options,
    },
}

/// What has to be written behind a command so that it reaches the same places in the same way, each with
/// a space in front; a placeholder stands for a secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Whom to be and whom to trust, for `undo` and for both sides of `copy`.
    pub access: String,
    /// Where journals are kept, for `undo`.
    pub state: String,
}

impl Options {
    /// The command line that puts back the tags of the journal at `path`.
    #[must_use]
    pub(crate) fn undo(&self, path: &Path) -> String {
        let Self { access, state } = self;
        format!(
            "barge undo{access}{state} {}",
            word(&path.to_string_lossy())
        )
    }
}

/// Runs `tags` to their end: all of them, or none.
pub(super) async fn run(
    shared: &Arc<Shared>,
    tags: Vec<TagJob>,
    stop: &Stop,
    keeping: Keeping,
) -> Ended {
    let mut ends = Vec::with_capacity(tags.len());
    work(shared, tags, stop, |end| {
        shared.events.send(Event::TagStaged);
        ends.push(end);
    })
    .await;
    let mut run = Rollback { shared, stop, ends };
    let ended = match shared.settings.run {
        Run::Dry => Ended::Tags,
        Run::Real => run.flip_or_not(keeping).await,
    };
    for end in run.ends {
        let ended = Event::TagEnded(Box::new(end.outcome));
        shared.events.send(ended);
    }
    ended
}

/// A run whose tags are staged.
struct Rollback<'a> {
    shared: &'a Arc<Shared>,
    stop: &'a Stop,
    ends: Vec<TagEnd>,
}

impl Rollback<'_> {
    async fn flip_or_not(&mut self, keeping: Keeping) -> Ended {
        let is_archive = matches!(
            self.shared.destination,
            Endpoint::OciArchive(_) | Endpoint::DockerArchive(_)
        );
        // An archive has its name by now: a signal that comes later changes nothing.
        if is_archive && !self.has_failures() {
            return self.flipped_archive();
        }
        if is_archive || !self.is_good() {
            self.roll_back();
            return Ended::Tags;
        }
        let shared = Arc::clone(self.shared);
        let whole = self.stop.soon.run_until_cancelled(shared.stream_end());
        match whole.await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.roll_back();
                return Ended::NotFlipped(error);
            }
            None => {
                self.roll_back();
                return Ended::Tags;
            }
        }
        let ended = match (&shared.destination, keeping) {
            (Endpoint::Layout(layout), _) => self.flip_layout(layout).await,
            (
                Endpoint::Registry(repository),
                Keeping::Journal {
                    directory,
                    lock,
                    options,
                },
            ) => {
                let ended = self.flip_registry(repository, (&directory, &options));
                let ended = ended.await;
                drop(lock);
                ended
            }
            (Endpoint::Registry(_) | Endpoint::OciArchive(_) | Endpoint::DockerArchive(_), _) => {
                Err(
                    Error::new(Kind::Protocol, "flip tags of", &shared.destination)
                        .because("there is nowhere to keep a journal"),
                )
            }
        };
        match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.roll_back();
                Ended::NotFlipped(error)
            }
        }
    }

    /// Whether nothing speaks against showing the tags.
    fn is_good(&self) -> bool {
        !self.stop.soon.is_cancelled() && !self.has_failures()
    }

    fn has_failures(&self) -> bool {
        let failed =
            |end: &TagEnd| matches!(end.outcome.status, Status::Failed | Status::NotAttempted);
        self.ends.iter().any(failed)
    }

    /// Says of every tag that was fine that it is as before.
    fn roll_back(&mut self) {
        for end in &mut self.ends {
            if end.outcome.status == Status::Copied {
                end.outcome.status = Status::RolledBack;
                if let Some(staged) = end.staged.take() {
                    end.outcome.previous_digest = staged.before;
                }
            }
        }
    }

    /// Notes why one tag fails.
    fn fail(&mut self, tag: &str, error: Error) {
        if let Some(end) = self.end_of(tag) {
            end.outcome.status = Status::Failed;
            end.outcome.digest = None;
            end.outcome.error = Some(error);
        }
    }

    /// The one that writes `tag`, or that `tag` belongs to.
    fn end_of(&mut self, tag: &str) -> Option<&mut TagEnd> {
        let owner = self
            .shared
            .staged_attachment_tags()
            .owner(tag)
            .map(str::to_owned);
        let owns = |end: &TagEnd| owner.as_ref() == Some(&end.outcome.tag);
        let relies = |end: &TagEnd| end.relied.contains_key(tag);
        let place = self.ends.iter().position(|end| end.writes(tag));
        let place = place.or_else(|| self.ends.iter().position(owns));
        let place = place.or_else(|| self.ends.iter().position(relies))?;
        self.ends.get_mut(place)
    }

    /// Why the run failed: the first tag's error.
    fn reason(&self) -> Option<Error> {
        self.ends.iter().find_map(|end| end.outcome.error.clone())
    }

    /// It has its name already, by one rename: all tags came into it.
    fn flipped_archive(&self) -> Ended {
        let copied = |end: &TagEnd| end.outcome.status == Status::Copied;
        if !self.ends.iter().any(copied) {
            return Ended::Tags;
        }
        self.shared.events.send(Event::Flipped(Duration::ZERO));
        Ended::Flipped
    }

    async fn flip_layout(&mut self, layout: &Layout) -> Result<Ended> {
        let attachment_tags = self.shared.staged_attachment_tags().clone();
        if self.ends.iter().all(|end| end.staged.is_none()) && attachment_tags.is_empty() {
            return Ok(Ended::Tags);
        }
        // The wait can be given up, what is written afterwards cannot.
        let Some(lock) = self.stop.soon.run_until_cancelled(layout.lock()).await else {
            self.roll_back();
            return Ok(Ended::Tags);
        };
        let lock = lock?;
        if !self.are_unchanged(layout)? {
            self.roll_back();
            return Ok(Ended::Tags);
        }
        let staged = |end: &mut TagEnd| {
            let staged = end.staged.take()?;
            end.outcome.previous_digest = staged.before;
            Some((staged.root, end.job.destination.clone()))
        };
        let arrivals = Arrivals {
            images: self.ends.iter_mut().filter_map(staged).collect(),
            ..attachment_tags.arrivals()
        };
        let started = Instant::now();
        layout.enter_locked(lock, arrivals).await?;
        self.shared.events.send(Event::Flipped(started.elapsed()));
        Ok(Ended::Flipped)
    }

    /// Whether the tags of `layout`, whose lock is held, are what they were when this run began to stage them.
    fn are_unchanged(&mut self, layout: &Layout) -> Result<bool> {
        let mut changed = Vec::new();
        for end in &self.ends {
            let (Some(staged), Target::Tag(tag)) = (&end.staged, &end.job.destination) else {
                continue;
            };
            // What is damaged has to be written again.
            let found = match layout.head(&end.job.destination) {
                Err(error) if error.kind() == Kind::DigestMismatch => continue,
                found => found?.map(|head| head.digest),
            };
            let is_right = found.as_ref() == Some(&staged.root.digest);
            if found != staged.before && !is_right {
                let error = look::moved(&format!("{layout}:{tag}"), found.as_ref());
                changed.push((tag.clone(), error));
            }
        }
        let is_same = changed.is_empty();
        for (tag, error) in changed {
            self.fail(&tag, error);
        }
        Ok(is_same)
    }

    async fn flip_registry(
        &mut self,
        repository: &Repository,
        (directory, options): (&StateDirectory, &Options),
    ) -> Result<Ended> {
        let Some(mut recorded) = self.prepare(repository).await else {
            self.roll_back();
            return Ok(Ended::Tags);
        };
        let _turns = std::mem::take(&mut recorded.turns);
        let (moving, journal) = self.journal(recorded);
        if moving.is_empty() {
            self.overtake();
            return Ok(Ended::Tags);
        }
        let path = directory.create(&journal)?;
        if self.look_again(repository, &moving).await.is_none() {
            self.roll_back();
            self.drop_journal(path);
            return Ok(Ended::Tags);
        }
        let recheck = self.shared.settings.recheck;
        let work = flip::flip(repository, &moving, recheck, self.stop);
        let flip = saying_so(self.stop, &self.shared.events, work).await;
        self.shared.events.send(Event::Flipped(flip.elapsed));
        for error in &flip.unseen {
            let warning = format!("written, but not seen afterwards: {error}");
            self.shared.events.send(Event::Warning(warning));
        }
        if flip.is_complete() {
            // As long as its own journal is there, a run that is killed is undone as a whole.
            self.overtake();
            self.drop_journal(path);
            return Ok(Ended::Flipped);
        }
        let job = UndoJob {
            repository,
            journal: &journal,
            path: &path,
            options,
        };
        self.take_back(job, flip).await;
        Ok(Ended::Tags)
    }

    /// Removes the run's journal, which no tag needs any more.
    fn drop_journal(&self, path: PathBuf) {
        if let Err(error) = state::remove(&path) {
            self.shared.events.send(Event::Warning(error.to_string()));
            self.shared.events.send(Event::Journal(path));
        }
    }

    /// What this run has made right is no longer for the undo of earlier ones.
    fn overtake(&self) {
        let tags = self.ends.iter().flat_map(TagEnd::overtakes).collect();
        self.shared.journals.remove(&tags, &self.shared.events);
    }

    /// What has to be known right before the flip. `None`: a tag failed, or a signal came.
    async fn prepare(&mut self, repository: &Repository) -> Option<Recorded> {
        let stop = self.stop;
        let recorded = self.record(repository);
        let mut recorded = stop.soon.run_until_cancelled(recorded).await??;
        self.refresh(repository).await?;
        // Behind what may stage them again.
        let attachment_tags = self.record_companions(repository, &mut recorded);
        stop.soon.run_until_cancelled(attachment_tags).await??;
        Some(recorded)
    }

    /// The tags that have to move, and the journal of that.
    fn journal(&mut self, recorded: Recorded) -> (Vec<Moving>, Journal) {
        let mut moving = recorded.attachment_tags;
        for list in &moving {
            if let Some(end) = self.ends.iter_mut().find(|end| end.writes(&list.tag)) {
                end.outcome.previous_digest.clone_from(&list.before);
                end.outcome.digest = Some(list.root.digest.clone());
            }
        }
        for end in &mut self.ends {
            let (Some(tag), Some(staged)) = (end.tag(), end.staged.take()) else {
                continue;
            };
            let before = recorded.tags.get(&tag).cloned().flatten();
            end.outcome.previous_digest.clone_from(&before);
            if before.as_ref() != Some(&staged.root.digest) {
                moving.push(Moving::new((tag, before), staged.root, staged.pushed));
            }
        }
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let journal = Journal::new(
            format!("docker://{}", self.shared.destination),
            created.map_or(0, |time| time.as_secs()),
            moving.iter().map(Moving::entry).collect(),
            recorded.manifests,
        );
        (moving, journal)
    }

    async fn take_back(&mut self, job: UndoJob<'_>, flip: Flip) {
        self.roll_back();
        for (tag, error) in flip.failed {
            self.fail(&tag, error);
        }
        let work = undo(job, &flip.doubts, self.stop);
        let undone = saying_so(self.stop, &self.shared.events, work).await;
        let reason = self.reason();
        for left in &undone.left {
            self.fail(&left.tag, with_reason(&left.error, reason.as_ref()));
            if let Some(end) = self.end_of(&left.tag) {
                end.outcome.left.push(left.tag.clone());
            }
        }
        let mut left = undone.left.iter();
        let kept = if left.any(|left| is_worth_another_try(&left.error)) {
            Ok(Kept::Yes)
        } else {
            close(job, &undone)
        };
        let kept = kept.unwrap_or_else(|error| {
            self.shared.events.send(Event::Warning(error.to_string()));
            Kept::Yes
        });
        if kept == Kept::Yes {
            let path = job.path.to_owned();
            self.shared.events.send(Event::Journal(path));
        }
    }
}

/// The error of a tag that could not be put back, which also tells why it had to be.
fn with_reason(error: &Error, reason: Option<&Error>) -> Error {
    let Some(reason) = reason else {
        return error.clone();
    };
    error.clone().because(format!(
        "{}; it was to be put back since the run {reason}",
        error.cause()
    ))
}

/// Does `work` to its end, and says what a signal means that comes meanwhile.
pub(crate) async fn saying_so<T>(stop: &Stop, events: &Events, work: impl Future<Output = T>) -> T {
    if stop.soon.is_cancelled() {
        return work.await;
    }
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = stop.soon.cancelled() => {}
    }
    let text = "interrupted: tags that have moved are put back; a second signal stops that";
    events.send(Event::Warning(text.to_owned()));
    work.await
}

/// Whether a journal is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Its file is gone.
    No,
    /// It holds what could not be put back.
    Yes,
}

/// Whether a tag was left since the registry could not be reached, or wants to know who asks, or a signal
/// came: the journal stays as it is then, and the next run or `barge undo` may do better.
#[must_use]
pub(crate) fn is_worth_another_try(error: &Error) -> bool {
    let kind = error.kind();
    let passing = matches!(kind, Kind::Unauthorized | Kind::Denied | Kind::Interrupted);
    kind.retryable() || passing
}

/// Does with a journal what its undo came to.
///
/// # Errors
///
/// `local-io`; the journal is as it was.
pub(crate) fn close(job: UndoJob<'_>, undone: &Undone) -> Result<Kept> {
    if !undone.finished {
        return Ok(Kept::Yes);
    }
    let is_left = |tag: &str| {
        let mut left = undone.left.iter().map(|left| left.tag.as_str());
        left.any(|left| left == tag) && !undone.grown.contains(tag)
    };
    shorten(job.path, job.journal.closed(is_left))
}

fn shorten(path: &Path, rest: Option<Journal>) -> Result<Kept> {
    match rest {
        None => state::remove(path).map(|()| Kept::No),
        Some(journal) => state::save(path, &journal).map(|()| Kept::Yes),
    }
}
