//! A layer of a `docker save` archive: what it is when it is compressed, and its bytes then.
//!
//! Compressed layers, which some tools put there, stay as they are.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;

use super::compression::{Bounded, Compression, MAGIC};
use super::store::Store;
use super::tar_index::Span;
use crate::image::digest::{Algorithm, Digest, Hasher};

/// How much is handed on at once, and how many of these may wait.
const CHUNK: usize = 256 << 10;
const WAITING: usize = 4;

/// How hard a layer is compressed: half the time of the usual level (6) for 3 % more bytes, measured on `/usr/lib`. Every
/// layer of an archive goes through it twice.
const LEVEL: Level = Level::new(3);

/// A layer as a registry has it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Its bytes in the archive.
    pub(super) span: Span,
    compression: Compression,
    /// Of the bytes when they are compressed.
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: &'static str,
    /// The digest of the bytes when they are not.
    pub(super) diff_id: Digest,
}

impl Layer {
    /// Whether the archive has it compressed.
    pub(super) fn is_packed(&self) -> bool {
        self.compression != Compression::None
    }
}

/// How many layers are measured at once: each takes a thread, and some memory.
pub(super) const MEASURED_AT_ONCE: u32 = 8;

/// How many of these a layer stands for: one that zstd packed may take much memory, so it is alone.
pub(super) fn weight(compression: Compression) -> u32 {
    match compression {
        Compression::None | Compression::Gzip => 1,
        Compression::Zstd => MEASURED_AT_ONCE,
    }
}

/// How a layer is compressed. Blocks.
pub(super) fn compression(store: &Arc<Store>, span: Span) -> io::Result<Compression> {
    let mut first = Vec::new();
    store.reader(span).take(MAGIC).read_to_end(&mut first)?;
    Compression::of(&first).map_err(io::Error::other)
}

/// Reads a layer through, to know what it is. Blocks.
pub(super) fn measure(
    store: &Arc<Store>,
    (span, compression): (Span, Compression),
) -> io::Result<Layer> {
    let (packed, diff_id) = if compression == Compression::None {
        let mut encoder = GzEncoder::new(Measure::new(), LEVEL);
        let mut plain = Measure::new();
        let mut reader = store.reader(span);
        copy(&mut reader, |bytes| {
            plain.write_all(bytes)?;
            encoder.write_all(bytes)
        })?;
        (encoder.finish()?, plain.hasher.finish())
    } else {
        let mut packed = Measure::new();
        copy(&mut store.reader(span), |bytes| packed.write_all(bytes))?;
        let mut plain = Measure::new();
        let mut unpacked = Bounded::new(compression, store.reader(span))?;
        copy(&mut unpacked, |bytes| plain.write_all(bytes))?;
        (packed, plain.hasher.finish())
    };
    Ok(Layer {
        span,
        compression,
        digest: packed.hasher.finish(),
        size: packed.size,
        media_type: match compression {
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Compression::None | Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        },
        diff_id,
    })
}

/// The compressed bytes of a layer from `offset` on, in chunks.
pub(super) fn pack(
    store: Arc<Store>,
    span: Span,
    offset: u64,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let handing = Handing {
            sender: sender.clone(),
            skip: offset,
            chunk: Vec::new(),
        };
        let mut encoder = GzEncoder::new(handing, LEVEL);
        let packed = copy(&mut store.reader(span), |bytes| encoder.write_all(bytes));
        let packed = packed.and_then(|()| encoder.finish()?.flush());
        if let Err(error) = packed {
            // Nobody waits for it where the reader has gone, which is then what failed.
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn copy(reader: &mut dyn Read, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(buffer.get(..count).unwrap_or_default())?,
        }
    }
}

/// Hashes and counts what is written to it.
struct Measure {
    hasher: Hasher,
    size: u64,
}

impl Measure {
    fn new() -> Self {
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        }
    }
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands on what is written to it, but for the first bytes.
struct Handing {
    sender: mpsc::Sender<io::Result<Bytes>>,
    skip: u64,
    chunk: Vec<u8>,
}

impl Write for Handing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.skip -= skipped as u64;
        self.chunk.extend(bytes.get(skipped..).unwrap_or_default());
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        let sent = self.sender.blocking_send(Ok(chunk.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
