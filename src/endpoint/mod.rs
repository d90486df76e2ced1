//! Where images are: a repository in a registry, or an OCI layout. One enum, one set of verbs.
//!
//! `None` means that something is not there; `Err`, that it could not be found out.

pub mod archive;
pub mod backoff;
mod blob_fallback;
mod entry;
mod hash_checkpoint;
pub(crate) mod hints;
pub mod layout;
pub(crate) mod pace;
pub mod permits;
mod referrers;
pub mod registry;
pub mod standard;
#[cfg(test)]
mod stepwise;
pub(crate) mod transfer;

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use self::archive::docker::DockerArchive;
use self::archive::{OciArchive, TarStream, UseOfPipes};
use self::backoff::Backoff;
pub use self::blob_fallback::BlobFallback;
pub use self::entry::{Labels, OnlyImage, Overwrite};
use self::layout::Layout;
use self::permits::{Permit, Permits, Rank};
use self::referrers::Had;
pub use self::referrers::{Attached, Listed, Listing, Lost, Naming};
use self::registry::{RegistryOptions, Repository};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::image::digest::Digest;
use crate::image::manifest::{self, Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::options::Depth;
use crate::reference::Reference;

/// The bytes of a blob as they come.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Which manifest of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What the tag, or REF, points at.
    Tag(String),
    /// The one with this digest.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// What is known of a manifest without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub media_type: String,
    pub digest: Digest,
}

impl From<Manifest> for Head {
    fn from(manifest: Manifest) -> Self {
        Self {
            media_type: manifest.media_type,
            digest: manifest.digest,
        }
    }
}

/// How a blob came to be at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Existing,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Copied,
}

/// From where a blob may come.
#[derive(Clone, Copy, Debug)]
pub struct Supply<'a> {
    /// Where its bytes can be read.
    pub source: &'a Endpoint,
    /// Repositories of the destination's registry that have it.
    pub mountable: &'a [String],
    /// Which blob comes first.
    pub rank: Rank,
    /// How many blobs may move at once.
    pub moving: &'a Permits,
    /// How many may be asked for, so that the next are ready when others have moved.
    pub ahead: &'a Permits,
    /// What the question whether it is there is for.
    pub asking: Asking,
    /// How far what is there is looked into before it is believed.
    pub depth: Depth,
}

/// What the question whether a blob is there is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Something will be written: the question may come with the right to write.
    ToWrite,
    /// Most likely nothing will: reading never asks for that right.
    ToRead,
}

impl Supply<'_> {
    /// Waits until this blob may move.
    pub(crate) async fn turn_to_move(&self) -> Permit {
        self.moving.take(self.rank).await
    }

    /// Waits until this blob may be asked for. Whoever moves a blob waits for nobody here.
    pub(crate) async fn turn_to_ask(&self) -> Permit {
        self.ahead.take(self.rank).await
    }
}

/// What a kind of place does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// A manifest is taken only when its blobs and, but for sparse indexes, its children are there.
    pub checks_content: bool,
}

/// A place that holds images.
#[derive(Clone, Debug)]
pub enum Endpoint {
    Registry(Arc<Repository>),
    /// An OCI image layout.
    Layout(Arc<Layout>),
    /// A layout in one tar file.
    OciArchive(Arc<OciArchive>),
    /// What `docker save` writes.
    DockerArchive(Arc<DockerArchive>),
}

impl Endpoint {
    /// The place that `reference` names; nothing is contacted, read or written.
    ///
    /// # Errors
    ///
    /// `local-io` when a configuration of registries cannot be understood.
    pub fn new(reference: &Reference, options: RegistryOptions) -> Result<Self> {
        let (blame, side, backoff) = (options.blame, options.side, options.backoff.clone());
        Ok(match reference {
            Reference::Registry(registry) => {
                let repository = Repository::new(registry, options);
                Self::Registry(Arc::new(repository.map_err(|error| error.at(blame))?))
            }
            Reference::Layout(file) => {
                let mut layout = Layout::new(file.path.clone(), backoff);
                layout.blame = blame;
                Self::Layout(Arc::new(layout))
            }
            Reference::OciArchive(file) => {
                let mut archive = OciArchive::new(file.path.clone(), side, backoff);
                archive.blame = blame;
                Self::OciArchive(Arc::new(archive))
            }
            Reference::DockerArchive(file) => {
                let mut archive = DockerArchive::new(file.path.clone(), side, backoff);
                archive.blame = blame;
                Self::DockerArchive(Arc::new(archive))
            }
        })
    }

    /// The side that errors are of here; `None` in a command with one reference.
    pub(crate) fn blame(&self) -> Option<Side> {
        match self {
            Self::Registry(repository) => repository.blame,
            Self::Layout(layout) => layout.blame,
            Self::OciArchive(archive) => archive.blame,
            Self::DockerArchive(archive) => archive.blame,
        }
    }

    /// `result`, whose error is one of this side unless it has a side.
    fn blamed<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.at(self.blame()))
    }

    /// The same place, whose entries are labelled so where it has any.
    #[must_use]
    pub fn labelled(mut self, labels: Labels) -> Self {
        match &mut self {
            Self::Registry(_) => {}
            Self::Layout(layout) => Arc::make_mut(layout).labels = labels,
            Self::OciArchive(archive) => Arc::make_mut(archive).labels = labels,
            Self::DockerArchive(archive) => Arc::make_mut(archive).labels = labels,
        }
        self
    }

    /// The repository that the image behind `target` is of, where that is known.
    ///
    /// # Errors
    ///
    /// When the place cannot be read.
    pub async fn repository(&self, target: &Target) -> Result<Option<String>> {
        self.blamed(match self {
            Self::Registry(repository) => Ok(Some(repository.to_string())),
            Self::Layout(layout) => layout.repository(target),
            Self::OciArchive(archive) => archive.repository(target).await,
            Self::DockerArchive(archive) => archive.repository(target).await,
        })
    }

    /// Makes sure that the place can be talked to at all: a failure here is no single tag's.
    ///
    /// # Errors
    ///
    /// When the registry does not answer, or the directory is no layout.
    pub async fn contact(&self, side: Side) -> Result<()> {
        self.blamed(match (self, side) {
            (Self::Registry(repository), _) => repository.takes_sparse().await.map(|_| ()),
            (Self::Layout(layout), Side::Source) => layout.tags().map(|_| ()),
            (Self::Layout(layout), Side::Destination) => layout.check_writable(),
            (Self::OciArchive(archive), Side::Source) => archive.tags().await.map(|_| ()),
            (Self::DockerArchive(archive), Side::Source) => archive.tags().await.map(|_| ()),
            (Self::DockerArchive(archive), Side::Destination) => archive.check_writable(),
            (Self::OciArchive(archive), Side::Destination) => archive.check_writable().await,
        })
    }

    /// Removes what earlier runs that were killed have left of files that they wrote here. An archive does so when
    /// it is written.
    pub fn sweep(&self) {
        if let Self::Layout(layout) = self {
            layout.sweep();
        }
    }

    /// What the place does by itself.
    #[must_use]
    pub fn caps(&self) -> Caps {
        Caps {
            checks_content: !self.is_local(),
        }
    }

    /// The same place; an archive that comes through a pipe is used before its end, if its order allows it.
    #[must_use]
    pub fn streamed(mut self) -> Self {
        if let Self::OciArchive(archive) = &mut self {
            Arc::make_mut(archive).use_of_pipes = UseOfPipes::Streamed;
        }
        self
    }

    /// The blobs that are still to come, of an archive that is used before its end.
    pub(crate) fn stream(&self) -> Option<&TarStream> {
        match self {
            Self::OciArchive(archive) => archive.stream(),
            Self::Registry(_) | Self::Layout(_) | Self::DockerArchive(_) => None,
        }
    }

    /// Whether a blob can only come through [the stream](Self::stream).
    pub(crate) fn streams(&self, blob: &Descriptor) -> bool {
        match self {
            Self::OciArchive(archive) => blob.data.is_none() && archive.streams(&blob.digest),
            Self::Registry(_) | Self::Layout(_) | Self::DockerArchive(_) => false,
        }
    }

    /// Every tag, sorted by bytes.
    ///
    /// # Errors
    ///
    /// When the place is not there or cannot be read.
    pub async fn tags(&self) -> Result<Vec<String>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.tags().await,
            Self::Layout(layout) => layout.tags(),
            Self::OciArchive(archive) => archive.tags().await,
            Self::DockerArchive(archive) => archive.tags().await,
        })
    }

    /// What `target` points at, without reading it.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn head(&self, target: &Target) -> Result<Option<Head>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.head(target).await,
            Self::Layout(layout) => layout.head(target),
            Self::OciArchive(archive) => archive.head(target).await,
            Self::DockerArchive(archive) => archive.head(target).await,
        })
    }

    /// The manifest that `target` names, its bytes checked.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or its bytes are not what its digest says.
    pub async fn manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.manifest(target).await,
            Self::Layout(layout) => layout.manifest(target),
            Self::OciArchive(archive) => archive.manifest(target).await,
            Self::DockerArchive(archive) => archive.manifest(target).await,
        })
    }

    /// Whether the blob is there, in its right size.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blob_size(blob).await? == Some(blob.size))
    }

    /// Whether a blob need not be brought here again: a registry has checked its bytes, those of a layout are
    /// looked into as far as `depth` says.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn holds_blob(&self, blob: &Descriptor, depth: Depth) -> Result<bool> {
        self.blamed(match self {
            Self::Layout(layout) => layout.holds_blob(blob, depth).await,
            Self::Registry(_) | Self::OciArchive(_) | Self::DockerArchive(_) => {
                self.has_blob(blob).await
            }
        })
    }

    /// The size of `blob` as it is stored, in bytes; `None` where it is not there.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn blob_size(&self, blob: &Descriptor) -> Result<Option<u64>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.blob_size(blob).await,
            Self::Layout(layout) => layout.blob_size(blob),
            Self::OciArchive(archive) => archive.blob_size(blob).await,
            Self::DockerArchive(archive) => archive.blob_size(blob).await,
        })
    }

    /// Fails a descriptor that states another size than the place has of its blob: `size`.
    pub(crate) fn check_size(&self, blob: &Descriptor, size: u64) -> Result<()> {
        if size == blob.size {
            return Ok(());
        }
        let name = format!("{self}@{}", blob.digest);
        let cause = format!("its manifest says {} bytes, {size} are there", blob.size);
        self.blamed(Err(
            Error::new(Kind::DigestMismatch, "read blob", name).because(cause)
        ))
    }

    /// The bytes of `blob` from `offset` on; one try, unchecked.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream> {
        let opened = match self {
            Self::Registry(repository) => repository.open_blob(blob, offset).await,
            Self::Layout(layout) => layout.open_blob(blob, offset).await,
            Self::OciArchive(archive) => archive.open_blob(blob, offset).await,
            Self::DockerArchive(archive) => archive.open_blob(blob, offset).await,
        };
        let blame = self.blame();
        let stream = match (self.blamed(opened), &blob.data) {
            (Err(error), Some(data)) if error.is_of_content() => {
                tracing::info!(%error, "a blob comes from its descriptor");
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(data.len());
                return Ok(stream::iter([Ok(data.slice(from..))]).boxed());
            }
            (opened, _) => opened.map_err(hints::lost_blob)?,
        };
        Ok(Box::pin(stream.map_err(move |error| error.at(blame))))
    }

    /// The whole of a small blob, checked.
    ///
    /// # Errors
    ///
    /// When it is larger than a manifest may be, not there, or not what its digest says.
    pub async fn small_blob(&self, blob: &Descriptor) -> Result<Bytes> {
        let bytes = transfer::whole(self, blob, MAX_MANIFEST_BYTES as u64).await?;
        self.keep(blob, &bytes);
        Ok(bytes)
    }

    /// Reads a small blob before it is asked for, where reading takes time.
    pub(crate) async fn read_ahead(&self, blob: &Descriptor) -> Result<()> {
        match self {
            Self::Registry(_) => self.small_blob(blob).await.map(|_| ()),
            Self::Layout(_) | Self::OciArchive(_) | Self::DockerArchive(_) => Ok(()),
        }
    }

    /// Keeps the bytes of a small blob that was read, until they are asked for again.
    pub(crate) fn keep(&self, blob: &Descriptor, bytes: &Bytes) {
        if let Self::Registry(repository) = self {
            repository.keep(&blob.digest, bytes);
        }
    }

    /// Brings `blob` here, unless it is here: by a mount, else from the source.
    ///
    /// # Errors
    ///
    /// When either side fails too often, or the bytes are wrong. Nothing is stored then.
    pub async fn ensure_blob(&self, blob: &Descriptor, supply: Supply<'_>) -> Result<Arrival> {
        self.blamed(match self {
            Self::Registry(repository) => repository.ensure_blob(blob, supply).await,
            Self::Layout(layout) => layout.ensure_blob(blob, supply).await,
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        })
    }

    /// Sends `blob` here, also where it is said to be here.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::ensure_blob`].
    pub(crate) async fn send_blob(&self, blob: &Descriptor, supply: Supply<'_>) -> Result<()> {
        self.blamed(match self {
            Self::Registry(repository) => repository.send_again(blob, supply).await,
            Self::Layout(layout) => layout.ensure_blob(blob, supply).await.map(|_| ()),
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        })
    }

    /// Stores `manifest` by its digest, byte for byte.
    ///
    /// # Errors
    ///
    /// When the place refuses it or cannot be written.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.blamed(match self {
            Self::Registry(repository) => {
                repository
                    .put_manifest(manifest, &Target::Digest(manifest.digest.clone()))
                    .await
            }
            Self::Layout(layout) => layout.put_manifest(manifest).await,
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        })
    }

    /// Stores `manifest` and makes `target` point at it: what readers see changes here.
    ///
    /// # Errors
    ///
    /// When the place refuses it or cannot be written.
    pub async fn publish(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.publish_after(manifest, target, || {}).await
    }

    /// [`Endpoint::publish`], with `ready` called when only the write itself is left, which may be carried out even
    /// if this is dropped.
    pub(crate) async fn publish_after(
        &self,
        manifest: &Manifest,
        target: &Target,
        ready: impl FnOnce(),
    ) -> Result<()> {
        self.blamed(match self {
            Self::Registry(repository) => {
                ready();
                repository.put_manifest(manifest, target).await
            }
            Self::Layout(layout) => layout.publish(manifest, target, ready).await,
            Self::OciArchive(_) | Self::DockerArchive(_) => Err(archive::written_whole(self)),
        })
    }

    /// Makes sure that `target` is `manifest`, which was published: a registry may accept what it does not store.
    ///
    /// # Errors
    ///
    /// `conflict` when it is not; others when that could not be found out.
    pub async fn confirm(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.blamed(match self {
            Self::Registry(repository) => repository.confirm(manifest, target).await,
            Self::Layout(_) | Self::OciArchive(_) | Self::DockerArchive(_) => Ok(()),
        })
    }

    /// Whether it is made of files of this machine, so that asking and reading cost little.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Registry(_) => false,
            Self::Layout(_) | Self::OciArchive(_) | Self::DockerArchive(_) => true,
        }
    }

    /// Whether an index may lack children here: what the place says of itself.
    ///
    /// # Errors
    ///
    /// When it cannot be contacted.
    pub async fn takes_sparse(&self) -> Result<Option<bool>> {
        self.blamed(match self {
            Self::Registry(repository) => repository.takes_sparse().await,
            Self::Layout(_) | Self::OciArchive(_) | Self::DockerArchive(_) => Ok(Some(true)),
        })
    }

    /// Remembers that a sparse index was refused here.
    pub fn note_sparse_refused(&self) {
        if let Self::Registry(repository) = self {
            repository.note_sparse_refused();
        }
    }

    pub(crate) fn backoff(&self) -> &Backoff {
        match self {
            Self::Registry(repository) => &repository.backoff,
            Self::Layout(layout) => &layout.backoff,
            Self::OciArchive(archive) => &archive.backoff,
            Self::DockerArchive(archive) => &archive.backoff,
        }
    }

    /// How long a read may go without a byte.
    pub(crate) fn stall(&self) -> Duration {
        match self {
            Self::Registry(repository) => repository.stall,
            Self::Layout(_) | Self::OciArchive(_) | Self::DockerArchive(_) => {
                Duration::from_hours(1)
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(repository) => write!(f, "{repository}"),
            Self::Layout(layout) => write!(f, "{layout}"),
            Self::OciArchive(archive) => write!(f, "{archive}"),
            Self::DockerArchive(archive) => write!(f, "{archive}"),
        }
    }
}

/// The bytes of a manifest, and what the other side said of them.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl Received {
    /// The manifest that `target` names; its digest has to be the one asked for and the one said.
    pub(crate) fn check(self, target: &Target, name: &str) -> Result<Manifest> {
        let asked = match target {
            Target::Tag(_) => None,
            Target::Digest(digest) => Some(digest.clone()),
        };
        for expected in asked.iter().chain(&self.digest) {
            if !expected.matches(&self.bytes) {
                if manifest::is_schema1(&self.bytes, self.content_type.as_deref()) {
                    let error = Error::new(Kind::Unsupported, "read manifest", name);
                    return Err(error.because(manifest::SCHEMA1));
                }
                let came = Digest::of(&self.bytes);
                let cause =
                    format!("expected {expected}, but the bytes that came have the digest {came}");
                return Err(Error::new(Kind::DigestMismatch, "read manifest", name).because(cause));
            }
        }
        let mut manifest =
            Manifest::parse(self.bytes, self.content_type.as_deref()).map_err(|error| {
                Error::new(error.kind(), "read manifest", name).because(error.cause())
            })?;
        if let Some(digest) = asked.or(self.digest) {
            manifest.digest = digest;
        }
        Ok(manifest)
    }
}

/// Refuses a path in a directory that is not there: it may be of a disk that is not mounted, and what is written to
/// its place would fill another one.
fn check_directory(path: &Path, place: &dyn fmt::Display) -> Result<()> {
    let failed = |why| Error::new(Kind::LocalIo, "write", place).because(why);
    let target = disk::follow(path).map_err(|why| failed(why.to_string()))?;
    let directory = disk::parent(&target);
    if directory.is_dir() {
        return Ok(());
    }
    let cause = format!("there is no directory {}", directory.display());
    Err(failed(cause).hint("make it first, or mount the disk that it is on"))
}
