//! How an archive or a layer is compressed, and what comes out of it: bounded, whoever made it.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;

/// What comes out of a compressed archive may be so many times as long as what went in …
const MOST_EXPANSION: u64 = 100;
/// … once it has this many bytes: a bomb has 1,000 times and more, real images far less.
const EXPANSION_COUNTS: u64 = 64 << 20;

/// What all layers of one archive may go beyond that together, and what each still may when that is used up: an
/// empty tar file is packed more than a hundredfold.
const MOST_BEYOND: u64 = 256 << 20;
const LEAST_BEYOND: u64 = 64 << 10;

/// A compressed source may refer back to so many bytes of what came out of it, as a power of two: 32 MiB, which
/// zstd needs up to -20 and the packers of images at their best.
const LONGEST_WINDOW: u32 = 25;

/// So much of what stands behind an archive is read: what fills a tape's last record, or more.
const TAIL: u64 = 64 << 20;

/// How a gzip stream begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How many of its first bytes tell how something is compressed.
pub(super) const MAGIC: u64 = 6;

/// How an archive is compressed, as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(first: &[u8]) -> std::result::Result<Self, String> {
        let begins = |magic: &[u8]| first.starts_with(magic);
        let other = |name| {
            Err(format!(
                "it is compressed with {name}; gzip and zstd are understood"
            ))
        };
        match () {
            () if begins(&GZIP) => Ok(Self::Gzip),
            () if begins(&[0x28, 0xb5, 0x2f, 0xfd]) => Ok(Self::Zstd),
            () if begins(b"BZh") => other("bzip2"),
            () if begins(&[0xfd, b'7', b'z', b'X', b'Z', 0]) => other("xz"),
            () => Ok(Self::None),
        }
    }

    /// What comes out of `source`.
    pub(super) fn unpack<'a>(self, source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(source)?;
                decoder.window_log_max(LONGEST_WINDOW)?;
                Box::new(Windowed(decoder))
            }
        })
    }
}

/// What zstd unpacks: a source that would take more memory than is granted to it says so.
struct Windowed<R>(R);

impl<R: Read> Read for Windowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            if !error.to_string().contains("too much memory") {
                return error;
            }
            let most = 1 << (LONGEST_WINDOW - 20);
            let why = format!(
                "unpacking it takes more than {most} MiB of memory (zstd --ultra or --long)"
            );
            io::Error::new(ErrorKind::InvalidData, TooMuch(why))
        })
    }
}

/// Why no more is unpacked than this: it would take more room or memory than is granted.
#[derive(Debug)]
struct TooMuch(String);

impl Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooMuch {}

/// Whether what could be unpacked is refused since it takes too much.
pub(super) fn is_too_much(error: &io::Error) -> bool {
    let is = <dyn std::error::Error + Send + Sync>::is::<TooMuch>;
    error.get_ref().is_some_and(is)
}

/// What is left for layers to go beyond the ratio: many small bombs are one.
#[derive(Debug)]
pub(super) struct Spare(u64);

impl Spare {
    pub(super) fn new() -> Self {
        Self(MOST_BEYOND)
    }

    /// How much one more layer may have before the ratio counts.
    pub(super) fn next(&self) -> u64 {
        self.0.clamp(LEAST_BEYOND, EXPANSION_COUNTS)
    }

    /// A layer of `packed` bytes has this many when it is `unpacked`.
    pub(super) fn use_up(&mut self, packed: u64, unpacked: u64) {
        let granted = packed.saturating_mul(MOST_EXPANSION);
        self.0 = self.0.saturating_sub(unpacked.saturating_sub(granted));
    }
}

/// What comes out of a compressed source, as long as that is no bomb.
pub(super) struct Bounded<'a> {
    source: Box<dyn Read + 'a>,
    compression: Compression,
    taken: Rc<Taken>,
    given: u64,
    /// The ratio counts once it has this many bytes.
    counts: u64,
    /// What helps where it is no bomb.
    advice: &'static str,
}

impl<'a> Bounded<'a> {
    /// Unpacks `source`.
    pub(super) fn new(compression: Compression, source: impl Read + 'a) -> io::Result<Self> {
        let (counted, taken) = Counted::new(source);
        Ok(Self::of(compression, compression.unpack(counted)?, taken))
    }

    /// The same, where the ratio counts once it has this many bytes.
    pub(super) fn counting_from(self, counts: u64) -> Self {
        Self { counts, ..self }
    }

    /// Unpacks an archive: bytes behind a gzip stream are no part of it, as to gzip itself.
    pub(super) fn archive(compression: Compression, source: impl Read + 'a) -> io::Result<Self> {
        let (counted, taken) = Counted::new(source);
        let source = match compression {
            Compression::Gzip => Box::new(Streams::new(counted)),
            Compression::None | Compression::Zstd => compression.unpack(counted)?,
        };
        // Unpacked by somebody else it has no bound.
        let advice = match compression {
            Compression::None => "",
            Compression::Gzip => {
                ": if you trust who made it, unpack it on the way, `gzip -dc FILE | barge …` with `-` as its path"
            }
            Compression::Zstd => {
                ": if you trust who made it, unpack it on the way, `zstd -dc --long=31 FILE | barge …` with `-` as its path"
            }
        };
        let bounded = Self::of(compression, source, taken);
        Ok(Self { advice, ..bounded })
    }

    fn of(compression: Compression, source: Box<dyn Read + 'a>, taken: Rc<Taken>) -> Self {
        Self {
            source,
            compression,
            taken,
            given: 0,
            counts: EXPANSION_COUNTS,
            advice: "",
        }
    }

    /// The error of what takes more than is granted.
    fn too_much(&self, why: &dyn Display) -> io::Error {
        let why = TooMuch(format!("{why}{}", self.advice));
        io::Error::new(ErrorKind::InvalidData, why)
    }

    /// Reads what is left and drops it, up to a bound: whoever writes it does not fail, unless it has no end.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        // What comes out of nothing is bounded by what goes in.
        self.taken.stop_behind(TAIL);
        let mut rest = self.source.by_ref().take(TAIL);
        match io::copy(&mut rest, &mut io::sink()) {
            Err(_) if self.taken.is_stopped() => Ok(()),
            drained => drained.map(drop),
        }
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer).map_err(|error| {
            if is_too_much(&error) {
                self.too_much(&error)
            } else {
                error
            }
        })?;
        self.given += count as u64;
        let most = self
            .counts
            .max(self.taken.bytes.get().saturating_mul(MOST_EXPANSION));
        if self.compression != Compression::None && self.given > most {
            return Err(self.too_much(&format_args!(
                "it unpacks to more than {MOST_EXPANSION} times its size, as bombs do and few images"
            )));
        }
        Ok(count)
    }
}

/// What was taken of a source, in bytes, and how much may be.
struct Taken {
    bytes: Cell<u64>,
    most: Cell<u64>,
}

impl Taken {
    fn stop_behind(&self, more: u64) {
        self.most.set(self.bytes.get().saturating_add(more));
    }

    fn is_stopped(&self) -> bool {
        self.bytes.get() >= self.most.get()
    }
}

/// Counts the bytes that are taken from a source.
struct Counted<R> {
    source: R,
    taken: Rc<Taken>,
}

impl<R: Read> Counted<R> {
    fn new(source: R) -> (Self, Rc<Taken>) {
        let taken = Rc::new(Taken {
            bytes: Cell::new(0),
            most: Cell::new(u64::MAX),
        });
        let counted = Self {
            source,
            taken: Rc::clone(&taken),
        };
        (counted, taken)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken.is_stopped() {
            return Ok(0);
        }
        let count = self.source.read(buffer)?;
        self.taken.bytes.set(self.taken.bytes.get() + count as u64);
        Ok(count)
    }
}

/// What comes out of gzip streams that stand one behind the other. What is none ends them.
struct Streams<R>(Option<GzDecoder<BufReader<R>>>);

impl<R: Read> Streams<R> {
    fn new(source: R) -> Self {
        Self(Some(GzDecoder::new(BufReader::new(source))))
    }
}

impl<R: Read> Read for Streams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(stream) = &mut self.0 {
            let count = stream.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else {
                break;
            };
            if rest.fill_buf()?.first() == GZIP.first() {
                self.0 = Some(GzDecoder::new(rest));
            } else {
                io::copy(&mut rest.take(TAIL), &mut io::sink())?;
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_what_they_may_have_beyond_the_ratio() {
        let mut spare = Spare::new();
        assert_eq!(spare.next(), EXPANSION_COUNTS);
        // An honest layer needs none of it, however large.
        spare.use_up(1 << 30, 3 << 30);
        assert_eq!(spare.next(), EXPANSION_COUNTS);
        for _ in 0..4 {
            assert_eq!(spare.next(), EXPANSION_COUNTS);
            spare.use_up(10, EXPANSION_COUNTS + 1000);
        }
        assert_eq!(spare.next(), LEAST_BEYOND);
        spare.use_up(u64::MAX, u64::MAX);
        assert_eq!(spare.next(), LEAST_BEYOND);
    }
}
