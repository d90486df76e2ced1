//! The blobs of an archive from a pipe, in the order in which they come. What is kept of them is in a temporary file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::member_name;
use super::one_pass::Keep;
use super::store::Store;
use super::tar_index::Span;
use crate::error::{Kind, Result};
use crate::image::digest::Digest;

/// The blobs that follow the front of an archive. Dropping it ends the thread that reads.
#[derive(Debug)]
pub(crate) struct TarStream {
    coming: tokio::sync::Mutex<mpsc::Receiver<Result<Option<Coming>>>>,
    kept: Arc<Kept>,
}

/// The next blob, and how to answer the thread that reads.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) digest: Digest,
    pub(super) span: Span,
    pub(super) keep: oneshot::Sender<Keep>,
    pub(super) read: oneshot::Receiver<Result<()>>,
}

/// A blob that comes next. It is skipped if this is dropped.
#[derive(Debug)]
pub(crate) struct NextBlob {
    coming: Coming,
    kept: Arc<Kept>,
}

/// A blob in the temporary file, whose space is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct KeptBlob {
    digest: Digest,
    kept: Arc<Kept>,
}

/// The blobs that have come.
#[derive(Debug)]
struct Kept {
    store: Arc<Store>,
    /// Where each is in the temporary file, if it is kept.
    spans: Mutex<HashMap<Digest, Option<Span>>>,
}

impl TarStream {
    pub(super) fn new(coming: mpsc::Receiver<Result<Option<Coming>>>, store: &Arc<Store>) -> Self {
        let kept = Kept {
            store: Arc::clone(store),
            spans: Mutex::default(),
        };
        Self {
            coming: coming.into(),
            kept: Arc::new(kept),
        }
    }

    /// The next blob; `None` after the end mark.
    ///
    /// # Errors
    ///
    /// Why the archive cannot be read or trusted.
    pub(crate) async fn next(&self) -> Result<Option<NextBlob>> {
        let coming = self.coming.lock().await.recv().await;
        let ended = || Err(self.kept.store.error(Kind::Interrupted));
        let coming = coming.unwrap_or_else(ended)?;
        let Some(coming) = coming else {
            return Ok(None);
        };
        self.kept.spans().insert(coming.digest.clone(), None);
        let kept = Arc::clone(&self.kept);
        Ok(Some(NextBlob { coming, kept }))
    }

    /// How many bytes of the disk blobs may take at a time, so that others have room on it too.
    pub(crate) fn room(&self) -> u64 {
        self.kept.store.room()
    }

    /// Where a blob behind the front is in the temporary file; `None` if it has not come.
    ///
    /// # Errors
    ///
    /// `not-found` when it has come and is not kept.
    pub(super) fn span(&self, digest: &Digest) -> Result<Option<Span>> {
        match self.kept.spans().get(digest) {
            None => Ok(None),
            Some(Some(span)) => Ok(Some(*span)),
            Some(None) => {
                let cause = format!(
                    "{} came through the pipe and was not kept",
                    member_name(digest)
                );
                let error = self.kept.store.error(Kind::NotFound).because(cause);
                Err(error.hint("run the same command again, or give the archive as a file"))
            }
        }
    }
}

impl NextBlob {
    /// Its digest, as its name says.
    pub(crate) fn digest(&self) -> &Digest {
        &self.coming.digest
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.coming.span.size
    }

    /// Reads it into the temporary file.
    ///
    /// # Errors
    ///
    /// When the archive ends in it, or the disk is full.
    pub(crate) async fn keep(self) -> Result<KeptBlob> {
        let Self { coming, kept } = self;
        let ended = || kept.store.error(Kind::Interrupted);
        coming.keep.send(Keep::Yes).map_err(|_| ended())?;
        coming.read.await.map_err(|_| ended())??;
        let digest = coming.digest;
        kept.spans().insert(digest.clone(), Some(coming.span));
        Ok(KeptBlob { digest, kept })
    }
}

impl Kept {
    fn spans(&self) -> MutexGuard<'_, HashMap<Digest, Option<Span>>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeptBlob {
    fn drop(&mut self) {
        let span = self.kept.spans().insert(self.digest.clone(), None);
        if let Some(span) = span.flatten() {
            self.kept.store.give_back(span);
        }
    }
}
