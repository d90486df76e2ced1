//! `docker-credential-NAME`: programs that keep credentials elsewhere (docker-credential-helpers). One
//! run a question, with a limit; what goes wrong is told with the name of the helper, never with what
//! it printed where that may hold a secret.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use super::redact::redact;
use super::{Credentials, LONGEST_LOGIN, Secret};
use crate::error::{Error, Kind, Result};
use crate::sanitize::excerpt;

/// The user that marks an identity token (docker-credential-helpers).
const IDENTITY_USER: &str = "<token>";
/// What helpers print, and end badly, where they have no such credentials.
const NOT_FOUND: &str = "credentials not found";
/// How much of a helper's words goes into a message.
const LONGEST_WORDS: usize = 300;
/// How long one answer may take. Some ask a person first, so it is not the time of a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a helper that has ended may leave its outputs open to programs that it started.
const GRACE: Duration = Duration::from_millis(500);

/// A helper that a configuration file names.
pub(super) struct Helper<'a> {
    /// What comes after `docker-credential-`.
    pub(super) name: &'a str,
    /// The file that names it.
    pub(super) file: &'a Path,
}

/// How a helper ended, and what it wrote on each output.
struct Answer {
    status: ExitStatus,
    printed: Vec<u8>,
    complained: Vec<u8>,
}

/// What `get` prints and `store` reads.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Stored {
    #[serde(rename = "ServerURL")]
    server: String,
    username: String,
    secret: String,
}

impl Helper<'_> {
    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// What it keeps for `server`, if anything.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credentials>> {
        let doing = "get credentials from";
        let Some(printed) = self.ask("get", server, doing).await? else {
            return Ok(None);
        };
        let stored: Stored = serde_json::from_slice(&printed).map_err(|error| {
            // The position is told, the text is not: it may hold a password.
            self.failed(doing).because(format!(
                "it printed something that is not the JSON expected, at line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        if stored.secret.is_empty() {
            let cause = "it printed JSON without a secret; a helper that keeps none says `credentials not found`";
            return Err(self.failed(doing).because(cause));
        }
        let secret = Secret::new(stored.secret);
        Ok(Some(match stored.username.as_str() {
            IDENTITY_USER => Credentials::Identity(secret),
            user => Credentials::Password {
                user: user.to_owned(),
                password: secret,
            },
        }))
    }

    /// Lets it keep a login for `server`.
    pub(super) async fn store(&self, server: &str, user: &str, password: &Secret) -> Result<()> {
        let doing = "store credentials with";
        let login = Stored {
            server: server.to_owned(),
            username: user.to_owned(),
            secret: password.expose().to_owned(),
        };
        let input = serde_json::to_string(&login)
            .map_err(|error| self.failed(doing).because(error.to_string()))?;
        match self.ask("store", &input, doing).await? {
            Some(_) => Ok(()),
            None => Err(self.failed(doing).because("it says that it found none")),
        }
    }

    /// Lets it forget what it keeps for `server`.
    pub(super) async fn erase(&self, server: &str) -> Result<()> {
        self.ask("erase", server, "erase credentials with")
            .await
            .map(|_| ())
    }

    /// What it prints for `verb`; `None` where it has no such credentials.
    async fn ask(&self, verb: &str, input: &str, doing: &str) -> Result<Option<Vec<u8>>> {
        let run = tokio::time::timeout(PATIENCE, self.run(verb, input));
        let answer = run.await.map_err(|_| {
            let cause = format!("it did not answer within {} s", PATIENCE.as_secs());
            self.failed(doing).because(cause)
        })?;
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self
                .failed(doing)
                .because("there is no such program in PATH"),
            _ => self.failed(doing).because(error),
        })?;
        if answer.status.success() {
            return Ok(Some(answer.printed));
        }
        if answer.finds_nothing() {
            return Ok(None);
        }
        let ended = format!("it ended with {}", answer.status);
        let telling = match answer.words() {
            Some(words) => format!("{ended}: {words}"),
            None => ended,
        };
        Err(self.failed(doing).because(telling))
    }

    async fn run(&self, verb: &str, input: &str) -> io::Result<Answer> {
        let mut command = Command::new(self.program());
        command
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for secret in variables_of_barge() {
            command.env_remove(secret);
        }
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let family = Family::of(&child);
        let (mut printed, mut complained) = (Vec::new(), Vec::new());
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let status = {
            let talk = async {
                tokio::try_join!(
                    tell(stdin, input),
                    hear(stdout, &mut printed),
                    hear(stderr, &mut complained)
                )
            };
            tokio::pin!(talk);
            tokio::select! {
                talked = &mut talk => {
                    talked?;
                    child.wait().await?
                }
                ended = child.wait() => {
                    // What the helper itself has written is there; a program that it left running may
                    // hold its outputs open for as long as that likes.
                    if let Ok(talked) = tokio::time::timeout(GRACE, talk).await {
                        talked?;
                    }
                    ended?
                }
            }
        };
        family.leave();
        Ok(Answer {
            status,
            printed,
            complained,
        })
    }

    fn failed(&self, doing: &str) -> Error {
        let target = format!("{} (named in {})", self.program(), self.file.display());
        Error::new(Kind::LocalIo, doing, target).hint(format!(
            "run `{} list` by hand, or take it out of {}; --creds, --creds-file and --no-creds need no helper",
            self.program(),
            self.file.display()
        ))
    }
}

/// The variables of this environment that only barge reads. Some carry credentials for other registries, which
/// are none of a helper's business; that none is passed on needs no list of them.
fn variables_of_barge() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        let name = name.to_string_lossy();
        name.get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("BARGE_"))
    })
}

/// A helper and the programs that it has started, which end when this is dropped: one that is given up may
/// be a script, whose programs would go on.
struct Family {
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
}

impl Family {
    #[cfg(unix)]
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            group: id.and_then(rustix::process::Pid::from_raw),
        }
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Self {
        Self {}
    }

    /// Lets what it has left running run: it has answered.
    fn leave(self) {
        std::mem::forget(self);
    }
}

#[cfg(unix)]
impl Drop for Family {
    fn drop(&mut self) {
        use rustix::process::{Signal, kill_process_group};
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::info!(%error, "what a credential helper started may still run");
        }
    }
}

impl Answer {
    /// What it says of why it failed, without the secrets that it was given. Docker's own helpers say it on
    /// standard output, which counts where the other one is empty and this is no JSON: a secret that
    /// nobody knows yet would be there.
    fn words(&self) -> Option<String> {
        let said = |bytes: &[u8]| {
            let words = excerpt(&redact(&String::from_utf8_lossy(bytes)), LONGEST_WORDS);
            Some(words).filter(|words| !words.is_empty())
        };
        let printed = || said(&self.printed).filter(|words| !words.contains('{'));
        said(&self.complained).or_else(printed)
    }

    /// Whether it says that it has no such credentials; helpers tell that on either output.
    fn finds_nothing(&self) -> bool {
        [&self.printed, &self.complained]
            .into_iter()
            .any(|bytes| String::from_utf8_lossy(bytes).contains(NOT_FOUND))
    }
}

async fn tell(stdin: Option<ChildStdin>, input: &str) -> io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    match stdin.write_all(input.as_bytes()).await {
        // It may know without reading, or have failed already, which its status tells.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Everything that comes from `output`; more than a helper has to say is an error.
async fn hear(output: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) -> io::Result<()> {
    let Some(output) = output else {
        return Ok(());
    };
    let read = output.take(LONGEST_LOGIN + 1).read_to_end(said).await?;
    if read as u64 > LONGEST_LOGIN {
        let cause = format!("it printed more than {} KiB", LONGEST_LOGIN >> 10);
        return Err(io::Error::other(cause));
    }
    Ok(())
}
