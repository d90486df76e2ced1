//! Artifacts that refer to an image, and the list of them where a registry has no referrers API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Bundle;
use super::push::Target;
use super::spec::descriptor;
use crate::support::content::{Manifest, OCI_INDEX, OCI_MANIFEST};

/// An artifact to be built.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    kind: String,
    subject: Option<Value>,
    content: String,
    padding: usize,
}

impl Artifact {
    /// One of this type; `content` makes it another one.
    pub(crate) fn new(kind: &str, content: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            subject: None,
            content: content.to_owned(),
            padding: 0,
        }
    }

    /// One that refers to `subject`.
    pub(crate) fn of(subject: &Manifest, kind: &str, content: &str) -> Self {
        Self {
            subject: Some(descriptor(&subject.media_type, &subject.bytes)),
            ..Self::new(kind, content)
        }
    }

    /// Makes its manifest so many bytes longer.
    pub(crate) fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    pub(crate) fn build(self) -> Bundle {
        let (config, content) = (Bytes::from_static(b"{}"), Bytes::from(self.content));
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": self.kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", &config),
            "layers": [descriptor(&self.kind, &content)],
            "annotations": {"org.example.of": "tests"},
        });
        if let Some(subject) = self.subject {
            manifest["subject"] = subject;
        }
        if self.padding > 0 {
            manifest["annotations"]["org.example.padding"] = json!("x".repeat(self.padding));
        }
        Bundle {
            blobs: vec![config, content],
            manifests: Vec::new(),
            root: Manifest::new(OCI_MANIFEST, manifest.to_string()),
        }
    }
}

impl Bundle {
    /// Puts it into a repository by its digest alone.
    pub(crate) fn put_into<'a>(&self, target: impl Into<Target<'a>>, repository: &str) {
        let digest = self.root.digest();
        match target.into() {
            Target::Docker(registry) => {
                let client = registry.client();
                self.blobs
                    .iter()
                    .for_each(|blob| client.put_blob(repository, blob));
                client.put_manifest(repository, &digest, &self.root);
            }
            Target::Fake(registry) => {
                for blob in &self.blobs {
                    registry.store.put_blob(repository, blob.clone());
                }
                registry
                    .store
                    .put_manifest(repository, &digest, self.root.clone());
            }
        }
    }
}

/// The list of referrers that stands in for the API.
pub(crate) fn list_of(artifacts: &[&Bundle]) -> Manifest {
    let entries = artifacts.iter().map(|artifact| {
        let root = &artifact.root;
        let mut entry = descriptor(&root.media_type, &root.bytes);
        entry["artifactType"] = root.json()["artifactType"].clone();
        entry
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": entries.collect::<Vec<_>>(),
    });
    Manifest::new(OCI_INDEX, index.to_string())
}

/// The tag of the list of what refers to `digest`.
pub(crate) fn list_tag(digest: &str) -> String {
    digest.replace(':', "-")
}
