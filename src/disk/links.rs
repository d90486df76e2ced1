//! Symbolic links at the end of a path, followed by the rule of Linux's `protected_symlinks`: a link that another
//! user has put into `/tmp` leads nowhere. The kernel itself does not apply it to what is replaced by a rename.

use std::io;
use std::path::{Path, PathBuf};

use super::parent;

/// As many as Linux follows.
const MOST: usize = 40;

/// Where `path` leads, whether something is there or not.
pub(crate) fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = std::fs::read_link(&path) else {
            return Ok(path);
        };
        check(&path)?;
        path = parent(&path).join(target);
    }
    Err(io::Error::other("too many symbolic links"))
}

#[cfg(unix)]
fn check(link: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let directory = std::fs::metadata(parent(link))?;
    let owner = std::fs::symlink_metadata(link)?.uid();
    let may = may_follow(owner, (directory.mode(), directory.uid()));
    if may(rustix::process::geteuid().as_raw()) {
        return Ok(());
    }
    let why = format!(
        "{} is a symbolic link of another user in a directory that everyone may write to",
        link.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(not(unix))]
fn check(_link: &Path) -> io::Result<()> {
    Ok(())
}

/// Which users may follow a link of `owner` in a directory of this mode and owner.
#[cfg(unix)]
fn may_follow(owner: u32, (mode, directory): (u32, u32)) -> impl Fn(u32) -> bool {
    const STICKY_AND_OPEN_TO_ALL: u32 = 0o1002;
    let is_shared = mode & STICKY_AND_OPEN_TO_ALL == STICKY_AND_OPEN_TO_ALL;
    move |user| user == owner || !is_shared || owner == directory
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_of_others_are_not_followed_in_shared_directories() {
        let (root, me, other) = (0, 1000, 1001);
        let cases = [
            // Owner of the link, mode and owner of the directory, may be followed.
            (me, 0o41777, root, true),
            (root, 0o41777, root, true),
            (other, 0o41777, root, false),
            (other, 0o41777, me, false),
            (other, 0o41777, other, true),
            (other, 0o40777, root, true),
            (other, 0o41775, root, true),
        ];
        for (owner, mode, directory, may) in cases {
            let follows = may_follow(owner, (mode, directory));
            assert_eq!(follows(me), may, "{owner} {mode:o} {directory}");
        }
    }

    #[test]
    fn follows_links_to_what_is_there_or_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let link = |target: &str, name| {
            std::os::unix::fs::symlink(target, path(name)).expect("a link");
        };
        link("second", "first");
        link("target", "second");
        link("ring", "ring");
        assert_eq!(follow(&path("first")).expect("it ends"), path("target"));
        assert_eq!(follow(&path("target")).expect("no link"), path("target"));
        assert!(follow(&path("ring")).is_err());
        // Another user's link; only root can make one here.
        if std::os::unix::fs::lchown(path("second"), Some(12345), None).is_ok() {
            assert!(follow(&path("first")).is_ok(), "nobody else writes here");
            let shared = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
            std::fs::set_permissions(directory.path(), shared).expect("a mode");
            let error = follow(&path("first")).expect_err("another user's link");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
