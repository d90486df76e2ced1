//! A list of referrers whose tag is one of the run's: it is merged into what the destination has, whatever it is
//! called at the source. What is no list never takes the place of one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::bring::Brought;
use super::super::check::Held;
use super::super::{Changed, Showing, Tag};
use crate::bounded::{late, try_all};
use crate::endpoint::{Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::{Additions, is_itself, may_be_list, without};
use crate::options::{Digests, Run};
use crate::plan::Choice;
use crate::select::is_list_tag;

impl Tag {
    /// The tag where the destination keeps a list of referrers, where this one writes it.
    fn list_tag(&self) -> Option<&str> {
        match (&self.job.destination, &self.shared.destination) {
            (_, Endpoint::DockerArchive(_)) | (Target::Digest(_), _) => None,
            (Target::Tag(tag), _) => is_list_tag(tag).then_some(tag),
        }
    }

    /// The same, where `root` is a list too. GitLab's registry takes such a tag for the digest.
    fn list_of(&self, root: &Manifest) -> Option<&str> {
        let tag = self.list_tag()?;
        (may_be_list(root) && !is_itself(tag, &root.digest)).then_some(tag)
    }

    /// Finds out whether the tag is a list that is merged; of one, what the source does not have any more is
    /// left out, or fails it. The destination has what is `held`.
    pub(in super::super) async fn check_referrers_tag(
        &mut self,
        choice: Choice,
        held: &Held,
    ) -> Result<Choice> {
        let root = &choice.filtered.root;
        let Some(tag) = self.list_of(root).map(str::to_owned) else {
            return self.spare_list(root).await.map(|()| choice);
        };
        self.merged = Some(tag);
        self.outcome.is_list = true;
        let omitted = &choice.filtered.omitted;
        let asked = root.entries().iter().filter(|entry| {
            (entry.is_index() || !held.contains(&entry.digest)) && !omitted.contains(entry)
        });
        match self.without_gone(root, asked).await? {
            None => Ok(choice),
            Some(list) => self.choose_index_as(&list, &choice.source).await,
        }
    }

    /// `list` without those of `asked` that the source does not have any more; `None` where it has all, or
    /// the tag is no list.
    pub(in super::super) async fn without_gone<'a>(
        &self,
        list: &Manifest,
        asked: impl Iterator<Item = &'a Descriptor>,
    ) -> Result<Option<Manifest>> {
        if self.list_of(list).is_none() {
            return Ok(None);
        }
        let asked = asked.map(|entry| async move {
            match late(|| self.whole(entry)).await {
                Ok(_) => Ok(None),
                Err(error) if error.kind() == Kind::NotFound => {
                    self.mind_gone(self.gone_from_list(entry, &error))?;
                    Ok(Some(entry.digest.clone()))
                }
                Err(error) => Err(error),
            }
        });
        let gone: BTreeSet<Digest> = try_all(asked).await?.into_iter().flatten().collect();
        if gone.is_empty() {
            return Ok(None);
        }
        without(list, &gone).map(Some)
    }

    /// Fails what is no list where there is one: what somebody else has listed would be lost.
    async fn spare_list(&self, root: &Manifest) -> Result<()> {
        let (Some(tag), Some(there)) = (self.list_tag(), &self.there) else {
            return Ok(());
        };
        if there.digest == root.digest || is_itself(tag, &there.digest) {
            return Ok(());
        }
        let destination = &self.shared.destination;
        let list = match destination.manifest(&self.job.destination).await {
            // What was lost, or is nothing of the kind.
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::InvalidManifest) => None,
            read => read?,
        };
        if !list.is_some_and(|list| may_be_list(&list) && !list.entries().is_empty()) {
            return Ok(());
        }
        let what = if root.is_index() {
            "the index of an image"
        } else {
            "an image"
        };
        let cause = format!("{destination} has a list of referrers there, and this is {what}");
        let name = format!("{destination}:{tag}");
        Err(Error::new(Kind::Conflict, "write", name).because(cause).hint(
            "give it another tag; where nobody needs the list, with the signatures and attestations in it, delete that first",
        ))
    }

    /// Makes the list under `tag` hold what `choice`, the source's, holds; what else it has stays.
    pub(in super::super) async fn publish_list(
        &mut self,
        choice: &Choice,
        (tag, brought): (String, Brought),
    ) -> Result<Changed> {
        let shared = Arc::clone(&self.shared);
        let added = Additions::all_of(&choice.filtered.root);
        let grown = shared.destination.merged_list(&tag, &added).await?;
        let there = self.there.as_ref().map(|there| &there.digest);
        self.keep_digest(choice, grown.as_ref().map(|list| &list.digest).or(there))?;
        let nested = choice.filtered.nested.iter();
        let lacking = self
            .absent_among(nested.map(|index| index.digest.clone()))
            .await?;
        let mut changed = brought.changed;
        if grown.is_some() || !lacking.is_empty() {
            changed = Changed::Something;
        }
        if shared.settings.run == Run::Real && changed == Changed::Something {
            self.put_nested(choice, brought.followers).await?;
            self.want_listed(&tag, added).await;
            self.lists().insert(tag.clone());
            // It is written with what is attached.
            shared.note_last_write(&self.job.name);
        }
        let attached = self.attach(choice.subjects()).await?;
        let foreseen = grown.map(|list| list.digest);
        self.outcome.digest = match (shared.showing, shared.settings.run) {
            (Showing::Later, _) | (_, Run::Dry) if foreseen.is_some() => foreseen,
            _ => {
                let there = shared.destination.head(&Target::Tag(tag)).await?;
                there.map(|there| there.digest)
            }
        };
        Ok(changed.max(attached))
    }

    /// What `root` is to be in an archive: a list grows by what comes.
    pub(in super::super) async fn grown(&mut self, choice: &Choice) -> Result<Manifest> {
        let root = &choice.filtered.root;
        let Some(tag) = self.merged.clone() else {
            return Ok(root.clone());
        };
        let destination = &self.shared.destination;
        let added = Additions::all_of(root);
        let list = match destination.merged_list(&tag, &added).await? {
            Some(grown) => Some(grown),
            None => destination.manifest(&Target::Tag(tag)).await?,
        };
        let list = list.unwrap_or_else(|| root.clone());
        self.keep_digest(choice, Some(&list.digest))?;
        self.outcome.digest = Some(list.digest.clone());
        Ok(list)
    }

    /// Refuses a merged list where digests are to stay.
    fn keep_digest(&self, choice: &Choice, merged: Option<&Digest>) -> Result<()> {
        let source = &choice.source;
        let Some(merged) = merged.filter(|merged| *merged != source) else {
            return Ok(());
        };
        if self.shared.settings.digests != Digests::Preserve {
            return Ok(());
        }
        let cause = format!(
            "--preserve-digests is given, and the list of referrers that is to be there has the digest {merged} instead of {source}"
        );
        Err(Error::new(Kind::Unsupported, "copy", self.source_name())
            .because(cause)
            .hint("leave out --preserve-digests, or this tag: with --referrers the lists come with their images"))
    }
}
