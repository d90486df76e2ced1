//! Finding out what refers to something at the source, and what a filtered index cannot keep.

use std::sync::Arc;

use super::super::Tag;
use crate::bounded::{late, try_all};
use crate::catalog::walk;
use crate::endpoint::{Attached, Endpoint, Lost};
use crate::error::{Error, Kind, Result, Side};
use crate::event::{Event, LeftBehind};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::{Types, artifact_type};
use crate::options::{MissingReferrers, SignedIndex};
use crate::plan::Choice;

const WHAT_IS_GONE: &str = "have it put back at the source, or struck from the list there; narrow with --referrers=TYPE, or leave out what is gone with --missing-referrers skip";
const WHAT_IS_GONE_FROM_A_LIST: &str = "have it put back at the source, or struck from the list there; or leave out what is gone with --missing-referrers skip";
const WHAT_IS_HARMED: &str = "have it put back at the source as it was, or removed there with what names it; or narrow with --referrers=TYPE; --missing-referrers skip leaves out manifests that are gone, and no others";

/// What an entry of a list of referrers turned out to be.
pub(in super::super) enum Artifact {
    /// It is to come along, with all that is below it.
    Wanted(Box<Manifest>, Vec<Manifest>),
    /// Of another type, or it refers to something else.
    Unwanted,
    /// The source does not have it any more.
    Gone,
}

impl Tag {
    /// What `entry` of a list of what refers to `subject` names.
    pub(in super::super) async fn artifact(
        &self,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<Artifact> {
        let (artifact, below) = match self.whole(entry).await {
            Ok(whole) => whole,
            Err(error) if error.kind() == Kind::NotFound => {
                let error = self.shared.source.referrer_error(subject, entry, &error);
                self.mind_gone(error.hint(WHAT_IS_GONE))?;
                return Ok(Artifact::Gone);
            }
            Err(error) => return Err(self.harmed(subject, entry, error)),
        };
        self.mind_misdescribed(subject, entry, &artifact);
        if artifact.subject().map(|named| &named.digest) != Some(subject) {
            let warning = format!(
                "{}@{} is listed among what refers to {subject}, but does not name it; it is left out",
                self.shared.source, entry.digest
            );
            self.shared.events.send(Event::Warning(warning));
            return Ok(Artifact::Unwanted);
        }
        let wanted = self.shared.settings.referrers.as_ref();
        let wanted = wanted.is_some_and(|types| types.takes(&artifact_type(&artifact)));
        Ok(if wanted {
            Artifact::Wanted(Box::new(artifact), below)
        } else {
            Artifact::Unwanted
        })
    }

    /// The artifact, and all manifests below it.
    pub(in super::super) async fn whole(
        &self,
        entry: &Descriptor,
    ) -> Result<(Manifest, Vec<Manifest>)> {
        let artifact = self.read(entry).await?;
        let below = self.below(&artifact).await?;
        Ok((artifact, below))
    }

    /// The error of what a list that is copied as a tag names, and is gone.
    pub(in super::super) fn gone_from_list(&self, entry: &Descriptor, error: &Error) -> Error {
        let list = self.source_name();
        let error = self.shared.source.listed_error(&list, entry, error);
        error.hint(WHAT_IS_GONE_FROM_A_LIST)
    }

    /// The error of what refers to `subject` and the source does not have as it was listed, where that is why
    /// it failed.
    pub(super) fn harmed(&self, subject: &Digest, entry: &Descriptor, error: Error) -> Error {
        if Self::is_of_source(&error) {
            let error = self.shared.source.referrer_error(subject, entry, &error);
            return error.hint(WHAT_IS_HARMED);
        }
        error
    }

    /// The same of what `tag` points at.
    pub(super) fn harmed_tagged(
        &self,
        subject: &Digest,
        tagged: (&str, &Manifest),
        error: Error,
    ) -> Error {
        if Self::is_of_source(&error) {
            let error = self.shared.source.tagged_error(subject, tagged, &error);
            return error.hint(WHAT_IS_HARMED);
        }
        error
    }

    /// Whether it is what the source holds that is wrong.
    fn is_of_source(error: &Error) -> bool {
        let kinds = [Kind::NotFound, Kind::DigestMismatch, Kind::InvalidManifest];
        kinds.contains(&error.kind()) && error.side() == Some(Side::Source)
    }

    /// Tells once of a list that says another size or type of an artifact than it has: it is intact by digest, and
    /// listed as it is. Harbor's API gives the size of an artifact with all its parts.
    fn mind_misdescribed(&self, subject: &Digest, entry: &Descriptor, artifact: &Manifest) {
        let size = artifact.bytes.len() as u64;
        let (said, is) = if entry.size != size {
            (format!("{} bytes", entry.size), format!("{size}"))
        } else if !entry.media_type.is_empty() && entry.media_type != artifact.media_type {
            (entry.media_type.clone(), artifact.media_type.clone())
        } else {
            return;
        };
        if self.shared.misdescribed.set(()).is_ok() {
            let list = self.shared.source.names_referrers(subject);
            let warning = format!(
                "{list} says {said} of {}, which has {is}; such artifacts are whole, and are listed as they are",
                entry.digest
            );
            self.shared.events.send(Event::Warning(warning));
        }
    }

    /// Fails the tag for a name that leads to nothing, or tells of it; what was altered always fails it.
    fn mind_lost(&self, lost: &Lost) -> Result<()> {
        let error = lost.error.clone();
        if error.kind() == Kind::NotFound {
            self.mind_gone(error.hint(WHAT_IS_GONE))
        } else {
            Err(error)
        }
    }

    /// Fails the tag for what is gone, or tells of it.
    pub(in super::super) fn mind_gone(&self, error: Error) -> Result<()> {
        if self.shared.settings.missing_referrers == MissingReferrers::Fail {
            return Err(error);
        }
        let warning = format!("{error}; it is left out");
        self.shared.events.send(Event::Warning(warning));
        Ok(())
    }

    /// The manifests below an artifact that is an index, parents before children.
    pub(in super::super) async fn below(&self, artifact: &Manifest) -> Result<Vec<Manifest>> {
        let below = walk::below(artifact, |entry| {
            Box::pin(async move { self.child(&entry).await.map(Some) })
        });
        below.await
    }

    /// What refers to `subject` at the source; asked once a run.
    pub(in super::super) async fn found(&self, subject: &Digest) -> Result<Arc<Attached>> {
        let every = Types::default();
        let types = self.shared.settings.referrers.as_ref().unwrap_or(&every);
        let find = async {
            let found = self.find(subject, types).await?;
            // What is lost must not read as what never was.
            for lost in &found.lost {
                self.mind_lost(lost)?;
            }
            Ok(Arc::new(found))
        };
        let found = self.shared.found.run(subject, Box::pin(find)).await?;
        Ok(found.into_inner())
    }

    async fn find(&self, subject: &Digest, types: &Types) -> Result<Attached> {
        let found = self.shared.source.attached(subject, types).await?;
        for _ in &found.tagged {
            self.count_pull();
        }
        Ok(found)
    }

    /// Asks what refers to all that `choice` leads to, before it is needed.
    pub(in super::super) async fn look_for_referrers(&self, choice: &Choice) -> Result<()> {
        if self.shared.settings.referrers.is_none() {
            return Ok(());
        }
        let subjects = choice.subjects();
        let found = try_all(subjects.iter().map(|subject| late(|| self.found(subject))));
        found.await.map(|_| ())
    }

    /// Whether something will refer to what this tag points at.
    pub(in super::super) async fn has_referrers(&self, choice: &Choice) -> Result<bool> {
        if self.shared.settings.referrers.is_none() || choice.filtered.is_rewritten() {
            return Ok(false);
        }
        let found = self.found(&choice.filtered.root.digest).await?;
        Ok(!found.is_empty())
    }

    /// What refers to an index says nothing about another one: tells what stays behind, or fails where an
    /// index is signed and has to stay as it is.
    pub(in super::super) async fn check_signatures(&mut self, choice: &Choice) -> Result<()> {
        let settings = &self.shared.settings;
        let must_stay = settings.signed_index == SignedIndex::MustStay;
        if !must_stay && settings.referrers.is_none() {
            return Ok(());
        }
        let (every, replaced) = (Types::default(), choice.filtered.replaced.keys());
        let found = replaced.map(async |index| Ok((index, self.find(index, &every).await?)));
        let found = try_all(found).await?;
        let signed = found.iter().find(|(_, found)| found.is_signed());
        if let Some((index, _)) = signed.filter(|_| must_stay) {
            return Err(self.must_stay(index, choice));
        }
        let Some(wanted) = &settings.referrers else {
            return Ok(());
        };
        let mut left = LeftBehind {
            signed: signed.is_some(),
            ..LeftBehind::default()
        };
        for name in found.iter().flat_map(|(_, found)| found.types(wanted)) {
            *left.types.entry(name).or_default() += 1;
        }
        self.outcome.left_behind = left;
        Ok(())
    }

    /// The error of a signed `index` that the filter would make another one of.
    fn must_stay(&self, index: &Digest, choice: &Choice) -> Error {
        let which = if *index == choice.source {
            "the index".to_owned()
        } else {
            format!("the index {index} in it")
        };
        let cause = format!(
            "{which} is signed, and without some of its entries it has another digest, which nobody signed"
        );
        let hint = match &self.shared.destination {
            Endpoint::DockerArchive(_) => {
                "a docker-archive holds no index: oci-archive:PATH with --mode sparse-index keeps it and its signature; or leave out --require-signature"
            }
            Endpoint::Registry(_) | Endpoint::Layout(_) | Endpoint::OciArchive(_) => {
                "--mode sparse-index keeps the index and its signature; or leave out --require-signature"
            }
        };
        Error::new(Kind::Unsupported, "filter", self.source_name())
            .because(cause)
            .hint(hint)
    }
}
