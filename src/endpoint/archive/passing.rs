//! An archive that passes by once: its bytes in their order, those that are to be kept written down at
//! their places in a file without a name.

use std::io::{self, ErrorKind, Read as _};
use std::sync::Arc;

use super::contents::{Fault, cut_off};
use super::packing::Bounded;
use super::store::{READ_SIZE, Store};
use crate::error::{Error, Kind, Result};

/// Whether bytes that pass are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// The bytes of an archive that is read in its order.
pub(super) struct Passing<'a> {
    source: Bounded<'a>,
    pub(super) store: Arc<Store>,
    /// Whether anyone still waits for it.
    wanted: &'a dyn Fn() -> bool,
    /// How many bytes have passed.
    at: u64,
    pub(super) keep: Keep,
    /// Why it ended early, where that is more than what reading a header can say.
    failure: Option<Error>,
    buffer: Vec<u8>,
}

impl<'a> Passing<'a> {
    /// What comes out of `source`; `store` has the file.
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

    /// Lets everything before `end` pass.
    pub(super) fn pass(&mut self, end: u64) -> Result<()> {
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

    /// Lets pass what stands behind the end mark, which is no part of the archive.
    pub(super) fn drain(&mut self) -> Result<()> {
        let drained = self.source.drain();
        drained.map_err(|error| self.unreadable(&error))
    }

    /// Lets at most `most` bytes pass; how many did.
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

    /// Fills `buffer` from `offset` on, which has not passed yet.
    pub(super) fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let filled = self.pass(offset).and_then(|()| {
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

    /// The error of reading a header that has this `fault`.
    pub(super) fn refusal(&mut self, fault: Fault) -> Error {
        match (self.failure.take(), fault) {
            (Some(failure), _) => failure,
            (None, Fault::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.store.refusal(&cut_off(self.at))
            }
            (None, fault) => self.store.refusal(&fault),
        }
    }

    /// The error of a source that cannot be read, or unpacked.
    fn unreadable(&self, error: &io::Error) -> Error {
        if error.raw_os_error().is_some() {
            return self.store.error(Kind::LocalIo).because(error);
        }
        match error.kind() {
            // It says itself what is to be done, or is a bomb.
            ErrorKind::InvalidData => self.store.error(Kind::Protocol).because(error),
            ErrorKind::UnexpectedEof => {
                let cause = "it is cut off: what it is compressed to ends early".to_owned();
                self.store.refusal(&Fault::Damaged(cause))
            }
            _ => {
                let cause = format!("it cannot be unpacked: {error}");
                self.store.refusal(&Fault::Damaged(cause))
            }
        }
    }

    /// The store, once all of the archive has passed and was kept.
    pub(super) fn into_store(self) -> Result<Store> {
        let failed = self.store.error(Kind::LocalIo);
        let store = Arc::into_inner(self.store).map(|store| store.ending_at(self.at));
        store.ok_or_else(|| failed.because("it is still read"))
    }
}
