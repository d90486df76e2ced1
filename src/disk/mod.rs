//! Files of this machine: read within bounds, locked, written whole, and links followed with care. A wait for a pipe or for another process ends when its
//! future is dropped, so that it never outlasts a signal.
//!
//! It knows nothing of images and tells nobody: errors are those of the system.

mod links;
mod lock;
mod owner;
mod partial;
mod read;

use std::io;
use std::path::Path;

pub(crate) use self::links::follow;
pub(crate) use self::lock::{lock, lock_file, open_to_lock};
pub(crate) use self::owner::{Distrust, create_private_directory, distrust};
pub(crate) use self::partial::{
    Access, beside, builder, keep_mode, lock_new, prefix, sweep, sweep_for, sync_directory,
    write_whole,
};
pub(crate) use self::read::{
    LONGEST_SETTINGS, open, read, read_file, read_input, read_named, read_settings,
};

/// The directory that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Does `work`, which may block for ever, on a thread of its own: the process ends without waiting for it.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, done) = tokio::sync::oneshot::channel();
    // It cannot be sent if the wait was given up.
    std::thread::Builder::new().spawn(move || drop(sender.send(work())))?;
    done.await.map_err(io::Error::other)?
}
