//! A file that is not yet whole. Where the system can, it has no name until it is, and is gone whatever
//! ends the process; elsewhere it has a temporary name beside its final one, and a lock as long as its
//! process lives: the next one to write there removes what has none.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::members::Places;
use super::positioned::{read_exact_at, write_all_at};
use super::store::Stamp;
use crate::disk::{self, Access, parent};

/// How much is moved at once.
const MOVE_SIZE: u64 = 1 << 20;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Partial {
    /// What it will be; a link keeps pointing where it points.
    path: PathBuf,
    file: Written,
}

#[derive(Debug)]
enum Written {
    #[cfg(target_os = "linux")]
    Nameless(File),
    Named(tempfile::NamedTempFile),
}

impl Partial {
    /// A new file that is to be at `path`, with room for `length` bytes: a disk that is too small is found
    /// out about before anything is fetched.
    pub(super) fn create(path: &Path, length: u64) -> io::Result<Self> {
        let path = disk::follow(path)?;
        disk::sweep_for(&path);
        disk::sweep(parent(&path));
        let partial = Self {
            file: Written::beside(&path)?,
            path,
        };
        reserve(partial.file(), length)?;
        partial.file().set_len(length)?;
        Ok(partial)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_all_at(self.file(), bytes, offset)
    }

    /// Moves the blobs that are placed as in `before` to where `after` has them.
    pub(super) fn rearrange(&self, before: &Places, after: &Places) -> io::Result<()> {
        if after.length > before.length {
            self.file().set_len(after.length)?;
        }
        for step in super::members::moves(before, after) {
            let pieces = step.length.div_ceil(MOVE_SIZE);
            let mut buffer = Vec::new();
            for number in 0..pieces {
                // What goes up is moved from its end on.
                let number = if step.to > step.from {
                    pieces - 1 - number
                } else {
                    number
                };
                let start = number * MOVE_SIZE;
                let size = MOVE_SIZE.min(step.length - start);
                buffer.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
                read_exact_at(self.file(), &mut buffer, step.from + start)?;
                self.write(&buffer, step.to + start)?;
            }
        }
        Ok(())
    }

    /// The file is whole, `length` bytes long: it gets its name, in place of what stood there `before`. Of several
    /// processes that replace one archive, each of which holds what was there when it was read, one does.
    pub(super) fn persist(self, length: u64, before: Option<&Stamp>) -> io::Result<Persisted> {
        self.file().set_len(length)?;
        if let Ok(before) = std::fs::metadata(&self.path) {
            disk::keep_mode(self.file(), &before)?;
        }
        self.file().sync_all()?;
        if before.is_none() {
            return match self.file.name_new(&self.path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Persisted::Overtaken),
                named => named.and_then(|()| Persisted::synced(&self.path)),
            };
        }
        // A lock file beside it would stay for good. What is replaced serves as well: who gets its lock later
        // finds another file in its place.
        let replaced = disk::open_to_lock(&self.path);
        match replaced.as_ref().map(File::try_lock) {
            Ok(Ok(())) => {}
            Ok(Err(TryLockError::WouldBlock)) => return Ok(Persisted::Overtaken),
            // Some file systems have no locks; most changes show all the same.
            Ok(Err(TryLockError::Error(error))) => tracing::info!(%error, "no lock"),
            Err(error) => tracing::info!(%error, "no lock"),
        }
        if Stamp::at(&self.path).as_ref() != before {
            return Ok(Persisted::Overtaken);
        }
        self.file.name(&self.path)?;
        drop(replaced);
        Persisted::synced(&self.path)
    }

    fn file(&self) -> &File {
        match &self.file {
            #[cfg(target_os = "linux")]
            Written::Nameless(file) => file,
            Written::Named(file) => file.as_file(),
        }
    }
}

/// What came of giving a file its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persisted {
    /// It has it.
    InPlace,
    /// Another process has put its own file there since, or is about to.
    Overtaken,
}

impl Persisted {
    fn synced(path: &Path) -> io::Result<Self> {
        disk::sync_directory(parent(path))?;
        Ok(Self::InPlace)
    }
}

impl Written {
    #[cfg(target_os = "linux")]
    fn beside(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(parent(path), flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => {
                let file = File::from(file);
                // It has a temporary name for a moment in the end.
                disk::lock_new(&file);
                Ok(Self::Nameless(file))
            }
            // Not every file system has such files.
            Err(_) => disk::beside(path, Access::Umask).map(Self::Named),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn beside(path: &Path) -> io::Result<Self> {
        disk::beside(path, Access::Umask).map(Self::Named)
    }

    /// Gives the file its name; `AlreadyExists` if something has it.
    fn name_new(self, path: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => link(&file, path),
            Self::Named(file) => match file.into_temp_path().persist_noclobber(path) {
                Ok(()) => Ok(()),
                Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Err(failed.error),
                // Some file systems can rename, but not without replacing.
                Err(failed) => failed.path.persist(path).map_err(|again| again.error),
            },
        }
    }

    /// The same in place of what has it.
    fn name(self, path: &Path) -> io::Result<()> {
        let named = match self {
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => linked_beside(&file, path)?,
            Self::Named(file) => file.into_temp_path(),
        };
        named.persist(path).map_err(|error| error.error)
    }
}

/// Gives `file`, which has no name, a temporary one beside `path`: a link cannot replace what is there, a
/// rename can.
#[cfg(target_os = "linux")]
fn linked_beside(file: &File, path: &Path) -> io::Result<tempfile::TempPath> {
    let prefix = disk::prefix(path);
    let linked = disk::builder(&prefix).make_in(parent(path), |name| link(file, name))?;
    Ok(linked.into_temp_path())
}

/// Gives `file`, which has no name, this one.
#[cfg(target_os = "linux")]
fn link(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd as _;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, &nameless, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// Takes room on the disk, where its file system can.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same face as on Linux")]
fn reserve(_file: &File, _length: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(directory: &Path) -> BTreeSet<String> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let name = |entry: io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        };
        entries.map(name).collect()
    }

    /// As on a file system without nameless files.
    fn named(path: &Path, bytes: &[u8]) -> Partial {
        let file = disk::beside(path, Access::Umask).expect("a file");
        let partial = Partial {
            path: path.to_owned(),
            file: Written::Named(file),
        };
        partial.write(bytes, 0).expect("written");
        partial
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_that_lives() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("bundle.tar");
        let dead = disk::beside(&path, Access::Umask).expect("a file");
        let (file, dead) = dead.keep().expect("it stays as after a kill");
        let alive = named(&path, b"more");
        let others = [
            ".barge-other.tar-x.partial",
            ".barge-x.partial",
            "bundle.tar-",
        ];
        for other in others {
            std::fs::write(directory.path().join(other), b"").expect("written");
        }
        let count = names(directory.path()).len();

        disk::sweep_for(&path);
        disk::sweep(parent(&path));
        assert_eq!(names(directory.path()).len(), count, "both are held");
        drop(file);
        drop(Partial::create(&path, 1000).expect("a file"));
        assert!(!dead.exists());
        assert_eq!(names(directory.path()).len(), count - 1);

        let persisted = alive.persist(4, None).expect("it gets its name");
        assert_eq!(persisted, Persisted::InPlace);
        assert_eq!(std::fs::read(&path).expect("it is there"), b"more");
        let expected = others.into_iter().chain(["bundle.tar"]);
        assert_eq!(
            names(directory.path()),
            expected.map(str::to_owned).collect()
        );
    }

    #[test]
    fn a_name_of_any_length_and_kind_has_a_partial_beside_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["\u{1f980}".repeat(60), "a b".into(), "x".repeat(255)] {
            let path = directory.path().join(name);
            let persisted = named(&path, b"1").persist(1, None);
            assert_eq!(persisted.expect("it gets its name"), Persisted::InPlace);
            assert!(path.exists());
        }
    }

    #[test]
    fn of_those_who_read_the_same_archive_one_replaces_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("bundle.tar");
        let nameless = |bytes: &[u8]| {
            let partial = Partial::create(&path, bytes.len() as u64).expect("a file");
            partial.write(bytes, 0).expect("written");
            partial
        };
        let mut before = None;
        for round in 0..2 {
            let (first, second) = (nameless(b"first"), named(&path, b"second"));
            let persisted = first.persist(5 + round, before.as_ref());
            assert_eq!(persisted.expect("written"), Persisted::InPlace);
            let persisted = second.persist(6, before.as_ref());
            assert_eq!(persisted.expect("written"), Persisted::Overtaken);
            before = Stamp::at(&path);
            assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());
        }
        let other = File::open(&path).expect("an archive");
        other.lock().expect("a lock");
        let persisted = nameless(b"third").persist(5, before.as_ref());
        assert_eq!(persisted.expect("written"), Persisted::Overtaken);
    }
}
