//! Writing an archive: every blob has its place before it comes, so several come at once, each to its own.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::OciArchive;
use super::members::{END_MARK, Listing, Place, Places};
use super::partial::{Partial, Persisted};
use super::pipe::Pipe;
use super::prefetch;
use super::store::Stamp;
use crate::endpoint::Endpoint;
use crate::endpoint::transfer::{self, Start, Watch};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::image::manifest::{Descriptor, Stated};

/// What to do where no file may be so large.
const TOO_LARGE: &str = "FAT takes 4 GB a file, and `ulimit -f` may set less: write to another file system, or cut the stream, oci-archive:- | split -b 3G - app.tar.";

/// An archive that is being written; dropped before it is finished, it never was.
#[derive(Debug)]
pub struct Writer {
    sink: Sink,
    places: Places,
    /// The blobs that are in their places.
    brought: Mutex<BTreeSet<Stated>>,
    /// Chunks of one blob that may wait to be written.
    ahead: usize,
    name: String,
    /// What stood there when the archive was read; what is written now builds on it.
    before: Option<Stamp>,
    events: Events,
}

#[derive(Clone, Debug)]
enum Sink {
    File(Arc<Partial>),
    Pipe(Arc<Pipe>),
}

impl OciArchive {
    /// Begins to write what `listing` names, to which `jobs` blobs come at once.
    ///
    /// # Errors
    ///
    /// `local-io` when the file cannot be made, or the disk has no room for it.
    pub async fn write(&self, listing: &Listing, jobs: usize) -> Result<Writer> {
        let places = Places::of(listing)?;
        let name = self.to_string();
        let failed = |error: io::Error| failed(&name, &error);
        let sink = if self.is_stream() {
            let pipe = Pipe::open(&self.path).await;
            Sink::Pipe(Arc::new(pipe.map_err(failed)?))
        } else {
            let (path, length) = (self.path.clone(), places.length);
            let partial = tokio::task::spawn_blocking(move || Partial::create(&path, length));
            let partial = partial.await.map_err(|why| failed(io::Error::other(why)))?;
            Sink::File(Arc::new(partial.map_err(failed)?))
        };
        let writer = Writer {
            sink,
            brought: Mutex::default(),
            ahead: prefetch::waiting(jobs),
            events: self.backoff.events.clone(),
            before: match self.opened().await? {
                Some(opened) => Some(opened.store.stamp.clone()),
                None => Stamp::at(&self.path).filter(Stamp::is_empty),
            },
            places,
            name,
        };
        writer.put_front().await?;
        Ok(writer)
    }
}

impl Writer {
    /// Whether what was written has been read by somebody already.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.sink, Sink::Pipe(_))
    }

    /// Brings the blob at `place` of the listing from `source`. Into a stream blobs have to be brought in
    /// order, several at once.
    ///
    /// # Errors
    ///
    /// When the source fails too often, the bytes are wrong, or they cannot be written.
    pub async fn bring(&self, place: usize, blob: &Descriptor, source: &Endpoint) -> Result<()> {
        let place = self
            .places
            .blobs
            .get(place)
            .filter(|place| place.digest == blob.digest && place.size == blob.size);
        let Some(place) = place else {
            return Err(
                Error::new(Kind::Protocol, "write", &self.name).because("a blob has no place")
            );
        };
        let watch = Watch::new(blob, &self.events);
        let receive = || self.receive(place, source, &watch);
        match &self.sink {
            Sink::File(_) => transfer::once_more(&watch, receive).await,
            // What is out cannot be taken back.
            Sink::Pipe(_) => receive().await,
        }?;
        self.brought().insert(blob.stated());
        Ok(())
    }

    fn brought(&self) -> MutexGuard<'_, BTreeSet<Stated>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places whose blobs have not come.
    fn missing(&self) -> Vec<usize> {
        let brought = self.brought();
        let places = self.places.blobs.iter().enumerate();
        let missing = places.filter(|(_, place)| !brought.contains(&place.stated()));
        missing.map(|(number, _)| number).collect()
    }

    async fn receive(&self, place: &Place, source: &Endpoint, watch: &Arc<Watch>) -> Result<()> {
        let stream =
            transfer::verified(source.clone(), Arc::clone(watch), Start::default()).await?;
        let (sender, mut receiver) = mpsc::channel(self.ahead);
        let read = async move {
            let rest = prefetch::send_in_chunks(stream, place.header.clone(), &sender);
            if let Some(mut chunk) = rest.await? {
                chunk.extend(place.padding());
                let _ = sender.send(chunk).await;
            }
            Ok(())
        };
        let write = async {
            let mut at = place.at;
            while let Some(chunk) = receiver.recv().await {
                let length = chunk.len() as u64;
                self.put(at, chunk).await?;
                at += length;
            }
            Ok(())
        };
        tokio::try_join!(read, write).map(|_| ())
    }

    /// Makes the archive what `kept` names, and gives the places of its blobs that are still to be brought.
    ///
    /// # Errors
    ///
    /// When it cannot be written; `unsupported` for a stream, which cannot be taken back.
    pub async fn keep(&mut self, kept: &Listing) -> Result<Vec<usize>> {
        let after = Places::of(kept)?;
        let Sink::File(partial) = &self.sink else {
            return Err(Error::new(
                Kind::Unsupported,
                "take back what went to",
                &self.name,
            ));
        };
        let (partial, before) = (
            Arc::clone(partial),
            std::mem::replace(&mut self.places, after.clone()),
        );
        let rearranged = tokio::task::spawn_blocking(move || partial.rearrange(&before, &after));
        let rearranged = rearranged.await.map_err(io::Error::other).flatten();
        rearranged.map_err(|error| failed(&self.name, &error))?;
        self.put_front().await?;
        Ok(self.missing())
    }

    /// The archive is whole: a file gets its name, in place of what had it.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or another process has put its own there; what was there is there still.
    pub async fn finish(self) -> Result<()> {
        if !self.missing().is_empty() {
            return Err(Error::internal("write", &self.name));
        }
        let length = self.places.length;
        self.put(length - END_MARK.len() as u64, END_MARK.to_vec())
            .await?;
        let Sink::File(partial) = self.sink else {
            return Ok(());
        };
        persist((partial, length), self.before, &self.name).await
    }

    /// Writes all that stands before the first blob.
    async fn put_front(&self) -> Result<()> {
        self.put(0, self.places.front.clone()).await?;
        for manifest in &self.places.manifests {
            self.put(manifest.at, manifest.bytes()?).await?;
        }
        Ok(())
    }

    async fn put(&self, at: u64, bytes: Vec<u8>) -> Result<()> {
        let written = match &self.sink {
            Sink::Pipe(pipe) => pipe.write(at, bytes).await,
            Sink::File(partial) => put(partial, at, bytes).await,
        };
        written.map_err(|error| failed(&self.name, &error))
    }
}

/// Writes `bytes` from `at` on.
pub(super) async fn put(partial: &Arc<Partial>, at: u64, bytes: Vec<u8>) -> io::Result<()> {
    let partial = Arc::clone(partial);
    let written = tokio::task::spawn_blocking(move || partial.write(&bytes, at));
    written.await.map_err(io::Error::other).flatten()
}

/// Gives a file that is whole, `length` bytes long, its name, in place of what stood there `before`.
pub(super) async fn persist(
    (partial, length): (Arc<Partial>, u64),
    before: Option<Stamp>,
    name: &str,
) -> Result<()> {
    let partial =
        Arc::into_inner(partial).ok_or_else(|| io::Error::other("it is still written to"));
    let persist = move || partial?.persist(length, before.as_ref());
    let persisted = tokio::task::spawn_blocking(persist).await;
    match persisted.map_err(io::Error::other).flatten() {
        Ok(Persisted::InPlace) => Ok(()),
        Ok(Persisted::Overtaken) => Err(Error::new(Kind::Conflict, "write", name)
            .because("another process has changed it meanwhile, or is about to")
            .hint("run the same command again")),
        Err(error) => Err(failed(name, &error)),
    }
}

/// An archive that cannot be written is no image more than another's.
pub(super) fn failed(name: &str, error: &io::Error) -> Error {
    let failed = Error::new(Kind::LocalIo, "write", name).because(error);
    let failed = match error.kind() {
        io::ErrorKind::FileTooLarge => failed.hint(TOO_LARGE),
        _ => failed,
    };
    failed.hitting_all()
}
