//! Gathering what refers to images for an archive, which is planned as a whole before its first blob moves.

use futures_util::future::try_join_all;

use super::super::Tag;
use crate::endpoint::Target;
use crate::endpoint::archive::compose::Beside;
use crate::error::Result;
use crate::event::ReferrerCounts;
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::referrers::{Additions, Walk, list_tag};

impl Tag {
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
            let read = try_join_all(level.iter().map(|subject| self.read_referrers(subject)));
            let read = read.await?;
            let (mut digests, mut below) = (Vec::new(), Vec::new());
            for (artifacts, beside) in read {
                digests.extend(artifacts);
                let unnamed = beside.iter().filter(|beside| beside.entry.is_none());
                below.extend(unnamed.map(|beside| beside.manifest.digest.clone()));
                gathered.extend(beside);
            }
            for digest in &digests {
                let target = Target::Digest(digest.clone());
                match self.shared.destination.head(&target).await? {
                    Some(_) => counts.existing += 1,
                    None => counts.copied += 1,
                }
            }
            level = walk
                .next(digests.into_iter().chain(below))
                .map_err(|error| self.about_referrers(&error))?;
        }
        self.outcome.referrers = Some(counts);
        Ok(gathered)
    }

    /// What refers to `subject`, and all that is beside it in a layout for that.
    async fn read_referrers(&self, subject: &Digest) -> Result<(Vec<Digest>, Vec<Beside>)> {
        let found = self.found(subject).await?;
        let artifacts = found
            .referrers
            .iter()
            .map(|entry| self.artifact(subject, entry));
        let artifacts = try_join_all(artifacts).await?.into_iter().flatten();
        let artifacts: Vec<Manifest> = artifacts.collect();
        let tag = list_tag(subject);
        let listed = Additions::of(&artifacts);
        let list = self.shared.destination.grown_list(&tag, &listed).await?;
        let tagged = found.tagged.iter();
        let tagged = tagged.map(|(tag, manifest)| (Target::Tag(tag.clone()), manifest.clone()));
        let bare = artifacts.into_iter();
        let bare = bare.map(|artifact| (Target::Digest(artifact.digest.clone()), artifact));
        let (mut digests, mut beside) = (Vec::new(), Vec::new());
        for (entry, manifest) in tagged.chain(bare) {
            digests.push(manifest.digest.clone());
            let below = self.below(&manifest).await?.into_iter();
            beside.extend(below.map(|manifest| Beside {
                manifest,
                entry: None,
            }));
            let entry = Some(entry);
            beside.push(Beside { manifest, entry });
        }
        let entry = Some(Target::Tag(tag));
        beside.extend(list.map(|manifest| Beside { manifest, entry }));
        Ok((digests, beside))
    }
}
