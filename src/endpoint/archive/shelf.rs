//! Manifests that wait until an archive is written, which is planned as a whole before: what the plan needs of
//! each, and where its bytes are. They are in memory while they are few, and then in a file without a name.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::positioned::{read_exact_at, write_all_at};
use super::store::{spool_directory, spool_failed};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};

/// How many bytes of manifests wait in memory.
const IN_MEMORY: u64 = 16 << 20;

/// A manifest that waits.
#[derive(Debug)]
pub struct Shelved {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// As [`Manifest::blobs`] gives them, without what the plan does not need.
    pub(crate) blobs: Vec<Descriptor>,
    /// How many layers are not pushed.
    pub(crate) foreign: u64,
    /// The nondistributable layers that are among the blobs all the same.
    pushed: BTreeSet<Digest>,
    /// The manifest that it refers to.
    pub(crate) subject: Option<Digest>,
    bytes: Kept,
}

#[derive(Debug)]
enum Kept {
    Here(Bytes),
    InFile(Arc<File>, u64),
}

/// The manifests of a run that wait, each once.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<(Digest, String), Arc<Shelved>>,
    /// How many bytes are in memory.
    here: u64,
    file: Option<Arc<File>>,
    /// The length of the file.
    length: u64,
}

impl Shelf {
    /// Puts `manifest` there, unless it is there.
    ///
    /// # Errors
    ///
    /// `local-io` when the file cannot be written.
    pub(crate) fn put(&self, manifest: &Manifest) -> Result<Arc<Shelved>> {
        let mut state = self.state();
        let key = (manifest.digest.clone(), manifest.media_type.clone());
        if let Some(known) = state.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let kept = state.keep(&manifest.bytes);
        let kept = kept.map_err(|error| spool_failed(&spool_directory(), &error))?;
        let shelved = Arc::new(Shelved::of(manifest, kept));
        state.known.insert(key, Arc::clone(&shelved));
        Ok(shelved)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, bytes: &Bytes) -> io::Result<Kept> {
        let size = bytes.len() as u64;
        if self.here + size <= IN_MEMORY {
            self.here += size;
            return Ok(Kept::Here(bytes.clone()));
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(tempfile::tempfile_in(spool_directory())?),
        };
        self.file = Some(Arc::clone(&file));
        let at = self.length;
        write_all_at(&file, bytes, at)?;
        self.length += size;
        Ok(Kept::InFile(file, at))
    }
}

impl Shelved {
    fn of(manifest: &Manifest, bytes: Kept) -> Self {
        let blobs = manifest.blobs().into_iter();
        Self {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest.clone(),
            size: manifest.bytes.len() as u64,
            blobs: blobs.map(Descriptor::plain).collect(),
            foreign: manifest.foreign() as u64,
            pushed: manifest.pushed_layers().cloned().collect(),
            subject: manifest.subject().map(|subject| subject.digest.clone()),
            bytes,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// `local-io` when the file cannot be read.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        match &self.bytes {
            Kept::Here(bytes) => Ok(bytes.clone()),
            Kept::InFile(file, at) => {
                let failed = |why: &dyn std::fmt::Display| {
                    Error::new(Kind::LocalIo, "read manifest", &self.digest).because(why)
                };
                let size = usize::try_from(self.size).map_err(|why| failed(&why))?;
                let mut bytes = vec![0; size];
                read_exact_at(file, &mut bytes, *at).map_err(|why| failed(&why))?;
                Ok(bytes.into())
            }
        }
    }

    /// The manifest, parsed again.
    ///
    /// # Errors
    ///
    /// As [`Self::bytes`].
    pub(crate) fn read(&self) -> Result<Manifest> {
        let manifest = Manifest::parse(self.bytes()?, Some(&self.media_type))?;
        Ok(manifest.with_layers(&self.pushed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_longer_fits_into_memory_is_read_from_the_file() {
        let shelf = Shelf::default();
        let size = 3 << 20;
        let manifests: Vec<Manifest> = (0..8)
            .map(|number| {
                let text = format!(r#"{{"manifests":[],"x":"{number}{}"}}"#, "x".repeat(size));
                Manifest::parse(text.into(), None).expect("an index")
            })
            .collect();
        let put = |manifest| shelf.put(manifest).expect("there is room");
        let shelved: Vec<_> = manifests.iter().map(put).collect();
        let in_file = |shelved: &&Arc<Shelved>| matches!(shelved.bytes, Kept::InFile(..));
        assert_eq!(shelved.iter().filter(in_file).count(), 3);
        for (shelved, manifest) in shelved.iter().zip(&manifests) {
            assert_eq!(&shelved.read().expect("it is there"), manifest);
            assert!(Arc::ptr_eq(shelved, &put(manifest)), "each once");
        }
    }
}
