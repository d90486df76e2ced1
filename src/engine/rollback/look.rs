//! The last look at all tags of a run, between its journal and the flip. What another writer has changed since it
//! was recorded or found right fails the run, and is theirs.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};

use super::flip::Moving;
use super::{AT_ONCE, Rollback};
use crate::endpoint::Target;
use crate::endpoint::registry::Repository;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::referrers::is_itself;

impl Rollback<'_> {
    /// Looks whether every tag points at what it was recorded with, or found right with. `None`: a tag does not,
    /// or a signal came.
    pub(super) async fn look_again(
        &mut self,
        repository: &Repository,
        moving: &[Moving],
    ) -> Option<()> {
        let looks = stream::iter(self.expected(moving)).map(|(tag, expected)| async move {
            let look = unchanged(repository, &tag, expected.as_ref()).await;
            (tag, look)
        });
        let looks = looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let looks = self.stop.soon.run_until_cancelled(looks).await?;
        for (tag, look) in looks {
            if let Err(error) = look {
                self.fail(&tag, error);
            }
        }
        self.is_good().then_some(())
    }

    /// What each tag should point at. Lists of referrers that do not move may have grown.
    fn expected(&self, moving: &[Moving]) -> BTreeMap<String, Option<Digest>> {
        let shown = self.ends.iter().filter(|end| end.outcome.is_shown());
        let right = shown.flat_map(|end| {
            let own = end.tag().filter(|_| !end.outcome.is_list);
            let own = own.map(|tag| (tag, end.outcome.digest.clone()));
            let relied = end.relied.iter();
            own.into_iter()
                .chain(relied.map(|(tag, digest)| (tag.clone(), digest.clone())))
        });
        let right = right.filter(|(_, digest)| digest.is_some());
        let moving = moving
            .iter()
            .map(|moving| (moving.tag.clone(), moving.before.clone()));
        right.chain(moving).collect()
    }
}

/// Fails where `tag` does not point at what is `expected`.
async fn unchanged(repository: &Repository, tag: &str, expected: Option<&Digest>) -> Result<()> {
    let target = Target::Tag(tag.to_owned());
    let found = repository.head_for_certain(&target).await?;
    let found = found.map(|head| head.digest);
    // GitLab's registry takes the tag of a list for the digest, so nothing was recorded there.
    let is_absent = expected.is_none() && found.as_ref().is_some_and(|found| is_itself(tag, found));
    if is_absent || found.as_ref() == expected {
        return Ok(());
    }
    Err(moved(&format!("{repository}:{tag}"), found.as_ref()))
}

/// The error of a tag, `name`, that another writer has changed during this run.
pub(super) fn moved(name: &str, found: Option<&Digest>) -> Error {
    let cause = match found {
        Some(found) => format!("another writer has made it point at {found} during this run"),
        None => "another writer has deleted it during this run".to_owned(),
    };
    Error::new(Kind::Conflict, "move", name)
        .because(cause)
        .hint("it is left as it is now, and so are all other tags; run again to start from that")
}
