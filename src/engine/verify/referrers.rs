//! What refers to the images of a tag: whether it is whole, and whether the source has more of it.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::place::{Place, part};
use super::tag::{Looked, Tag, look_at_blobs};
use crate::error::{Error, Kind, Result};
use crate::finding::{Lack, Part};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::{Types, Walk, artifact_type};

/// Manifests of which it is asked together what refers to them.
const AT_ONCE: usize = 16;

impl Tag<'_> {
    /// Looks at all that refers to what the tag leads to, and to that, and so on.
    pub(super) async fn look_at_referrers(&mut self) -> Result<()> {
        let Some(types) = &self.shared.referrers else {
            return Ok(());
        };
        let (mut walk, mut level) = Walk::from(std::mem::take(&mut self.subjects));
        let mut count = 0;
        while !level.is_empty() {
            let looked: Vec<_> = level
                .iter()
                .map(|subject| self.look_at_those_of(subject, types))
                .collect();
            let looked: Vec<_> = stream::iter(looked).buffered(AT_ONCE).try_collect().await?;
            let mut found = Vec::new();
            for (digests, looked) in looked {
                found.extend(digests);
                self.add(looked);
            }
            level = walk.next(found).map_err(|error| {
                let name = self.shared.place.name(&self.job.target);
                Error::new(error.kind(), "follow the referrers of", name).because(error.cause())
            })?;
            count += level.len() as u64;
        }
        self.finding.referrers = Some(count);
        Ok(())
    }

    /// What refers to `subject`, and what is wrong with that.
    async fn look_at_those_of(
        &self,
        subject: &Digest,
        types: &Types,
    ) -> Result<(Vec<Digest>, Looked)> {
        let place = &self.shared.place;
        let here = place.attached(subject, types).await?;
        let mut digests = Vec::new();
        let mut all = Looked::default();
        for entry in &here.referrers {
            let looked = match part(place.child(entry).await)? {
                Ok(artifact) if !types.takes(&artifact_type(&artifact)) => continue,
                Ok(artifact) => look_at_one(place, subject, (entry, &artifact)).await?,
                Err(error) => lacking(entry.digest.clone(), (entry.size, error)),
            };
            digests.push(entry.digest.clone());
            all.add(looked);
        }
        for (_, manifest) in &here.tagged {
            digests.push(manifest.digest.clone());
            all.add(look_at_blobs(place, manifest, None).await?);
        }
        for lack in self.missing(subject, types).await? {
            all.lacks.push(lack);
        }
        Ok((digests, all))
    }

    /// What refers to `subject` at the source, and not here.
    async fn missing(&self, subject: &Digest, types: &Types) -> Result<Vec<Lack>> {
        let Some(source) = &self.shared.source else {
            return Ok(Vec::new());
        };
        let here = self.shared.place.attached(subject, types).await?;
        let there = source.attached(subject, types).await?;
        let referrers = here.referrers.iter().map(|entry| &entry.digest);
        let known: BTreeSet<&Digest> = referrers.collect();
        let mut missing = Vec::new();
        for entry in there
            .referrers
            .iter()
            .filter(|entry| !known.contains(&entry.digest))
        {
            // A copy leaves out what only a list says to refer to it.
            let artifact = source.child(entry).await?;
            if names(&artifact, subject) && types.takes(&artifact_type(&artifact)) {
                missing.push((entry.digest.clone(), entry.size));
            }
        }
        for (tag, manifest) in &there.tagged {
            let mut tagged = here.tagged.iter();
            if !tagged.any(|(known, here)| known == tag && here.digest == manifest.digest) {
                missing.push((manifest.digest.clone(), manifest.bytes.len() as u64));
            }
        }
        let lack = |(digest, size): (Digest, u64)| {
            let error = Error::new(Kind::NotFound, "find the referrer", &digest)
                .because("the source has it, but it is not there");
            lacking(digest, (size, error)).lacks
        };
        Ok(missing.into_iter().flat_map(lack).collect())
    }
}

impl Looked {
    fn add(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.lacks.extend(other.lacks);
    }
}

fn names(artifact: &Manifest, subject: &Digest) -> bool {
    artifact
        .subject()
        .is_some_and(|named| named.digest == *subject)
}

async fn look_at_one(
    place: &Place,
    subject: &Digest,
    (entry, artifact): (&Descriptor, &Manifest),
) -> Result<Looked> {
    if names(artifact, subject) {
        return look_at_blobs(place, artifact, None).await;
    }
    let error = Error::new(Kind::InvalidManifest, "look at the referrer", &entry.digest).because(
        format!("it is listed as referring to {subject}, but does not name it"),
    );
    Ok(lacking(entry.digest.clone(), (entry.size, error)))
}

/// One that is not there, or not what it should be.
fn lacking(digest: Digest, (size, error): (u64, Error)) -> Looked {
    let lack = Lack {
        part: Part::Referrer,
        digest,
        size,
        platform: None,
        error,
    };
    Looked {
        lacks: vec![lack],
        ..Looked::default()
    }
}
