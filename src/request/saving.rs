//! What a copy to `docker-archive:` may ask for.

use crate::cli::TransferArgs;
use crate::error::{Error, Result};
use crate::image::platform::Wanted;
use crate::image::referrers::Types;
use crate::options::{Digests, Mode};
use crate::reference::{Reference, RegistryReference, STANDARD};

/// Whether digests may change.
pub(super) fn digests(arguments: &TransferArgs) -> Digests {
    if arguments.preserve_digests {
        Digests::Preserve
    } else {
        Digests::MayChange
    }
}

/// What the images are to be called in the archive, where `destination` is one and says so.
///
/// # Errors
///
/// A usage error for what such an archive can never hold.
pub(super) fn check(
    destination: &Reference,
    (mode, wanted): (Mode, &Wanted),
    digests: Digests,
    referrers: Option<&Types>,
) -> Result<Option<RegistryReference>> {
    let Reference::DockerArchive(file) = destination else {
        return Ok(None);
    };
    let refused = |why: &str| Err(Error::usage(format!("`{destination}`: {why}")));
    if file.path.as_os_str() == STANDARD {
        return refused(
            "the size of a layer is known when it is unpacked and stands before it, so this is no stream; name a file, or write oci-archive:-",
        );
    }
    if digests == Digests::Preserve {
        return refused(
            "a docker-archive holds no manifests, so --preserve-digests cannot be kept; write oci-archive:PATH",
        );
    }
    if referrers.is_some() {
        return refused(
            "a docker-archive holds nothing that refers to an image, so --referrers cannot be kept; write oci-archive:PATH",
        );
    }
    if mode == Mode::SparseIndex {
        return refused(
            "a docker-archive holds no index, so --mode sparse-index has nothing to keep; --arch is enough",
        );
    }
    if wanted.selectors().count() > 1 {
        return refused(
            "a docker-archive holds one platform of an image; name one --arch, or write oci-archive:PATH",
        );
    }
    file.name
        .as_deref()
        .map(RegistryReference::of_image)
        .transpose()
}
