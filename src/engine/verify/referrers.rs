//! Verifying the referrers of a tag's manifests: whether they are complete, and whether the source has more.

use std::collections::BTreeSet;

use super::tag::{Looked, Tag, lack, look_at_blobs};
use crate::bounded::{late, try_all};
use crate::catalog::{Below, Catalog, content_error};
use crate::endpoint::{Attached, Lost, Naming, Target};
use crate::error::{Error, Kind, Result};
use crate::finding::{Holder, Lack, Part};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::{Types, Walk, artifact_type, list_tag};
use crate::select::is_list_tag;

/// The referrers of one manifest, and their defects.
#[derive(Default)]
struct Behind {
    referrers: Vec<Digest>,
    /// Manifests below those that are indexes, which may have referrers too.
    below: Vec<Digest>,
    looked: Looked,
    /// Referrers that the source itself has lost.
    source_lost: Vec<Lost>,
}

impl Tag<'_> {
    /// Checks the referrers of the tag's manifests, recursively.
    pub(super) async fn look_at_referrers(&mut self) -> Result<()> {
        let Some(types) = &self.shared.referrers else {
            return Ok(());
        };
        let (mut walk, mut level) = Walk::from(std::mem::take(&mut self.subjects));
        let mut count = 0;
        let (mut known, mut lost_known) = (BTreeSet::new(), BTreeSet::new());
        while !level.is_empty() {
            let looked = level.iter();
            let looked = looked.map(|subject| late(|| self.look_behind(subject, types)));
            let looked = try_all(looked).await?;
            let (mut referrers, mut below) = (BTreeSet::new(), Vec::new());
            for mut behind in looked {
                referrers.extend(behind.referrers);
                below.extend(behind.below);
                // A defect shared by several manifests is reported once.
                let mut lacks = std::mem::take(&mut behind.looked.lacks);
                lacks.retain(|lack| !lack.part.refers() || known.insert(identity(lack)));
                behind.looked.lacks = lacks;
                let mut lost: Vec<Lack> = behind.source_lost.iter().map(Lack::from).collect();
                lost.retain(|lack| lost_known.insert(identity(lack)));
                self.finding.source_lost.extend(lost);
                self.add(behind.looked);
            }
            let found = referrers.iter().cloned().chain(below);
            level = walk.next(found).map_err(|error| {
                let name = self.shared.catalog.name(&self.job.target);
                Error::new(error.kind(), "follow the referrers of", name).because(error.cause())
            })?;
            count += level.iter().filter(|new| referrers.contains(new)).count() as u64;
        }
        self.finding.referrers = Some(count);
        Ok(())
    }

    /// Checks the referrers of `subject`.
    async fn look_behind(&self, subject: &Digest, types: &Types) -> Result<Behind> {
        let catalog = &self.shared.catalog;
        let here = catalog.attached(subject, types).await?;
        let mut behind = Behind::default();
        for entry in &here.referrers {
            match content_error(catalog.listed(entry).await)? {
                Ok(artifact) if !types.takes(&artifact_type(&artifact)) => {}
                Ok(artifact) => {
                    let wrong = misnamed(catalog, subject, (entry, &artifact));
                    behind.looked.lacks.extend(wrong);
                    if names(&artifact, subject) {
                        behind.add(catalog, subject, &artifact).await?;
                    }
                }
                Err(error) => {
                    behind.referrers.push(entry.digest.clone());
                    let naming = Naming::entry(entry, None);
                    behind.lose(&Lost { naming, error });
                }
            }
        }
        for (_, manifest) in &here.tagged {
            behind.add(catalog, subject, manifest).await?;
        }
        for lost in &here.lost {
            behind.lose(lost);
        }
        let (missing, lost) = self.missing(subject, (&here, types)).await?;
        for lost in &missing {
            behind.lose(lost);
        }
        behind.source_lost = lost;
        Ok(behind)
    }

    /// The source's referrers of `subject` that are missing from `here`, and those that the source itself has lost.
    async fn missing(
        &self,
        subject: &Digest,
        (here, types): (&Attached, &Types),
    ) -> Result<(Vec<Lost>, Vec<Lost>)> {
        let Some(source) = &self.shared.source else {
            return Ok(Default::default());
        };
        let there = source.attached(subject, types).await?;
        let referrers = here.referrers.iter().map(|entry| &entry.digest);
        let known: BTreeSet<&Digest> = referrers.collect();
        let (mut missing, mut source_lost) = (Vec::new(), there.lost.clone());
        for entry in there
            .referrers
            .iter()
            .filter(|entry| !known.contains(&entry.digest))
        {
            // A copy leaves out listed artifacts whose own `subject` is another.
            let naming = Naming::entry(entry, None);
            let artifact = match content_error(source.listed(entry).await)? {
                Ok(artifact) => artifact,
                Err(error) => {
                    let error = source.endpoint.referrer_error(subject, entry, &error);
                    source_lost.push(Lost { naming, error });
                    continue;
                }
            };
            if names(&artifact, subject) && types.takes(&artifact_type(&artifact)) {
                missing.push(naming);
            }
        }
        for (tag, manifest) in &there.tagged {
            let is_here =
                |(known, here): &(String, Manifest)| known == tag && here.digest == manifest.digest;
            let is_lost = |lost: &Lost| lost.naming.tag.as_ref() == Some(tag);
            if !here.tagged.iter().any(is_here) && !here.lost.iter().any(is_lost) {
                missing.push(Naming {
                    tag: Some(tag.clone()),
                    digest: Some(manifest.digest.clone()),
                    size: manifest.bytes.len() as u64,
                });
            }
        }
        let lost = |naming: Naming| {
            let error = Error::new(Kind::NotFound, "find what refers to", subject)
                .because("the source has it, but it is not there");
            Lost { naming, error }
        };
        Ok((missing.into_iter().map(lost).collect(), source_lost))
    }
}

impl Behind {
    /// Checks a referrer and everything below it.
    async fn add(
        &mut self,
        catalog: &Catalog,
        subject: &Digest,
        referrer: &Manifest,
    ) -> Result<()> {
        let first = self.looked.lacks.len();
        self.referrers.push(referrer.digest.clone());
        let Below { found, lost } = catalog.below(referrer).await?;
        for manifest in std::iter::once(referrer).chain(&found) {
            self.looked
                .add(look_at_blobs(catalog, manifest, None).await?);
        }
        self.below.extend(found.into_iter().map(|each| each.digest));
        for (entry, error) in lost {
            self.below.push(entry.digest.clone());
            self.looked.lacks.push(lack(&entry, error));
        }
        for lack in self.looked.lacks.iter_mut().skip(first) {
            lack.of = Some(Holder {
                referrer: referrer.digest.clone(),
                subject: subject.clone(),
            });
        }
        Ok(())
    }

    /// Adds a missing or damaged referrer.
    fn lose(&mut self, lost: &Lost) {
        self.looked.lacks.push(Lack::from(lost));
    }
}

impl From<&Lost> for Lack {
    fn from(Lost { naming, error }: &Lost) -> Self {
        let is_list = naming.tag.as_deref().is_some_and(is_list_tag);
        Self {
            part: if is_list {
                Part::ReferrersList
            } else {
                Part::Referrer
            },
            digest: naming.digest.clone(),
            tag: naming.tag.clone(),
            size: naming.size,
            platform: None,
            of: None,
            error: error.clone(),
        }
    }
}

impl Looked {
    fn add(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.foreign += other.foreign;
        self.lacks.extend(other.lacks);
    }
}

/// Identifies a lack, to report it once.
fn identity(lack: &Lack) -> (Part, Option<Digest>, Option<String>, String) {
    let cause = lack.error.cause().to_owned();
    (lack.part, lack.digest.clone(), lack.tag.clone(), cause)
}

fn names(artifact: &Manifest, subject: &Digest) -> bool {
    artifact
        .subject()
        .is_some_and(|named| named.digest == *subject)
}

/// The defect of a list of referrers that misdescribes an artifact. The artifact itself is intact.
fn misnamed(
    catalog: &Catalog,
    subject: &Digest,
    (entry, artifact): (&Descriptor, &Manifest),
) -> Option<Lack> {
    let digest = &entry.digest;
    let (size, kind) = (artifact.bytes.len() as u64, artifact_type(artifact));
    let named = entry.artifact_type.as_deref();
    let named = named.filter(|named| !named.is_empty()).unwrap_or(&kind);
    let cause = if !names(artifact, subject) {
        format!("it lists {digest}, which does not refer to that")
    } else if catalog.endpoint.has_referrers_api() {
        // An API's answer cannot be fixed: Harbor's gives the size of an artifact with all its parts.
        return None;
    } else if entry.size != size {
        format!("it says {} bytes of {digest}, which has {size}", entry.size)
    } else if !entry.media_type.is_empty() && entry.media_type != artifact.media_type {
        let (said, is) = (&entry.media_type, &artifact.media_type);
        format!("it says {said} of {digest}, which is {is}")
    } else if named != kind {
        format!("it says that {digest} is of type {named}, but it is of type {kind}")
    } else {
        return None;
    };
    let name = catalog.name(&Target::Digest(subject.clone()));
    let error = Error::new(
        Kind::InvalidManifest,
        "trust the list of referrers of",
        name,
    );
    Some(Lack {
        part: Part::ReferrersList,
        digest: None,
        tag: Some(list_tag(subject)),
        size: 0,
        platform: None,
        of: None,
        error: error.because(cause),
    })
}
