//! Whom to be at a registry: what the command line says, else the `auths` of a Docker or containers
//! configuration file. Secrets never show in `Debug`, errors or logs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

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
    /// Nothing.
    Anonymous,
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token, sent as it is.
    Token(Secret),
}

/// Where credentials are to be looked for.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// These and no others.
    Given(Credentials),
    /// The first of these files that has an entry. A file that is not there has none, unless it was
    /// named by the user.
    Files(Vec<AuthFile>),
}

/// A configuration file with an `auths` object.
#[derive(Clone, Debug)]
pub struct AuthFile {
    /// The file.
    pub path: PathBuf,
    /// Whether the user named it, so that it has to be there.
    pub named: bool,
}

impl CredentialSource {
    /// The credentials for `repository` at `host`.
    ///
    /// # Errors
    ///
    /// `local-io` when a file cannot be read or understood; the message names it.
    pub fn find(&self, host: &str, repository: &str) -> Result<Credentials> {
        match self {
            Self::Given(credentials) => Ok(credentials.clone()),
            Self::Files(files) => {
                for file in files {
                    if let Some(credentials) =
                        read(file)?.and_then(|auths| lookup(&auths, host, repository))
                    {
                        return decode(&credentials, &file.path);
                    }
                }
                Ok(Credentials::Anonymous)
            }
        }
    }
}

/// An entry of `auths` (containers-auth.json(5); Docker's `config.json` has the same form).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    registrytoken: Option<String>,
}

type Auths = BTreeMap<String, Entry>;

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: Option<Auths>,
}

fn read(file: &AuthFile) -> Result<Option<Auths>> {
    let failed = |cause: String| {
        Error::new(Kind::LocalIo, "read credentials from", file.path.display()).because(cause)
    };
    let bytes = match std::fs::read(&file.path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !file.named => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    // The position is told, the text is not: it may hold a password.
    let config: ConfigFile = serde_json::from_slice(&bytes).map_err(|error| {
        failed(format!(
            "not the JSON expected at line {} column {}",
            error.line(),
            error.column()
        ))
    })?;
    Ok(config.auths)
}

/// The entry for `host/repository`: the longest path first, then the host in its old forms.
fn lookup(auths: &Auths, host: &str, repository: &str) -> Option<Entry> {
    let mut scope = format!("{host}/{repository}");
    loop {
        if let Some(entry) = auths.get(&scope) {
            return Some(entry.clone());
        }
        match scope.rfind('/') {
            Some(slash) => scope.truncate(slash),
            None => break,
        }
    }
    let hub = matches!(host, "docker.io" | "registry-1.docker.io");
    auths
        .iter()
        .find(|(key, _)| {
            let bare = key
                .trim_start_matches("https://")
                .trim_start_matches("http://");
            let name = bare.split('/').next().unwrap_or_default();
            let whole_host = bare
                .strip_prefix(name)
                .is_some_and(|path| matches!(path, "" | "/" | "/v1" | "/v1/" | "/v2" | "/v2/"));
            whole_host
                && (name == host
                    || hub
                        && matches!(
                            name,
                            "index.docker.io" | "docker.io" | "registry-1.docker.io"
                        ))
        })
        .map(|(_, entry)| entry.clone())
}

fn decode(entry: &Entry, path: &Path) -> Result<Credentials> {
    if let Some(token) = entry
        .registrytoken
        .as_ref()
        .filter(|token| !token.is_empty())
    {
        return Ok(Credentials::Token(Secret::new(token)));
    }
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Credentials::Password {
            user: user.clone(),
            password: Secret::new(password),
        });
    }
    let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) else {
        return Ok(Credentials::Anonymous);
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(auth.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let Some((user, password)) = pair else {
        return Err(
            Error::new(Kind::LocalIo, "read credentials from", path.display())
                .because("an `auth` is not the base64 of USER:PASSWORD"),
        );
    };
    Ok(Credentials::Password {
        user: user.to_owned(),
        // Docker once padded passwords with NUL.
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, host: &str, repository: &str) -> Option<String> {
        let config: ConfigFile = serde_json::from_str(json).expect("test JSON");
        let entry = lookup(&config.auths?, host, repository)?;
        match decode(&entry, Path::new("x")).expect("decodes") {
            Credentials::Password { user, .. } => Some(user),
            Credentials::Anonymous | Credentials::Token(_) => None,
        }
    }

    #[test]
    fn the_most_specific_key_wins() {
        let json = r#"{"auths": {
            "q.io": {"username": "host", "password": "x"},
            "q.io/ns": {"username": "namespace", "password": "x"},
            "q.io/ns/repo": {"username": "repository", "password": "x"},
            "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
            "https://old.io": {"auth": "b2xkOmE6Yg=="}}, "credsStore": "x"}"#;
        let find = |host, repository| find(json, host, repository);
        assert_eq!(find("q.io", "ns/repo").as_deref(), Some("repository"));
        assert_eq!(find("q.io", "ns/other").as_deref(), Some("namespace"));
        assert_eq!(find("q.io", "nsx").as_deref(), Some("host"));
        assert_eq!(find("docker.io", "library/x").as_deref(), Some("hub"));
        assert_eq!(find("old.io", "x").as_deref(), Some("old"));
        assert_eq!(find("none.io", "x"), None);
    }

    #[test]
    fn secrets_do_not_show() {
        let credentials = Credentials::Password {
            user: "u".into(),
            password: Secret::new("hidden"),
        };
        assert!(!format!("{credentials:?}").contains("hidden"));
    }
}
