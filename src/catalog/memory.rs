//! Limits how much memory a run's manifests take: 64 MiB, in three shares that never wait for one another in a
//! circle. A tag reserves memory for its root before reading it, and holds it until the tag ends. A child holds
//! memory while it is copied, and waits for nothing that reserves memory for another child. Manifests that may be
//! needed again are kept as long as they fit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Result;
use crate::image::digest::Digest;
use crate::image::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::once_map::{Done, OnceMap};

const ROOTS: usize = 32 << 20;
const CHILDREN: usize = 12 << 20;
const KEPT: usize = 20 << 20;

/// Bytes per permit.
const UNIT: usize = 1 << 10;

/// Memory for manifests.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Semaphore>);

/// Reserved memory, released on drop.
#[derive(Debug)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Memory {
    pub(crate) fn of_roots() -> Self {
        Self(Arc::new(Semaphore::new(ROOTS / UNIT)))
    }

    pub(crate) fn of_children() -> Self {
        Self(Arc::new(Semaphore::new(CHILDREN / UNIT)))
    }

    /// Reserves memory for a manifest of unknown size.
    pub(crate) async fn largest(&self) -> Room {
        self.of(MAX_MANIFEST_BYTES as u64).await
    }

    /// Reserves memory for a manifest of `size` bytes, capped at the largest that is ever read.
    pub(crate) async fn of(&self, size: u64) -> Room {
        let size = usize::try_from(size).unwrap_or(MAX_MANIFEST_BYTES);
        let taken = Arc::clone(&self.0)
            .acquire_many_owned(units(size.min(MAX_MANIFEST_BYTES)))
            .await;
        // It is never closed.
        Room(taken.ok())
    }
}

impl Room {
    /// Releases what a manifest of `size` bytes does not need.
    pub(crate) fn shrink(&mut self, size: usize) {
        if let Some(taken) = &mut self.0 {
            let spare = taken.num_permits().saturating_sub(units(size) as usize);
            drop(taken.split(spare));
        }
    }
}

fn units(size: usize) -> u32 {
    u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// A cache of manifests. When it is full the oldest are dropped, and read again when needed.
#[derive(Default)]
pub(crate) struct Manifests {
    read: OnceMap<Manifest>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    order: VecDeque<(Digest, usize)>,
    bytes: usize,
}

impl Manifests {
    /// Returns the manifest with this digest; `work` reads it unless it is cached.
    pub(crate) async fn read(
        &self,
        digest: &Digest,
        work: impl Future<Output = Result<Manifest>>,
    ) -> Result<Manifest> {
        let read = self.read.run(digest, work).await?;
        if let Done::Now(manifest) = &read {
            self.keep(digest, manifest.bytes.len());
        }
        Ok(read.into_inner())
    }

    fn keep(&self, digest: &Digest, size: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.order.push_back((digest.clone(), size));
        kept.bytes += size;
        while kept.bytes > KEPT
            && let Some((oldest, size)) = kept.order.pop_front()
        {
            kept.bytes -= size;
            self.read.forget(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn index(number: usize, size: usize) -> Manifest {
        let text = format!(r#"{{"manifests":[],"x":"{number}{}"}}"#, "x".repeat(size));
        Manifest::parse(text.into(), None).expect("an index")
    }

    #[tokio::test]
    async fn the_oldest_are_read_again_once_too_much_is_kept() {
        let manifests = Manifests::default();
        let all: Vec<Manifest> = (0..6).map(|number| index(number, 4_000_000)).collect();
        let reads = |which: &Manifest| {
            let (digest, manifest) = (which.digest.clone(), which.clone());
            let manifests = &manifests;
            async move {
                let mut reads = 0;
                let work = async {
                    reads += 1;
                    Ok(manifest)
                };
                manifests.read(&digest, work).await.expect("it is read");
                reads
            }
        };
        for manifest in &all {
            assert_eq!(reads(manifest).await, 1);
        }
        assert_eq!(reads(&all[5]).await, 0);
        assert_eq!(reads(&all[0]).await, 1);
    }

    #[tokio::test]
    async fn room_is_given_back_in_part_and_whole() {
        let memory = Memory::of_children();
        let mut all = vec![memory.largest().await, memory.largest().await];
        all.push(memory.largest().await);
        assert!(memory.of(1).now_or_never().is_none());
        all[0].shrink(1 << 20);
        assert!(memory.of(3 << 20).now_or_never().is_some());
        assert!(memory.largest().now_or_never().is_none());
        all.clear();
        assert!(memory.largest().now_or_never().is_some());
    }
}
