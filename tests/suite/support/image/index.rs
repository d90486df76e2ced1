//! Multi-architecture images: an index, its children, and the attestations that BuildKit adds.
//!
//! An index is written in any form met in the field; whoever needs stranger bytes writes them by hand.

use serde_json::{Map, Value, json};

use super::spec::{descriptor, hash};
use super::{Image, ImageSpec, Layer, Platform};
use crate::support::content::{DOCKER_LIST, IN_TOTO, Manifest, OCI_INDEX, sha256};

/// The form of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Oci,
    /// An OCI index without the field `mediaType`, which is optional there.
    OciBare,
    Docker,
}

/// How an index is spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    Compact,
    Pretty,
}

/// Whether every child gets an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attestations {
    With,
    Without,
}

/// What an entry of an index points at.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Image(Image),
    Index(MultiArch),
}

impl Content {
    pub(crate) fn manifest(&self) -> &Manifest {
        match self {
            Self::Image(image) => &image.manifest,
            Self::Index(index) => &index.root,
        }
    }
}

/// One child of a built index.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) content: Content,
    pub(crate) platform: Option<Platform>,
    /// The digest of the child that this one attests.
    pub(crate) attests: Option<String>,
}

/// A built index and everything below it.
#[derive(Clone, Debug)]
pub(crate) struct MultiArch {
    pub(crate) root: Manifest,
    pub(crate) children: Vec<Child>,
}

impl MultiArch {
    /// An OCI index of two-layer images for `platforms` (`arm64`, `arm/v7`, `windows/amd64`); one layer is shared by all.
    pub(crate) fn standard(platforms: &[&str], attestations: Attestations, seed: u64) -> Self {
        let shared = Layer::random(hash(&format!("shared {seed}")), 2000);
        let mut builder = IndexBuilder::new(Form::Oci);
        for platform in platforms {
            let image = ImageSpec::on(Platform::parse(platform))
                .seed(seed)
                .layer(shared.clone())
                .layers(1, 3000)
                .build();
            builder = builder.image(&image);
            if attestations == Attestations::With {
                builder = builder.attest(&image);
            }
        }
        builder.build()
    }

    pub(crate) fn digest(&self) -> String {
        self.root.digest()
    }

    /// The child image for `platform`, written as for [`Platform::parse`]; a variant left out matches any.
    pub(crate) fn image(&self, platform: &str) -> &Image {
        let wanted = Platform::parse(platform);
        let matches = |child: &&Child| {
            child.platform.as_ref().is_some_and(|found| {
                found.os == wanted.os
                    && found.architecture == wanted.architecture
                    && (wanted.variant.is_none() || found.variant == wanted.variant)
            })
        };
        let child = self.children.iter().find(matches);
        match child.map(|child| &child.content) {
            Some(Content::Image(image)) => image,
            _ => panic!("the index has no image for {platform}"),
        }
    }

    /// The attestation of the child image for `platform`.
    pub(crate) fn attestation(&self, platform: &str) -> &Image {
        let digest = self.image(platform).digest();
        let child = self
            .children
            .iter()
            .find(|child| child.attests.as_ref() == Some(&digest));
        match child.map(|child| &child.content) {
            Some(Content::Image(image)) => image,
            _ => panic!("the index has no attestation for {platform}"),
        }
    }
}

/// One entry to be: what it points at and what else is written of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    content: Content,
    platform: Option<Platform>,
    attests: Option<String>,
    fields: Map<String, Value>,
}

impl Entry {
    /// An entry for an image, with the platform that its config has.
    pub(crate) fn image(image: &Image) -> Self {
        Self {
            content: Content::Image(image.clone()),
            platform: Some(image.platform.clone()),
            attests: None,
            fields: Map::new(),
        }
    }

    /// An entry for a nested index, without a platform.
    pub(crate) fn index(index: &MultiArch) -> Self {
        Self {
            content: Content::Index(index.clone()),
            platform: None,
            attests: None,
            fields: Map::new(),
        }
    }

    /// The attestation of `image` in BuildKit's form.
    pub(crate) fn attestation_of(image: &Image) -> Self {
        let digest = image.digest();
        let mut entry = Self::image(&attestation(&digest));
        entry.fields.insert(
            "annotations".into(),
            json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": digest,
            }),
        );
        entry.attests = Some(digest);
        entry
    }

    pub(crate) fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    pub(crate) fn without_platform(mut self) -> Self {
        self.platform = None;
        self
    }

    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        let annotations = self
            .fields
            .entry("annotations")
            .or_insert_with(|| json!({}));
        annotations[name] = json!(value);
        self
    }

    /// Sets any field of the entry, also one of those that are written by themselves.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    fn json(&self) -> Value {
        let manifest = self.content.manifest();
        let mut entry = descriptor(&manifest.media_type, &manifest.bytes);
        if let Some(platform) = &self.platform {
            entry["platform"] = Value::Object(platform.fields());
        }
        for (name, value) in &self.fields {
            entry[name] = value.clone();
        }
        entry
    }
}

fn attestation(subject: &str) -> Image {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "image", "digest": {"sha256": subject.trim_start_matches("sha256:")}}],
    })
    .to_string();
    let layer = Layer {
        diff_id: sha256(statement.as_bytes()),
        bytes: statement.into(),
        media_type: IN_TOTO.to_owned(),
        urls: Vec::new(),
    };
    ImageSpec::new("unknown", "unknown").layer(layer).build()
}

/// What an index is to be; [`IndexBuilder::build`] writes it.
#[derive(Clone, Debug)]
pub(crate) struct IndexBuilder {
    form: Form,
    spacing: Spacing,
    entries: Vec<Entry>,
    fields: Map<String, Value>,
}

impl IndexBuilder {
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            spacing: Spacing::Compact,
            entries: Vec::new(),
            fields: Map::new(),
        }
    }

    pub(crate) fn spacing(mut self, spacing: Spacing) -> Self {
        self.spacing = spacing;
        self
    }

    pub(crate) fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    pub(crate) fn image(self, image: &Image) -> Self {
        self.entry(Entry::image(image))
    }

    pub(crate) fn index(self, index: &MultiArch) -> Self {
        self.entry(Entry::index(index))
    }

    pub(crate) fn attest(self, image: &Image) -> Self {
        self.entry(Entry::attestation_of(image))
    }

    /// Sets a field of the index: `annotations`, `subject`, or one that nobody knows.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn build(self) -> MultiArch {
        let media_type = match self.form {
            Form::Oci | Form::OciBare => OCI_INDEX,
            Form::Docker => DOCKER_LIST,
        };
        let entries: Vec<Value> = self.entries.iter().map(Entry::json).collect();
        let mut index = json!({"schemaVersion": 2, "manifests": entries});
        if self.form != Form::OciBare {
            index["mediaType"] = json!(media_type);
        }
        for (name, value) in self.fields {
            index[name] = value;
        }
        let bytes = match self.spacing {
            Spacing::Compact => index.to_string(),
            Spacing::Pretty => format!("{index:#}"),
        };
        let children = self.entries.into_iter().map(|entry| Child {
            content: entry.content,
            platform: entry.platform,
            attests: entry.attests,
        });
        MultiArch {
            root: Manifest::new(media_type, bytes),
            children: children.collect(),
        }
    }
}
