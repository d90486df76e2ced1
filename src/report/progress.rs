//! What is seen while a run goes on, on standard error: bars on a terminal, a line every ten seconds
//! elsewhere, or nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::event::{Event, Status};
use crate::image::digest::Digest;
use crate::sanitize::{LONGEST_TEXT, clean, excerpt, plural};

/// How long plain progress is quiet between two lines.
pub const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How progress is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One bar for the whole and at most so many for blobs.
    Bars {
        /// Bars for blobs.
        blobs: usize,
    },
    Plain,
    /// Only warnings.
    Silent,
    /// Not even those.
    Quiet,
}

/// Progress as it is drawn; fed by events.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tags: u64,
    /// Tags that ended, or wait under rollback for the others.
    done: u64,
    ended: u64,
    failed: u64,
    /// Bytes that went out; those of a transfer that starts again no longer count.
    sent: u64,
    expected: u64,
    moving: HashMap<Digest, Moving>,
    bars: Option<Bars>,
}

#[derive(Debug, Default)]
struct Moving {
    size: u64,
    sent: u64,
    bar: Option<ProgressBar>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    free: usize,
}

impl Progress {
    /// Progress in `style`, from now on.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let mut state = State::default();
        if let Style::Bars { blobs } = style {
            state.bars = Some(Bars::new(blobs));
        }
        Self {
            style,
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Takes one event in.
    pub fn add(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.add(event);
        match event {
            Event::Warning(text) if self.style != Style::Quiet => {
                state.say(&format!("warning: {}", excerpt(text, LONGEST_TEXT)));
            }
            Event::Retry { error, delay }
                if matches!(self.style, Style::Bars { .. } | Style::Plain) =>
            {
                let text = clean(&error.to_string());
                state.say(&format!(
                    "{text}; trying again in {:.1} s",
                    delay.as_secs_f64()
                ));
            }
            _ => {}
        }
    }

    /// The line of plain progress.
    #[must_use]
    pub fn plain_line(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is a rough number"
        )]
        let rate = DecimalBytes((state.sent as f64 / seconds) as u64);
        let failed = if state.failed > 0 {
            format!(", {} failed", state.failed)
        } else {
            String::new()
        };
        format!(
            "{} of {}{failed}, {} of {} sent, {rate}/s, {} in flight",
            state.done,
            plural(state.tags, "tag"),
            DecimalBytes(state.sent),
            DecimalBytes(state.expected),
            plural(state.moving.len() as u64, "blob"),
        )
    }

    /// Takes the bars off the screen.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bars) = state.bars.take() {
            let _ = bars.all.clear();
            // What still ends in the background draws nothing any more.
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl State {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Selected { tags } => self.tags += *tags as u64,
            Event::BlobStarted { digest, size } => self.start(digest, *size),
            Event::BlobBytes { digest, bytes } => self.moved(digest, *bytes),
            Event::BlobRestarted { digest } => self.restart(digest),
            Event::BlobEnded { digest, .. } => self.end(digest),
            Event::TagEnded(outcome) => {
                self.ended += 1;
                self.done = self.done.max(self.ended);
                self.failed += u64::from(outcome.status == Status::Failed);
            }
            Event::TagStaged => self.done += 1,
            Event::Request(_)
            | Event::Retry { .. }
            | Event::Flipped(_)
            | Event::Journal(_)
            | Event::Settled { .. }
            | Event::Lacking(_)
            | Event::Unnamed(_)
            | Event::Warning(_) => return,
        }
        if let Some(bars) = &self.bars {
            bars.total.set_length(self.expected);
            bars.total.set_position(self.sent);
            bars.total
                .set_message(format!("{}/{}", self.done, plural(self.tags, "tag")));
        }
    }

    fn start(&mut self, digest: &Digest, size: u64) {
        self.expected = self.expected.saturating_add(size);
        let bar = self.bars.as_mut().and_then(|bars| bars.blob(digest, size));
        self.moving
            .insert(digest.clone(), Moving { size, sent: 0, bar });
    }

    fn moved(&mut self, digest: &Digest, bytes: u64) {
        self.sent += bytes;
        if let Some(moving) = self.moving.get_mut(digest) {
            moving.sent += bytes;
            if let Some(bar) = &moving.bar {
                bar.set_position(moving.sent);
            }
        }
    }

    fn restart(&mut self, digest: &Digest) {
        if let Some(moving) = self.moving.get_mut(digest) {
            self.sent = self.sent.saturating_sub(moving.sent);
            moving.sent = 0;
        }
    }

    fn end(&mut self, digest: &Digest) {
        let Some(moving) = self.moving.remove(digest) else {
            return;
        };
        if moving.sent < moving.size {
            // It failed: it is no longer expected.
            self.expected = self.expected.saturating_sub(moving.size);
            self.sent = self.sent.saturating_sub(moving.sent);
        }
        if let (Some(bar), Some(bars)) = (moving.bar, &mut self.bars) {
            bar.finish_and_clear();
            bars.all.remove(&bar);
            bars.free += 1;
        }
    }

    fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(format!("barge: {text}"));
            }
            None => super::say(text),
        }
    }
}

impl Bars {
    fn new(blobs: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let total = all.add(ProgressBar::new(0));
        total.set_style(style(
            "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        ));
        total.enable_steady_tick(Duration::from_millis(200));
        Self {
            all,
            total,
            free: blobs,
        }
    }

    /// A bar for one blob, where the screen has a line left.
    fn blob(&mut self, digest: &Digest, size: u64) -> Option<ProgressBar> {
        self.free = self.free.checked_sub(1)?;
        let bar = self.all.add(ProgressBar::new(size));
        bar.set_style(style(
            "  {msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes}",
        ));
        bar.set_message(digest.hex().chars().take(12).collect::<String>());
        Some(bar)
    }
}

fn style(template: &str) -> ProgressStyle {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
