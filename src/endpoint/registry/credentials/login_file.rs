//! The file that `login` and `logout` change, or the credential helper that it names. All other entries and
//! keys of the file are kept in their order. Copies do not read logins here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::auth_file::{AuthFile, Config, FIELDS, servers};
use super::helper::Helper;
use super::{Secret, keys};
use crate::disk::{self, Access};
use crate::error::{Error, Kind, Result};
use base64::Engine as _;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// The file that logins go to; it need not be there.
#[derive(Clone, Debug)]
pub struct LoginFile {
    pub path: PathBuf,
}

/// The right to write a login file, as long as no other process does.
#[derive(Debug)]
pub struct LoginLock {
    /// Where links lead.
    path: PathBuf,
    _file: Option<File>,
}

/// What a login is for.
#[derive(Clone, Copy, Debug)]
pub struct LoginKey<'a> {
    /// The registry.
    pub host: &'a str,
    /// The part of it, empty for all of it.
    pub namespace: &'a str,
}

impl LoginKey<'_> {
    fn text(&self) -> String {
        if self.namespace.is_empty() {
            self.host.to_owned()
        } else {
            format!("{}/{}", self.host, self.namespace)
        }
    }

    fn means(&self, key: &str) -> bool {
        keys::is_same(key, &self.text())
            || self.namespace.is_empty() && keys::names_host(key, self.host)
    }
}

impl LoginFile {
    /// Stores a login, and says where.
    ///
    /// # Errors
    ///
    /// `local-io` when the file cannot be understood or written, or the helper fails; the file is then as
    /// it was. A usage error for what the place cannot hold.
    pub async fn store(
        &self,
        lock: &LoginLock,
        key: LoginKey<'_>,
        (user, password): (&str, &Secret),
    ) -> Result<String> {
        let config = self.read().await?;
        let Some(helper) = config.keeper(key.host, &self.path)? else {
            if user.contains(':') {
                let why = "a user name with a colon cannot be stored in a file";
                return Err(Error::usage(why));
            }
            let pair = format!("{user}:{}", password.expose());
            let auth = base64::engine::general_purpose::STANDARD.encode(pair);
            self.change(lock, |auths| set(auths, key, Some(&auth)))?;
            return Ok(self.path.display().to_string());
        };
        let helper = self.helper(helper.name);
        if !key.namespace.is_empty() {
            let program = helper.program();
            return Err(Error::usage(format!(
                "{program} (named in {}) keeps one login a host; log in to {} without a path, or name another file with --authfile",
                self.path.display(),
                key.host
            )));
        }
        let servers = servers(key.host);
        let server = servers.first().map_or(key.host, String::as_str);
        helper.store(server, user, password).await?;
        // As Docker does: an entry without a secret says that there is a login. One with an older secret
        // would be found before the helper's.
        self.change(lock, |auths| set(auths, key, None))?;
        Ok(helper.program())
    }

    /// Forgets the login of `key`; whether there was one.
    ///
    /// # Errors
    ///
    /// As [`LoginFile::store`].
    pub async fn erase(&self, key: LoginKey<'_>) -> Result<bool> {
        let config = self.read().await?;
        let mut was_there = false;
        if let Some(keeper) = config.keeper(key.host, &self.path)?
            && key.namespace.is_empty()
        {
            was_there = self.erase_kept(&self.helper(keeper.name), key.host).await?;
        }
        if !config.keys().any(|known| key.means(known)) {
            return Ok(was_there);
        }
        let removed = self.change(&self.lock(|| {}).await?, |auths| {
            let before = auths.len();
            auths.retain(|known, _| !key.means(known));
            Ok(auths.len() < before)
        })?;
        Ok(was_there || removed)
    }

    /// Forgets every login; the keys of those that there were.
    ///
    /// # Errors
    ///
    /// As [`LoginFile::store`].
    pub async fn erase_all(&self) -> Result<Vec<String>> {
        let config = self.read().await?;
        let mut erased = Vec::new();
        for known in config.keys() {
            let host = host(known);
            if let Some(keeper) = config.keeper(host, &self.path)?
                && self.erase_kept(&self.helper(keeper.name), host).await?
            {
                erased.push(known.to_owned());
            }
        }
        if config.has_entries() {
            let lock = self.lock(|| {}).await?;
            let known = self.change(&lock, |auths| Ok(std::mem::take(auths)))?;
            erased.extend(known.into_keys());
        }
        erased.sort();
        erased.dedup();
        Ok(erased)
    }

    async fn erase_kept(&self, helper: &Helper<'_>, host: &str) -> Result<bool> {
        let mut was_there = false;
        for server in servers(host) {
            // Helpers differ in what they say of an unknown server when it is to be erased.
            if helper.get(&server).await?.is_some() {
                helper.erase(&server).await?;
                was_there = true;
            }
        }
        Ok(was_there)
    }

    fn helper<'a>(&'a self, name: &'a str) -> Helper<'a> {
        Helper {
            name,
            file: &self.path,
        }
    }

    async fn read(&self) -> Result<Config> {
        let file = AuthFile {
            path: self.path.clone(),
            named: false,
        };
        Ok(file.read().await?.unwrap_or_default())
    }

    /// Waits until no other process writes the file; `waiting` is called if that takes long.
    ///
    /// # Errors
    ///
    /// `local-io` when the directory cannot be made or opened.
    pub async fn lock(&self, waiting: impl FnOnce()) -> Result<LoginLock> {
        let failed = |error: std::io::Error| {
            let place = self.path.display();
            Error::new(Kind::LocalIo, "write credentials to", place).because(error)
        };
        let path = disk::follow(&self.path).map_err(failed)?;
        let directory = disk::parent(&path).to_owned();
        let opened = make_private(&directory).and_then(|()| File::open(&directory));
        let file = opened.map_err(failed)?;
        let file = match disk::lock(file, waiting).await {
            Ok(file) => Some(file),
            // Where a file system has no locks the rename still keeps the file whole.
            Err(error) => {
                tracing::info!(%error, directory = %directory.display(), "no lock");
                None
            }
        };
        Ok(LoginLock { path, _file: file })
    }

    /// Changes `auths`, and nothing else in the file.
    fn change<T>(
        &self,
        LoginLock { path, .. }: &LoginLock,
        change: impl FnOnce(&mut Auths) -> serde_json::Result<T>,
    ) -> Result<T> {
        let failed = |cause: String| {
            Error::new(Kind::LocalIo, "write credentials to", self.path.display()).because(cause)
        };
        let text = match disk::read(path, disk::LONGEST_SETTINGS) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => EMPTY.to_owned(),
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| failed(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => EMPTY.to_owned(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let (text, changed) = changed(&text, change).map_err(failed)?;
        disk::sweep(disk::parent(path));
        let written = disk::write_whole(path, text.as_bytes(), Access::Owner);
        written.map_err(|error| failed(error.to_string()))?;
        Ok(changed)
    }
}

/// A file without any login.
const EMPTY: &str = "{}";

/// A JSON object whose values keep the text that they were read from.
type Object = IndexMap<String, Box<RawValue>>;

/// The entries of `auths`, by registry or namespace.
type Auths = IndexMap<String, Entry>;

#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Unchanged(Box<RawValue>),
    Changed(Object),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Member {
    Unchanged(Box<RawValue>),
    Auths(Auths),
}

/// `text` after `change`, indented by tabs as podman and docker do, and what `change` returns.
fn changed<T>(
    text: &str,
    change: impl FnOnce(&mut Auths) -> serde_json::Result<T>,
) -> std::result::Result<(String, T), String> {
    // The reasons that serde_json gives may show secrets.
    let whole: Object =
        serde_json::from_str(text).map_err(|_| "what is there is not a JSON object")?;
    let auths = whole.get("auths").map_or("null", |auths| auths.get());
    let auths: Option<Object> =
        serde_json::from_str(auths).map_err(|_| "its `auths` is not an object")?;
    let auths = auths.unwrap_or_default().into_iter();
    let mut auths: Auths = auths
        .map(|(key, entry)| (key, Entry::Unchanged(entry)))
        .collect();
    let result = change(&mut auths).map_err(|error| error.to_string())?;
    let members = whole.into_iter();
    let mut members: IndexMap<String, Member> = members
        .map(|(name, value)| (name, Member::Unchanged(value)))
        .collect();
    members.insert("auths".to_owned(), Member::Auths(auths));
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
    members
        .serialize(&mut serializer)
        .map_err(|error| error.to_string())?;
    text.push(b'\n');
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    Ok((text, result))
}

/// Sets the login of `key`, or its entry without one. The other fields of the entry are kept.
fn set(auths: &mut Auths, key: LoginKey<'_>, auth: Option<&str>) -> serde_json::Result<()> {
    let text = key.text();
    // The form that an older tool wrote is changed in its place, so that the tool sees the new login too.
    let known = match auths.keys().find(|known| key.means(known)) {
        Some(older) if !auths.contains_key(&text) => older.clone(),
        _ => text,
    };
    let entry = auths
        .entry(known)
        .or_insert_with(|| Entry::Changed(Object::new()));
    let mut fields = match entry {
        Entry::Unchanged(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
        Entry::Changed(fields) => std::mem::take(fields),
    };
    fields
        .retain(|field, _| !FIELDS.contains(&field.as_str()) || field == "auth" && auth.is_some());
    if let Some(auth) = auth {
        fields.insert("auth".to_owned(), to_raw_value(auth)?);
    }
    *entry = Entry::Changed(fields);
    Ok(())
}

/// The host that a key is for.
fn host(key: &str) -> &str {
    let bare = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let name = bare.split('/').next().unwrap_or_default();
    if keys::is_hub(name) {
        "docker.io"
    } else {
        name
    }
}

/// Makes a directory that is nobody else's business, where it is not there.
fn make_private(directory: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file after a login at `host`.
    fn login(text: &str, host: &str, auth: Option<&str>) -> String {
        let key = LoginKey {
            host,
            namespace: "",
        };
        let changed = changed(text, |auths| set(auths, key, auth));
        changed.expect("it can be changed").0
    }

    fn flat(text: &str) -> String {
        text.split_whitespace().collect()
    }

    #[test]
    fn login_keeps_other_fields_and_entries() {
        let before = r#"{"x": 1.50, "auths": {"a.io": {"auth": "old", "identitytoken": "x", "email": "e"}, "https://index.docker.io/v1/": {"auth": "old"}}, "b": {"z": 1, "a": 2}}"#;
        let after = login(before, "a.io", Some("new"));
        let after = login(&after, "docker.io", Some("hub"));
        let after = login(&after, "b.io", None);
        let expected = r#"{"x": 1.50, "auths": {"a.io": {"auth": "new", "email": "e"}, "https://index.docker.io/v1/": {"auth": "hub"}, "b.io": {}}, "b": {"z": 1, "a": 2}}"#;
        assert_eq!(flat(&after), flat(expected));
        let expected = expected.replace("\"auth\": \"new\", ", "");
        assert_eq!(flat(&login(&after, "A.io", None)), flat(&expected));
        let two = r#"{"auths":{"https://a.io":{"auth":"x"},"a.io":{"auth":"y"}}}"#;
        let after = login(two, "a.io", Some("new"));
        assert_eq!(flat(&after), two.replace("\"y\"", "\"new\""));
    }

    #[test]
    fn a_new_file_is_written_as_podman_does() {
        let file = "{\n\t\"auths\": {\n\t\t\"a.io\": {\n\t\t\t\"auth\": \"x\"\n\t\t}\n\t}\n}\n";
        for before in [EMPTY, "{\"auths\": null}\n", "{\"auths\": {}}\n"] {
            assert_eq!(login(before, "a.io", Some("x")), file);
        }
    }
}
