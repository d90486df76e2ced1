//! Taking stock of a place: every manifest that its tags reach and that is there, each read once, and
//! their blobs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::bounded::{AT_ONCE, late, try_all};
use crate::catalog::memory::Memory;
use crate::endpoint::{Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::image::digest::Digest;
use crate::image::filter::MAX_DEPTH;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::Types;
use crate::inventory::Place;
use crate::select::Selection;

/// How a place is looked into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stocktaking<'a> {
    /// Which of its tags.
    pub selection: &'a Selection,
    /// Whether what refers to them is listed too, of these types; `None`: it is not.
    pub referrers: Option<&'a Types>,
    /// Whether each blob is asked for, where the place checked them when it took their manifests.
    pub check: bool,
    pub events: &'a Events,
}

/// What `place`, which `reference` names, holds. One that does not exist holds nothing.
///
/// # Errors
///
/// When it could not be found out.
pub(crate) async fn take(
    reference: String,
    place: &Endpoint,
    how: Stocktaking<'_>,
) -> Result<Place> {
    let mut held = Place {
        reference,
        ..Place::default()
    };
    let tags = match place.tags().await {
        Ok(tags) => tags,
        // Many registries deny to read what does not exist.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Denied) => {
            let warning = format!("{} is taken to hold nothing: {error}", held.reference);
            how.events.send(Event::Warning(warning));
            return Ok(held);
        }
        Err(error) => return Err(error),
    };
    let (mut blobs, memory) = (BTreeMap::new(), Memory::of_roots());
    let mut waiting = roots(place, how.selection.select(&tags)).await?;
    let mut seen = waiting.clone();
    // What is nested deeper no copy reads.
    for _ in 0..=MAX_DEPTH + 1 {
        if waiting.is_empty() {
            break;
        }
        let read = waiting
            .iter()
            .map(|digest| late(|| read((place, &memory), digest, how.events)));
        let mut read = stream::iter(read).buffer_unordered(AT_ONCE);
        let mut next = BTreeSet::new();
        while let Some(manifest) = read.try_next().await? {
            let Some(manifest) = manifest else { continue };
            let entries = manifest.entries().iter().map(|entry| &entry.digest);
            next.extend(
                entries
                    .filter(|digest| seen.insert((*digest).clone()))
                    .cloned(),
            );
            let listed = manifest.blobs().into_iter();
            blobs.extend(listed.map(|blob| (blob.digest.clone(), blob.clone())));
            held.manifests.insert(manifest.digest);
        }
        drop(read);
        if let Some(types) = how.referrers {
            for digest in referring(place, &waiting, types).await? {
                if seen.insert(digest.clone()) {
                    next.insert(digest);
                }
            }
        }
        waiting = next;
    }
    held.blobs = if how.check || !place.caps().checks_content {
        present(place, blobs.into_values()).await?
    } else {
        blobs.into_keys().collect()
    };
    Ok(held)
}

/// What the tags point at.
async fn roots(place: &Endpoint, tags: Vec<&String>) -> Result<BTreeSet<Digest>> {
    let asked = tags.into_iter().map(|tag| {
        let target = Target::Tag(tag.clone());
        async move { late(|| place.head(&target)).await }
    });
    let heads = try_all(asked).await?;
    Ok(heads
        .into_iter()
        .flatten()
        .map(|head| head.digest)
        .collect())
}

/// What refers to these.
async fn referring(
    place: &Endpoint,
    subjects: &BTreeSet<Digest>,
    types: &Types,
) -> Result<Vec<Digest>> {
    let asked = subjects
        .iter()
        .map(|subject| late(|| place.attached(subject, types)));
    let found = try_all(asked).await?;
    let digests = found.into_iter().flat_map(|attached| {
        let tagged = attached.tagged.into_iter();
        let tagged = tagged.map(|(_, manifest)| manifest.digest);
        let listed = attached.referrers.into_iter().map(|entry| entry.digest);
        listed.chain(tagged)
    });
    Ok(digests.collect())
}

/// A manifest that is there. One that nobody can read is as good as none: it is brought again.
async fn read(
    (place, memory): (&Endpoint, &Memory),
    digest: &Digest,
    events: &Events,
) -> Result<Option<Manifest>> {
    let _room = memory.largest().await;
    let read = place.manifest(&Target::Digest(digest.clone())).await;
    match read {
        Err(error) if is_damaged(&error) => {
            events.send(Event::Warning(format!("{error}; it is not listed")));
            Ok(None)
        }
        read => read,
    }
}

fn is_damaged(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::InvalidManifest | Kind::Unsupported | Kind::DigestMismatch
    )
}

/// The blobs that are there in their right size.
async fn present(
    place: &Endpoint,
    blobs: impl Iterator<Item = Descriptor>,
) -> Result<BTreeSet<Digest>> {
    let asked = blobs.map(|blob| async move {
        let there = late(|| place.has_blob(&blob)).await?;
        Ok::<_, Error>(there.then_some(blob.digest))
    });
    let found = try_all(asked).await?;
    Ok(found.into_iter().flatten().collect())
}
