//! A single image: from a platform and layers to a config and a manifest.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Layer;
use crate::support::content::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST,
    sha256,
};

/// Which media types an image is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Oci,
    Docker,
}

/// A platform as an index entry and a config write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
    pub(crate) os_version: Option<String>,
}

impl Platform {
    /// `arm64`, `arm/v7`, `windows/amd64`, `linux/arm64/v8`: Linux where no OS is named.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split('/').peekable();
        let os = words
            .next_if(|word| ["linux", "windows", "darwin", "freebsd", "unknown"].contains(word))
            .unwrap_or("linux");
        Self {
            os: os.to_owned(),
            architecture: words.next().unwrap_or(os).to_owned(),
            variant: words.next().map(str::to_owned),
            os_version: None,
        }
    }

    /// The fields as both an index entry and a config have them.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("architecture".into(), json!(self.architecture));
        fields.insert("os".into(), json!(self.os));
        if let Some(variant) = &self.variant {
            fields.insert("variant".into(), json!(variant));
        }
        if let Some(version) = &self.os_version {
            fields.insert("os.version".into(), json!(version));
        }
        fields
    }

    /// `os/architecture[/variant]`, as reports write it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}/{}", self.os, self.architecture);
        if let Some(variant) = &self.variant {
            text.push('/');
            text.push_str(variant);
        }
        text
    }
}

/// What an image is to be; [`ImageSpec::build`] makes it.
#[derive(Clone, Debug)]
pub(crate) struct ImageSpec {
    platform: Platform,
    format: Format,
    seed: u64,
    layers: Vec<Layer>,
    labels: Map<String, Value>,
    fields: Map<String, Value>,
}

/// A built image: a manifest and the blobs that it names.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) config: Bytes,
    pub(crate) layers: Vec<Layer>,
    pub(crate) platform: Platform,
}

impl Image {
    pub(crate) fn digest(&self) -> String {
        self.manifest.digest()
    }

    pub(crate) fn config_digest(&self) -> String {
        sha256(&self.config)
    }
}

impl ImageSpec {
    pub(crate) fn new(os: &str, architecture: &str) -> Self {
        Self::on(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            ..Platform::default()
        })
    }

    /// An image for a platform, without layers yet.
    pub(crate) fn on(platform: Platform) -> Self {
        Self {
            platform,
            format: Format::Oci,
            seed: 0,
            layers: Vec::new(),
            labels: Map::new(),
            fields: Map::new(),
        }
    }

    pub(crate) fn variant(mut self, variant: &str) -> Self {
        self.platform.variant = Some(variant.to_owned());
        self
    }

    pub(crate) fn os_version(mut self, version: &str) -> Self {
        self.platform.os_version = Some(version.to_owned());
        self
    }

    pub(crate) fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Makes the image another one: its layers added after this, and its config, differ.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds `count` layers of about `size` bytes that no other platform or seed has.
    pub(crate) fn layers(mut self, count: usize, size: usize) -> Self {
        for _ in 0..count {
            let name = format!("{:?} {} {}", self.platform, self.seed, self.layers.len());
            self.layers.push(Layer::random(hash(&name), size));
        }
        self
    }

    /// Adds this very layer, for instance one that several images share.
    pub(crate) fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), json!(value));
        self
    }

    /// Sets a field of the manifest: `annotations`, `subject`, or one that nobody knows.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn build(mut self) -> Image {
        if self.format == Format::Docker {
            for layer in &mut self.layers {
                if layer.media_type == OCI_LAYER {
                    DOCKER_LAYER.clone_into(&mut layer.media_type);
                }
            }
        }
        let config = self.config();
        let manifest = self.manifest(&config);
        Image {
            manifest,
            config,
            layers: self.layers,
            platform: self.platform,
        }
    }

    fn config(&self) -> Bytes {
        let mut config = self.platform.fields();
        let diff_ids: Vec<&str> = self
            .layers
            .iter()
            .map(|layer| layer.diff_id.as_str())
            .collect();
        let step = json!({"created": "2026-01-02T03:04:05Z", "created_by": "ADD layer"});
        config.insert("created".into(), json!("2026-01-02T03:04:05Z"));
        let seed = format!("SEED={}", self.seed);
        config.insert(
            "config".into(),
            json!({"Env": [seed], "Labels": self.labels}),
        );
        config.insert(
            "rootfs".into(),
            json!({"type": "layers", "diff_ids": diff_ids}),
        );
        config.insert("history".into(), json!(vec![step; self.layers.len()]));
        Value::Object(config).to_string().into()
    }

    fn manifest(&self, config: &Bytes) -> Manifest {
        let (media_type, config_type) = match self.format {
            Format::Oci => (OCI_MANIFEST, OCI_CONFIG),
            Format::Docker => (DOCKER_MANIFEST, DOCKER_CONFIG),
        };
        let mut manifest = Map::new();
        manifest.insert("schemaVersion".into(), json!(2));
        manifest.insert("mediaType".into(), json!(media_type));
        manifest.insert("config".into(), descriptor(config_type, config));
        let layers: Vec<Value> = self.layers.iter().map(layer_descriptor).collect();
        manifest.insert("layers".into(), Value::Array(layers));
        manifest.extend(self.fields.clone());
        Manifest::new(media_type, Value::Object(manifest).to_string())
    }
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

fn layer_descriptor(layer: &Layer) -> Value {
    let mut descriptor = descriptor(&layer.media_type, &layer.bytes);
    if !layer.urls.is_empty() {
        descriptor["urls"] = json!(layer.urls);
    }
    descriptor
}

/// A seed from a name (FNV-1a): stable over runs and toolchains, unlike the standard hasher.
pub(super) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
