//! What the entries of layouts and archives are called, and which one is meant where none is named.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::inventory::difference::Without;

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

/// The image of a place that holds just one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlyImage {
    /// Its REF, where it has one.
    pub name: Option<String>,
    /// Its digest.
    pub digest: Digest,
}

impl OnlyImage {
    /// The one of `images`, all that `place` holds.
    pub(super) fn among(mut images: Vec<Self>, place: &dyn fmt::Display) -> Result<Self> {
        let error = |doing, cause: String| Error::new(Kind::NotFound, doing, place).because(cause);
        match images.len() {
            0 => Err(error("read", "it holds no image".to_owned())),
            1 => Ok(images.remove(0)),
            count => {
                // A name that several have leads to none of them.
                let is_only = |name: &Option<String>| {
                    images.iter().filter(|image| image.name == *name).count() == 1
                };
                let names: Vec<String> = images
                    .iter()
                    .map(|image| match &image.name {
                        Some(name) if is_only(&image.name) => format!("{place}:{name}"),
                        _ => format!("{place}@{}", image.digest),
                    })
                    .collect();
                let cause = format!("it holds {count} images; name one of {}", names.join(", "));
                Err(error("choose an image from", cause)
                    .hint("name it as listed, or select several with --all-tags or --tags"))
            }
        }
    }
}
