//! Manifests: HEAD, GET and PUT (distribution-spec, "Pulling manifests", "Pushing Manifests").

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

use super::Repository;
use super::request::{Call, Reply};
use crate::endpoint::hints::damaged_there;
use crate::endpoint::{Head, Received, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::image::digest::Digest;
use crate::image::manifest::{self, MAX_MANIFEST_BYTES, Manifest};
use crate::image::referrers::is_itself;
use crate::sanitize::few;

/// How often a tag that was written is looked at again before it counts as not written.
const MORE_LOOKS: u32 = 5;

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
        // Nexus denies by HEAD what it gives by GET: what a source lacks is not there by either.
        if reply.is_absent(side) && self.side == Side::Destination {
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
            // OnceMap more: it may have been the way, not what is stored.
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

    /// Makes sure that `target` points at `manifest`, which was written with success. Where replicas answer
    /// reads, one may be behind: it gets the time of a few retries. A login that may only write is believed.
    ///
    /// # Errors
    ///
    /// `conflict` when it points at something else, or nowhere; others when it could not be found out.
    pub async fn confirm(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        let mut again = 0;
        loop {
            let found = match self.found_under(target).await {
                Err(error) if matches!(error.kind(), Kind::Denied | Kind::Unauthorized) => {
                    return Ok(());
                }
                found => found?,
            };
            if is_as_written(found.as_ref(), &manifest.digest, target) {
                return Ok(());
            }
            let error = |kind| unstored(kind, &self.named(target), (found.as_ref(), manifest));
            let behind = error(Kind::Unavailable);
            if again == MORE_LOOKS || self.backoff.pause(behind, &mut again).await.is_err() {
                return Err(error(Kind::Conflict));
            }
        }
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
        call.has_urls = manifest.foreign() > 0;
        call.target = self.named(target);
        let media_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|why| call.error(Kind::InvalidManifest).because(why))?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.body = manifest.bytes.clone();
        Ok(call)
    }

    fn stored(&self, call: &Call, reply: &Reply, manifest: &Manifest) -> Result<()> {
        if !reply.status.is_success() {
            let error = self.error_of(reply, call);
            let may_be_urls = match reply.status.as_u16() {
                500 => true,
                400 => error.cause().to_lowercase().contains(" url"),
                _ => false,
            };
            return Err(if call.has_urls && may_be_urls {
                urls_refused(&error, call, manifest)
            } else {
                error
            });
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

/// Whether what is `found` is what was `written`, as far as digests of one algorithm tell. GitLab resolves the
/// tag `sha256-X` to the digest X, whatever the tag points at.
fn is_as_written(found: Option<&Digest>, written: &Digest, target: &Target) -> bool {
    let Some(found) = found else {
        return false;
    };
    let resolved = matches!(target, Target::Tag(tag) if is_itself(tag, found));
    found == written || found.algorithm() != written.algorithm() || resolved
}

/// The error of `target`, which was answered to be written and is not what it should be.
fn unstored(kind: Kind, target: &str, (found, written): (Option<&Digest>, &Manifest)) -> Error {
    let found = match found {
        Some(found) => format!("{found} is there"),
        None => "nothing is there".to_owned(),
    };
    let digest = &written.digest;
    let cause = format!(
        "the registry accepted {digest}, and now {found}: it did not store it, or another writer has changed it since"
    );
    Error::new(kind, "confirm", target).because(cause).hint(
        "run again when nothing else writes there; if it fails in the same way, the registry does not store what it accepts, and its operator has to find out why",
    )
}

/// The error of a registry that takes no manifest with nondistributable layers.
fn urls_refused(error: &Error, call: &Call, manifest: &Manifest) -> Error {
    let layers: Vec<&str> = manifest
        .foreign_layers()
        .map(|layer| layer.digest.as_str())
        .collect();
    let cause = format!(
        "{}; distribution answers so where it does not allow the `urls` of nondistributable layers: {}",
        error.cause(),
        few(&layers)
    );
    call.error(Kind::Unsupported).because(cause).hint(
        "have it allow them (distribution: validation.manifests.urls.allow), or copy platforms without such layers, as --arch linux/amd64",
    )
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

pub(super) fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
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
