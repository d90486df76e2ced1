//! The flip: one PUT a tag, many at once, and then a look at each. The first PUT that fails, or a signal, keeps
//! the rest back; what is under way is waited for, since a write that is given up may still happen. So what got
//! no answer in time is noted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::super::Stop;
use super::AT_ONCE;
use crate::endpoint::Target;
use crate::endpoint::registry::Repository;
use crate::error::{Error, Kind};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::referrers::Additions;
use crate::journal::Move;
use crate::options::Recheck;
use crate::select::is_digest_tag;

/// A tag, and where it moves.
pub(super) struct Moving {
    pub(super) tag: String,
    pub(super) before: Option<Digest>,
    pub(super) root: Manifest,
    pub(super) pushed: bool,
    /// For a list of referrers: which have to be in it.
    pub(super) listed: Option<Additions>,
}

impl Moving {
    /// A tag that points at `before`, and moves to `root`.
    pub(super) fn new(
        (tag, before): (String, Option<Digest>),
        root: Manifest,
        pushed: bool,
    ) -> Self {
        Self {
            tag,
            before,
            root,
            pushed,
            listed: None,
        }
    }

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

/// Why it is not known whether a tag stays as it is found. Where a PUT of it went out and got no answer in
/// time, the registry may still be at it. A connection that breaks leaves no doubt: what the registry did of
/// that request is seen right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Its PUT was answered: a look that finds it as before may have met a replica that is behind.
    Moved,
    /// There was one such PUT: once the tag is seen to have moved it is over.
    UntilSeen,
    /// There were others, so that a look cannot tell.
    Lasting,
}

/// The tags that are in doubt.
pub(crate) type Doubts = BTreeMap<String, Doubt>;

/// What came of a flip.
pub(super) struct Flip {
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// The tags whose PUT failed.
    pub(super) failed: Vec<(String, Error)>,
    /// The tags of which an old PUT may still be carried out.
    pub(super) doubts: Doubts,
    /// Why tags could not be looked at that moved.
    pub(super) unseen: Vec<Error>,
    interrupted: bool,
}

impl Flip {
    /// Whether every tag moved, and no signal came before the last answer.
    pub(super) fn is_complete(&self) -> bool {
        self.failed.is_empty() && !self.interrupted
    }
}

/// Moves every tag, until the first failure or signal, and then looks whether each has moved, unless `recheck` is
/// none. What belongs to an image goes first: nobody sees the image without its signatures.
pub(super) async fn flip(
    repository: &Repository,
    moving: &[Moving],
    recheck: Recheck,
    stop: &Stop,
) -> Flip {
    let halt = stop.soon.child_token();
    let started = Instant::now();
    let (belonging, others): (Vec<_>, Vec<_>) =
        moving.iter().partition(|moving| is_digest_tag(&moving.tag));
    let mut flip = Flip {
        unseen: Vec::new(),
        elapsed: Duration::ZERO,
        failed: Vec::new(),
        doubts: Doubts::new(),
        interrupted: false,
    };
    for wave in [belonging, others] {
        if !halt.is_cancelled() {
            flip.put_all(repository, &wave, (stop, &halt)).await;
        }
    }
    flip.elapsed = started.elapsed();
    if recheck != Recheck::None && !halt.is_cancelled() {
        flip.confirm_all(repository, moving, stop).await;
    }
    flip.interrupted = stop.soon.is_cancelled();
    flip
}

impl Flip {
    /// Moves these, many at once.
    async fn put_all(
        &mut self,
        repository: &Repository,
        moving: &[&Moving],
        (stop, halt): (&Stop, &CancellationToken),
    ) {
        let puts = stream::iter(moving)
            .map(|each| async move { (each.tag.as_str(), put(repository, each, halt).await) });
        let mut puts = puts.buffer_unordered(AT_ONCE);
        loop {
            let put = tokio::select! {
                biased;
                () = stop.now.cancelled() => break,
                put = puts.next() => put,
            };
            let Some((tag, put)) = put else {
                break;
            };
            let doubt = put.doubt();
            self.doubts
                .extend(doubt.map(|doubt| (tag.to_owned(), doubt)));
            if let Err(error) = put.end {
                halt.cancel();
                self.failed
                    .extend(error.map(|error| (tag.to_owned(), error)));
            }
        }
    }
}

impl Flip {
    /// Looks at all that moved, many at once. A list of referrers was read again when it was written.
    async fn confirm_all(&mut self, repository: &Repository, moving: &[Moving], stop: &Stop) {
        let unread = moving.iter().filter(|moving| moving.listed.is_none());
        let looks = stream::iter(unread).map(|each| async move {
            let target = Target::Tag(each.tag.clone());
            (&each.tag, repository.confirm(&each.root, &target).await)
        });
        let looks = looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let looks = stop.soon.run_until_cancelled(looks).await;
        for (tag, look) in looks.into_iter().flatten() {
            match look {
                Err(error) if error.kind() == Kind::Conflict => {
                    self.failed.push((tag.clone(), error));
                }
                // The writes stand as the registry answered them.
                Err(error) => self.unseen.push(error),
                Ok(()) => {}
            }
        }
    }
}

/// What came of moving one tag.
struct Put {
    /// A failure without an error: others failed before it could be tried, or tried again.
    end: Result<(), Option<Error>>,
    /// How many tries went out and got no answer.
    unanswered: usize,
}

impl Put {
    fn doubt(&self) -> Option<Doubt> {
        match (self.unanswered, &self.end) {
            (0, Ok(())) => Some(Doubt::Moved),
            (0, Err(_)) => None,
            (1, Err(_)) => Some(Doubt::UntilSeen),
            _ => Some(Doubt::Lasting),
        }
    }
}

async fn put(repository: &Repository, moving: &Moving, halt: &CancellationToken) -> Put {
    let target = Target::Tag(moving.tag.clone());
    let (mut failures, mut unanswered) = (0, 0);
    while !halt.is_cancelled() {
        let Err(error) = attempt(repository, (&moving.root, &target), failures).await else {
            let lists = still_lists(repository, moving).await;
            let end = lists.map_err(Some);
            return Put { end, unanswered };
        };
        unanswered += usize::from(error.is_in_doubt());
        tokio::select! {
            biased;
            () = halt.cancelled() => {}
            paused = repository.backoff.pause(error, &mut failures) => {
                if let Err(error) = paused {
                    let end = Err(Some(error));
                    return Put { end, unanswered };
                }
            }
        }
    }
    let end = Err(None);
    Put { end, unanswered }
}

/// One try of moving a tag after so many `failures`. A repeat that is refused succeeded where the tag has moved:
/// only the answer of an earlier one was lost.
async fn attempt(
    repository: &Repository,
    (root, target): (&Manifest, &Target),
    failures: u32,
) -> Result<(), Error> {
    let tried = repository.try_put_manifest(root, target).await;
    let refused = matches!(&tried, Err(error) if !error.kind().retryable());
    if failures > 0 && refused && repository.holds(root, target).await {
        return Ok(());
    }
    tried
}

/// Reads a list of referrers again that was written: another writer may have been at it.
async fn still_lists(repository: &Repository, moving: &Moving) -> Result<(), Error> {
    let Some(added) = &moving.listed else {
        return Ok(());
    };
    match repository.merged_list(&moving.tag, added).await? {
        None => Ok(()),
        Some(_) => Err(repository.lost_race(&moving.tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_ends_where_all_that_went_out_is_accounted_for() {
        let doubt = |end, unanswered| Put { end, unanswered }.doubt();
        for unanswered in [1, 2] {
            assert_eq!(doubt(Ok(()), unanswered), Some(Doubt::Lasting));
        }
        assert_eq!(doubt(Ok(()), 0), Some(Doubt::Moved));
        assert_eq!(doubt(Err(None), 0), None);
        assert_eq!(doubt(Err(None), 1), Some(Doubt::UntilSeen));
        assert_eq!(doubt(Err(None), 2), Some(Doubt::Lasting));
    }
}
