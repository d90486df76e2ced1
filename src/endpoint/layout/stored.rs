//! A manifest that is stored as a blob of a layout, on disk or in an archive: which one a REF or digest
//! names, and whether the bytes read are it.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use bytes::Bytes;

use super::index_file::IndexFile;
use crate::endpoint::{Received, Target};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{MAX_MANIFEST_BYTES, Manifest};

/// What is known of a manifest before it is read.
pub(in crate::endpoint) struct Stored {
    /// The name of its blob.
    pub(in crate::endpoint) digest: Digest,
    media_type: Option<String>,
    name: String,
}

impl Stored {
    /// What `target` names in `place`, whose index is `index`; a digest need not be in it.
    pub(in crate::endpoint) fn named(
        target: &Target,
        index: Option<&IndexFile>,
        place: &dyn Display,
    ) -> Result<Option<Self>> {
        let entry = match index {
            Some(index) => index.find(target, place)?,
            None => None,
        };
        let (digest, name) = match (target, &entry) {
            (Target::Tag(_), None) => return Ok(None),
            (Target::Tag(tag), Some(entry)) => (&entry.digest, format!("{place}:{tag}")),
            (Target::Digest(digest), _) => (digest, format!("{place}@{digest}")),
        };
        Ok(Some(Self {
            digest: digest.clone(),
            name,
            media_type: entry.map(|entry| entry.media_type),
        }))
    }

    /// `None`, unless the index names what is not there.
    pub(in crate::endpoint) fn if_listed<T>(&self) -> Result<Option<T>> {
        if self.media_type.is_none() {
            return Ok(None);
        }
        Err(self
            .error(Kind::NotFound)
            .because("index.json lists it, but it is not there"))
    }

    /// The manifest of `size` bytes that `read` gives, checked.
    pub(in crate::endpoint) fn read(
        self,
        size: u64,
        read: impl FnOnce() -> io::Result<Bytes>,
    ) -> Result<Manifest> {
        if size > MAX_MANIFEST_BYTES as u64 {
            let cause = format!("{size} bytes are more than a manifest may have");
            return Err(self.error(Kind::InvalidManifest).because(cause));
        }
        self.manifest(read())
    }

    /// The manifest that was `read`, checked.
    pub(in crate::endpoint) fn manifest(self, read: io::Result<Bytes>) -> Result<Manifest> {
        let bytes = read.map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::FileTooLarge => Kind::InvalidManifest,
                _ => Kind::LocalIo,
            };
            self.error(kind).because(error)
        })?;
        let received = Received {
            bytes,
            content_type: self.media_type,
            digest: None,
        };
        received.check(&Target::Digest(self.digest), &self.name)
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, "read manifest", &self.name)
    }
}
