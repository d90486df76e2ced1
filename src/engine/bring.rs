//! Bringing images: all of a tag's are read at once, the blobs of each move as soon as it is known, and
//! it is put right behind the last of them. A dry run only asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::task::JoinSet;

use super::check::Held;
use super::stream_import::{Import, NeededBlob};
use super::{Changed, Shared, Tag};
use crate::bounded::{late, try_all};
use crate::endpoint::permits::Rank;
use crate::endpoint::{Arrival, Asking, Target};
use crate::error::{Error, Kind, Result, Side};
use crate::event::{BlobCounts, LeftOutCounts};
use crate::image::digest::Digest;
use crate::image::filter::Filtered;
use crate::image::manifest::{Descriptor, Manifest};
use crate::once_map::Done;
use crate::options::{Depth, Recheck, Run};
use crate::plan::{self, Choice};

/// How the blobs of a tag came to be at the destination.
#[derive(Default)]
pub(super) struct Tally {
    arrived: BTreeMap<Digest, (Done<Arrival>, u64)>,
    foreign: u64,
    left_out: LeftOutCounts,
}

impl Tally {
    /// So many layers of an image are not pushed.
    pub(super) fn add_foreign(&mut self, layers: u64) {
        self.foreign += layers;
    }

    /// A blob of `size` bytes stays behind.
    pub(super) fn leave_out(&mut self, size: u64) {
        self.left_out.blobs += 1;
        self.left_out.bytes = self.left_out.bytes.saturating_add(size);
    }

    /// Several images of a tag may share a blob: the one who moved it counts.
    pub(super) fn add(&mut self, blob: &Descriptor, arrival: Done<Arrival>) {
        let known = self.arrived.entry(blob.digest.clone());
        let known = known.or_insert((arrival, blob.size));
        if matches!(arrival, Done::Now(_)) {
            known.0 = arrival;
        }
    }

    /// The counts, and the bytes that were sent.
    pub(super) fn counts(&self) -> (BlobCounts, u64) {
        let mut counts = BlobCounts {
            foreign: self.foreign,
            left_out: self.left_out,
            ..BlobCounts::default()
        };
        let mut bytes = 0_u64;
        for (arrival, size) in self.arrived.values() {
            match arrival {
                Done::Now(Arrival::Copied) => {
                    counts.copied += 1;
                    bytes = bytes.saturating_add(*size);
                }
                Done::Now(Arrival::Mounted) => counts.mounted += 1,
                Done::Now(Arrival::Existing) | Done::Before(_) => counts.existing += 1,
            }
        }
        (counts, bytes)
    }
}

/// What bringing a tag's images came to.
pub(super) struct Brought {
    pub(super) changed: Changed,
    /// Manifests that have to be put behind their subjects.
    pub(super) followers: Vec<Follower>,
}

/// A manifest whose blobs have come, and that refers to another one of its tree: some registries refuse it until that
/// is there. BuildKit writes attestations so since 0.32.
pub(super) struct Follower {
    pub(super) entry: Descriptor,
    pub(super) subject: Digest,
}

/// `Ok` for what the destination has refused for good: that is none of the others' fault.
pub(super) fn unless_refused<T>(result: Result<T>) -> Result<Result<T>> {
    match result {
        Err(error)
            if error.side() == Some(Side::Destination)
                && !error.kind().retryable()
                && !error.is_fatal() =>
        {
            Ok(Err(error))
        }
        other => other.map(Ok),
    }
}

impl Tag {
    /// Brings the blobs of the root, and the images below it that are not `held`. What the destination refuses ends
    /// none of the others; any other failure ends all of this tag.
    pub(super) async fn bring(&self, choice: &Choice, held: &Held) -> Result<Brought> {
        let Filtered { root, kept, .. } = &choice.filtered;
        let wanted = kept.iter().filter(|entry| !held.contains(&entry.digest));
        let tree = self.tree(choice, held);
        let images = wanted.map(|entry| {
            let bring = late(|| self.bring_image(entry, (choice, &tree)));
            async { unless_refused(bring.await) }
        });
        // Those that the indexes list themselves.
        let indexes = [root].into_iter().chain(&choice.filtered.nested);
        let blobs = try_all(indexes.map(|index| late(|| self.bring_blobs(index, root))));
        let (own, images) = tokio::try_join!(blobs, try_all(images))?;
        let mut brought = Brought {
            changed: own.into_iter().max().unwrap_or(Changed::Nothing),
            followers: Vec::new(),
        };
        for image in images {
            let (changed, follower) = image?;
            brought.changed = brought.changed.max(changed);
            brought.followers.extend(follower);
        }
        Ok(brought)
    }

    /// What comes with the tag, or is there, and may be the subject of something else that comes. A place that
    /// checks nothing takes all in any order.
    fn tree(&self, choice: &Choice, held: &Held) -> BTreeSet<Digest> {
        let is_ordered = self.shared.destination.caps().checks_content;
        if !is_ordered || self.shared.settings.run == Run::Dry {
            return BTreeSet::new();
        }
        let Filtered { nested, kept, .. } = &choice.filtered;
        let kept = kept.iter().map(|entry| &entry.digest);
        let kept = kept.filter(|digest| !held.contains(digest));
        let nested = nested.iter().map(|index| &index.digest);
        kept.chain(nested).cloned().collect()
    }

    /// Puts a manifest whose subject has come.
    pub(super) async fn put_follower(&self, choice: &Choice, follower: &Follower) -> Result<()> {
        let _room = self.shared.children.of(follower.entry.size).await;
        let image = self.image(&follower.entry, choice).await?;
        self.put(&image).await
    }

    /// Says which blobs a stream has to bring: those of the root, and of the images below it that are not `held`.
    pub(super) async fn need_of(
        &self,
        import: &Import,
        (choice, held): (&Choice, &Held),
    ) -> Result<Vec<Arc<NeededBlob>>> {
        let Filtered {
            root, nested, kept, ..
        } = &choice.filtered;
        let wanted = kept.iter().filter(|entry| !held.contains(&entry.digest));
        let images = try_all(wanted.map(|entry| late(|| self.image(entry, choice)))).await?;
        let manifests = images.iter().chain(nested).chain([root]);
        let blobs = manifests.flat_map(plan::largest_first);
        let streamed = blobs.filter(|blob| self.shared.source.streams(blob));
        Ok(streamed.map(|blob| import.need(blob, self.place)).collect())
    }

    /// An image below the root.
    pub(super) async fn image(&self, entry: &Descriptor, choice: &Choice) -> Result<Manifest> {
        match self.child(entry).await {
            Err(error) if error.kind() == Kind::NotFound => {
                Err(self.lost(choice.listed(), &choice.filtered.kept).await)
            }
            image => image,
        }
    }

    /// One image below the root: read, its blobs moved, put by its digest.
    async fn bring_image(
        &self,
        entry: &Descriptor,
        (choice, tree): (&Choice, &BTreeSet<Digest>),
    ) -> Result<(Changed, Option<Follower>)> {
        let root = &choice.filtered.root;
        let _room = self.shared.children.of(entry.size).await;
        let image = self.image(entry, choice).await?;
        let moved = self.bring_blobs(&image, root).await?;
        if moved == Changed::Nothing
            && self.is_right(&root.digest)
            && self.stands(&image.digest).await?
        {
            return Ok((Changed::Nothing, None));
        }
        let subject = image.subject().map(|subject| &subject.digest);
        if let Some(subject) = subject.filter(|subject| tree.contains(subject)) {
            let follower = Follower {
                entry: entry.clone(),
                subject: subject.clone(),
            };
            return Ok((Changed::Something, Some(follower)));
        }
        self.put(&image).await?;
        Ok((Changed::Something, None))
    }

    /// Whether the destination's tag points at `root`. It is looked into then, and most likely nothing
    /// is written.
    pub(super) fn is_right(&self, root: &Digest) -> bool {
        let there = self.there.as_ref();
        there.is_some_and(|there| there.digest == *root)
    }

    /// Whether the destination has a manifest that a right tag reaches; only `--recheck blobs` asks, and
    /// otherwise it is put.
    pub(super) async fn stands(&self, digest: &Digest) -> Result<bool> {
        if self.shared.settings.recheck != Recheck::Blobs {
            return Ok(false);
        }
        let target = Target::Digest(digest.clone());
        Ok(self.head_of_sound(&target).await?.is_some())
    }

    /// Brings the blobs of `image`, the largest first.
    pub(super) async fn bring_blobs(&self, image: &Manifest, root: &Manifest) -> Result<Changed> {
        let asking = if self.is_right(&root.digest) {
            Asking::ToRead
        } else {
            Asking::ToWrite
        };
        self.tally().add_foreign(image.foreign() as u64);
        let mut moving = JoinSet::new();
        for blob in plan::largest_first(image) {
            let (shared, blob, tag) = (Arc::clone(&self.shared), blob.clone(), self.place);
            moving.spawn(self.shared.transfers.track_future(async move {
                let arrival = one_blob(&shared, &blob, tag, asking).await?;
                Ok::<_, Error>((blob, arrival))
            }));
        }
        let mut changed = Changed::Nothing;
        while let Some(ended) = moving.join_next().await {
            let panicked = |_| Error::internal("move blobs of", self.source_name());
            let (blob, arrival) = ended.map_err(panicked)??;
            if matches!(arrival, Done::Now(Arrival::Copied | Arrival::Mounted)) {
                changed = Changed::Something;
            }
            self.tally().add(&blob, arrival);
        }
        Ok(changed)
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn one_blob(
    shared: &Shared,
    blob: &Descriptor,
    tag: usize,
    asking: Asking,
) -> Result<Done<Arrival>> {
    let work = async {
        match shared.settings.run {
            Run::Dry => preview(shared, blob, Rank::new(tag, blob.size)).await,
            Run::Real => {
                if let Some(import) = &shared.import
                    && let Some(arrival) = import.arrival(blob).await
                {
                    return arrival;
                }
                let mountable = shared.mountable(&blob.digest);
                let supply = shared.supply(blob, (tag, &mountable, asking));
                shared.destination.ensure_blob(blob, supply).await
            }
        }
    };
    shared.blobs.run(&blob.stated(), work).await
}

/// What a run would do with `blob`.
async fn preview(shared: &Shared, blob: &Descriptor, rank: Rank) -> Result<Arrival> {
    let depth = shared.settings.recheck.depth();
    let turn = match depth {
        Depth::Presence => None,
        Depth::Content => Some(shared.moving.take(rank).await),
    };
    let held = shared.destination.holds_blob(blob, depth).await?;
    drop(turn);
    if held {
        return Ok(Arrival::Existing);
    }
    if !shared.mountable(&blob.digest).is_empty() {
        return Ok(Arrival::Mounted);
    }
    // A registry is believed; a file is looked for at no cost.
    let is_sure = !shared.source.is_local() || blob.data.is_some();
    if !is_sure && !shared.source.has_blob(blob).await? {
        return Err(Error::new(
            Kind::NotFound,
            "find blob",
            format!("{}@{}", shared.source, blob.digest),
        )
        .because("the source does not have it in the size that its manifest says"));
    }
    Ok(Arrival::Copied)
}
