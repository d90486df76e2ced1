//! Moving the blobs of a tag, the largest first, each once a run; a dry run only asks for them.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::once::Done;
use super::{Shared, Tag};
use crate::endpoint::{Arrival, Asking, Endpoint, Supply};
use crate::error::{Error, Kind, Result};
use crate::image::manifest::Descriptor;
use crate::options::Run;
use crate::plan::Plan;

impl Tag {
    /// Brings every blob of `plan`. The first failure ends the others of this tag.
    pub(super) async fn transfer(&mut self, plan: &Plan) -> Result<()> {
        self.blobs().foreign = plan.foreign;
        // A tag that is right is looked into, and most likely nothing is written.
        let right = self
            .there
            .as_ref()
            .is_some_and(|there| there.digest == plan.root.digest);
        let asking = if right {
            Asking::ToRead
        } else {
            Asking::ToWrite
        };
        let mut moving = JoinSet::new();
        for blob in &plan.blobs {
            let (shared, blob) = (Arc::clone(&self.shared), blob.clone());
            moving.spawn(self.shared.transfers.track_future(async move {
                let arrival = one_blob(&shared, &blob, asking).await?;
                Ok::<_, Error>((arrival, blob.size))
            }));
        }
        while let Some(ended) = moving.join_next().await {
            let (arrival, size) = ended.map_err(|why| self.unfinished(&why))??;
            match arrival {
                Arrival::Existing => self.blobs().existing += 1,
                Arrival::Mounted => self.blobs().mounted += 1,
                Arrival::Copied => {
                    self.blobs().copied += 1;
                    self.outcome.bytes = self.outcome.bytes.saturating_add(size);
                }
            }
        }
        Ok(())
    }

    fn unfinished(&self, why: &JoinError) -> Error {
        Error::new(Kind::Protocol, "move blobs of", self.source_name()).because(why)
    }
}

async fn one_blob(shared: &Shared, blob: &Descriptor, asking: Asking) -> Result<Arrival> {
    let done = shared.blobs.run(&blob.digest, async {
        match shared.settings.run {
            Run::Dry => foresee(shared, blob).await,
            Run::Real => {
                let supply = Supply {
                    source: &shared.source,
                    mountable: &shared.mountable,
                    permits: &shared.permits,
                    ahead: &shared.ahead,
                    asking,
                };
                shared.destination.ensure_blob(blob, supply).await
            }
        }
    });
    Ok(match done.await? {
        Done::Now(arrival) => arrival,
        Done::Before(_) => Arrival::Existing,
    })
}

/// What a run would do with `blob`.
async fn foresee(shared: &Shared, blob: &Descriptor) -> Result<Arrival> {
    if shared.destination.has_blob(blob).await? {
        return Ok(Arrival::Existing);
    }
    if !shared.mountable.is_empty() {
        return Ok(Arrival::Mounted);
    }
    // A registry is believed; a layout's file is looked for at no cost.
    if matches!(shared.source, Endpoint::Layout(_)) && !shared.source.has_blob(blob).await? {
        return Err(Error::new(
            Kind::NotFound,
            "find blob",
            format!("{}@{}", shared.source, blob.digest),
        )
        .because("the source does not have it in the size that its manifest says"));
    }
    Ok(Arrival::Copied)
}
