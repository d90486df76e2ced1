//! Files that are read whole, and never more of them than is wanted.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::on_thread;

/// The longest file of certificates, logins or settings that is read, in bytes.
pub(crate) const LONGEST_SETTINGS: u64 = 16 << 20;

/// All of a regular file; `FileTooLarge` if it has more than `longest` bytes.
pub(crate) fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    read_file(open(path)?, longest)
}

/// All of a file of settings. It may be a device: `/dev/null` stands for no settings.
pub(crate) fn read_settings(path: &Path) -> io::Result<Vec<u8>> {
    let file = options().read(true).open(path)?;
    match Kind::of(&file)? {
        Kind::Regular | Kind::Device => read_within(file, LONGEST_SETTINGS),
        other => Err(other.refused()),
    }
}

/// All of a file that the user named. It may be a pipe, `<(command)`, and is waited for.
pub(crate) async fn read_named(path: PathBuf, longest: u64) -> io::Result<Vec<u8>> {
    on_thread(move || read_within(File::open(path)?, longest)).await
}

/// All of standard input.
pub(crate) async fn read_input(longest: u64) -> io::Result<Vec<u8>> {
    on_thread(move || read_within(io::stdin().lock(), longest)).await
}

/// A regular file to read. Anything else is refused: to read a pipe or a device may never end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    require_regular(options().read(true).open(path)?)
}

pub(super) fn require_regular(file: File) -> io::Result<File> {
    match Kind::of(&file)? {
        Kind::Regular => Ok(file),
        other => Err(other.refused()),
    }
}

/// Options that open a pipe without waiting for its other end.
pub(super) fn options() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    with_flags(&mut options, rustix::fs::OFlags::empty());
    options
}

/// The same with more `flags`.
#[cfg(unix)]
pub(super) fn with_flags(options: &mut OpenOptions, flags: rustix::fs::OFlags) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = flags | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
}

#[derive(Clone, Copy)]
enum Kind {
    Regular,
    Directory,
    Pipe,
    Device,
}

impl Kind {
    fn of(file: &File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        #[cfg(unix)]
        if std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
            return Ok(Self::Pipe);
        }
        Ok(match (kind.is_file(), kind.is_dir()) {
            (true, _) => Self::Regular,
            (_, true) => Self::Directory,
            _ => Self::Device,
        })
    }

    fn refused(self) -> io::Error {
        let (kind, what) = match self {
            Self::Directory => (ErrorKind::IsADirectory, "directory"),
            Self::Pipe => (ErrorKind::Other, "named pipe"),
            Self::Regular | Self::Device => (ErrorKind::Other, "device"),
        };
        io::Error::new(kind, format!("it is a {what}, not a regular file"))
    }
}

/// All of an open file, unless it is longer: then nothing of it is read.
pub(crate) fn read_file(file: File, longest: u64) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > longest {
        return Err(too_long(longest));
    }
    read_within(file, longest)
}

fn too_long(longest: u64) -> io::Error {
    let why = format!("it has more than {longest} bytes");
    io::Error::new(ErrorKind::FileTooLarge, why)
}

/// All that comes from `source`; `FileTooLarge` if that is more than `longest` bytes.
pub(crate) fn read_within(source: impl Read, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(longest.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(too_long(longest));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").expect("written");
        assert_eq!(read(&path, 5).expect("it fits"), b"12345");
        assert_eq!(read(&path, u64::MAX).expect("it fits"), b"12345");
        let error = read(&path, 4).expect_err("it is too long");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = read(directory.path(), 5).expect_err("a directory");
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_stands_for_settings_alone() {
        let null = Path::new("/dev/null");
        assert!(read(null, 5).is_err());
        assert_eq!(read_settings(null).expect("empty"), b"");
        let zero = read_settings(Path::new("/dev/zero")).expect_err("it never ends");
        assert_eq!(zero.kind(), ErrorKind::FileTooLarge);
    }
}
