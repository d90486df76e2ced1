//! What a person types at a terminal. Without one nobody is asked.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use super::signals::Signals;
use crate::endpoint::registry::credentials::Secret;
use crate::error::{Error, Kind, Result};

/// How long a prompt that Ctrl-C has ended may take to let the terminal show again what is typed.
const GRACE: Duration = Duration::from_millis(300);

/// The user's name, as it is given or typed.
pub(super) async fn user(given: Option<String>, signals: &Signals) -> Result<String> {
    if let Some(user) = given {
        return Ok(user);
    }
    needs_terminal("give the user with --username, and the password with --password-stdin")?;
    let line = ask(signals, || {
        let mut screen = std::io::stderr();
        let mut line = String::new();
        write!(screen, "Username: ")?;
        screen.flush()?;
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    });
    match line.await?.trim() {
        "" => Err(Error::usage("no user was given")),
        user => Ok(user.to_owned()),
    }
}

/// The password, typed without being shown.
pub(super) async fn password(question: String, signals: &Signals) -> Result<Secret> {
    needs_terminal("give the password on standard input, with --password-stdin")?;
    let _settings = Settings::keep();
    let typed = ask(signals, || match rpassword::prompt_password(question) {
        // Ctrl-D.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(String::new()),
        typed => typed,
    });
    let typed = typed.await?;
    if typed.is_empty() {
        return Err(Error::usage("no password was given"));
    }
    Ok(Secret::new(typed))
}

/// The terminal's settings, which it has again when this is dropped: a prompt that a signal ends goes on
/// reading in its thread, and cannot put them back.
struct Settings {
    #[cfg(unix)]
    kept: Option<(std::fs::File, rustix::termios::Termios)>,
}

impl Settings {
    #[cfg(unix)]
    fn keep() -> Self {
        // The one that the prompt reads. Without it nobody is asked.
        let terminal = std::fs::File::open("/dev/tty").ok();
        let kept = terminal.and_then(|terminal| {
            let settings = rustix::termios::tcgetattr(&terminal).ok()?;
            Some((terminal, settings))
        });
        Self { kept }
    }

    #[cfg(not(unix))]
    fn keep() -> Self {
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Settings {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some((terminal, settings)) = &self.kept
            && let Err(error) = tcsetattr(terminal, OptionalActions::Now, settings)
        {
            tracing::info!(%error, "the terminal's settings cannot be put back");
        }
    }
}

/// `password`, unless there is none.
pub(super) fn not_empty(password: String) -> Result<Secret> {
    if password.is_empty() {
        return Err(Error::usage("the password is empty"));
    }
    Ok(Secret::new(password))
}

fn needs_terminal(instead: &str) -> Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let why = "standard input is not a terminal, so nobody can be asked";
    Err(Error::usage(why).hint(instead))
}

/// What `question` gives, unless a signal comes first. It has a thread of its own, since nothing can call
/// off a read of a terminal.
async fn ask(
    signals: &Signals,
    question: impl FnOnce() -> std::io::Result<String> + Send + 'static,
) -> Result<String> {
    let (sender, mut answer) = tokio::sync::oneshot::channel();
    // Nobody waits for the answer where a signal came meanwhile.
    std::thread::spawn(move || drop(sender.send(question())));
    let read = tokio::select! {
        read = &mut answer => read,
        () = signals.stop.soon.cancelled() => {
            // The answer that comes is that there is none.
            let _ = tokio::time::timeout(GRACE, answer).await;
            return Err(interrupted());
        }
    };
    match read {
        Ok(Ok(typed)) => Ok(typed),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => Err(interrupted()),
        Ok(Err(error)) => Err(failed(Kind::LocalIo).because(error)),
        Err(_) => Err(failed(Kind::LocalIo).because("the reader ended")),
    }
}

/// The error of a command that a signal ended.
pub(super) fn interrupted() -> Error {
    // At the terminal, while the password is read from a pipe, or while the registry is asked.
    Error::new(Kind::Interrupted, "log in", "")
        .because("a signal ended it")
        .hint("nothing was stored")
}

fn failed(kind: Kind) -> Error {
    Error::new(kind, "read a login from", "the terminal")
}
