//! SIGINT and SIGTERM, or Ctrl-C where there are no signals: the first asks a run to end, the second to
//! leave things as they are.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::engine::Stop;
use crate::report::summary::Signal;

/// Listens for signals as long as it lives.
pub(super) struct Signals {
    /// Cancelled when signals come.
    pub(super) stop: Stop,
    first: Arc<OnceLock<Signal>>,
    task: tokio::task::JoinHandle<()>,
}

impl Signals {
    pub(super) fn listen() -> Self {
        let (stop, first) = (Stop::default(), Arc::new(OnceLock::new()));
        let (cancel, came) = (stop.clone(), Arc::clone(&first));
        let heard = move |signal| {
            if came.set(signal).is_ok() {
                cancel.soon.cancel();
            } else {
                cancel.now.cancel();
            }
        };
        let task = tokio::spawn(hear(heard));
        Self { stop, first, task }
    }

    /// Cancelled by the signal that comes next.
    pub(super) fn next(&self) -> &CancellationToken {
        if self.came().is_some() {
            &self.stop.now
        } else {
            &self.stop.soon
        }
    }

    /// The first signal that came, if one did.
    pub(super) fn came(&self) -> Option<Signal> {
        self.first.get().copied()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hears signals as soon as this returns, and tells them as long as it is polled.
#[cfg(unix)]
fn hear(heard: impl Fn(Signal)) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let streams = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    async move {
        // Without handlers a signal ends the process, which is what it would do by itself.
        let (Ok(mut interrupt), Ok(mut terminate)) = streams else {
            return;
        };
        loop {
            heard(tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
            });
        }
    }
}

#[cfg(not(unix))]
async fn hear(heard: impl Fn(Signal)) {
    while tokio::signal::ctrl_c().await.is_ok() {
        heard(Signal::Interrupt);
    }
}
