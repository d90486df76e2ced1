//! Where `login` stores and what `logout` forgets: one file, changed by a rename with all else in it
//! kept, or the credential helper that the file names. Nothing is read for a copy here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::auth_file::{AuthFile, Config, FIELDS, servers};
use super::helper::Helper;
use super::members::{Object, Style};
use super::{Secret, keys};
use crate::disk::{self, Access};
use crate::error::{Error, Kind, Result};
use base64::Engine as _;

/// The file that logins go to; it need not be there.
#[derive(Clone, Debug)]
pub struct LoginFile {
    /// The file.
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
            self.change(lock, |auths| Ok((auths.set(key, Some(&auth))?, ())))?;
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
        self.change(lock, |auths| Ok((auths.set(key, None)?, ())))?;
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
            let known = auths.object.names().any(|known| key.means(known));
            Ok((auths.object.without(|known| key.means(known))?, known))
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
            erased.extend(self.change(&self.lock(|| {}).await?, |auths| {
                let known: Vec<String> = auths.object.names().map(str::to_owned).collect();
                Ok((auths.object.without(|_| true)?, known))
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
        change: impl FnOnce(&Auths<'_>) -> std::result::Result<(String, T), String>,
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
const EMPTY: &str = "{}\n";

/// The object of `auths`, and how the file around it is written.
struct Auths<'a> {
    object: Object<'a>,
    style: Style,
}

/// `text` with its `auths` changed, all else as it was written, and what else `change` gives.
fn changed<T>(
    text: &str,
    change: impl FnOnce(&Auths<'_>) -> std::result::Result<(String, T), String>,
) -> std::result::Result<(String, T), String> {
    let whole = Object::parse(text)?;
    let auths = whole.value("auths").filter(|auths| *auths != "null");
    let auths = Auths {
        object: Object::parse(auths.unwrap_or("{}"))
            .map_err(|_| "its `auths` is not an object".to_owned())?,
        style: Style::of(text),
    };
    let (new, result) = change(&auths)?;
    let new = whole.with("auths", &new, (&auths.style, 0))?;
    Ok((whole.replaced_in(text, &new)?, result))
}

impl Auths<'_> {
    /// With the login of `key`, or its entry without one; what else the entry says is kept.
    fn set(&self, key: LoginKey<'_>, auth: Option<&str>) -> std::result::Result<String, String> {
        let text = key.text();
        let mut names = self.object.names();
        // An older tool's form of the same host is changed in its place, so that the tool sees it too.
        let older = names.clone().find(|known| key.means(known));
        let known = names.find(|known| *known == text).or(older);
        let known = known.unwrap_or(&text);
        let entry = self.object.value(known);
        let entry = entry.and_then(|entry| Object::parse(entry).ok());
        let kept = entry.map_or_else(
            || Ok("{}".into()),
            |entry| {
                entry.without(|field| {
                    FIELDS.contains(&field) && !(field == "auth" && auth.is_some())
                })
            },
        )?;
        let entry = match auth {
            None => kept,
            Some(auth) => {
                let auth = format!("\"{auth}\"");
                Object::parse(&kept)?.with("auth", &auth, (&self.style, 2))?
            }
        };
        self.object.with(known, &entry, (&self.style, 1))
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
        let changed = changed(text, |auths| Ok((auths.set(key, auth)?, ())));
        changed.expect("it can be changed").0
    }

    #[test]
    fn what_else_an_entry_says_is_kept() {
        let before = r#"{"auths": {"a.io": {"auth": "old", "identitytoken": "x", "email": "e"}, "https://index.docker.io/v1/": {"auth": "old"}}}"#;
        let after = login(before, "a.io", Some("new"));
        let after = login(&after, "docker.io", Some("hub"));
        let after = login(&after, "b.io", None);
        let expected = r#"{"auths": {"a.io": {"auth": "new", "email": "e"}, "https://index.docker.io/v1/": {"auth": "hub"},"b.io":{}}}"#;
        assert_eq!(after, expected);
        let expected = expected.replace("\"auth\": \"new\", ", "");
        assert_eq!(login(&after, "A.io", None), expected);
        let two = r#"{"auths":{"https://a.io":{"auth":"x"},"a.io":{"auth":"y"}}}"#;
        let after = login(two, "a.io", Some("new"));
        assert_eq!(after, two.replace("\"y\"", "\"new\""));
    }

    #[test]
    fn a_new_file_is_written_as_podman_does() {
        let file = "{\n\t\"auths\": {\n\t\t\"a.io\": {\n\t\t\t\"auth\": \"x\"\n\t\t}\n\t}\n}\n";
        for before in [EMPTY, "{\"auths\": null}\n", "{\"auths\": {}}\n"] {
            let after = login(before, "a.io", Some("x"));
            let flat = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(flat(&after), flat(file));
            assert!(before != EMPTY || after == file);
        }
    }
}
