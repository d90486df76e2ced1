//! An OCI image layout (image-spec, `image-layout.md`): a directory with `oci-layout`, `index.json`
//! and `blobs/`. Content arrives under a temporary name; `index.json` changes by one rename.

pub(super) mod attached;
mod cosign;
pub(super) mod index_file;
pub(super) mod stored;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

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
use super::{Arrival, BlobStream, Endpoint, Head, Labels, OnlyImage, Supply, Target};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::inventory::difference;

/// How much is read from a file at once.
const READ_SIZE: usize = 256 << 10;
/// How a file that is not yet whole is named.
pub(super) const PARTIAL: (&str, &str) = (".barge-", ".partial");
/// A partial file this old belongs to no run: it was left by a kill or a power cut.
const STALE: Duration = Duration::from_hours(24);

/// A layout directory; made when something is first written to it.
#[derive(Clone, Debug)]
pub struct Layout {
    path: PathBuf,
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
            path,
            labels: Labels::default(),
            backoff,
            lists: OnceLock::new(),
            turn: Arc::default(),
            waited: Arc::default(),
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

    /// Whether something that is no directory stands where the layout should be.
    ///
    /// # Errors
    ///
    /// `local-io` when it does, or `index.json` cannot be understood.
    pub fn check_writable(&self) -> Result<()> {
        let mut place = Some(self.path.as_path());
        while let Some(path) = place.filter(|path| !path.as_os_str().is_empty()) {
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => break,
                Ok(_) => {
                    let cause = format!("{} is a file, not a directory", path.display());
                    return Err(self.error(Kind::LocalIo, "write").because(cause));
                }
                Err(_) => place = path.parent(),
            }
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

    /// The one image of the layout.
    ///
    /// # Errors
    ///
    /// `not-found` when there is none, `usage` when there are several: the message lists them.
    pub fn only_image(&self) -> Result<OnlyImage> {
        let index = self.index()?.ok_or_else(|| self.missing())?;
        index.only_image(self, |digest| Ok(self.refers(digest)?.is_some()))
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
        if self.has_blob(blob)? {
            return Ok(Arrival::Existing);
        }
        let _arrived = supply.arrival(blob).await?;
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
        let (file, temporary) = partial_beside(&path)
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
        let written = tokio::task::spawn_blocking(move || write_whole(&path, &bytes)).await;
        let failed =
            |error: &std::io::Error| self.blob_error("write manifest", &manifest.digest, error);
        match written {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&std::io::Error::other(error))),
        }
    }

    /// Stores `manifest` and enters it into `index.json`: under its REF, or by digest alone.
    ///
    /// # Errors
    ///
    /// When either file cannot be written.
    pub async fn publish(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.put_manifest(manifest).await?;
        let images = vec![(manifest.clone(), target.clone())];
        self.enter(Arrivals {
            images,
            ..Arrivals::default()
        })
        .await
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
            std::fs::create_dir_all(&blobs).map_err(failed)?;
        }
        let marker = self.path.join("oci-layout");
        if !marker.exists() {
            write_whole(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
            sweep(&blobs);
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

/// A new file beside `path`, which is gone when it is dropped before it has its final name.
pub(crate) fn partial_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    partial_called(PARTIAL.0, path)
}

/// The same under a name that begins with `prefix`.
pub(super) fn partial_called(
    prefix: &str,
    path: &Path,
) -> std::io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut builder = partial_name(prefix);
    #[cfg(unix)]
    {
        // As any other file: the user's umask decides who reads a layout.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

/// How a file that is not yet whole is named.
pub(super) fn partial_name(prefix: &str) -> tempfile::Builder<'_, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(PARTIAL.1);
    builder
}

/// Writes `bytes` to `path`: temporary name, sync, rename.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = partial_beside(path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes the rename last through a power cut, where directories can be synced.
#[cfg(unix)]
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same face as on Unix")]
pub(crate) fn sync_directory(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Removes what runs that were killed left behind; what cannot be removed does no harm.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let old = modified.is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age > STALE)
        });
        if ours
            && old
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::info!(%error, file = %name, "a stale partial file stays");
        }
    }
}
