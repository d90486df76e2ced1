//! Credential helpers: scripts named `docker-credential-NAME`, in a directory that comes first in `PATH`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A helper that keeps what it is given in files beside it, and a line of each call in `log`.
const KEEPER: &str = r#"#!/bin/sh
here=$(dirname "$0")
input=$(cat)
echo "$(basename "$0") $*: $(ps -o args= -p $$ 2>/dev/null)" >> "$here/log"
server=$input
if [ "$1" = store ]; then
  server=$(printf %s "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/')
fi
kept="$here/$(basename "$0").$(printf %s "$server" | tr '/:' '__').given"
case $1 in
  get) if [ -f "$kept" ]; then cat "$kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
  store) printf %s "$input" > "$kept" ;;
  erase) rm -f "$kept" ;;
esac
"#;

/// A directory of helpers.
pub(crate) struct Helpers(TempDir);

impl Helpers {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("helpers-").expect("a temporary directory"))
    }

    /// Adds a helper that keeps what it is given.
    pub(crate) fn keeper(self, name: &str) -> Self {
        self.script(name, KEEPER)
    }

    /// Adds a helper that is this script.
    pub(crate) fn script(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(format!("docker-credential-{name}"));
        fs::write(&path, text).expect("a script can be written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode).expect("a script can be made a program");
        }
        self
    }

    /// Lets the keeper `name` have a login.
    pub(crate) fn has(&self, name: &str, server: &str, [user, secret]: [&str; 2]) {
        super::secrets::note_login(user, secret);
        let kept = serde_json::json!({"ServerURL": server, "Username": user, "Secret": secret});
        fs::write(self.kept(name, server), kept.to_string()).expect("a file can be written");
    }

    /// What the keeper `name` has for `server`.
    pub(crate) fn keeps(&self, name: &str, server: &str) -> Option<serde_json::Value> {
        let text = fs::read_to_string(self.kept(name, server)).ok()?;
        Some(serde_json::from_str(&text).expect("what is kept is JSON"))
    }

    fn kept(&self, name: &str, server: &str) -> std::path::PathBuf {
        let server = server.replace(['/', ':'], "_");
        self.path()
            .join(format!("docker-credential-{name}.{server}.given"))
    }

    /// A line for each call.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// `PATH` with them first.
    pub(crate) fn in_path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.path().display())
    }
}
