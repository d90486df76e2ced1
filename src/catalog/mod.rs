//! Reading one endpoint: its manifests, blobs and referrers, each requested once a run.
//!
//! A catalog tells missing and damaged content apart from failures to look. It writes nothing, and leaves to
//! its callers which content matters.

pub(crate) mod memory;
pub(crate) mod walk;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use self::memory::{Manifests, Memory, Room};
use crate::bounded::{late, try_all};
use crate::endpoint::{Attached, Endpoint, Target, transfer};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::image::digest::Digest;
use crate::image::filter::{self, Known, Need};
use crate::image::manifest::{Content, Descriptor, MAX_MANIFEST_BYTES, Manifest, Stated};
use crate::image::media_type;
use crate::image::platform::Platform;
use crate::image::referrers::Types;
use crate::once_map::OnceMap;
use crate::options::{Depth, Mode};

/// A memoised reader of one endpoint.
pub(crate) struct Catalog {
    pub(crate) endpoint: Endpoint,
    depth: Depth,
    events: Events,
    manifests: Manifests,
    roots: Memory,
    children: Memory,
    attached: OnceMap<Arc<Attached>>,
    /// Keyed by what the descriptor states and whether the blob is read as a config.
    blobs: OnceMap<CheckedBlob, (Stated, bool)>,
    /// Limits how many blobs are read in full at once.
    reading: Semaphore,
    /// Sizes of the blobs that passed their check.
    found: Mutex<HashMap<Digest, u64>>,
}

/// A blob that is present and, if it was read, matches its digest.
#[derive(Clone)]
struct CheckedBlob {
    size: u64,
    /// The platform it names, if it is an image config.
    platform: Option<Platform>,
}

/// What the filter needs to know about an index, and the entries that are missing or damaged.
pub(crate) struct IndexSurvey {
    pub(crate) known: Known,
    pub(crate) lost: Vec<(Descriptor, Error)>,
}

/// What a walk down from a manifest found.
pub(crate) struct Below {
    pub(crate) found: Vec<Manifest>,
    pub(crate) lost: Vec<(Descriptor, Error)>,
}

/// Separates missing or damaged content (the inner error) from a failure to look (the outer one).
pub(crate) fn content_error<T>(looked: Result<T>) -> Result<std::result::Result<T, Error>> {
    match looked {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_of_content() => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

impl Catalog {
    pub(crate) fn new(endpoint: Endpoint, depth: Depth, (jobs, events): (usize, &Events)) -> Self {
        Self {
            endpoint,
            depth,
            events: events.clone(),
            manifests: Manifests::default(),
            roots: Memory::of_roots(),
            children: Memory::of_children(),
            attached: OnceMap::default(),
            blobs: OnceMap::default(),
            reading: Semaphore::new(jobs),
            found: Mutex::default(),
        }
    }

    /// The number of blobs that passed their check, and their total size in bytes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let found = self.found();
        let bytes = found
            .values()
            .fold(0, |sum: u64, size| sum.saturating_add(*size));
        (found.len() as u64, bytes)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The full name of `target` for error messages.
    pub(crate) fn name(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("{}:{tag}", self.endpoint),
            Target::Digest(digest) => format!("{}@{digest}", self.endpoint),
        }
    }

    /// Reads the manifest at `target` once there is memory for it.
    pub(crate) async fn root_in_room(&self, target: &Target) -> Result<(Manifest, Room)> {
        let mut taken = self.roots.largest().await;
        let root = self.root(target).await?;
        taken.shrink(root.bytes.len());
        Ok((root, taken))
    }

    /// Reads the manifest at `target`. Not memoised: a tag can move.
    pub(crate) async fn root(&self, target: &Target) -> Result<Manifest> {
        let found = self.endpoint.manifest(target).await?;
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, "read manifest", self.name(target))
                .because("it is not there")
        })
    }

    /// Reads the manifest with the digest of `entry`, even if the entry misstates its size or type.
    pub(crate) async fn listed(&self, entry: &Descriptor) -> Result<Manifest> {
        let target = Target::Digest(entry.digest.clone());
        let read = self.manifests.read(&entry.digest, async {
            let found = self.endpoint.manifest(&target).await?;
            found.ok_or_else(|| {
                Error::new(Kind::NotFound, "read manifest", self.name(&target))
                    .because("it is listed, but it is not there")
            })
        });
        read.await
    }

    /// Everything below `root`: the manifests that are present, and the entries that are missing or damaged,
    /// each once.
    pub(crate) async fn below(&self, root: &Manifest) -> Result<Below> {
        let lost = Mutex::new(BTreeMap::new());
        let found = walk::below(root, |entry| {
            let lost = &lost;
            Box::pin(async move {
                match content_error(self.child(&entry).await)? {
                    Ok(child) => Ok(Some(child)),
                    Err(error) => {
                        let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
                        lost.entry(entry.digest.clone()).or_insert((entry, error));
                        Ok(None)
                    }
                }
            })
        });
        let found = found.await?;
        let lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Below {
            found,
            lost: lost.into_values().collect(),
        })
    }

    /// Reserves memory for the manifest of `entry`.
    pub(crate) async fn room(&self, entry: &Descriptor) -> Room {
        self.children.of(entry.size).await
    }

    /// Reads the manifest of `entry`; an entry that misstates its size or type is an error.
    pub(crate) async fn child(&self, entry: &Descriptor) -> Result<Manifest> {
        let manifest = self.listed(entry).await?;
        match entry.misstates(&manifest) {
            None => Ok(manifest),
            Some((kind, cause)) => {
                let name = self.name(&Target::Digest(entry.digest.clone()));
                Err(Error::new(kind, "read manifest", name).because(cause))
            }
        }
    }

    /// Lists the referrers of `subject`.
    pub(crate) async fn attached(&self, subject: &Digest, types: &Types) -> Result<Arc<Attached>> {
        let find = Box::pin(async { self.endpoint.attached(subject, types).await.map(Arc::new) });
        Ok(self.attached.run(subject, find).await?.into_inner())
    }

    /// Checks a blob to the catalog's depth. An image config is always read, since it names the platform.
    pub(crate) async fn blob(&self, blob: &Descriptor) -> Result<Option<Platform>> {
        let looked = async {
            let held = self.look(blob).await?;
            if held.size == blob.size {
                self.found().insert(blob.digest.clone(), held.size);
            }
            Ok(held)
        };
        let key = (blob.stated(), is_read(blob));
        let held = self.blobs.run(&key, looked).await?;
        let CheckedBlob { size, platform } = held.into_inner();
        if size == blob.size {
            return Ok(platform);
        }
        let cause = format!("its manifest says {} bytes, {size} are there", blob.size);
        Err(self.blob_error(Kind::DigestMismatch, blob).because(cause))
    }

    async fn look(&self, blob: &Descriptor) -> Result<CheckedBlob> {
        if is_read(blob) {
            let bytes = transfer::whole(&self.endpoint, blob, MAX_MANIFEST_BYTES as u64).await?;
            return Ok(CheckedBlob {
                size: blob.size,
                platform: Platform::from_config(&bytes)?,
            });
        }
        let size = match self.depth {
            Depth::Presence => {
                let size = self.endpoint.blob_size(blob).await?;
                size.ok_or_else(|| {
                    self.blob_error(Kind::NotFound, blob)
                        .because("its manifest lists it, but it is not there")
                })?
            }
            Depth::Content => {
                let turn = self.reading.acquire().await;
                let _turn = turn
                    .map_err(|closed| self.blob_error(Kind::Interrupted, blob).because(closed))?;
                transfer::read_through(&self.endpoint, blob, &self.events).await?;
                blob.size
            }
        };
        Ok(CheckedBlob {
            size,
            platform: None,
        })
    }

    fn blob_error(&self, kind: Kind, blob: &Descriptor) -> Error {
        let name = self.name(&Target::Digest(blob.digest.clone()));
        Error::new(kind, "read blob", name)
    }

    /// Reads what the filter needs to know about an index, as far as it is present.
    pub(crate) async fn survey(&self, root: &Manifest, mode: Mode) -> Result<IndexSurvey> {
        let (mut known, mut lost) = (Known::default(), Vec::new());
        loop {
            let mut needs = filter::needs(root, &known)?;
            if mode == Mode::All {
                needs.retain(|need| matches!(need, Need::Index(_)));
            }
            if needs.is_empty() {
                return Ok(IndexSurvey { known, lost });
            }
            let read = needs
                .iter()
                .map(async |need| content_error(late(|| self.read(need)).await));
            for (need, read) in needs.iter().zip(try_all(read).await?) {
                let (Need::Index(entry) | Need::Platform(entry)) = need;
                let read = read.unwrap_or_else(|error| {
                    lost.push((entry.clone(), error));
                    Read::default()
                });
                match need {
                    Need::Index(_) => {
                        let index = read.index.map_or_else(empty_index, Ok)?;
                        known.manifests.insert(entry.digest.clone(), index);
                    }
                    Need::Platform(_) => {
                        known.platforms.insert(entry.digest.clone(), read.platform);
                    }
                }
            }
        }
    }

    async fn read(&self, need: &Need) -> Result<Read> {
        match need {
            Need::Index(entry) => Ok(Read {
                index: Some(self.child(entry).await?),
                platform: None,
            }),
            Need::Platform(entry) => {
                let image = self.child(entry).await?;
                Ok(Read {
                    index: None,
                    platform: self.platform(&image).await?,
                })
            }
        }
    }

    /// Reads the platform that an image's config names.
    pub(crate) async fn platform(&self, image: &Manifest) -> Result<Option<Platform>> {
        match &*image.content {
            Content::Image { config, .. } if media_type::is_config(&config.media_type) => {
                self.blob(config).await
            }
            Content::Image { .. } | Content::Index { .. } => Ok(None),
        }
    }
}

/// Whether a blob is an image config, which is read in full.
fn is_read(blob: &Descriptor) -> bool {
    media_type::is_config(&blob.media_type) && blob.size <= MAX_MANIFEST_BYTES as u64
}

/// The result of one of the filter's needs.
#[derive(Default)]
struct Read {
    index: Option<Manifest>,
    platform: Option<Platform>,
}

/// Stands in for a nested index that could not be read.
fn empty_index() -> Result<Manifest> {
    Manifest::parse(r#"{"schemaVersion":2,"manifests":[]}"#.into(), None)
}
