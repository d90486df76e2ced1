//! An open upload: begun by a `POST`, taken up again where the registry says how far it came
//! (distribution-spec, "Pushing a blob in chunks").

use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::Repository;
use super::request::location;
use crate::endpoint::transfer::{Start, Watch};
use crate::error::{Kind, Result};
use crate::image::manifest::Descriptor;

/// To send so few bytes again is cheaper than to ask how many came.
const WORTH_ASKING: u64 = 1 << 20;

/// An upload that is open.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) url: Url,
    /// How many bytes it has.
    pub(super) offset: u64,
    /// How large its pieces are, where it is sent in pieces: the registry's `OCI-Chunk-Min-Length` at least.
    pub(super) piece: u64,
}

impl Session {
    pub(super) fn new(url: Url) -> Self {
        Self {
            url,
            offset: 0,
            piece: 0,
        }
    }

    /// The `Content-Range` of the next `length` bytes.
    pub(super) fn range(&self, length: u64) -> String {
        format!("{}-{}", self.offset, self.offset + length - 1)
    }
}

impl Repository {
    /// Opens an upload of `blob`.
    pub(super) async fn open_session(&self, blob: &Descriptor) -> Result<Session> {
        self.check_uploads()?;
        let mut call = self
            .write_call(Method::POST, "blobs/uploads/", "start the upload of blob")
            .await?;
        call.target = self.blob_name(blob);
        let reply = self.attempt(&call).await?;
        if reply.status != StatusCode::ACCEPTED {
            let error = self.error_of(&reply, &call);
            // The right to upload is the repository's, not the tag's.
            return Err(match error.kind() {
                Kind::Denied | Kind::Unauthorized => {
                    let error = error.hitting_all();
                    self.refused_uploads.get_or_init(|| error).clone()
                }
                _ => error,
            });
        }
        let least = reply.headers.get("oci-chunk-min-length");
        let least = least.and_then(|text| text.to_str().ok()?.trim().parse().ok());
        let url = location(&reply.headers, &reply.url).map_err(|why| {
            call.error(Kind::Protocol)
                .because(format!("the registry gave no usable Location: {why}"))
        })?;
        let mut session = Session::new(url);
        session.piece = least.unwrap_or(0);
        Ok(session)
    }

    /// Fails where an upload was refused to this login: every other one would be.
    pub(super) fn check_uploads(&self) -> Result<()> {
        self.refused_uploads
            .get()
            .map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Whether a broken upload can go on where it broke off; asked where that is cheaper than sending
    /// everything again, and the registry takes a blob in several bodies.
    ///
    /// A registry that cannot tell, or tells what cannot be, gets the blob from the start.
    pub(super) async fn go_on(
        &self,
        broken: Option<Session>,
        watch: &Watch,
    ) -> Option<(Session, Start)> {
        let mut session = broken?;
        if watch.sent() < WORTH_ASKING || !self.pieces.allowed() {
            return None;
        }
        let (came, next) = self.ask_session(&session.url, &watch.blob).await?;
        let start = watch.go_on(came.filter(|came| *came >= WORTH_ASKING)?)?;
        session.url = next;
        session.offset = start.offset;
        Some((session, start))
    }

    /// How many bytes an upload has, and where it goes on.
    async fn ask_session(&self, url: &Url, blob: &Descriptor) -> Option<(Option<u64>, Url)> {
        let call = self
            .write_call(Method::GET, "blobs/uploads/", "ask for the upload of blob")
            .await;
        let mut call = call.ok()?;
        call.url = url.clone();
        call.target = self.blob_name(blob);
        match self.attempt(&call).await {
            Ok(reply) if reply.status.is_success() => {
                let next = location(&reply.headers, &reply.url).unwrap_or_else(|_| url.clone());
                Some((bytes_of(&reply.headers), next))
            }
            Ok(reply) => {
                tracing::info!(status = reply.status.as_u16(), "the broken upload is gone");
                None
            }
            // Whatever is wrong, the upload that starts again says it better.
            Err(error) => {
                tracing::info!(%error, "the broken upload cannot be asked for");
                None
            }
        }
    }
}

/// How many bytes `Range: 0-N` means: the last one's index, as the specification has it. Quay writes
/// `bytes=0-N`, and means N bytes.
pub(super) fn bytes_of(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let (quay, range) = match text.strip_prefix("bytes=") {
        Some(range) => (true, range),
        None => (false, text),
    };
    let last: u64 = range.strip_prefix("0-")?.parse().ok()?;
    if quay {
        Some(last)
    } else {
        last.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_registries_write_them() {
        let bytes = |text: &str| {
            let value = text.parse().expect("a header");
            bytes_of(&HeaderMap::from_iter([(RANGE, value)]))
        };
        assert_eq!(bytes("0-99999"), Some(100_000));
        assert_eq!(bytes("bytes=0-100000"), Some(100_000));
        for wrong in ["", "0", "5-9", "0-x", "0-18446744073709551615"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
