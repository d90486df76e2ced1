//! What an archive of `docker save` says of its images: `manifest.json`, `repositories`, and what is read of
//! a config (moby, "Image spec v1.2", combined image JSON + filesystem changeset format). Pure.
//!
//! A layer is called by its `diff_id`, so images that share one share its bytes, however each registry has
//! it compressed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

use super::members::{self, END_MARK};
use super::tar_index::{LARGEST_OCTAL, Span, TarIndex};
use crate::error::{Error, Kind, Result};
use crate::image::digest::{Algorithm, Digest};
use crate::image::keys::{self, Shape};
use crate::image::manifest::{Content, Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::image::media_type;
use crate::reference::RegistryReference;
use crate::sanitize::plural;

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

/// The images of an archive.
#[derive(Debug)]
pub(super) struct List {
    pub(super) images: Vec<Saved>,
    /// By whole names, and by tags where all images are of one repository: which image, which of its names.
    named: HashMap<String, (usize, usize)>,
    is_of_one_repository: bool,
}

/// An image as it is saved.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) names: Vec<Name>,
    pub(super) config: Span,
    pub(super) layers: Vec<Span>,
}

type Read<T> = std::result::Result<T, String>;

impl List {
    /// Reads `manifest.json`, whose names may be links of the archive; an error says what is wrong with it.
    pub(super) fn read(text: &[u8], contents: &TarIndex) -> Read<Self> {
        let wrong = |why| format!("manifest.json: {why}");
        keys::check(text, &WRITTEN).map_err(wrong)?;
        let written: Vec<Written> = serde_json::from_slice(text).map_err(wrong)?;
        let images = written.into_iter().map(|image| Saved::of(image, contents));
        Ok(Self::of(merged(images.collect::<Read<_>>()?)))
    }

    fn of(images: Vec<Saved>) -> Self {
        let names = || images.iter().flat_map(|image| &image.names);
        let repository = names().next().map(|name| name.repository.clone());
        let mut list = Self {
            is_of_one_repository: names().all(|name| repository.as_ref() == Some(&name.repository)),
            named: HashMap::new(),
            images,
        };
        for (place, image) in list.images.iter().enumerate() {
            for (which, name) in image.names.iter().enumerate() {
                for called in [whole(name), list.shortened(name)] {
                    list.named.entry(called).or_insert((place, which));
                }
            }
        }
        list
    }

    /// The tag alone where all images are of one repository.
    pub(super) fn shortened(&self, name: &Name) -> String {
        if self.is_of_one_repository {
            name.tag.clone()
        } else {
            whole(name)
        }
    }

    /// The place of the image that is called so, and the name that is meant.
    pub(super) fn called(&self, text: &str) -> Option<(usize, &Name)> {
        let found = self
            .named
            .get(text)
            .or_else(|| self.named.get(&whole(&name_of(text)?)));
        let (place, which) = found?;
        let name = self.images.get(*place)?.names.get(*which)?;
        Some((*place, name))
    }
}

/// Images that are the same under several names as one: to read it again for each name may take for ever.
fn merged(images: Vec<Saved>) -> Vec<Saved> {
    let mut places = HashMap::new();
    let mut merged: Vec<Saved> = Vec::new();
    for image in images {
        let spans = std::iter::once(&image.config).chain(&image.layers);
        let content: Vec<u64> = spans.map(|span| span.offset).collect();
        let place = *places.entry(content).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(same) => same.names.extend(image.names),
            None => merged.push(image),
        }
    }
    merged
}

impl Saved {
    /// The image that an entry of `manifest.json` describes.
    fn of(written: Written, contents: &TarIndex) -> Read<Self> {
        let find = |name: &str| {
            let found = contents.follow(name);
            found.ok_or_else(|| {
                format!("manifest.json names {name:?}, which the archive does not hold")
            })
        };
        let config = find(&written.config)?;
        if config.size > MAX_MANIFEST_BYTES as u64 {
            return Err(format!(
                "{:?} has {} bytes, more than a config may have",
                written.config, config.size
            ));
        }
        let names = written.repo_tags.unwrap_or_default();
        let parsed = names.iter().map(|name| {
            name_of(name).ok_or_else(|| format!("manifest.json has the name {name:?}"))
        });
        let layers = written.layers.unwrap_or_default();
        Ok(Self {
            names: parsed.collect::<Read<_>>()?,
            config,
            layers: layers.iter().map(|name| find(name)).collect::<Read<_>>()?,
        })
    }
}

/// A name in the archive: `alpine:3.20`, whole `docker.io/library/alpine:3.20`.
fn name_of(text: &str) -> Option<Name> {
    let name = RegistryReference::of_image(text).ok()?;
    Some(Name {
        repository: name.place(),
        tag: name.tag?,
    })
}

fn whole(name: &Name) -> String {
    format!("{}:{}", name.repository, name.tag)
}

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
    use crate::endpoint::archive::tar_index::{BLOCK, BLOCK_BYTES};
    use serde_json::{Value, json};

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
            let contents = TarIndex::read(length, read).expect("it is an archive");
            let expected = Span {
                offset: BLOCK,
                size,
            };
            assert_eq!(contents.file(&layer_name(&diff_id)), Some(expected));
        }
    }

    fn contents() -> TarIndex {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["c", "d", "1", "2"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            builder
                .append_data(&mut header, name, &b""[..])
                .expect("written");
        }
        let bytes = builder.into_inner().expect("written");
        let read_at = |offset: u64, buffer: &mut [u8]| {
            let start = usize::try_from(offset).expect("small");
            buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
            Ok(())
        };
        TarIndex::read(bytes.len() as u64, read_at).expect("a tar file")
    }

    fn listed(images: &[(&str, &[&str], &[&str])]) -> List {
        let images: Vec<Value> = images
            .iter()
            .map(|(config, names, layers)| {
                json!({"Config": config, "RepoTags": names, "Layers": layers})
            })
            .collect();
        List::read(json!(images).to_string().as_bytes(), &contents()).expect("a list")
    }

    fn place(list: &List, text: &str) -> Option<usize> {
        list.called(text).map(|(place, _)| place)
    }

    #[test]
    fn an_image_is_found_by_its_tag_and_by_its_whole_name() {
        let one = listed(&[("c", &["app:1"], &[]), ("d", &["app:2", "app:1"], &[])]);
        for (text, expected) in [
            ("1", Some(0)),
            ("2", Some(1)),
            ("app:2", Some(1)),
            ("docker.io/library/app:2", Some(1)),
            ("other:2", None),
            ("3", None),
        ] {
            assert_eq!(place(&one, text), expected, "{text}");
        }
        let two = listed(&[("c", &["app:1"], &[]), ("d", &["h.io/x:1"], &[])]);
        assert_eq!(place(&two, "1"), None);
        assert_eq!(place(&two, "h.io/x:1"), Some(1));
        let names = two.images.iter().flat_map(|image| &image.names);
        let names: Vec<String> = names.map(|name| two.shortened(name)).collect();
        assert_eq!(names, ["docker.io/library/app:1", "h.io/x:1"]);
    }

    #[test]
    fn the_same_image_twice_is_one_with_two_names() {
        let list = listed(&[
            ("c", &["app:1"], &["1", "2"]),
            ("c", &["app:2"], &["2", "1"]),
            ("c", &["app:3"], &["1", "2"]),
        ]);
        assert_eq!(list.images.len(), 2);
        assert_eq!((place(&list, "1"), place(&list, "3")), (Some(0), Some(0)));
    }
}
