//! A blob in one request: `POST ?digest=` with all its bytes (distribution-spec, "Single POST").
//!
//! Some registries store it (olareg, zot, crane's); distribution and its family answer 202 and store
//! nothing. Where the answer to a mount does not show that family, the first small blob is tried. Its bytes
//! wait until a registry that does not read them would have answered (`Expect: 100-continue`, RFC 9110
//! section 10.1.1), so that they are not sent in vain.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use reqwest::{Body, Method, StatusCode, Url};

use super::Repository;
use super::request::Call;
use crate::endpoint::Endpoint;
use crate::endpoint::transfer::{self, Watch};
use crate::error::{Error, Result};
use crate::image::manifest::Descriptor;

/// Larger blobs are streamed, and asked for before.
const SMALL: u64 = 1 << 20;
/// How long the bytes of the first one wait for an answer that does not want them.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the registry has shown of blobs in one request.
#[derive(Debug, Default)]
pub(super) struct Singles {
    stored: OnceLock<Stored>,
}

/// A blob was stored so.
#[derive(Debug)]
struct Stored {
    /// The registry did not know the repository before: what the run has not sent is not there.
    new: bool,
}

impl Singles {
    /// Whether `blob` can be sent in one request.
    pub(super) fn take(&self, blob: &Descriptor) -> bool {
        blob.size <= SMALL && self.stored.get().is_some()
    }

    /// Whether `blob` can be sent so, and the question whether it is there spared.
    pub(super) fn take_unasked(&self, blob: &Descriptor) -> bool {
        self.take(blob) && self.stored.get().is_some_and(|stored| stored.new)
    }
}

impl Repository {
    /// Tries with `blob`, which is known to be absent, whether the registry stores a blob in one request.
    pub(super) async fn try_single(&self, blob: &Descriptor, source: &Endpoint) -> Result<bool> {
        if blob.size > SMALL {
            return Ok(false);
        }
        let new = self.is_unknown().await?;
        let bytes = transfer::whole(source, blob, SMALL).await?;
        let watch = Watch::new(blob, &self.backoff.events);
        let mut call = self.single_call(blob).await?;
        let headers = &mut call.headers;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let waiting = bytes.clone();
        let late = stream::once(async move {
            tokio::time::sleep(PATIENCE).await;
            Ok::<_, Error>(waiting)
        });
        let sent = self.send(&call, Some(Body::wrap_stream(late)));
        let stored = match tokio::time::timeout(self.stall, sent).await {
            Ok(Ok((response, _))) => response.status() == StatusCode::CREATED,
            // Whatever is wrong, the upload that follows says it better.
            Ok(Err(error)) => {
                tracing::info!(%error, "a blob in one request is not possible");
                false
            }
            Err(_) => false,
        };
        if stored {
            watch.moved(blob.size);
            self.singles.stored.get_or_init(|| Stored { new });
        } else {
            source.keep(blob, &bytes);
        }
        Ok(stored)
    }

    /// Sends `blob` in one request to a registry that has stored one so; whether it was stored.
    pub(super) async fn send_single(&self, blob: &Descriptor, source: &Endpoint) -> Result<bool> {
        let bytes = transfer::whole(source, blob, SMALL).await?;
        let watch = Watch::new(blob, &self.backoff.events);
        let mut call = self.single_call(blob).await?;
        call.body = bytes.clone();
        let reply = self.small(call).await?;
        let stored =
            reply.status == StatusCode::CREATED || reply.repeated && self.holds_blob(blob).await;
        if stored {
            watch.moved(blob.size);
        } else {
            source.keep(blob, &bytes);
        }
        Ok(stored)
    }

    async fn single_call(&self, blob: &Descriptor) -> Result<Call> {
        let mut call = self
            .write_call(Method::POST, "blobs/uploads/", "write blob")
            .await?;
        call.target = self.blob_name(blob);
        let digest = blob.digest.to_string();
        call.url.query_pairs_mut().append_pair("digest", &digest);
        let bytes = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, bytes);
        Ok(call)
    }

    /// Gives up an upload that is not needed. One that stays is the registry's to clean up.
    pub(super) async fn cancel(&self, upload: &Url) {
        let call = self
            .write_call(Method::DELETE, "blobs/uploads/", "end the upload of blob")
            .await;
        let ended = match call {
            Ok(mut call) => {
                call.url = upload.clone();
                self.attempt(&call).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::info!(%error, "an upload that is not needed stays open");
        }
    }
}
