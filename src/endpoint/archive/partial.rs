//! A file that is not yet whole. Where the system can, it has no name until it is, and is gone whatever
//! ends the process; elsewhere it has a temporary name beside its final one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::members::Places;
use super::positioned::{read_exact_at, write_all_at};
use crate::endpoint::layout::partial_beside;
use crate::endpoint::layout::sync_directory;

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
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let partial = Self {
            file: Written::beside(&path)?,
            path,
        };
        reserve(partial.file(), length)?;
        partial.file().set_len(length)?;
        Ok(partial)
    }

    /// Writes `bytes` from `offset` on.
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

    /// The file is whole, `length` bytes long: it gets its name, in place of what had it.
    pub(super) fn persist(self, length: u64) -> io::Result<()> {
        self.file().set_len(length)?;
        self.file().sync_all()?;
        self.file.name(&self.path)?;
        sync_directory(parent(&self.path))
    }

    fn file(&self) -> &File {
        match &self.file {
            #[cfg(target_os = "linux")]
            Written::Nameless(file) => file,
            Written::Named(file) => file.as_file(),
        }
    }
}

impl Written {
    #[cfg(target_os = "linux")]
    fn beside(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(parent(path), flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Self::Nameless(file.into())),
            // Not every file system has such files.
            Err(_) => partial_beside(path).map(Self::Named),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn beside(path: &Path) -> io::Result<Self> {
        partial_beside(path).map(Self::Named)
    }

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
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd as _;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |name: &Path| {
        rustix::fs::linkat(CWD, &nameless, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    };
    let linked = crate::endpoint::layout::partial_name().make_in(parent(path), link)?;
    Ok(linked.into_temp_path())
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

/// The directory that `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    let parent = path.parent();
    parent
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}
