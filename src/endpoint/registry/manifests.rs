//! Manifests: HEAD, GET and PUT (distribution-spec, "Pulling manifests", "Pushing Manifests").

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

use super::Repository;
use super::request::{Call, Reply};
use crate::endpoint::advice::damaged_there;
use crate::endpoint::{Head, Received, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::image::digest::Digest;
use crate::image::manifest::{self, MAX_MANIFEST_BYTES, Manifest};

impl Repository {
    /// What `target` points at, without reading it. `None`: it is not there.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn head(&self, target: &Target) -> Result<Option<Head>> {
        self.head_as(target, self.side).await
    }

    /// The same where a read that is denied is an error at a destination too: for who has to know.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn head_for_certain(&self, target: &Target) -> Result<Option<Head>> {
        self.head_as(target, Side::Source).await
    }

    async fn head_as(&self, target: &Target, side: Side) -> Result<Option<Head>> {
        let call = self.manifest_call(Method::HEAD, target).await?;
        let reply = self.small(call.clone()).await?;
        if reply.is_absent(side) {
            return Ok(None);
        }
        if reply.status == StatusCode::OK
            && let Some(head) = head_of(&reply.headers, target)
        {
            return Ok(Some(head));
        }
        // No body came with the HEAD: the GET tells why it failed, or what the HEAD left out.
        let manifest = self.manifest_as(target, side).await?;
        Ok(manifest.map(|manifest| Head {
            media_type: manifest.media_type,
            digest: manifest.digest,
        }))
    }

    /// The manifest that `target` names, its bytes checked. `None`: it is not there.
    ///
    /// # Errors
    ///
    /// When it could not be read, or is not what was asked for.
    pub async fn manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        self.manifest_as(target, self.side).await
    }

    /// The same where a read that is denied is an error at a destination too.
    ///
    /// # Errors
    ///
    /// As [`Repository::manifest`].
    pub async fn manifest_for_certain(&self, target: &Target) -> Result<Option<Manifest>> {
        self.manifest_as(target, Side::Source).await
    }

    async fn manifest_as(&self, target: &Target, side: Side) -> Result<Option<Manifest>> {
        match self.read_manifest(target, side).await {
            // Once more: it may have been the way, not what is stored.
            Err(error) if error.kind() == Kind::DigestMismatch => {
                let again = self.read_manifest(target, side).await;
                again.map_err(|error| match self.side {
                    Side::Destination => damaged_there(error),
                    Side::Source => error,
                })
            }
            other => other,
        }
    }

    async fn read_manifest(&self, target: &Target, side: Side) -> Result<Option<Manifest>> {
        let call = self.manifest_call(Method::GET, target).await?;
        let reply = self.small(call.clone()).await?;
        if reply.is_absent(side) {
            return Ok(None);
        }
        if reply.status != StatusCode::OK {
            return Err(self.error_of(&reply, &call));
        }
        let received = Received {
            digest: digest_header(&reply.headers),
            content_type: content_type(&reply.headers),
            bytes: reply.body,
        };
        received.check(target, &call.target).map(Some)
    }

    /// Puts `manifest`, byte for byte, under `target`.
    ///
    /// # Errors
    ///
    /// When the registry refuses it; the message has its words.
    pub async fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.put_for_reply(manifest, target).await.map(|_| ())
    }

    /// The same with the registry's answer. `None`: the answer was lost, and the repeat refused.
    pub(super) async fn put_for_reply(
        &self,
        manifest: &Manifest,
        target: &Target,
    ) -> Result<Option<Reply>> {
        let call = self.put_call(manifest, target).await?;
        let reply = self.small(call.clone()).await?;
        let refused_repeat = reply.repeated && !reply.status.is_success();
        if refused_repeat && self.holds(manifest, target).await {
            return Ok(None);
        }
        self.stored(&call, &reply, manifest)?;
        Ok(Some(reply))
    }

    /// Whether `target` is seen to be `manifest`: what a refusal means for a PUT that was tried before, since
    /// registries whose tags are immutable refuse to write the same again.
    pub async fn holds(&self, manifest: &Manifest, target: &Target) -> bool {
        let found = self.found_under(target).await;
        matches!(found, Ok(Some(digest)) if digest == manifest.digest)
    }

    /// The digest of what is under `target`. Nexus denies by HEAD what it gives by GET.
    async fn found_under(&self, target: &Target) -> Result<Option<Digest>> {
        if let Some(head) = self.head_for_certain(target).await? {
            return Ok(Some(head.digest));
        }
        let manifest = self.manifest_for_certain(target).await?;
        Ok(manifest.map(|manifest| manifest.digest))
    }

    /// One try of [`Repository::put_manifest`], for callers that repeat it themselves; after a repeat that is
    /// refused, [`Repository::holds`] tells whether an earlier try was carried out.
    ///
    /// # Errors
    ///
    /// As [`Repository::put_manifest`].
    pub async fn try_put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        let call = self.put_call(manifest, target).await?;
        let reply = self.attempt(&call).await?;
        self.stored(&call, &reply, manifest)
    }

    async fn put_call(&self, manifest: &Manifest, target: &Target) -> Result<Call> {
        let mut call = self
            .write_call(Method::PUT, &path(target), "write manifest")
            .await?;
        call.target = self.named(target);
        let media_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|why| call.error(Kind::InvalidManifest).because(why))?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.body = manifest.bytes.clone();
        Ok(call)
    }

    fn stored(&self, call: &Call, reply: &Reply, manifest: &Manifest) -> Result<()> {
        if !reply.status.is_success() {
            return Err(self.error_of(reply, call));
        }
        stored_as_sent(call, reply, &manifest.digest)
    }

    async fn manifest_call(&self, method: Method, target: &Target) -> Result<Call> {
        let mut call = self.call(method, &path(target), "read manifest").await?;
        call.target = self.named(target);
        call.longest = (MAX_MANIFEST_BYTES, Kind::InvalidManifest);
        for media_type in manifest::ACCEPT {
            call.headers
                .append(ACCEPT, HeaderValue::from_static(media_type));
        }
        Ok(call)
    }

    pub(super) fn named(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("{self}:{tag}"),
            Target::Digest(digest) => format!("{self}@{digest}"),
        }
    }
}

pub(super) fn path(target: &Target) -> String {
    match target {
        Target::Tag(tag) => format!("manifests/{tag}"),
        Target::Digest(digest) => format!("manifests/{digest}"),
    }
}

/// A registry that converts a manifest on its way in has not stored what the digest names.
fn stored_as_sent(call: &Call, reply: &Reply, sent: &Digest) -> Result<()> {
    match digest_header(&reply.headers) {
        Some(stored) if stored.algorithm() == sent.algorithm() && stored != *sent => {
            let cause = format!("sent {sent}, but the registry stored {stored}");
            Err(Error::new(Kind::DigestMismatch, call.doing, &call.target).because(cause))
        }
        _ => Ok(()),
    }
}

fn head_of(headers: &HeaderMap, target: &Target) -> Option<Head> {
    let digest = match target {
        Target::Digest(digest) => Some((*digest).clone()),
        Target::Tag(_) => digest_header(headers),
    };
    Some(Head {
        media_type: content_type(headers)?,
        digest: digest?,
    })
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or(text).trim().to_owned())
}

/// The `Content-Length` of an answer, as its header says it.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}
