//! One tag: what it is, what is to become of it, and its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::OnceCell;

use super::rollback::{Staged, Use};
use super::stream_import::NeededBlob;
use super::{Changed, Relied, Shared, TagEnd, TagJob, bring, check, export, named, resolve};
use crate::catalog::memory::Room;
use crate::endpoint::{Endpoint, Head, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Status, TagOutcome};
use crate::image::digest::Digest;
use crate::options::{Digests, Run};
use crate::plan::{self, Choice, Verdict};
use crate::reference::is_tag;
use crate::sanitize::few;
use crate::select::is_digest_tag;

/// What helps where a tag that belongs to an image is asked for platforms.
const OF_NO_PLATFORM: &str = "signatures and lists of referrers are of no platform: --referrers brings them with their images, and needs no --include-digest-tags";

/// What a tag needs next.
pub(super) enum Step {
    /// Nothing; its failure is in the outcome.
    Ended(Box<TagEnd>),
    /// To be written into an archive with the others.
    Ready(Box<export::Ready>),
    /// The blobs of a stream, when all tags have decided which they need.
    Decided(Box<Decided>),
}

/// A tag whose plan is known.
pub(super) struct Decided {
    pub(super) tag: Tag,
    plan: Plan,
}

impl Decided {
    pub(super) async fn run(mut self) -> Step {
        let progress = self.tag.run(self.plan).await;
        self.tag.step(progress)
    }
}

/// Runs a tag until it ends or waits for the others.
pub(super) async fn one_tag(shared: Arc<Shared>, job: TagJob, place: usize) -> Step {
    let mut tag = Tag {
        started: Instant::now(),
        outcome: named(&job, Status::Failed, None),
        there: None,
        staged: None,
        tally: Mutex::default(),
        pulls: AtomicU64::new(0),
        room: Mutex::default(),
        lost: OnceCell::new(),
        lists: Mutex::default(),
        merged: None,
        relied: Relied::new(),
        platforms: BTreeMap::new(),
        shared,
        job,
        place,
    };
    let progress = match tag.decide().await {
        Ok(Progress::Plan(plan)) if tag.shared.import.is_none() => tag.run(*plan).await,
        progress => progress,
    };
    tag.step(progress)
}

/// How far a copy came.
enum Progress {
    End(Status),
    /// All is known that goes into an archive.
    Load(Box<export::Load>),
    /// All is known that is to be brought.
    Plan(Box<Plan>),
}

/// What is to be brought.
pub(super) struct Plan {
    choice: Choice,
    /// What the destination has.
    there: check::Held,
    /// What a stream has to bring for it.
    _streamed: Vec<Arc<NeededBlob>>,
}

/// What reading a tag came to.
enum Chosen {
    /// This is to be at the destination.
    Choice(Box<Choice>),
    /// The image with this digest is at the destination.
    Same(Digest),
    /// Nothing more is to be done.
    Ended(Status),
}

/// A tag that is being copied.
pub(super) struct Tag {
    pub(super) shared: Arc<Shared>,
    pub(super) job: TagJob,
    /// Its place among the tags of the run: earlier ones come first.
    pub(super) place: usize,
    pub(super) started: Instant,
    pub(super) outcome: TagOutcome,
    /// What the destination's tag points at.
    pub(super) there: Option<Head>,
    /// What was staged for it.
    pub(super) staged: Option<Staged>,
    /// What became of its blobs.
    pub(super) tally: Mutex<bring::Tally>,
    /// Manifests read from the source.
    pub(super) pulls: AtomicU64,
    /// Room for its root.
    pub(super) room: Mutex<Option<Room>>,
    /// The error of what its index lists and the source does not hold; found out once.
    pub(super) lost: OnceCell<Error>,
    /// The lists of referrers that have to be written before it is shown.
    pub(super) lists: Mutex<BTreeSet<String>>,
    /// The tag of the list that it is itself, and that is merged.
    pub(super) merged: Option<String>,
    /// The tags that belong to its images, once they are right.
    pub(super) relied: Relied,
    /// The platforms of what its index lists.
    pub(super) platforms: BTreeMap<Digest, String>,
}

impl Tag {
    /// Its outcome, with all that is known of it.
    pub(super) fn end(mut self, result: Result<Status>) -> TagEnd {
        match result {
            Ok(status) => self.outcome.status = status,
            Err(error) => {
                self.outcome.digest = None;
                self.outcome.error = Some(self.naming_platforms(error));
            }
        }
        (self.outcome.blobs, self.outcome.bytes) = self.tally().counts();
        self.outcome.source_pulls = self.pulls.load(Ordering::Relaxed);
        self.outcome.elapsed = self.started.elapsed();
        TagEnd {
            job: self.job,
            outcome: self.outcome,
            staged: self.staged,
            relied: self.relied,
        }
    }

    /// The same error with the platforms of the images that it names by their digests.
    fn naming_platforms(&self, error: Error) -> Error {
        let said = error.to_string();
        let named = self.platforms.iter().filter(|(digest, platform)| {
            said.contains(digest.as_str()) && !said.contains(platform.as_str())
        });
        let named: Vec<String> = named
            .map(|(digest, platform)| format!("{digest} is {platform}"))
            .collect();
        if named.is_empty() {
            error
        } else {
            error.remarking(&few(&named))
        }
    }

    /// Keeps `room` for the root that was read, to the tag's end or until it gives it back.
    pub(super) fn keep_room(&self, room: Room) {
        *self.room() = Some(room);
    }

    fn room(&self) -> MutexGuard<'_, Option<Room>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(self, progress: Result<Progress>) -> Step {
        match progress {
            Ok(Progress::Load(load)) => {
                self.room().take();
                Step::Ready(Box::new(export::Ready::new(self, *load)))
            }
            Ok(Progress::Plan(plan)) => Step::Decided(Box::new(Decided {
                tag: self,
                plan: *plan,
            })),
            Ok(Progress::End(status)) => Step::Ended(Box::new(self.end(Ok(status)))),
            Err(error) => Step::Ended(Box::new(self.end(Err(error)))),
        }
    }

    /// Finds out what is to be brought, unless nothing is.
    async fn decide(&mut self) -> Result<Progress> {
        let mut choice = match self.choose().await? {
            Chosen::Choice(choice) => *choice,
            Chosen::Same(digest) => return self.attach_to_current(vec![digest]).await,
            Chosen::Ended(status) => return Ok(Progress::End(status)),
        };
        if matches!(self.shared.destination, Endpoint::DockerArchive(_)) {
            plan::keep_one_image(&mut choice, &self.source_name())?;
        }
        let Some(mut held) = self.missing_parts(&choice).await? else {
            return self.attach_to_current(choice.subjects()).await;
        };
        let lost = self.lost_attestations(&choice, &held).await?;
        if !lost.is_empty() {
            choice = self.do_without(choice, lost).await?;
            let Some(others) = self.missing_parts(&choice).await? else {
                return self.attach_to_current(choice.subjects()).await;
            };
            held = others;
        }
        self.allow(Use::Write)?;
        if let Endpoint::Layout(layout) = &self.shared.destination {
            layout.check_owner(&choice.filtered.root.digest, &self.job.destination)?;
        }
        let choice = self.check_referrers_tag(choice, &held).await?;
        self.refuse_known_sparse(&choice).await?;
        if let Some(load) = self.load_for_archive(&choice).await? {
            return Ok(Progress::Load(Box::new(load)));
        }
        let streamed = match &self.shared.import {
            Some(import) => self.need_of(import, (&choice, &held)).await?,
            None => Vec::new(),
        };
        Ok(Progress::Plan(Box::new(Plan {
            choice,
            there: held,
            _streamed: streamed,
        })))
    }

    /// What of `choice` the destination holds; `None` where the tag has all of it.
    async fn missing_parts(&self, choice: &Choice) -> Result<Option<check::Held>> {
        let whole = matches!(self.shared.destination, Endpoint::OciArchive(_));
        match self.check(choice).await? {
            // What refers to it may be missing in an archive, which is written whole.
            check::Check::Current if whole && self.shared.settings.referrers.is_some() => {
                Ok(Some(check::Held::new()))
            }
            check::Check::Current => Ok(None),
            check::Check::Lacking(held) => Ok(Some(held)),
        }
    }

    /// `choice` without attestations that the source has lost.
    async fn do_without(&mut self, choice: Choice, lost: BTreeSet<Digest>) -> Result<Choice> {
        self.outcome.lost_attestations = lost.iter().cloned().collect();
        let choice = self.choose_without(choice, lost).await?;
        self.note(&choice);
        if self.shared.settings.digests == Digests::Preserve {
            plan::check_digest(&choice, &self.source_name())?;
        }
        Ok(choice)
    }

    /// Brings and shows it.
    async fn run(&mut self, plan: Plan) -> Result<Progress> {
        let Plan { choice, there, .. } = &plan;
        let bring = self.bring(choice, there);
        let (brought, ()) = tokio::try_join!(bring, self.look_for_referrers(choice))?;
        let changed = self.publish(choice, brought).await?;
        Ok(self.progress(changed).await)
    }

    /// Brings what refers to an image that is at the destination already.
    async fn attach_to_current(&mut self, subjects: Vec<Digest>) -> Result<Progress> {
        self.allow(Use::AsItIs)?;
        let changed = self.attach(subjects).await?;
        Ok(self.progress(changed).await)
    }

    async fn progress(&self, changed: Changed) -> Progress {
        if let Target::Tag(tag) = &self.job.destination {
            self.overtake(BTreeSet::from([tag.clone()])).await;
        }
        Progress::End(match (self.shared.settings.run, changed) {
            (_, Changed::Nothing) => Status::Current,
            (Run::Real, Changed::Something) => Status::Copied,
            (Run::Dry, Changed::Something) => Status::WouldCopy,
        })
    }

    /// What goes into an archive, where the destination is one.
    async fn load_for_archive(&mut self, choice: &Choice) -> Result<Option<export::Load>> {
        match &self.shared.destination {
            Endpoint::Registry(_) | Endpoint::Layout(_) => Ok(None),
            Endpoint::OciArchive(_) => self.load(choice).await.map(Some),
            Endpoint::DockerArchive(_) => {
                let load = self.load(choice).await?;
                self.outcome.digest = Some(load.image_id()?);
                Ok(Some(load))
            }
        }
    }

    /// What is to be at the destination.
    async fn choose(&mut self) -> Result<Chosen> {
        self.check_name()?;
        let resolved = self.resolve().await?;
        let choice = match resolved {
            resolve::Resolved::Same(digest) => {
                self.outcome.source_digest = Some(digest.clone());
                self.outcome.digest = Some(digest.clone());
                return Ok(Chosen::Same(digest));
            }
            resolve::Resolved::Choice(choice) => choice,
        };
        self.follow_digest(&choice).await?;
        let (settings, name) = (&self.shared.settings, self.source_name());
        let verdict = plan::judge(&choice, settings.mode, settings.missing, &name);
        let digests = settings.digests;
        self.note(&choice);
        match verdict {
            Verdict::Copy => {
                if digests == Digests::Preserve {
                    plan::check_digest(&choice, &name)?;
                }
                self.check_signatures(&choice).await?;
                Ok(Chosen::Choice(choice))
            }
            Verdict::Fail(error) => Err(self.advised(error)),
            Verdict::Skip(error) => {
                self.outcome.error = Some(self.advised(error));
                self.outcome.digest = None;
                Ok(Chosen::Ended(Status::Skipped))
            }
        }
    }

    /// The error of platforms that are not there, with what helps where the tag is none of an image.
    fn advised(&self, error: Error) -> Error {
        match &self.job.source {
            Target::Tag(tag) if is_digest_tag(tag) => error.hint(OF_NO_PLATFORM),
            _ => error,
        }
    }

    /// A REF of a layout can be any text; a registry's tag can't.
    fn check_name(&self) -> Result<()> {
        match (&self.job.destination, &self.shared.destination) {
            (Target::Tag(name), Endpoint::Registry(_) | Endpoint::DockerArchive(_))
                if !is_tag(name) =>
            {
                Err(Error::new(Kind::Unsupported, "copy", name)
                    .because("this REF cannot be a tag")
                    .hint(format!(
                        "copy it by itself and name its tag: {} DESTINATION:TAG",
                        self.source_name()
                    )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a use of its tag that an earlier run would make wrong.
    fn allow(&self, wanted: Use) -> Result<()> {
        match &self.job.destination {
            Target::Tag(tag) => self.shared.journals.allow(tag, wanted),
            Target::Digest(_) => Ok(()),
        }
    }

    /// A source by digest is pushed by digest alone: by that of what the filter made of it.
    async fn follow_digest(&mut self, choice: &Choice) -> Result<()> {
        let root = &choice.filtered.root.digest;
        if matches!(&self.job.destination, Target::Digest(digest) if digest != root) {
            self.job.destination = Target::Digest(root.clone());
            self.there = self.destination_head().await?;
        }
        Ok(())
    }

    /// Tells the report what is known of the tag now.
    fn note(&mut self, choice: &Choice) {
        let filtered = &choice.filtered;
        self.outcome.source_digest = Some(choice.source.clone());
        self.outcome.digest = Some(filtered.root.digest.clone());
        self.outcome.platforms.clone_from(&filtered.platforms);
        self.outcome
            .omitted_platforms
            .clone_from(&filtered.omitted_platforms);
        self.outcome.missing_platforms.clone_from(&filtered.missing);
        let images = choice.listed().filter(|entry| !entry.is_attestation());
        self.platforms = images
            .filter_map(|entry| Some((entry.digest.clone(), entry.platform.as_ref()?.to_string())))
            .collect();
    }

    pub(super) fn source_name(&self) -> String {
        match &self.job.source {
            Target::Tag(tag) => format!("{}:{tag}", self.shared.source),
            Target::Digest(digest) => format!("{}@{digest}", self.shared.source),
        }
    }
}
