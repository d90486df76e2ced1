//! What is known of an archive once its index has been read.

use std::sync::Arc;

use super::opening::Opening;
use super::store::Store;
use super::tar_index::TarIndex;
use super::tar_stream::TarStream;
use crate::endpoint::layout::index_file::{IndexFile, LONGEST};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::MAX_MANIFEST_BYTES;
use crate::inventory::difference::{self, Difference};

/// The longest list of what is left out that is read or written: tens of thousands of parts.
pub(super) const LONGEST_DIFFERENCE: u64 = 16 << 20;

/// What is known of an archive that is there.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    /// All members, or those in front of a stream.
    pub(super) contents: TarIndex,
    /// The blobs behind those, of an archive that is used before its end has come.
    pub(super) stream: Option<TarStream>,
    pub(super) index: IndexFile,
    /// What it was made without.
    pub(super) difference: Option<Difference>,
}

impl Opened {
    pub(super) fn whole(opening: &Opening<'_>) -> Result<Arc<Self>> {
        Self::of(opening.open()?, opening.name)
    }

    /// An archive that is all here.
    pub(super) fn of(store: Store, name: &str) -> Result<Arc<Self>> {
        let contents = store.contents()?;
        let store = Arc::new(store);
        let (index, difference) = Self::front((&store, &contents), name)?;
        Ok(Arc::new(Self {
            store,
            contents,
            stream: None,
            index,
            difference,
        }))
    }

    /// What says what the archive holds, and what it lacks.
    pub(super) fn front(
        (store, contents): (&Store, &TarIndex),
        name: &str,
    ) -> Result<(IndexFile, Option<Difference>)> {
        let refused = |why: String| Error::new(Kind::Protocol, "read archive", name).because(why);
        let Some(span) = contents.file("index.json") else {
            let error = refused("it has no index.json".to_owned());
            return Err(if contents.file("manifest.json").is_some() {
                error.hint("it looks like an archive of `docker save`: write docker-archive:PATH")
            } else {
                error.hint("an OCI archive is a layout in a tar file, with index.json at its top")
            });
        };
        if let Some(link) = contents.any_link() {
            return Err(refused(no_link(link)));
        }
        if span.size > LONGEST {
            return Err(refused(format!("its index.json has {} bytes", span.size)));
        }
        let failed = |why| Error::new(Kind::LocalIo, "read archive", name).because(why);
        let text = store.read(span).map_err(failed)?;
        let index = IndexFile::of(&text, &format_args!("index.json of {name}"))?;
        let difference = match contents.file(difference::FILE) {
            None => None,
            Some(span) if span.size > LONGEST_DIFFERENCE => {
                let (file, size) = (difference::FILE, span.size);
                return Err(refused(format!("its {file} has {size} bytes")));
            }
            Some(span) => {
                let text = store.read(span).map_err(failed)?;
                Some(Difference::parse(&text, name)?)
            }
        };
        Ok((index, difference))
    }

    /// Blobs that may refer to something although they have no entry: in what `cosign save` wrote.
    pub(super) fn without_entry(&self) -> Vec<Digest> {
        if !self.index.is_cosigns() {
            return Vec::new();
        }
        let small = self.contents.files();
        let small = small.filter(|(_, span)| span.size <= MAX_MANIFEST_BYTES as u64);
        let digest = |name: &str| {
            let hex = name.strip_prefix("blobs/sha256/")?;
            format!("sha256:{hex}").parse().ok()
        };
        let mut found: Vec<Digest> = small.filter_map(|(name, _)| digest(name)).collect();
        found.sort();
        found
    }
}

/// Why an archive is refused that has this link.
pub(super) fn no_link(name: &str) -> String {
    format!("{name:?} is a link, which an OCI archive never has")
}
