//! Gathering what refers to images for an archive, which is planned as a whole before its first blob moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::Tag;
use super::find::Artifact;
use crate::bounded::{late, try_all};
use crate::endpoint::archive::compose::Beside;
use crate::endpoint::archive::shelf::Shelved;
use crate::endpoint::{Endpoint, Target};
use crate::error::Result;
use crate::event::ReferrerCounts;
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::referrers::{Additions, Walk, list_tag};

impl Tag {
    /// The lists that have those of `manifests` that name a subject; where an archive has them, none.
    pub(in super::super) async fn lists_with(
        &self,
        manifests: &[&Arc<Shelved>],
    ) -> Result<Vec<Beside>> {
        if !matches!(self.shared.destination, Endpoint::OciArchive(_)) {
            return Ok(Vec::new());
        }
        let mut wanted: BTreeMap<String, Additions> = BTreeMap::new();
        for manifest in manifests {
            if let Some(subject) = &manifest.subject {
                let added = Additions::of([&manifest.read()?]);
                wanted.entry(list_tag(subject)).or_default().add(added);
            }
        }
        let mut lists = Vec::new();
        for (tag, added) in wanted {
            let list = self.shared.destination.merged_list(&tag, &added).await?;
            if let Some(list) = list {
                lists.push(self.beside(&list, Some(Target::Tag(tag)))?);
            }
        }
        Ok(lists)
    }

    /// Reads all that refers to `subjects`, and to that, and so on, for an archive, which is planned as a
    /// whole: in the form of a layout, whose lists grow by what comes.
    pub(in super::super) async fn gather(&mut self, subjects: Vec<Digest>) -> Result<Vec<Beside>> {
        let mut gathered = Vec::new();
        if self.shared.settings.referrers.is_none() {
            return Ok(gathered);
        }
        let mut counts = ReferrerCounts::default();
        let (mut walk, mut level) = Walk::from(subjects);
        while !level.is_empty() {
            let read = try_all(
                level
                    .iter()
                    .map(|subject| late(|| self.read_referrers(subject))),
            );
            let read = read.await?;
            let (mut digests, mut below) = (Vec::new(), Vec::new());
            let mut left_out = BTreeSet::new();
            for (artifacts, beside, gone) in read {
                counts.missing += gone;
                let stays = beside.iter().filter(|beside| self.stays(beside));
                left_out.extend(stays.map(|beside| beside.manifest.digest.clone()));
                digests.extend(artifacts);
                let unnamed = beside.iter().filter(|beside| beside.entry.is_none());
                below.extend(unnamed.map(|beside| beside.manifest.digest.clone()));
                gathered.extend(beside);
            }
            for digest in &digests {
                let target = Target::Digest(digest.clone());
                let stays = left_out.contains(digest);
                if stays || self.shared.destination.head(&target).await?.is_some() {
                    counts.existing += 1;
                } else {
                    counts.copied += 1;
                }
            }
            level = walk
                .next(digests.into_iter().chain(below))
                .map_err(|error| self.about_referrers(&error))?;
        }
        self.outcome.referrers = Some(counts);
        Ok(gathered)
    }

    /// Whether an archive leaves it out, since it is where that goes.
    fn stays(&self, beside: &Beside) -> bool {
        let Endpoint::OciArchive(archive) = &self.shared.destination else {
            return false;
        };
        archive.without().is_some_and(|have| beside.stays(have))
    }

    /// What refers to `subject`, all that is beside it in a layout for that, and how much is gone.
    async fn read_referrers(&self, subject: &Digest) -> Result<(Vec<Digest>, Vec<Beside>, u64)> {
        let found = self.found(subject).await?;
        let artifacts = found
            .referrers
            .iter()
            .map(|entry| late(|| self.artifact(subject, entry)));
        let (mut whole, mut gone) = (Vec::new(), found.lost.len() as u64);
        for artifact in try_all(artifacts).await? {
            match artifact {
                Artifact::Wanted(artifact, below) => whole.push((*artifact, below)),
                Artifact::Unwanted => {}
                Artifact::Gone => gone += 1,
            }
        }
        let tag = list_tag(subject);
        let listed = Additions::of(whole.iter().map(|(artifact, _)| artifact));
        let list = self.shared.destination.merged_list(&tag, &listed).await?;
        let mut all = Vec::new();
        for (tag, manifest) in &found.tagged {
            let below = self.below(manifest).await?;
            all.push((Target::Tag(tag.clone()), manifest.clone(), below));
        }
        all.extend(whole.into_iter().map(|(artifact, below)| {
            let target = Target::Digest(artifact.digest.clone());
            (target, artifact, below)
        }));
        let (mut digests, mut beside) = (Vec::new(), Vec::new());
        for (entry, manifest, below) in all {
            digests.push(manifest.digest.clone());
            for manifest in below {
                beside.push(self.beside(&manifest, None)?);
            }
            beside.push(self.beside(&manifest, Some(entry))?);
        }
        if let Some(list) = list {
            beside.push(self.beside(&list, Some(Target::Tag(tag)))?);
        }
        Ok((digests, beside, gone))
    }

    fn beside(&self, manifest: &Manifest, entry: Option<Target>) -> Result<Beside> {
        let manifest = self.shared.shelf.put(manifest)?;
        Ok(Beside { manifest, entry })
    }
}
