//! An OCI image layout (image-spec, `image-layout.md`): a directory with `oci-layout`, `index.json`
//! and `blobs/`. Content arrives under a temporary name; `index.json` changes by one rename.

pub(super) mod attached;
mod cosign;
pub(super) mod index_file;
pub(super) mod stored;

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

pub use self::attached::Arrivals;
use self::attached::Lists;
use self::index_file::IndexFile;
use self::stored::Stored;
use super::backoff::Backoff;
use super::transfer::{self, Start, Watch};
use super::{
    Arrival, BlobStream, Endpoint, Head, Labels, OnlyImage, Supply, Target, check_directory,
};
use crate::disk::{self, Access};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::inventory::difference;
use crate::options::Depth;

/// How much is read from a file at once.
const READ_SIZE: usize = 256 << 10;

/// A layout directory; made when something is first written to it.
#[derive(Clone, Debug)]
pub struct Layout {
    path: PathBuf,
    pub(super) blame: Option<Side>,
    pub(crate) labels: Labels,
    pub(crate) backoff: Backoff,
    /// What refers to what, as it was when it was first asked for.
    lists: OnceLock<Arc<Lists>>,
    /// Whose turn it is to change `index.json` in this process.
    turn: Arc<Mutex<()>>,
    /// Whether it was told that another process is at it.
    waited: Arc<OnceLock<()>>,
}

impl Layout {
    /// The layout at `path`; nothing is read or written.
    #[must_use]
    pub fn new(path: PathBuf, backoff: Backoff) -> Self {
        Self {
            blame: None,
            path,
            labels: Labels::default(),
            backoff,
            lists: OnceLock::new(),
            turn: Arc::default(),
            waited: Arc::default(),
        }
    }

    /// Removes what runs that were killed have left.
    pub fn sweep(&self) {
        disk::sweep(&self.path);
        let algorithms = std::fs::read_dir(self.path.join("blobs"));
        for algorithm in algorithms.into_iter().flatten().flatten() {
            disk::sweep(&algorithm.path());
        }
    }

    /// Every REF, sorted by bytes.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no layout, `invalid-manifest` or `local-io` when it cannot be read.
    pub fn tags(&self) -> Result<Vec<String>> {
        self.refuse_difference()?;
        let index = self.index()?.ok_or_else(|| self.missing())?;
        Ok(index.names())
    }

    /// Whether the layout can be written: it is a directory, or can become one in a directory that is there.
    ///
    /// # Errors
    ///
    /// `local-io` when it cannot, or `index.json` cannot be understood.
    pub fn check_writable(&self) -> Result<()> {
        let failed = |cause: String| self.error(Kind::LocalIo, "write").because(cause);
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let cause = format!("{} is a file, not a directory", self.path.display());
                return Err(failed(cause));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                check_directory(&self.path, self)?;
            }
            Err(error) => return Err(failed(error.to_string())),
        }
        self.refuse_difference()?;
        self.index().map(|_| ())
    }

    /// Refuses what somebody unpacked: only as an archive is it completed by the place that it goes to.
    fn refuse_difference(&self) -> Result<()> {
        let record = self.path.join(difference::FILE);
        if !record.exists() {
            return Ok(());
        }
        let cause = format!(
            "it is an unpacked archive that leaves parts of its images out ({})",
            record.display()
        );
        let path = self.path.display();
        Err(self
            .error(Kind::Unsupported, "use")
            .because(cause)
            .hint(format!(
                "take the archive itself, oci-archive:FILE; where it is lost, `tar -cf FILE -C {path} .` makes it again"
            )))
    }

    /// The images of the layout.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no layout.
    pub fn images(&self) -> Result<Vec<OnlyImage>> {
        let index = self.index()?.ok_or_else(|| self.missing())?;
        index.images(|digest| Ok(self.refers(digest)?.is_some()))
    }

    /// The name of the image that has this name, or else is the only one with this tag.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no layout, or several images have it.
    pub fn tagged(&self, tag: &str) -> Result<Option<String>> {
        let index = self.index()?.ok_or_else(|| self.missing())?;
        index.tagged(tag, self)
    }

    /// What `target` points at; `None` also when its manifest is not there.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read.
    pub fn head(&self, target: &Target) -> Result<Option<Head>> {
        let manifest = self.manifest(target)?;
        Ok(manifest.map(Head::from))
    }

    /// The manifest that `target` names, checked.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what its digest says.
    pub fn manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        let Some(stored) = Stored::named(target, self.index()?.as_ref(), self)? else {
            return Ok(None);
        };
        let path = self.blob_path(&stored.digest);
        match disk::read(&path, MAX_MANIFEST_BYTES as u64) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => stored.manifest(read.map(Bytes::from)).map(Some),
        }
    }

    /// Whether the blob is there, in its right size.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blob_size(blob)? == Some(blob.size))
    }

    /// Whether the blob is there, as far as `depth` says: in its right size, or with its right bytes.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn holds_blob(&self, blob: &Descriptor, depth: Depth) -> Result<bool> {
        if !self.has_blob(blob)? {
            return Ok(false);
        }
        if depth == Depth::Presence {
            return Ok(true);
        }
        let layout = Endpoint::Layout(Arc::new(self.clone()));
        match transfer::read_through(&layout, blob, &Events::ignored()).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::DigestMismatch => {
                tracing::info!(%error, "a blob is damaged");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The size of `blob` as it is stored, in bytes, if it is there.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read.
    pub fn blob_size(&self, blob: &Descriptor) -> Result<Option<u64>> {
        match std::fs::metadata(self.blob_path(&blob.digest)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.blob_error("look for blob", &blob.digest, &error)),
        }
    }

    /// The bytes of `blob` from `offset` on.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn open_blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream> {
        let digest = blob.digest.clone();
        let failed = |error: &std::io::Error| self.blob_error("read blob", &digest, error);
        let file = disk::open(&self.blob_path(&digest)).map_err(|error| failed(&error))?;
        let mut file = tokio::fs::File::from_std(file);
        file.seek(std::io::SeekFrom::Start(offset))
            .await
            .map_err(|error| failed(&error))?;
        let name = format!("{self}@{digest}");
        let chunks = tokio_util::io::ReaderStream::with_capacity(file, READ_SIZE);
        let named = chunks.map(move |chunk| {
            chunk.map_err(|error| Error::new(Kind::LocalIo, "read blob", &name).because(error))
        });
        Ok(named.boxed())
    }

    /// Brings `blob` here, unless it is here.
    ///
    /// # Errors
    ///
    /// When the source fails, or the file cannot be written; nothing is left behind then.
    pub async fn ensure_blob(&self, blob: &Descriptor, supply: Supply<'_>) -> Result<Arrival> {
        let is_here = match supply.depth {
            Depth::Presence => self.has_blob(blob)?,
            Depth::Content => {
                let _reading = supply.turn_to_move().await;
                self.holds_blob(blob, supply.depth).await?
            }
        };
        if is_here {
            return Ok(Arrival::Existing);
        }
        let _moving = supply.turn_to_move().await;
        let source = supply.source;
        self.prepare(&blob.digest)?;
        let watch = Watch::new(blob, &self.backoff.events);
        transfer::once_more(&watch, || self.receive(blob, source, &watch)).await?;
        Ok(Arrival::Copied)
    }

    async fn receive(
        &self,
        blob: &Descriptor,
        source: &Endpoint,
        watch: &Arc<Watch>,
    ) -> Result<()> {
        let mut stream = Box::pin(
            transfer::verified(source.clone(), Arc::clone(watch), Start::default()).await?,
        );
        let failed = |error: &std::io::Error| self.blob_error("write blob", &blob.digest, error);
        let path = self.blob_path(&blob.digest);
        let (file, temporary) = disk::beside(&path, Access::Umask)
            .map_err(|error| failed(&error))?
            .into_parts();
        let mut file = tokio::fs::File::from_std(file);
        while let Some(chunk) = stream.next().await {
            file.write_all(&chunk?)
                .await
                .map_err(|error| failed(&error))?;
        }
        file.flush().await.map_err(|error| failed(&error))?;
        file.sync_all().await.map_err(|error| failed(&error))?;
        temporary
            .persist(&path)
            .map_err(|error| failed(&error.error))
    }

    /// Stores `manifest` as a blob.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.prepare(&manifest.digest)?;
        let path = self.blob_path(&manifest.digest);
        let bytes = manifest.bytes.clone();
        let written =
            tokio::task::spawn_blocking(move || disk::write_whole(&path, &bytes, Access::Umask))
                .await;
        let failed =
            |error: &std::io::Error| self.blob_error("write manifest", &manifest.digest, error);
        match written {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&std::io::Error::other(error))),
        }
    }

    /// Stores `manifest` and enters it into `index.json`: under its REF, or by digest alone. `ready` is called when
    /// only the write of that file is left.
    pub(super) async fn publish(
        &self,
        manifest: &Manifest,
        target: &Target,
        ready: impl FnOnce(),
    ) -> Result<()> {
        self.put_manifest(manifest).await?;
        let images = vec![(manifest.clone(), target.clone())];
        let arrivals = Arrivals {
            images,
            ..Arrivals::default()
        };
        let lock = self.lock().await?;
        ready();
        self.enter_locked(lock, arrivals).await
    }

    /// Refuses to enter the image `root` under a REF that another repository's image has.
    ///
    /// # Errors
    ///
    /// `conflict`, or `local-io` when `index.json` cannot be read.
    pub fn check_owner(&self, root: &Digest, target: &Target) -> Result<()> {
        let Some(index) = IndexFile::read(&self.path)? else {
            return Ok(());
        };
        let image = (self.names(target), root);
        index.check_owner(image, self.labels.overwrite, self)
    }

    /// The repository that the image behind `target` is of, where its entry tells.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read.
    pub fn repository(&self, target: &Target) -> Result<Option<String>> {
        let index = self.index()?;
        Ok(index.and_then(|index| index.repository(target)))
    }

    fn index(&self) -> Result<Option<IndexFile>> {
        IndexFile::read(&self.path)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path
            .join("blobs")
            .join(digest.algorithm_name())
            .join(digest.hex())
    }

    /// Makes the directories and `oci-layout`, where they are missing.
    fn prepare(&self, digest: &Digest) -> Result<()> {
        let failed = |error: std::io::Error| self.error(Kind::LocalIo, "write").because(error);
        let blobs = self.path.join("blobs").join(digest.algorithm_name());
        if !blobs.is_dir() {
            let is_new = !self.path.exists();
            // What is above it was there when the run began.
            match std::fs::create_dir(&self.path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(failed(error));
                }
                _ => {}
            }
            std::fs::create_dir_all(&blobs).map_err(failed)?;
            if is_new {
                disk::sync_directory(disk::parent(&self.path)).map_err(failed)?;
            }
        }
        let marker = self.path.join("oci-layout");
        if !marker.exists() {
            let text = br#"{"imageLayoutVersion":"1.0.0"}"#;
            disk::write_whole(&marker, text, Access::Umask).map_err(failed)?;
        }
        Ok(())
    }

    fn missing(&self) -> Error {
        let cause = "there is no OCI layout (no index.json)";
        self.error(Kind::NotFound, "read").because(cause)
    }

    fn error(&self, kind: Kind, doing: &str) -> Error {
        Error::new(kind, format!("{doing} layout"), self.path.display())
    }

    fn blob_error(&self, doing: &str, digest: &Digest, error: &std::io::Error) -> Error {
        let kind = if error.kind() == ErrorKind::NotFound {
            Kind::NotFound
        } else {
            Kind::LocalIo
        };
        let failed = Error::new(kind, doing, format!("{self}@{digest}")).because(error);
        let full = matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
        );
        if full { failed.hitting_all() } else { failed }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}", self.path.display())
    }
}
