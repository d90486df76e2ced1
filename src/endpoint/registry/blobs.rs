//! Blobs: is it there, read it from an offset, mount it (distribution-spec, "Pulling blobs",
//! "Mounting a blob from another repository").

use bytes::{Bytes, BytesMut};
use std::sync::PoisonError;

use futures_util::{StreamExt as _, stream};
use reqwest::header::{HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::downgrade::Downgrade;
use super::encoding::{self, Encoding};
use super::manifests::content_length;
use super::ranges::{ContentRange, Part};
use super::request::{Call, location};
use super::scope::Scope;
use super::{Repository, body, failure};
use crate::endpoint::BlobStream;
use crate::error::{Error, Kind, Result, Side};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;

/// What came of asking the registry to take a blob from another of its repositories.
pub(crate) enum Mount {
    /// It is there now.
    Done,
    /// It is not; the registry opened an upload instead.
    Upload(Url),
    /// Not possible, and no upload was opened.
    Impossible,
}

impl Repository {
    /// Whether the repository has `blob`, in its right size.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blob_size(blob).await? == Some(blob.size))
    }

    /// Whether `blob` is seen to be there: what counts when the answer to an upload was lost.
    pub(super) async fn holds_blob(&self, blob: &Descriptor) -> bool {
        matches!(self.has_blob(blob).await, Ok(true))
    }

    /// The size of `blob` as it is stored, in bytes, if the repository has it; the one that is asked for
    /// where the registry does not tell.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn blob_size(&self, blob: &Descriptor) -> Result<Option<u64>> {
        let call = self.blob_call(Method::HEAD, blob, "look for blob").await?;
        let reply = self.small(call.clone()).await?;
        let is_no = matches!(reply.status.as_u16(), 400 | 401 | 403 | 404 | 405 | 501);
        match self.side {
            // What is not seen to be there is sent.
            Side::Destination if is_no => return Ok(None),
            // Some registries give by GET what they deny, or refuse to tell, by HEAD.
            Side::Source if is_no => return self.blob_size_by_get(blob).await,
            _ => {}
        }
        if !reply.status.is_success() {
            return Err(self.error_of(&reply, &call));
        }
        let stored = content_length(&reply.headers)
            .filter(|_| Encoding::of(&reply.headers) == Encoding::Identity);
        Ok(stored.or(Some(blob.size)))
    }

    /// The same by its first byte.
    async fn blob_size_by_get(&self, blob: &Descriptor) -> Result<Option<u64>> {
        let mut call = self.blob_call(Method::GET, blob, "look for blob").await?;
        call.headers.insert(RANGE, range(&call, "bytes=0-0")?);
        let opened = self.backoff.run(|| async {
            let (response, granted) = self.send(&call, None).await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(None),
                _ => self.successful(response, &call, granted).await.map(Some),
            }
        });
        let Some(response) = opened.await? else {
            return Ok(None);
        };
        let headers = response.headers();
        let stored = match response.status() {
            StatusCode::PARTIAL_CONTENT => ContentRange::of(headers).and_then(|range| range.whole),
            // There is no first byte.
            StatusCode::RANGE_NOT_SATISFIABLE => Some(0),
            _ => content_length(headers),
        };
        let stored = stored.filter(|_| Encoding::of(headers) == Encoding::Identity);
        Ok(stored.or(Some(blob.size)))
    }

    /// The bytes of `blob` from `offset` on, as they come; one try, nothing is checked.
    ///
    /// # Errors
    ///
    /// When the registry does not have it, or does not give it.
    pub async fn open_blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream> {
        if let Some(bytes) = self.take_kept(&blob.digest) {
            let skip = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            return Ok(stream::iter([Ok(bytes.slice(skip..))]).boxed());
        }
        let mut call = self.blob_call(Method::GET, blob, "read blob").await?;
        if offset > 0 {
            call.headers
                .insert(RANGE, range(&call, &format!("bytes={offset}-"))?);
        }
        let mut response = self.blob_response(&call).await?;
        let mut form = Form::of(&response, blob);
        let encoded = form != Form::Stored && response.status() == StatusCode::PARTIAL_CONTENT;
        // A range of encoded bytes is one that nothing can be made of.
        if offset > 0 && (encoded || Part::of(&response, offset, blob.size) == Part::Unusable) {
            call.headers.remove(RANGE);
            response = self.blob_response(&call).await?;
            form = Form::of(&response, blob);
        }
        call.target = self.target_at(&call, response.url());
        let encoded = match form {
            Form::Stored => return part(response, call, (offset, blob.size)),
            Form::Unreadable(name) => {
                let error = call.error(Kind::Protocol);
                let error = error.because(encoding::unreadable(&name));
                return Err(error.hint(encoding::HINT));
            }
            Form::Gzip { stored_as_gzip } => stored_as_gzip,
        };
        let raw = chunks(response, call.clone());
        let stream = self.gunzipped(raw, &call, encoded).await?;
        Ok(skipping(stream, offset))
    }

    async fn blob_response(&self, call: &Call) -> Result<Response> {
        let (response, granted) = self.send(call, None).await?;
        self.successful(response, call, granted).await
    }

    /// The blob that came as `raw` under the label of gzip.
    async fn gunzipped(
        &self,
        mut raw: BlobStream,
        call: &Call,
        stored_as_gzip: bool,
    ) -> Result<BlobStream> {
        let mut seen = BytesMut::new();
        let packed = loop {
            if let Some(packed) = encoding::is_packed(&seen, stored_as_gzip) {
                break packed;
            }
            let next = tokio::time::timeout(self.stall, raw.next()).await;
            match next.map_err(|_| self.stalled(call, &call.target))? {
                Some(chunk) => seen.extend_from_slice(&chunk?),
                None => break false,
            }
        };
        let whole = stream::iter([Ok(seen.freeze())]).chain(raw).boxed();
        if !packed {
            return Ok(whole);
        }
        let call = call.clone();
        let failed = move |why: String| call.error(Kind::DigestMismatch).because(why);
        Ok(encoding::unpacked(whole, failed))
    }

    /// Keeps the bytes of a blob that was read to be looked into: it crosses the network once.
    pub(crate) fn keep(&self, digest: &Digest, bytes: &Bytes) {
        let mut kept = self
            .looked_into
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.insert(digest.clone(), bytes.clone());
    }

    fn take_kept(&self, digest: &Digest) -> Option<Bytes> {
        let mut kept = self
            .looked_into
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.remove(digest)
    }

    /// Asks for `blob` to be mounted from `from`. Needs a token for both repositories: where that is
    /// refused, nothing is mounted from there in this run.
    pub(crate) async fn mount(&self, blob: &Descriptor, from: &str) -> Result<Mount> {
        if !self.can_mount_from(from) {
            return Ok(Mount::Impossible);
        }
        let mut call = self
            .write_call(Method::POST, "blobs/uploads/", "mount blob")
            .await?;
        call.target = format!("{} from {from}", self.blob_name(blob));
        let own = from == self.name();
        if !own {
            call.scope = call.scope.and(Scope::pull(from));
        }
        let digest = blob.digest.to_string();
        call.url
            .query_pairs_mut()
            .append_pair("mount", &digest)
            .append_pair("from", from);
        // A mount from another repository spares the blob; one from our own spares a request, no more.
        let answer = if own {
            self.attempt(&call).await
        } else {
            self.small(call).await
        };
        match answer {
            Ok(reply) if reply.status == StatusCode::CREATED => return Ok(Mount::Done),
            Ok(reply) if reply.status == StatusCode::ACCEPTED => {
                return Ok(
                    location(&reply.headers, &reply.url).map_or(Mount::Impossible, Mount::Upload)
                );
            }
            Ok(reply) => tracing::info!(
                status = reply.status.as_u16(),
                from,
                "the registry mounts nothing"
            ),
            // Whatever is wrong, the upload that follows says it better.
            Err(error) => tracing::info!(%error, from, "mounting is not possible"),
        }
        self.note_unmountable(from);
        Ok(Mount::Impossible)
    }

    async fn blob_call(
        &self,
        method: Method,
        blob: &Descriptor,
        doing: &'static str,
    ) -> Result<Call> {
        let mut call = self
            .call(method, &format!("blobs/{}", blob.digest), doing)
            .await?;
        call.downgrade = Downgrade::Warn;
        call.target = self.blob_name(blob);
        Ok(call)
    }

    pub(crate) fn blob_name(&self, blob: &Descriptor) -> String {
        format!("{self}@{}", blob.digest)
    }

    /// The response, or the error that it is.
    async fn successful(&self, response: Response, call: &Call, granted: bool) -> Result<Response> {
        let status = response.status();
        let is_ranged = call.headers.contains_key(RANGE);
        if status.is_success() || is_ranged && status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        let (headers, url) = (response.headers().clone(), response.url().clone());
        let body = body::words(response, self.short()).await;
        let refusal = failure::refused(status, &headers, &body);
        Err(self.explain(refusal, call, (&url, granted)))
    }
}

fn range(call: &Call, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|why| call.error(Kind::Protocol).because(why))
}

/// The bytes of a blob of `size` from `offset` on that `response` has. Where it has not all of them, the stream ends
/// with an error behind them, so that the rest is asked for.
fn part(response: Response, call: Call, (offset, size): (u64, u64)) -> Result<BlobStream> {
    match Part::of(&response, offset, size) {
        Part::Rest { skip } => Ok(skipping(chunks(response, call), skip)),
        Part::Some { skip, end } => {
            let error = call.error(Kind::Unavailable);
            let error = error.because(format!("the answer ended at byte {end} of {size}"));
            let some = skipping(chunks(response, call), skip);
            Ok(some.chain(stream::iter([Err(error)])).boxed())
        }
        Part::OtherSize(length) => Err(wrong_size(&call, length, size)),
        Part::Unusable => {
            let cause = "the answer is another range than was asked for, or does not say which";
            Err(call.error(Kind::Protocol).because(cause))
        }
    }
}

fn wrong_size(call: &Call, length: u64, expected: u64) -> Error {
    let cause = format!("its manifest says {expected} bytes, the registry has {length}");
    call.error(Kind::DigestMismatch).because(cause)
}

/// How an answer holds a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// As it is stored, whatever a label says: so long it is.
    Stored,
    /// Under the label of gzip, in truth or not.
    Gzip {
        stored_as_gzip: bool,
    },
    Unreadable(String),
}

impl Form {
    fn of(response: &Response, blob: &Descriptor) -> Self {
        let headers = response.headers();
        let length = match response.status() {
            StatusCode::PARTIAL_CONTENT => ContentRange::of(headers).and_then(|range| range.whole),
            _ => content_length(headers),
        };
        let encoding = Encoding::of(headers);
        if encoding == Encoding::Identity || length == Some(blob.size) {
            return Self::Stored;
        }
        let stored_as = |name: &str| length.is_none() && blob.media_type.ends_with(name);
        match encoding {
            Encoding::Unknown(name) if !stored_as(&name) => Self::Unreadable(name),
            Encoding::Identity | Encoding::Unknown(_) => Self::Stored,
            Encoding::Gzip => Self::Gzip {
                stored_as_gzip: stored_as("gzip"),
            },
        }
    }
}

fn chunks(response: Response, call: Call) -> BlobStream {
    let bytes = response.bytes_stream();
    let named = bytes.map(move |chunk| {
        chunk.map_err(|error| failure::unanswered(&error, call.doing, &call.target))
    });
    named.boxed()
}

/// `stream` without its first `skip` bytes, and without empty chunks.
fn skipping(stream: BlobStream, skip: u64) -> BlobStream {
    stream
        .scan(skip, |left, chunk: Result<Bytes>| {
            let kept = chunk.map(|mut bytes| {
                let cut = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= cut as u64;
                bytes.split_off(cut)
            });
            std::future::ready(Some(kept))
        })
        .filter(|chunk| std::future::ready(!matches!(chunk, Ok(bytes) if bytes.is_empty())))
        .boxed()
}
