//! Whose a file or directory is, and who else can write it: what another user may have put there is not obeyed.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::Path;

/// Why another user may have written what is in a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// It is another user's.
    Owner {
        owner: u32,
        /// As whom this runs.
        user: u32,
    },
    /// Its mode lets others write.
    Writable(u32),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { owner, user } => {
                write!(f, "belongs to user {owner}, and this runs as user {user}")
            }
            Self::Writable(mode) => write!(f, "can be written by others (mode {mode:04o})"),
        }
    }
}

/// Why what `metadata` is of may be another user's, if it may. Without Unix permissions nothing is known of that.
#[cfg(unix)]
pub(crate) fn distrust(metadata: &Metadata) -> Option<Distrust> {
    use std::os::unix::fs::MetadataExt as _;
    let user = rustix::process::geteuid().as_raw();
    judge((metadata.uid(), metadata.mode()), metadata.is_dir(), user)
}

#[cfg(not(unix))]
pub(crate) fn distrust(_: &Metadata) -> Option<Distrust> {
    None
}

/// Root can write anything. In a sticky directory, users cannot replace or remove each other's files.
#[cfg(unix)]
fn judge((owner, mode): (u32, u32), is_directory: bool, user: u32) -> Option<Distrust> {
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o022;
    if owner != user && owner != 0 {
        return Some(Distrust::Owner { owner, user });
    }
    let sticky = is_directory && mode & STICKY != 0;
    (mode & OTHERS_WRITE != 0 && !sticky).then_some(Distrust::Writable(mode & 0o7777))
}

/// Makes a directory and those above it that are missing, for their owner alone.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn trusts_what_only_this_user_or_root_can_write() {
        let of_other = |owner, user| Some(Distrust::Owner { owner, user });
        for ((owner, mode), is_directory, user, expected) in [
            ((7, 0o600), false, 7, None),
            ((7, 0o100_644), false, 7, None),
            ((0, 0o644), false, 7, None),
            ((8, 0o600), false, 7, of_other(8, 7)),
            ((7, 0o600), false, 0, of_other(7, 0)),
            ((7, 0o620), false, 7, Some(Distrust::Writable(0o620))),
            ((0, 0o602), false, 7, Some(Distrust::Writable(0o602))),
            ((7, 0o1602), false, 7, Some(Distrust::Writable(0o1602))),
            ((7, 0o40_755), true, 7, None),
            ((7, 0o40_775), true, 7, Some(Distrust::Writable(0o775))),
            ((0, 0o41_777), true, 7, None),
            ((8, 0o41_777), true, 7, of_other(8, 7)),
        ] {
            let judged = judge((owner, mode), is_directory, user);
            assert_eq!(judged, expected, "{owner} {mode:o}");
        }
    }
}
