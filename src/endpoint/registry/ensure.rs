//! Whether a blob is there, and bringing it when it is not, in as few requests as a registry allows.
//!
//! A mount of a blob *from the very repository that it goes to* is answered 201 when it is there, and
//! 202 with an open upload when it is not: one request is HEAD and POST at once. That holds on
//! distribution, olareg, zot and Quay. Where it does not (the first blob shows it), HEAD is asked.
//!
//! A mount tells nothing of the size: a blob that one found is asked for by HEAD too, or a wrong size in its
//! descriptor would go unnoticed. No blob that is sent pays for that: its size shows on the way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::MutexGuard;

use super::Repository;
use super::blobs::Mount;
use crate::endpoint::{Arrival, Asking, Supply};
use crate::error::Result;
use crate::image::manifest::Descriptor;

/// A blob larger than this is not sent to a registry that may have it: HEAD is asked until a mount
/// has once told that a blob is there.
const SMALL: u64 = 16 << 20;
/// A blob of at most so many bytes is read before it is its turn: another round trip less for each.
const READ_AHEAD: u64 = 256 << 10;
/// How long a blob waits for the first one to find out what a mount tells.
const PROOF_PATIENCE: Duration = Duration::from_secs(1);

/// What asking for a blob came to.
enum Asked {
    There(Arrival),
    /// It has to be sent, into the upload that is open already, if one is.
    Lacking(Option<Url>),
}

impl Repository {
    /// Brings `blob` here, unless it is here: by a mount, else from the source.
    ///
    /// # Errors
    ///
    /// When the source does not have it, its bytes are not what its digest says, or either side fails
    /// too often. Nothing is stored then.
    pub async fn ensure_blob(&self, blob: &Descriptor, supply: Supply<'_>) -> Result<Arrival> {
        let mounts = supply.asking == Asking::ToWrite && supply.mountable.is_empty();
        if mounts && let Some(proof) = self.proof(blob).await {
            self.check_uploads()?;
            return self.prove(blob, supply, proof).await;
        }
        // Decided once: what others find out meanwhile must not leave the question unasked.
        let by_mount = mounts && self.mount_tells.load(Ordering::Relaxed);
        if !by_mount && self.has_blob(blob).await? {
            return Ok(Arrival::Existing);
        }
        // An upload is opened a little before it is its turn: a round trip less for each.
        let turn = supply.turn_to_ask().await;
        let asked = if by_mount {
            self.ask_by_mount(blob).await?
        } else {
            self.mount_from_others(blob, supply.mountable).await?
        };
        let opened = match asked {
            Asked::There(arrival) => return Ok(arrival),
            Asked::Lacking(opened) => opened,
        };
        if blob.size <= READ_AHEAD {
            supply.source.read_ahead(blob).await?;
        }
        let _moving = supply.turn_to_move().await;
        drop(turn);
        self.upload(blob, opened, supply.source).await?;
        Ok(Arrival::Copied)
    }

    /// Sends `blob`, whatever was said of it.
    pub(crate) async fn send_again(&self, blob: &Descriptor, supply: Supply<'_>) -> Result<()> {
        let _moving = supply.turn_to_move().await;
        self.upload(blob, None, supply.source).await
    }

    /// The right to find out what the registry does, where that is not known.
    async fn proof(&self, blob: &Descriptor) -> Option<MutexGuard<'_, ()>> {
        let unknown =
            || !self.mount_tells.load(Ordering::Relaxed) && self.can_mount_from(self.name());
        if blob.size > SMALL || !unknown() {
            return None;
        }
        // A slow blob keeps the others for a moment only: they ask by HEAD then.
        let waited = tokio::time::timeout(PROOF_PATIENCE, self.proving.lock()).await;
        let guard = waited.ok()?;
        unknown().then_some(guard)
    }

    /// Brings the first small blob, the sure way, and finds out with it whether a mount tells that one is there: from
    /// here on that is believed, or never tried.
    async fn prove(
        &self,
        blob: &Descriptor,
        supply: Supply<'_>,
        _proof: MutexGuard<'_, ()>,
    ) -> Result<Arrival> {
        let opened = match self.mount(blob, self.name()).await? {
            Mount::Done => {
                self.mount_tells.store(true, Ordering::Relaxed);
                if self.mounted_size_fits(blob).await? {
                    return Ok(Arrival::Existing);
                }
                let _moving = supply.turn_to_move().await;
                self.upload(blob, None, supply.source).await?;
                return Ok(Arrival::Copied);
            }
            Mount::Upload(opened) => Some(opened),
            Mount::Impossible => None,
        };
        // Not yet believed.
        if self.has_blob(blob).await? {
            self.note_unmountable(self.name());
            if let Some(opened) = opened {
                self.cancel(opened).await;
            }
            return Ok(Arrival::Existing);
        }
        let _moving = supply.turn_to_move().await;
        self.upload(blob, opened, supply.source).await?;
        if self.can_mount_from(self.name()) {
            match self.mount(blob, self.name()).await? {
                Mount::Done => self.mount_tells.store(true, Ordering::Relaxed),
                Mount::Impossible => {}
                Mount::Upload(opened) => {
                    self.note_unmountable(self.name());
                    self.cancel(opened).await;
                }
            }
        }
        Ok(Arrival::Copied)
    }

    async fn ask_by_mount(&self, blob: &Descriptor) -> Result<Asked> {
        match self.mount(blob, self.name()).await? {
            Mount::Done => self.mounted(blob, Arrival::Existing).await,
            Mount::Upload(opened) => Ok(Asked::Lacking(Some(opened))),
            Mount::Impossible => {
                let there = self.has_blob(blob).await?;
                Ok(if there {
                    Asked::There(Arrival::Existing)
                } else {
                    Asked::Lacking(None)
                })
            }
        }
    }

    /// What a mount found. In another size than the descriptor states it is sent: the source shows which of
    /// the two is wrong.
    async fn mounted(&self, blob: &Descriptor, arrival: Arrival) -> Result<Asked> {
        Ok(if self.mounted_size_fits(blob).await? {
            Asked::There(arrival)
        } else {
            Asked::Lacking(None)
        })
    }

    /// Whether a blob that a mount found has the size that its descriptor states. A registry that does not say
    /// is believed: some deny or refuse every HEAD of a blob.
    async fn mounted_size_fits(&self, blob: &Descriptor) -> Result<bool> {
        match self.blob_size(blob).await {
            Ok(size) => Ok(size.is_none_or(|size| size == blob.size)),
            Err(error) if error.kind().retryable() => Err(error),
            Err(error) => {
                tracing::info!(%error, "the size of a mounted blob is not known");
                Ok(true)
            }
        }
    }

    async fn mount_from_others(&self, blob: &Descriptor, mountable: &[String]) -> Result<Asked> {
        for from in mountable {
            match self.mount(blob, from).await? {
                Mount::Done => return self.mounted(blob, Arrival::Mounted).await,
                Mount::Upload(opened) => return Ok(Asked::Lacking(Some(opened))),
                Mount::Impossible => {}
            }
        }
        Ok(Asked::Lacking(None))
    }
}
