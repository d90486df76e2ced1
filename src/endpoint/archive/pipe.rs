//! Standard output, or another file that cannot be gone back in: what is written at a place waits until
//! everything before it is out.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Bytes in their order, whoever brings them.
#[derive(Debug)]
pub(super) struct Pipe {
    file: Mutex<File>,
    /// How many bytes are out.
    position: watch::Sender<u64>,
}

impl Pipe {
    /// Nothing is out yet.
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Mutex::new(file),
            position: watch::Sender::new(0),
        }
    }

    /// Writes `bytes` once everything before `at` is out.
    pub(super) async fn write(self: &Arc<Self>, at: u64, bytes: Vec<u8>) -> std::io::Result<()> {
        let mut position = self.position.subscribe();
        let here = position.wait_for(|position| *position >= at).await;
        here.map_err(std::io::Error::other)?;
        let length = bytes.len() as u64;
        let pipe = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let mut file = pipe.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&bytes)?;
            file.flush()
        });
        written.await.map_err(std::io::Error::other)??;
        self.position.send_replace(at + length);
        Ok(())
    }
}
