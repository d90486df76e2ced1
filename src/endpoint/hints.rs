//! What helps where a place does not hold what it should: of an archive other advice than of a registry, to
//! which an image can be pushed again.

use super::Endpoint;
use crate::error::{Error, Kind};

/// What helps where an archive is damaged.
pub(super) const BRING_AGAIN: &str =
    "the archive is damaged or incomplete: bring it again, or have it made anew from its source";

/// What helps where a destination is.
const DELETE_THERE: &str = "what the destination has stored is damaged: delete it there, then copy again with --recheck blobs; the source is not to blame";

/// What helps where an archive does not come whole through a pipe.
pub(super) const PIPED_AGAIN: &str = "see whether what is before the pipe failed; bring lost parts again, pipe all of them in their order, and run the same command again";

/// What helps where a registry or a layout has lost a blob of an image that it has.
const PUSH_AGAIN: &str = "the image is not whole there: push it again, or have it copied from where it is whole; `barge verify` lists all that it lacks";

/// The same error of a blob that could not be read, with what helps where it is lost.
pub(super) fn lost_blob(error: Error) -> Error {
    if error.kind() == Kind::NotFound {
        return error.or_hint(PUSH_AGAIN);
    }
    error
}

/// The same error of what was read from an archive, with what helps there, unless it says that itself.
pub(super) fn of_archive(error: Error) -> Error {
    match error.kind() {
        Kind::NotFound | Kind::DigestMismatch | Kind::InvalidManifest => error.or_hint(BRING_AGAIN),
        _ => error,
    }
}

/// The same error of what was read at a destination: the source is no cause of it.
pub(crate) fn damaged_there(error: Error) -> Error {
    if error.kind() == Kind::DigestMismatch {
        return error.or_hint(DELETE_THERE);
    }
    error
}

impl Endpoint {
    /// The same error of what was read here, with what helps at a place of this kind.
    pub(crate) fn advised(&self, error: Error) -> Error {
        let error = error.at(self.blame());
        match self {
            Self::OciArchive(_) | Self::DockerArchive(_) => of_archive(error),
            Self::Registry(_) | Self::Layout(_) => error,
        }
    }

    /// What mends an archive that lacks parts; `None` where they can be copied again.
    #[must_use]
    pub fn mended_by(&self) -> Option<&'static str> {
        match self {
            Self::OciArchive(_) | Self::DockerArchive(_) => Some(BRING_AGAIN),
            Self::Registry(_) | Self::Layout(_) => None,
        }
    }
}
