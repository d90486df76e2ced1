//! Making it visible: nested indexes by digest, then the root under its tag, or by digest where tags
//! are shown later.

use futures_util::future::BoxFuture;

use super::bring::{Brought, Follower, unless_refused};
use super::{Changed, Showing, Tag};
use crate::bounded::{late, try_all};
use crate::endpoint::Target;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::order::{Node, rounds};
use crate::options::{Recheck, Run};
use crate::plan::Choice;
use crate::sanitize::few;

impl Tag {
    /// Puts the indexes of `choice`, whose images are there, and what refers to all of them; `brought` is what
    /// the images took. The tag comes last: nobody sees an image without its signatures.
    pub(super) async fn publish(&mut self, choice: &Choice, brought: Brought) -> Result<Changed> {
        if let Some(list) = self.merged.clone() {
            return self.publish_list(choice, (list, brought)).await;
        }
        if brought.changed == Changed::Nothing && self.was_complete(choice).await? {
            return self.attach(choice.subjects()).await;
        }
        if self.shared.settings.run == Run::Dry {
            self.attach(choice.subjects()).await?;
            return Ok(Changed::Something);
        }
        if let Err(error) = self.put_nested(choice, brought.followers).await {
            return Err(self.explain(choice, error).await);
        }
        if let Err(error) = self.put_root(choice).await {
            return Err(self.explain(choice, error).await);
        }
        self.attach(choice.subjects()).await?;
        if self.shared.showing == Showing::AtOnce {
            let root = &choice.filtered.root;
            let destination = &self.shared.destination;
            let ready = || self.shared.note_last_write(&self.job.name);
            let target = &self.job.destination;
            let publish =
                || -> BoxFuture<'_, _> { Box::pin(destination.publish_after(root, target, ready)) };
            if let Err(error) = self.insist(root, publish).await {
                return Err(self.explain(choice, error).await);
            }
            self.confirm(root, &self.job.destination).await?;
        }
        Ok(Changed::Something)
    }

    /// Looks whether `target`, which was shown, is `manifest` now. Where that cannot be seen, the write still stands
    /// as the registry answered it: the user is told.
    pub(super) async fn confirm(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        if self.shared.settings.recheck == Recheck::None {
            return Ok(());
        }
        match self.shared.destination.confirm(manifest, target).await {
            Err(error) if error.kind() != Kind::Conflict => {
                let warning = format!("written, but not seen afterwards: {error}");
                self.shared.events.send(Event::Warning(warning));
                Ok(())
            }
            seen => seen,
        }
    }

    /// Puts the indexes below the root and the `followers`, each behind all that it names. One that is refused ends
    /// none of those that do not wait for it.
    pub(super) async fn put_nested(&self, choice: &Choice, followers: Vec<Follower>) -> Result<()> {
        let nested = &choice.filtered.nested;
        let nodes: Vec<Node> = nested
            .iter()
            .map(Node::of)
            .chain(followers.iter().map(|follower| Node {
                digest: follower.entry.digest.clone(),
                names: vec![follower.subject.clone()],
            }))
            .collect();
        for round in rounds(&nodes) {
            let put = round.into_iter().map(|number| {
                let follower = number.checked_sub(nested.len());
                let follower = follower.and_then(|number| followers.get(number));
                let index = nested.get(number);
                late(async move || {
                    unless_refused(match (index, follower) {
                        (Some(index), _) => self.put(index).await,
                        (None, Some(follower)) => self.put_follower(choice, follower).await,
                        (None, None) => Ok(()),
                    })
                })
            });
            for put in try_all(put).await? {
                put?;
            }
        }
        Ok(())
    }

    /// Puts the root by its digest, where its tag is to wait for something.
    async fn put_root(&mut self, choice: &Choice) -> Result<()> {
        let root = &choice.filtered.root;
        match self.shared.showing {
            Showing::Later => self.stage(root).await,
            Showing::AtOnce if root.subject().is_some() || self.has_referrers(choice).await? => {
                self.put(root).await
            }
            Showing::AtOnce => Ok(()),
        }
    }

    /// With `--recheck blobs` a tag that is right comes as far as this: every blob and image was found,
    /// and now every nested index is.
    async fn was_complete(&self, choice: &Choice) -> Result<bool> {
        let filtered = &choice.filtered;
        if !self.is_right(&filtered.root.digest) || self.shared.settings.recheck != Recheck::Blobs {
            return Ok(false);
        }
        let asked = filtered
            .nested
            .iter()
            .map(|index| self.stands(&index.digest));
        Ok(try_all(asked).await?.into_iter().all(|there| there))
    }

    /// Puts a manifest by digest, once a run; a dry run does not.
    pub(super) async fn put(&self, manifest: &Manifest) -> Result<()> {
        if self.shared.settings.run == Run::Dry {
            return Ok(());
        }
        let work = Box::pin(async {
            if self.shared.showing == Showing::Later {
                self.lacked(&manifest.digest).await?;
            }
            self.store(manifest).await
        });
        let done = self.shared.images.run(&manifest.digest, work).await;
        self.note_subject(manifest);
        done.map(|_| ())
    }

    /// A refusal of an index is judged by what was pushed as well as by what the registry says: not all say
    /// `MANIFEST_BLOB_UNKNOWN`, and Quay says nothing at all of one that is put by its digest.
    async fn explain(&self, choice: &Choice, error: Error) -> Error {
        let refused = matches!(
            error.kind(),
            Kind::NotFound | Kind::InvalidManifest | Kind::Protocol
        );
        if !refused {
            return error;
        }
        if choice.is_sparse()
            && let Ok(absent) = self.absent_of(choice).await
            && !absent.is_empty()
        {
            self.shared.destination.note_sparse_refused();
            return self.sparse_rejected(&absent, error.cause());
        }
        match self.absent_among(choice.children()).await {
            Ok(absent) if !absent.is_empty() => self.lacking(&absent, &error),
            _ => error,
        }
    }

    /// The error of an index whose children were brought and are not there: `refusal` may not say so.
    fn lacking(&self, absent: &[Digest], refusal: &Error) -> Error {
        let name = format!("{}:{}", self.shared.destination, self.job.destination);
        let names: Vec<&str> = absent.iter().map(Digest::as_str).collect();
        let cause = format!(
            "{}; the registry no longer holds {}",
            refusal.cause(),
            few(&names)
        );
        Error::new(refusal.kind(), "write the index", name)
            .because(cause)
            .hint(
                "something at the registry removes what has no tag yet; run the same command again",
            )
    }
}
