//! What an archive of `docker save` says of its images: `manifest.json`, `repositories`, and what is read of
//! a config (moby, "Image spec v1.2", combined image JSON + filesystem changeset format). Pure.
//!
//! A layer is called by its `diff_id`, so images that share one share its bytes, however each registry has
//! it compressed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

use super::contents::LARGEST_OCTAL;
use super::members::{self, END_MARK};
use crate::error::{Error, Kind, Result};
use crate::image::digest::{Algorithm, Digest};
use crate::image::keys::{self, Shape};
use crate::image::manifest::{Content, Descriptor, Manifest};
use crate::image::media_type;
use crate::printable::plural;

/// The list of images.
pub(super) const LIST: &str = "manifest.json";

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Written {
    pub(super) config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) layers: Option<Vec<String>>,
}

/// The keys of [`Written`].
pub(super) static WRITTEN: Shape = Shape(&[("Config", None), ("RepoTags", None), ("Layers", None)]);

/// What is read of a config.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

/// The digests of the unpacked layers that `config` names, the lowest first.
pub(super) fn diff_ids(config: &[u8]) -> std::result::Result<Vec<Digest>, String> {
    let wrong = |why| format!("not the config of an image: {why}");
    keys::check(config, &keys::CONFIG).map_err(wrong)?;
    let config: Config = serde_json::from_slice(config).map_err(wrong)?;
    Ok(config.rootfs.diff_ids.unwrap_or_default())
}

/// What an image is called when it has been loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// With its host: `docker.io/library/alpine`.
    pub repository: String,
    /// Its tag.
    pub tag: String,
}

/// An image that is to be saved.
#[derive(Clone, Debug)]
pub struct Image {
    /// The config's descriptor, and its bytes.
    pub config: (Descriptor, Bytes),
    /// The source's blobs with their `diff_id`s, the lowest first.
    pub layers: Vec<(Digest, Descriptor)>,
    /// Its name; without one it is loaded by its ID.
    pub name: Option<Name>,
}

/// The config of an image that can be saved.
///
/// # Errors
///
/// `unsupported` for what is no image of containers, or has layers that the source does not hold.
pub fn config(manifest: &Manifest) -> Result<&Descriptor> {
    let refused =
        |cause: String| Error::new(Kind::Unsupported, "save", &manifest.digest).because(cause);
    let Content::Image { config, .. } = &*manifest.content else {
        return Err(refused("it is an index".to_owned()));
    };
    if !media_type::is_config(&config.media_type) {
        let cause = format!(
            "it is an artifact ({}), no image of containers",
            config.media_type
        );
        return Err(refused(cause)
            .hint("oci-archive:PATH takes every artifact; --exclude-tags leaves this one out"));
    }
    match manifest.foreign() {
        0 => Ok(config),
        count => {
            let cause = format!("layers of it that are not distributed with it: {count}");
            Err(refused(cause).hint("copy to oci-archive:PATH, which names where they are, or with --include-foreign-layers, where the source has them"))
        }
    }
}

impl Image {
    /// The image that `manifest` and its config's `bytes` describe.
    ///
    /// # Errors
    ///
    /// `unsupported` for what [`config`] refuses, `invalid-manifest` when the config does not go with the
    /// manifest.
    pub fn of(manifest: &Manifest, bytes: Bytes, name: Option<Name>) -> Result<Self> {
        let config = config(manifest)?;
        let refused = |cause: String| {
            Error::new(Kind::InvalidManifest, "read config", &config.digest).because(cause)
        };
        let Content::Image { layers, .. } = &*manifest.content else {
            return Err(refused("it is of an index".to_owned()));
        };
        let diff_ids = diff_ids(&bytes).map_err(refused)?;
        if diff_ids.len() != layers.len() {
            let (listed, named) = (plural(layers.len() as u64, "layer"), diff_ids.len());
            let cause = format!("the manifest lists {listed}, the config {named}");
            return Err(refused(cause));
        }
        let other = |id: &&Digest| id.algorithm() != Algorithm::Sha256;
        if let Some(id) = diff_ids.iter().find(other) {
            let cause = format!("it names the layer {id}; docker knows sha256 alone");
            return Err(refused(cause));
        }
        Ok(Self {
            config: (config.clone(), bytes),
            layers: diff_ids.into_iter().zip(layers.iter().cloned()).collect(),
            name,
        })
    }

    /// Its blobs, and what each is in the archive: images may share that where they do not share the blob.
    pub fn blobs(&self) -> impl Iterator<Item = (&Descriptor, &Digest)> {
        let layers = self.layers.iter().map(|(diff_id, blob)| (blob, diff_id));
        std::iter::once((&self.config.0, &self.config.0.digest)).chain(layers)
    }

    fn config_name(&self) -> String {
        format!("{}.json", Digest::of(&self.config.1).hex())
    }
}

/// What a layer is called in an archive.
pub(super) fn layer_name(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

/// What stands behind the layers of `images`: their configs, the list, the names, the end mark.
pub(super) fn tail(images: &[&Image]) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut seen = BTreeSet::new();
    for image in images {
        let name = image.config_name();
        if seen.insert(name.clone()) {
            members::add_file(&mut bytes, &name, &image.config.1);
        }
    }
    members::add_file(&mut bytes, LIST, &serde_json::to_vec(&list(images))?);
    let repositories = repositories(images);
    if !repositories.is_empty() {
        let text = serde_json::to_vec(&repositories)?;
        members::add_file(&mut bytes, "repositories", &text);
    }
    bytes.extend(END_MARK);
    Ok(bytes)
}

/// The entries of `manifest.json`: an image that has several tags is in it once.
fn list(images: &[&Image]) -> Vec<Written> {
    let mut list: Vec<Written> = Vec::new();
    for image in images {
        let config = image.config_name();
        let tag = image.name.iter();
        let tag = tag.map(|name| format!("{}:{}", name.repository, name.tag));
        let known = list.iter_mut().find(|known| known.config == config);
        if let Some(tags) = known.and_then(|known| known.repo_tags.as_mut()) {
            tags.extend(tag);
            continue;
        }
        let layers = image.layers.iter().map(|(diff_id, _)| layer_name(diff_id));
        list.push(Written {
            config,
            repo_tags: Some(tag.collect()),
            layers: Some(layers.collect()),
        });
    }
    list
}

/// The topmost layer behind each tag, which readers older than `manifest.json` look up; docker writes it still.
fn repositories<'a>(images: &[&'a Image]) -> BTreeMap<&'a str, BTreeMap<&'a str, &'a str>> {
    let mut repositories: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for image in images {
        if let (Some(name), Some((top, _))) = (&image.name, image.layers.last()) {
            let tags = repositories.entry(&name.repository).or_default();
            tags.insert(&name.tag, top.hex());
        }
    }
    repositories
}

/// The block before a layer's bytes. One, whatever the size, since it is written when that is known: a
/// size with more than eleven octal digits is written in binary, as GNU's tar does.
pub(super) fn layer_header(diff_id: &Digest, size: u64) -> Vec<u8> {
    let name = layer_name(diff_id);
    if size <= LARGEST_OCTAL {
        return members::header(EntryType::Regular, &name, size);
    }
    let mut header = Header::new_gnu();
    members::describe(&mut header, EntryType::Regular, &name);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::archive::contents::{BLOCK, BLOCK_BYTES, Contents, Span};

    fn image(layers: &[&str], tag: &str) -> Image {
        let descriptor = |bytes: &[u8]| -> Descriptor {
            let digest = Digest::of(bytes);
            let text = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
            serde_json::from_str(&text).expect("a descriptor")
        };
        let config = Bytes::from(layers.concat());
        let layer = |layer: &&str| (Digest::of(layer.as_bytes()), descriptor(b"packed"));
        Image {
            config: (descriptor(&config), config),
            layers: layers.iter().map(layer).collect(),
            name: Some(Name {
                repository: "h.io/a".to_owned(),
                tag: tag.to_owned(),
            }),
        }
    }

    #[test]
    fn an_image_with_several_tags_is_listed_once() {
        let images = [
            image(&["1", "2"], "a"),
            image(&["1"], "b"),
            image(&["1", "2"], "c"),
        ];
        let list = list(&images.each_ref());
        let tags: Vec<_> = list.iter().map(|entry| entry.repo_tags.clone()).collect();
        let named = |tags: &[&str]| Some(tags.iter().map(|tag| format!("h.io/a:{tag}")).collect());
        assert_eq!(tags, [named(&["a", "c"]), named(&["b"])]);
        assert_eq!(list[0].layers.as_ref().map(Vec::len), Some(2));
    }

    /// One block before each, so that the bytes can be written before their number is known.
    #[test]
    fn a_layer_of_any_size_has_a_header_of_one_block() {
        let diff_id = Digest::of(b"x");
        for size in [0, 1, LARGEST_OCTAL, LARGEST_OCTAL + 1, 20 << 30, 1 << 50] {
            let header = layer_header(&diff_id, size);
            assert_eq!(header.len(), BLOCK_BYTES, "{size}");
            let length = BLOCK + size.next_multiple_of(BLOCK) + 2 * BLOCK;
            let read = |offset: u64, buffer: &mut [u8]| {
                buffer.fill(0);
                if offset == 0 {
                    buffer.copy_from_slice(&header);
                }
                Ok(())
            };
            let contents = Contents::read(length, read).expect("it is an archive");
            let expected = Span {
                offset: BLOCK,
                size,
            };
            assert_eq!(contents.file(&layer_name(&diff_id)), Some(expected));
        }
    }
}
