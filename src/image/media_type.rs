//! The media types that barge tells apart. Every other type is a blob and passes through untouched.

use oci_client::manifest;

pub const OCI_INDEX: &str = manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;
/// An OCI image manifest.
pub const OCI_MANIFEST: &str = manifest::OCI_IMAGE_MEDIA_TYPE;
/// A Docker manifest list, the older index.
pub const DOCKER_LIST: &str = manifest::IMAGE_MANIFEST_LIST_MEDIA_TYPE;
/// A Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = manifest::IMAGE_MANIFEST_MEDIA_TYPE;
/// A Docker image manifest, schema 1: recognised so that it can be refused by name.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same, signed.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// An OCI image config.
pub const OCI_CONFIG: &str = manifest::IMAGE_CONFIG_MEDIA_TYPE;
/// A Docker image config.
pub const DOCKER_CONFIG: &str = manifest::IMAGE_DOCKER_CONFIG_MEDIA_TYPE;

const OCI_NONDISTRIBUTABLE: &str = manifest::IMAGE_LAYER_NONDISTRIBUTABLE_MEDIA_TYPE;
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// Whether this is an index, OCI's or Docker's.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// Whether this is a manifest of any kind, also of one that barge does not know. Whatever else an index lists is a
/// blob: layers of caches, checkpoints.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    media_type.is_empty() || is_index(media_type) || media_type.contains("manifest")
}

/// Whether this is an image manifest that barge can copy.
#[must_use]
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether this is the config of an image, which names its platform.
#[must_use]
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether this is Docker's schema 1, which has no config and no fixed bytes.
#[must_use]
pub fn is_schema1(media_type: &str) -> bool {
    matches!(media_type, DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED)
}

/// Whether a layer of this type, compressed or not, must not be pushed to registries at large.
#[must_use]
pub fn is_nondistributable(media_type: &str) -> bool {
    media_type.starts_with(OCI_NONDISTRIBUTABLE) || media_type.starts_with(DOCKER_FOREIGN)
}
