//! How large a body a host takes, and a blob cut to that size. A proxy that answers 413 gets PATCH after
//! PATCH from then on (nginx `client_max_body_size`, Cloudflare past 100 MB).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::Mutex;

use crate::endpoint::BlobStream;
use crate::error::Result;

/// What is tried, one after the other.
const SIZES: [u64; 4] = [16 << 20, 4 << 20, 1 << 20, 512 << 10];
/// A reset while more than this is being sent may be a 413 that came too late to be read.
const LARGE: u64 = 1 << 20;
/// So many of them are no accident.
const RESETS: usize = 2;

/// What a host has shown of the bodies that it takes.
#[derive(Debug)]
pub(super) struct Chunked {
    /// The largest body that may pass; at first any.
    largest: AtomicU64,
    resets: AtomicUsize,
    allowed: bool,
}

impl Chunked {
    /// For `host`. GitHub's registry corrupts uploads of several pieces, and Google's take none.
    pub(super) fn new(host: &str) -> Self {
        let google = host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev");
        let allowed = host != "ghcr.io" && !google;
        Self {
            largest: AtomicU64::new(u64::MAX),
            resets: AtomicUsize::new(0),
            allowed,
        }
    }

    /// Whether the host takes a blob in several bodies.
    pub(super) fn allowed(&self) -> bool {
        self.allowed
    }

    /// The size of the pieces that `size` bytes are sent in; `None`: as one body.
    pub(super) fn size_for(&self, size: u64) -> Option<u64> {
        let largest = self.largest.load(Ordering::Relaxed);
        (size > largest).then_some(largest)
    }

    /// A body of `length` bytes was refused as too large. Whether a smaller one may pass.
    pub(super) fn refused(&self, length: u64) -> bool {
        let smaller = SIZES.into_iter().find(|size| *size < length);
        match smaller.filter(|_| self.allowed) {
            Some(size) => {
                self.largest.fetch_min(size, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    /// A connection broke while a body of `length` bytes was sent. Whether that counts as a refusal.
    pub(super) fn broke(&self, length: u64) -> bool {
        length > LARGE
            && self.resets.fetch_add(1, Ordering::Relaxed) + 1 == RESETS
            && self.refused(length)
    }
}

/// A stream of bytes that is taken piece by piece.
pub(super) struct Cutter {
    stream: BlobStream,
    rest: Bytes,
}

impl Cutter {
    pub(super) fn new(stream: BlobStream) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            stream,
            rest: Bytes::new(),
        }))
    }

    /// At most `most` bytes more; `None` at the end.
    async fn next(&mut self, most: u64) -> Option<Result<Bytes>> {
        while self.rest.is_empty() {
            match self.stream.next().await? {
                Ok(chunk) => self.rest = chunk,
                Err(error) => return Some(Err(error)),
            }
        }
        let take = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.rest.len());
        Some(Ok(self.rest.split_to(take)))
    }
}

/// The next `length` bytes of what `cutter` cuts.
pub(super) fn piece(
    cutter: Arc<Mutex<Cutter>>,
    length: u64,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::unfold((cutter, length), |(cutter, left)| async move {
        if left == 0 {
            return None;
        }
        let chunk = cutter.lock().await.next(left).await?;
        let taken = chunk.as_ref().map_or(left, |chunk| chunk.len() as u64);
        Some((chunk, (cutter, left - taken)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_shrink_where_that_is_safe() {
        let pieces = Chunked::new("h.io");
        assert_eq!(pieces.size_for(1 << 40), None);
        assert!(pieces.refused(100 << 20));
        assert_eq!(pieces.size_for(17 << 20), Some(16 << 20));
        assert_eq!(pieces.size_for(16 << 20), None);
        assert!(pieces.refused(3 << 20));
        assert_eq!(pieces.size_for(3 << 20), Some(1 << 20));
        assert!(pieces.refused(1 << 20) && !pieces.refused(512 << 10));
        for host in ["ghcr.io", "gcr.io", "eu.gcr.io", "europe-docker.pkg.dev"] {
            assert!(!Chunked::new(host).refused(100 << 20), "{host}");
        }
    }

    #[test]
    fn the_second_reset_of_a_large_upload_counts() {
        let pieces = Chunked::new("h.io");
        assert!(!pieces.broke(1000) && !pieces.broke(5 << 20) && pieces.broke(5 << 20));
        assert_eq!(pieces.size_for(5 << 20), Some(4 << 20));
    }

    #[tokio::test]
    async fn pieces_are_cut_across_chunks() {
        let chunks = ["abc", "", "defgh", "i"].map(|text| Ok(Bytes::from_static(text.as_bytes())));
        let cutter = Cutter::new(stream::iter(chunks).boxed());
        let mut cut = Vec::new();
        for length in [4, 4, 1] {
            let chunks: Vec<_> = piece(Arc::clone(&cutter), length).collect().await;
            cut.push(
                chunks
                    .into_iter()
                    .filter_map(Result::ok)
                    .flatten()
                    .collect::<Vec<u8>>(),
            );
        }
        assert_eq!(cut, [b"abcd".to_vec(), b"efgh".to_vec(), b"i".to_vec()]);
    }
}
