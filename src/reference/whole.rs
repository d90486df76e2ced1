//! Whole names of images in files, `HOST/REPOSITORY:TAG`, as docker and podman write them; a REF of the OCI
//! specification may be the tag alone.

use super::{Reference, RegistryReference};

/// The tag of a whole name; what is none is its own.
///
/// ```
/// use barge::reference::tag_of;
///
/// assert_eq!(tag_of("localhost/app:v1"), "v1");
/// assert_eq!(tag_of("v1"), "v1");
/// assert_eq!(tag_of("some words: v1"), "some words: v1");
/// ```
#[must_use]
pub fn tag_of(name: &str) -> &str {
    match RegistryReference::of_image(name) {
        Ok(image) if image.tag.is_some() && image.digest.is_none() => {
            name.rsplit_once(':').map_or(name, |(_, tag)| tag)
        }
        _ => name,
    }
}

/// The repository of a whole name, `docker.io/library/alpine` of `alpine:3`.
#[must_use]
pub fn repository_of(name: &str) -> Option<String> {
    let image = RegistryReference::of_image(name).ok()?;
    image.tag.is_some().then(|| image.place())
}

impl Reference {
    /// The repository that NAME is in `docker-archive:PATH:NAME`, or `localhost/app` in
    /// `oci-archive:PATH:localhost/app`: images of a file, and none of them.
    #[must_use]
    pub fn repository_in_file(&self) -> Option<String> {
        let name = match self {
            Self::Registry(_) => return None,
            Self::DockerArchive(file) => file.name.as_ref(),
            Self::Layout(file) | Self::OciArchive(file) => {
                file.name.as_ref().filter(|name| name.contains('/'))
            }
        };
        let image = RegistryReference::of_image(name?).ok()?;
        (image.tag.is_none() && image.digest.is_none()).then(|| image.place())
    }
}
