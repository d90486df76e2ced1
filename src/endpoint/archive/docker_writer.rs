//! Writing what `docker load` and `podman load` read: layers unpacked, one behind the other, since how long
//! one is shows at its end; its header is written then. What readers look for first comes last.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::compression::{self, Bounded, Compression, MAGIC, Spare};
use super::docker::DockerArchive;
use super::docker_manifest::{self, Image};
use super::members::{Place, Places};
use super::partial::Partial;
use super::prefetch::{Chunks, Prefetch};
use super::store::Stamp;
use super::tar_index::BLOCK;
use super::writer::{failed, persist, put};
use crate::endpoint::transfer;
use crate::error::{Kind, Result};
use crate::image::digest::{Algorithm, Digest, Hasher};

/// How much is unpacked at once.
const CHUNK: usize = 256 << 10;

/// An archive that is being written; dropped before it is finished, it never was.
#[derive(Debug)]
pub struct DockerWriter {
    partial: Arc<Partial>,
    /// The layers, each right behind the one before.
    layers: Vec<Place>,
    /// What further ones may have beyond what honest ones have.
    spare: Spare,
    name: String,
    /// What stood there before.
    before: Option<Stamp>,
}

impl DockerArchive {
    /// Begins to write an archive of at least `least` bytes.
    ///
    /// # Errors
    ///
    /// `local-io` when the file cannot be made, or the disk has no room for it; `conflict` when another is
    /// there by now.
    pub async fn save(&self, least: u64) -> Result<DockerWriter> {
        self.check_writable()?;
        let (path, name) = (self.path.clone(), self.to_string());
        let before = Stamp::at(&path);
        let partial = tokio::task::spawn_blocking(move || Partial::create(&path, least)).await;
        let partial = partial.map_err(io::Error::other).flatten();
        Ok(DockerWriter {
            partial: Arc::new(partial.map_err(|error| failed(&name, &error))?),
            layers: Vec::new(),
            spare: Spare::new(),
            before,
            name,
        })
    }
}

/// A layer as it came out.
struct Unpacked {
    size: u64,
    digest: Digest,
}

/// What helps where a layer is no bomb.
const KEEP_PACKED: &str = "if you trust who made the image, write oci-archive:PATH, which keeps its layers compressed and which `podman load` reads too";

/// Why a layer did not come out.
enum Trouble {
    /// Its bytes cannot be unpacked.
    Compression(Kind, String),
    /// They would take more room or memory than is granted.
    TooMuch(String),
    /// They cannot be written.
    Writing(io::Error),
}

impl DockerWriter {
    /// Whether the layer is in the archive.
    #[must_use]
    pub fn holds(&self, diff_id: &Digest) -> bool {
        self.layers.iter().any(|place| place.digest == *diff_id)
    }

    /// Adds the layer that `prefetch` is, unpacked; where that fails, the archive is as before.
    ///
    /// # Errors
    ///
    /// When the source fails too often, the bytes are wrong or come out as another layer than `diff_id`, or
    /// they cannot be written.
    pub async fn add(&mut self, diff_id: &Digest, prefetch: Prefetch) -> Result<()> {
        let origin = prefetch.origin.clone();
        let first = Mutex::new(Some(prefetch));
        let unpacked = transfer::once_more(&origin.watch, || {
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.receive(first.unwrap_or_else(|| origin.clone().begin()))
        });
        let Unpacked { size, digest } = unpacked.await?;
        if digest != *diff_id {
            let cause = format!("the config names the layer {diff_id}, it unpacks to {digest}");
            let error = origin.error("unpack layer", Kind::DigestMismatch);
            return Err(error.because(cause));
        }
        let place = Place {
            digest,
            at: self.end(),
            header: docker_manifest::layer_header(diff_id, size),
            size,
        };
        self.put(place.at, place.header.clone()).await?;
        let padding = place.padding();
        let behind = place.at + place.length() - padding.len() as u64;
        self.put(behind, padding).await?;
        self.layers.push(place);
        self.spare.use_up(origin.watch.blob.size, size);
        Ok(())
    }

    async fn receive(&self, prefetch: Prefetch) -> Result<Unpacked> {
        let Prefetch {
            origin,
            chunks,
            fetching,
        } = prefetch;
        let (partial, at) = (Arc::clone(&self.partial), self.end() + BLOCK);
        let spare = self.spare.next();
        let unpacked = move || unpack((chunks, spare), &partial, at);
        let unpacked = tokio::task::spawn_blocking(unpacked).await;
        let unpacked = unpacked.unwrap_or_else(|why| Err(Trouble::Writing(io::Error::other(why))));
        if let Err(Trouble::Writing(error)) = unpacked {
            return Err(failed(&self.name, &error));
        }
        // Where the wrong bytes came, or not all, that is why they do not unpack.
        fetching.finish().await?;
        unpacked.map_err(|trouble| match trouble {
            Trouble::Compression(kind, why) => origin.error("unpack layer", kind).because(why),
            Trouble::TooMuch(why) => origin
                .error("unpack layer", Kind::Protocol)
                .because(why)
                .hint(KEEP_PACKED),
            Trouble::Writing(error) => failed(&self.name, &error),
        })
    }

    /// Ends the archive with what `images` need, and gives the file its name; layers that none of them needs
    /// are left out.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or another process has put its own there; what was there is there still.
    pub async fn finish(mut self, images: &[&Image]) -> Result<()> {
        self.keep(images).await?;
        let tail = docker_manifest::tail(images).map_err(|why| failed(&self.name, &why.into()))?;
        let (end, length) = (self.end(), self.end() + tail.len() as u64);
        self.put(end, tail).await?;
        persist((self.partial, length), self.before, &self.name).await
    }

    /// Closes the gaps of layers that no image needs.
    async fn keep(&mut self, images: &[&Image]) -> Result<()> {
        let needed = images.iter().flat_map(|image| &image.layers);
        let needed: BTreeSet<&Digest> = needed.map(|(diff_id, _)| diff_id).collect();
        let before = self.places();
        let layers = std::mem::take(&mut self.layers).into_iter();
        for mut place in layers.filter(|place| needed.contains(&place.digest)) {
            place.at = self.end();
            self.layers.push(place);
        }
        let (partial, after) = (Arc::clone(&self.partial), self.places());
        let closed = tokio::task::spawn_blocking(move || partial.rearrange(&before, &after)).await;
        let closed = closed.map_err(io::Error::other).flatten();
        closed.map_err(|error| failed(&self.name, &error))
    }

    fn places(&self) -> Places {
        Places {
            front: Vec::new(),
            manifests: Vec::new(),
            blobs: self.layers.clone(),
            length: self.end(),
        }
    }

    /// Where the last layer ends.
    fn end(&self) -> u64 {
        let last = self.layers.last();
        last.map_or(0, |place| place.at + place.length())
    }

    async fn put(&self, at: u64, bytes: Vec<u8>) -> Result<()> {
        let written = put(&self.partial, at, bytes).await;
        written.map_err(|error| failed(&self.name, &error))
    }
}

/// Unpacks what comes to the place that begins `at`; blocks. All is taken, since whether it is the right
/// blob shows at its end.
fn unpack(
    (mut chunks, spare): (Chunks, u64),
    partial: &Partial,
    at: u64,
) -> std::result::Result<Unpacked, Trouble> {
    let unpacked = unpack_to((&mut chunks, spare), |bytes, offset| {
        partial.write(bytes, at + offset)
    });
    if !matches!(unpacked, Err(Trouble::Writing(_))) {
        io::copy(&mut chunks, &mut io::sink()).map_err(spoilt)?;
    }
    unpacked
}

fn unpack_to(
    (chunks, spare): (&mut Chunks, u64),
    write: impl Fn(&[u8], u64) -> io::Result<()>,
) -> std::result::Result<Unpacked, Trouble> {
    let mut first = Vec::new();
    let magic = chunks.by_ref().take(MAGIC).read_to_end(&mut first);
    magic.map_err(spoilt)?;
    let compression =
        Compression::of(&first).map_err(|why| Trouble::Compression(Kind::Unsupported, why))?;
    let plain = Bounded::new(compression, Cursor::new(first).chain(chunks)).map_err(spoilt)?;
    let mut plain = plain.counting_from(spare);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut buffer, mut size) = (vec![0; CHUNK], 0);
    loop {
        let count = plain.read(&mut buffer).map_err(spoilt)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            let digest = hasher.finish();
            return Ok(Unpacked { size, digest });
        }
        hasher.update(bytes);
        write(bytes, size).map_err(Trouble::Writing)?;
        size += count as u64;
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what errors are mapped by"
)]
fn spoilt(error: io::Error) -> Trouble {
    if compression::is_too_much(&error) {
        return Trouble::TooMuch(error.to_string());
    }
    Trouble::Compression(Kind::Protocol, error.to_string())
}
