//! What a place holds when no process is left, read by code that is not barge's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::support::content::sha256;
use super::support::image::Layout;
use super::support::image::archive::Archive;
use super::support::registry::FakeRegistry;
use super::support::wire::Server;

/// The repository of the source.
pub(crate) const SOURCE: &str = "x";
/// The repository of the destination.
pub(crate) const DESTINATION: &str = "y";

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The end of the name of a file that is not whole.
pub(crate) const PARTIAL: &str = ".partial";

/// Where images are read or go.
pub(crate) enum Place {
    Registry(FakeRegistry),
    Layout(PathBuf),
    Archive(PathBuf),
}

impl Place {
    pub(crate) fn reference(&self, repository: &str) -> String {
        match self {
            Self::Registry(registry) => registry.reference(repository),
            Self::Layout(path) => Layout::at(path).reference(""),
            Self::Archive(path) => Archive::at(path).reference(""),
        }
    }

    pub(crate) fn server(&self) -> Option<&Server> {
        match self {
            Self::Registry(registry) => Some(registry),
            Self::Layout(_) | Self::Archive(_) => None,
        }
    }

    /// Reads all of a destination.
    pub(crate) fn read(&self) -> Result<Found, String> {
        let found = match self {
            Self::Registry(registry) => {
                let store = &registry.store;
                let tags = store.tags(DESTINATION).into_iter();
                Found {
                    tags: tags
                        .map(|tag| {
                            (
                                tag.clone(),
                                store.tag(DESTINATION, &tag).unwrap_or_default(),
                            )
                        })
                        .collect(),
                    parts: store.parts(DESTINATION),
                    listed: Vec::new(),
                }
            }
            Self::Layout(path) => match fs::read(path.join("index.json")) {
                Ok(index) => Found::of_files(&index, blobs(&path.join("blobs/sha256")))?,
                Err(_) => Found::default(),
            },
            Self::Archive(path) if !path.exists() => Found::default(),
            Self::Archive(path) => {
                let mut files = Archive::at(path).files();
                let index = files.remove("index.json").ok_or("there is no index.json")?;
                let blob = |(name, bytes): (String, Vec<u8>)| {
                    let hex = name
                        .strip_prefix("blobs/sha256/")
                        .filter(|hex| !hex.is_empty())?;
                    Some((format!("sha256:{hex}"), bytes.into()))
                };
                Found::of_files(&index, files.into_iter().filter_map(blob).collect())?
            }
        };
        let damaged = found
            .parts
            .iter()
            .find(|(digest, bytes)| sha256(bytes) != **digest);
        damaged.map_or(Ok(()), |(digest, _)| Err(format!("{digest} is damaged")))?;
        Ok(found)
    }

    /// Files that are neither content nor whole.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let (directory, known): (&Path, &[&str]) = match self {
            Self::Registry(_) => return Vec::new(),
            Self::Layout(path) => (path, &["oci-layout", "index.json", "blobs", ".barge.lock"]),
            Self::Archive(path) => (path.parent().unwrap_or(path), &["archive.tar"]),
        };
        let partial = names(&directory.join("blobs/sha256")).into_iter();
        let unknown = names(directory).into_iter();
        let unknown = unknown.filter(|name| !known.contains(&name.as_str()));
        unknown
            .chain(partial.filter(|name| name.ends_with(PARTIAL)))
            .collect()
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The files with final names in a directory of blobs.
fn blobs(directory: &Path) -> BTreeMap<String, Bytes> {
    let whole = names(directory)
        .into_iter()
        .filter(|name| !name.ends_with(PARTIAL));
    let read = |name| {
        let bytes = fs::read(directory.join(&name)).expect("a blob can be read");
        (format!("sha256:{name}"), bytes.into())
    };
    whole.map(read).collect()
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) tags: BTreeMap<String, String>,
    /// Manifests and blobs by digest.
    parts: BTreeMap<String, Bytes>,
    /// The digests in `index.json`; none of a registry.
    listed: Vec<String>,
}

impl Found {
    fn of_files(index: &[u8], parts: BTreeMap<String, Bytes>) -> Result<Self, String> {
        let index: Value = serde_json::from_slice(index).map_err(|error| error.to_string())?;
        let mut found = Self {
            parts,
            ..Self::default()
        };
        for entry in entries(&index, "manifests") {
            let digest = entry["digest"].as_str().unwrap_or_default().to_owned();
            found.listed.push(digest.clone());
            if let Some(tag) = entry["annotations"][REF_NAME].as_str()
                && found.tags.insert(tag.to_owned(), digest).is_some()
            {
                return Err(format!("index.json lists the tag {tag} twice"));
            }
        }
        Ok(found)
    }

    pub(crate) fn manifest(&self, digest: &str) -> Result<Value, String> {
        let bytes = self
            .parts
            .get(digest)
            .ok_or_else(|| format!("{digest} is missing"))?;
        serde_json::from_slice(bytes).map_err(|error| format!("{digest}: {error}"))
    }

    /// Fails where the manifest `root` or anything below it is missing, but for these.
    pub(crate) fn is_complete(&self, root: &str, may_lack: &[String]) -> Result<(), String> {
        let manifest = self.manifest(root)?;
        for blob in entries(&manifest, "layers").chain(manifest.get("config")) {
            let digest = blob["digest"].as_str().unwrap_or_default();
            let size = self.parts.get(digest).map(Bytes::len);
            if blob["size"].as_u64() != size.map(|size| size as u64) {
                return Err(format!("the blob {digest} has the size {size:?}"));
            }
        }
        for child in entries(&manifest, "manifests") {
            let digest = child["digest"].as_str().unwrap_or_default();
            if self.parts.contains_key(digest) || !may_lack.iter().any(|other| other == digest) {
                self.is_complete(digest, may_lack)?;
            }
        }
        Ok(())
    }

    /// Whether `artifact` is listed by the list under a tag, or in `index.json`.
    pub(crate) fn is_listed(&self, artifact: &str, tag: &str) -> bool {
        let list = self
            .tags
            .get(tag)
            .and_then(|digest| self.manifest(digest).ok());
        let list = list.unwrap_or_default();
        entries(&list, "manifests").any(|entry| entry["digest"] == artifact)
            || self.listed.iter().any(|digest| digest == artifact)
    }
}

pub(crate) fn entries<'a>(manifest: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    manifest[field].as_array().into_iter().flatten()
}
