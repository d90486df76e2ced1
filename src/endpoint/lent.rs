//! What an archive leaves out is read where it is lent from: the place that the archive goes to, or another
//! repository of the same registry.

use std::collections::HashMap;

use super::Endpoint;
use super::archive::OciArchive;
use crate::error::Result;
use crate::image::digest::Digest;
use crate::inventory::difference::Difference;

/// Who lends each part that an archive leaves out.
#[derive(Clone, Debug, Default)]
pub struct Lent {
    /// Places that lend something.
    lenders: Vec<Endpoint>,
    /// The number of its lender, by what is lent.
    parts: HashMap<Digest, usize>,
}

impl Lent {
    /// Nothing is lent yet, by `lenders`.
    #[must_use]
    pub fn by(lenders: Vec<Endpoint>) -> Self {
        Self {
            lenders,
            parts: HashMap::new(),
        }
    }

    /// The lender of this number has the part.
    pub fn add(&mut self, part: Digest, lender: usize) {
        self.parts.insert(part, lender);
    }

    /// Who lends a part.
    pub(super) fn lender(&self, part: &Digest) -> Option<&Endpoint> {
        self.lenders.get(*self.parts.get(part)?)
    }
}

impl Endpoint {
    /// The same place, to which is lent what it leaves out.
    #[must_use]
    pub fn completed_by(self, lent: Lent) -> Self {
        match self {
            Self::OciArchive(archive) => {
                let mut archive = OciArchive::clone(&archive);
                archive.lent = lent.into();
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
            (Self::OciArchive(archive), _) => {
                archive.lent.lender(blob)?.mountable_from(blob, destination)
            }
            _ => None,
        }
    }
}
