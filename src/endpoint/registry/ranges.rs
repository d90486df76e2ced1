//! Which part of a blob an answer to a ranged GET holds (RFC 9110, section 14.4). Caches and proxies give other
//! parts than they were asked for: from a block's start, less, or without saying where it starts.

use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Response, StatusCode};

use super::manifests::content_length;

/// `Content-Range: bytes START-END/WHOLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: u64,
    /// The last byte.
    end: u64,
    /// How many bytes the blob has; `None` where it is not told.
    pub(super) whole: Option<u64>,
}

impl ContentRange {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, whole) = text.trim().strip_prefix("bytes")?.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        Some(Self {
            start: start.trim().parse().ok()?,
            end: end.trim().parse().ok()?,
            whole: whole.trim().parse().ok(),
        })
    }
}

/// What an answer to a request for the bytes from an offset on has of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All, behind so many that were not asked for.
    Rest { skip: u64 },
    /// The first of them, up to this offset, behind so many that were not asked for.
    Some { skip: u64, end: u64 },
    /// Nothing that could be proved to be in its place.
    Unusable,
    /// The blob has another size: this one.
    OtherSize(u64),
}

impl Part {
    /// Of a blob of `size` bytes that was asked for from `offset` on.
    pub(super) fn of(response: &Response, offset: u64, size: u64) -> Self {
        let (status, headers) = (response.status(), response.headers());
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Self::Unusable;
        }
        let length = content_length(headers);
        if status != StatusCode::PARTIAL_CONTENT {
            return match length {
                Some(length) if length != size => Self::OtherSize(length),
                _ => Self::Rest { skip: offset },
            };
        }
        match ContentRange::of(headers) {
            Some(range) => Self::within(range, offset, size),
            None => Self::Unusable,
        }
    }

    fn within(range: ContentRange, offset: u64, size: u64) -> Self {
        match range.whole {
            Some(whole) if whole != size => return Self::OtherSize(whole),
            _ => {}
        }
        let Some(skip) = offset.checked_sub(range.start) else {
            return Self::Unusable;
        };
        if range.end < offset || range.end >= size {
            return Self::Unusable;
        }
        let end = range.end + 1;
        if end == size {
            Self::Rest { skip }
        } else {
            Self::Some { skip, end }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<ContentRange> {
        let value = text.parse().expect("a header");
        ContentRange::of(&HeaderMap::from_iter([(CONTENT_RANGE, value)]))
    }

    #[test]
    fn ranges_as_servers_write_them() {
        let told = range("bytes 5-9/10").expect("a range");
        assert_eq!((told.start, told.end, told.whole), (5, 9, Some(10)));
        assert_eq!(range("bytes 5-9/*").expect("a range").whole, None);
        for wrong in ["bytes */10", "5-9/10", "bytes 5-/10", "bytes -5/10", ""] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_is_proved_to_be_in_its_place_is_used() {
        let part = |text| Part::within(range(text).expect("a range"), 40, 100);
        assert_eq!(part("bytes 40-99/100"), Part::Rest { skip: 0 });
        assert_eq!(part("bytes 32-99/100"), Part::Rest { skip: 8 });
        assert_eq!(part("bytes 32-63/*"), Part::Some { skip: 8, end: 64 });
        for unusable in ["bytes 41-99/100", "bytes 0-39/100", "bytes 40-100/*"] {
            assert_eq!(part(unusable), Part::Unusable, "{unusable}");
        }
        assert_eq!(part("bytes 40-119/120"), Part::OtherSize(120));
    }
}
