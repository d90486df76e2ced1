//! An OCI layout in one tar file (`oci-archive:`): its headers are read once, everything else at its
//! place. Nothing is unpacked.

pub mod compose;
mod compression;
pub mod docker;
pub mod docker_manifest;
pub mod docker_writer;
mod layer;
pub mod members;
mod one_pass;
mod opened;
mod opening;
mod partial;
mod pipe;
mod positioned;
pub mod prefetch;
pub mod shelf;
mod store;
mod stream_reader;
pub mod tar_index;
mod tar_stream;
pub mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OnceCell, oneshot};

use self::compression::Compression;
use self::opened::Opened;
use self::opening::Opening;
use self::store::Stamp;
use self::stream_reader::open_stream;
use self::tar_index::Span;
pub(crate) use self::tar_stream::{NextBlob, TarStream};
use super::backoff::Backoff;
use super::hints::{BRING_AGAIN, of_archive};
use super::layout::attached::{Lists, understood};
use super::layout::index_file::Entry;
use super::layout::stored::Stored;
use super::standard::check_output;
use super::{
    BlobFallback, BlobStream, Endpoint, Had, Head, Labels, Listed, Naming, OnlyImage, Overwrite,
    Target,
};
use crate::endpoint::check_directory;
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::inventory::difference::Difference;
use crate::reference::STANDARD;

/// What came of reading a manifest.
type MayBeRead = Result<Option<Manifest>>;

/// An archive; opened when it is first asked for something.
#[derive(Clone, Debug)]
pub struct OciArchive {
    path: PathBuf,
    pub(super) blame: Option<Side>,
    side: Side,
    pub(super) labels: Labels,
    /// What it leaves out is read there.
    pub(super) fallback: Arc<BlobFallback>,
    pub(super) use_of_pipes: UseOfPipes,
    opened: OnceCell<Option<Arc<Opened>>>,
    /// What refers to what in it.
    lists: OnceCell<Arc<Lists>>,
    pub(crate) backoff: Backoff,
}

/// When an archive that is read once is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UseOfPipes {
    /// When all of it has been read.
    #[default]
    Spooled,
    /// When its manifests have been read, if they stand in front.
    Streamed,
}

impl OciArchive {
    /// The archive at `path`; nothing is read.
    #[must_use]
    pub fn new(path: PathBuf, side: Side, backoff: Backoff) -> Self {
        Self {
            blame: None,
            path,
            side,
            labels: Labels::default(),
            fallback: Arc::default(),
            use_of_pipes: UseOfPipes::default(),
            opened: OnceCell::new(),
            lists: OnceCell::new(),
            backoff,
        }
    }

    /// Every REF, sorted by bytes.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no such file, `protocol` when it is no archive that can be trusted.
    pub async fn tags(&self) -> Result<Vec<String>> {
        Ok(self.present().await?.index.names())
    }

    /// The name of the image that has this name, or else is the only one with this tag.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no archive, or several images have it.
    pub async fn tagged(&self, tag: &str) -> Result<Option<String>> {
        self.present().await?.index.tagged(tag, self)
    }

    /// The images of the archive.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no archive.
    pub async fn images(&self) -> Result<Vec<OnlyImage>> {
        let opened = self.present().await?;
        let read = self.belonging(opened, |entry| entry.name.is_none()).await;
        let refers = |digest: &Digest| {
            let manifest = understood(read.get(digest).cloned().unwrap_or(Ok(None)))?;
            Ok(manifest.is_some_and(|manifest| manifest.subject().is_some()))
        };
        opened.index.images(refers)
    }

    /// The manifests of the entries that `may` belong to an image.
    async fn belonging(
        &self,
        opened: &Opened,
        may: impl Fn(&Entry) -> bool,
    ) -> BTreeMap<Digest, MayBeRead> {
        let mut read = BTreeMap::new();
        for entry in opened.index.entries().filter(may) {
            let digest = entry.descriptor.digest;
            let manifest = self.manifest(&Target::Digest(digest.clone())).await;
            read.insert(digest, manifest);
        }
        read
    }

    /// What `target` points at; `None` also when its manifest is not there.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn head(&self, target: &Target) -> Result<Option<Head>> {
        let manifest = self.manifest(target).await?;
        Ok(manifest.map(Head::from))
    }

    /// The manifest that `target` names, checked.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what its digest says.
    pub async fn manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        let Some(opened) = self.opened().await? else {
            return Ok(None);
        };
        let Some(stored) = Stored::named(target, Some(&opened.index), self)? else {
            return Ok(None);
        };
        match self.part(opened, &stored.digest)? {
            Part::Here(span) => {
                let read = || opened.store.read(span);
                stored.read(span.size, read).map(Some).map_err(of_archive)
            }
            Part::Fallback(fallback) => {
                let target = Target::Digest(stored.digest);
                Box::pin(fallback.manifest(&target)).await
            }
            // What is added to an archive mends it.
            Part::Nowhere if self.side == Side::Destination => Ok(None),
            Part::Nowhere => stored.if_listed().map_err(of_archive),
        }
    }

    /// What refers to `subject`.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn referrers(&self, subject: &Digest) -> Result<Listed> {
        let Some(opened) = self.opened().await? else {
            return Ok(Listed::default());
        };
        let known = self.lists.get_or_try_init(|| async {
            let mut read = self.belonging(opened, Entry::may_refer).await;
            let without_entry = opened.without_entry();
            for digest in &without_entry {
                let manifest = self.manifest(&Target::Digest(digest.clone())).await;
                read.insert(digest.clone(), manifest);
            }
            let read = |digest: &Digest| read.get(digest).cloned().unwrap_or(Ok(None));
            Lists::of((&opened.index, self), &without_entry, read).map(Arc::new)
        });
        Ok(known.await?.to(subject))
    }

    /// What is under a digest tag; `None` where there is no such entry.
    pub(super) async fn digest_tagged(&self, tag: &str) -> Result<Option<Had>> {
        let target = Target::Tag(tag.to_owned());
        let Some(opened) = self.opened().await? else {
            return Ok(None);
        };
        let Some(entry) = opened.index.find(&target, self)? else {
            return Ok(None);
        };
        let naming = Naming::entry(&entry, Some(tag));
        naming.had(self.manifest(&target).await, self).map(Some)
    }

    /// Whether the blob is there, in its right size.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blob_size(blob).await? == Some(blob.size))
    }

    /// The size of `blob` as it is stored, in bytes, if it is there.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn blob_size(&self, blob: &Descriptor) -> Result<Option<u64>> {
        let Some(opened) = self.opened().await? else {
            return Ok(None);
        };
        match self.part(opened, &blob.digest)? {
            Part::Here(span) => Ok(Some(span.size)),
            Part::Fallback(fallback) => Box::pin(fallback.blob_size(blob)).await,
            Part::Nowhere => Ok(None),
        }
    }

    /// The bytes of `blob` from `offset` on.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn open_blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream> {
        if let Some(opened) = self.opened().await? {
            match self.part(opened, &blob.digest)? {
                Part::Here(span) => return Ok(Arc::clone(&opened.store).stream(span, offset)),
                Part::Fallback(fallback) => return Box::pin(fallback.blob(blob, offset)).await,
                Part::Nowhere => {}
            }
        }
        let name = format!("{self}@{}", blob.digest);
        let error = Error::new(Kind::NotFound, "read blob", name);
        Err(error
            .because("the archive does not hold it")
            .hint(BRING_AGAIN))
    }

    /// Where a blob or manifest is now.
    fn part(&self, opened: &Opened, digest: &Digest) -> Result<Part<'_>> {
        if let Some(span) = opened.contents.file(&member_name(digest)) {
            return Ok(Part::Here(span));
        }
        if let Some(fallback) = self.fallback.endpoint(digest) {
            return Ok(Part::Fallback(fallback));
        }
        let span = match &opened.stream {
            Some(stream) => stream.span(digest)?,
            None => None,
        };
        Ok(span.map_or(Part::Nowhere, Part::Here))
    }

    /// The blobs that are still to come, if the archive is used before its end.
    pub(super) fn stream(&self) -> Option<&TarStream> {
        self.opened.get()?.as_ref()?.stream.as_ref()
    }

    /// Whether a blob can only come through [the stream](Self::stream).
    pub(super) fn streams(&self, digest: &Digest) -> bool {
        let Some(Some(opened)) = self.opened.get() else {
            return false;
        };
        opened.stream.is_some()
            && self.fallback.endpoint(digest).is_none()
            && opened.contents.file(&member_name(digest)).is_none()
    }

    /// The repository that the image behind `target` is of, where its entry tells.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn repository(&self, target: &Target) -> Result<Option<String>> {
        let opened = self.opened().await?;
        Ok(opened.and_then(|opened| opened.index.repository(target)))
    }

    /// What the archive was made without, if anything.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn difference(&self) -> Result<Option<&Difference>> {
        let opened = self.opened().await?;
        Ok(opened.and_then(|opened| opened.difference.as_ref()))
    }

    /// Whether an archive can be written here: nothing stands there, or an archive that can be read. One
    /// that leaves something out is made anew, since what it lacks depends on who made it when.
    ///
    /// # Errors
    ///
    /// `local-io` when it cannot, `conflict` when it is or would become such an archive.
    pub async fn check_writable(&self) -> Result<()> {
        let error = |cause| Error::new(Kind::LocalIo, "write", self).because(cause);
        if self.path.as_os_str() == STANDARD && std::io::stdout().is_terminal() {
            return Err(error("standard output is a terminal".to_owned())
                .hint("send it to a file or another command"));
        }
        if self.path.as_os_str() == STANDARD {
            check_output(self)?;
        }
        check_directory(&self.path, self)?;
        let Some(opened) = self.opened().await? else {
            return Ok(());
        };
        let conflict = |why| Error::new(Kind::Conflict, "add to", self).because(why);
        let why = match (&opened.difference, &self.labels.without) {
            (Some(_), _) => "the archive there leaves out parts of its images",
            (None, Some(_)) => "there is an archive, and --have makes a new one",
            (None, None) => {
                let is_plain = opened.store.compression == Compression::None;
                if is_plain || self.labels.overwrite == Overwrite::Always {
                    return Ok(());
                }
                let why = "the archive there is compressed, and would become a plain tar file";
                let hint = "name another file; --force writes this one plain, with what it holds";
                return Err(conflict(why).hint(hint));
            }
        };
        Err(conflict(why).hint("name another file, or remove this one first"))
    }

    /// Whether it is written from its beginning to its end, and nothing of it can be changed or read.
    fn is_stream(&self) -> bool {
        let special = |metadata: std::fs::Metadata| !metadata.is_file() && !metadata.is_dir();
        self.path.as_os_str() == STANDARD || std::fs::metadata(&self.path).is_ok_and(special)
    }

    /// The archive, which has to be there.
    async fn present(&self) -> Result<&Opened> {
        let opened = self.opened().await?;
        opened.ok_or_else(|| no_such_file(self))
    }

    /// The archive; `None` where there is no such file. At a destination an empty file is none: `mktemp` made it.
    async fn opened(&self) -> Result<Option<&Opened>> {
        if self.side == Side::Destination && self.is_stream() {
            return Ok(None);
        }
        let opened = self.opened.get_or_try_init(async || {
            if self.side == Side::Destination
                && Stamp::at(&self.path).is_some_and(|at| at.is_empty())
            {
                return Ok(None);
            }
            match self.use_of_pipes {
                UseOfPipes::Spooled => open(&self.path, self.to_string(), Opened::whole).await,
                UseOfPipes::Streamed => open_stream(&self.path, self.to_string()).await,
            }
        });
        Ok(opened.await?.as_ref().map(AsRef::as_ref))
    }
}

/// Opens the archive at `path` by `read`; `None` where there is no such file.
async fn open<T: Send + 'static>(
    path: &Path,
    name: String,
    read: fn(&Opening<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let (path, place) = (path.to_owned(), name.clone());
    let work = move |sender: oneshot::Sender<Result<T>>| {
        let opening = Opening {
            path: &path,
            name: &name,
            wanted: &|| !sender.is_closed(),
        };
        let opened = read(&opening);
        // Nobody waits for it where the run has ended.
        let _ = sender.send(opened);
    };
    opened_by(work, place).await
}

/// What `work` sends from a thread of its own: one that waits for a pipe must not keep the process from
/// ending. `None` where there is no such file.
async fn opened_by<T: Send + 'static>(
    work: impl FnOnce(oneshot::Sender<Result<T>>) + Send + 'static,
    place: String,
) -> Result<Option<T>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || work(sender));
    let opened = receiver.await;
    match opened.map_err(|why| Error::new(Kind::LocalIo, "read archive", place).because(why))? {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(of_archive(error)),
    }
}

/// The error of whoever would write a blob or manifest of an archive by itself.
pub(super) fn written_whole(archive: &dyn fmt::Display) -> Error {
    Error::new(Kind::Unsupported, "write", archive).because("an archive is written whole")
}

fn no_such_file(archive: &dyn fmt::Display) -> Error {
    Error::new(Kind::NotFound, "read archive", archive).because("there is no such file")
}

/// Where one blob or manifest is.
enum Part<'a> {
    Here(Span),
    Fallback(&'a Endpoint),
    Nowhere,
}

/// The name of a blob in an archive, as in a layout.
pub(super) fn member_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm_name(), digest.hex())
}

impl fmt::Display for OciArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-archive:{}", self.path.display())
    }
}
