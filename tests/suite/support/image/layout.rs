//! OCI image layouts: written whole, and read back to be judged.
//!
//! No checks here: a layout is whatever its files are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Bundle;
use crate::support::content::{Manifest, sha256};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Writes a new layout that holds each of `images` under its REF (no REF where it is empty).
pub(crate) fn write_layout(directory: &Path, images: &[(&str, Bundle)]) -> Layout {
    fs::create_dir_all(directory.join("blobs/sha256")).expect("the layout's directory can be made");
    let layout = Layout::at(directory);
    let mut entries = Vec::new();
    for (reference, bundle) in images {
        let manifests = bundle.manifests.iter().chain([&bundle.root]);
        for bytes in bundle
            .blobs
            .iter()
            .chain(manifests.map(|manifest| &manifest.bytes))
        {
            fs::write(layout.blob_path(&sha256(bytes)), bytes).expect("a blob can be written");
        }
        let root = &bundle.root;
        let mut entry = json!({"mediaType": root.media_type, "digest": root.digest(), "size": root.bytes.len()});
        if !reference.is_empty() {
            entry["annotations"] = json!({ REF_NAME: reference });
        }
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs::write(directory.join("index.json"), index.to_string()).expect("index.json can be written");
    fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("oci-layout can be written");
    layout
}

/// An OCI layout on disk.
#[derive(Clone, Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// `oci:PATH`, with the REF where it is not empty.
    pub(crate) fn reference(&self, reference: &str) -> String {
        let path = self.0.display();
        if reference.is_empty() {
            format!("oci:{path}")
        } else {
            format!("oci:{path}:{reference}")
        }
    }

    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        fs::read(self.blob_path(digest)).ok()
    }

    pub(crate) fn has_blob(&self, digest: &str) -> bool {
        self.blob_path(digest).is_file()
    }

    /// `index.json`.
    pub(crate) fn index(&self) -> Value {
        let bytes = fs::read(self.0.join("index.json")).expect("a layout has an index.json");
        serde_json::from_slice(&bytes).expect("index.json is JSON")
    }

    /// The REFs in the order of `index.json`.
    pub(crate) fn references(&self) -> Vec<String> {
        let name = |entry: &Value| Some(entry["annotations"][REF_NAME].as_str()?.to_owned());
        self.entries().iter().filter_map(name).collect()
    }

    /// The manifest that `reference` names, if the layout has it.
    pub(crate) fn manifest(&self, reference: &str) -> Option<Manifest> {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| {
            entry["annotations"][REF_NAME].as_str().unwrap_or_default() == reference
        })?;
        let bytes = self.blob(entry["digest"].as_str()?)?;
        Some(Manifest::new(entry["mediaType"].as_str()?, bytes))
    }

    /// Fails the test where anything is in the layout but what the format and barge have there for good.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        let expected = ["oci-layout", "index.json", "blobs", ".barge.lock"];
        assert_eq!(names(&self.0), expected.map(str::to_owned).into());
        let blobs = self.0.join("blobs");
        assert_eq!(names(&blobs), ["sha256".to_owned()].into());
        let blobs = names(&blobs.join("sha256"));
        let hex = |name: &String| name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_digest = |name: &String| name.len() == 64 && hex(name);
        assert!(blobs.iter().all(is_digest), "{blobs:#?}");
    }

    fn entries(&self) -> Vec<Value> {
        self.index()["manifests"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }
}

/// What is in a directory.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    };
    entries.map(name).collect()
}
