//! Files that are not yet whole: a temporary name beside the final one, and a lock as long as their writer
//! lives, so that what a killed one has left can be told from what is being written.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::parent;

const PREFIX: &str = ".barge-";
const SUFFIX: &str = ".partial";
/// How much of the final name is in a temporary one.
const LONGEST_NAME: usize = 100;
/// Age after which an abandoned partial file is removed. Where locks do not reach, as between some hosts that share a
/// disk, its writer has done something to it since.
const STALE: Duration = Duration::from_hours(1);

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// As the user's umask says.
    Umask,
    /// Its owner alone.
    Owner,
}

/// A new file beside `path`, locked; dropped before it has its final name, it is gone.
pub(crate) fn beside(path: &Path, access: Access) -> io::Result<NamedTempFile> {
    let prefix = prefix(path);
    let mut builder = builder(&prefix);
    #[cfg(unix)]
    if access == Access::Umask {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(parent(path))?;
        lock_new(file.as_file());
        // Before it was locked another process may have taken its writer for dead.
        if file.path().try_exists()? {
            return Ok(file);
        }
    }
}

/// Shows others that the writer of a new file lives. Where nothing can be locked, nothing is swept either.
pub(crate) fn lock_new(file: &File) {
    if let Err(error) = file.try_lock() {
        tracing::debug!(%error, "a partial file cannot be locked");
    }
}

/// Names files whose name begins as [`prefix`] says.
pub(crate) fn builder(prefix: &str) -> tempfile::Builder<'_, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(SUFFIX);
    builder
}

/// What the names of partial files for `path` begin with.
pub(crate) fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| match letter {
        '.' | '-' | '_' => letter,
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    };
    let name: String = name.chars().map(plain).take(LONGEST_NAME).collect();
    format!("{PREFIX}{name}-")
}

/// Writes `bytes` to `path`: temporary name, sync, rename. A link there is replaced; of a file
/// that is as the umask says, the mode stays.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut file = beside(path, access)?;
    file.write_all(bytes)?;
    if let (Access::Umask, Ok(before)) = (access, std::fs::symlink_metadata(path)) {
        keep_mode(file.as_file(), &before)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Lets those read and write `file` who could with what was there `before`.
pub(crate) fn keep_mode(file: &File, before: &Metadata) -> io::Result<()> {
    if !before.is_file() {
        return Ok(());
    }
    let mut permissions = before.permissions();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
        // The owner may be another one now: never a program that runs as its owner, and what the group may is for
        // the group that it was.
        let has_group = file.metadata()?.gid() == before.gid()
            || fchown(file, None, Some(before.gid())).is_ok();
        let mask = if has_group { 0o777 } else { 0o707 };
        permissions.set_mode(permissions.mode() & mask);
    }
    file.set_permissions(permissions)
}

/// Makes renames in the directory `path` last through a power cut.
#[cfg(unix)]
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same face as on Unix")]
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes every partial file in `directory` that is old and whose writer is gone.
pub(crate) fn sweep(directory: &Path) {
    let is_old = |metadata: &Metadata| {
        let age = metadata
            .modified()
            .map(|at| SystemTime::now().duration_since(at));
        matches!(age, Ok(Ok(age)) if age > STALE)
    };
    remove_dead(directory, PREFIX, is_old);
}

/// Removes every partial file for `path` whose writer is gone: they may be as large as what is to be written.
pub(crate) fn sweep_for(path: &Path) {
    remove_dead(parent(path), &prefix(path), |_| true);
}

/// What cannot be removed does no harm.
fn remove_dead(directory: &Path, prefix: &str, is_swept: impl Fn(&Metadata) -> bool) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(prefix) && name.ends_with(SUFFIX);
        let is_swept = |metadata: Metadata| metadata.is_file() && is_swept(&metadata);
        if !is_ours || !entry.metadata().is_ok_and(is_swept) {
            continue;
        }
        // A lock on some network file systems takes a file that is open for writing.
        let removed = File::options().write(true).open(entry.path());
        let removed = removed.and_then(|file| {
            file.try_lock()?;
            std::fs::remove_file(entry.path())
        });
        if let Err(error) = removed {
            tracing::info!(%error, file = %name, "a partial file stays");
        }
    }
}
