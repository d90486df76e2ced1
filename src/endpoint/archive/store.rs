//! The bytes of an archive, read at any place: the file itself, or, where it is compressed or comes
//! through a pipe, a temporary file without a name that it is written to once.
//!
//! That file is in `TMPDIR`, else in `/var/tmp`: archives are large, and `/tmp` is memory on many systems.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::compression::Compression;
use super::positioned::{read_exact_at, write_all_at};
use super::tar_index::{Fault, Span, TarIndex};
use crate::endpoint::BlobStream;
use crate::endpoint::hints::{BRING_AGAIN, PIPED_AGAIN};
use crate::error::{Error, Kind, Result};

/// How much is read at once.
pub(super) const READ_SIZE: usize = 256 << 10;
/// An open archive.
#[derive(Debug)]
pub(in crate::endpoint) struct Store {
    file: File,
    /// In bytes, when it was opened.
    length: u64,
    /// What was opened.
    pub(super) stamp: Stamp,
    /// How that is compressed.
    pub(super) compression: Compression,
    comes: Comes,
    /// For errors.
    name: String,
}

/// Where the bytes of an archive come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    FromFile,
    /// Whoever writes them may fail.
    Piped,
}

/// Which file it is, and in what state: enough to see that another process put its own there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl Stamp {
    /// The stamp of what stands at `path`, if anything does.
    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path)
            .ok()
            .map(|metadata| Self::of(&metadata))
    }

    /// Whether there are no bytes in it.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

impl Store {
    /// The archive in `file`, which holds `length` bytes of it; `metadata` is that of the file that was opened.
    pub(super) fn new(
        (file, length): (File, u64),
        metadata: &Metadata,
        compression: Compression,
        name: String,
    ) -> Self {
        let comes = if metadata.is_file() {
            Comes::FromFile
        } else {
            Comes::Piped
        };
        Self {
            file,
            length,
            stamp: Stamp::of(metadata),
            compression,
            comes,
            name,
        }
    }

    pub(super) fn contents(&self) -> Result<TarIndex> {
        let read = |offset, buffer: &mut [u8]| read_exact_at(&self.file, buffer, offset);
        TarIndex::read(self.length, read).map_err(|fault| self.refusal(&fault))
    }

    /// The error of an archive that has this `fault`.
    pub(super) fn refusal(&self, fault: &Fault) -> Error {
        let error = |kind| self.error(kind).because(fault);
        match fault {
            Fault::Io(_) => error(Kind::LocalIo),
            Fault::Damaged(_) if self.comes == Comes::Piped => {
                error(Kind::Protocol).hint(PIPED_AGAIN)
            }
            Fault::Damaged(_) => error(Kind::Protocol).hint(BRING_AGAIN),
            Fault::Refused(_) => error(Kind::Protocol)
                .hint("the archive is damaged or was made to do harm: have it made again"),
        }
    }

    /// An error of reading it.
    pub(super) fn error(&self, kind: Kind) -> Error {
        Error::new(kind, "read archive", &self.name)
    }

    /// Its first `length` bytes are all that there is.
    pub(super) fn ending_at(self, length: u64) -> Self {
        Self { length, ..self }
    }

    /// Writes bytes of the archive to their place.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = write_all_at(&self.file, bytes, offset);
        written.map_err(|error| spool_failed(&spool_directory(), &error))
    }

    /// How many bytes may be written, so that others have room on that disk too.
    pub(super) fn room(&self) -> u64 {
        free_bytes(&self.file).map_or(u64::MAX, |free| free / 4 * 3)
    }

    /// Gives the room of a member's bytes back to the disk, where the file system can.
    pub(super) fn give_back(&self, span: Span) {
        if let Err(error) = punch(&self.file, span) {
            tracing::info!(%error, "the room of a blob that was taken is kept");
        }
    }

    /// The bytes of a member, to be read in order.
    pub(super) fn reader(self: &Arc<Self>, span: Span) -> Reader {
        Reader {
            store: Arc::clone(self),
            span,
        }
    }

    /// All bytes of a small member.
    pub(super) fn read(&self, span: Span) -> io::Result<Bytes> {
        let size = usize::try_from(span.size).map_err(io::Error::other)?;
        let mut bytes = vec![0; size];
        read_exact_at(&self.file, &mut bytes, span.offset)?;
        Ok(bytes.into())
    }

    /// The bytes of a member from `from` on, in chunks.
    pub(in crate::endpoint) fn stream(self: Arc<Self>, span: Span, from: u64) -> BlobStream {
        let start = span.offset + from.min(span.size);
        let end = span.offset + span.size;
        let chunks = stream::try_unfold((self, start), move |(store, at)| async move {
            if at >= end {
                return Ok(None);
            }
            let size = (end - at).min(READ_SIZE as u64);
            let read = tokio::task::spawn_blocking(move || {
                let chunk = store.read(Span { offset: at, size });
                (store, chunk)
            });
            let failed = |store: &str, why: &dyn std::fmt::Display| {
                Error::new(Kind::LocalIo, "read archive", store).because(why)
            };
            let (store, chunk) = read.await.map_err(|why| failed("", &why))?;
            let chunk = chunk.map_err(|why| failed(&store.name, &why))?;
            Ok(Some((chunk, (store, at + size))))
        });
        chunks.boxed()
    }
}

/// A member, read in order.
pub(super) struct Reader {
    store: Arc<Store>,
    /// What is still to be read.
    span: Span,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.span.size).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        read_exact_at(&self.store.file, buffer, self.span.offset)?;
        self.span.offset += count as u64;
        self.span.size -= count as u64;
        Ok(count)
    }
}

pub(super) fn spool_failed(directory: &Path, error: &io::Error) -> Error {
    let place = format!("a temporary file in {}", directory.display());
    Error::new(Kind::LocalIo, "write", place)
        .because(error)
        .hint("TMPDIR names another directory; an uncompressed archive that is a file needs none")
}

#[cfg(target_os = "linux")]
fn punch(file: &File, span: Span) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    if span.size == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, span.offset, span.size)?;
    Ok(())
}

/// How many bytes fit into the file system of `file`, where that can be found out.
#[cfg(target_os = "linux")]
fn free_bytes(file: &File) -> Option<u64> {
    let known = rustix::fs::fstatvfs(file).ok()?;
    Some(known.f_bavail.saturating_mul(known.f_frsize))
}

#[cfg(not(target_os = "linux"))]
fn free_bytes(_: &File) -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &File, _: Span) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn spool_directory() -> PathBuf {
    let large = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if large.is_dir() => large.to_owned(),
        _ => std::env::temp_dir(),
    }
}
