//! An archive that is used while it comes: who asks for a member waits until it is here; what nobody needs is
//! not kept, and what was taken is given back.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::contents::{Contents, Fault, Member, Span};
use super::needs::{Hold, Needs};
use super::passing::Keep;
use super::store::Store;
use crate::error::{Kind, Result};

/// An archive on its way.
#[derive(Debug)]
pub(in crate::endpoint) struct Arriving {
    store: Arc<Store>,
    state: Mutex<State>,
    /// Told when something has come.
    news: watch::Sender<()>,
    /// Told when needs have changed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What is known of, the last of it perhaps still on its way.
    contents: Contents,
    /// Members that end before this have come.
    position: u64,
    /// Those whose bytes are here.
    here: HashMap<String, Span>,
    /// How many bytes that is.
    kept: u64,
    needs: Needs,
    /// Whether all who decide are known.
    begun: bool,
    /// How it ended.
    ended: Option<Result<()>>,
    /// Whether nobody looks at it any more.
    abandoned: bool,
}

/// Something that is held until it is dropped.
#[derive(Debug)]
pub struct Held {
    arriving: Arc<Arriving>,
    hold: Hold,
}

impl Arriving {
    /// Of its `contents` what stands before the first blob has been read. Everything is kept until somebody
    /// [begins](Self::begin) to decide.
    pub(super) fn new(store: Arc<Store>, contents: Contents) -> Self {
        let mut needs = Needs::new(store.room());
        needs.hold(&Hold::Deciding, false);
        Self {
            store,
            state: Mutex::new(State {
                contents,
                position: 0,
                here: HashMap::new(),
                kept: 0,
                needs,
                begun: false,
                ended: None,
                abandoned: false,
            }),
            news: watch::Sender::new(()),
            changed: Condvar::new(),
        }
    }

    /// Where the member `name` is, once it has come; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Why the archive cannot be trusted, or that the member was not kept.
    pub(super) async fn find(self: &Arc<Self>, name: &str) -> Result<Option<Span>> {
        let _reading = self.hold(Hold::Read(name.to_owned()));
        self.wait_for(name).await
    }

    /// The right to take the member `name`, once it has come or is known not to.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub(in crate::endpoint) async fn arrival(self: &Arc<Self>, name: &str) -> Result<Held> {
        let taking = self.hold(Hold::Take(name.to_owned()));
        self.wait_for(name).await?;
        Ok(taking)
    }

    /// The size of the member `name`, if it is known by now.
    pub(in crate::endpoint) fn size(&self, name: &str) -> Option<u64> {
        self.state().contents.file(name).map(|span| span.size)
    }

    async fn wait_for(&self, name: &str) -> Result<Option<Span>> {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            if let Some(found) = self.state().look(name, &self.store) {
                return found;
            }
            // The sender lives as long as this.
            let _ = news.changed().await;
        }
    }

    /// Where the member `name` is, if it has come.
    pub(super) fn find_now(&self, name: &str) -> Option<Span> {
        self.state().here.get(name).copied()
    }

    /// Holds something.
    pub(in crate::endpoint) fn hold(self: &Arc<Self>, hold: Hold) -> Held {
        self.change(|state| {
            let has_come = match &hold {
                Hold::Read(name) | Hold::Take(name) => state.has_come(name),
                Hold::Deciding | Hold::Finding | Hold::Claim(_) | Hold::Ask(_) => false,
            };
            state.needs.hold(&hold, has_come);
        });
        Held {
            arriving: Arc::clone(self),
            hold,
        }
    }

    /// All who decide what is needed hold that already; `most` members are taken at once.
    pub(in crate::endpoint) fn begin(&self, most: usize) {
        self.change(|state| {
            state.needs.take_at_once(most);
            if !std::mem::replace(&mut state.begun, true) {
                state.release(&Hold::Deciding, &self.store);
            }
        });
    }

    /// The member `name` is where it was to be.
    pub(in crate::endpoint) fn done(&self, name: &str) {
        self.change(|state| {
            state.needs.done(name);
            state.give_back_unless_wanted(name, &self.store);
        });
    }

    /// The member `name` may be asked for again.
    pub(super) fn keep(&self, name: &str) {
        self.change(|state| state.needs.keep(name));
    }

    /// Waits until the archive has come to its end. Nobody may hold anything any more.
    ///
    /// # Errors
    ///
    /// Why it cannot be trusted.
    pub(in crate::endpoint) async fn end(&self) -> Result<()> {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            if let Some(ended) = &self.state().ended {
                return ended.clone();
            }
            let _ = news.changed().await;
        }
    }

    /// Nobody looks at it any more.
    pub(super) fn abandon(&self) {
        self.change(|state| state.abandoned = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What who reads it tells.
impl Arriving {
    /// A member is next. Waits until there is room for it; tells whether it is to be kept.
    pub(super) fn admit(&self, name: &str, size: u64) -> Result<Keep> {
        let mut state = self.state();
        loop {
            if state.abandoned {
                return Err(self.store.error(Kind::Interrupted));
            }
            if !state.needs.want(name, size) {
                return Ok(Keep::No);
            }
            if !state.needs.hold_back(state.kept, size) {
                return Ok(Keep::Yes);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What is next is known by its header.
    pub(super) fn enter(
        &self,
        name: String,
        member: Option<Member>,
    ) -> std::result::Result<(), Fault> {
        self.state().contents.add(name, member)
    }

    /// A member has come.
    pub(super) fn came(&self, name: &str, span: Span, keep: Keep) {
        self.change(|state| {
            state.needs.came(name);
            state.position = span.offset + span.size;
            if keep == Keep::Yes {
                state.here.insert(name.to_owned(), span);
                state.kept += span.size;
                // Needs may have changed on the way.
                state.give_back_unless_wanted(name, &self.store);
            }
        });
        self.news.send_replace(());
    }

    /// Nothing more comes.
    pub(super) fn ended(&self, ended: Result<()>) {
        self.change(|state| state.ended = Some(ended));
        self.news.send_replace(());
    }
}

impl State {
    /// What is known of the member `name`; `None` where it may still come.
    fn look(&self, name: &str, store: &Store) -> Option<Result<Option<Span>>> {
        // What has come stays good, however the rest ends: the tags that need no more are brought.
        if let Some(span) = self.here.get(name) {
            return Some(Ok(Some(*span)));
        }
        if self.has_come(name) {
            let cause = format!("{name} has passed and was not kept, since nothing needed it");
            let error = store.error(Kind::NotFound).because(cause);
            let hint = "run the same command again, or give the archive as a file";
            return Some(Err(error.hint(hint)));
        }
        self.ended.clone().map(|ended| ended.map(|()| None))
    }

    fn has_come(&self, name: &str) -> bool {
        let span = self.contents.file(name);
        span.is_some_and(|span| span.offset + span.size <= self.position)
    }

    fn release(&mut self, hold: &Hold, store: &Store) {
        self.needs.release(hold);
        match hold {
            Hold::Claim(name) => self.give_back_unless_wanted(name, store),
            Hold::Deciding | Hold::Finding if self.needs.are_known() => self.give_back(store),
            Hold::Deciding | Hold::Finding | Hold::Ask(_) | Hold::Read(_) | Hold::Take(_) => {}
        }
    }

    fn give_back_unless_wanted(&mut self, name: &str, store: &Store) {
        let Some(span) = self.here.get(name).copied() else {
            return;
        };
        if !self.needs.want(name, span.size) {
            self.here.remove(name);
            self.kept -= span.size;
            store.give_back(span);
        }
    }

    /// Gives back all that is needed no longer.
    fn give_back(&mut self, store: &Store) {
        let names: Vec<String> = self.here.keys().cloned().collect();
        for name in names {
            self.give_back_unless_wanted(&name, store);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { arriving, hold } = self;
        arriving.change(|state| state.release(hold, &arriving.store));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::endpoint::archive::store::Opening;

    #[tokio::test]
    async fn what_has_come_stays_here_when_reading_fails() {
        let opening = Opening {
            path: Path::new("Cargo.toml"),
            name: "x",
            wanted: &|| true,
        };
        let store = Arc::new(opening.open().expect("a file"));
        let arriving = Arc::new(Arriving::new(Arc::clone(&store), Contents::default()));
        let span = Span {
            offset: 512,
            size: 9,
        };
        let entered = arriving.enter("a".to_owned(), Some(Member::File(span)));
        entered.expect("it is new");
        arriving.came("a", span, Keep::Yes);
        arriving.ended(Err(store.error(Kind::Protocol)));
        assert_eq!(arriving.find("a").await.ok(), Some(Some(span)));
        assert!(arriving.arrival("a").await.is_ok());
        assert!(arriving.find("b").await.is_err());
        assert!(arriving.end().await.is_err());
    }
}
