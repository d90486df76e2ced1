//! Puts a bundle where a scenario wants it.

use super::{Bundle, Image, MultiArch};
use crate::support::client::Client;
use crate::support::content::sha256;
use crate::support::docker_registry::DockerRegistry;
use crate::support::registry::FakeRegistry;

/// Where images are put.
pub(crate) enum Target<'a> {
    Docker(&'a DockerRegistry),
    Fake(&'a FakeRegistry),
}

impl<'a> From<&'a DockerRegistry> for Target<'a> {
    fn from(registry: &'a DockerRegistry) -> Self {
        Self::Docker(registry)
    }
}

impl<'a> From<&'a FakeRegistry> for Target<'a> {
    fn from(registry: &'a FakeRegistry) -> Self {
        Self::Fake(registry)
    }
}

/// Puts `bundle` into a repository as `name` (`repository:tag`); the fake registry gets it behind its log and checks.
pub(crate) fn push<'a>(bundle: impl Into<Bundle>, target: impl Into<Target<'a>>, name: &str) {
    let bundle = bundle.into();
    let (repository, tag) = name.split_once(':').expect("a name is repository:tag");
    match target.into() {
        Target::Docker(registry) => {
            let client = registry.client();
            bundle
                .blobs
                .iter()
                .for_each(|blob| client.put_blob(repository, blob));
            push_manifests(&bundle, &client, (repository, tag));
        }
        Target::Fake(registry) => {
            let store = &registry.store;
            for blob in &bundle.blobs {
                store.put_blob(repository, blob.clone());
            }
            for manifest in &bundle.manifests {
                store.put_manifest(repository, &manifest.digest(), manifest.clone());
            }
            store.put_manifest(repository, tag, bundle.root);
        }
    }
}

fn push_manifests(bundle: &Bundle, client: &Client, (repository, tag): (&str, &str)) {
    for manifest in &bundle.manifests {
        client.put_manifest(repository, &sha256(&manifest.bytes), manifest);
    }
    client.put_manifest(repository, tag, &bundle.root);
}

impl Image {
    /// Puts the image into a registry as `repository:tag`.
    pub(crate) fn push_to<'a>(&self, target: impl Into<Target<'a>>, name: &str) {
        push(self, target, name);
    }
}

impl MultiArch {
    /// Puts the index and everything below it into a registry as `repository:tag`.
    pub(crate) fn push_to<'a>(&self, target: impl Into<Target<'a>>, name: &str) {
        push(self, target, name);
    }
}
