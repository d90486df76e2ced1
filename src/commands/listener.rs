//! The one who is told what happens: adds it up, and shows progress.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::Progress as How;
use crate::event::Events;
use crate::report::progress::{PLAIN_INTERVAL, Progress, Style};
use crate::report::summary::Tally;

/// What a run tells, and what it adds up to.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    tally: Arc<Mutex<Tally>>,
    progress: Arc<Progress>,
    style: Style,
}

impl Listener {
    pub(super) fn new(style: Style) -> Self {
        Self {
            tally: Arc::default(),
            progress: Arc::new(Progress::new(style)),
            style,
        }
    }

    /// The events that this listens to.
    pub(super) fn events(&self) -> Events {
        let (tally, progress) = (Arc::clone(&self.tally), Arc::clone(&self.progress));
        Events::new(move |event| {
            progress.add(&event);
            tally
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(&event);
        })
    }

    /// Says how far it is, now and then, until it is dropped.
    pub(super) async fn narrate(&self) {
        if self.style != Style::Plain {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(PLAIN_INTERVAL).await;
            crate::report::say(&self.progress.plain_line());
        }
    }

    /// What it added up to.
    pub(super) fn finish(&self) -> Tally {
        self.progress.finish();
        self.tally()
    }

    /// What it adds up to so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// How to show progress of at most `jobs` blobs.
pub(super) fn style(how: How, quiet: bool, jobs: usize) -> Style {
    let bars = || {
        // Lines for the total, a message and the prompt stay free.
        let rows = terminal_size::terminal_size_of(std::io::stderr())
            .map_or(24, |(_, rows)| usize::from(rows.0));
        Style::Bars {
            blobs: jobs.min(rows.saturating_sub(3)),
        }
    };
    match how {
        _ if quiet => Style::Quiet,
        // Bars that nobody sees would swallow what is said beside them.
        How::Auto | How::Bar if std::io::stderr().is_terminal() => bars(),
        How::Auto | How::Bar | How::Plain => Style::Plain,
        How::None => Style::Silent,
    }
}
