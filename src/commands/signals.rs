//! SIGINT and SIGTERM, or Ctrl-C where there are no signals.

use tokio_util::sync::CancellationToken;

use crate::report::summary::Signal;

/// Listens for signals as long as it lives.
pub(super) struct Signals {
    /// Cancelled when a signal comes.
    pub(super) token: CancellationToken,
    task: tokio::task::JoinHandle<Signal>,
}

impl Signals {
    pub(super) fn listen() -> Self {
        let token = CancellationToken::new();
        let cancel = token.clone();
        let task = tokio::spawn(async move {
            let signal = next().await;
            cancel.cancel();
            signal
        });
        Self { token, task }
    }

    /// The signal that came, if one did.
    pub(super) async fn came(self) -> Option<Signal> {
        if self.token.is_cancelled() {
            return self.task.await.ok();
        }
        self.task.abort();
        None
    }
}

#[cfg(unix)]
async fn next() -> Signal {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers a signal ends the process, which is what it would do by itself.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::Interrupt,
        _ = terminate.recv() => Signal::Terminate,
    }
}

#[cfg(not(unix))]
async fn next() -> Signal {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Signal::Interrupt,
        Err(_) => std::future::pending().await,
    }
}
