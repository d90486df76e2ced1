//! Registries for more bytes than a disk should hold: one makes its layers while it sends them, the other
//! throws away what it gets.
//!
//! Both are as small as a copy of one image allows, and no models of a real registry.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::http::request::Parts;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::support::content::{Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, finish, sha256};
use super::support::wire::{Answer, BoxBody, BoxError, Handler, Received, Server};

const BLOCK: usize = 1_000_000;

/// A layer: one block of its own, and then the same block again and again.
#[derive(Clone)]
struct Layer {
    first: Bytes,
    block: Bytes,
    blocks: usize,
}

impl Layer {
    fn new(seed: u64, block: &Bytes, blocks: usize) -> Self {
        let mut first = vec![0; BLOCK];
        fastrand::Rng::with_seed(seed).fill(&mut first);
        // It looks compressed, so that nobody compresses it on the way.
        first[..3].copy_from_slice(&[0x1f, 0x8b, 8]);
        Self {
            first: first.into(),
            block: block.clone(),
            blocks,
        }
    }

    fn digest(&self) -> String {
        let mut hasher = Sha256::new_with_prefix(&self.first);
        (1..self.blocks).for_each(|_| hasher.update(&self.block));
        finish(hasher)
    }

    fn len(&self) -> usize {
        self.blocks * BLOCK
    }
}

/// A layer on its way.
struct Stream {
    layer: Layer,
    sent: usize,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let block = match self.sent {
            0 => self.layer.first.clone(),
            sent if sent < self.layer.blocks => self.layer.block.clone(),
            _ => return Poll::Ready(None),
        };
        self.sent += 1;
        Poll::Ready(Some(Ok(Frame::data(block))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.layer.blocks
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(((self.layer.blocks - self.sent) * BLOCK) as u64)
    }
}

/// The source: one image of `layers` layers.
pub(crate) struct Generator {
    layers: BTreeMap<String, Layer>,
    config: Bytes,
    manifest: Manifest,
}

impl Generator {
    /// `layers` layers of so many megabytes, each hashed here once.
    pub(crate) fn new(layers: u64, megabytes: usize) -> Self {
        let mut block = vec![0; BLOCK];
        fastrand::Rng::with_seed(0).fill(&mut block);
        let block = Bytes::from(block);
        let hashed = std::thread::scope(|scope| {
            let layers = (1..=layers).map(|seed| Layer::new(seed, &block, megabytes));
            let threads: Vec<_> = layers
                .map(|layer| scope.spawn(|| (layer.digest(), layer)))
                .collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|layer| layer.expect("a layer can be hashed"))
                .collect::<Vec<_>>()
        });
        let diff_ids: Vec<&String> = hashed.iter().map(|(digest, _)| digest).collect();
        let config = Bytes::from(
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
                .to_string(),
        );
        let entries: Vec<_> = hashed
            .iter()
            .map(|(digest, layer)| json!({"mediaType": OCI_LAYER, "digest": digest, "size": layer.len()}))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": sha256(&config), "size": config.len()},
            "layers": entries,
        });
        Self {
            layers: hashed.into_iter().collect(),
            config,
            manifest: Manifest::new(OCI_MANIFEST, manifest.to_string()),
        }
    }

    pub(crate) fn serve(self) -> Server {
        Server::start(self)
    }
}

impl Handler for Generator {
    async fn answer(
        &self,
        head: Parts,
        body: Received,
    ) -> Result<hyper::Response<BoxBody>, BoxError> {
        drop(body);
        let path = head.uri.path();
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(layer) = self.layers.get(name).filter(|_| head.method == "GET") {
            let stream = Stream {
                layer: layer.clone(),
                sent: 0,
            };
            let body: BoxBody = Box::pin(stream);
            return Ok(hyper::Response::builder()
                .header("Content-Type", "application/octet-stream")
                .body(body)?);
        }
        let answer = if path.contains("/manifests/") {
            Answer::new(200)
                .header("Docker-Content-Digest", self.manifest.digest())
                .body(OCI_MANIFEST, self.manifest.bytes.clone())
        } else if path == "/v2/" {
            Answer::new(200)
        } else if name == sha256(&self.config) {
            Answer::new(200).body("application/octet-stream", self.config.clone())
        } else {
            Answer::new(404)
        };
        let head_only = head.method == "HEAD";
        Ok(if head_only { answer.bodiless() } else { answer }.into_response())
    }
}

/// The destination: it has nothing, and takes everything.
#[derive(Default)]
pub(crate) struct Sink {
    /// Bytes of blobs that came.
    pub(crate) received: Arc<Mutex<u64>>,
}

impl Sink {
    pub(crate) fn serve(self) -> Server {
        Server::start(self)
    }

    async fn discard(&self, mut body: Received) -> Result<u64, BoxError> {
        use http_body_util::BodyExt as _;
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        *self.received.lock().expect("no holder panicked") += length;
        Ok(length)
    }
}

impl Handler for Sink {
    async fn answer(
        &self,
        head: Parts,
        body: Received,
    ) -> Result<hyper::Response<BoxBody>, BoxError> {
        let path = head.uri.path().to_owned();
        let upload = path.contains("/blobs/uploads/");
        let length = self.discard(body).await?;
        let answer = match head.method.as_str() {
            "GET" if path == "/v2/" => Answer::new(200),
            "POST" => Answer::new(202).header("Location", format!("{path}session")),
            "PATCH" => Answer::new(202)
                .header("Location", path)
                .header("Range", format!("0-{}", length.saturating_sub(1))),
            "PUT" if upload || path.contains("/manifests/") => {
                Answer::new(201).header("Location", path)
            }
            _ => Answer::new(404),
        };
        Ok(answer.into_response())
    }
}
