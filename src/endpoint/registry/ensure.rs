//! Whether a blob is there, and bringing it when it is not, in as few requests as a registry allows.
//!
//! A mount of a blob *from the very repository that it goes to* is answered 201 when it is there, and
//! 202 with an open upload when it is not: one request is HEAD and POST at once. That holds on
//! distribution, olareg, zot and Quay. Where it does not (the first blob shows it), HEAD is asked.

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
        // The first small blob finds out what the registry does, alone.
        let proof = if mounts { self.proof(blob).await } else { None };
        // Decided once: what others find out meanwhile must not leave the question unasked.
        let by_mount = mounts && self.tells_by_mount(blob, proof.as_ref());
        if !by_mount && self.has_blob(blob).await? {
            return Ok(Arrival::Existing);
        }
        // An upload is opened a little before it is its turn: a round trip less for each.
        let turn = supply.turn_to_ask().await;
        let asked = if by_mount {
            self.ask_by_mount(blob, proof.is_some()).await?
        } else {
            self.mount_from_others(blob, supply.mountable).await?
        };
        let opened = match asked {
            Asked::There(arrival) => return Ok(arrival),
            Asked::Lacking(opened) => opened,
        };
        let _moving = supply.turn_to_move().await;
        drop(turn);
        self.upload(blob, opened, supply.source).await?;
        if proof.is_some() && self.can_mount_from(self.name()) {
            self.prove(blob).await?;
        }
        Ok(Arrival::Copied)
    }

    /// The right to find out whether a mount tells that a blob is there, where that is not known.
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

    fn tells_by_mount(&self, blob: &Descriptor, proof: Option<&MutexGuard<'_, ()>>) -> bool {
        let proven = self.mount_tells.load(Ordering::Relaxed);
        self.can_mount_from(self.name()) && (proven || proof.is_some() && blob.size <= SMALL)
    }

    async fn ask_by_mount(&self, blob: &Descriptor, proving: bool) -> Result<Asked> {
        match self.mount(blob, self.name()).await? {
            Mount::Done => {
                self.mount_tells.store(true, Ordering::Relaxed);
                Ok(Asked::There(Arrival::Existing))
            }
            Mount::Upload(url) if !proving => Ok(Asked::Lacking(Some(url))),
            // Not yet believed, or not possible.
            Mount::Upload(url) => {
                if self.has_blob(blob).await? {
                    self.note_unmountable(self.name());
                    return Ok(Asked::There(Arrival::Existing));
                }
                Ok(Asked::Lacking(Some(url)))
            }
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

    /// Asks once more for a blob that is there now: from here on a mount is believed, or never tried.
    async fn prove(&self, blob: &Descriptor) -> Result<()> {
        match self.mount(blob, self.name()).await? {
            Mount::Done => self.mount_tells.store(true, Ordering::Relaxed),
            Mount::Upload(_) | Mount::Impossible => self.note_unmountable(self.name()),
        }
        Ok(())
    }

    async fn mount_from_others(&self, blob: &Descriptor, mountable: &[String]) -> Result<Asked> {
        for from in mountable {
            match self.mount(blob, from).await? {
                Mount::Done => return Ok(Asked::There(Arrival::Mounted)),
                Mount::Upload(url) => return Ok(Asked::Lacking(Some(url))),
                Mount::Impossible => {}
            }
        }
        Ok(Asked::Lacking(None))
    }
}
