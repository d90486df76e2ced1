//! What refers to the manifests of a place, whatever form the place gives that.

use std::fmt::Display;

use futures_util::future::try_join_all;

use super::layout::Arrivals;
use super::{Endpoint, Target, archive};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::referrers::{
    Additions, Types, cosign_tags, is_signature, is_signature_tag, list_tag, merge, shown_type,
};

/// Whether what was put is among the referrers of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The place has entered it.
    Done,
    /// It has to be entered into a list.
    Wanted,
}

/// How a place names something that belongs to a manifest.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The tag, where it has one.
    pub tag: Option<String>,
    /// The digest; `None` where only reading it tells.
    pub digest: Option<Digest>,
    /// The size in bytes; 0 where nothing says.
    pub size: u64,
}

/// What a place names and does not have, or has as something else than its digest says.
#[derive(Clone, Debug)]
pub struct Lost {
    /// How it is named.
    pub naming: Naming,
    /// What is wrong with it.
    pub error: Error,
}

impl Lost {
    /// The tag or the digest that leads to it.
    #[must_use]
    pub fn name(&self) -> String {
        let digest = || self.naming.digest.as_ref().map(ToString::to_string);
        let tag = self.naming.tag.clone();
        tag.or_else(digest).unwrap_or_default()
    }
}

/// What is behind a name: the manifest, or that it is lost.
pub(super) type Had = std::result::Result<Manifest, Lost>;

impl Naming {
    /// By a tag alone.
    pub(super) fn tag(tag: &str) -> Self {
        Self {
            tag: Some(tag.to_owned()),
            digest: None,
            size: 0,
        }
    }

    /// By an entry, which may have a tag.
    #[must_use]
    pub fn entry(entry: &Descriptor, tag: Option<&str>) -> Self {
        Self {
            tag: tag.map(str::to_owned),
            digest: Some(entry.digest.clone()),
            size: entry.size,
        }
    }

    /// What `read` says of what `place` names so: it has to be there.
    pub(super) fn had(self, read: Result<Option<Manifest>>, place: &dyn Display) -> Result<Had> {
        let (kind, cause) = match read {
            Ok(Some(manifest)) => return Ok(Ok(manifest)),
            Ok(None) => (
                Kind::NotFound,
                "it is listed there, but it is gone".to_owned(),
            ),
            Err(error) if error.is_of_content() => (error.kind(), error.cause().to_owned()),
            Err(error) => return Err(error),
        };
        let name = match (&self.tag, &self.digest) {
            (Some(tag), _) => format!("{place}:{tag}"),
            (None, Some(digest)) => format!("{place}@{digest}"),
            (None, None) => place.to_string(),
        };
        let error = Error::new(kind, "read manifest", name).because(cause);
        let error = error.hint(
            "bring it there again, or remove what lists it; without --referrers nobody asks for it",
        );
        Ok(Err(Lost {
            naming: self,
            error,
        }))
    }
}

/// What names a manifest as its subject.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Each, as a list or the entry of a layout describes it.
    pub entries: Vec<Descriptor>,
    /// Lists that are lost, and what may have been a referrer.
    pub lost: Vec<Lost>,
}

impl Listed {
    /// Whether a list is lost, which may have had more.
    #[must_use]
    pub fn lacks_list(&self) -> bool {
        self.lost.iter().any(|lost| lost.naming.tag.is_some())
    }
}

/// What refers to one manifest of a place.
#[derive(Debug, Default)]
pub struct Attached {
    /// What names it as its subject.
    pub referrers: Vec<Descriptor>,
    /// What cosign keeps for it, and under which tags.
    pub tagged: Vec<(String, Manifest)>,
    /// What is listed as one of them, or lists them, and is lost.
    pub lost: Vec<Lost>,
}

impl Attached {
    /// Whether nothing does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.referrers.is_empty() && self.tagged.is_empty() && self.lost.is_empty()
    }

    /// The type of each that is one of these `types`, as people know it; `unknown` where no list tells it.
    #[must_use]
    pub fn types(&self, types: &Types) -> Vec<String> {
        let listed = self.referrers.iter();
        let listed = listed.map(|entry| entry.artifact_type.as_deref());
        let listed = listed.filter(|named| named.is_none_or(|named| types.takes(named)));
        let listed = listed.map(|named| named.unwrap_or("unknown").to_owned());
        let tagged = self.tagged.iter().map(|(_, manifest)| manifest);
        let tagged = tagged.filter(|manifest| types.takes_tagged(manifest));
        listed.chain(tagged.map(shown_type)).collect()
    }

    /// Whether a signature is among it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let types = self.referrers.iter();
        let mut types = types.filter_map(|entry| entry.artifact_type.as_deref());
        let tags = self.tagged.iter().map(|(tag, _)| tag.as_str());
        let lost = self.lost.iter();
        let lost = lost.filter_map(|lost| lost.naming.tag.as_deref());
        tags.chain(lost).any(is_signature_tag) || types.any(is_signature)
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
        let (listed, tagged) = tokio::try_join!(self.referrers(subject, types), tagged)?;
        let mut attached = Attached {
            referrers: listed.entries,
            tagged: Vec::new(),
            lost: listed.lost,
        };
        for (tag, had) in tags.into_iter().zip(tagged) {
            match had {
                Some(Ok(manifest)) if types.takes_tagged(&manifest) => {
                    attached.tagged.push((tag, manifest));
                }
                // Of which type it was, nobody knows.
                Some(Err(lost)) => attached.lost.push(lost),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(attached)
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
    pub async fn referrers(&self, subject: &Digest, types: &Types) -> Result<Listed> {
        let mut found = self.blamed(match self {
            Self::Registry(repository) => repository.referrers(subject, types).await,
            Self::Layout(layout) => layout.referrers(subject),
            Self::OciArchive(archive) => archive.referrers(subject).await,
            Self::DockerArchive(_) => Ok(Listed::default()),
        })?;
        found.entries.retain(|entry| {
            let named = entry.artifact_type.as_deref();
            named.is_none_or(|named| types.takes(named))
        });
        Ok(found)
    }

    /// Whether a registry has shown that it tells by its API what refers to something.
    pub(crate) fn has_referrers_api(&self) -> bool {
        matches!(self, Self::Registry(repository) if repository.has_referrers_api())
    }

    /// What tells what refers to `subject` here, for people.
    #[must_use]
    pub fn names_referrers(&self, subject: &Digest) -> String {
        let list = format!("{self}:{}", list_tag(subject));
        match self {
            Self::Registry(repository) if repository.has_referrers_api() => {
                format!("the referrers API (or {list})")
            }
            _ => list,
        }
    }

    /// The error of what refers to `subject`, as `entry` or its tag names it, and cannot be had: `why`, which is
    /// about it or something below it.
    #[must_use]
    pub fn referrer_error(&self, subject: &Digest, entry: &Descriptor, why: &Error) -> Error {
        let place = self.names_referrers(subject);
        let name = format!("{self}@{}", entry.digest);
        let named = format!("{place} lists it as referring to {subject}");
        unheld((name, &named), entry, why).at(self.blame())
    }

    /// The same of what `list`, a tag of its own, names.
    #[must_use]
    pub fn listed_error(&self, list: &str, entry: &Descriptor, why: &Error) -> Error {
        let name = format!("{self}@{}", entry.digest);
        let named = format!("the list of referrers {list} names it");
        unheld((name, &named), entry, why).at(self.blame())
    }

    /// The same of what `tag` points at, which is made of the digest of `subject`.
    #[must_use]
    pub fn tagged_error(
        &self,
        subject: &Digest,
        (tag, manifest): (&str, &Manifest),
        why: &Error,
    ) -> Error {
        let named = format!("its tag tells that it belongs to {subject}");
        let mut entry = Descriptor::of(manifest);
        entry.artifact_type = Some(shown_type(manifest));
        unheld((format!("{self}:{tag}"), &named), &entry, why).at(self.blame())
    }

    /// What is under a tag that is made of a digest; `None` where there is no such tag.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    async fn digest_tagged(&self, tag: &str) -> Result<Option<Had>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.digest_tagged(tag).await,
            Self::Layout(layout) => layout.digest_tagged(tag),
            Self::OciArchive(archive) => archive.digest_tagged(tag).await,
            Self::DockerArchive(_) => Ok(None),
        })
    }

    /// Stores what refers to something, by its digest.
    ///
    /// # Errors
    ///
    /// When the place refuses it or cannot be written.
    pub async fn put_referrer(&self, manifest: &Manifest) -> Result<Listing> {
        self.blamed(match self {
            Self::Registry(repository) => repository.put_referrer(manifest).await,
            Self::Layout(layout) => layout
                .put_manifest(manifest)
                .await
                .map(|()| Listing::Wanted),
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        })
    }

    /// The list under `tag` with `added` in it; `None` where they are in it.
    ///
    /// # Errors
    ///
    /// `conflict` when its tag holds an image, or when it could not be read.
    pub async fn merged_list(&self, tag: &str, added: &Additions) -> Result<Option<Manifest>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.merged_list(tag, added).await,
            Self::Layout(_) | Self::OciArchive(_) | Self::DockerArchive(_) => {
                let list = self.manifest(&Target::Tag(tag.to_owned())).await?;
                merge(list.as_ref(), added)
            }
        })
    }

    /// Enters what has been stored into the list under `tag`.
    ///
    /// # Errors
    ///
    /// `conflict` when others change the list again and again, or when it cannot be written.
    pub async fn list_referrers(&self, tag: &str, added: Additions) -> Result<()> {
        self.blamed(match self {
            Self::Registry(repository) => repository.add_to_list(tag, &added).await,
            Self::Layout(layout) => {
                let referrers = vec![(tag.to_owned(), added)];
                layout
                    .enter(Arrivals {
                        referrers,
                        ..Arrivals::default()
                    })
                    .await
            }
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        })
    }

    /// Stores `manifest` under a tag that is made of a digest.
    ///
    /// # Errors
    ///
    /// When the place refuses it or cannot be written.
    pub async fn put_digest_tagged(&self, tag: &str, manifest: &Manifest) -> Result<()> {
        self.blamed(match self {
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
        })
    }
}

/// The error of a referrer that cannot be had because of `why`.
fn unheld((name, named): (String, &str), entry: &Descriptor, why: &Error) -> Error {
    let kind = entry.artifact_type.as_deref().unwrap_or("artifact");
    let is_itself = why.target().ends_with(entry.digest.as_str());
    let but = match (why.kind(), is_itself) {
        (Kind::NotFound, true) => "it is not there".to_owned(),
        (Kind::NotFound, false) => format!("not all of it is there ({why})"),
        (Kind::DigestMismatch, true) => format!("what is there is not that: {}", why.cause()),
        (_, true) => format!("that is wrong: {}", why.cause()),
        (_, false) => format!("not all of it is what it should be ({why})"),
    };
    let error = Error::new(why.kind(), "read referrer", format!("{kind} {name}"));
    error.because(format!("{named}, but {but}"))
}
