//! `manifest.json` of a `docker save` archive: which images there are, where their parts are, and what they
//! are called. Pure.

use std::collections::HashMap;

use super::contents::{Contents, Span};
use super::saved::{Name, WRITTEN, Written};
use crate::image::keys;
use crate::image::manifest::MAX_MANIFEST_BYTES;
use crate::reference::RegistryReference;

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

type Read<T> = Result<T, String>;

impl List {
    /// Reads `manifest.json`, whose names may be links of the archive; an error says what is wrong with it.
    pub(super) fn read(text: &[u8], contents: &Contents) -> Read<Self> {
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
    fn of(written: Written, contents: &Contents) -> Read<Self> {
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

/// All of a name.
fn whole(name: &Name) -> String {
    format!("{}:{}", name.repository, name.tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn contents() -> Contents {
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
        Contents::read(bytes.len() as u64, read_at).expect("a tar file")
    }

    fn list(images: &[(&str, &[&str], &[&str])]) -> List {
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
        let one = list(&[("c", &["app:1"], &[]), ("d", &["app:2", "app:1"], &[])]);
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
        let two = list(&[("c", &["app:1"], &[]), ("d", &["h.io/x:1"], &[])]);
        assert_eq!(place(&two, "1"), None);
        assert_eq!(place(&two, "h.io/x:1"), Some(1));
        let names = two.images.iter().flat_map(|image| &image.names);
        let names: Vec<String> = names.map(|name| two.shortened(name)).collect();
        assert_eq!(names, ["docker.io/library/app:1", "h.io/x:1"]);
    }

    #[test]
    fn the_same_image_twice_is_one_with_two_names() {
        let list = list(&[
            ("c", &["app:1"], &["1", "2"]),
            ("c", &["app:2"], &["2", "1"]),
            ("c", &["app:3"], &["1", "2"]),
        ]);
        assert_eq!(list.images.len(), 2);
        assert_eq!((place(&list, "1"), place(&list, "3")), (Some(0), Some(0)));
    }
}
