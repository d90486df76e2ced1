//! Locks of the system (flock): given back when their file is closed, however its process ends.

use std::fs::File;
use std::io;
use std::path::Path;

use super::read::{options, require_regular};

/// A file that is there to be locked; made if it is not there. A link in its place is not followed.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = options();
    #[cfg(unix)]
    super::read::with_flags(&mut options, rustix::fs::OFlags::NOFOLLOW);
    // Open for both, since to open a pipe for writing alone fails in words that tell nothing.
    options.read(true).write(true).create(true).truncate(false);
    match options.open(path) {
        Err(_) if path.is_symlink() => Err(io::Error::other("it is a symbolic link")),
        opened => require_regular(opened?),
    }
}
