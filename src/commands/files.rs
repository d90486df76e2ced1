//! The files that a run writes besides its results: whole or not at all.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::disk::{self, Access};
use crate::error::{Error, Kind, Result};

/// Whether `path` can be written later on. What runs that were killed left beside it is removed.
///
/// # Errors
///
/// `local-io` where its directory is missing, or it is a directory itself.
pub(super) fn check(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(failed(path).because("it is a directory"));
    }
    let target = disk::follow(path).map_err(|error| failed(path).because(error))?;
    if is_special(path) {
        return Ok(());
    }
    let directory = disk::parent(&target);
    if !directory.is_dir() {
        let cause = format!("there is no directory {}", directory.display());
        return Err(failed(path).because(cause));
    }
    disk::sweep(directory);
    Ok(())
}

/// Empties a file that is there; a pipe or a device is left alone.
///
/// # Errors
///
/// `local-io`, and the file is as it was.
pub(super) fn empty(path: &Path) -> Result<()> {
    if !path.is_file() || is_special(path) {
        return Ok(());
    }
    let target = disk::follow(path);
    let emptied = target.and_then(|target| disk::write_whole(&target, b"", Access::Umask));
    emptied.map_err(|error| failed(path).because(error))
}

/// Writes a file by a temporary name and a rename. A pipe, a device or what is printed to, as `/dev/stderr`, is
/// written to as it is, unless `next` ends the wait for its reader; a link keeps pointing where
/// it points.
///
/// # Errors
///
/// `local-io`, and an older file is as it was; `interrupted`.
pub(super) async fn write_whole(path: &Path, text: &str, next: &CancellationToken) -> Result<()> {
    let target = disk::follow(path).map_err(|error| failed(path).because(error))?;
    let written = if is_special(path) {
        let written = next.run_until_cancelled(write_special(path, text)).await;
        written.ok_or_else(|| {
            let interrupted = Error::new(Kind::Interrupted, "write", path.display());
            interrupted.because("a signal ended the wait for its reader")
        })?
    } else {
        disk::write_whole(&target, text.as_bytes(), Access::Umask)
    };
    written.map_err(|error| failed(path).because(error))
}

/// Whether something is there that is written to as it is: no regular file, or one that has what is printed.
pub(super) fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() || is_printed_to(&metadata))
}

/// Whether standard output or standard error goes to this file: `--report /dev/stdout > FILE`.
#[cfg(unix)]
fn is_printed_to(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_it =
        |stream: fs::Metadata| (stream.dev(), stream.ino()) == (metadata.dev(), metadata.ino());
    ["/dev/stdout", "/dev/stderr"]
        .iter()
        .any(|stream| fs::metadata(stream).is_ok_and(is_it))
}

#[cfg(not(unix))]
fn is_printed_to(_metadata: &fs::Metadata) -> bool {
    false
}

async fn write_special(path: &Path, text: &str) -> std::io::Result<()> {
    tracing::info!(path = %path.display(), "waiting for a reader");
    let (path, text) = (path.to_owned(), text.to_owned());
    disk::on_thread(move || {
        let mut file = fs::File::options().append(true).open(path)?;
        file.write_all(text.as_bytes())
    })
    .await
}

fn failed(path: &Path) -> Error {
    Error::new(Kind::LocalIo, "write", path.display())
}
