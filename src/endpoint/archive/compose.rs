//! What an archive is to hold: the images that come, in order, then what was in it before and is still
//! named.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::OciArchive;
use super::members::Listing;
use super::opened::LONGEST_DIFFERENCE;
use super::shelf::{Shelf, Shelved};
use crate::endpoint::Target;
use crate::endpoint::layout::attached::tagged;
use crate::endpoint::layout::index_file::{IndexFile, LONGEST, Names, fits};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Stated};
use crate::image::media_type;
use crate::image::referrers::{Additions, merge};
use crate::inventory::Inventory;
use crate::inventory::difference::{self, Difference, LeftOut};
use crate::select::is_list_tag;

/// An image that comes into an archive.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its REF, or its digest alone.
    pub target: &'a Target,
    /// The repository that it is of, where that is known.
    pub repository: Option<&'a str>,
    /// What the target points at.
    pub root: &'a Arc<Shelved>,
    /// The manifests below the root.
    pub below: &'a [Arc<Shelved>],
    /// What of it stays behind; the root never does.
    pub without: Option<&'a Inventory>,
    /// What refers to them.
    pub beside: &'a [Beside],
}

/// A manifest that belongs to an image without being part of it: what refers to it, and lists of that.
#[derive(Clone, Debug)]
pub struct Beside {
    pub manifest: Arc<Shelved>,
    /// What it is entered as; `None`: another one leads to it.
    pub entry: Option<Target>,
}

impl Beside {
    /// Whether a name leads to it: its bytes are needed to move that.
    fn is_root(&self) -> bool {
        matches!(self.entry, Some(Target::Tag(_)))
    }

    /// Whether a place that has `have` needs it no more.
    #[must_use]
    pub fn stays(&self, have: &Inventory) -> bool {
        !self.is_root() && !have.with_manifest(&self.manifest.digest).is_empty()
    }

    fn names(&self) -> Option<Names<'_>> {
        Some(match self.entry.as_ref()? {
            Target::Tag(tag) => tagged(tag),
            Target::Digest(_) => Names::default(),
        })
    }
}

impl<'a> Incoming<'a> {
    /// All its manifests, the root first.
    pub fn all_manifests(&self) -> impl Iterator<Item = &'a Arc<Shelved>> + use<'a> {
        let beside = self.beside.iter().map(|beside| &beside.manifest);
        std::iter::once(self.root).chain(self.below).chain(beside)
    }

    /// Its manifests that come, the root first.
    pub fn manifests(&self) -> impl Iterator<Item = &'a Arc<Shelved>> + use<'a> {
        let beside = self.beside().map(|beside| &beside.manifest);
        std::iter::once(self.root).chain(self.below()).chain(beside)
    }

    /// Those below the root that come.
    fn below(&self) -> impl Iterator<Item = &'a Arc<Shelved>> + use<'a> {
        let image = *self;
        let below = self.below.iter();
        below.filter(move |manifest| !image.is_there(manifest))
    }

    /// What refers to them and comes.
    fn beside(&self) -> impl Iterator<Item = &'a Beside> + use<'a> {
        let have = self.without;
        let beside = self.beside.iter();
        beside.filter(move |beside| have.is_none_or(|have| !beside.stays(have)))
    }

    /// Whether a manifest is where the archive goes.
    fn is_there(&self, manifest: &Shelved) -> bool {
        let have = self.without;
        have.is_some_and(|have| !have.with_manifest(&manifest.digest).is_empty())
    }

    /// Its blobs, each once in every size that is stated of it, the largest first.
    fn all_blobs(&self) -> Vec<&'a Descriptor> {
        let mut seen = BTreeSet::new();
        let mut blobs: Vec<&Descriptor> = self
            .all_manifests()
            .flat_map(|manifest| &manifest.blobs)
            .filter(|blob| seen.insert((&blob.digest, blob.size)))
            .collect();
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        blobs
    }

    /// Its blobs that come, each once, the largest first.
    #[must_use]
    pub fn blobs(&self) -> Vec<&'a Descriptor> {
        let mut blobs = self.all_blobs();
        if let Some(have) = self.without {
            blobs.retain(|blob| have.with_blob(&blob.digest).is_empty());
        }
        blobs
    }

    /// What stays behind.
    #[must_use]
    pub fn left_out(&self) -> Vec<LeftOut> {
        let Some(have) = self.without else {
            return Vec::new();
        };
        let beside = self.beside.iter().filter(|beside| !beside.is_root());
        let beside = beside.map(|beside| &beside.manifest);
        let manifests = self.below.iter().chain(beside);
        let manifests =
            manifests.filter_map(|manifest| have.manifest(&manifest.digest, manifest.size));
        let blobs = self.all_blobs();
        let blobs = blobs.into_iter().filter_map(|blob| have.blob(blob));
        manifests.chain(blobs).collect()
    }

    fn names(&self) -> Names<'a> {
        Names {
            reference: match self.target {
                Target::Tag(tag) => Some(tag),
                Target::Digest(_) => None,
            },
            repository: self.repository,
        }
    }
}

/// Lists of referrers, each with all that several images add to it.
struct Lists<'a>(BTreeMap<&'a str, Arc<Shelved>>);

impl<'a> Lists<'a> {
    fn of(images: &[Incoming<'a>], shelf: &Shelf) -> Result<Self> {
        let mut lists: BTreeMap<&str, Arc<Shelved>> = BTreeMap::new();
        let entered = images.iter().flat_map(|image| {
            let root = std::iter::once((Some(image.target), image.root));
            let beside = image.beside();
            root.chain(beside.map(|beside| (beside.entry.as_ref(), &beside.manifest)))
        });
        for (entry, list) in entered {
            let Some(tag) = list_named(entry) else {
                continue;
            };
            let merged = match lists.get(tag) {
                Some(known) => {
                    let added = Additions::all_of(&list.read()?);
                    let merged = merge(Some(&known.read()?), &added)?;
                    merged.map(|list| shelf.put(&list)).transpose()?
                }
                None => Some(Arc::clone(list)),
            };
            lists.extend(merged.map(|list| (tag, list)));
        }
        Ok(Self(lists))
    }

    /// What comes as `entry` in the place of `one`.
    fn whole<'m>(&'m self, entry: Option<&Target>, one: &'m Arc<Shelved>) -> &'m Arc<Shelved> {
        let list = list_named(entry).and_then(|tag| self.0.get(tag));
        list.unwrap_or(one)
    }
}

fn list_named(entry: Option<&Target>) -> Option<&str> {
    match entry {
        Some(Target::Tag(tag)) if is_list_tag(tag) => Some(tag),
        _ => None,
    }
}

/// A listing in the making: everything once.
#[derive(Default)]
struct Collected {
    listing: Listing,
    manifests: BTreeSet<Digest>,
    /// A blob of which two sizes are stated is there in both, until the source shows which is wrong.
    blobs: BTreeSet<Stated>,
}

impl Collected {
    fn add_manifest(&mut self, manifest: &Arc<Shelved>) {
        if self.manifests.insert(manifest.digest.clone()) {
            self.listing.manifests.push(Arc::clone(manifest));
        }
    }

    fn add_blob(&mut self, blob: &Descriptor) {
        if !self.manifests.contains(&blob.digest) && self.blobs.insert(blob.stated()) {
            self.listing.blobs.push(blob.clone());
        }
    }
}

impl OciArchive {
    /// What stays behind of what comes.
    #[must_use]
    pub fn without(&self) -> Option<&Inventory> {
        Some(&self.labels.without.as_ref()?.inventory)
    }

    /// Refuses an image that would take the place of another repository's.
    ///
    /// # Errors
    ///
    /// `conflict`, unless the archive's labels allow it.
    pub async fn check_owner(&self, image: &Incoming<'_>) -> Result<()> {
        match self.opened().await? {
            None => Ok(()),
            Some(opened) => {
                let index = &opened.index;
                let image = (image.names(), &image.root.digest);
                index.check_owner(image, self.labels.overwrite, self)
            }
        }
    }

    /// What the archive is to hold when `images` have come.
    ///
    /// # Errors
    ///
    /// When what it holds cannot be read.
    pub async fn listing(&self, images: &[Incoming<'_>], waiting: &Shelf) -> Result<Listing> {
        let opened = self.opened().await?;
        let mut index = opened.map_or_else(IndexFile::empty, |opened| opened.index.clone());
        let mut collected = Collected::default();
        let failed = |why| Error::new(Kind::LocalIo, "write the index of", self).because(why);
        let lists = Lists::of(images, waiting)?;
        for image in images {
            let root = lists.whole(Some(image.target), image.root);
            index.enter(&root.read()?, image.names()).map_err(failed)?;
            collected.add_manifest(root);
            for beside in image.beside() {
                if let Some(names) = beside.names() {
                    let manifest = lists.whole(beside.entry.as_ref(), &beside.manifest);
                    index.enter(&manifest.read()?, names).map_err(failed)?;
                }
            }
            for manifest in image.below() {
                collected.add_manifest(manifest);
            }
            for beside in image.beside() {
                collected.add_manifest(lists.whole(beside.entry.as_ref(), &beside.manifest));
            }
        }
        images
            .iter()
            .flat_map(Incoming::blobs)
            .for_each(|blob| collected.add_blob(blob));
        if opened.is_some() {
            self.collect_held((&index, waiting), &mut collected).await?;
        }
        // They are small, and tell a reader of a pipe which platform an image is for.
        let is_config = |blob: &Descriptor| media_type::is_config(&blob.media_type);
        collected.listing.blobs.sort_by_key(|blob| !is_config(blob));
        let text = index.text().map_err(failed)?;
        fits(("index.json", text.len()), (LONGEST, "archives"), self)?;
        collected.listing.index = text.into();
        if let Some(without) = &self.labels.without {
            let left_out = images.iter().flat_map(|image| {
                let parts = image.left_out().into_iter();
                parts.map(|part| (image.target.to_string(), part))
            });
            let difference = Difference::of(without, left_out);
            // One that leaves nothing out is an archive as any other.
            if !difference.parts.is_empty() {
                let text = difference.text().map_err(failed)?;
                let most = (LONGEST_DIFFERENCE, "archives");
                fits((difference::FILE, text.len()), most, self)?;
                collected.listing.difference = Some(text.into());
            }
        }
        Ok(collected.listing)
    }

    /// Adds what the archive holds of everything that `index` reaches.
    async fn collect_held(
        &self,
        (index, waiting): (&IndexFile, &Shelf),
        collected: &mut Collected,
    ) -> Result<()> {
        let roots = index.entries().map(|entry| entry.descriptor.digest);
        let mut open: VecDeque<Digest> = roots.collect();
        let mut looked_at = BTreeSet::new();
        let come = collected.listing.manifests.iter().cloned();
        let come: HashMap<Digest, Arc<Shelved>> = come
            .map(|manifest| (manifest.digest.clone(), manifest))
            .collect();
        while let Some(digest) = open.pop_front() {
            if !looked_at.insert(digest.clone()) {
                continue;
            }
            let (shelved, manifest) = match come.get(&digest) {
                Some(shelved) => (Arc::clone(shelved), shelved.read()?),
                None => match self.manifest(&Target::Digest(digest)).await? {
                    Some(manifest) => (waiting.put(&manifest)?, manifest),
                    None => continue,
                },
            };
            collected.add_manifest(&shelved);
            open.extend(manifest.entries().iter().map(|entry| entry.digest.clone()));
            for blob in &shelved.blobs {
                if self.has_blob(blob).await? {
                    collected.add_blob(blob);
                }
            }
        }
        Ok(())
    }
}
