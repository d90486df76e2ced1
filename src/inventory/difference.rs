//! What an archive leaves out, since the place that it goes to has it: written into the archive, read
//! when it arrives. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{File, Inventory, SCHEMA};
use crate::error::Result;
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::platform::{PlatformSelector, Wanted};

/// The name of the file in an archive. Other readers of layouts leave files alone that they do not know.
pub const FILE: &str = "barge-difference.json";
const KIND: &str = "difference";

/// With what an archive that leaves something out is made.
#[derive(Clone, Debug)]
pub struct Without {
    /// What is left out.
    pub inventory: Inventory,
    /// What makes the archive.
    pub origin: Origin,
}

/// What an archive was made from: enough to make it again, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The source's reference, without a tag.
    pub source: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arch: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require_arch: Vec<String>,
    pub mode: String,
}

impl Origin {
    /// Of these platforms of `source`, by the name of a mode.
    #[must_use]
    pub fn of(source: String, wanted: &Wanted, mode: String) -> Self {
        let texts =
            |selectors: &[PlatformSelector]| selectors.iter().map(ToString::to_string).collect();
        Self {
            source,
            arch: texts(&wanted.platforms),
            require_arch: texts(&wanted.required),
            mode,
        }
    }
}

/// What an archive leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    schema: u64,
    kind: String,
    /// What it was made from.
    pub origin: Origin,
    /// The places of the inventory, as references without tags.
    pub places: Vec<String>,
    /// What is left out, sorted by digest.
    pub parts: Vec<LeftOut>,
}

/// A manifest or blob that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    pub part: Part,
    /// The numbers of the places that have it.
    pub places: Vec<usize>,
    /// The tags that need it: REFs, or the digests of images without one; sorted by bytes.
    pub tags: BTreeSet<String>,
}

/// What is left out: they are asked for in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A manifest or index.
    Manifest,
    /// A config or layer.
    Blob,
}

impl Part {
    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

impl LeftOut {
    fn at(places: Vec<usize>, part: Part, (digest, size): (&Digest, u64)) -> Option<Self> {
        (!places.is_empty()).then(|| Self {
            digest: digest.clone(),
            size,
            part,
            places,
            tags: BTreeSet::new(),
        })
    }

    /// A descriptor by which it can be asked for.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::bare("", &self.digest, self.size)
    }
}

impl Difference {
    /// Of an archive that is made so, from the parts that each of its tags leaves out.
    #[must_use]
    pub fn of(without: &Without, left_out: impl IntoIterator<Item = (String, LeftOut)>) -> Self {
        let mut parts: BTreeMap<Digest, LeftOut> = BTreeMap::new();
        for (tag, part) in left_out {
            let known = parts.entry(part.digest.clone()).or_insert(part);
            known.tags.insert(tag);
        }
        let places = without.inventory.places.iter();
        Self {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            origin: without.origin.clone(),
            places: places.map(|place| place.reference.clone()).collect(),
            parts: parts.into_values().collect(),
        }
    }

    /// Reads what [`Difference::text`] wrote; `name` is the archive's, for errors.
    ///
    /// # Errors
    ///
    /// `protocol` for what it cannot be, `unsupported` for a newer schema.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let file = File {
            kind: KIND,
            doing: "read what is left out of",
            name,
            made_by: "the archive is damaged: have it made again",
        };
        let mut difference: Self = file.parse(bytes)?;
        difference
            .parts
            .sort_unstable_by(|left, right| left.digest.cmp(&right.digest));
        Ok(difference)
    }

    /// The file. The same content always makes the same text.
    ///
    /// # Errors
    ///
    /// None in practice: it has a JSON form.
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// The part with this digest, if it is left out.
    #[must_use]
    pub fn part(&self, digest: &Digest) -> Option<&LeftOut> {
        let found = self.parts.binary_search_by(|part| part.digest.cmp(digest));
        self.parts.get(found.ok()?)
    }

    /// What is left out of the image `tag`.
    pub fn of_tag(&self, tag: &str) -> impl Iterator<Item = &LeftOut> {
        let parts = self.parts.iter();
        parts.filter(move |part| part.tags.contains(tag))
    }
}

impl Inventory {
    /// `blob` as something to leave out, if it is in a place.
    #[must_use]
    pub fn blob(&self, blob: &Descriptor) -> Option<LeftOut> {
        let places = self.with_blob(&blob.digest);
        LeftOut::at(places, Part::Blob, (&blob.digest, blob.size))
    }

    /// A manifest as something to leave out, if it is in a place.
    #[must_use]
    pub fn manifest(&self, digest: &Digest, size: u64) -> Option<LeftOut> {
        let places = self.with_manifest(digest);
        LeftOut::at(places, Part::Manifest, (digest, size))
    }
}
