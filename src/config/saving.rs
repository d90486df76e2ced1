//! What a copy may ask of its destination, and what that can be called: a `docker-archive:` holds less than
//! other places do, and only an `oci-archive:` leaves something out. A flag that cannot be kept is refused; a
//! variable may be meant for other runs, so it is disregarded and told of.

use std::ffi::OsStr;
use std::path::Path;

use super::referrers;
use crate::cli::{CopyArgs, PlatformArgs, TransferArgs};
use crate::error::{Error, Result};
use crate::image::platform::Wanted;
use crate::image::referrers::Types;
use crate::options::{Digests, ForeignLayers, Mode};
use crate::reference::{Reference, RegistryReference, STANDARD};

/// Takes out of `arguments` what variables say and `destination` can never hold; a sentence for each.
pub(super) fn disregard(arguments: &mut CopyArgs, destination: &Reference) -> Vec<String> {
    let CopyArgs {
        from_variables,
        platforms,
        transfer,
        ..
    } = arguments;
    let wanted = &mut arguments.referrers.which.referrers;
    let mut notes = Vec::new();
    let mut note = |variable: &str, why: &str| {
        notes.push(format!("{variable} is disregarded: {why}"));
    };
    if from_variables.contains("have") && check_have(transfer.have.as_deref(), destination).is_err()
    {
        transfer.have = None;
        note("BARGE_HAVE", "only an oci-archive leaves parts out");
    }
    if !matches!(destination, Reference::DockerArchive(_)) {
        return notes;
    }
    let has_types = !matches!(referrers::types(wanted), Ok(None));
    if from_variables.contains("referrers") && has_types {
        wanted.clear();
        let why = "a docker-archive holds nothing that refers to an image; oci-archive:PATH does";
        note("BARGE_REFERRERS", why);
    }
    if from_variables.contains("preserve_digests") && transfer.preserve_digests {
        transfer.preserve_digests = false;
        let why = "a docker-archive holds no manifests, so it has digests of its own; oci-archive:PATH keeps them";
        note("BARGE_PRESERVE_DIGESTS", why);
    }
    if from_variables.contains("mode") && platforms.mode == Some(Mode::SparseIndex) {
        platforms.mode = None;
        let why = "a docker-archive holds no index; oci-archive:PATH does";
        note("BARGE_MODE", why);
    }
    notes
}

/// Only an archive can leave something out: what completes it is known where it arrives.
pub(super) fn check_have(have: Option<&Path>, destination: &Reference) -> Result<()> {
    if have.is_some() && !matches!(destination, Reference::OciArchive(_)) {
        return Err(Error::usage(
            "--have leaves parts out of an archive: DESTINATION has to be oci-archive:PATH",
        ));
    }
    Ok(())
}

/// Whether nondistributable layers are copied.
pub(super) fn foreign(arguments: &PlatformArgs) -> ForeignLayers {
    if arguments.include_foreign_layers {
        ForeignLayers::Included
    } else {
        ForeignLayers::Left
    }
}

/// Whether digests may change.
pub(super) fn digests(arguments: &TransferArgs) -> Digests {
    if arguments.preserve_digests {
        Digests::Preserve
    } else {
        Digests::MayChange
    }
}

/// Whether the name of a file says that it is compressed.
fn says_packed(path: &Path) -> bool {
    const ENDS: [&str; 10] = [
        "gz", "tgz", "zst", "tzst", "zstd", "bz2", "tbz", "tbz2", "xz", "txz",
    ];
    let end = path.extension().and_then(OsStr::to_str);
    end.is_some_and(|end| ENDS.iter().any(|known| known.eq_ignore_ascii_case(end)))
}

/// What the images are to be called in the archive, where `destination` is one and says so.
///
/// # Errors
///
/// A usage error for what such an archive can never hold, or be.
pub(super) fn check(
    destination: &Reference,
    (mode, wanted): (Mode, &Wanted),
    digests: Digests,
    referrers: Option<&Types>,
) -> Result<Option<RegistryReference>> {
    let refused = |why: &str| Err(Error::usage(format!("`{destination}`: {why}")));
    let file = match destination {
        Reference::OciArchive(file) | Reference::DockerArchive(file) => file,
        Reference::Registry(_) | Reference::Layout(_) => return Ok(None),
    };
    if says_packed(&file.path) {
        return refused(
            "archives are written as plain tar files, not compressed as this name says; end it in .tar, or compress the stream: barge copy … oci-archive:- | zstd > FILE",
        );
    }
    let Reference::DockerArchive(file) = destination else {
        return Ok(None);
    };
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
