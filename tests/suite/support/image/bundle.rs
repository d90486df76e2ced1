//! What it takes to put an image somewhere: its blobs, its manifests children first, its root.
//!
//! A bundle may be made incomplete on purpose, for a source that is sparse.

use bytes::Bytes;

use super::{Content, Image, MultiArch};
use crate::support::content::{Manifest, sha256};

/// An image or index taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) blobs: Vec<Bytes>,
    /// Children, and children's children before them.
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) root: Manifest,
}

impl Bundle {
    /// The bundle without these manifests; the root still names them. Their blobs stay.
    pub(crate) fn without(mut self, digests: &[&str]) -> Self {
        self.manifests
            .retain(|manifest| !digests.contains(&manifest.digest().as_str()));
        self
    }

    fn add(&mut self, content: &Content) {
        match content {
            Content::Image(image) => self.blobs.extend(blobs(image)),
            Content::Index(index) => index
                .children
                .iter()
                .for_each(|child| self.add(&child.content)),
        }
        self.manifests.push(content.manifest().clone());
    }
}

fn blobs(image: &Image) -> impl Iterator<Item = Bytes> {
    let layers = image.layers.iter().filter(|layer| layer.urls.is_empty());
    layers
        .map(|layer| layer.bytes.clone())
        .chain([image.config.clone()])
}

impl From<&Image> for Bundle {
    fn from(image: &Image) -> Self {
        Self {
            blobs: blobs(image).collect(),
            manifests: Vec::new(),
            root: image.manifest.clone(),
        }
    }
}

impl From<&MultiArch> for Bundle {
    fn from(index: &MultiArch) -> Self {
        let mut bundle = Self {
            blobs: Vec::new(),
            manifests: Vec::new(),
            root: index.root.clone(),
        };
        index
            .children
            .iter()
            .for_each(|child| bundle.add(&child.content));
        let mut seen = std::collections::BTreeSet::new();
        bundle.blobs.retain(|blob| seen.insert(sha256(blob)));
        bundle
    }
}

impl From<&Bundle> for Bundle {
    fn from(bundle: &Bundle) -> Self {
        bundle.clone()
    }
}
