//! `docker-credential-NAME`: programs that keep credentials elsewhere (docker-credential-helpers). One
//! run a question, with a limit; what goes wrong is told with the name of the helper, never with what
//! it printed where that may hold a secret.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Credentials, Secret};
use crate::error::{Error, Kind, Result};
use crate::printable::excerpt;

/// The user that marks an identity token (docker-credential-helpers).
const IDENTITY_USER: &str = "<token>";
/// What helpers print, and end badly, where they have no such credentials.
const NOT_FOUND: &str = "credentials not found";
/// How much of a helper's words goes into a message.
const LONGEST_WORDS: usize = 300;

/// A helper that a configuration file names.
pub(super) struct Helper<'a> {
    /// What comes after `docker-credential-`.
    pub(super) name: &'a str,
    /// The file that names it.
    pub(super) file: &'a Path,
    /// How long one answer may take.
    pub(super) patience: Duration,
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
    /// The program.
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
        Ok(match (stored.username.as_str(), stored.secret) {
            ("", secret) if secret.is_empty() => None,
            (IDENTITY_USER, secret) => Some(Credentials::Identity(Secret::new(secret))),
            (user, secret) => Some(Credentials::Password {
                user: user.to_owned(),
                password: Secret::new(secret),
            }),
        })
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
        let run = tokio::time::timeout(self.patience, self.run(verb, input));
        let output = run.await.map_err(|_| {
            let cause = format!("it did not answer within {} s", self.patience.as_secs());
            self.failed(doing).because(cause)
        })?;
        let output = output.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self
                .failed(doing)
                .because("there is no such program in PATH"),
            _ => self.failed(doing).because(error),
        })?;
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        let words = words(&output);
        if words.contains(NOT_FOUND) {
            return Ok(None);
        }
        // `store` was given a secret, and `get` may have printed one.
        let telling = if words.is_empty() || words.contains('{') || verb == "store" {
            String::new()
        } else {
            format!(": {words}")
        };
        Err(self
            .failed(doing)
            .because(format!("it ended with {}{telling}", output.status)))
    }

    async fn run(&self, verb: &str, input: &str) -> std::io::Result<Output> {
        let mut child = Command::new(self.program())
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input.as_bytes()).await {
                // It may know without reading, or have failed already, which its status tells.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                written => written?,
            }
        }
        child.wait_with_output().await
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

/// What it said: helpers tell their errors on either output.
fn words(output: &Output) -> String {
    let both = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
    excerpt(&both.join(" "), LONGEST_WORDS)
}
