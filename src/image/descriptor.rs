//! A descriptor: how a manifest or an index refers to content.
//!
//! Reads what is written in the wild: fields may be null or missing, except digest and size, without
//! which content can't be checked. Never written out again.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::digest::Digest;
use super::manifest::Manifest;
use super::media_type;
use super::platform::Platform;
use crate::error::Kind;

const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION: &str = "attestation-manifest";

/// A reference to content: what it is, its digest and its size in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Written")]
pub struct Descriptor {
    /// The type of the content; empty where none is written.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// The platform of an index entry; `None` also where one is written that names nothing.
    pub platform: Option<Platform>,
    /// The annotations whose values are strings.
    pub annotations: BTreeMap<String, String>,
    /// Where else the content may be fetched from.
    pub urls: Vec<String>,
    /// The type of the artifact that the content is.
    pub artifact_type: Option<String>,
    /// The content itself, where it stands beside its digest and is what that says (image-spec, "Embedded Content").
    pub data: Option<Bytes>,
}

/// What a descriptor states of its content. Whatever is remembered of blobs is remembered by both, so that a
/// descriptor with a wrong size fails its own image and no other.
pub(crate) type Stated = (Digest, u64);

impl Descriptor {
    /// The digest and the size.
    #[must_use]
    pub(crate) fn stated(&self) -> Stated {
        (self.digest.clone(), self.size)
    }

    /// What refers to `manifest`, and says no more of it than has to be said.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self::bare(
            &manifest.media_type,
            &manifest.digest,
            manifest.bytes.len() as u64,
        )
    }

    /// A media type, a digest and a size, and nothing else.
    pub(crate) fn bare(media_type: &str, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest.clone(),
            size,
            platform: None,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
            artifact_type: None,
            data: None,
        }
    }

    /// The same without what only an index or a reader of the blob needs.
    pub(crate) fn plain(&self) -> Self {
        Self {
            data: self.data.clone(),
            ..Self::bare(&self.media_type, &self.digest, self.size)
        }
    }

    /// How `manifest`, which this entry of an index names, is not what the entry states.
    pub(crate) fn misstates(&self, manifest: &Manifest) -> Option<(Kind, String)> {
        let size = manifest.bytes.len() as u64;
        if size != self.size {
            let cause = format!("its index says {} bytes, it has {size}", self.size);
            return Some((Kind::DigestMismatch, cause));
        }
        let cause = "its index lists an image as an index, or an index as an image";
        let misnamed = manifest.is_index() != self.is_index();
        misnamed.then(|| (Kind::InvalidManifest, cause.to_owned()))
    }

    /// Whether the content is an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        media_type::is_index(&self.media_type)
    }

    /// Whether this is a `BuildKit` attestation, which belongs to another entry.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotations
            .get(REFERENCE_TYPE)
            .is_some_and(|reference| reference == ATTESTATION)
    }

    /// The entry that this attestation is about.
    #[must_use]
    pub fn attests(&self) -> Option<Digest> {
        let digest = self.annotations.get(REFERENCE_DIGEST)?;
        self.is_attestation().then(|| digest.parse().ok())?
    }

    /// Whether this is a layer that is fetched from its `urls` and not pushed.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        media_type::is_nondistributable(&self.media_type) && !self.urls.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: Option<String>,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<Annotations>,
    urls: Option<Vec<String>>,
    artifact_type: Option<String>,
    data: Option<String>,
}

impl From<Written> for Descriptor {
    fn from(written: Written) -> Self {
        let data = written.data.and_then(|data| STANDARD.decode(data).ok());
        let data =
            data.filter(|data| data.len() as u64 == written.size && written.digest.matches(data));
        Self {
            media_type: written.media_type.unwrap_or_default(),
            digest: written.digest,
            size: written.size,
            platform: written.platform.filter(Platform::is_named),
            annotations: written.annotations.unwrap_or_default().0,
            urls: written.urls.unwrap_or_default(),
            artifact_type: written.artifact_type,
            data: data.map(Bytes::from),
        }
    }
}

/// Annotations whose values may be anything: those that are no strings are left out.
#[derive(Default)]
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;

        impl<'de> Visitor<'de> for Strings {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    let Ok(value) = serde_json::from_str(value.get()) else {
                        continue;
                    };
                    if let Some(key) = strings.insert(key.clone(), value).map(|_| key) {
                        return Err(Error::custom(format!("duplicate annotation `{key}`")));
                    }
                }
                Ok(Annotations(strings))
            }
        }

        deserializer.deserialize_map(Strings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Result<Descriptor, serde_json::Error> {
        let digest = Digest::of(b"x");
        serde_json::from_str(&format!(r#"{{"digest":"{digest}","size":1{fields}}}"#))
    }

    #[test]
    fn null_and_missing_fields_are_alike() {
        let null = r#","mediaType":null,"platform":null,"annotations":null,"urls":null"#;
        assert_eq!(read(null).unwrap(), read("").unwrap());
        assert_eq!(read("").unwrap().media_type, "");
        assert!(read(r#","size":2"#).is_err(), "a duplicate");
        assert!(serde_json::from_str::<Descriptor>(r#"{"size":1}"#).is_err());
    }

    #[test]
    fn a_platform_that_names_nothing_is_none() {
        for platform in ["{}", r#"{"architecture":"","os":"linux"}"#] {
            let entry = read(&format!(r#","platform":{platform}"#)).unwrap();
            assert_eq!(entry.platform, None, "{platform}");
        }
    }

    #[test]
    fn annotations_that_are_no_strings_are_left_out() {
        let odd = r#","annotations":{"a":"1","b":1e999,"c":null,"d":{"e":[1]},"f":"2"}"#;
        let kept = read(odd).unwrap().annotations;
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "f"]);
        assert!(read(r#","annotations":{"a":"1","a":"2"}"#).is_err());
    }

    #[test]
    fn tells_attestations_and_foreign_layers() {
        let about = Digest::of(b"child");
        let entry = read(&format!(
            r#","annotations":{{"{REFERENCE_TYPE}":"{ATTESTATION}","{REFERENCE_DIGEST}":"{about}"}}"#
        ));
        let entry = entry.unwrap();
        assert!(entry.is_attestation());
        assert_eq!(entry.attests(), Some(about.clone()));
        let other = format!(r#","annotations":{{"{REFERENCE_DIGEST}":"{about}"}}"#);
        assert_eq!(read(&other).unwrap().attests(), None);

        let foreign = r#","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip""#;
        assert!(
            !read(foreign).unwrap().is_foreign(),
            "it can only be pushed"
        );
        let urls = format!(r#"{foreign},"urls":["https://example.org/layer"]"#);
        assert!(read(&urls).unwrap().is_foreign());
    }
}
