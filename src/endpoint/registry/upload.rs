//! Sending a blob: one `POST`, then one `PUT` with the whole of it (distribution-spec, "Pushing a
//! blob monolithically"), streamed from the source while it is being checked.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, StatusCode, Url};

use super::request::{Call, location};
use super::{Repository, body, connect, failure};
use crate::endpoint::Endpoint;
use crate::endpoint::transfer::{self, Watch};
use crate::error::{Error, Kind, Result};
use crate::image::manifest::Descriptor;

/// A registry that has every byte may take this many stall times to store them.
const COMMIT_PATIENCE: u32 = 10;

impl Repository {
    /// Uploads until it is done or has failed too often; `opened` is an upload that waits already.
    pub(super) async fn upload(
        &self,
        blob: &Descriptor,
        mut opened: Option<Url>,
        source: &Endpoint,
    ) -> Result<()> {
        let watch = Watch::new(blob, &self.backoff.events);
        let (mut failures, mut renewed, mut reopened, mut mismatched) = (0, false, false, false);
        loop {
            // The upload opens when the source has answered: an idle one may be ended by the registry.
            let stream =
                transfer::verified(source.clone(), blob.clone(), Arc::clone(&watch)).await?;
            let body = Body::wrap_stream(stream);
            let Err(error) = self.upload_once(body, opened.take(), &watch).await else {
                return Ok(());
            };
            watch.restart();
            match watch.take_failure() {
                // Once more from the start: it may have been the way, not the stored copy.
                Some(cause) if cause.kind() == Kind::DigestMismatch && !mismatched => {
                    mismatched = true;
                }
                // What broke the body is the cause; it had its retries.
                Some(cause) => return Err(cause),
                // The token ended while the body was on its way.
                None if error.kind() == Kind::Unauthorized && !renewed => renewed = true,
                // The upload is gone: it waited too long, or its server was started again.
                None if error.kind() == Kind::NotFound && !reopened => reopened = true,
                None => self.backoff.pause(error, &mut failures).await?,
            }
        }
    }

    async fn upload_once(&self, body: Body, opened: Option<Url>, watch: &Watch) -> Result<()> {
        let blob = &watch.blob;
        let mut upload = match opened {
            Some(url) => url,
            None => self.open_upload(blob).await?,
        };
        upload
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let mut call = self
            .write_call(Method::PUT, "blobs/uploads/", "write blob")
            .await?;
        call.url = upload;
        call.target = self.blob_name(blob);
        call.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        call.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let _pass = self.throttle.enter().await;
        self.unless_stalled(self.put(&call, body), watch, &call)
            .await
    }

    async fn open_upload(&self, blob: &Descriptor) -> Result<Url> {
        let mut call = self
            .write_call(Method::POST, "blobs/uploads/", "start the upload of blob")
            .await?;
        call.target = self.blob_name(blob);
        let reply = self.attempt(&call).await?;
        if reply.status != StatusCode::ACCEPTED {
            let error = reply.error(&call, self.auth.is_anonymous());
            // The right to upload is the repository's, not the tag's.
            let denied = matches!(error.kind(), Kind::Denied | Kind::Unauthorized);
            return Err(if denied { error.hitting_all() } else { error });
        }
        location(&reply.headers, &reply.url).ok_or_else(|| {
            call.error(Kind::Protocol)
                .because("the registry gave no usable Location")
        })
    }

    async fn put(&self, call: &Call, body: Body) -> Result<()> {
        let (response, _) = self.send(call, Some(body)).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(());
        }
        let body = body::words(response, self.short()).await;
        let mut refusal = failure::refused(status, &headers, &body);
        if status == StatusCode::BAD_REQUEST && connect::challenge_of(&headers).is_some() {
            // As ECR Public says of a token that has expired.
            refusal.kind = Kind::Unauthorized;
        }
        Err(refusal.error(call.doing, &call.target))
    }

    /// Ends `put` when the destination takes no byte for the stall time.
    async fn unless_stalled(
        &self,
        put: impl Future<Output = Result<()>>,
        watch: &Watch,
        call: &Call,
    ) -> Result<()> {
        tokio::pin!(put);
        let mut quiet = Duration::ZERO;
        let mut seen = watch.beat();
        let step = (self.stall / 4).max(Duration::from_millis(10));
        loop {
            tokio::select! {
                done = &mut put => return done,
                () = tokio::time::sleep(step) => {}
            }
            let beat = watch.beat();
            quiet = if beat == seen && !watch.is_reading() {
                quiet + step
            } else {
                Duration::ZERO
            };
            seen = beat;
            let patience = self.stall
                * if watch.is_complete() {
                    COMMIT_PATIENCE
                } else {
                    1
                };
            if quiet >= patience {
                return Err(stalled(call, quiet));
            }
        }
    }
}

fn stalled(call: &Call, quiet: Duration) -> Error {
    let cause = format!(
        "the registry took no byte and gave no answer for {} s",
        quiet.as_secs()
    );
    call.error(Kind::Unavailable).because(cause)
}
