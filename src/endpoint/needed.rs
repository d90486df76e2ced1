//! What is needed of a source that passes by once: who copies from it says so, and gives up what was taken.
//! Other sources keep everything, and these verbs do nothing.

use std::sync::Arc;

use super::archive::{Held, Hold, OciArchive, UseOfPipes, member_name};
use super::{Endpoint, Supply};
use crate::error::Result;
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;

impl Endpoint {
    /// The same place; an archive that comes through a pipe is used while it comes, where its order allows it.
    /// That it is whole shows at its [end](Self::end).
    #[must_use]
    pub fn used_while_it_comes(mut self) -> Self {
        if let Self::OciArchive(archive) = &mut self {
            Arc::make_mut(archive).use_of_pipes = UseOfPipes::WhileItComes;
        }
        self
    }

    /// Whether it passes by once, and what nobody needs is not kept.
    #[must_use]
    pub fn is_arriving(&self) -> bool {
        self.arriving().is_some()
    }

    /// Somebody is going to say what they need; until then everything is kept, and nothing comes that they
    /// need not read for that.
    #[must_use]
    pub fn decision(&self) -> Option<Held> {
        let (_, arriving) = self.arriving()?;
        Some(arriving.hold(Hold::Deciding))
    }

    /// Somebody finds out on the way what they need; until they have it everything is kept.
    #[must_use]
    pub fn search(&self) -> Option<Held> {
        let (_, arriving) = self.arriving()?;
        Some(arriving.hold(Hold::Finding))
    }

    /// Everybody who is to decide [holds that](Self::decision); `most` blobs are taken at once.
    pub fn begin(&self, most: usize) {
        if let Some((_, arriving)) = self.arriving() {
            arriving.begin(most);
        }
    }

    /// Somebody will take this blob.
    #[must_use]
    pub fn claim(&self, blob: &Digest) -> Option<Held> {
        let (_, arriving) = self.arriving()?;
        Some(arriving.hold(Hold::Claim(member_name(blob))))
    }

    /// Somebody finds out whether they take this blob.
    #[must_use]
    pub fn question(&self, blob: &Digest) -> Option<Held> {
        let (_, arriving) = self.arriving()?;
        Some(arriving.hold(Hold::Ask(member_name(blob))))
    }

    /// This blob is where it was to be: nobody will take it again.
    pub fn taken(&self, blob: &Digest) {
        if let Some((_, arriving)) = self.arriving() {
            arriving.done(&member_name(blob));
        }
    }

    /// Waits for the end of a source that passes by, once nobody holds anything of it any more.
    ///
    /// # Errors
    ///
    /// Why it cannot be trusted.
    pub async fn end(&self) -> Result<()> {
        match self.arriving() {
            Some((_, arriving)) => arriving.end().await,
            None => Ok(()),
        }
    }

    fn arriving(&self) -> Option<(&OciArchive, &Arc<super::archive::Arriving>)> {
        match self {
            Self::OciArchive(archive) => Some((archive, archive.arriving()?)),
            Self::Registry(_) | Self::Layout(_) | Self::DockerArchive(_) => None,
        }
    }
}

impl Supply<'_> {
    /// Waits until `blob` has come, before it is anybody's turn to move it. Whoever holds what this gives waits
    /// for no other blob to come.
    pub(crate) async fn arrival(&self, blob: &Descriptor) -> Result<Option<Held>> {
        match self.source.arriving() {
            Some((archive, arriving)) if archive.lent.lender(&blob.digest).is_none() => {
                let name = member_name(&blob.digest);
                let arrived = arriving.arrival(&name).await;
                // Said first: in its right size it may have been taken already, and be gone.
                if let Some(size) = arriving.size(&name) {
                    self.source.check_size(blob, size)?;
                }
                arrived.map(Some)
            }
            _ => Ok(None),
        }
    }
}
