//! What a fake registry holds, and the way to it past its log and its checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

use super::auth::Tokens;
use super::settings::Settings;
use crate::support::content::{Manifest, flip_bit, sha256};

/// Everything behind one lock.
#[derive(Default)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) opened: usize,
    pub(super) tokens: Tokens,
}

#[derive(Default)]
pub(super) struct Repository {
    pub(super) blobs: BTreeMap<String, Bytes>,
    /// By digest.
    pub(super) manifests: BTreeMap<String, Manifest>,
    pub(super) tags: BTreeMap<String, String>,
}

/// A session: where it goes, and what came so far.
pub(super) struct Upload {
    pub(super) repository: String,
    pub(super) bytes: BytesMut,
}

impl Repository {
    /// The digest that a reference stands for.
    pub(super) fn resolve(&self, reference: &str) -> Option<String> {
        if reference.contains(':') {
            Some(reference.to_owned())
        } else {
            self.tags.get(reference).cloned()
        }
    }

    pub(super) fn manifest(&self, reference: &str) -> Option<&Manifest> {
        self.manifests.get(&self.resolve(reference)?)
    }

    /// Stores under the digest, and under the tag where `reference` is one; the digest that the tag had before.
    pub(super) fn store(&mut self, reference: &str, manifest: Manifest) -> Option<String> {
        let digest = manifest.digest();
        self.manifests.insert(digest.clone(), manifest);
        if reference.contains(':') {
            return None;
        }
        let before = self.tags.insert(reference.to_owned(), digest.clone());
        before.filter(|before| *before != digest)
    }
}

/// Direct access to what a registry holds; clones see the same.
///
/// It may be used from within a rule, to change something just before a request is answered.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<World>>);

impl Store {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no handler panicked")
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.change(repository, |found| {
            found.blobs.insert(digest.clone(), bytes)
        });
        digest
    }

    /// Stores a manifest unchecked under its digest, and under `reference` where that is a tag.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: Manifest,
    ) -> String {
        let digest = manifest.digest();
        self.change(repository, |found| found.store(reference, manifest));
        digest
    }

    /// The manifest behind a tag or digest.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        self.world()
            .repositories
            .get(repository)?
            .manifest(reference)
            .cloned()
    }

    /// The digest that a tag points at.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.world()
            .repositories
            .get(repository)?
            .tags
            .get(tag)
            .cloned()
    }

    /// The tags in order.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let world = self.world();
        let found = world.repositories.get(repository);
        found
            .into_iter()
            .flat_map(|found| found.tags.keys().cloned())
            .collect()
    }

    pub(crate) fn repositories(&self) -> Vec<String> {
        self.world().repositories.keys().cloned().collect()
    }

    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.world()
            .repositories
            .get(repository)?
            .blobs
            .get(digest)
            .cloned()
    }

    pub(crate) fn has_blob(&self, repository: &str, digest: &str) -> bool {
        self.blob(repository, digest).is_some()
    }

    /// Every manifest and blob of a repository, by digest.
    pub(crate) fn parts(&self, repository: &str) -> BTreeMap<String, Bytes> {
        let world = self.world();
        let Some(found) = world.repositories.get(repository) else {
            return BTreeMap::new();
        };
        let manifests = found.manifests.iter();
        let manifests =
            manifests.map(|(digest, manifest)| (digest.clone(), manifest.bytes.clone()));
        manifests.chain(found.blobs.clone()).collect()
    }

    /// Takes a manifest away under its digest; its tags then lead nowhere.
    pub(crate) fn remove_manifest(&self, repository: &str, digest: &str) {
        let removed = self.change(repository, |found| found.manifests.remove(digest));
        assert!(
            removed.is_some(),
            "{repository} has no manifest {digest} to remove"
        );
    }

    pub(crate) fn remove_tag(&self, repository: &str, tag: &str) {
        let removed = self.change(repository, |found| found.tags.remove(tag));
        assert!(removed.is_some(), "{repository} has no tag {tag} to remove");
    }

    pub(crate) fn remove_blob(&self, repository: &str, digest: &str) {
        let removed = self.change(repository, |found| found.blobs.remove(digest));
        assert!(
            removed.is_some(),
            "{repository} has no blob {digest} to remove"
        );
    }

    /// Turns one bit of a blob over; it keeps its name and length.
    pub(crate) fn corrupt_blob(&self, repository: &str, digest: &str) {
        let damaged = self.blob(repository, digest).map(|bytes| flip_bit(&bytes));
        let damaged = damaged.expect("the blob is there to be damaged");
        self.change(repository, |found| {
            found.blobs.insert(digest.to_owned(), damaged)
        });
    }

    /// How many upload sessions are open.
    pub(crate) fn open_uploads(&self) -> usize {
        self.world().uploads.len()
    }

    fn change<T>(&self, repository: &str, change: impl FnOnce(&mut Repository) -> T) -> T {
        change(
            self.world()
                .repositories
                .entry(repository.to_owned())
                .or_default(),
        )
    }
}
