//! Importing an archive that comes through a pipe, in one pass: all tags say first which blobs they need, then each
//! blob is sent as it comes by, in the order of the archive. What no tag needs, or the destination has, is skipped. A tag
//! that has failed needs nothing more.
//!
//! Reading waits for no tag, only until blobs in the temporary file have been sent: it holds at most [`MOST_BYTES`] of small
//! blobs or `--jobs` large ones, and never more than the disk has room for.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, SetOnce};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::bounded::AT_ONCE;
use crate::endpoint::archive::{NextBlob, TarStream};
use crate::endpoint::permits::Rank;
use crate::endpoint::{Arrival, Asking};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Stated};
use crate::options::Depth;

/// How many bytes of small blobs are in the temporary file at a time.
const MOST_BYTES: u64 = 64 << 20;
/// Permits are for this many bytes; each blob takes at least one.
const UNIT: u64 = 64 << 10;

/// The blobs that the tags of a run need of the stream.
#[derive(Default)]
pub(super) struct Import {
    /// Kept by the tags.
    needed: Mutex<HashMap<Stated, Weak<NeededBlob>>>,
    /// How reading ended.
    ended: SetOnce<Result<()>>,
    /// Cancelled when the run no longer needs the rest.
    cancelled: CancellationToken,
}

/// A blob that one or more tags need.
pub(super) struct NeededBlob {
    blob: Descriptor,
    /// The place of the tag that asked for it first.
    tag: usize,
    /// Whether the destination has it.
    held: OnceCell<bool>,
    arrived: SetOnce<Result<Arrival>>,
}

impl Import {
    /// Notes that the tag at `tag` needs `blob`, as long as it keeps what this returns; before [`Self::begin`].
    pub(super) fn need(&self, blob: &Descriptor, tag: usize) -> Arc<NeededBlob> {
        let mut all = self.needed();
        let entry = all.entry(blob.stated()).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let needed = Arc::new(NeededBlob {
                blob: blob.clone(),
                tag,
                held: OnceCell::new(),
                arrived: SetOnce::new(),
            });
            *entry = Arc::downgrade(&needed);
            needed
        })
    }

    /// Waits until `blob` is at the destination; `None` if no tag said that it needs it.
    pub(super) async fn arrival(&self, blob: &Descriptor) -> Option<Result<Arrival>> {
        let needed = self.needed().get(&blob.stated())?.upgrade()?;
        Some(needed.arrived.wait().await.clone())
    }

    /// Begins to read the stream, since all tags have said what they need.
    pub(super) fn begin(self: Arc<Self>, shared: &Arc<Shared>) {
        let run = Arc::clone(shared);
        shared.transfers.spawn(async move {
            let reading = AssertUnwindSafe(self.read_all(&run)).catch_unwind();
            let ended = tokio::select! {
                ended = reading => ended.unwrap_or_else(|_| Err(Error::internal("read", &run.source))),
                () = run.stop.soon.cancelled() => Err(interrupted(&run)),
                () = self.cancelled.cancelled() => Err(interrupted(&run)),
            };
            for needed in self.all_needed() {
                if let Some(needed) = needed.upgrade()
                    && needed.arrived.get().is_none() {
                    let error = ended.clone().err();
                    needed.set(Err(match error {
                        Some(error) => error,
                        None => not_held(&run, &needed.blob).await,
                    }));
                }
            }
            // This is the only place that sets it.
            let _ = self.ended.set(ended);
        });
    }

    /// Gives up the rest of the stream.
    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Ends without having begun, since a tag did not come to say what it needs.
    pub(super) fn give_up(&self) {
        let _ = self.ended.set(Ok(()));
    }

    /// Waits until the stream has been read to its end.
    pub(super) async fn end(&self) -> Result<()> {
        self.ended.wait().await.clone()
    }

    fn needed(&self) -> MutexGuard<'_, HashMap<Stated, Weak<NeededBlob>>> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is needed, in the order of tags.
    fn all_needed(&self) -> Vec<Weak<NeededBlob>> {
        let needed = self.needed();
        let mut all: Vec<_> = needed.values().filter_map(Weak::upgrade).collect();
        drop(needed);
        all.sort_by_key(|needed| needed.rank());
        all.iter().map(Arc::downgrade).collect()
    }

    async fn read_all(&self, shared: &Arc<Shared>) -> Result<()> {
        let Some(stream) = shared.source.stream() else {
            return Ok(());
        };
        let all = self.all_needed();
        let mut sender = Sender::new(shared, stream);
        let sending = async {
            let read = sender.send_all(stream, &by_digest(&all)).await;
            let read = read.map_err(|error| error.at(shared.source.blame()));
            // What came whole is brought, however the archive ends.
            sender.finish().await.and(read)
        };
        tokio::pin!(sending);
        tokio::select! {
            ended = &mut sending => ended,
            () = look_ahead(shared, &all) => sending.await,
        }
    }
}

impl NeededBlob {
    fn rank(&self) -> Rank {
        Rank::new(self.tag, self.blob.size)
    }

    /// Whether the destination has it; asked once.
    async fn is_held(&self, shared: &Shared) -> Result<bool> {
        let depth = shared.settings.recheck.depth();
        let ask = || async {
            let _turn = match depth {
                Depth::Presence => None,
                Depth::Content => Some(shared.moving.take(self.rank()).await),
            };
            shared.destination.holds_blob(&self.blob, depth).await
        };
        let held = self.held.get_or_try_init(ask).await.copied();
        if let Ok(true) = held {
            self.set(Ok(Arrival::Existing));
        }
        held
    }

    fn set(&self, arrived: Result<Arrival>) {
        // The first result stays.
        let _ = self.arrived.set(arrived);
    }
}

/// Asks the destination for blobs before they come, so that reading need not wait for the answers.
async fn look_ahead(shared: &Shared, all: &[Weak<NeededBlob>]) {
    let look = |needed: Weak<NeededBlob>| async move {
        if let Some(needed) = needed.upgrade() {
            // A failure is met again when the blob comes.
            let _ = needed.is_held(shared).await;
        }
    };
    let all = stream::iter(all.to_vec());
    all.for_each_concurrent(AT_ONCE, look).await;
}

/// What is needed, each blob in every size that a manifest states.
type Needed = HashMap<Digest, Vec<Weak<NeededBlob>>>;

fn by_digest(all: &[Weak<NeededBlob>]) -> Needed {
    let mut by_digest = Needed::new();
    for needed in all.iter().filter_map(Weak::upgrade) {
        let same = by_digest.entry(needed.blob.digest.clone()).or_default();
        same.push(Arc::downgrade(&needed));
    }
    by_digest
}

/// Sends blobs of the stream.
struct Sender<'a> {
    shared: &'a Arc<Shared>,
    /// Room on the disk.
    room: Limit,
    /// For blobs in the temporary file, of which a large one counts as one of `--jobs`.
    kept: Limit,
    /// Each fails only with an error that ends the whole run.
    sending: JoinSet<Result<()>>,
}

impl<'a> Sender<'a> {
    fn new(shared: &'a Arc<Shared>, stream: &TarStream) -> Self {
        let jobs = shared.settings.jobs.max(1) as u64;
        Self {
            shared,
            room: Limit::new(stream.room(), stream.room()),
            kept: Limit::new(MOST_BYTES, MOST_BYTES / jobs),
            sending: JoinSet::new(),
        }
    }

    /// Reads the stream to its end.
    async fn send_all(&mut self, stream: &TarStream, needed: &Needed) -> Result<()> {
        loop {
            let next = tokio::select! {
                Some(sent) = self.sending.join_next() => {
                    self.check(sent)?;
                    continue;
                }
                next = stream.next() => next?,
            };
            let Some(next) = next else {
                return Ok(());
            };
            let needed = needed.get(next.digest()).into_iter().flatten();
            let mut right = None;
            for needed in needed.filter_map(Weak::upgrade) {
                match self.shared.source.check_size(&needed.blob, next.size()) {
                    Ok(()) => right = Some(needed),
                    Err(error) => needed.set(Err(error)),
                }
            }
            if let Some(needed) = right {
                self.send(next, needed).await?;
            }
        }
    }

    /// Sends the next blob, unless the destination has it.
    async fn send(&mut self, next: NextBlob, needed: Arc<NeededBlob>) -> Result<()> {
        match needed.is_held(self.shared).await {
            Ok(false) => {}
            Ok(true) => return Ok(()),
            Err(error) => {
                needed.set(Err(error));
                return Ok(());
            }
        }
        let permits = (
            self.kept.acquire(next.size()).await,
            self.room.acquire(next.size()).await,
        );
        let kept = next.keep().await?;
        let shared = Arc::clone(self.shared);
        let send = async move {
            let supply = shared.supply(&needed.blob, (needed.tag, &[], Asking::ToWrite));
            let sent = shared.destination.send_blob(&needed.blob, supply).await;
            drop((kept, permits));
            let fatal = sent.clone().err().filter(Error::is_fatal);
            needed.set(sent.map(|()| Arrival::Copied));
            fatal.map_or(Ok(()), Err)
        };
        let tracked = self.shared.transfers.track_future(send);
        self.sending.spawn(tracked);
        Ok(())
    }

    /// Waits for the blobs that are being sent.
    async fn finish(&mut self) -> Result<()> {
        while let Some(sent) = self.sending.join_next().await {
            self.check(sent)?;
        }
        Ok(())
    }

    fn check(&self, sent: std::result::Result<Result<()>, JoinError>) -> Result<()> {
        sent.unwrap_or_else(|_| Err(Error::internal("send blobs of", &self.shared.source)))
    }
}

/// A limit on bytes, of which a blob takes at most a share.
struct Limit {
    permits: Arc<Semaphore>,
    share: u32,
}

impl Limit {
    fn new(bytes: u64, share: u64) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let units = units(bytes).min(most);
        Self {
            permits: Arc::new(Semaphore::new(units as usize)),
            share: self::units(share).min(units),
        }
    }

    async fn acquire(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = units(bytes).min(self.share);
        // The semaphore is never closed.
        Arc::clone(&self.permits)
            .acquire_many_owned(units)
            .await
            .ok()
    }
}

/// How many permits `bytes` take.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Why the stream, which has ended, did not bring `blob`.
async fn not_held(shared: &Shared, blob: &Descriptor) -> Error {
    match shared.source.blob(blob, 0).await {
        Err(error) => error,
        Ok(_) => Error::internal("read", &shared.source),
    }
}

fn interrupted(shared: &Shared) -> Error {
    Error::new(Kind::Interrupted, "read archive", &shared.source)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_blob_is_needed_as_long_as_a_tag_keeps_it() {
        let import = Import::default();
        let blob = Descriptor::bare("text/plain", &Digest::of(b"x"), 1);
        let tags = [import.need(&blob, 0), import.need(&blob, 1)];
        assert!(Arc::ptr_eq(&tags[0], &tags[1]));
        assert!(import.arrival(&blob).now_or_never().is_none());
        assert_eq!(import.all_needed().len(), 1);
        drop(tags);
        assert!(
            import
                .arrival(&blob)
                .now_or_never()
                .is_some_and(|arrival| arrival.is_none())
        );
        assert_eq!(import.all_needed().len(), 0);
    }
}
