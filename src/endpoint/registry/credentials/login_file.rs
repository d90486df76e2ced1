//! Where `login` stores and what `logout` forgets: one file, changed by a rename with all else in it
//! kept, or the credential helper that the file names. Nothing is read for a copy here.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value};

use super::auth_file::{AuthFile, Config, FIELDS, servers};
use super::helper::Helper;
use super::{Secret, keys};
use crate::error::{Error, Kind, Result};

/// The file that logins go to; it need not be there.
#[derive(Clone, Debug)]
pub struct LoginFile {
    /// The file.
    pub path: PathBuf,
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
        key == self.text() || self.namespace.is_empty() && keys::names_host(key, self.host)
    }
}

impl LoginFile {
    /// Stores a login, and says where.
    ///
    /// # Errors
    ///
    /// `local-io` when the file cannot be understood or written, or the helper fails; the file is then as
    /// it was. A usage error for what the place cannot hold.
    pub async fn store(&self, key: LoginKey<'_>, user: &str, password: &Secret) -> Result<String> {
        let config = self.read()?;
        let Some(helper) = config.keeper(key.host, &self.path)? else {
            if user.contains(':') {
                let why = "a user name with a colon cannot be stored in a file";
                return Err(Error::usage(why));
            }
            let pair = format!("{user}:{}", password.expose());
            let auth = base64::engine::general_purpose::STANDARD.encode(pair);
            self.change(|auths| set(auths, key, Some(auth)))?;
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
        let server = servers(key.host).first().copied().unwrap_or(key.host);
        helper.store(server, user, password).await?;
        // As Docker does: an entry without a secret says that there is a login. One with an older secret
        // would be found before the helper's.
        self.change(|auths| set(auths, key, None))?;
        Ok(helper.program())
    }

    /// Forgets the login of `key`; whether there was one.
    ///
    /// # Errors
    ///
    /// As [`LoginFile::store`].
    pub async fn erase(&self, key: LoginKey<'_>) -> Result<bool> {
        let config = self.read()?;
        let mut was_there = false;
        if let Some(keeper) = config.keeper(key.host, &self.path)?
            && key.namespace.is_empty()
        {
            was_there = self.erase_kept(&self.helper(keeper.name), key.host).await?;
        }
        if !config.keys().any(|known| key.means(known)) {
            return Ok(was_there);
        }
        let removed = self.change(|auths| {
            let before = auths.len();
            auths.retain(|known, _| !key.means(known));
            before != auths.len()
        })?;
        Ok(was_there || removed)
    }

    /// Forgets every login; the keys of those that there were.
    ///
    /// # Errors
    ///
    /// As [`LoginFile::store`].
    pub async fn erase_all(&self) -> Result<Vec<String>> {
        let config = self.read()?;
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
            erased.extend(self.change(|auths| {
                let known = auths.keys().cloned().collect::<Vec<_>>();
                auths.clear();
                known
            })?);
        }
        erased.sort();
        erased.dedup();
        Ok(erased)
    }

    async fn erase_kept(&self, helper: &Helper<'_>, host: &str) -> Result<bool> {
        let mut was_there = false;
        for server in servers(host) {
            // Helpers differ in what they say of an unknown server when it is to be erased.
            if helper.get(server).await?.is_some() {
                helper.erase(server).await?;
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

    fn read(&self) -> Result<Config> {
        let file = AuthFile {
            path: self.path.clone(),
            named: false,
        };
        Ok(file.read()?.unwrap_or_default())
    }

    /// Changes `auths`; two logins at once wait for each other.
    fn change<T>(&self, change: impl FnOnce(&mut Map<String, Value>) -> T) -> Result<T> {
        let failed = |cause: String| {
            Error::new(Kind::LocalIo, "write credentials to", self.path.display()).because(cause)
        };
        // A link keeps pointing where it points.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        make_private(directory).map_err(|error| failed(error.to_string()))?;
        let lock = File::open(directory).map_err(|error| failed(error.to_string()))?;
        // Where a file system has no locks the rename still keeps the file whole.
        if let Err(error) = lock.lock() {
            tracing::info!(%error, directory = %directory.display(), "no lock");
        }
        let mut whole = match fs::read(&path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Map::new(),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| failed("what is there is not a JSON object".into()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let auths = whole.entry("auths").or_insert_with(|| Map::new().into());
        if auths.is_null() {
            *auths = Map::new().into();
        }
        let auths = auths
            .as_object_mut()
            .ok_or_else(|| failed("its `auths` is not an object".into()))?;
        let changed = change(auths);
        let text =
            serde_json::to_string_pretty(&whole).map_err(|error| failed(error.to_string()))?;
        replace(directory, &path, &text).map_err(|error| failed(error.to_string()))?;
        Ok(changed)
    }
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

/// Sets the login of `key`, or leaves its entry without one; what else the entry says is kept.
fn set(auths: &mut Map<String, Value>, key: LoginKey<'_>, auth: Option<String>) {
    let text = key.text();
    let known = if auths.contains_key(&text) {
        text
    } else {
        // An older tool's form of the same host is changed in its place, so that the tool sees it too.
        let older = auths.keys().find(|known| key.means(known));
        older.cloned().unwrap_or(text)
    };
    let entry = auths.entry(known).or_insert_with(|| Map::new().into());
    if !entry.is_object() {
        *entry = Map::new().into();
    }
    if let Some(entry) = entry.as_object_mut() {
        entry.retain(|field, _| !FIELDS.contains(&field.as_str()));
        entry.extend(auth.map(|auth| ("auth".to_owned(), auth.into())));
    }
}

/// Writes by a temporary name, mode 600, and a rename.
fn replace(directory: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".barge-")
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
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

    #[test]
    fn what_else_an_entry_says_is_kept() {
        let json = r#"{"a.io": {"auth": "old", "identitytoken": "x", "email": "e"}, "https://index.docker.io/v1/": {"auth": "old"}}"#;
        let mut auths: Map<String, Value> = serde_json::from_str(json).expect("test JSON");
        let key = |host| LoginKey {
            host,
            namespace: "",
        };
        set(&mut auths, key("a.io"), Some("new".into()));
        set(&mut auths, key("docker.io"), Some("hub".into()));
        set(&mut auths, key("b.io"), None);
        let expected = r#"{"a.io": {"auth": "new", "email": "e"}, "https://index.docker.io/v1/": {"auth": "hub"}, "b.io": {}}"#;
        let expected: Map<String, Value> = serde_json::from_str(expected).expect("test JSON");
        assert_eq!(auths, expected);
    }
}
