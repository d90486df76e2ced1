//! Layouts that `cosign save` wrote: the annotation `kind` says whether an entry is the image or its signatures, and
//! entries have no names (cosign, `pkg/oci/layout/write.go` and `index.go`). hauler names them by full references.
//!
//! When such a layout is read, its entries get the names that cosign gives them in a registry.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::index_file::{Entry, IndexFile, REF_NAME};
use crate::error::{Error, Kind};
use crate::image::digest::Digest;
use crate::image::referrers::list_tag;
use crate::select::is_digest_tag;

/// The annotation.
pub(super) const KIND: &str = "kind";
/// What the image is, and what it is as an index.
const IMAGE: &str = "dev.cosignproject.cosign/image";
const INDEX: &str = "dev.cosignproject.cosign/imageIndex";
/// What its tags end with; the last is hauler's, cosign itself does not look for it.
const BELONGING: [(&str, &str); 3] = [
    ("dev.cosignproject.cosign/sigs", ".sig"),
    ("dev.cosignproject.cosign/atts", ".att"),
    ("dev.cosignproject.cosign/sboms", ".sbom"),
];

impl Entry {
    fn kind(&self) -> Option<&str> {
        self.descriptor.annotations.get(KIND).map(String::as_str)
    }

    /// Whether it is the image of what cosign saved.
    fn is_image(&self) -> bool {
        matches!(self.kind(), Some(IMAGE | INDEX))
    }

    /// Whether it is an image, by its kind or its name.
    fn is_own(&self) -> bool {
        let named = self.name.as_deref();
        self.is_image() || named.is_some_and(|name| !is_digest_tag(name))
    }

    /// What the tag ends with under which cosign keeps it.
    fn end(&self) -> Option<&'static str> {
        let kind = self.kind()?;
        let mut kinds = BELONGING.iter();
        kinds.find(|(known, _)| *known == kind).map(|(_, end)| *end)
    }
}

/// Gives what belongs to an image by its `kind` the name that it has in a registry, where no other has it.
pub(super) fn name_belonging(entries: &mut [Entry]) {
    let names = entries.iter().filter_map(|entry| entry.name.clone());
    let names: BTreeSet<String> = names.collect();
    let implied: Vec<Option<String>> = entries
        .iter()
        .map(|entry| implied_name(entry, entries).filter(|name| !names.contains(name)))
        .collect();
    for (entry, name) in entries.iter_mut().zip(implied) {
        entry.name = name.or_else(|| entry.name.take());
    }
}

fn implied_name(entry: &Entry, entries: &[Entry]) -> Option<String> {
    let end = entry.end()?;
    if let Some(name) = &entry.name {
        let (_, tag) = name.rsplit_once(':').unwrap_or(("", name));
        if is_digest_tag(tag) {
            return Some(tag.to_owned());
        }
    }
    Some(format!("{}{end}", list_tag(image_of(entry, entries)?)))
}

/// The image that `entry` belongs to: the only one of its name. Somebody may have named the image alone since
/// cosign saved it: then what has no name is of the only one that is marked, or else is there.
fn image_of<'a>(entry: &Entry, entries: &'a [Entry]) -> Option<&'a Digest> {
    let among = |is_it: &dyn Fn(&Entry) -> bool| -> BTreeSet<&'a Digest> {
        let images = entries.iter().filter(|other| is_it(other));
        images.map(|image| &image.descriptor.digest).collect()
    };
    let mut images = among(&|other| other.is_image() && other.name == entry.name);
    if entry.name.is_none() {
        for is_it in [Entry::is_image, Entry::is_own] {
            if images.is_empty() {
                images = among(&is_it);
            }
        }
    }
    let mut images = images.into_iter();
    match (images.next(), images.next()) {
        (Some(image), None) => Some(image),
        _ => None,
    }
}

impl IndexFile {
    /// Whether `cosign save` wrote it: then what refers to the image may have no entry.
    pub(in crate::endpoint) fn is_cosigns(&self) -> bool {
        let mut entries = self.entries();
        entries.any(|entry| {
            let is_named = entry.descriptor.annotations.contains_key(REF_NAME);
            !is_named && (entry.is_image() || entry.end().is_some())
        })
    }

    /// Why it cannot be told to which image of `place` an entry belongs that is marked as belonging to one.
    pub(super) fn unclear(&self, entry: &Entry, place: &dyn Display) -> Option<Error> {
        let end = entry.end().filter(|_| entry.name.is_none())?;
        let entries: Vec<Entry> = self.entries().collect();
        if image_of(entry, &entries).is_some() {
            return None;
        }
        let name = format!("{place}@{}", entry.descriptor.digest);
        let cause = format!(
            "it is marked as {}, and nothing tells of which image",
            entry.kind().unwrap_or_default()
        );
        let hint = format!(
            "give its entry in index.json the {REF_NAME} sha256-<hex>{end}, with the digest of its image; without --referrers nobody asks for it"
        );
        let error = Error::new(Kind::InvalidManifest, "find the image of", name);
        Some(error.because(cause).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(seed: &str, name: Option<&str>, kind: Option<&str>) -> Value {
        let mut annotations = serde_json::Map::new();
        for (key, value) in [(REF_NAME, name), (KIND, kind)] {
            annotations.extend(value.map(|value| (key.to_owned(), json!(value))));
        }
        let digest = Digest::of(seed.as_bytes());
        json!({"mediaType": "m", "digest": digest.as_str(), "size": 1, "annotations": annotations})
    }

    fn index(entries: &[Value]) -> IndexFile {
        let text = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        IndexFile::of(text.as_bytes(), &"index.json").expect("an index")
    }

    fn tag(seed: &str, end: &str) -> String {
        format!("{}{end}", list_tag(&Digest::of(seed.as_bytes())))
    }

    fn names(index: &IndexFile) -> Vec<Option<String>> {
        index.entries().map(|entry| entry.name).collect()
    }

    const SIGS: &str = BELONGING[0].0;
    const ATTS: &str = BELONGING[1].0;
    const SBOMS: &str = BELONGING[2].0;

    #[test]
    fn what_cosign_saved_is_named() {
        let saved = index(&[
            entry("a", None, Some(INDEX)),
            entry("s", None, Some(SIGS)),
            entry("t", None, Some(ATTS)),
            entry("b", None, Some(SBOMS)),
            entry("x", None, Some("other")),
        ]);
        let named = [".sig", ".att", ".sbom"].map(|end| Some(tag("a", end)));
        assert_eq!(names(&saved), [&[None], &named[..], &[None]].concat());
        assert!(saved.is_cosigns());
    }

    #[test]
    fn what_hauler_saved_is_named() {
        let whole = format!("example.com/x:{}", tag("a", ".sig"));
        let saved = index(&[
            entry("a", Some("example.com/x:1"), Some(IMAGE)),
            entry("s", Some(&whole), Some(SIGS)),
            entry("b", Some("example.com/y:1"), Some(IMAGE)),
            entry("t", Some("example.com/y:1"), Some(SIGS)),
        ]);
        let found = names(&saved);
        assert_eq!(found[1], Some(tag("a", ".sig")));
        assert_eq!(found[3], Some(tag("b", ".sig")));
        assert_eq!(found[2].as_deref(), Some("example.com/y:1"));
        assert!(!saved.is_cosigns());
    }

    #[test]
    fn a_name_that_is_taken_or_unclear_is_not_given() {
        let sig = tag("a", ".sig");
        let taken = index(&[
            entry("a", None, Some(IMAGE)),
            entry("s", None, Some(SIGS)),
            entry("t", Some(&sig), None),
        ]);
        assert_eq!(names(&taken), [None, None, Some(sig)]);
        let unclear = index(&[
            entry("a", None, Some(IMAGE)),
            entry("b", None, Some(IMAGE)),
            entry("s", None, Some(SIGS)),
        ]);
        assert_eq!(names(&unclear), [None, None, None]);
        for (index, expected) in [(&unclear, true), (&taken, false)] {
            let mut found = index.entries();
            let told = found.any(|entry| index.unclear(&entry, &"oci:x").is_some());
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn what_has_no_name_is_of_the_only_image() {
        let sig = Some(tag("a", ".sig"));
        for kind in [Some(INDEX), None] {
            let named = index(&[
                entry("a", Some("example.com/x:1"), kind),
                entry("a", Some("example.com/x:latest"), kind),
                entry("s", None, Some(SIGS)),
            ]);
            assert_eq!(names(&named).last(), Some(&sig));
            assert!(named.is_cosigns());
        }
        let marked = index(&[
            entry("a", Some("1"), Some(INDEX)),
            entry("s", None, Some(SIGS)),
            entry("b", Some("2"), None),
        ]);
        assert_eq!(names(&marked)[1], sig);
    }
}
