//! What refers to the manifests of a place, whatever form the place gives that.

use futures_util::future::try_join_all;

use super::layout::Arrivals;
use super::{Endpoint, Target, archive};
use crate::error::Result;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::{Types, cosign_tags, is_signature, is_signature_tag};

/// Whether what was put is among the referrers of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The place has entered it.
    Done,
    /// It has to be entered into a list.
    Wanted,
}

/// What refers to one manifest of a place.
#[derive(Debug, Default)]
pub struct Attached {
    /// What names it as its subject.
    pub referrers: Vec<Descriptor>,
    /// What cosign keeps for it, and under which tags.
    pub tagged: Vec<(String, Manifest)>,
}

impl Attached {
    /// Whether nothing does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.referrers.is_empty() && self.tagged.is_empty()
    }

    /// Whether a signature is among it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let types = self.referrers.iter();
        let mut types = types.filter_map(|entry| entry.artifact_type.as_deref());
        self.tagged.iter().any(|(tag, _)| is_signature_tag(tag)) || types.any(is_signature)
    }
}

impl Endpoint {
    /// What refers to `subject` in either form, of these `types` as far as a list tells them.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn attached(&self, subject: &Digest, types: &Types) -> Result<Attached> {
        let tags = cosign_tags(subject);
        let tagged = try_join_all(tags.iter().map(|tag| self.digest_tagged(tag)));
        let (referrers, tagged) = tokio::try_join!(self.referrers(subject, types), tagged)?;
        let tagged = tags.into_iter().zip(tagged);
        let tagged = tagged.filter_map(|(tag, manifest)| Some((tag, manifest?)));
        let wanted = tagged.filter(|(_, manifest)| types.takes_tagged(manifest));
        Ok(Attached {
            referrers,
            tagged: wanted.collect(),
        })
    }

    /// Has what belongs to images be asked for one by one, instead of by a list of all tags, which may have
    /// hundreds of pages: for who asks about few images.
    pub fn expect_few_subjects(&self) {
        if let Self::Registry(repository) = self {
            repository.ask_for_each();
        }
    }

    /// What refers to `subject` by naming it, of these `types` as far as a list tells them.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn referrers(&self, subject: &Digest, types: &Types) -> Result<Vec<Descriptor>> {
        let mut found = match self {
            Self::Registry(repository) => repository.referrers(subject, types).await?,
            Self::Layout(layout) => layout.referrers(subject)?,
            Self::OciArchive(archive) => archive.referrers(subject).await?,
            Self::DockerArchive(_) => Vec::new(),
        };
        found.retain(|entry| {
            let named = entry.artifact_type.as_deref();
            named.is_none_or(|named| types.takes(named))
        });
        Ok(found)
    }

    /// The manifest under a tag that is made of a digest.
    ///
    /// # Errors
    ///
    /// When it could not be found out, or read.
    async fn digest_tagged(&self, tag: &str) -> Result<Option<Manifest>> {
        if let Self::Registry(repository) = self
            && !repository.may_have(tag).await?
        {
            return Ok(None);
        }
        self.manifest(&Target::Tag(tag.to_owned())).await
    }

    /// Stores what refers to something, by its digest.
    ///
    /// # Errors
    ///
    /// When the place refuses it or cannot be written.
    pub async fn put_referrer(&self, manifest: &Manifest) -> Result<Listing> {
        match self {
            Self::Registry(repository) => repository.put_referrer(manifest).await,
            Self::Layout(layout) => layout
                .put_manifest(manifest)
                .await
                .map(|()| Listing::Wanted),
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        }
    }

    /// Enters what has been stored into the list of what refers to `subject`.
    ///
    /// # Errors
    ///
    /// `conflict` when others change the list again and again, or when it cannot be written.
    pub async fn list_referrers(&self, subject: &Digest, added: Vec<Manifest>) -> Result<()> {
        match self {
            Self::Registry(repository) => repository.add_to_list(subject, &added).await,
            Self::Layout(layout) => {
                let referrers = vec![(subject.clone(), added)];
                layout
                    .enter(Arrivals {
                        referrers,
                        ..Arrivals::default()
                    })
                    .await
            }
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        }
    }

    /// Stores `manifest` under a tag that is made of a digest.
    ///
    /// # Errors
    ///
    /// When the place refuses it or cannot be written.
    pub async fn put_digest_tagged(&self, tag: &str, manifest: &Manifest) -> Result<()> {
        match self {
            Self::Layout(layout) => {
                layout.put_manifest(manifest).await?;
                let tags = vec![(tag.to_owned(), manifest.clone())];
                layout
                    .enter(Arrivals {
                        tags,
                        ..Arrivals::default()
                    })
                    .await
            }
            Self::Registry(_) | Self::OciArchive(_) | Self::DockerArchive(_) => {
                self.publish(manifest, &Target::Tag(tag.to_owned())).await
            }
        }
    }
}
