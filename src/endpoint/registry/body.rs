//! Reading what a registry sends: never more than was bargained for, never waiting for ever.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::encoding::{self, Encoding};
use super::failure;
use super::manifests::content_length;
use crate::endpoint::pace::Pace;
use crate::error::{Error, Kind, Result};

/// How much more room than it needs an answer may keep.
const SPARE: usize = 16 << 10;

/// Limits for reading a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes at most, and what a longer body is.
    pub(crate) longest: (usize, Kind),
    /// Time without a byte; four times as long, with hardly any.
    pub(crate) stall: Duration,
}

/// The whole body; what goes wrong with it is the error of `doing` something to `target`.
pub(crate) async fn read(
    mut response: Response,
    limits: Limits,
    (doing, target): (&str, &str),
) -> Result<Bytes> {
    let error = |kind, cause: String| Error::new(kind, doing, target).because(cause);
    let (longest, too_long) = limits.longest;
    let too_long = |body: &[u8]| {
        let cause = format!("the answer is longer than {longest} bytes");
        (body.len() > longest).then(|| error(too_long, cause))
    };
    // Of the right size from the start where that is said: one that grows takes up to twice the room.
    let said = content_length(response.headers()).and_then(|said| usize::try_from(said).ok());
    let mut body = BytesMut::with_capacity(said.unwrap_or_default().min(longest));
    let (encoding, status) = (Encoding::of(response.headers()), response.status());
    let mut pace = Pace::new(limits.stall);
    loop {
        let chunk = next(&mut response, limits, &mut pace).await;
        let chunk = chunk.map_err(|cause| error(Kind::Unavailable, cause))?;
        let Some(chunk) = chunk.map_err(|error| failure::unanswered(&error, doing, target))? else {
            break;
        };
        body.extend_from_slice(&chunk);
        if let Some(error) = too_long(&body) {
            return Err(error);
        }
    }
    let is_tight = body.capacity() - body.len() <= SPARE;
    let body = if is_tight {
        body.freeze()
    } else {
        Bytes::copy_from_slice(&body)
    };
    match encoding::decoded(body, &encoding, longest) {
        Ok(body) => too_long(&body).map_or(Ok(body), Err),
        Err(cause) if status.is_success() => Err(error(Kind::Protocol, cause).hint(encoding::HINT)),
        // The status tells enough.
        Err(_) => Ok(Bytes::new()),
    }
}

/// The next chunk; an error says why the connection is given up.
async fn next(
    response: &mut Response,
    limits: Limits,
    pace: &mut Pace,
) -> std::result::Result<reqwest::Result<Option<Bytes>>, String> {
    let asked = Instant::now();
    let chunk = tokio::time::timeout(limits.stall, response.chunk()).await;
    let chunk = chunk.map_err(|_| format!("no byte for {} s", limits.stall.as_secs()))?;
    if let Ok(Some(bytes)) = &chunk {
        let pace = pace.note(bytes.len() as u64, asked.elapsed());
        pace.map_err(|slow| format!("the connection moved {slow}"))?;
    }
    Ok(chunk)
}

/// The words of a refusal: as much of them as comes. The refusal itself is known without them.
pub(crate) async fn words(mut response: Response, limits: Limits) -> Bytes {
    let encoding = Encoding::of(response.headers());
    let (mut body, mut pace) = (BytesMut::new(), Pace::new(limits.stall));
    while body.len() < limits.longest.0 {
        match next(&mut response, limits, &mut pace).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    encoding::decoded(body.freeze(), &encoding, limits.longest.0).unwrap_or_default()
}
