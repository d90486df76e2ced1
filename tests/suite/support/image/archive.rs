//! Tar files: packed by hand, and read back to be judged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tar::{Builder, EntryType, Header};

use crate::support::content::Manifest;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A tar file on disk.
#[derive(Clone, Debug)]
pub(crate) struct Archive(PathBuf);

impl Archive {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// `oci-archive:PATH`, with the REF where it is not empty.
    pub(crate) fn reference(&self, reference: &str) -> String {
        let path = self.0.display();
        if reference.is_empty() {
            format!("oci-archive:{path}")
        } else {
            format!("oci-archive:{path}:{reference}")
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).expect("the archive can be read")
    }

    /// The names of its members, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.each().into_iter().map(|(name, _)| name).collect()
    }

    /// Its files by name.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.each().into_iter().collect()
    }

    fn each(&self) -> Vec<(String, Vec<u8>)> {
        let file = File::open(&self.0).expect("the archive can be read");
        let mut archive = tar::Archive::new(file);
        let member = |entry: std::io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.expect("a member");
            let name = entry.path().expect("a name").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            (name, bytes)
        };
        archive.entries().expect("a tar file").map(member).collect()
    }

    /// The entries of `index.json`.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let index = self.files().remove("index.json").expect("an index.json");
        let index: Value = serde_json::from_slice(&index).expect("index.json is JSON");
        index["manifests"].as_array().cloned().unwrap_or_default()
    }

    /// The REFs in the order of `index.json`.
    pub(crate) fn references(&self) -> Vec<String> {
        let name = |entry: &Value| Some(entry["annotations"][REF_NAME].as_str()?.to_owned());
        self.entries().iter().filter_map(name).collect()
    }

    /// The manifest that `reference` names, if the archive has it.
    pub(crate) fn manifest(&self, reference: &str) -> Option<Manifest> {
        let entries = self.entries();
        let entry = entries
            .iter()
            .find(|entry| entry["annotations"][REF_NAME] == reference)?;
        let digest = entry["digest"].as_str()?;
        let bytes = self.files().remove(&blob_name(digest))?;
        Some(Manifest::new(entry["mediaType"].as_str()?, bytes))
    }
}

/// The name of a blob in an archive.
pub(crate) fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// Packs a directory as `tar -C DIRECTORY -cf PATH .` does.
pub(crate) fn pack(directory: &Path, path: &Path) -> Archive {
    let mut builder = Builder::new(File::create(path).expect("a file can be made"));
    builder.append_dir_all(".", directory).expect("a directory");
    builder.finish().expect("a file can be written");
    Archive::at(path)
}

/// A member as it is written, whatever it says.
pub(crate) fn member(kind: EntryType, name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    let mut member = header.as_bytes().to_vec();
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}
