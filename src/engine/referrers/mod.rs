//! Bringing what refers to an image: its signatures, attestations, bills of materials, and what refers to
//! those. They come behind what they refer to, each once a run; nothing is asked for unless it is wanted.

mod find;
mod gather;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::find::Artifact;
use futures_util::future::BoxFuture;

use super::rollback::Use;
use super::{Changed, Relied, Showing, Tag};
use crate::bounded::{late, try_all};
use crate::endpoint::hints::damaged_there;
use crate::endpoint::{Listing, Lost, Target};
use crate::error::{Error, Result};
use crate::event::ReferrerCounts;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::order::{Node, rounds};
use crate::image::referrers::{Additions, Types, Walk, list_tag};
use crate::once_map::Done;
use crate::options::{Recheck, Run};

/// What refers to one manifest.
pub(super) type Came = Arc<Attachments>;

#[derive(Default)]
pub(super) struct Attachments {
    came: Vec<Referrer>,
    /// What the source names and does not have.
    gone: Vec<String>,
    /// The tags that it is found by.
    relied: Relied,
}

/// What refers to something and is at the destination now.
#[derive(Clone)]
pub(super) struct Referrer {
    digest: Digest,
    /// Whether it had to be brought.
    changed: Changed,
    /// What it lists, where it is an index: something may refer to that too.
    below: Vec<Digest>,
}

/// What an entry of a list became.
enum Entered {
    /// It is at the destination; the artifact too, where it is not listed there yet.
    Came(Referrer, Option<Box<Manifest>>),
    /// The source does not have it.
    Gone(Digest),
}

impl Referrer {
    fn new(digest: Digest, below: &[Manifest], changed: Changed) -> Self {
        let below = below.iter().map(|manifest| manifest.digest.clone());
        Self {
            digest,
            changed,
            below: below.collect(),
        }
    }

    /// All that may be referred to in turn.
    fn subjects(&self) -> impl Iterator<Item = Digest> + use<'_> {
        std::iter::once(&self.digest).chain(&self.below).cloned()
    }
}

impl From<Referrer> for Entered {
    fn from(referrer: Referrer) -> Self {
        Self::Came(referrer, None)
    }
}

impl Tag {
    /// Brings all that refers to `subjects`, and to that, and so on; they are at the destination.
    /// Then the lists are right that the tag needs.
    pub(super) async fn attach(&mut self, subjects: Vec<Digest>) -> Result<Changed> {
        let mut changed = Changed::Nothing;
        if self.shared.settings.referrers.is_some() {
            changed = self.attach_all(subjects).await?;
        }
        self.write_lists().await?;
        // Before the tag is shown: an undo that comes after must not take them from it.
        self.overtake(self.relied.keys().cloned().collect()).await;
        Ok(changed)
    }

    async fn attach_all(&mut self, subjects: Vec<Digest>) -> Result<Changed> {
        let mut all: BTreeMap<Digest, Changed> = BTreeMap::new();
        let mut gone: BTreeSet<String> = BTreeSet::new();
        let (mut walk, mut level) = Walk::from(subjects);
        while !level.is_empty() {
            let read = try_all(level.iter().map(|subject| late(|| self.attach_to(subject))));
            let mut attached = Vec::new();
            for (came, whole) in read.await? {
                attached.extend(came);
                gone.extend(whole.gone.iter().cloned());
                self.relied.extend(whole.relied.clone());
            }
            level = walk
                .next(attached.iter().flat_map(Referrer::subjects))
                .map_err(|error| self.about_referrers(&error))?;
            for Referrer {
                digest, changed, ..
            } in attached
            {
                let known = all.entry(digest).or_insert(changed);
                *known = changed.max(*known);
            }
        }
        let copied = all
            .values()
            .filter(|changed| **changed == Changed::Something);
        let copied = copied.count() as u64;
        self.outcome.referrers = Some(ReferrerCounts {
            copied,
            existing: all.len() as u64 - copied,
            missing: gone.len() as u64,
        });
        Ok(all.into_values().max().unwrap_or(Changed::Nothing))
    }

    /// What refers to `subject`, once it is at the destination. Another tag of the run may have brought it.
    async fn attach_to(&self, subject: &Digest) -> Result<(Vec<Referrer>, Came)> {
        let work = Box::pin(self.bring_referrers(subject));
        let attached = self.shared.attached.run(subject, work).await?;
        let is_now = matches!(attached, Done::Now(_));
        let attached = attached.into_inner();
        let mut came = attached.came.clone();
        if !is_now {
            for referrer in &mut came {
                referrer.changed = Changed::Nothing;
            }
        }
        Ok((came, attached))
    }

    async fn bring_referrers(&self, subject: &Digest) -> Result<Came> {
        let found = self.found(subject).await?;
        let tagged = found.tagged.iter();
        let (listed, tagged) = tokio::try_join!(
            self.bring_listed(subject, &found.referrers),
            try_all(tagged.map(async |(tag, manifest)| {
                let brought = self.bring_tagged(tag, manifest).await;
                brought.map_err(|error| self.harmed_tagged(subject, (tag, manifest), error))
            }))
        )?;
        let mut attached = Attachments {
            came: tagged,
            gone: found.lost.iter().map(Lost::name).collect(),
            relied: Relied::new(),
        };
        let digest_of =
            |(tag, manifest): &(String, Manifest)| (tag.clone(), Some(manifest.digest.clone()));
        attached.relied.extend(found.tagged.iter().map(digest_of));
        if !listed.is_empty() {
            attached.relied.insert(list_tag(subject), None);
        }
        let mut unlisted = Vec::new();
        for entered in listed {
            match entered {
                Entered::Came(referrer, artifact) => {
                    attached.came.push(referrer);
                    unlisted.extend(artifact.map(|artifact| *artifact));
                }
                Entered::Gone(digest) => attached.gone.push(digest.to_string()),
            }
        }
        if !unlisted.is_empty() {
            let tag = list_tag(subject);
            self.want_listed(&tag, Additions::of(&unlisted)).await;
            self.shared.write_list(&tag).await?;
        }
        Ok(Arc::new(attached))
    }

    /// Brings what names `subject` as its own.
    async fn bring_listed(&self, subject: &Digest, listed: &[Descriptor]) -> Result<Vec<Entered>> {
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let every = Types::default();
        let there = self.shared.destination.referrers(subject, &every).await?;
        // A list that is lost is written anew, from all that comes.
        let there = if there.lacks_list() {
            Vec::new()
        } else {
            there.entries
        };
        let there: BTreeSet<Digest> = there.into_iter().map(|entry| entry.digest).collect();
        if listed.iter().any(|entry| there.contains(&entry.digest)) {
            let journals = &self.shared.journals;
            journals.allow(&list_tag(subject), Use::AsItIs)?;
        }
        let entered = listed
            .iter()
            .map(|entry| late(|| self.bring_one(subject, entry, &there)));
        Ok(try_all(entered).await?.into_iter().flatten().collect())
    }

    /// `None`: it is not wanted, or refers to something else.
    async fn bring_one(
        &self,
        subject: &Digest,
        entry: &Descriptor,
        there: &BTreeSet<Digest>,
    ) -> Result<Option<Entered>> {
        let referrer = |below, changed| Referrer::new(entry.digest.clone(), below, changed);
        let stands = there.contains(&entry.digest) && self.still_stands(&entry.digest).await?;
        if stands && !entry.is_index() {
            return Ok(Some(referrer(&[], Changed::Nothing).into()));
        }
        let (artifact, below) = match self.artifact(subject, entry).await? {
            Artifact::Wanted(artifact, below) => (artifact, below),
            Artifact::Unwanted => return Ok(None),
            Artifact::Gone => return Ok(Some(Entered::Gone(entry.digest.clone()))),
        };
        if stands && self.all_stand(&below).await? {
            return Ok(Some(referrer(&below, Changed::Nothing).into()));
        }
        let brought = self.bring_content(&artifact, &below).await;
        brought.map_err(|error| self.harmed(subject, entry, error))?;
        let mut unlisted = None;
        if self.shared.settings.run == Run::Real {
            if self.shared.showing == Showing::Later {
                self.lacked(&artifact.digest).await?;
            }
            let destination = &self.shared.destination;
            let put = || -> BoxFuture<'_, _> { Box::pin(destination.put_referrer(&artifact)) };
            let listing = self.insist(&artifact, put).await?;
            unlisted = (listing == Listing::Wanted).then_some(artifact);
        }
        let referrer = referrer(&below, Changed::Something);
        Ok(Some(Entered::Came(referrer, unlisted)))
    }

    fn about_referrers(&self, error: &Error) -> Error {
        let named = Error::new(error.kind(), "follow the referrers of", self.source_name());
        named
            .because(error.cause())
            .hint(error.advice().unwrap_or_default())
    }

    /// Whether the destination has what its list names: a list outlives what it lists.
    async fn still_stands(&self, digest: &Digest) -> Result<bool> {
        if self.shared.settings.recheck == Recheck::None {
            return Ok(true);
        }
        self.is_whole(&Target::Digest(digest.clone())).await
    }

    /// Whether the destination has all that an index lists.
    async fn all_stand(&self, below: &[Manifest]) -> Result<bool> {
        let asked = below
            .iter()
            .map(|manifest| late(|| self.still_stands(&manifest.digest)));
        Ok(try_all(asked).await?.into_iter().all(|stands| stands))
    }

    /// Brings what a tag of cosign's points at, and the tag.
    async fn bring_tagged(&self, tag: &str, manifest: &Manifest) -> Result<Referrer> {
        let destination = &self.shared.destination;
        let digest = manifest.digest.clone();
        let there = destination.head(&Target::Tag(tag.to_owned())).await;
        let there = there.map_err(damaged_there)?;
        let same = there.is_some_and(|there| there.digest == digest);
        let stands = same && (self.is_believed() || self.still_stands(&digest).await?);
        let below = self.below(manifest).await?;
        if stands && self.all_stand(&below).await? {
            self.shared.journals.allow(tag, Use::AsItIs)?;
            return Ok(Referrer::new(digest, &below, Changed::Nothing));
        }
        self.shared.journals.allow(tag, Use::Write)?;
        self.bring_content(manifest, &below).await?;
        if self.shared.settings.run == Run::Real {
            match self.shared.showing {
                Showing::AtOnce => {
                    let put = || -> BoxFuture<'_, _> {
                        Box::pin(destination.put_digest_tagged(tag, manifest))
                    };
                    self.insist(manifest, put).await?;
                    let target = Target::Tag(tag.to_owned());
                    self.confirm(manifest, &target).await?;
                }
                Showing::Later => {
                    let pushed = self.lacked(&digest).await?;
                    self.put(manifest).await?;
                    let staged = (manifest.clone(), pushed);
                    self.attachment_tags().tag(tag, (&self.job.name, staged));
                }
            }
        }
        Ok(Referrer::new(digest, &below, Changed::Something))
    }

    /// Brings the blobs of `artifact`, and where it is an index all that is `below` it.
    async fn bring_content(&self, artifact: &Manifest, below: &[Manifest]) -> Result<()> {
        let all = std::iter::once(artifact).chain(below);
        try_all(all.map(|manifest| late(|| self.bring_blobs(manifest, manifest)))).await?;
        // What is listed comes behind what lists it, and what refers to another one of these has to wait for that.
        for manifest in subjects_first(below) {
            self.put(manifest).await?;
        }
        Ok(())
    }
}

/// Manifests in the order in which they can be put: each behind all that it lists, and behind its subject.
fn subjects_first(below: &[Manifest]) -> Vec<&Manifest> {
    let nodes: Vec<Node> = below.iter().map(Node::of).collect();
    let order = rounds(&nodes).into_iter().flatten();
    order.filter_map(|number| below.get(number)).collect()
}
