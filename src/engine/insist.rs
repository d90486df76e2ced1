//! A registry that contradicts itself: it says that it has a blob, and refuses the manifest for lack of it.

use futures_util::future::BoxFuture;

use super::Tag;
use crate::endpoint::Asking;
use crate::error::{Error, Kind, Result, Side};
use crate::image::manifest::{Descriptor, Manifest};
use crate::plan;
use crate::sanitize::few;

impl Tag {
    /// Puts `manifest` by `put`. Where it is refused for lack of blobs, these are sent, whatever the destination said
    /// of them, and it is put once more.
    pub(super) async fn insist<'p, T: Send>(
        &self,
        manifest: &Manifest,
        put: impl Fn() -> BoxFuture<'p, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let refusal = match put().await {
            Err(refusal) => refusal,
            done => return done,
        };
        let lacking = lacking(manifest, &refusal);
        if lacking.is_empty() {
            return Err(refusal);
        }
        for blob in &lacking {
            if let Err(error) = self.send(blob).await {
                tracing::info!(%error, "a blob that was said to be there cannot be sent again");
                return Err(refusal);
            }
        }
        put()
            .await
            .map_err(|again| contradiction(&lacking, &refusal, &again))
    }

    async fn send(&self, blob: &Descriptor) -> Result<()> {
        let shared = &self.shared;
        let supply = shared.supply(blob, (self.place, &[], Asking::ToWrite));
        shared.destination.send_blob(blob, supply).await
    }
}

/// The blobs of `manifest` that it was refused for.
fn lacking<'m>(manifest: &'m Manifest, refusal: &Error) -> Vec<&'m Descriptor> {
    let is_refusal = refusal.side() == Some(Side::Destination)
        && matches!(
            refusal.kind(),
            Kind::NotFound | Kind::InvalidManifest | Kind::Protocol
        );
    let named = |blob: &&Descriptor| refusal.cause().contains(blob.digest.as_str());
    let mut blobs = plan::largest_first(manifest);
    blobs.retain(|blob| is_refusal && named(blob));
    blobs
}

fn contradiction(lacking: &[&Descriptor], refusal: &Error, again: &Error) -> Error {
    let blobs: Vec<&str> = lacking.iter().map(|blob| blob.digest.as_str()).collect();
    let cause = format!(
        "the registry contradicts itself: it took, or said that it has, {}, refused the manifest for lack of that ({}), took it once more, and refused the manifest again ({})",
        few(&blobs),
        refusal.cause(),
        again.cause()
    );
    Error::new(again.kind(), "write manifest", refusal.target())
        .because(cause)
        .hint("ask the registry's operator to check its storage, or a cache in front of it")
        .at(Some(Side::Destination))
}
