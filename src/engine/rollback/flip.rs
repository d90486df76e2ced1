//! The flip: one PUT a tag, many at once. The first that fails, or a signal, keeps the rest back; what
//! is under way is waited for, since a write that is given up may still happen.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::super::Stop;
use super::AT_ONCE;
use crate::endpoint::Target;
use crate::endpoint::registry::Repository;
use crate::error::Error;
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::journal::Move;

/// A tag, and where it moves.
pub(super) struct Moving {
    pub(super) tag: String,
    pub(super) before: Option<Digest>,
    pub(super) root: Manifest,
    pub(super) pushed: bool,
}

impl Moving {
    /// The same for the journal.
    pub(super) fn entry(&self) -> Move {
        Move {
            tag: self.tag.clone(),
            before: self.before.clone(),
            after: self.root.digest.clone(),
            pushed: self.pushed,
        }
    }
}

/// What came of a flip.
pub(super) struct Flip {
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// The tags whose PUT failed.
    pub(super) failed: Vec<(String, Error)>,
    interrupted: bool,
}

impl Flip {
    /// Whether every tag moved, and no signal came before the last answer.
    pub(super) fn is_complete(&self) -> bool {
        self.failed.is_empty() && !self.interrupted
    }
}

/// Moves every tag, until the first failure or signal.
pub(super) async fn flip(repository: &Repository, moving: &[Moving], stop: &Stop) -> Flip {
    let halt = stop.soon.child_token();
    let started = Instant::now();
    let puts = stream::iter(moving).map(|each| put(repository, each, &halt));
    let mut puts = puts.buffer_unordered(AT_ONCE);
    let mut failed = Vec::new();
    loop {
        let put = tokio::select! {
            biased;
            () = stop.now.cancelled() => break,
            put = puts.next() => put,
        };
        match put {
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                halt.cancel();
                failed.extend(failure);
            }
            None => break,
        }
    }
    Flip {
        elapsed: started.elapsed(),
        failed,
        interrupted: stop.soon.is_cancelled(),
    }
}

/// Moves one tag. A failure without an error: others failed before it could be tried, or tried again.
async fn put(
    repository: &Repository,
    moving: &Moving,
    halt: &CancellationToken,
) -> Result<(), Option<(String, Error)>> {
    let target = Target::Tag(moving.tag.clone());
    let mut failures = 0;
    while !halt.is_cancelled() {
        let Err(error) = repository.try_put_manifest(&moving.root, &target).await else {
            return Ok(());
        };
        tokio::select! {
            biased;
            () = halt.cancelled() => {}
            paused = repository.backoff.pause(error, &mut failures) => {
                paused.map_err(|error| Some((moving.tag.clone(), error)))?;
            }
        }
    }
    Err(None)
}
