//! A blob that is fetched before it is its turn to be written: in large chunks, of which few wait.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::endpoint::transfer::{self, Start, Watch};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::image::manifest::Descriptor;

/// How much is written at once.
const WRITE_SIZE: usize = 256 << 10;
/// How much may have been fetched and wait to be written, in bytes, for all blobs together.
const AHEAD: usize = 24 << 20;

/// How many chunks of one blob may wait, where `jobs` blobs come at once.
pub(super) fn waiting(jobs: usize) -> usize {
    (AHEAD / WRITE_SIZE / jobs.max(1)).max(1)
}

/// Sends what `stream` gives in large chunks, the first behind `chunk`; gives what is left at its end, if
/// anybody still takes it.
pub(super) async fn send_in_chunks(
    stream: impl Stream<Item = Result<Bytes>>,
    mut chunk: Vec<u8>,
    sender: &mpsc::Sender<Vec<u8>>,
) -> Result<Option<Vec<u8>>> {
    let mut stream = std::pin::pin!(stream);
    while let Some(bytes) = stream.next().await {
        chunk.extend(bytes?);
        if chunk.len() >= WRITE_SIZE && sender.send(std::mem::take(&mut chunk)).await.is_err() {
            // Writing failed, and says why.
            return Ok(None);
        }
    }
    Ok(Some(chunk))
}

/// From where a blob is fetched, and who is told.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) watch: Arc<Watch>,
    source: Endpoint,
    /// How many of its chunks may wait.
    waiting: usize,
}

/// A blob on its way; dropped, it comes no further.
#[derive(Debug)]
pub struct Prefetch {
    pub(super) origin: Origin,
    pub(super) chunks: Chunks,
    /// The one task that fetches it.
    pub(super) fetching: Fetching,
}

/// The end of fetching a blob.
#[derive(Debug)]
pub(super) struct Fetching(JoinSet<Result<()>>);

impl Origin {
    /// Begins to fetch the blob.
    pub(super) fn begin(self) -> Prefetch {
        let (sender, receiver) = mpsc::channel(self.waiting);
        let mut fetching = JoinSet::new();
        let (source, watch) = (self.source.clone(), Arc::clone(&self.watch));
        fetching.spawn(async move {
            let stream = transfer::verified(source, watch, Start::default()).await?;
            if let Some(rest) = send_in_chunks(stream, Vec::new(), &sender).await? {
                // Whoever does not take it has failed, and says why.
                let _ = sender.send(rest).await;
            }
            Ok(())
        });
        Prefetch {
            origin: self,
            chunks: Chunks {
                receiver,
                chunk: Cursor::default(),
            },
            fetching: Fetching(fetching),
        }
    }

    /// An error of what became of the blob.
    pub(super) fn error(&self, doing: &str, kind: Kind) -> Error {
        let name = format!("{}@{}", self.source, self.watch.blob.digest);
        Error::new(kind, doing, name)
    }
}

impl Prefetch {
    /// Begins to fetch `blob` from `source`, with `jobs` blobs at once.
    #[must_use]
    pub fn begin(blob: &Descriptor, source: &Endpoint, (jobs, events): (usize, &Events)) -> Self {
        let origin = Origin {
            watch: Watch::new(blob, events),
            source: source.clone(),
            waiting: waiting(jobs),
        };
        origin.begin()
    }
}

impl Fetching {
    /// Waits for it; the blob was what it should be, or somebody did not want all of it.
    pub(super) async fn finish(mut self) -> Result<()> {
        match self.0.join_next().await {
            Some(Ok(fetched)) => fetched,
            Some(Err(_)) => Err(Error::internal("read blob", "")),
            None => Ok(()),
        }
    }
}

/// The bytes of a blob, read in order by a thread that may wait. They just end where it could not be
/// fetched: [`Fetching::finish`] tells.
#[derive(Debug)]
pub(super) struct Chunks {
    receiver: mpsc::Receiver<Vec<u8>>,
    chunk: Cursor<Vec<u8>>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.chunk.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = Cursor::new(chunk),
                None => return Ok(0),
            }
        }
    }
}
