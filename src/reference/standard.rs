//! The names of standard input and output: `-`, and those that Unix gives them as files. Opened by such a name
//! a pipe is the same pipe, and a file is written from its beginning, over what else comes there.

use std::path::{Path, PathBuf};

use super::{FileReference, Role};

/// What the path of an archive on standard input or output is written as.
pub const STANDARD: &str = "-";

const INPUT: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
const OUTPUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Whether `path` names standard input.
#[must_use]
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == STANDARD || INPUT.iter().any(|name| path == Path::new(name))
}

/// An archive that is read or written, by the one name of its stream where it is one.
pub(super) fn one_name(mut file: FileReference, role: Role) -> FileReference {
    let names = match role {
        Role::Source => INPUT,
        Role::Destination => OUTPUT,
    };
    if names.iter().any(|name| file.path == Path::new(name)) {
        file.path = PathBuf::from(STANDARD);
    }
    file
}
