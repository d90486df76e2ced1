//! Locks of the system (flock): given back when their file is closed, however its process ends.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use super::read::{options, require_regular};
use super::{Access, on_thread};

/// A regular file whose lock may be taken; open for writing if it may be written, as NFS wants it.
pub(crate) fn open_to_lock(path: &Path) -> io::Result<File> {
    let writable = options().read(true).write(true).open(path);
    require_regular(writable.or_else(|_| options().read(true).open(path))?)
}

/// A wait that takes longer is told of.
const LONG: Duration = Duration::from_secs(1);

/// A file that is there to be locked; made if it is not there. A link in its place is not followed.
pub(crate) fn lock_file(path: &Path, access: Access) -> io::Result<File> {
    let mut options = options();
    #[cfg(unix)]
    {
        super::read::with_flags(&mut options, rustix::fs::OFlags::NOFOLLOW);
        if access == Access::Owner {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
    }
    // Open for both, since to open a pipe for writing alone fails in words that tell nothing.
    options.read(true).write(true).create(true).truncate(false);
    match options.open(path) {
        Err(_) if path.is_symlink() => Err(io::Error::other("it is a symbolic link")),
        opened => require_regular(opened?),
    }
}

/// Takes the lock of `file`, which is given back with it. `waiting` is called once if that takes long.
pub(crate) async fn lock(file: File, waiting: impl FnOnce()) -> io::Result<File> {
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut locked = std::pin::pin!(on_thread(move || {
        while let Err(error) = file.lock() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(file)
    }));
    if let Ok(locked) = tokio::time::timeout(LONG, &mut locked).await {
        return locked;
    }
    waiting();
    locked.await
}
