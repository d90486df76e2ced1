//! Sending a blob: one `POST`, then one `PUT` with the whole of it (distribution-spec, "Pushing a
//! blob monolithically"), streamed from the source while it is being checked. A host that refuses so
//! large a body gets it in pieces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Body, Method, StatusCode, Url};
use tokio::sync::Mutex;

use super::chunked::{self, Cutter};
use super::request::{Call, location};
use super::session::Session;
use super::{Repository, body, connect, failure, manifests};
use crate::endpoint::backoff::Failures;
use crate::endpoint::pace::Pace;
use crate::endpoint::transfer::{self, Start, Watch};
use crate::endpoint::{BlobStream, Endpoint};
use crate::error::{Error, Kind, Result};
use crate::image::manifest::Descriptor;

/// A registry that has every byte reads them once more, or moves them to where they stay: so many a second.
const STORED_A_SECOND: u64 = 20 << 20;

impl Repository {
    /// Gives up an upload that is not needed. If that fails, the registry cleans it up some day.
    pub(super) async fn cancel(&self, upload: Url) {
        let doing = "end the upload of blob";
        let call = self
            .write_call(Method::DELETE, "blobs/uploads/", doing)
            .await;
        let ended = match call {
            Ok(mut call) => {
                call.url = upload;
                self.attempt(&call).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::info!(%error, "an upload that is not needed stays open");
        }
    }

    /// Uploads until it is done or has failed too often; `opened` is an upload that waits already.
    pub(super) async fn upload(
        &self,
        blob: &Descriptor,
        opened: Option<Url>,
        source: &Endpoint,
    ) -> Result<()> {
        let watch = Watch::new(blob, &self.backoff.events);
        let mut session = opened.map(Session::new);
        let mut start = Start::default();
        let mut tries = Tries::default();
        loop {
            // The upload opens when the source has answered: an idle one may be ended by the registry.
            let stream = transfer::verified(
                source.clone(),
                Arc::clone(&watch),
                std::mem::take(&mut start),
            )
            .await?;
            let sent = self.upload_once(stream.boxed(), &mut session, &watch).await;
            let Err(broken) = sent else {
                return Ok(());
            };
            let open = session.take();
            let next = match watch.take_failure() {
                // OnceMap more from the start: it may have been the way, not the stored copy.
                Some(cause) if cause.kind() == Kind::DigestMismatch && !tries.mismatched => {
                    tries.mismatched = true;
                    None
                }
                // What broke the body is the cause; it had its retries.
                Some(cause) => return Err(cause),
                None => match self.again(broken, &watch, &mut tries).await? {
                    Again::Stored => return Ok(()),
                    Again::GoOn => self.go_on(open, &watch).await,
                    Again::Restart => None,
                },
            };
            if let Some((rest, from)) = next {
                tries.failures.note_progress(from.offset, blob.size);
                (session, start) = (Some(rest), from);
            } else {
                watch.restart();
            }
        }
    }

    /// What comes after a try that broke: nothing, where all had been sent and only the answer was lost.
    async fn again(&self, broken: Broken, watch: &Watch, tries: &mut Tries) -> Result<Again> {
        let sent = watch.is_complete() && broken.error.kind().retryable();
        tries.all_sent += u32::from(sent);
        let forgiven = self.forgive(broken, tries).await;
        let unreachable = matches!(&forgiven, Err(error) if error.kind().retryable());
        if tries.all_sent > 0 && !unreachable && self.holds_blob(&watch.blob).await {
            return Ok(Again::Stored);
        }
        Ok(if forgiven? {
            Again::GoOn
        } else {
            Again::Restart
        })
    }

    /// Whether the upload may go on behind what came, when there is a next try at all.
    async fn forgive(&self, broken: Broken, tries: &mut Tries) -> Result<bool> {
        let Broken { error, why } = broken;
        let smaller = self.goes_on_smaller(why) && tries.shrinks(why);
        match (why, error.kind()) {
            (Why::TooLarge(_), _) if smaller => Ok(false),
            (Why::TooLarge(_), _) => Err(error.hint(TOO_LARGE)),
            // The token ended while the body was on its way.
            (_, Kind::Unauthorized) if !tries.renewed => {
                tries.renewed = true;
                Ok(true)
            }
            // The upload is gone: it waited too long, or its server was started again.
            (_, Kind::NotFound) if !tries.reopened => {
                tries.reopened = true;
                Ok(false)
            }
            _ if smaller => Ok(true),
            _ => {
                let pause = self.backoff.pause_transfer(error, &mut tries.failures);
                pause.await.map(|()| true)
            }
        }
    }

    /// Whether what broke a body makes the next ones smaller.
    fn goes_on_smaller(&self, why: Why) -> bool {
        match why {
            Why::TooLarge(length) => self.pieces.refused(length),
            Why::Unanswered(length) => self.pieces.broke(length),
            Why::Other => false,
        }
    }

    /// Sends `stream`, the rest of the blob, into `session`, opened where it is not: as one body, or in
    /// pieces to a host that wants them.
    async fn upload_once(
        &self,
        stream: BlobStream,
        session: &mut Option<Session>,
        watch: &Watch,
    ) -> std::result::Result<(), Broken> {
        let blob = &watch.blob;
        let session = match session {
            Some(session) => session,
            none => none.insert(self.open_session(blob).await?),
        };
        let rest = blob.size.saturating_sub(session.offset);
        let (body, rest) = if let Some(size) = self.pieces.size_for(rest) {
            session.piece = session.piece.max(size);
            self.patch(session, Cutter::new(stream), watch).await?;
            (Body::from(Bytes::new()), 0)
        } else {
            (Body::wrap_stream(stream), rest)
        };
        let mut url = session.url.clone();
        let digest = blob.digest.to_string();
        url.query_pairs_mut().append_pair("digest", &digest);
        let last = Piece {
            method: Method::PUT,
            range: (session.offset > 0 && rest > 0).then(|| session.range(rest)),
            length: rest,
        };
        let call = self.piece_call(&url, last, blob).await?;
        self.send_piece(&call, body, watch).await.map(|_| ())
    }

    /// Sends a blob as one PATCH after the other.
    async fn patch(
        &self,
        session: &mut Session,
        cutter: Arc<Mutex<Cutter>>,
        watch: &Watch,
    ) -> std::result::Result<(), Broken> {
        let blob = &watch.blob;
        while session.offset < blob.size {
            let length = session.piece.min(blob.size - session.offset);
            let piece = Piece {
                method: Method::PATCH,
                range: Some(session.range(length)),
                length,
            };
            let call = self.piece_call(&session.url, piece, blob).await?;
            let body = Body::wrap_stream(chunked::piece(Arc::clone(&cutter), length));
            if let Some(next) = self.send_piece(&call, body, watch).await? {
                session.url = next;
            }
            session.offset += length;
        }
        Ok(())
    }

    /// The request for one body of an upload.
    async fn piece_call(&self, url: &Url, piece: Piece, blob: &Descriptor) -> Result<Call> {
        let mut call = self
            .write_call(piece.method, "blobs/uploads/", "write blob")
            .await?;
        call.url = url.clone();
        call.target = self.blob_name(blob);
        let headers = &mut call.headers;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(piece.length));
        let bytes = HeaderValue::from_static("application/octet-stream");
        headers.insert(CONTENT_TYPE, bytes);
        let range = piece
            .range
            .and_then(|range| HeaderValue::from_str(&range).ok());
        headers.extend(range.map(|range| (CONTENT_RANGE, range)));
        Ok(call)
    }

    /// Sends one body of an upload; gives where the next one goes.
    async fn send_piece(
        &self,
        call: &Call,
        body: Body,
        watch: &Watch,
    ) -> std::result::Result<Option<Url>, Broken> {
        let length = manifests::content_length(&call.headers).unwrap_or(0);
        let _pass = self.throttle.enter().await;
        let sent = unless_stalled(self.put(call, body), watch, self.stall).await;
        let stalled = |cause: String| call.error(Kind::Unavailable).because(cause).into();
        let sent = sent.map_err(stalled).flatten();
        sent.map_err(|broken: Broken| broken.of_length(length))
    }

    async fn put(&self, call: &Call, body: Body) -> std::result::Result<Option<Url>, Broken> {
        let sent = self.send(call, Some(body)).await;
        let (response, _) = sent.map_err(|error| Broken {
            error: if self.is_own(&call.url) {
                error
            } else {
                error.or_hint(&self.own_name(&call.url))
            },
            why: Why::Unanswered(0),
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return next_place(&headers, call).map_err(Broken::from);
        }
        let body = body::words(response, self.short()).await;
        let mut refusal = failure::refused(status, &headers, &body);
        if status == StatusCode::BAD_REQUEST && connect::challenge_of(&headers).is_some() {
            // As ECR Public says of a token that has expired.
            refusal.kind = Kind::Unauthorized;
        }
        let too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
        Err(Broken {
            error: self.refused_at(&call.url, refusal, call),
            why: if too_large {
                Why::TooLarge(0)
            } else {
                Why::Other
            },
        })
    }
}

/// Ends `put` when the destination takes no byte for the `stall` time, or hardly any for four times as long;
/// an error says so.
async fn unless_stalled<T>(
    put: impl Future<Output = T>,
    watch: &Watch,
    stall: Duration,
) -> std::result::Result<T, String> {
    tokio::pin!(put);
    let mut quiet = Duration::ZERO;
    let (mut beat, mut sent) = (watch.beat(), watch.sent());
    let mut pace = Pace::new(stall);
    let step = (stall / 4).max(Duration::from_millis(10));
    loop {
        let began = Instant::now();
        tokio::select! {
            done = &mut put => return Ok(done),
            () = tokio::time::sleep(step) => {}
        }
        let reading = watch.is_reading();
        let beat_before = std::mem::replace(&mut beat, watch.beat());
        quiet = if beat == beat_before && !reading {
            quiet + step
        } else {
            Duration::ZERO
        };
        let sent_before = std::mem::replace(&mut sent, watch.sent());
        let mut patience = stall;
        if watch.is_complete() {
            patience += Duration::from_secs(watch.blob.size / STORED_A_SECOND);
        } else if !reading {
            let pace = pace.note(sent.saturating_sub(sent_before), began.elapsed());
            pace.map_err(|slow| format!("the registry took {slow}"))?;
        }
        if quiet >= patience {
            let seconds = quiet.as_secs();
            return Err(format!(
                "the registry took no byte and gave no answer for {seconds} s"
            ));
        }
    }
}

/// What went wrong with one upload so far.
#[derive(Default)]
struct Tries {
    failures: Failures,
    renewed: bool,
    reopened: bool,
    mismatched: bool,
    /// Those that sent every byte, and got no answer or one to try again.
    all_sent: u32,
    /// The smallest body that was refused as too large.
    refused: Option<u64>,
}

impl Tries {
    /// Whether a body that was refused was smaller than those before: a registry may ask for larger pieces
    /// than a proxy in front of it takes.
    fn shrinks(&mut self, why: Why) -> bool {
        let Why::TooLarge(length) = why else {
            return true;
        };
        let before = self.refused.replace(length);
        before.is_none_or(|before| length < before)
    }
}

/// What comes after a try that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Nothing: the blob is there.
    Stored,
    /// A try behind what came.
    GoOn,
    /// A try from the start.
    Restart,
}

/// One body of an upload.
struct Piece {
    method: Method,
    range: Option<String>,
    length: u64,
}

/// Why a body did not arrive; with the length of the body.
#[derive(Clone, Copy)]
enum Why {
    TooLarge(u64),
    Unanswered(u64),
    Other,
}

/// A failure of the destination.
struct Broken {
    error: Error,
    why: Why,
}

impl Broken {
    fn of_length(mut self, length: u64) -> Self {
        self.why = match self.why {
            Why::TooLarge(_) => Why::TooLarge(length),
            Why::Unanswered(_) => Why::Unanswered(length),
            Why::Other => Why::Other,
        };
        self
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self {
            error,
            why: Why::Other,
        }
    }
}

/// Where the next piece goes, if the answer to this one says so.
fn next_place(headers: &HeaderMap, call: &Call) -> Result<Option<Url>> {
    if call.method != Method::PATCH || !headers.contains_key(LOCATION) {
        return Ok(None);
    }
    location(headers, &call.url).map(Some).map_err(|why| {
        call.error(Kind::Protocol)
            .because(format!("the registry gave no usable Location: {why}"))
    })
}

const TOO_LARGE: &str = "a proxy in front of the registry refuses bodies of this size; raise its limit (nginx: client_max_body_size)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;
    use crate::image::digest::Digest;

    #[tokio::test]
    async fn ends_an_upload_that_hardly_moves() {
        let text = format!(
            r#"{{"mediaType":"x","digest":"{}","size":99999}}"#,
            Digest::of(b"x")
        );
        let blob = serde_json::from_str(&text).expect("a descriptor");
        let watch = Watch::new(&blob, &Events::ignored());
        let trickle = async {
            loop {
                watch.moved(1);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let stall = Duration::from_millis(500);
        let ended = unless_stalled(trickle, &watch, stall).await;
        assert!(matches!(ended, Err::<(), _>(cause) if cause.contains("only")));
    }
}
