//! Manifests and indexes: parsed for what barge must know, kept as the bytes that came.
//!
//! Parsing decides the media type, and refuses what two readers could understand in two ways.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use super::digest::Digest;
use super::keys;
use crate::error::{Error, Kind, Result};

pub use super::descriptor::Descriptor;
pub(crate) use super::descriptor::Stated;
pub use super::media_type;

/// The largest manifest that is read: 4 MiB, as registries have it.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// What to accept when a manifest is asked for. Always all four: registries convert, or hide, what is left out.
pub const ACCEPT: [&str; 4] = [
    media_type::OCI_INDEX,
    media_type::OCI_MANIFEST,
    media_type::DOCKER_LIST,
    media_type::DOCKER_MANIFEST,
];

/// A manifest or index with the bytes that it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The type that it is pushed with.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The bytes as they came, or as the filter cut them.
    pub bytes: Bytes,
    /// What they say; shared, so that a manifest is cheap to clone.
    pub content: Arc<Content>,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few manifests, and each owns far more than this"
)]
pub enum Content {
    /// One image (or artifact): a config and layers.
    Image {
        config: Descriptor,
        /// The layer blobs, the lowest first.
        layers: Vec<Descriptor>,
        /// The manifest that this one refers to.
        subject: Option<Descriptor>,
        artifact_type: Option<String>,
    },
    /// An index of other manifests.
    Index {
        /// The manifests, in order.
        entries: Vec<Descriptor>,
        /// The blobs that are listed among them, each with its place in the list.
        blobs: Vec<(usize, Descriptor)>,
        /// The manifest that this one refers to.
        subject: Option<Descriptor>,
    },
}

impl Manifest {
    /// Reads a manifest that came with the HTTP header `content_type`.
    ///
    /// The body's own `mediaType` wins over the header; without either the fields decide.
    ///
    /// ```
    /// use barge::image::manifest::{Content, Manifest, media_type};
    ///
    /// let body = br#"{"schemaVersion": 2, "manifests": []}"#;
    /// let index = Manifest::parse(body.to_vec().into(), None).unwrap();
    /// assert_eq!(index.media_type, media_type::OCI_INDEX);
    /// assert!(matches!(*index.content, Content::Index { .. }));
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid-manifest` for what is no manifest, has a field twice (also under another case), or is an image
    /// and an index at once;
    /// `unsupported` for Docker's schema 1 and for other media types.
    pub fn parse(bytes: Bytes, content_type: Option<&str>) -> Result<Self> {
        let digest = Digest::of(&bytes);
        let refused = |refusal: Refusal| {
            Error::new(refusal.kind, "read manifest", &digest).because(refusal.cause)
        };
        let body = Body::read(&bytes).map_err(refused)?;
        let media_type = body.media_type(content_type).map_err(refused)?;
        let content = body.content(&media_type).map_err(refused)?;
        Ok(Self {
            media_type,
            digest,
            bytes,
            content: content.into(),
        })
    }

    /// Whether this is an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(*self.content, Content::Index { .. })
    }

    /// All that an index lists, in order, and which of it is a blob.
    pub(crate) fn listed(&self) -> Vec<(&Descriptor, bool)> {
        let Content::Index { entries, blobs, .. } = &*self.content else {
            return Vec::new();
        };
        let mut listed: Vec<(&Descriptor, bool)> =
            entries.iter().map(|entry| (entry, false)).collect();
        for (place, blob) in blobs {
            listed.insert((*place).min(listed.len()), (blob, true));
        }
        listed
    }

    /// All that an index lists, in order: a list of referrers has manifests alone, whatever it says of their types.
    pub(crate) fn all_entries(&self) -> impl Iterator<Item = &Descriptor> {
        self.listed().into_iter().map(|(entry, _)| entry)
    }

    /// The manifests that an index lists; none for an image.
    #[must_use]
    pub fn entries(&self) -> &[Descriptor] {
        match &*self.content {
            Content::Index { entries, .. } => entries,
            Content::Image { .. } => &[],
        }
    }

    /// The manifest that this one refers to.
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        match &*self.content {
            Content::Index { subject, .. } | Content::Image { subject, .. } => subject.as_ref(),
        }
    }

    /// The blobs of an image, config before layers, or those that an index lists; each once, without those that are
    /// not pushed. One that is listed in two sizes is there in both: each descriptor is checked.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let (config, others): (_, Vec<&Descriptor>) = match &*self.content {
            Content::Image { config, layers, .. } => (Some(config), layers.iter().collect()),
            Content::Index { blobs, .. } => (None, blobs.iter().map(|(_, blob)| blob).collect()),
        };
        let mut seen = BTreeSet::new();
        config
            .into_iter()
            .chain(others)
            .filter(|blob| !blob.is_foreign() && seen.insert((&blob.digest, blob.size)))
            .collect()
    }

    /// The layers that are not pushed, since they are fetched from elsewhere.
    pub fn foreign_layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers().iter().filter(|layer| layer.is_foreign())
    }

    /// The nondistributable layers that are pushed all the same.
    pub(crate) fn pushed_layers(&self) -> impl Iterator<Item = &Digest> {
        let pushed = |layer: &&Descriptor| {
            media_type::is_nondistributable(&layer.media_type) && !layer.is_foreign()
        };
        self.layers()
            .iter()
            .filter(pushed)
            .map(|layer| &layer.digest)
    }

    fn layers(&self) -> &[Descriptor] {
        match &*self.content {
            Content::Image { layers, .. } => layers,
            Content::Index { .. } => &[],
        }
    }

    /// The same manifest, of which these nondistributable layers are pushed like any other.
    #[must_use]
    pub fn with_layers(mut self, pushed: &BTreeSet<Digest>) -> Self {
        if let Content::Image { layers, .. } = Arc::make_mut(&mut self.content) {
            for layer in layers
                .iter_mut()
                .filter(|layer| pushed.contains(&layer.digest))
            {
                layer.urls.clear();
            }
        }
        self
    }

    /// How many layers are not pushed, since they are fetched from elsewhere.
    #[must_use]
    pub fn foreign(&self) -> usize {
        self.foreign_layers().count()
    }
}

/// Why a body is no manifest, before it is known which one it is.
struct Refusal {
    kind: Kind,
    cause: String,
}

fn invalid(cause: impl Into<String>) -> Refusal {
    Refusal {
        kind: Kind::InvalidManifest,
        cause: cause.into(),
    }
}

fn unsupported(cause: impl Into<String>) -> Refusal {
    Refusal {
        kind: Kind::Unsupported,
        cause: cause.into(),
    }
}

/// The fields that decide.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    #[serde(default)]
    config: Field<Descriptor>,
    #[serde(default)]
    layers: Field<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Field<Vec<Descriptor>>,
    subject: Option<Descriptor>,
}

/// A field that may be missing, or there and null: Go writes an empty list so.
#[derive(Default)]
enum Field<T> {
    #[default]
    Missing,
    There(Option<T>),
}

impl<T> Field<T> {
    fn is_there(&self) -> bool {
        matches!(self, Self::There(_))
    }

    fn value(self) -> Option<T> {
        match self {
            Self::Missing => None,
            Self::There(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::There)
    }
}

impl Body {
    fn read(bytes: &[u8]) -> std::result::Result<Self, Refusal> {
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
        let wrong = |error: serde_json::Error| invalid(error.to_string());
        keys::check(bytes, &keys::MANIFEST).map_err(wrong)?;
        let body: Self = serde_json::from_str(text).map_err(wrong)?;
        if body.manifests.is_there() && (body.config.is_there() || body.layers.is_there()) {
            return Err(invalid("it is an image and an index at once"));
        }
        Ok(body)
    }

    /// The body's own type, else the header's, else what the fields say.
    fn media_type(&self, content_type: Option<&str>) -> std::result::Result<String, Refusal> {
        let own = self.media_type.as_deref().filter(|own| !own.is_empty());
        let header = content_type.map(without_parameters);
        let header =
            header.filter(|header| ACCEPT.contains(header) || media_type::is_schema1(header));
        match own.or(header) {
            Some(schema1) if media_type::is_schema1(schema1) => Err(schema1_refusal()),
            Some(known) if ACCEPT.contains(&known) => Ok(known.to_owned()),
            Some(other) => Err(unsupported(format!(
                "media type {other:?} is neither an image nor an index"
            ))),
            None => self.sniff().map(str::to_owned),
        }
    }

    fn sniff(&self) -> std::result::Result<&'static str, Refusal> {
        if self.manifests.is_there() {
            Ok(media_type::OCI_INDEX)
        } else if self.config.is_there() && self.layers.is_there() {
            Ok(media_type::OCI_MANIFEST)
        } else if self.schema_version == Some(1) {
            Err(schema1_refusal())
        } else {
            Err(invalid(
                "it has neither `manifests` nor `config` and `layers`",
            ))
        }
    }

    fn content(self, media_type: &str) -> std::result::Result<Content, Refusal> {
        let missing = |field| invalid(format!("{media_type} without `{field}`"));
        if media_type::is_index(media_type) {
            if !self.manifests.is_there() {
                return Err(missing("manifests"));
            }
            let listed = self.manifests.value().unwrap_or_default().into_iter();
            let (entries, blobs): (Vec<_>, Vec<_>) = listed
                .enumerate()
                .partition(|(_, entry)| media_type::is_manifest(&entry.media_type));
            return Ok(Content::Index {
                entries: entries.into_iter().map(|(_, entry)| entry).collect(),
                blobs,
                subject: self.subject,
            });
        }
        Ok(Content::Image {
            config: self.config.value().ok_or_else(|| missing("config"))?,
            layers: self.layers.value().unwrap_or_default(),
            subject: self.subject,
            artifact_type: self.artifact_type,
        })
    }
}

/// Why schema 1 is refused.
pub(crate) const SCHEMA1: &str =
    "Docker's schema 1 is not supported; pull the image with a current Docker and push it again";

fn schema1_refusal() -> Refusal {
    unsupported(SCHEMA1)
}

/// Whether these are Docker's schema 1, by the header or by their version. Their digest is that of another text
/// than the one that comes: of the signed part.
pub(crate) fn is_schema1(bytes: &[u8], content_type: Option<&str>) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u64,
    }
    content_type.is_some_and(|header| media_type::is_schema1(without_parameters(header)))
        || serde_json::from_slice(bytes).is_ok_and(|version: Version| version.schema_version == 1)
}

/// The media type of a `Content-Type` header, without `; charset=…`.
fn without_parameters(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str, content_type: Option<&str>) -> Result<Manifest> {
        Manifest::parse(Bytes::copy_from_slice(body.as_bytes()), content_type)
    }

    fn blob(content: &str, media_type: &str, more: &str) -> String {
        let digest = Digest::of(content.as_bytes());
        let size = content.len();
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
    }

    fn image(layers: &[String], more: &str) -> String {
        let config = blob("config", media_type::OCI_CONFIG, "");
        let layers = layers.join(",");
        format!(r#"{{"schemaVersion":2{more},"config":{config},"layers":[{layers}]}}"#)
    }

    #[test]
    fn the_bodys_own_media_type_wins() {
        let docker_list = format!(
            r#"{{"mediaType":"{}","manifests":[]}}"#,
            media_type::DOCKER_LIST
        );
        let docker_image = image(
            &[],
            &format!(r#","mediaType":"{}""#, media_type::DOCKER_MANIFEST),
        );
        let charset = format!("{} ; charset=utf-8", media_type::DOCKER_MANIFEST);
        let cases = [
            (
                docker_list.as_str(),
                Some(media_type::OCI_INDEX),
                media_type::DOCKER_LIST,
            ),
            (
                r#"{"manifests":[]}"#,
                Some(media_type::DOCKER_LIST),
                media_type::DOCKER_LIST,
            ),
            (
                r#"{"manifests":null}"#,
                Some("application/json"),
                media_type::OCI_INDEX,
            ),
            (
                r#"{"manifests":[],"mediaType":""}"#,
                None,
                media_type::OCI_INDEX,
            ),
            (&docker_image, None, media_type::DOCKER_MANIFEST),
            (
                &image(&[], ""),
                Some(charset.as_str()),
                media_type::DOCKER_MANIFEST,
            ),
            (&image(&[], ""), None, media_type::OCI_MANIFEST),
        ];
        for (body, header, wanted) in cases {
            assert_eq!(parse(body, header).unwrap().media_type, wanted, "{body}");
        }
    }

    #[test]
    fn refuses_what_can_be_understood_in_two_ways() {
        let index = media_type::OCI_INDEX;
        let config = blob("config", media_type::OCI_CONFIG, "");
        let cases = [
            (
                format!(r#"{{"manifests":[],"config":{config}}}"#),
                "at once",
            ),
            (r#"{"manifests":[],"layers":null}"#.to_owned(), "at once"),
            (
                image(&[], &format!(r#","mediaType":"{index}""#)),
                "without `manifests`",
            ),
            (
                format!(
                    r#"{{"manifests":[],"mediaType":"{}"}}"#,
                    media_type::OCI_MANIFEST
                ),
                "without `config`",
            ),
            (
                r#"{"manifests":[],"manifests":[]}"#.to_owned(),
                "duplicate field",
            ),
            (
                image(&[], r#","mediaType":"a","mediaType":"b""#),
                "duplicate field",
            ),
            (
                r#"{"manifests":[],"Manifests":[]}"#.to_owned(),
                "ignore case",
            ),
            (r#"{"manifests":[{"size":1}]}"#.to_owned(), "digest"),
            (r#"{"config":{}}"#.to_owned(), "digest"),
            ("{}".to_owned(), "neither"),
            (String::new(), "EOF"),
            ("[]".to_owned(), ""),
            ("<html>".to_owned(), "expected value"),
        ];
        for (body, wrong) in cases {
            let error = parse(&body, None).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidManifest, "{body}");
            assert!(error.cause().contains(wrong), "{body}: {error}");
            assert!(
                error
                    .to_string()
                    .contains(Digest::of(body.as_bytes()).as_str())
            );
        }
        assert!(parse("{}", Some(index)).is_err());
        assert!(
            Manifest::parse(
                Bytes::from_static(b"{\"manifests\":[],\"x\":\"\xff\"}"),
                None
            )
            .is_err()
        );
    }

    #[test]
    fn says_what_is_not_supported() {
        let cases = [
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            ("{}", Some(media_type::DOCKER_SCHEMA1_SIGNED)),
            (
                r#"{"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}"#,
                None,
            ),
            (
                r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}"#,
                None,
            ),
        ];
        for (body, header) in cases {
            assert_eq!(
                parse(body, header).unwrap_err().kind(),
                Kind::Unsupported,
                "{body}"
            );
        }
    }

    #[test]
    fn lists_each_blob_once_and_counts_foreign_layers() {
        let layer = blob("one", "application/vnd.oci.image.layer.v1.tar", "");
        let foreign = blob(
            "two",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            r#","urls":["https://example.org/two"]"#,
        );
        let subject = blob("other", media_type::OCI_MANIFEST, "");
        let more = format!(r#","artifactType":"a/b","subject":{subject}"#);
        let image = parse(&image(&[layer.clone(), foreign, layer], &more), None).unwrap();
        let digests: Vec<_> = image.blobs().iter().map(|blob| &blob.digest).collect();
        assert_eq!(digests, [&Digest::of(b"config"), &Digest::of(b"one")]);
        assert_eq!(image.foreign(), 1);
        assert_eq!(image.subject().unwrap().digest, Digest::of(b"other"));
        assert!(!image.is_index());
        assert_eq!(image.digest, Digest::of(&image.bytes));
        assert!(matches!(
            *image.content,
            Content::Image {
                artifact_type: Some(_),
                ..
            }
        ));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Manifest::parse(bytes.into(), None);
        }

        #[test]
        fn no_damage_panics(at in 0_usize..400, byte: u8) {
            let layer = blob("one", "application/vnd.oci.image.layer.v1.tar", "");
            let mut bytes = image(&[layer], r#","annotations":{"a":"b"}"#).into_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = Manifest::parse(bytes.into(), None);
        }
    }
}
