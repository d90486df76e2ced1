//! Telling it: a pure fold of events into a summary, its two forms, and progress while it lasts.
//!
//! Nothing here asks a registry. [`summary`] alone turns outcomes into exit codes.

pub mod json;
pub mod progress;
pub mod summary;
pub mod text;
pub mod verify;

use std::io::{self, Write};

/// Writes results to standard output. A reader that has gone away is no error: it had enough.
///
/// # Errors
///
/// When standard output cannot be written for another reason, such as a full disk.
pub fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes results to standard error, where standard output has something else; that nobody can read them
/// changes nothing.
pub fn print_aside(text: &[u8]) {
    let _ = io::stderr().lock().write_all(text);
}

/// Says something on standard error; that nobody can hear it changes nothing.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "barge: {text}");
}
