//! The list that stands in for the referrers API: what is to be in it, and how it grows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Told, artifact_type};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::image::media_type;

/// An entry of a list of referrers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    artifact_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
}

/// What is to be in a list of referrers.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// The text of each entry.
    listed: BTreeMap<Digest, Box<RawValue>>,
    /// The list that has them, where they come from one.
    list: Option<Box<Manifest>>,
}

impl Additions {
    #[must_use]
    pub fn of<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        let manifests = manifests.into_iter();
        let listed = manifests.map(|manifest| (manifest.digest.clone(), text(manifest)));
        Self {
            listed: listed.collect(),
            list: None,
        }
    }

    /// All that `list` has, as it was written.
    #[must_use]
    pub fn all_of(list: &Manifest) -> Self {
        #[derive(Deserialize)]
        struct Raw {
            manifests: Vec<Box<RawValue>>,
        }
        // What was parsed as an index has entries.
        let raw = serde_json::from_slice(&list.bytes).map(|raw: Raw| raw.manifests);
        let digests = list.all_entries().map(|entry| entry.digest.clone());
        Self {
            listed: digests.zip(raw.unwrap_or_default()).collect(),
            list: Some(Box::new(list.clone())),
        }
    }

    /// The same, and `others`.
    pub fn add(&mut self, others: Self) {
        self.listed.extend(others.listed);
        self.list = others.list.or(self.list.take());
    }

    /// Whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.listed.keys()
    }
}

fn text(manifest: &Manifest) -> Box<RawValue> {
    let entry = Entry {
        media_type: &manifest.media_type,
        digest: manifest.digest.as_str(),
        size: manifest.bytes.len(),
        artifact_type: artifact_type(manifest),
        annotations: Told::by(manifest).annotations,
    };
    serde_json::value::to_raw_value(&entry).expect("an entry is text and numbers")
}

/// The list of referrers with `added` in it; `None` where it has them all. What others wrote stays as it is,
/// and the order of `added` makes no difference (distribution-spec 1.1, "Unavailable Referrers API"). One that is
/// copied stays byte for byte where it has all that is to be there.
///
/// # Errors
///
/// `conflict` where `list` is an image, or grows past what a manifest may have.
pub fn merge(list: Option<&Manifest>, added: &Additions) -> Result<Option<Manifest>> {
    let name = list.map_or_else(String::new, |list| list.digest.to_string());
    let failed = |cause: String| {
        Error::new(Kind::Conflict, "add to the list of referrers", &name).because(cause)
    };
    let listed = match list {
        Some(list) if !list.is_index() => {
            return Err(failed("its tag holds an image, not a list".to_owned())
                .hint("move that image to another tag: this one is where a registry without the referrers API keeps its list of them"));
        }
        Some(list) => list.all_entries().collect(),
        None => Vec::new(),
    };
    let known: BTreeSet<&Digest> = listed.iter().map(|entry| &entry.digest).collect();
    let new = added.listed.iter();
    let new: Vec<_> = new.filter(|(digest, _)| !known.contains(digest)).collect();
    if new.is_empty() {
        return Ok(None);
    }
    if let Some(copied) = &added.list {
        let listed: BTreeSet<&Digest> = copied.all_entries().map(|each| &each.digest).collect();
        if known.is_subset(&listed) && added.digests().all(|digest| listed.contains(digest)) {
            return Ok(added.list.as_deref().cloned());
        }
    }
    let new = new.into_iter().map(|(_, text)| text);
    let bytes = written(list, new).map_err(|why| failed(why.to_string()))?;
    if bytes.len() > MAX_MANIFEST_BYTES {
        let cause = format!("{} bytes are more than a manifest may have", bytes.len());
        return Err(failed(cause));
    }
    let media_type = list.map_or(media_type::OCI_INDEX, |list| &list.media_type);
    Manifest::parse(bytes.into(), Some(media_type)).map(Some)
}

/// The list of referrers without what is `gone`.
///
/// # Errors
///
/// `invalid-manifest` where `list` has no entries to be parted.
pub fn without(list: &Manifest, gone: &BTreeSet<Digest>) -> Result<Manifest> {
    let mut rest = Additions::all_of(list).listed;
    rest.retain(|digest, _| !gone.contains(digest));
    let bytes = written(None, rest.values()).map_err(|why| {
        Error::new(Kind::InvalidManifest, "read the list", &list.digest).because(why.to_string())
    })?;
    Manifest::parse(bytes.into(), Some(media_type::OCI_INDEX))
}

/// The text of `list` with entries for `added` behind its own.
fn written<'a>(
    list: Option<&Manifest>,
    added: impl Iterator<Item = &'a Box<RawValue>>,
) -> serde_json::Result<Vec<u8>> {
    let empty = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}"}}"#,
        media_type::OCI_INDEX
    );
    let text = list.map_or(empty.as_bytes(), |list| &list.bytes);
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text)?;
    let old = fields.remove("manifests");
    let old: Option<Vec<Box<RawValue>>> = match &old {
        Some(old) => serde_json::from_str(old.get())?,
        None => None,
    };
    let mut entries = old.unwrap_or_default();
    entries.extend(added.cloned());
    let entries = serde_json::value::to_raw_value(&entries)?;
    fields.insert("manifests".to_owned(), entries);
    serde_json::to_vec(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::referrers::tests::{OCI, artifact, list};

    #[test]
    fn a_list_takes_what_it_lacks_and_keeps_what_it_has() {
        let (first, second) = (artifact("1", r#","artifactType":"a/b""#), artifact("2", ""));
        let old = format!(
            r#"{{"mediaType":"{OCI}","digest":"{}","size":1e0,"mine":[1.0]}}"#,
            Digest::of(b"other")
        )
        .replace("1e0", "1");
        let list = list(&old);
        let merge = |list, added: &[&Manifest]| {
            let added = Additions::of(added.iter().copied());
            merge(list, &added).expect("merges")
        };
        let both = merge(Some(&list), &[&second, &first, &second]).expect("grows");
        assert_eq!(Some(&both), merge(Some(&list), &[&first, &second]).as_ref());
        let text = std::str::from_utf8(&both.bytes).expect("text");
        assert!(
            text.contains(&old) && text.contains(r#""x":1.50"#),
            "{text}"
        );
        assert_eq!(both.entries().len(), 3);
        assert_eq!(merge(Some(&both), &[&first]), None);
        let new = merge(None, &[&first]).expect("is made");
        let entry = new.entries().first().expect("one");
        assert_eq!(entry.artifact_type.as_deref(), Some("a/b"));
        assert_eq!(
            (&entry.digest, entry.size),
            (&first.digest, first.bytes.len() as u64)
        );
        assert_eq!(new.media_type, media_type::OCI_INDEX);
    }

    #[test]
    fn a_list_repeats_annotations() {
        let annotated = artifact("1", r#","annotations":{"a": "b"}"#);
        let list = merge(None, &Additions::of([&annotated]))
            .expect("merges")
            .expect("is made");
        let entry = list.entries().first().expect("one");
        assert_eq!(entry.annotations.get("a").map(String::as_str), Some("b"));
    }

    #[test]
    fn a_list_is_copied_as_it_is_where_nothing_is_lost() {
        let entry = |seed: &str| {
            let digest = Digest::of(seed.as_bytes());
            format!(r#"{{"mediaType":"{OCI}","digest":"{digest}","size":1,"mine":[1.0]}}"#)
        };
        let (one, two) = (entry("1"), entry("2"));
        let theirs = list(&format!("{one}, {two}"));
        let merge = |list, theirs: &Manifest| merge(list, &Additions::all_of(theirs));
        let merge = |list, theirs| merge(list, theirs).expect("merges");
        assert_eq!(merge(None, &theirs), Some(theirs.clone()));
        let (less, mine) = (list(&one), list(&entry("3")));
        assert_eq!(merge(Some(&less), &theirs), Some(theirs.clone()));
        let both = merge(Some(&mine), &theirs).expect("grows");
        let text = String::from_utf8_lossy(&both.bytes);
        assert!(text.contains(&one) && text.contains(&entry("3")), "{text}");
        assert_eq!(both.entries().len(), 3);
        assert_eq!(merge(Some(&both), &theirs), None);
    }

    #[test]
    fn additions_come_together() {
        let (first, second) = (artifact("1", ""), artifact("2", ""));
        let mut added = Additions::of([&first]);
        added.add(Additions::of([&second]));
        let both = merge(None, &added).expect("merges").expect("is made");
        assert_eq!(both.entries().len(), 2);
        let mut added = Additions::all_of(&list(""));
        added.add(Additions::of([&second]));
        let one = merge(None, &added).expect("merges").expect("is made");
        assert_eq!(one.entries().len(), 1);
    }

    #[test]
    fn an_image_is_no_list_and_a_list_can_be_too_long() {
        let image = artifact("image", "");
        let error = merge(Some(&image), &Additions::of([&artifact("1", "")])).expect_err("no list");
        assert_eq!(error.kind(), Kind::Conflict);
        let long = "x".repeat(3 << 20);
        let long = |seed| artifact(seed, &format!(r#","annotations":{{"a":"{long}"}}"#));
        let error = merge(None, &Additions::of([&long("1"), &long("2")])).expect_err("too long");
        assert_eq!(error.kind(), Kind::Conflict);
    }
}
