//! An archive whose bytes come once, in order: compressed, or from a pipe. What is to be kept is written to a
//! temporary file, each byte at its own offset.

use std::io::{self, ErrorKind, Read as _};
use std::sync::Arc;

use super::compression::Bounded;
use super::store::{READ_SIZE, Store};
use super::tar_index::{Fault, Member, ReadAt, Span, Walk, cut_off};
use crate::error::{Error, Kind, Result};

/// Whether bytes are written to the temporary file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum Keep {
    Yes,
    No,
}

/// The bytes of an archive that is read once.
pub(super) struct OnePass<'a> {
    source: Bounded<'a>,
    pub(super) store: Arc<Store>,
    /// Whether the run still wants it: reading a pipe to its end may take long.
    wanted: &'a dyn Fn() -> bool,
    /// How many bytes have been read.
    at: u64,
    keep: Keep,
    /// An I/O error behind a header that could not be read.
    failure: Option<Error>,
    buffer: Vec<u8>,
}

impl<'a> OnePass<'a> {
    /// Reads `source`; the file of `store` takes what is kept.
    pub(super) fn new(
        source: Bounded<'a>,
        store: Arc<Store>,
        wanted: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            source,
            store,
            wanted,
            at: 0,
            keep: Keep::Yes,
            failure: None,
            buffer: vec![0; READ_SIZE],
        }
    }

    /// Reads everything before `end`.
    fn read_to(&mut self, end: u64) -> Result<()> {
        while self.at < end {
            if self.step(end - self.at)? == 0 {
                let cause = format!(
                    "it is cut off: it ends at byte {}, before the end of a member",
                    self.at
                );
                return Err(self.store.refusal(&Fault::Damaged(cause)));
            }
        }
        Ok(())
    }

    /// Reads at most `most` bytes; returns how many.
    fn step(&mut self, most: u64) -> Result<u64> {
        if !(self.wanted)() {
            return Err(self.store.error(Kind::Interrupted));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let room = most.min(self.buffer.len());
        let buffer = self.buffer.get_mut(..room).unwrap_or_default();
        let count = loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(&error)),
                Ok(count) => break count,
            }
        };
        if self.keep == Keep::Yes {
            let bytes = buffer.get(..count).unwrap_or_default();
            self.store.write(bytes, self.at)?;
        }
        self.at += count as u64;
        Ok(count as u64)
    }

    /// The error for a header that could not be read because of `fault`.
    fn refusal(&mut self, fault: Fault) -> Error {
        match (self.failure.take(), fault) {
            (Some(failure), _) => failure,
            (None, Fault::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.store.refusal(&cut_off(self.at))
            }
            (None, fault) => self.store.refusal(&fault),
        }
    }

    /// The error for a source that cannot be read or decompressed.
    fn unreadable(&self, error: &io::Error) -> Error {
        if error.raw_os_error().is_some() {
            return self.store.error(Kind::LocalIo).because(error);
        }
        match error.kind() {
            // The error says what to do, or that the data expands too much.
            ErrorKind::InvalidData => self.store.error(Kind::Protocol).because(error),
            ErrorKind::UnexpectedEof => {
                let cause = "it is cut off: the compressed data ends early".to_owned();
                self.store.refusal(&Fault::Damaged(cause))
            }
            _ => {
                let cause = format!("it cannot be decompressed: {error}");
                self.store.refusal(&Fault::Damaged(cause))
            }
        }
    }
}

impl ReadAt for OnePass<'_> {
    fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let filled = self.read_to(offset).and_then(|()| {
            let mut filled = 0;
            while filled < buffer.len() {
                let count = usize::try_from(self.step((buffer.len() - filled) as u64)?);
                let count = count.unwrap_or_default();
                if count == 0 {
                    return Ok(filled);
                }
                let (from, to) = (
                    self.buffer.get(..count),
                    buffer.get_mut(filled..filled + count),
                );
                if let (Some(from), Some(to)) = (from, to) {
                    to.copy_from_slice(from);
                }
                filled += count;
            }
            Ok(filled)
        });
        match filled {
            Ok(filled) if filled == buffer.len() => Ok(()),
            Ok(_) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => {
                self.failure = Some(error);
                Err(ErrorKind::Other.into())
            }
        }
    }
}

/// The members of an archive that is read once, each checked as it comes.
pub(super) struct Members<'a> {
    walk: Walk<OnePass<'a>>,
    /// Whether the end mark has come.
    ended: bool,
}

impl<'a> Members<'a> {
    pub(super) fn of(source: OnePass<'a>) -> Self {
        let walk = Walk::new(u64::MAX, source);
        Self { walk, ended: false }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.walk.source.store
    }

    /// The next member; `None` after the end mark.
    pub(super) fn next(&mut self) -> Result<Option<(String, Option<Member>)>> {
        if self.ended {
            return Ok(None);
        }
        let next = self.walk.next();
        let next = next.map_err(|fault| self.refusal(fault))?;
        if next.is_none() {
            self.ended = true;
            let drained = self.walk.source.source.drain();
            drained.map_err(|error| self.walk.source.unreadable(&error))?;
        }
        Ok(next)
    }

    /// Reads to the end of a member.
    pub(super) fn read(&mut self, span: Span, keep: Keep) -> Result<()> {
        let source = &mut self.walk.source;
        let before = std::mem::replace(&mut source.keep, keep);
        let read = source.read_to(span.offset + span.size);
        source.keep = before;
        read
    }

    /// From here on nothing is kept unless it is [read](Self::read) so.
    pub(super) fn keep_nothing(&mut self) {
        self.walk.source.keep = Keep::No;
    }

    pub(super) fn refusal(&mut self, fault: Fault) -> Error {
        self.walk.source.refusal(fault)
    }

    /// Reads the rest, and returns the whole archive in the temporary file, if all of it was kept.
    pub(super) fn spool(mut self) -> Result<Store> {
        self.walk.source.keep = Keep::Yes;
        while self.next()?.is_some() {}
        let OnePass { store, at, .. } = self.walk.source;
        let failed = store.error(Kind::LocalIo);
        let store = Arc::into_inner(store).map(|store| store.ending_at(at));
        store.ok_or_else(|| failed.because("it is still read"))
    }
}
