//! A file with credentials: containers' `auth.json` or Docker's `config.json`, which have the same form
//! (containers-auth.json(5)). This reads; [`super::login_file`] writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use super::helper::Helper;
use super::{Credentials, Found, Secret, keys};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::sanitize::clean;

/// A configuration file with an `auths` object.
#[derive(Clone, Debug)]
pub struct AuthFile {
    pub path: PathBuf,
    /// Whether the user named it, so that it has to be there.
    pub named: bool,
}

/// An entry of `auths`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What of the file is about credentials. Each value is judged when it is the one that counts: what an
/// odd tool wrote for another registry disables nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    auths: Option<BTreeMap<String, Value>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, Value>>,
    #[serde(default, rename = "credsStore")]
    store: Option<Value>,
}

/// The helper that is in charge of a host.
pub(super) struct InCharge<'a> {
    pub(super) name: &'a str,
    /// `credsStore`, or `credHelpers` and a key.
    origin: String,
}

impl<'a> InCharge<'a> {
    /// # Errors
    ///
    /// `local-io` for a name that could lead to another program than `docker-credential-NAME` in `PATH`.
    fn named(name: &'a str, origin: String, file: &Path) -> Result<Self> {
        if name.contains(|letter: char| matches!(letter, '/' | '\\') || letter.is_control()) {
            let cause = format!(
                "its `{}` is not the name of a credential helper: `{}`",
                clean(&origin),
                name.escape_debug()
            );
            return Err(unreadable(file, cause).hint(
                "write what follows `docker-credential-` in the name of the program, which has to be in PATH",
            ));
        }
        Ok(Self { name, origin })
    }
}

impl AuthFile {
    /// The credentials for `path` at `host`, if there are any: an entry for a part of the host, then the
    /// host's own helper, then the host's entry, then the helper for every host.
    pub(super) async fn find(&self, host: &str, path: &str) -> Result<Option<Found>> {
        let Some(config) = self.read().await? else {
            return Ok(None);
        };
        let entry = config.entry(host, path, &self.path)?;
        let of_part = entry
            .as_ref()
            .is_some_and(|(key, _)| !keys::names_host(key, host));
        let own = config.own_helper(host, &self.path)?;
        if let Some(helper) = own.as_ref().filter(|own| !own.name.is_empty() && !of_part)
            && let Some(found) = self.ask(helper, host).await?
        {
            return Ok(Some(found));
        }
        if let Some((key, credentials)) = entry {
            return Ok(Some(Found {
                credentials,
                origin: format!("{}, key {key}", self.path.display()),
            }));
        }
        if own.is_some() {
            return Ok(None);
        }
        match config.any_helper(&self.path)? {
            Some(helper) => self.ask(&helper, host).await,
            None => Ok(None),
        }
    }

    async fn ask(&self, helper: &InCharge<'_>, host: &str) -> Result<Option<Found>> {
        let asked = Helper {
            name: helper.name,
            file: &self.path,
        };
        for server in servers(host) {
            if let Some(credentials) = asked.get(&server).await? {
                let file = self.path.display();
                let origin = format!(
                    "{} for {server} ({file}, {})",
                    asked.program(),
                    helper.origin
                );
                return Ok(Some(Found {
                    credentials,
                    origin,
                }));
            }
        }
        Ok(None)
    }

    /// What the file says; `None` where it is not there and need not be.
    pub(super) async fn read(&self) -> Result<Option<Config>> {
        let read = if self.named {
            disk::read_named(self.path.clone(), disk::LONGEST_SETTINGS).await
        } else {
            disk::read_settings(&self.path)
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.named => {
                return Ok(None);
            }
            Err(error) => return Err(unreadable(&self.path, error.to_string())),
        };
        parse(&bytes).map(Some).map_err(|error| {
            // The position is told, the text is not: it may hold a password.
            let (line, column) = (error.line(), error.column());
            let cause = format!("not the JSON expected at line {line} column {column}");
            unreadable(&self.path, cause).hint(MEND)
        })
    }
}

/// How helpers may know `host`.
pub(super) fn servers(host: &str) -> Vec<String> {
    if keys::is_hub(host) {
        return vec![keys::HUB.to_owned(), "docker.io".to_owned()];
    }
    let other = match host.strip_suffix(keys::PORT) {
        Some(bare) => Some(bare.to_owned()),
        None if has_port(host) => None,
        None => Some(format!("{host}{}", keys::PORT)),
    };
    std::iter::once(host.to_owned()).chain(other).collect()
}

fn has_port(host: &str) -> bool {
    let end = host.rfind(']').unwrap_or_default();
    host[end..].contains(':')
}

/// What helps where a file of logins has something else in it.
const MEND: &str =
    "fix the file, name another with --SIDE-authfile, or give credentials with --SIDE-creds";

fn unreadable(path: &Path, cause: String) -> Error {
    Error::new(Kind::LocalIo, "read credentials from", path.display()).because(cause)
}

fn parse(bytes: &[u8]) -> serde_json::Result<Config> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Config::default());
    }
    serde_json::from_slice(bytes)
}

impl Config {
    /// The most specific entry that says anything, and its key.
    fn entry(&self, host: &str, path: &str, file: &Path) -> Result<Option<(&str, Credentials)>> {
        let telling = self.auths.iter().flatten();
        let keys = telling
            .filter(|(_, entry)| says_something(entry))
            .map(|(key, _)| key.as_str());
        let Some(key) = keys::best(&keys, host, path) else {
            return Ok(None);
        };
        let Some(entry) = self.auths.iter().find_map(|auths| auths.get(key)) else {
            return Ok(None);
        };
        let fields = entry.is_object().then(|| Entry::deserialize(entry).ok());
        let entry = fields
            .flatten()
            .ok_or_else(|| wrong_type(file, "auths", key))?;
        Ok(Some((
            key,
            entry.decode(key).map_err(|cause| {
                unreadable(file, cause).hint(format!(
                    "log in again with `barge login {host}`, or take the key out of the file"
                ))
            })?,
        )))
    }

    /// The helper of `credHelpers` for `host`. An empty name is Docker's way to want none.
    fn own_helper(&self, host: &str, file: &Path) -> Result<Option<InCharge<'_>>> {
        let helpers = self.helpers.iter().flatten();
        let keys = helpers
            .filter(|(_, name)| !name.is_null())
            .map(|(key, _)| key.as_str());
        let Some(key) = keys::best(&keys, host, "") else {
            return Ok(None);
        };
        let name = self.helpers.iter().find_map(|helpers| helpers.get(key));
        let name = name.and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong_type(file, "credHelpers", key))?;
        InCharge::named(name, format!("credHelpers {key}"), file).map(Some)
    }

    /// The helper of `credsStore`.
    fn any_helper(&self, file: &Path) -> Result<Option<InCharge<'_>>> {
        let name = match &self.store {
            None | Some(Value::Null) => "",
            Some(Value::String(name)) => name,
            Some(_) => {
                return Err(unreadable(file, "its `credsStore` is not a name".into()).hint(MEND));
            }
        };
        let named = (!name.is_empty()).then(|| InCharge::named(name, "credsStore".into(), file));
        named.transpose()
    }

    /// The helper that keeps new credentials for `host`, if any does.
    pub(super) fn keeper(&self, host: &str, file: &Path) -> Result<Option<InCharge<'_>>> {
        let keeper = match self.own_helper(host, file)? {
            None => self.any_helper(file)?,
            own => own,
        };
        Ok(keeper.filter(|helper| !helper.name.is_empty()))
    }

    /// Whether `auths` has any key.
    pub(super) fn has_entries(&self) -> bool {
        self.auths.as_ref().is_some_and(|auths| !auths.is_empty())
    }

    /// Every key of `auths` and `credHelpers`.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let auths = self.auths.iter().flatten().map(|(key, _)| key.as_str());
        let helpers = self.helpers.iter().flatten().map(|(key, _)| key.as_str());
        auths.chain(helpers)
    }
}

/// Fields of an entry that say whom to be.
pub(super) const FIELDS: [&str; 5] = [
    "auth",
    "username",
    "password",
    "identitytoken",
    "registrytoken",
];

/// Docker leaves empty entries for what a helper keeps.
fn says_something(entry: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || value == "";
    match entry {
        Value::Object(entry) => FIELDS
            .into_iter()
            .any(|field| entry.get(field).is_some_and(|value| !is_empty(value))),
        entry => !is_empty(entry),
    }
}

fn wrong_type(path: &Path, table: &str, key: &str) -> Error {
    let cause = format!(
        "the entry of `{}` in its `{table}` has a wrong type",
        clean(key)
    );
    unreadable(path, cause)
}

impl Entry {
    /// What the entry of `key` says, or what is wrong with it, without what it holds.
    fn decode(&self, key: &str) -> std::result::Result<Credentials, String> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.registrytoken) {
            return Credentials::token(&token).ok_or_else(|| {
                format!("the `registrytoken` of `{key}` has characters that no header can carry")
            });
        }
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Credentials::Identity(Secret::new(token)));
        }
        if let (Some(user), Some(password)) = (some(&self.username), some(&self.password)) {
            let password = Secret::new(password);
            return Ok(Credentials::Password { user, password });
        }
        let auth = some(&self.auth).unwrap_or_default();
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let Some((user, password)) = pair else {
            return Err(format!(
                "the `auth` of `{key}` is not the base64 of USER:PASSWORD"
            ));
        };
        Ok(Credentials::Password {
            user: user.to_owned(),
            // Docker once padded passwords with NUL.
            password: Secret::new(password.trim_end_matches('\0')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        parse(json.as_bytes()).expect("test JSON")
    }

    fn find(json: &str, host: &str, repository: &str) -> Option<Credentials> {
        let config = config(json);
        let found = config.entry(host, repository, Path::new("x"));
        found.expect("decodes").map(|(_, credentials)| credentials)
    }

    #[test]
    fn an_entry_that_is_wrong_is_named() {
        let config =
            config(r#"{"auths": {"q.io": {"auth": "x"}, "r.io": {"registrytoken": "a\nb"}}}"#);
        for host in ["q.io", "r.io"] {
            let error = config
                .entry(host, "", Path::new("f"))
                .expect_err("is wrong");
            assert!(
                error.to_string().contains(&format!("of `{host}`")),
                "{error}"
            );
            let hint = error.advice().unwrap_or_default();
            assert!(hint.contains(&format!("barge login {host}")), "{hint}");
        }
    }

    #[test]
    fn entries_of_every_form() {
        let json = r#"{"auths": {
            "a.io": {"username": "plain", "password": "x"},
            "b.io": {"auth": "b2xkOmE6Yg=="},
            "c.io": {"auth": "MDAwMDo=", "identitytoken": "i"},
            "d.io": {"registrytoken": "r", "auth": "b2xkOmE6Yg=="},
            "e.io": {}, "f.io/ns": {}, "f.io": {"auth": "b2xkOmE6Yg=="}},
            "HttpHeaders": {"x": 1}}"#;
        let find = |host| find(json, host, "ns/x");
        let user = |host| find(host).and_then(|found| found.user().map(str::to_owned));
        assert_eq!(user("a.io").as_deref(), Some("plain"));
        assert_eq!(find("b.io"), Credentials::parse("old:a:b"));
        assert_eq!(find("c.io"), Some(Credentials::Identity(Secret::new("i"))));
        assert_eq!(find("d.io"), Some(Credentials::Token(Secret::new("r"))));
        assert_eq!(find("e.io"), None);
        assert_eq!(user("f.io").as_deref(), Some("old"));
    }

    #[test]
    fn the_hosts_own_helper_comes_before_the_store_and_may_be_none() {
        let config = config(
            r#"{"credHelpers": {"a.io": "own", "b.io": "", "docker.io": "hub"}, "credsStore": "all"}"#,
        );
        let keeper = |host| {
            let found = config.keeper(host, Path::new("x")).expect("names");
            found.map(|helper| helper.name)
        };
        assert_eq!(keeper("a.io"), Some("own"));
        assert_eq!(keeper("b.io"), None);
        assert_eq!(keeper("c.io"), Some("all"));
        assert_eq!(keeper("docker.io"), Some("hub"));
    }

    #[test]
    fn an_empty_file_has_nothing() {
        assert!(config(" \n").keys().next().is_none());
        assert!(parse(b"[").is_err());
    }
}
