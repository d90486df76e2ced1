//! Parts that an archive leaves out are read elsewhere: from the destination of the copy, or from another repository of
//! the same registry.

use std::collections::HashMap;

use super::Endpoint;
use super::archive::OciArchive;
use crate::error::Result;
use crate::image::digest::Digest;
use crate::inventory::difference::Difference;

/// Where each part that an archive leaves out can be read.
#[derive(Clone, Debug, Default)]
pub struct BlobFallback {
    endpoints: Vec<Endpoint>,
    /// The index of the endpoint that has each part.
    parts: HashMap<Digest, usize>,
}

impl BlobFallback {
    /// No part is known to be in any of the `endpoints` yet.
    #[must_use]
    pub fn by(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            parts: HashMap::new(),
        }
    }

    /// Notes that the endpoint with this index has the part.
    pub fn add(&mut self, part: Digest, endpoint: usize) {
        self.parts.insert(part, endpoint);
    }

    /// The endpoint that has a part.
    pub(super) fn endpoint(&self, part: &Digest) -> Option<&Endpoint> {
        self.endpoints.get(*self.parts.get(part)?)
    }
}

impl Endpoint {
    /// The same endpoint, which reads the parts that it leaves out from `fallback`.
    #[must_use]
    pub fn completed_by(self, fallback: BlobFallback) -> Self {
        match self {
            Self::OciArchive(archive) => {
                let mut archive = OciArchive::clone(&archive);
                archive.fallback = fallback.into();
                Self::OciArchive(archive.into())
            }
            other => other,
        }
    }

    /// What the place was made without, if it is an archive that leaves something out.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn difference(&self) -> Result<Option<&Difference>> {
        match self {
            Self::OciArchive(archive) => archive.difference().await,
            Self::Registry(_) | Self::Layout(_) | Self::DockerArchive(_) => Ok(None),
        }
    }

    /// The repository from which `destination` can mount a blob of this place, if any.
    #[must_use]
    pub fn mountable_from(&self, blob: &Digest, destination: &Self) -> Option<String> {
        match (self, destination) {
            (Self::Registry(source), Self::Registry(destination))
                if source.host() == destination.host() && source.name() != destination.name() =>
            {
                Some(source.name().to_owned())
            }
            (Self::OciArchive(archive), _) => archive
                .fallback
                .endpoint(blob)?
                .mountable_from(blob, destination),
            _ => None,
        }
    }
}
