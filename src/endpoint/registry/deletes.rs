//! Taking something away: tags and manifests (distribution-spec, "Deleting Tags", "Deleting Manifests").

use reqwest::Method;

use super::Repository;
use super::manifests::path;
use super::scope::Scope;
use crate::endpoint::Target;
use crate::error::{Error, Result};

/// What came of a deletion that the registry did not fail at.
#[derive(Debug)]
pub enum Deletion {
    /// The registry says that it is done.
    Done,
    /// The registry says that there is no such thing.
    Absent(Error),
    /// The registry does not delete so: disabled (405), or never by tag (distribution 2.8: 400).
    Impossible(Error),
}

impl Repository {
    /// Deletes a tag, or a manifest with what that means for its tags.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached, or does not allow it.
    pub async fn delete(&self, target: &Target) -> Result<Deletion> {
        let doing = match target {
            Target::Tag(_) => "delete tag",
            Target::Digest(_) => "delete manifest",
        };
        let mut call = self
            .write_call(Method::DELETE, &path(target), doing)
            .await?;
        call.target = self.named(target);
        let mut reply = self.small(call.clone()).await?;
        let mut repeated = reply.repeated;
        if reply.grant_falls_short() {
            // Most token servers know no other right than to push, and Quay's fails at one that it does
            // not know; distribution's own has a right of its own for this.
            call.scope = Scope::delete(self.name());
            reply = self.small(call.clone()).await?;
            repeated |= reply.repeated;
        }
        if reply.status.is_success() {
            return Ok(Deletion::Done);
        }
        // A try whose answer was lost may have done it.
        if repeated && matches!(self.head_for_certain(target).await, Ok(None)) {
            return Ok(Deletion::Done);
        }
        let error = self.error_of(&reply, &call);
        match reply.status.as_u16() {
            404 => Ok(Deletion::Absent(error)),
            400 | 405 | 501 => Ok(Deletion::Impossible(error)),
            _ => Err(error),
        }
    }
}
