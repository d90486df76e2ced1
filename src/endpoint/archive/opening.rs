//! Opening the file of an archive, or standard input.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use super::compression::{Bounded, Compression, MAGIC};
use super::one_pass::{Members, OnePass};
use super::store::{Store, spool_directory, spool_failed};
use crate::endpoint::standard::is_input_closed;
use crate::error::{Error, Kind, Result};
use crate::reference::STANDARD;

/// How an archive is read.
pub(super) enum Source<'a> {
    ByOffset(Store),
    OnePass(OnePass<'a>),
}

/// Where an archive is opened, and for whom.
pub(super) struct Opening<'a> {
    /// The file; `-` is standard input.
    pub(super) path: &'a Path,
    /// For errors.
    pub(super) name: &'a str,
    /// Whether anyone still waits for it: to read a pipe to its end may take long.
    pub(super) wanted: &'a dyn Fn() -> bool,
}

impl Opening<'_> {
    /// Opens it; blocks. What comes through a pipe is read to its end.
    pub(super) fn open(&self) -> Result<Store> {
        match self.source()? {
            Source::ByOffset(store) => Ok(store),
            Source::OnePass(pass) => Members::of(pass).spool(),
        }
    }

    /// Opens it, and reads no more than tells how it is to be read; blocks.
    pub(super) fn source(&self) -> Result<Source<'_>> {
        let failed = |error: io::Error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let kind = if missing {
                Kind::NotFound
            } else {
                Kind::LocalIo
            };
            self.error(kind).because(error)
        };
        tracing::info!("opening {}", self.name);
        let mut file = open(self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let hint = format!("write oci:{} for a layout", self.path.display());
            return Err(self
                .error(Kind::LocalIo)
                .because("it is a directory")
                .hint(hint));
        }
        let mut first = Vec::new();
        (&file)
            .take(MAGIC)
            .read_to_end(&mut first)
            .map_err(failed)?;
        if first.is_empty() {
            let hint =
                "whatever was to write it has not, or failed: look there, then have it made again";
            return Err(self.error(Kind::Protocol).because("it is empty").hint(hint));
        }
        let compression =
            Compression::of(&first).map_err(|why| self.error(Kind::Unsupported).because(why))?;
        let read = first.len() as u64;
        let placed = metadata.is_file() && file.stream_position().is_ok_and(|at| at == read);
        let store =
            |file, length| Store::new((file, length), &metadata, compression, self.name.to_owned());
        if placed && compression == Compression::None {
            return Ok(Source::ByOffset(store(file, metadata.len())));
        }
        let directory = spool_directory();
        let spool =
            tempfile::tempfile_in(&directory).map_err(|error| spool_failed(&directory, &error))?;
        let unpacked = Bounded::archive(compression, io::Cursor::new(first).chain(file));
        let unpacked = unpacked.map_err(|error| self.error(Kind::Protocol).because(error))?;
        let store = Arc::new(store(spool, 0));
        Ok(Source::OnePass(OnePass::new(unpacked, store, self.wanted)))
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, "read archive", self.name)
    }
}

#[cfg(unix)]
fn standard_input() -> io::Result<File> {
    use std::os::fd::AsFd as _;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_input() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}

fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str() == STANDARD {
        if is_input_closed() {
            let why = "standard input is closed, or /dev/null: give it an archive, `< FILE`";
            return Err(io::Error::other(why));
        }
        standard_input()
    } else {
        File::open(path)
    }
}
