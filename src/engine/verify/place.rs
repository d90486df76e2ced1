//! Looking into one place: its manifests and blobs, each asked for once a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::super::memory::{Manifests, Memory, Room};
use super::super::once_map::OnceMap;
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
use crate::options::{Depth, Mode};

/// A place, and what is known of it.
pub(in super::super) struct Place {
    pub(in super::super) endpoint: Endpoint,
    depth: Depth,
    events: Events,
    manifests: Manifests,
    roots: Memory,
    children: Memory,
    attached: OnceMap<Arc<Attached>>,
    /// By what a descriptor states, and whether the blob is read as a config.
    blobs: OnceMap<Held, (Stated, bool)>,
    /// Blobs that are read at once.
    reading: Semaphore,
    /// The sizes of blobs that are right as far as they were looked into.
    found: Mutex<HashMap<Digest, u64>>,
}

/// A blob that is there and, as far as it was read, is what its digest says.
#[derive(Clone)]
struct Held {
    size: u64,
    /// The platform that it names, where it is the config of an image.
    platform: Option<Platform>,
}

/// What is known of an index, and what of it is not there or not what it should be.
pub(in super::super) struct Learnt {
    pub(in super::super) known: Known,
    pub(in super::super) lost: Vec<(Descriptor, Error)>,
}

/// Parts what is wrong with the content of a place from what keeps it from being looked at.
pub(in super::super) fn part<T>(looked: Result<T>) -> Result<std::result::Result<T, Error>> {
    match looked {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_of_content() => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

impl Place {
    pub(in super::super) fn new(
        endpoint: Endpoint,
        depth: Depth,
        (jobs, events): (usize, &Events),
    ) -> Self {
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

    /// How many blobs are right as far as they were looked into, and their bytes.
    pub(super) fn counts(&self) -> (u64, u64) {
        let found = self.found();
        let bytes = found
            .values()
            .fold(0, |sum: u64, size| sum.saturating_add(*size));
        (found.len() as u64, bytes)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `target` as errors name it.
    pub(super) fn name(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("{}:{tag}", self.endpoint),
            Target::Digest(digest) => format!("{}@{digest}", self.endpoint),
        }
    }

    /// The manifest that a tag points at, once there is room for it.
    pub(super) async fn root_in_room(&self, target: &Target) -> Result<(Manifest, Room)> {
        let mut taken = self.roots.largest().await;
        let root = self.root(target).await?;
        taken.shrink(root.bytes.len());
        Ok((root, taken))
    }

    /// The manifest that a tag points at.
    pub(in super::super) async fn root(&self, target: &Target) -> Result<Manifest> {
        let found = self.endpoint.manifest(target).await?;
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, "read manifest", self.name(target))
                .because("it is not there")
        })
    }

    /// The manifest that an index or a list lists, whatever it says of it.
    pub(super) async fn listed(&self, entry: &Descriptor) -> Result<Manifest> {
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

    /// Room for a manifest that an index lists, while it is looked at.
    pub(super) async fn room(&self, entry: &Descriptor) -> Room {
        self.children.of(entry.size).await
    }

    /// The manifest that an entry of an index lists, if it is what the entry states.
    pub(in super::super) async fn child(&self, entry: &Descriptor) -> Result<Manifest> {
        let manifest = self.listed(entry).await?;
        match entry.misstates(&manifest) {
            None => Ok(manifest),
            Some((kind, cause)) => {
                let name = self.name(&Target::Digest(entry.digest.clone()));
                Err(Error::new(kind, "read manifest", name).because(cause))
            }
        }
    }

    /// What refers to `subject` here.
    pub(super) async fn attached(&self, subject: &Digest, types: &Types) -> Result<Arc<Attached>> {
        let find = Box::pin(async { self.endpoint.attached(subject, types).await.map(Arc::new) });
        Ok(self.attached.run(subject, find).await?.into_inner())
    }

    /// Looks at a blob. The config of an image is read, since it is small and names the platform.
    pub(super) async fn blob(&self, blob: &Descriptor) -> Result<Option<Platform>> {
        let looked = async {
            let held = self.look(blob).await?;
            if held.size == blob.size {
                self.found().insert(blob.digest.clone(), held.size);
            }
            Ok(held)
        };
        let key = (blob.stated(), is_read(blob));
        let held = self.blobs.run(&key, looked).await?;
        let Held { size, platform } = held.into_inner();
        if size == blob.size {
            return Ok(platform);
        }
        let cause = format!("its manifest says {} bytes, {size} are there", blob.size);
        Err(self.blob_error(Kind::DigestMismatch, blob).because(cause))
    }

    async fn look(&self, blob: &Descriptor) -> Result<Held> {
        if is_read(blob) {
            let bytes = transfer::whole(&self.endpoint, blob, MAX_MANIFEST_BYTES as u64).await?;
            return Ok(Held {
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
        Ok(Held {
            size,
            platform: None,
        })
    }

    fn blob_error(&self, kind: Kind, blob: &Descriptor) -> Error {
        let name = self.name(&Target::Digest(blob.digest.clone()));
        Error::new(kind, "read blob", name)
    }

    /// Reads what the filter has to know of an index, as far as it is there.
    pub(in super::super) async fn learn(&self, root: &Manifest, mode: Mode) -> Result<Learnt> {
        let (mut known, mut lost) = (Known::default(), Vec::new());
        loop {
            let mut needs = filter::needs(root, &known)?;
            if mode == Mode::All {
                needs.retain(|need| matches!(need, Need::Index(_)));
            }
            if needs.is_empty() {
                return Ok(Learnt { known, lost });
            }
            let read = needs
                .iter()
                .map(async |need| part(late(|| self.read(need)).await));
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

    /// The platform that the config of an image names.
    pub(in super::super) async fn platform(&self, image: &Manifest) -> Result<Option<Platform>> {
        match &*image.content {
            Content::Image { config, .. } if media_type::is_config(&config.media_type) => {
                self.blob(config).await
            }
            Content::Image { .. } | Content::Index { .. } => Ok(None),
        }
    }
}

/// Whether a blob is read for the platform that it names: it is the config of an image.
fn is_read(blob: &Descriptor) -> bool {
    media_type::is_config(&blob.media_type) && blob.size <= MAX_MANIFEST_BYTES as u64
}

/// What was read of an entry.
#[derive(Default)]
struct Read {
    index: Option<Manifest>,
    platform: Option<Platform>,
}

/// Stands for a nested index that is not there: nothing is known to be in it.
fn empty_index() -> Result<Manifest> {
    Manifest::parse(r#"{"schemaVersion":2,"manifests":[]}"#.into(), None)
}
