//! `Content-Encoding` (RFC 9110 section 8.4): barge asks for none, and some servers compress all the same.
//! Others say so of what is stored compressed and sent as it is. Whether the bytes are right is the digest's to say.

use std::future::ready;
use std::io::{ErrorKind, Read as _, Write as _};

use bytes::Bytes;
use flate2::read;
use flate2::write::MultiGzDecoder;
use futures_util::{StreamExt as _, stream};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::endpoint::BlobStream;
use crate::error::{Error, Result};
use crate::sanitize::clean;

/// How gzip begins (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// So much is decoded at once: deflate makes at most a thousand times as much of it.
const STEP: usize = 4 << 10;

/// What to do about an encoded answer.
pub(super) const HINT: &str = "barge asks for what is stored as it is (`Accept-Encoding: identity`): have the registry, or the proxy in front of it, send it so";

/// What an answer says of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    /// `br`, or several.
    Unknown(String),
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).into_iter();
        let text: Vec<String> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
            .collect();
        let text = text.join(",");
        let names = text.split(',').map(str::trim);
        let names: Vec<&str> = names
            .filter(|name| !matches!(*name, "" | "identity"))
            .collect();
        match names[..] {
            [] => Self::Identity,
            ["gzip" | "x-gzip"] => Self::Gzip,
            _ => Self::Unknown(clean(&names.join(", "))),
        }
    }
}

/// Why an answer in the encoding `name` cannot be read.
pub(super) fn unreadable(name: &str) -> String {
    format!("the answer is encoded as `{name}`, and barge decodes only gzip")
}

/// The body of a small answer, of at most `longest` bytes, decoded where it is encoded in truth.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(super) fn decoded(
    body: Bytes,
    encoding: &Encoding,
    longest: usize,
) -> std::result::Result<Bytes, String> {
    match encoding {
        Encoding::Gzip if body.starts_with(&GZIP) => {
            let mut decoded = Vec::new();
            let most = (longest as u64).saturating_add(1);
            let read = read::MultiGzDecoder::new(&body[..])
                .take(most)
                .read_to_end(&mut decoded);
            read.map_err(|why| format!("the answer says that it is gzip, and is not ({why})"))?;
            Ok(decoded.into())
        }
        Encoding::Unknown(name) if !body.is_empty() && !is_json(&body) => Err(unreadable(name)),
        Encoding::Identity | Encoding::Gzip | Encoding::Unknown(_) => Ok(body),
    }
}

/// What registries send without an encoding is JSON.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// Whether a blob that begins with `seen` is to be decoded, when it came under the label of gzip; `None`: more has to
/// be seen. A blob that is `stored_as_gzip` is sent under that label by some, and as it is.
pub(super) fn is_packed(seen: &[u8], stored_as_gzip: bool) -> Option<bool> {
    const ENOUGH: usize = 64 << 10;
    if seen.len() < GZIP.len() {
        return None;
    }
    if !seen.starts_with(&GZIP) {
        return Some(false);
    }
    let mut inner = [0; 2];
    match read::GzDecoder::new(seen).read_exact(&mut inner) {
        Ok(()) => Some(inner == GZIP || !stored_as_gzip),
        Err(why) if why.kind() == ErrorKind::UnexpectedEof && seen.len() < ENOUGH => None,
        Err(_) => Some(false),
    }
}

/// The bytes of which `raw` is the gzip; in pieces that are never large, however well they were compressed.
pub(super) fn unpacked(
    raw: BlobStream,
    failed: impl Fn(String) -> Error + Send + 'static,
) -> BlobStream {
    let steps = raw.flat_map(|chunk| stream::iter(steps(chunk)).map(Some));
    let steps = steps.chain(stream::once(ready(None)));
    let decoder = MultiGzDecoder::new(Vec::new());
    let pieces = steps.scan(decoder, move |decoder, step| {
        let came = match step {
            Some(Ok(bytes)) => decoder.write_all(&bytes),
            Some(Err(error)) => return ready(Some(Err(error))),
            None => decoder.try_finish(),
        };
        let came = came.map(|()| Bytes::from(std::mem::take(decoder.get_mut())));
        let damaged = |why| failed(format!("its gzip encoding is damaged ({why})"));
        ready(Some(came.map_err(damaged)))
    });
    pieces.boxed()
}

fn steps(chunk: Result<Bytes>) -> Vec<Result<Bytes>> {
    match chunk {
        Ok(bytes) => {
            let starts = (0..bytes.len()).step_by(STEP);
            starts
                .map(|start| Ok(bytes.slice(start..bytes.len().min(start + STEP))))
                .collect()
        }
        Err(error) => vec![Err(error)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("a vector takes all");
        encoder.finish().expect("a vector takes all").into()
    }

    #[test]
    fn encodings_as_servers_write_them() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| value.parse().expect("a header"));
            Encoding::of(&values.map(|value| (CONTENT_ENCODING, value)).collect())
        };
        for identity in [&[][..], &[""], &["identity"], &["Identity, identity", ""]] {
            assert_eq!(of(identity), Encoding::Identity, "{identity:?}");
        }
        for gzip in [&["gzip"][..], &["X-GZIP"], &["identity, gzip"]] {
            assert_eq!(of(gzip), Encoding::Gzip, "{gzip:?}");
        }
        assert_eq!(of(&["br"]), Encoding::Unknown("br".into()));
        let twice = Encoding::Unknown("gzip, gzip".into());
        assert_eq!(of(&["gzip, gzip"]), twice);
        assert_eq!(of(&["gzip", "GZIP"]), twice);
    }

    #[test]
    fn small_answers_are_decoded_where_they_are_encoded() {
        let json = Bytes::from_static(b"{\"a\": 1}");
        let at_most = |bytes: &Bytes, encoding: &Encoding| decoded(bytes.clone(), encoding, 20);
        let (packed, brotli) = (gzip(&json), Encoding::Unknown("br".into()));
        assert_eq!(at_most(&packed, &Encoding::Gzip), Ok(json.clone()));
        assert_eq!(at_most(&packed, &Encoding::Identity), Ok(packed.clone()));
        for encoding in [&Encoding::Gzip, &brotli] {
            assert_eq!(at_most(&json, encoding), Ok(json.clone()));
            assert_eq!(at_most(&Bytes::new(), encoding), Ok(Bytes::new()));
        }
        let told = at_most(&packed, &brotli).expect_err("no JSON");
        assert!(told.contains("`br`"), "{told}");
        assert!(at_most(&packed.slice(..12), &Encoding::Gzip).is_err());
        // One byte more than is allowed shows that there is more.
        let bomb = gzip(&vec![0; 1 << 20]);
        assert_eq!(
            at_most(&bomb, &Encoding::Gzip).map(|bytes| bytes.len()),
            Ok(21)
        );
    }

    #[test]
    fn blobs_are_decoded_unless_they_are_stored_so() {
        let (json, layer) = (gzip(b"{}"), gzip(&gzip(&[7; 100])));
        for (seen, stored_as_gzip, packed) in [
            (&json[..], false, Some(true)),
            (&json, true, Some(false)),
            (&layer, true, Some(true)),
            (&layer, false, Some(true)),
            (b"{}", false, Some(false)),
            (&json[..1], true, None),
            (&json[..10], false, None),
            (b"\x1f\x8b and no gzip", false, Some(false)),
        ] {
            assert_eq!(is_packed(seen, stored_as_gzip), packed, "{seen:?}");
        }
    }

    #[tokio::test]
    async fn streams_are_decoded_in_small_pieces() {
        let bytes = vec![0_u8; 20 << 20];
        let packed = gzip(&bytes);
        let chunks: Vec<_> = packed
            .chunks(1000)
            .map(Bytes::copy_from_slice)
            .map(Ok)
            .collect();
        for cut in [chunks.len(), 1] {
            let raw = stream::iter(chunks[..cut].to_vec()).boxed();
            let failed = |why| Error::new(Kind::DigestMismatch, "read", "x").because(why);
            let came: Vec<_> = unpacked(raw, failed).collect().await;
            let length: usize = came.iter().flatten().map(Bytes::len).sum();
            let most = came.iter().flatten().map(Bytes::len).max();
            assert!(most.is_some_and(|most| most <= 5 << 20), "{most:?}");
            let whole = came.iter().all(Result::is_ok) && length == bytes.len();
            assert_eq!(whole, cut > 1);
        }
    }
}
