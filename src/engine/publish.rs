//! Making it visible: images by digest, then nested indexes, then the root under its tag.

use futures_util::future::try_join_all;

use super::Tag;
use crate::endpoint::Target;
use crate::error::{Error, Kind, Result};
use crate::image::manifest::Manifest;
use crate::options::{Recheck, Run};
use crate::plan::{Choice, Plan};

/// Whether the destination is other than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Everything was there.
    Nothing,
    /// Something was written, or would be.
    Something,
}

impl Tag {
    /// Puts the manifests of `plan`, whose blobs are there.
    pub(super) async fn publish(&self, choice: &Choice, plan: &Plan) -> Result<Changed> {
        if self.was_complete(choice, plan).await? {
            return Ok(Changed::Nothing);
        }
        if self.shared.settings.run == Run::Dry {
            return Ok(Changed::Something);
        }
        try_join_all(plan.images.iter().map(|image| self.put(image))).await?;
        for index in &plan.nested {
            if let Err(error) = self.put(index).await {
                return Err(self.explain(choice, error).await);
            }
        }
        let published = self
            .shared
            .destination
            .publish(&plan.root, &self.job.destination)
            .await;
        match published {
            Ok(()) => Ok(Changed::Something),
            Err(error) => Err(self.explain(choice, error).await),
        }
    }

    /// With `--recheck blobs` a tag that is right comes as far as this: every blob was found, and now
    /// every manifest is.
    async fn was_complete(&self, choice: &Choice, plan: &Plan) -> Result<bool> {
        let same = self
            .there
            .as_ref()
            .is_some_and(|there| there.digest == plan.root.digest);
        let moved = self.outcome.blobs.copied + self.outcome.blobs.mounted > 0;
        if !same || moved || self.shared.settings.recheck != Recheck::Blobs {
            return Ok(false);
        }
        let asked = choice.children().map(|digest| async move {
            self.shared
                .destination
                .head(&Target::Digest(digest))
                .await
                .map(|head| head.is_some())
        });
        Ok(try_join_all(asked).await?.into_iter().all(|there| there))
    }

    /// Puts a manifest by digest, once a run.
    async fn put(&self, manifest: &Manifest) -> Result<()> {
        let done = self.shared.images.run(
            &manifest.digest,
            self.shared.destination.put_manifest(manifest),
        );
        done.await.map(|_| ())
    }

    /// A refusal of an index whose children were left out is judged by what was pushed as well as by
    /// what the registry says: not all say `MANIFEST_BLOB_UNKNOWN`.
    async fn explain(&self, choice: &Choice, error: Error) -> Error {
        let refused = matches!(
            error.kind(),
            Kind::NotFound | Kind::InvalidManifest | Kind::Protocol
        );
        if !refused || choice.filtered.omitted.is_empty() || choice.filtered.rewritten {
            return error;
        }
        match self.absent_of(choice).await {
            Ok(absent) if !absent.is_empty() => {
                self.shared.destination.note_sparse_refused();
                self.sparse_rejected(&absent, error.cause())
            }
            _ => error,
        }
    }
}
