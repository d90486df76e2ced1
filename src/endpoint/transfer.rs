//! The bytes of a blob on their way: hashed while they pass, taken up again where they broke off,
//! the last of them held back until the digest is right.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::backoff::Failures;
use super::hash_checkpoint::{HashCheckpoint, Mark};
use super::pace::Pace;
use super::{BlobStream, Endpoint};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::image::digest::Hasher;
use crate::image::manifest::Descriptor;

/// What is known about one transfer from outside its stream.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What is on its way.
    pub(crate) blob: Descriptor,
    events: Events,
    sent: AtomicU64,
    beats: AtomicU64,
    reading: AtomicBool,
    failure: Mutex<Option<Error>>,
    trail: Mutex<HashCheckpoint>,
}

/// From where a blob is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    /// The destination has so many bytes already.
    pub(crate) offset: u64,
    /// Where its hash stood, at or before that.
    pub(crate) mark: Option<Mark>,
}

impl Watch {
    /// A transfer of `blob`, told to `events`.
    pub(crate) fn new(blob: &Descriptor, events: &Events) -> Arc<Self> {
        events.send(Event::BlobStarted {
            digest: blob.digest.clone(),
            size: blob.size,
        });
        Arc::new(Self {
            blob: blob.clone(),
            events: events.clone(),
            sent: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            reading: AtomicBool::new(false),
            failure: Mutex::default(),
            trail: Mutex::default(),
        })
    }

    /// Changes whenever something moves.
    pub(crate) fn beat(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Whether the source is being waited for.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.load(Ordering::Relaxed)
    }

    /// How many bytes went out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether every byte went out.
    pub(crate) fn is_complete(&self) -> bool {
        self.sent() == self.blob.size
    }

    /// Why the stream ended early, if it did.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The transfer starts again.
    pub(crate) fn restart(&self) {
        self.sent.store(0, Ordering::Relaxed);
        self.events.send(Event::BlobRestarted {
            digest: self.blob.digest.clone(),
        });
    }

    /// The transfer goes on behind the first `offset` bytes, if the hash can be taken up there.
    pub(crate) fn go_on(&self, offset: u64) -> Option<Start> {
        if offset > self.sent() {
            return None;
        }
        let mark = Some(self.trail().back_to(offset)?);
        self.restart();
        self.moved(offset);
        Some(Start { offset, mark })
    }

    fn trail(&self) -> MutexGuard<'_, HashCheckpoint> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many more bytes went out.
    pub(crate) fn moved(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.events.send(Event::BlobBytes {
            digest: self.blob.digest.clone(),
            bytes,
        });
    }

    fn fail(&self, error: &Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let lost = if self.is_complete() { 0 } else { self.sent() };
        self.events.send(Event::BlobEnded {
            digest: self.blob.digest.clone(),
            lost,
        });
    }
}

/// The bytes of a blob from `source`, from `start` on, checked. The stream is open when this returns.
///
/// The stream ends in an error, also told to `watch`, before its last chunk, unless size and digest
/// are those of the blob: whoever takes it to its end has the right bytes.
pub(crate) async fn verified(
    source: Endpoint,
    watch: Arc<Watch>,
    start: Start,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + 'static> {
    let blob = watch.blob.clone();
    let mark = start.mark.unwrap_or_else(|| Mark {
        offset: 0,
        hasher: blob.digest.hasher(),
    });
    let mut reading = Reading {
        pace: Pace::new(source.stall()),
        skip: start.offset.saturating_sub(mark.offset),
        hasher: Some(mark.hasher),
        offset: mark.offset,
        source,
        blob,
        watch,
        held: None,
        stream: None,
        failures: Failures::default(),
    };
    reading.open().await?;
    Ok(stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(chunk)) => {
                reading.watch.moved(chunk.len() as u64);
                Some((Ok(chunk), Some(reading)))
            }
            Ok(None) => None,
            Err(error) => {
                reading.watch.fail(&error);
                Some((Err(error), None))
            }
        }
    }))
}

/// Runs `receive`, and once more from the start when the bytes were wrong: it may have been the way, not
/// the stored copy.
pub(crate) async fn once_more<T, F>(watch: &Watch, receive: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    match receive().await {
        Err(error) if error.kind() == Kind::DigestMismatch => {
            watch.restart();
            receive().await
        }
        other => other,
    }
}

/// While the source is being waited for; also where the stream is dropped meanwhile, it ends.
struct Wait<'a>(&'a AtomicBool);

impl<'a> Wait<'a> {
    fn begin(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

struct Reading {
    source: Endpoint,
    blob: Descriptor,
    watch: Arc<Watch>,
    hasher: Option<Hasher>,
    offset: u64,
    /// Bytes that are read to be hashed, and not given.
    skip: u64,
    held: Option<Bytes>,
    stream: Option<BlobStream>,
    pace: Pace,
    failures: Failures,
}

impl Reading {
    /// The next checked chunk; `None` at the end of a blob that is what it should be.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let watch = Arc::clone(&self.watch);
        let _wait = Wait::begin(&watch.reading);
        self.step().await
    }

    async fn step(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(stream) = &mut self.stream else {
                if self.hasher.is_none() {
                    return Ok(None);
                }
                self.open().await?;
                continue;
            };
            let asked = Instant::now();
            let next = tokio::time::timeout(self.source.stall(), stream.next()).await;
            match next {
                Ok(Some(Ok(chunk))) => {
                    let pace = self.pace.note(chunk.len() as u64, asked.elapsed());
                    let ready = self.take(chunk)?;
                    if let Err(slow) = pace
                        && self.offset < self.blob.size
                    {
                        let cause = format!("the connection moved {slow}");
                        let error = self.error(Kind::Unavailable).because(cause);
                        self.broken(error).await?;
                    }
                    if ready.is_some() {
                        return Ok(ready);
                    }
                }
                Ok(None) => {
                    self.stream = None;
                    self.check()?;
                    return Ok(self.held.take().filter(|chunk| !chunk.is_empty()));
                }
                Ok(Some(Err(error))) => self.broken(error).await?,
                Err(_) => {
                    let cause = format!("no byte came for {} s", self.source.stall().as_secs());
                    let error = self.error(Kind::Unavailable).because(cause);
                    self.broken(error).await?;
                }
            }
        }
    }

    /// Opens the source at the offset that was reached.
    async fn open(&mut self) -> Result<()> {
        loop {
            match self.source.blob(&self.blob, self.offset).await {
                Ok(stream) => {
                    self.stream = Some(stream);
                    self.pace = Pace::new(self.source.stall());
                    return Ok(());
                }
                Err(error) => self.broken(error).await?,
            }
        }
    }

    /// Waits before the rest is asked for.
    async fn broken(&mut self, error: Error) -> Result<()> {
        self.stream = None;
        self.failures.note_progress(self.offset, self.blob.size);
        let backoff = self.source.backoff();
        backoff.pause_transfer(error, &mut self.failures).await
    }

    /// Takes a chunk in, gives the one before it.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        self.offset += chunk.len() as u64;
        if self.offset > self.blob.size {
            let cause = format!(
                "it is longer than the {} bytes that its manifest says",
                self.blob.size
            );
            return Err(self.error(Kind::DigestMismatch).because(cause));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
            self.watch.trail().note(self.offset, hasher);
        }
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let known = chunk.split_to(known.min(chunk.len()));
        self.skip -= known.len() as u64;
        Ok(self.held.replace(chunk).filter(|chunk| !chunk.is_empty()))
    }

    fn check(&mut self) -> Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        if self.offset != self.blob.size {
            let cause = format!(
                "its manifest says {} bytes, {} came",
                self.blob.size, self.offset
            );
            return Err(self.error(Kind::DigestMismatch).because(cause));
        }
        let came = hasher.finish();
        if came != self.blob.digest {
            let cause = format!("the bytes that came have the digest {came}");
            return Err(self.error(Kind::DigestMismatch).because(cause));
        }
        Ok(())
    }

    fn error(&self, kind: Kind) -> Error {
        self.source.advised(Error::new(
            kind,
            "read blob",
            format!("{}@{}", self.source, self.blob.digest),
        ))
    }
}

/// Reads all of a blob and keeps nothing: an error unless its bytes are what its digest and size say.
pub(crate) async fn read_through(
    source: &Endpoint,
    blob: &Descriptor,
    events: &Events,
) -> Result<()> {
    let watch = Watch::new(blob, events);
    once_more(&watch, || async {
        let stream = verified(source.clone(), Arc::clone(&watch), Start::default()).await?;
        stream.try_for_each(|_| std::future::ready(Ok(()))).await
    })
    .await
}

/// The whole of a blob of at most `longest` bytes, checked, taken up again where it broke off.
pub(crate) async fn whole(source: &Endpoint, blob: &Descriptor, longest: u64) -> Result<Bytes> {
    let name = format!("{source}@{}", blob.digest);
    let error = |kind| Error::new(kind, "read blob", &name).at(source.blame());
    if blob.size > longest {
        let cause = format!(
            "it has {} bytes; more than {longest} are not read here",
            blob.size
        );
        return Err(error(Kind::InvalidManifest).because(cause));
    }
    let watch = Watch::new(blob, &Events::ignored());
    once_more(&watch, || async {
        let stream = verified(source.clone(), Arc::clone(&watch), Start::default()).await?;
        let chunks: Vec<Bytes> = stream.try_collect().await?;
        Ok(Bytes::from(chunks.concat()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::endpoint::backoff::Backoff;
    use crate::endpoint::layout::Layout;
    use crate::image::digest::Digest;

    fn blob(size: u64) -> Descriptor {
        let text = format!(
            r#"{{"mediaType":"x","digest":"{}","size":{size}}}"#,
            Digest::of(b"x")
        );
        serde_json::from_str(&text).expect("a descriptor")
    }

    fn reading(watch: &Arc<Watch>) -> Reading {
        let backoff = Backoff {
            times: 0,
            events: Events::ignored(),
        };
        Reading {
            source: Endpoint::Layout(Layout::new(PathBuf::new(), backoff).into()),
            blob: watch.blob.clone(),
            watch: Arc::clone(watch),
            hasher: None,
            offset: 0,
            skip: 0,
            held: None,
            stream: Some(stream::pending().boxed()),
            pace: Pace::new(Duration::ZERO),
            failures: Failures::default(),
        }
    }

    #[tokio::test]
    async fn waits_for_the_source_no_longer_when_dropped() {
        let watch = Watch::new(&blob(9), &Events::ignored());
        let mut reading = reading(&watch);
        let mut next = Box::pin(reading.next());
        assert!(futures_util::poll!(&mut next).is_pending() && watch.is_reading());
        drop(next);
        assert!(!watch.is_reading());
    }
}
