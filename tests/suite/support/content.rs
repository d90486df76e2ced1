//! Bytes and their names: digests, media types, and a manifest as registries store it.
//!
//! Nothing here parses a manifest: bytes are kept as they came.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const DOCKER_FOREIGN_LAYER: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The `sha256:…` digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    finish(Sha256::new_with_prefix(bytes))
}

/// The `sha256:…` digest of all that was hashed.
pub(crate) fn finish(hasher: Sha256) -> String {
    let mut digest = String::from("sha256:");
    for byte in hasher.finalize() {
        write!(digest, "{byte:02x}").expect("a string takes every write");
    }
    digest
}

/// Any manifest or index: its exact bytes and the media type that it goes under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

impl Manifest {
    pub(crate) fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self {
            media_type: media_type.into(),
            bytes: bytes.into(),
        }
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    /// The bytes as JSON, to look into.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).expect("a manifest is JSON")
    }
}

/// The same bytes with one bit of the middle byte turned over.
pub(crate) fn flip_bit(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}
