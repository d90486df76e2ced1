//! What `docker save` and skopeo write (`docker-archive:`): read as images whose layers are gzip-compressed.
//!
//! The archive has no manifests, and most layers in it are not compressed. So each layer is compressed once
//! to know its digest and size, and again when it is read: the same bytes, since compression is deterministic,
//! and nothing is kept in between. Each layer is checked against its `diff_id`.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::docker_manifest;
use super::docker_manifest::List;
use super::layer::{self, Layer};
use super::opening::Opening;
use super::store::Store;
use super::tar_index::Span;
use crate::bounded::try_all;
use crate::endpoint::backoff::Backoff;
use crate::endpoint::hints::of_archive;
use crate::endpoint::{BlobStream, Head, Labels, OnlyImage, Overwrite, Target, check_directory};
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::image::media_type;
use crate::sanitize::plural;

/// The longest `manifest.json` that is read: 4 MiB, as of a manifest.
const LONGEST_LIST: u64 = MAX_MANIFEST_BYTES as u64;

/// An archive of `docker save`; opened when it is first asked for something.
#[derive(Clone, Debug)]
pub struct DockerArchive {
    pub(super) path: PathBuf,
    side: Side,
    pub(in crate::endpoint) blame: Option<Side>,
    pub(in crate::endpoint) labels: Labels,
    opened: OnceCell<Option<Arc<Opened>>>,
    /// Layers that have been measured, by the place of their bytes.
    layers: Arc<Mutex<HashMap<u64, Arc<OnceCell<Layer>>>>>,
    /// Who may measure a layer.
    measuring: Arc<Semaphore>,
    pub(crate) backoff: Backoff,
}

#[derive(Debug)]
struct Opened {
    store: Arc<Store>,
    list: List,
    /// The images of the list as a registry has them, each once it was asked for.
    converted: Vec<OnceCell<Converted>>,
}

/// An image as a registry has it.
#[derive(Debug)]
struct Converted {
    manifest: Manifest,
    config: Digest,
    layers: Vec<Layer>,
}

impl DockerArchive {
    /// The archive at `path`; nothing is read.
    #[must_use]
    pub fn new(path: PathBuf, side: Side, backoff: Backoff) -> Self {
        Self {
            blame: None,
            path,
            side,
            labels: Labels::default(),
            opened: OnceCell::new(),
            layers: Arc::default(),
            measuring: Arc::new(Semaphore::new(layer::MEASURED_AT_ONCE as usize)),
            backoff,
        }
    }

    /// Every tag, sorted by bytes: without the repository where all images are of one.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no such file, `protocol` when it is no archive that can be trusted.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let opened = self.opened().await?;
        let names = opened.list.images.iter().flat_map(|image| &image.names);
        let mut tags: Vec<String> = names.map(|name| opened.list.shortened(name)).collect();
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }

    /// The images of the archive, once for each name.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn images(&self) -> Result<Vec<OnlyImage>> {
        let opened = self.opened().await?;
        let mut images = Vec::new();
        for (place, image) in opened.list.images.iter().enumerate() {
            let digest = self.converted(opened, place).await?.manifest.digest.clone();
            match image.names.as_slice() {
                [] => images.push(OnlyImage { name: None, digest }),
                names => images.extend(names.iter().map(|name| OnlyImage {
                    name: Some(opened.list.shortened(name)),
                    digest: digest.clone(),
                })),
            }
        }
        Ok(images)
    }

    /// What `target` points at.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read, or a layer is not what its config says.
    pub async fn head(&self, target: &Target) -> Result<Option<Head>> {
        Ok(self.manifest(target).await?.map(Head::from))
    }

    /// The manifest of `target`, made of its config and its layers.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read, or a layer is not what its config says.
    pub async fn manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        if self.side == Side::Destination {
            // What stands there is replaced as a whole, or in the way.
            return Ok(None);
        }
        let opened = self.opened().await?;
        match target {
            Target::Tag(tag) => {
                let Some((place, _)) = opened.list.called(tag) else {
                    return Ok(None);
                };
                let converted = self.converted(opened, place).await?;
                Ok(Some(converted.manifest.clone()))
            }
            Target::Digest(digest) => {
                for place in 0..opened.list.images.len() {
                    let manifest = &self.converted(opened, place).await?.manifest;
                    if manifest.digest == *digest {
                        return Ok(Some(manifest.clone()));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The repository of the image behind `target`, where it has a name.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn repository(&self, target: &Target) -> Result<Option<String>> {
        let opened = self.opened().await?;
        let called = match target {
            Target::Tag(tag) => opened.list.called(tag),
            Target::Digest(_) => None,
        };
        Ok(called.map(|(_, name)| name.repository.clone()))
    }

    /// Whether a blob is one of an image that has been read.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blob_size(blob).await? == Some(blob.size))
    }

    /// The size of `blob` as it would be read, in bytes, if it is there.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn blob_size(&self, blob: &Descriptor) -> Result<Option<u64>> {
        if self.side == Side::Destination {
            return Ok(None);
        }
        let found = self.opened().await?.find(&blob.digest);
        Ok(found.map(|found| found.size()))
    }

    /// The bytes of `blob` from `offset` on.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn open_blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream> {
        let opened = self.opened().await?;
        match opened.find(&blob.digest) {
            Some(Found::Config(span)) => Ok(Arc::clone(&opened.store).stream(span, offset)),
            Some(Found::Layer(layer)) if layer.is_packed() => {
                Ok(Arc::clone(&opened.store).stream(layer.span, offset))
            }
            Some(Found::Layer(layer)) => {
                let chunks = layer::pack(Arc::clone(&opened.store), layer.span, offset);
                let name = format!("{self}@{}", blob.digest);
                let chunks = stream::unfold(chunks, |mut chunks| async move {
                    Some((chunks.recv().await?, chunks))
                });
                let named = chunks.map(move |chunk| {
                    chunk.map_err(|why| Error::new(Kind::LocalIo, "read blob", &name).because(why))
                });
                Ok(named.boxed())
            }
            None => Err(Error::new(
                Kind::NotFound,
                "read blob",
                format!("{self}@{}", blob.digest),
            )
            .because("the archive does not hold it")),
        }
    }

    async fn opened(&self) -> Result<&Opened> {
        let opened = self
            .opened
            .get_or_try_init(|| super::open(&self.path, self.to_string(), Opened::read));
        opened
            .await?
            .as_deref()
            .ok_or_else(|| super::no_such_file(self))
    }

    /// What images that come are called: as was asked for, else as the source has them.
    #[must_use]
    pub fn repository_of<'a>(&'a self, source: Option<&'a str>) -> Option<&'a str> {
        self.labels.repository.as_deref().or(source)
    }

    /// Whether an archive can be written here: nothing stands there, or it may be replaced.
    ///
    /// # Errors
    ///
    /// `local-io` when it cannot, `unsupported` for what is no file, `conflict` when one is there.
    pub fn check_writable(&self) -> Result<()> {
        check_directory(&self.path, self)?;
        let error = |kind, cause: &str| Error::new(kind, "write", self).because(cause);
        match std::fs::metadata(&self.path) {
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
            Err(why) => Err(error(Kind::LocalIo, &why.to_string())),
            Ok(metadata) if metadata.is_dir() => Err(error(Kind::LocalIo, "it is a directory")),
            Ok(metadata) if !metadata.is_file() => {
                let cause =
                    "it is no file, and the sizes of layers are written when they are known";
                Err(error(Kind::Unsupported, cause).hint("write a file, or oci-archive:PATH"))
            }
            Ok(metadata) if metadata.len() > 0 && self.labels.overwrite == Overwrite::Never => {
                let cause = "a file is there, and such an archive is written as a whole";
                Err(error(Kind::Conflict, cause)
                    .hint("remove it, name another, or replace it with --force"))
            }
            Ok(_) => Ok(()),
        }
    }

    /// The image as a registry has it: its layers measured, side by side.
    async fn converted<'a>(&self, opened: &'a Opened, place: usize) -> Result<&'a Converted> {
        let image = opened
            .list
            .images
            .get(place)
            .zip(opened.converted.get(place));
        let (image, converted) = image.expect("places are those of images of the list");
        let converted = converted.get_or_try_init(|| async {
            let text = opened.store.read(image.config);
            let text = text.map_err(|why| self.failed(Kind::LocalIo).because(why))?;
            let diff_ids = docker_manifest::diff_ids(&text);
            let diff_ids =
                diff_ids.map_err(|why| self.failed(Kind::InvalidManifest).because(why))?;
            if diff_ids.len() != image.layers.len() {
                let cause = format!(
                    "manifest.json lists {}, the config {}",
                    plural(image.layers.len() as u64, "layer"),
                    diff_ids.len()
                );
                return Err(self.failed(Kind::InvalidManifest).because(cause));
            }
            let layers = image.layers.iter().zip(&diff_ids);
            let layers = layers.map(|(span, diff_id)| self.layer(opened, *span, diff_id));
            let layers = try_all(layers).await?;
            let manifest = written(&text, &layers);
            Ok(Converted {
                manifest: Manifest::parse(manifest.into(), None)?,
                config: Digest::of(&text),
                layers,
            })
        });
        converted.await
    }

    /// A layer measured, once, and checked.
    async fn layer(&self, opened: &Opened, span: Span, diff_id: &Digest) -> Result<Layer> {
        let cell = Arc::clone(self.layers.lock().await.entry(span.offset).or_default());
        let measured = cell.get_or_try_init(|| async {
            let measured = self.measured(&opened.store, span).await;
            measured.map_err(|why| self.failed(Kind::Protocol).because(why))
        });
        let layer = measured.await?;
        if layer.diff_id == *diff_id {
            return Ok(layer.clone());
        }
        let cause = format!(
            "the config names the layer {diff_id}, its bytes have the digest {}",
            layer.diff_id
        );
        Err(self.failed(Kind::DigestMismatch).because(cause))
    }

    /// A layer measured, when few others are.
    async fn measured(&self, store: &Arc<Store>, span: Span) -> std::io::Result<Layer> {
        let compression = layer::compression(store, span)?;
        let turn = Arc::clone(&self.measuring).acquire_many_owned(layer::weight(compression));
        let turn = turn.await.map_err(std::io::Error::other)?;
        let store = Arc::clone(store);
        let measured = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            layer::measure(&store, (span, compression))
        });
        measured.await.map_err(std::io::Error::other).flatten()
    }

    fn failed(&self, kind: Kind) -> Error {
        of_archive(Error::new(kind, "read archive", self))
    }
}

/// The manifest of an image with this config and these layers.
fn written(config: &[u8], layers: &[Layer]) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            serde_json::json!({"mediaType": layer.media_type, "digest": layer.digest.as_str(), "size": layer.size})
        })
        .collect();
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config).as_str(),
            "size": config.len(),
        },
        "layers": layers,
    })
    .to_string()
}

/// A blob of an image.
enum Found<'a> {
    Config(Span),
    Layer(&'a Layer),
}

impl Found<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Config(span) => span.size,
            Self::Layer(layer) => layer.size,
        }
    }
}

impl Opened {
    fn read(opening: &Opening<'_>) -> Result<Arc<Self>> {
        let store = opening.open()?;
        let contents = store.contents()?;
        let refused =
            |kind, why: String| Error::new(kind, "read archive", opening.name).because(why);
        let Some(list) = contents.follow(docker_manifest::LIST) else {
            let error = refused(Kind::Protocol, "it has no manifest.json".to_owned());
            return Err(if contents.file("index.json").is_some() {
                error.hint("it is an OCI archive: write oci-archive:PATH")
            } else {
                error.hint(
                    "`docker save` of Docker before 1.10 wrote none: load it and save it again",
                )
            });
        };
        if list.size > LONGEST_LIST {
            return Err(refused(
                Kind::Protocol,
                format!("its manifest.json has {} bytes", list.size),
            ));
        }
        let text = store
            .read(list)
            .map_err(|why| refused(Kind::LocalIo, why.to_string()))?;
        let list = List::read(&text, &contents);
        let list = list.map_err(|why| refused(Kind::InvalidManifest, why))?;
        Ok(Arc::new(Self {
            converted: list.images.iter().map(|_| OnceCell::new()).collect(),
            list,
            store: Arc::new(store),
        }))
    }

    fn find(&self, digest: &Digest) -> Option<Found<'_>> {
        let images = self.list.images.iter().zip(&self.converted);
        images.into_iter().find_map(|(image, converted)| {
            let converted = converted.get()?;
            if converted.config == *digest {
                return Some(Found::Config(image.config));
            }
            let layer = converted
                .layers
                .iter()
                .find(|layer| layer.digest == *digest);
            layer.map(Found::Layer)
        })
    }
}

impl fmt::Display for DockerArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-archive:{}", self.path.display())
    }
}
