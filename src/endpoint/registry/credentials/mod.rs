//! Whom to be at a registry: what the command line says, else what any tool has stored on this machine
//! (containers-auth.json(5), Docker's `config.json`, credential helpers). Secrets never show in `Debug`,
//! errors or logs.

mod auth_file;
mod helper;
mod keys;
pub mod login_file;
pub(super) mod redact;

use std::fmt;
use std::path::PathBuf;

use crate::disk;
use crate::error::{Error, Kind, Result};

pub use self::auth_file::AuthFile;

/// Bytes of a file, of standard input or of a helper's output that holds a login; one has a few thousand
/// at most.
const LONGEST_LOGIN: u64 = 64 << 10;

/// A password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one request that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What to show a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    Anonymous,
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        password: Secret,
    },
    /// A refresh token, which a token server takes by POST (`OAuth2`); what `docker login` stores where a
    /// registry gives one.
    Identity(Secret),
    /// A bearer token, sent as it is.
    Token(Secret),
}

impl Credentials {
    /// `USER[:PASSWORD]`, as `--creds` and a file of `--creds-file` have it.
    ///
    /// ```
    /// use barge::endpoint::registry::credentials::Credentials;
    ///
    /// assert_eq!(Credentials::parse("alice:a:b").and_then(|login| login.user().map(str::to_owned)), Some("alice".into()));
    /// assert_eq!(Credentials::parse(":secret"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        (!user.is_empty()).then(|| Self::Password {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    /// A token to be sent as it is; `None` where it is empty or no header can carry it.
    ///
    /// ```
    /// use barge::endpoint::registry::credentials::Credentials;
    ///
    /// assert!(Credentials::token("a.b-c_d~e+f/g==").is_some());
    /// assert!(Credentials::token("a\n").is_none());
    /// ```
    #[must_use]
    pub fn token(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self::Token(Secret::new(text)))
    }

    /// The name of the user, where there is one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } => Some(user),
            Self::Anonymous | Self::Identity(_) | Self::Token(_) => None,
        }
    }
}

/// Whom, without the secret.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("nobody"),
            Self::Password { user, .. } => write!(f, "user {}", crate::sanitize::clean(user)),
            Self::Identity(_) => f.write_str("an identity token"),
            Self::Token(_) => f.write_str("a registry token"),
        }
    }
}

/// Where credentials are to be looked for.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// These and no others.
    Given(Credentials),
    /// `USER[:PASSWORD]` in a file; `-` is standard input.
    File(PathBuf),
    /// The first of these files that has an entry. A file that is not there has none, unless it was
    /// named by the user.
    Files(Vec<AuthFile>),
}

/// Credentials, and where they come from, as a person who looks for a mistake wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whom to be.
    pub credentials: Credentials,
    /// `the command line`, or a file and the key in it, or a helper.
    pub origin: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.credentials {
            Credentials::Anonymous => write!(f, "nobody ({})", self.origin),
            credentials => write!(f, "{credentials}, from {}", self.origin),
        }
    }
}

impl CredentialSource {
    /// The credentials for `host` and a path in it (a repository, a namespace, or nothing).
    ///
    /// # Errors
    ///
    /// `local-io` when a file cannot be read or understood, or a credential helper fails; the message
    /// names it.
    pub async fn find(&self, host: &str, path: &str) -> Result<Found> {
        match self {
            Self::Given(credentials) => Ok(Found {
                credentials: credentials.clone(),
                origin: "the command line or a variable".into(),
            }),
            Self::File(path) => read_login(path).await,
            Self::Files(files) => {
                for file in files {
                    if let Some(found) = file.find(host, path).await? {
                        return Ok(found);
                    }
                }
                let paths: Vec<String> = files
                    .iter()
                    .map(|file| file.path.display().to_string())
                    .collect();
                Ok(Found {
                    credentials: Credentials::Anonymous,
                    origin: format!("no entry in {}", paths.join(", ")),
                })
            }
        }
    }
}

/// The login in a file of `--creds-file`.
async fn read_login(path: &std::path::Path) -> Result<Found> {
    let is_stdin = path.as_os_str() == "-";
    let origin = if is_stdin {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let failed =
        |cause: String| Error::new(Kind::LocalIo, "read credentials from", &origin).because(cause);
    let text = if is_stdin {
        standard_input().await.map_err(failed)?
    } else {
        let bytes = disk::read_named(path.to_owned(), LONGEST_LOGIN).await;
        login_text(bytes).map_err(failed)?
    };
    let line = text.trim_end_matches(['\r', '\n']);
    let wrong = |cause: &str| failed(cause.into()).hint("write one line into it, USER:PASSWORD");
    if line.contains(['\r', '\n']) {
        return Err(wrong("it has more than one line"));
    }
    let credentials =
        Credentials::parse(line).ok_or_else(|| wrong("it does not begin with a user"))?;
    Ok(Found {
        credentials,
        origin,
    })
}

/// The text of a login that was `read`.
fn login_text(read: std::io::Result<Vec<u8>>) -> std::result::Result<String, String> {
    let bytes = read.map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => format!(
            "it holds more than {} KiB, which is no login",
            LONGEST_LOGIN >> 10
        ),
        _ => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".into())
}

/// Standard input, read once for whoever asks.
///
/// # Errors
///
/// Why it cannot be read, in words.
pub(crate) async fn standard_input() -> std::result::Result<String, String> {
    static TEXT: tokio::sync::OnceCell<std::result::Result<String, String>> =
        tokio::sync::OnceCell::const_new();
    let read = || async { login_text(disk::read_input(LONGEST_LOGIN).await) };
    TEXT.get_or_init(read).await.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        for credentials in [
            Credentials::parse("u:hidden").expect("a login"),
            Credentials::Identity(Secret::new("hidden")),
            Credentials::Token(Secret::new("hidden")),
        ] {
            assert!(!format!("{credentials:?} {credentials}").contains("hidden"));
        }
    }
}
