//! What the entries of layouts and archives are called, and which one is meant where none is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Content;
use crate::image::media_type;
use crate::image::platform::Platform;
use crate::inventory::difference::Without;
use crate::sanitize::{FEW, few};

/// Whether another repository's image may be replaced by one of the same REF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// That is an error.
    #[default]
    Never,
    /// It is.
    Always,
}

/// What the images that come to a layout or archive are called, and what of them comes.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The repository that they are of, where they are of one.
    pub repository: Option<String>,
    /// Those of single ones, by the REF that they come under, where a file says them.
    pub repositories: BTreeMap<String, String>,
    /// Whether they replace those of another.
    pub overwrite: Overwrite,
    /// What an archive leaves out of them.
    pub without: Option<Arc<Without>>,
}

impl Labels {
    /// The repository of the image that comes as `reference`, where it is known.
    pub(super) fn repository_of(&self, reference: &str) -> Option<&str> {
        let own = || self.repositories.get(reference);
        self.repository.as_ref().or_else(own).map(String::as_str)
    }
}

/// An image of a layout or archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlyImage {
    /// Its REF, where it has one.
    pub name: Option<String>,
    pub digest: Digest,
}

impl Endpoint {
    /// The images of a layout or archive; none of a registry.
    ///
    /// # Errors
    ///
    /// When the place cannot be read.
    pub async fn images(&self) -> Result<Vec<OnlyImage>> {
        self.blamed(match self {
            Self::Registry(_) => Ok(Vec::new()),
            Self::Layout(layout) => layout.images(),
            Self::OciArchive(archive) => archive.images().await,
            Self::DockerArchive(archive) => archive.images().await,
        })
    }

    /// What REF `name` leads to: the entry of that name, else the only one with that tag.
    ///
    /// # Errors
    ///
    /// When the place cannot be read, or several images have the tag.
    pub async fn named(&self, name: &str) -> Result<Target> {
        let whole = self.blamed(match self {
            Self::Registry(_) | Self::DockerArchive(_) => Ok(None),
            Self::Layout(layout) => layout.tagged(name),
            Self::OciArchive(archive) => archive.tagged(name).await,
        })?;
        Ok(Target::Tag(whole.unwrap_or_else(|| name.to_owned())))
    }

    /// The one image of a place that is named by nothing but the place; `None` for a registry, where a
    /// tag has to be named.
    ///
    /// # Errors
    ///
    /// When there is none, or several: the message lists them.
    pub async fn only_image(&self) -> Result<Option<OnlyImage>> {
        if matches!(self, Self::Registry(_)) {
            return Ok(None);
        }
        let mut images = self.images().await?;
        let error = |doing, cause: String| {
            let error = Error::new(Kind::NotFound, doing, self).because(cause);
            error.at(self.blame())
        };
        match images.len() {
            0 => Err(error("read", "it holds no image".to_owned())),
            1 => Ok(images.pop()),
            count => {
                let mut listed = Vec::new();
                for image in &images {
                    // No more are shown.
                    let platforms = if listed.len() < FEW {
                        self.platforms(&image.digest).await
                    } else {
                        None
                    };
                    listed.push(self.listed(image, &images, &platforms.unwrap_or_default()));
                }
                let cause = format!("it holds {count} images: {}", few(&listed));
                Err(error("choose an image from", cause)
                    .hint("name one as it is listed, or select several with --all-tags or --tags"))
            }
        }
    }

    /// How `image`, one of `all`, is named, with its platforms.
    fn listed(&self, image: &OnlyImage, all: &[OnlyImage], platforms: &[String]) -> String {
        // A name that several have leads to none of them.
        let is_only =
            |name: &Option<String>| all.iter().filter(|other| other.name == *name).count() == 1;
        let name = match &image.name {
            Some(name) if is_only(&image.name) => format!("{self}:{name}"),
            _ => format!("{self}@{}", image.digest),
        };
        if platforms.is_empty() {
            name
        } else {
            format!("{name} ({})", platforms.join(", "))
        }
    }

    /// The platforms of an image, as its index or its config tells them; `None` where that cannot be read.
    async fn platforms(&self, digest: &Digest) -> Option<Vec<String>> {
        let found = self.manifest(&Target::Digest(digest.clone())).await;
        let manifest = found.ok().flatten()?;
        match &*manifest.content {
            Content::Index { entries, .. } => {
                let images = entries.iter().filter(|entry| !entry.is_attestation());
                let platforms = images.filter_map(|entry| entry.platform.as_ref());
                Some(platforms.map(ToString::to_string).collect())
            }
            Content::Image { config, .. } if media_type::is_config(&config.media_type) => {
                let bytes = self.small_blob(config).await.ok()?;
                let platform = Platform::from_config(&bytes).ok().flatten()?;
                Some(vec![platform.to_string()])
            }
            Content::Image { .. } => None,
        }
    }
}
