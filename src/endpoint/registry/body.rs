//! Reading what a registry sends: never more than was bargained for, never waiting for ever.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::failure;
use crate::error::{Error, Kind, Result};

/// What is put up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes at most, and what a longer body is.
    pub(crate) longest: (usize, Kind),
    /// Time without a byte.
    pub(crate) stall: Duration,
}

/// The whole body; what goes wrong with it is the error of `doing` something to `target`.
pub(crate) async fn read(
    mut response: Response,
    limits: Limits,
    (doing, target): (&str, &str),
) -> Result<Bytes> {
    let error = |kind, cause: String| Error::new(kind, doing, target).because(cause);
    let mut body = BytesMut::new();
    loop {
        let next = tokio::time::timeout(limits.stall, response.chunk()).await;
        let stalled = |_| {
            error(
                Kind::Unavailable,
                format!("no byte for {} s", limits.stall.as_secs()),
            )
        };
        let chunk = next.map_err(stalled)?;
        let Some(chunk) = chunk.map_err(|error| failure::unanswered(&error, doing, target))? else {
            return Ok(body.freeze());
        };
        body.extend_from_slice(&chunk);
        let (longest, kind) = limits.longest;
        if body.len() > longest {
            return Err(error(
                kind,
                format!("the answer is longer than {longest} bytes"),
            ));
        }
    }
}

/// The words of a refusal: as much of them as comes. The refusal itself is known without them.
pub(crate) async fn words(mut response: Response, limits: Limits) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < limits.longest.0 {
        match tokio::time::timeout(limits.stall, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    body.freeze()
}
