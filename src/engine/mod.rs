//! Doing it: tags run concurrently, each resolved, moved and published; blobs and images are shared.
//!
//! The engine tells [`Events`] what happens and prints nothing.

mod bring;
mod check;
pub(crate) mod difference;
mod export;
mod insist;
pub(crate) mod inventory;
mod lists;
mod publish;
mod referrers;
mod resolve;
pub(crate) mod rollback;
mod stream_import;
mod tag;
mod tag_queue;
pub(crate) mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::lists::Lists;
use self::referrers::Came;
use self::rollback::attachment_tags::AttachmentTags;
use self::rollback::{EarlierJournals, Keeping, Staged};
use self::stream_import::Import;
use self::tag::{Step, Tag};
use self::tag_queue::{Begun, TagQueue, Work};
use crate::catalog::memory::{Manifests, Memory};
use crate::endpoint::archive::shelf::Shelf;
use crate::endpoint::permits::{Permits, Rank};
use crate::endpoint::{Arrival, Asking, Attached, Endpoint, Head, Supply, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Status, TagOutcome};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Stated};
use crate::image::platform::{Platform, Wanted};
use crate::image::referrers::Types;
use crate::once_map::OnceMap;
use crate::options::{
    Digests, ForeignLayers, MissingArch, MissingReferrers, Mode, Recheck, Run, SignedIndex,
};
use crate::state::StateDirectory;

/// Tags that are worked on at once.
const TAGS_AT_ONCE: usize = 24;

/// All that a run is to do.
#[derive(Debug)]
pub(crate) struct Job {
    /// Where images are read.
    pub source: Endpoint,
    pub destination: Endpoint,
    pub tags: Vec<TagJob>,
    pub settings: Settings,
    /// What a failed tag means for the others.
    pub policy: Policy,
    /// What earlier rollback runs left.
    pub journals: EarlierJournals,
    pub events: Events,
}

/// What a failed tag means for the others.
#[derive(Debug)]
pub(crate) enum Policy {
    /// Every tag is shown as soon as it is there.
    BestEffort,
    /// All tags are shown together, or none.
    Rollback(Keeping),
}

/// What holds for every tag.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What becomes of an index.
    pub mode: Mode,
    /// The platforms asked for.
    pub wanted: Wanted,
    /// What becomes of a tag that has none of them.
    pub missing: MissingArch,
    /// How far a tag that looks right is looked into.
    pub recheck: Recheck,
    /// Whether digests may change.
    pub digests: Digests,
    /// The types of what refers to an image that come along; `None`: nothing does.
    pub referrers: Option<Types>,
    /// What becomes of a tag where the source lists referrers that are gone.
    pub missing_referrers: MissingReferrers,
    /// What becomes of an index that is signed.
    pub signed_index: SignedIndex,
    /// Whether nondistributable layers are copied.
    pub foreign: ForeignLayers,
    /// Blob transfers at once.
    pub jobs: usize,
    /// Whether anything is written.
    pub run: Run,
    /// Where the runs of this machine take turns; `None`: nowhere.
    pub state: Option<StateDirectory>,
}

impl Policy {
    fn showing(&self) -> Showing {
        match self {
            Self::BestEffort => Showing::AtOnce,
            Self::Rollback(_) => Showing::Later,
        }
    }
}

/// When a tag is shown, once all its content is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Showing {
    AtOnce,
    /// Not by who copies it: its content is staged by digest.
    Later,
}

/// One tag to copy.
#[derive(Clone, Debug)]
pub(crate) struct TagJob {
    pub source: Target,
    pub destination: Target,
    /// The name in the report: the source's tag or REF, or its digest.
    pub name: String,
    /// The destination's tag, where it differs from the name.
    pub destination_tag: Option<String>,
    /// What an earlier run means for it.
    pub earlier: Earlier,
}

/// What a rollback run that has not come to its end means for a tag.
#[derive(Clone, Debug)]
pub(crate) enum Earlier {
    Nothing,
    /// A dry run: the tag would be put back first, and would then point at this, or be gone.
    Preview(Option<Head>),
}

/// Whether the destination is other than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    /// Something was written, or would be.
    Something,
}

/// What the tags of a run share.
struct Shared {
    source: Endpoint,
    destination: Endpoint,
    settings: Settings,
    showing: Showing,
    moving: Permits,
    /// Blobs that are asked for before it is their turn to move.
    ahead: Permits,
    events: Events,
    /// Manifests read from the source by digest.
    manifests: Manifests,
    roots: Memory,
    children: Memory,
    /// Manifests that are to be written into an archive.
    shelf: Shelf,
    /// Blobs that come through a pipe; `None` if all of the source can be read at any time.
    import: Option<Arc<Import>>,
    /// Blobs that are at the destination.
    blobs: OnceMap<Arrival, Stated>,
    /// Images that are at the destination.
    images: OnceMap<()>,
    /// The platforms of single images, as far as their configs tell them, by the configs and their types.
    platforms: OnceMap<Option<Platform>, (Stated, String)>,
    /// The platforms of images that the run moves, as indexes write them, by the images.
    listed: OnceMap<Platform>,
    /// What refers to manifests at the source.
    found: OnceMap<Arc<Attached>>,
    /// What refers to manifests and is at the destination.
    attached: OnceMap<Came>,
    /// Lists of referrers that are written before tags are shown.
    lists: Lists,
    /// What earlier rollback runs left.
    journals: Arc<EarlierJournals>,
    /// Whether it was told that other runs are not kept off.
    warned: OnceLock<()>,
    /// Whether it was said that another run is at such lists.
    waited: OnceLock<()>,
    /// Whether it was said that a list describes artifacts as they are not.
    misdescribed: OnceLock<()>,
    /// Tags that belong to images and are shown with theirs.
    attachment_tags: Mutex<AttachmentTags>,
    /// Roots that are staged: whether the destination lacked them before.
    lacked: OnceMap<bool>,
    /// The wish to end early, for waits behind a tag's last write.
    stop: Stop,
    /// The tags of the run whose last write, the one that shows them, has begun.
    last_writes: Mutex<BTreeSet<String>>,
    /// Whether it was said that those are waited for after a signal.
    finishing: OnceLock<()>,
    /// Transfers, whichever tag began them: a task that is told to end may need a moment to clean up.
    transfers: TaskTracker,
}

impl Shared {
    fn of(job: &mut Job) -> Self {
        let places = (job.source.clone(), job.destination.clone());
        let listener = (job.policy.showing(), job.events.clone());
        Self {
            journals: Arc::new(std::mem::take(&mut job.journals)),
            import: job.source.stream().map(|_| Arc::default()),
            ..Self::new(places, job.settings.clone(), listener)
        }
    }

    /// The same once more, without what was remembered to be there.
    fn again(&self) -> Self {
        let places = (self.source.clone(), self.destination.clone());
        let listener = (self.showing, self.events.clone());
        Self {
            journals: Arc::clone(&self.journals),
            stop: self.stop.clone(),
            ..Self::new(places, self.settings.clone(), listener)
        }
    }

    /// Where `blob` can be read for the tag at `tag`.
    fn supply<'a>(
        &'a self,
        blob: &Descriptor,
        (tag, mountable, asking): (usize, &'a [String], Asking),
    ) -> Supply<'a> {
        Supply {
            source: &self.source,
            mountable,
            rank: Rank::new(tag, blob.size),
            moving: &self.moving,
            ahead: &self.ahead,
            asking,
            depth: self.settings.recheck.depth(),
        }
    }

    /// Waits for the end of a source that comes through a pipe.
    async fn stream_end(&self) -> Result<()> {
        match &self.import {
            Some(import) => import.end().await,
            None => Ok(()),
        }
    }

    fn note_last_write(&self, name: &str) {
        self.last_writes().insert(name.to_owned());
    }

    fn is_in_last_write(&self, name: &str) -> bool {
        self.last_writes().contains(name)
    }

    fn last_writes(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.last_writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Repositories of the destination's registry that have a blob of the source.
    fn mountable(&self, blob: &Digest) -> Vec<String> {
        let from = self.source.mountable_from(blob, &self.destination);
        from.into_iter().collect()
    }

    fn new(
        (source, destination): (Endpoint, Endpoint),
        settings: Settings,
        (showing, events): (Showing, Events),
    ) -> Self {
        Self {
            moving: Permits::new(settings.jobs),
            ahead: Permits::new(settings.jobs),
            events,
            showing,
            source,
            destination,
            settings,
            manifests: Manifests::default(),
            roots: Memory::of_roots(),
            children: Memory::of_children(),
            shelf: Shelf::default(),
            import: None,
            blobs: OnceMap::default(),
            images: OnceMap::default(),
            platforms: OnceMap::default(),
            listed: OnceMap::default(),
            found: OnceMap::default(),
            attached: OnceMap::default(),
            lists: Lists::default(),
            journals: Arc::default(),
            warned: OnceLock::new(),
            waited: OnceLock::new(),
            misdescribed: OnceLock::new(),
            attachment_tags: Mutex::default(),
            lacked: OnceMap::default(),
            stop: Stop::default(),
            last_writes: Mutex::default(),
            finishing: OnceLock::new(),
            transfers: TaskTracker::new(),
        }
    }
}

/// The wish to end early: [`Stop::soon`] what was begun is cut off, or undone; [`Stop::now`] the undo
/// ends too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// Cancelled by the first signal.
    pub soon: CancellationToken,
    /// Cancelled by the second.
    pub now: CancellationToken,
}

/// How a run ended, besides what became of each tag.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every tag had its turn, unless a signal came first.
    Tags,
    /// Every tag had its turn, but the source is not what it should be behind what they needed.
    Damaged(Error),
    /// All tags moved together; a signal that comes later changes nothing.
    Flipped,
    /// No tag moved, for a reason that is no single tag's.
    NotFlipped(Error),
}

/// Runs `job` to its end, or until it is to `stop`.
///
/// Every tag gets its [`Event::TagEnded`]; nothing of the run is left behind when this returns.
pub(crate) async fn run(mut job: Job, stop: &Stop) -> Ended {
    let shared = Arc::new(Shared {
        stop: stop.clone(),
        ..Shared::of(&mut job)
    });
    let Job {
        tags,
        policy,
        events,
        ..
    } = job;
    events.send(Event::Selected { tags: tags.len() });
    if shared.settings.run == Run::Real {
        shared.destination.sweep();
    }
    match policy {
        Policy::BestEffort => {
            let mut hopeless = false;
            let mut right = BTreeSet::new();
            let tell = |end: TagEnd| {
                right.extend(end.overtakes());
                hopeless |= end.outcome.error.as_ref().is_some_and(Error::is_fatal);
                events.send(Event::TagEnded(Box::new(end.outcome)));
            };
            work(&shared, tags, stop, tell).await;
            if shared.settings.run == Run::Real {
                let journals = &shared.journals;
                journals.remove_from_new(&right, (&events, stop)).await;
            }
            let whole = async {
                if hopeless {
                    Ok(())
                } else {
                    shared.stream_end().await
                }
            };
            match stop.soon.run_until_cancelled(whole).await {
                Some(Err(error)) => Ended::Damaged(error),
                Some(Ok(())) | None => Ended::Tags,
            }
        }
        Policy::Rollback(keeping) => rollback::run(&shared, tags, stop, keeping).await,
    }
}

/// The end of one tag's work.
struct TagEnd {
    job: TagJob,
    outcome: TagOutcome,
    /// What is to become visible; under rollback alone.
    staged: Option<Staged>,
    /// The tags that belong to its images, and have to be right with it.
    relied: Relied,
}

/// Tags, with what they are to point at: `None` for lists of referrers, which others may add to.
type Relied = BTreeMap<String, Option<Digest>>;

/// Works on `tags`, many at once; each is told to `on_end` when its work ends.
async fn work(
    shared: &Arc<Shared>,
    tags: Vec<TagJob>,
    stop: &Stop,
    mut on_end: impl FnMut(TagEnd),
) {
    let cancelled = &stop.soon;
    let mut queue = TagQueue::new(shared, tags);
    let mut running: JoinSet<Option<Step>> = JoinSet::new();
    let mut ready = Vec::new();
    let mut failed = false;
    let mut begun: Vec<Begun> = Vec::new();
    let mut hopeless = false;
    loop {
        while !hopeless
            && !cancelled.is_cancelled()
            && let Some((tag, work)) = queue.next()
        {
            let (shared, name) = (Arc::clone(shared), tag.job.name.clone());
            running.spawn(until_stopped(shared, name, work, cancelled.clone()));
            begun.push(tag);
        }
        let ended = tokio::select! {
            biased;
            () = stop.now.cancelled() => break,
            ended = running.join_next() => ended,
        };
        match ended {
            Some(Ok(None)) => {}
            Some(Ok(Some(Step::Ready(tag)))) => {
                begun.retain(|begun| begun.job.name != tag.tag.job.name);
                ready.push(*tag);
            }
            Some(Ok(Some(Step::Decided(decided)))) => {
                begun.retain(|begun| begun.job.name != decided.tag.job.name);
                queue.put_back(*decided);
            }
            Some(Ok(Some(Step::Ended(end)))) => {
                begun.retain(|begun| begun.job.name != end.outcome.tag);
                failed |= end.outcome.status == Status::Failed;
                // What every tag would meet ends the run, instead of 600 tags one by one.
                hopeless |= end.outcome.error.as_ref().is_some_and(Error::is_fatal);
                on_end(*end);
            }
            // A task that panicked: its tag is among those begun and not ended.
            Some(Err(error)) => tracing::error!(%error, "the task of a tag ended"),
            None => break,
        }
    }
    running.shutdown().await;
    queue.close();
    for end in export::run(shared, ready, (failed, cancelled)).await {
        on_end(end);
    }
    if let Some(import) = shared.import.as_ref().filter(|_| hopeless) {
        import.cancel();
    }
    shared.transfers.close();
    shared.transfers.wait().await;
    for end in not_ended(begun, queue, shared) {
        on_end(end);
    }
}

/// The tags that were cut off, and those that were never begun.
fn not_ended(begun: Vec<Begun>, queue: TagQueue, shared: &Shared) -> impl Iterator<Item = TagEnd> {
    let cut_off = begun.into_iter().map(|Begun { job: tag, .. }| {
        let why = unfinished(&tag, shared);
        (tag, Status::Failed, Some(why))
    });
    let untried = queue.rest().map(|tag| (tag, Status::NotAttempted, None));
    cut_off.chain(untried).map(|(job, status, error)| TagEnd {
        outcome: named(&job, status, error),
        staged: None,
        relied: Relied::new(),
        job,
    })
}

/// Runs `work` on the tag `name` until it is cut off; `None`: it was. A tag whose last write has begun is waited for,
/// since a write that is given up may still be carried out.
async fn until_stopped(
    shared: Arc<Shared>,
    name: String,
    mut work: Work,
    cancelled: CancellationToken,
) -> Option<Step> {
    tokio::select! {
        biased;
        step = &mut work => return Some(step),
        () = cancelled.cancelled() => {}
    }
    if !shared.is_in_last_write(&name) {
        return None;
    }
    // The answer is on its way, or a pause before another try is: that is given up after a while.
    if shared.finishing.set(()).is_ok() {
        let text = "interrupted: waiting up to 10 s for the answer to writes of tags that have been sent; a second signal ends that";
        shared.events.send(Event::Warning(text.to_owned()));
    }
    tokio::time::timeout(LAST_WRITE, work).await.ok()
}

/// How long the answer to a tag's last write is waited for after a signal.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// Why a tag that was begun did not end.
fn unfinished(tag: &TagJob, shared: &Shared) -> Error {
    let error = || Error::new(Kind::Interrupted, "copy", &tag.name);
    if !shared.stop.soon.is_cancelled() {
        return Error::internal("copy", &tag.name);
    }
    if shared.is_in_last_write(&tag.name) {
        return error()
            .because("a signal ended the run while the tag was written: it may have been")
            .in_doubt();
    }
    error().because("a signal ended the run")
}

fn named(tag: &TagJob, status: Status, error: Option<Error>) -> TagOutcome {
    let mut outcome = TagOutcome::new(&tag.name, status);
    outcome.destination_tag.clone_from(&tag.destination_tag);
    outcome.error = error;
    outcome
}
