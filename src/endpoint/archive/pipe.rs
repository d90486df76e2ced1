//! Standard output, or another file that cannot be gone back in: what is written at a place waits until
//! everything before it is out.
//!
//! A thread of its own opens it and writes to it: where nobody reads, either may take for ever, and must not
//! keep the process from ending.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::sync::{oneshot, watch};

use crate::reference::STANDARD;

/// Bytes to write, and who waits for them to be out.
type Chunk = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// Bytes in their order, whoever brings them.
#[derive(Debug)]
pub(super) struct Pipe {
    chunks: Sender<Chunk>,
    /// How many bytes are out.
    position: watch::Sender<u64>,
}

impl Pipe {
    /// Opens what is at `path`, a named pipe as soon as somebody reads it; nothing is out yet.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let (chunks, coming) = channel();
        let (sender, opened) = oneshot::channel();
        let path = path.to_owned();
        thread::Builder::new().spawn(move || hand_out(&path, sender, &coming))?;
        opened.await.map_err(io::Error::other).flatten()?;
        Ok(Self {
            chunks,
            position: watch::Sender::new(0),
        })
    }

    /// Writes `bytes` once everything before `at` is out.
    pub(super) async fn write(&self, at: u64, bytes: Vec<u8>) -> io::Result<()> {
        let mut position = self.position.subscribe();
        let here = position.wait_for(|position| *position >= at).await;
        here.map_err(io::Error::other)?;
        let length = bytes.len() as u64;
        let (sender, written) = oneshot::channel();
        let sent = self.chunks.send((bytes, sender));
        sent.map_err(io::Error::other)?;
        written.await.map_err(io::Error::other).flatten()?;
        self.position.send_replace(at + length);
        Ok(())
    }
}

/// Opens `path`, tells so, and writes what comes. That nobody waits any more is how a run that was stopped
/// looks from here.
fn hand_out(path: &Path, opened: oneshot::Sender<io::Result<()>>, coming: &Receiver<Chunk>) {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    for (bytes, written) in coming {
        let _ = written.send(file.write_all(&bytes));
    }
}

fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str() == STANDARD {
        standard_output()
    } else {
        tracing::info!(path = %path.display(), "waiting for a reader");
        File::options().write(true).open(path)
    }
}

#[cfg(unix)]
fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd as _;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}
