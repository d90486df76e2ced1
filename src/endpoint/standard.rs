//! Standard input and output that were closed when barge began.
//!
//! Rust's runtime opens `/dev/null` for reading and writing in the place of a closed one before `main` begins:
//! all that is written there is lost, and no write fails. `> /dev/null` of a shell opens it for writing alone.
//! What starts programs with such a `/dev/null` itself (Python's `DEVNULL`) looks the same, so this is asked
//! only where what would be lost is the purpose of the run.

use crate::error::{Error, Kind, Result};

/// Refuses to write `what` to a standard output that was closed.
///
/// # Errors
///
/// `local-io` when it was.
pub fn check_output(what: &dyn std::fmt::Display) -> Result<()> {
    if !is_closed(std::io::stdout()) {
        return Ok(());
    }
    Err(Error::new(Kind::LocalIo, "write", what)
        .because("standard output is closed, or a /dev/null that is open for reading too")
        .hint("send it to a file or another command; `> /dev/null` drops it"))
}

/// Whether there was no standard input when barge began.
#[must_use]
pub fn is_input_closed() -> bool {
    is_closed(std::io::stdin())
}

#[cfg(unix)]
fn is_closed(stream: impl std::os::fd::AsFd) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
    let both = fcntl_getfl(&stream).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR);
    let is_null =
        |null: rustix::fs::Stat| fstat(&stream).is_ok_and(|it| it.st_rdev == null.st_rdev);
    both && stat("/dev/null").is_ok_and(is_null)
}

#[cfg(not(unix))]
fn is_closed<T>(_: T) -> bool {
    false
}
