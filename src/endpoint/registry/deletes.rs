//! Taking something away: tags and manifests (distribution-spec, "Deleting Tags", "Deleting
//! Manifests"), and the question who refers to one ("Listing Referrers").

use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Repository;
use super::auth::Scope;
use super::manifests::path;
use crate::endpoint::Target;
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{MAX_MANIFEST_BYTES, media_type};

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
        if reply.grant_falls_short() {
            // Most token servers know no other right than to push, and Quay's fails at one that it does
            // not know; distribution's own has a right of its own for this.
            call.scope = Scope::delete(self.name());
            reply = self.small(call.clone()).await?;
        }
        if reply.status.is_success() {
            return Ok(Deletion::Done);
        }
        let error = self.error_of(&reply, &call);
        match reply.status.as_u16() {
            404 => Ok(Deletion::Absent(error)),
            400 | 405 | 501 => Ok(Deletion::Impossible(error)),
            _ => Err(error),
        }
    }

    /// Whether the registry knows of manifests that refer to `digest`. `None`: it cannot be asked.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached, does not allow it, or answers something else than an index.
    pub async fn has_referrers(&self, digest: &Digest) -> Result<Option<bool>> {
        #[derive(Deserialize)]
        struct Index {
            #[serde(default)]
            manifests: Option<Vec<IgnoredAny>>,
        }
        let path = format!("referrers/{digest}");
        let mut call = self.call(Method::GET, &path, "list referrers of").await?;
        call.target = self.named(&Target::Digest(digest.clone()));
        call.longest.0 = MAX_MANIFEST_BYTES;
        call.headers
            .insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        let reply = self.small(call.clone()).await?;
        // Quay says 400 for a digest that it does not know; the others without the API 404 or 405.
        if matches!(reply.status.as_u16(), 400 | 404 | 405) {
            return Ok(None);
        }
        if !reply.status.is_success() {
            return Err(self.error_of(&reply, &call));
        }
        let index: Index = serde_json::from_slice(&reply.body).map_err(|why| {
            call.error(Kind::Protocol)
                .because(format!("not an index of referrers: {why}"))
        })?;
        Ok(Some(index.manifests.is_some_and(|found| !found.is_empty())))
    }
}
