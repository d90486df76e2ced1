//! Reading an archive that passes by once, as far as its order allows while it is used: what says what is in
//! it has to come before the first blob. Every member is checked as it comes, up to the end mark.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::arriving::Arriving;
use super::contents::{Contents, Fault, Member, Span, Walk};
use super::opened::{Opened, Parts, no_link};
use super::opened_by;
use super::passing::{Keep, Passing};
use super::store::{Opening, Source, Store};
use crate::error::Result;
use crate::inventory::difference;

/// Where blobs and manifests are.
const BLOBS: &str = "blobs/";

/// The archive at `path`, whole where it is read by position, else as soon as it can be used; `None` where
/// there is no such file.
pub(super) async fn open_while_it_comes(path: &Path, name: String) -> Result<Option<Arc<Opened>>> {
    let (path, place) = (path.to_owned(), name.clone());
    let work = move |sender: oneshot::Sender<Result<Arc<Opened>>>| {
        let sender = RefCell::new(Some(sender));
        let opening = Opening {
            path: &path,
            name: &name,
            // Once it is open, it knows itself whether it is still looked at.
            wanted: &|| {
                sender
                    .borrow()
                    .as_ref()
                    .is_none_or(|sender| !sender.is_closed())
            },
        };
        let tell = |opened| {
            if let Some(sender) = sender.take() {
                // Nobody waits for it where the run has ended.
                let _ = sender.send(opened);
            }
        };
        match opening.source() {
            Ok(Source::Placed(store)) => tell(Opened::of(store, &name)),
            Ok(Source::Passing(passing)) => read(passing, &name, tell),
            Err(error) => tell(Err(error)),
        }
    };
    opened_by(work, place).await
}

/// Reads an archive to its end, and tells of it when it can be used.
fn read(passing: Passing<'_>, name: &str, tell: impl Fn(Result<Arc<Opened>>)) {
    let passing = RefCell::new(passing);
    let mut inflow = inflow(&passing);
    match inflow.begin(name) {
        Ok(Begun::Usable(opened, arriving, first)) => {
            tell(Ok(opened));
            arriving.ended(inflow.run(&arriving, first));
        }
        Ok(Begun::Not) => {
            let rest = inflow.rest();
            drop(inflow);
            let store = rest.and_then(|()| passing.into_inner().into_store());
            tell(store.and_then(|store| Opened::of(store, name)));
        }
        Err(error) => tell(Err(error)),
    }
}

/// An archive, once all of it is here.
pub(super) fn spool(passing: Passing<'_>) -> Result<Store> {
    let passing = RefCell::new(passing);
    inflow(&passing).rest()?;
    passing.into_inner().into_store()
}

fn inflow<'a, 'b>(
    passing: &'a RefCell<Passing<'b>>,
) -> Inflow<'a, 'b, impl FnMut(u64, &mut [u8]) -> io::Result<()>> {
    Inflow {
        walk: Walk::new(u64::MAX, |offset, buffer: &mut [u8]| {
            passing.borrow_mut().fill(offset, buffer)
        }),
        passing,
        is_over: false,
    }
}

/// How far an archive can be used before its first blob.
enum Begun {
    /// All is known but the blobs, of which this is the first.
    Usable(Arc<Opened>, Arc<Arriving>, (String, Span)),
    /// Only when all is here.
    Not,
}

struct Inflow<'a, 'b, R> {
    walk: Walk<R>,
    passing: &'a RefCell<Passing<'b>>,
    /// Whether its end mark has come.
    is_over: bool,
}

impl<R: FnMut(u64, &mut [u8]) -> io::Result<()>> Inflow<'_, '_, R> {
    /// Keeps all that is still to come.
    fn rest(&mut self) -> Result<()> {
        while !self.is_over {
            self.next()?;
        }
        self.passing.borrow_mut().drain()
    }

    /// Reads what comes before the first blob.
    fn begin(&mut self, name: &str) -> Result<Begun> {
        let mut contents = Contents::default();
        loop {
            let Some((member_name, member)) = self.next()? else {
                return Ok(Begun::Not);
            };
            let entered = contents.add(member_name.clone(), member.clone());
            entered.map_err(|fault| self.refusal(fault))?;
            let Some(Member::File(span)) = member else {
                continue;
            };
            if !member_name.starts_with(BLOBS) {
                self.passing.borrow_mut().pass(span.offset + span.size)?;
                continue;
            }
            if contents.file("index.json").is_none() {
                return Ok(Begun::Not);
            }
            let store = Arc::clone(&self.passing.borrow().store);
            let (index, difference) = Opened::front((&store, &contents), name)?;
            if index.is_cosigns() {
                // What refers to its images has no entry, so all of it has to be looked through.
                return Ok(Begun::Not);
            }
            let arriving = Arriving::new(Arc::clone(&store), contents);
            let arriving = Arc::new(arriving);
            let opened = Opened {
                store,
                parts: Parts::Arriving(Arc::clone(&arriving)),
                index,
                difference,
            };
            let first = (member_name, span);
            return Ok(Begun::Usable(Arc::new(opened), arriving, first));
        }
    }

    /// Reads all from the `first` blob on.
    fn run(&mut self, arriving: &Arriving, first: (String, Span)) -> Result<()> {
        let (mut name, mut span) = first;
        loop {
            let keep = if name.starts_with(BLOBS) {
                arriving.admit(&name, span.size)?
            } else {
                Keep::No
            };
            self.passing.borrow_mut().keep = keep;
            self.passing.borrow_mut().pass(span.offset + span.size)?;
            self.passing.borrow_mut().keep = Keep::No;
            arriving.came(&name, span, keep);
            match self.next_file(arriving)? {
                Some(next) => (name, span) = next,
                None => return self.passing.borrow_mut().drain(),
            }
        }
    }

    /// The next file; `None` at the end mark.
    fn next_file(&mut self, arriving: &Arriving) -> Result<Option<(String, Span)>> {
        while let Some((name, member)) = self.next()? {
            let entered = arriving.enter(name.clone(), member.clone());
            entered.map_err(|fault| self.refusal(fault))?;
            match member {
                Some(Member::File(_)) if name == difference::FILE => {
                    let why = format!(
                        "{name} comes behind blobs: what is left out cannot be proved before something is written"
                    );
                    return Err(self.refusal(Fault::Refused(why)));
                }
                Some(Member::File(span)) => return Ok(Some((name, span))),
                Some(Member::Link(_)) => {
                    return Err(self.refusal(Fault::Refused(no_link(&name))));
                }
                None => {}
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> Result<Option<(String, Option<Member>)>> {
        let next = self.walk.next();
        let next = next.map_err(|fault| self.refusal(fault))?;
        self.is_over = next.is_none();
        Ok(next)
    }

    fn refusal(&self, fault: Fault) -> crate::error::Error {
        self.passing.borrow_mut().refusal(fault)
    }
}
