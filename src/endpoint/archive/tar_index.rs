//! What a tar file holds: where each member's bytes are, from its headers alone, read once and in order.
//!
//! Strict, since two readers must not understand one archive in two ways: a member with a name that
//! climbs out, a device, a sparse file, a name twice, a size that is told twice or passes the file's end
//! refuse the whole archive (POSIX.1-2017 pax, "ustar Interchange Format"; GNU's long names).

use std::collections::HashMap;
use std::collections::hash_map;
use std::fmt;
use std::io;

use tar::{EntryType, Header, PaxExtensions};

/// Tar files are made of blocks of this many bytes.
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;
/// The same, to measure memory by.
pub(super) const BLOCK_BYTES: usize = 512;
/// The longest list of names, or block of extended headers, in bytes.
const LONGEST_EXTENSION: u64 = 64 << 10;
/// The most headers that are read, and the most bytes that all names together may have.
const MOST_HEADERS: usize = 200_000;
const MOST_NAME_BYTES: usize = 18 << 20;
/// How many extended headers may stand before one member: pax's own and global one, GNU's two, and some room.
const MOST_EXTENSIONS: usize = 16;
/// How many links may lead from one to the next.
const MOST_LINKS: usize = 8;
/// The largest size that fits into a header's octal field.
pub(super) const LARGEST_OCTAL: u64 = 0o777_7777_7777;

/// Where bytes are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub offset: u64,
    pub size: u64,
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A file, and where its bytes are.
    File(Span),
    /// A link to a name in the archive; `None` where it leads out.
    Link(Option<String>),
}

/// The files and links of an archive by name; `.` components are left out of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TarIndex {
    members: HashMap<String, Member>,
}

/// Why an archive could not be read.
#[derive(Debug)]
pub enum Fault {
    /// Its bytes could not be had.
    Io(io::Error),
    /// They are no archive, or not all of one.
    Damaged(String),
    /// They are no archive that can be trusted.
    Refused(String),
}

type Read<T> = Result<T, Fault>;

fn refused<T>(why: impl Into<String>) -> Read<T> {
    Err(Fault::Refused(why.into()))
}

fn damaged<T>(why: impl Into<String>) -> Read<T> {
    Err(Fault::Damaged(why.into()))
}

/// An archive ends at byte `at`, where a header should be.
pub(super) fn cut_off(at: u64) -> Fault {
    let end = format!("it ends at byte {at} without the end mark of a tar archive");
    Fault::Damaged(if at < BLOCK {
        format!("it is no tar file, or is cut off: {end}")
    } else {
        format!("it is cut off: {end}")
    })
}

impl TarIndex {
    /// Reads the headers of an archive of `length` bytes by `read_at`, which fills a buffer from an offset.
    ///
    /// # Errors
    ///
    /// What `read_at` fails with, or why the archive is refused.
    ///
    /// ```
    /// use barge::endpoint::archive::tar_index::TarIndex;
    ///
    /// let nothing = [0_u8; 1024];
    /// let read = |offset: u64, buffer: &mut [u8]| {
    ///     let start = usize::try_from(offset).expect("small");
    ///     buffer.copy_from_slice(&nothing[start..start + buffer.len()]);
    ///     Ok(())
    /// };
    /// assert!(TarIndex::read(1024, read).is_ok_and(|contents| contents.is_empty()));
    /// ```
    pub fn read(
        length: u64,
        read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Self, Fault> {
        let mut walk = Walk::new(length, read_at);
        let mut contents = Self::default();
        while let Some((name, member)) = walk.next()? {
            contents.add(name, member)?;
        }
        Ok(contents)
    }

    /// Takes in the next member.
    pub(super) fn add(&mut self, name: String, member: Option<Member>) -> Read<()> {
        let Some(member) = member else { return Ok(()) };
        match self.members.entry(name) {
            hash_map::Entry::Vacant(free) => {
                free.insert(member);
                Ok(())
            }
            hash_map::Entry::Occupied(taken) => refused(format!("it has {:?} twice", taken.key())),
        }
    }

    /// Where the bytes of the file `name` are; a link is no file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Span> {
        match self.members.get(name)? {
            Member::File(span) => Some(*span),
            Member::Link(_) => None,
        }
    }

    /// Where the bytes of `name` are, which may be a link to a file of the archive.
    #[must_use]
    pub fn follow(&self, name: &str) -> Option<Span> {
        let mut name = plain_name(name.as_bytes()).ok()?;
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::File(span) => return Some(*span),
                Member::Link(target) => name.clone_from(target.as_ref()?),
            }
        }
        None
    }

    /// Any link of the archive: the first by name.
    #[must_use]
    pub fn any_link(&self) -> Option<&str> {
        let links = self
            .members
            .iter()
            .filter(|(_, member)| matches!(member, Member::Link(_)));
        links.map(|(name, _)| name.as_str()).min()
    }

    /// Every file, in no order: its name, and where its bytes are.
    pub fn files(&self) -> impl Iterator<Item = (&str, Span)> {
        self.members
            .iter()
            .filter_map(|(name, member)| match member {
                Member::File(span) => Some((name.as_str(), *span)),
                Member::Link(_) => None,
            })
    }

    /// Whether there is neither file nor link.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// What extended headers say of the member after them.
#[derive(Default)]
struct Extension {
    /// Whether there was any header of the kind.
    is_there: bool,
    /// Whether there was one of pax. Of two, Go's reader believes the last alone.
    pax: Option<()>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Bytes by offset.
pub(super) trait ReadAt {
    fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl<F: FnMut(u64, &mut [u8]) -> io::Result<()>> ReadAt for F {
    fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self(offset, buffer)
    }
}

/// Reading headers, one after the other.
pub(super) struct Walk<R> {
    length: u64,
    pub(super) source: R,
    at: u64,
    members: usize,
    name_bytes: usize,
}

impl<R: ReadAt> Walk<R> {
    /// Begins with the first header of `length` bytes; offsets only grow.
    pub(super) fn new(length: u64, source: R) -> Self {
        Self {
            length,
            source,
            at: 0,
            members: 0,
            name_bytes: 0,
        }
    }

    /// The next member; none of the pair's second half for what is neither file nor link.
    pub(super) fn next(&mut self) -> Read<Option<(String, Option<Member>)>> {
        if self.members == MOST_HEADERS {
            return refused(format!("it has more than {MOST_HEADERS} members"));
        }
        self.members += 1;
        let next = self.step()?;
        if let Some((name, Some(_))) = &next {
            self.name_bytes += name.len();
        }
        if self.name_bytes > MOST_NAME_BYTES {
            return refused("its names are longer than any archive of images needs");
        }
        Ok(next)
    }

    fn step(&mut self) -> Read<Option<(String, Option<Member>)>> {
        let mut extension = Extension::default();
        for _ in 0..=MOST_EXTENSIONS {
            let mut block = [0; BLOCK_BYTES];
            self.fill(self.at, &mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                if extension.is_there {
                    return refused("it ends behind an extended header, whose member is missing");
                }
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            self.check(header, &block)?;
            let kind = header.entry_type();
            if !self.extends(header, kind, &mut extension)? {
                return self.member(header, kind, extension).map(Some);
            }
        }
        refused(format!(
            "more than {MOST_EXTENSIONS} extended headers stand before byte {}",
            self.at
        ))
    }

    /// Takes in a header that speaks of the next one; `false` where it speaks for itself.
    fn extends(&mut self, header: &Header, kind: EntryType, known: &mut Extension) -> Read<bool> {
        match kind {
            EntryType::XHeader => {
                let records = self.extension(header)?;
                once(&mut known.pax, (), "extended header")?;
                known.take(&records)?;
            }
            EntryType::XGlobalHeader => {
                let mut global = Extension::default();
                global.take(&self.extension(header)?)?;
                if global.name.is_some() || global.link.is_some() || global.size.is_some() {
                    return refused("a global header names, or measures, all of its members");
                }
            }
            EntryType::GNULongName => once(&mut known.name, self.long_name(header)?, "name")?,
            EntryType::GNULongLink => once(&mut known.link, self.long_name(header)?, "link")?,
            _ => return Ok(false),
        }
        if header.as_ustar().is_none() && header.as_gnu().is_none() {
            return refused("an extended header is of a format that has none");
        }
        known.is_there |= kind != EntryType::XGlobalHeader;
        Ok(true)
    }

    /// The member that `header` and what came before it describe; leaves the walk behind its bytes.
    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        extension: Extension,
    ) -> Read<(String, Option<Member>)> {
        let raw = extension
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let name = plain_name(&raw)?;
        let size = size_of(header, extension.size, &name)?;
        let member = match kind {
            EntryType::Regular | EntryType::Continuous if name.is_empty() => {
                return refused("a file has no name");
            }
            EntryType::Regular | EntryType::Continuous => Some(Member::File(Span {
                offset: self.at + BLOCK,
                size,
            })),
            EntryType::Directory => None,
            EntryType::Link | EntryType::Symlink => {
                let target = extension
                    .link
                    .or_else(|| header.link_name_bytes().map(Into::into));
                let base = match kind {
                    EntryType::Symlink => name.rsplit_once('/').map_or("", |(base, _)| base),
                    _ => "",
                };
                Some(Member::Link(linked(base, &target.unwrap_or_default())))
            }
            EntryType::GNUSparse => return refused(format!("{name:?} is a sparse file")),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return refused(format!("{name:?} is a device or a pipe"));
            }
            other => {
                let kind = char::from(other.as_byte());
                return refused(format!("{name:?} is of an unknown kind ({kind:?})"));
            }
        };
        // A link has no bytes, whatever its header says of the size of what it points at.
        let bytes = if matches!(member, Some(Member::Link(_))) {
            0
        } else {
            size
        };
        self.skip(bytes, &name)?;
        Ok((name, member))
    }

    fn check(&self, header: &Header, block: &[u8]) -> Read<()> {
        let sum = |(index, byte): (usize, &u8)| match index {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        };
        let sum: u32 = block.iter().enumerate().map(sum).sum();
        if header.cksum().ok() == Some(sum) {
            return Ok(());
        }
        let at = self.at;
        damaged(if at == 0 {
            "it is no tar file: it does not begin with the header of one".to_owned()
        } else {
            format!("the header at byte {at} is damaged")
        })
    }

    /// The bytes of a header that extends the next one; the walk goes on behind them.
    fn extension(&mut self, header: &Header) -> Read<Vec<u8>> {
        let size = header.entry_size().unwrap_or(u64::MAX);
        if size > LONGEST_EXTENSION {
            return refused(format!(
                "the extended header at byte {} is too long",
                self.at
            ));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.fill(self.at + BLOCK, &mut bytes)?;
        self.skip(size, "an extended header")?;
        Ok(bytes)
    }

    fn long_name(&mut self, header: &Header) -> Read<Vec<u8>> {
        let mut name = self.extension(header)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Goes behind the header at hand and `size` bytes, which have to be there.
    fn skip(&mut self, size: u64, name: &str) -> Read<()> {
        let end = size
            .checked_next_multiple_of(BLOCK)
            .and_then(|size| size.checked_add(self.at + BLOCK));
        match end {
            Some(end) if end <= self.length => {
                self.at = end;
                Ok(())
            }
            _ => damaged(format!(
                "it is cut off: {name:?} at byte {} has {size} bytes, the file ends at {}",
                self.at, self.length
            )),
        }
    }

    fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> Read<()> {
        if offset.saturating_add(buffer.len() as u64) > self.length {
            return Err(cut_off(self.length));
        }
        self.source.fill(offset, buffer).map_err(Fault::Io)
    }
}

impl Extension {
    /// Takes in the records of a pax header.
    fn take(&mut self, records: &[u8]) -> Read<()> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|error| Fault::Refused(error.to_string()))?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => once(&mut self.name, value.to_vec(), "name")?,
                b"linkpath" => once(&mut self.link, value.to_vec(), "link")?,
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    let Some(size) = size else {
                        return refused("an extended header has a size that is no number");
                    };
                    once(&mut self.size, size, "size")?;
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return refused("it has a sparse file");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Keeps what an extended header says; readers differ in which of two they believe.
fn once<T>(known: &mut Option<T>, said: T, what: &str) -> Read<()> {
    if known.replace(said).is_some() {
        return refused(format!("a member's {what} is told twice"));
    }
    Ok(())
}

/// The member's size: the header's, or that of its extension where the header's field is too small.
fn size_of(header: &Header, extended: Option<u64>, name: &str) -> Read<u64> {
    let Ok(written) = header.entry_size() else {
        return refused(format!("the size of {name:?} cannot be read"));
    };
    match extended {
        None => Ok(written),
        Some(size) if size == written || size > LARGEST_OCTAL => Ok(size),
        Some(size) => refused(format!("{name:?} has two sizes, {written} and {size}")),
    }
}

/// A member's name without what means nothing; one that leads out of the archive is refused.
fn plain_name(raw: &[u8]) -> Read<String> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return refused(format!("{:?} is no text", String::from_utf8_lossy(raw)));
    };
    let climbs = text.starts_with('/') || text.split('/').any(|part| part == "..");
    if climbs || text.contains(['\0', '\\']) {
        return refused(format!("the name {text:?} leads out of the archive"));
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    Ok(parts.join("/"))
}

/// What a link that stands in the folder `base` leads to; `None` where that is outside.
fn linked(base: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    if target.is_empty() || target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Damaged(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
#[path = "tar_index/tests.rs"]
mod tests;
