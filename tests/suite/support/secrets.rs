//! Every password and token that a server or a command line of these tests knows, and the search for
//! them in whatever barge wrote: the runner makes it after each run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shorter ones would be found in words.
const SHORTEST: usize = 6;

/// By their first letters, so that a search is short.
static KNOWN: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// From now on nobody may show this.
pub(crate) fn note(secret: &str) {
    if let Some(beginning) = secret.get(..SHORTEST) {
        let mut known = KNOWN.lock().expect("no holder panicked");
        let same = known.entry(beginning.to_owned()).or_default();
        same.insert(secret.to_owned());
    }
}

/// The same for a password, also as a header and an `auth` hold it.
pub(crate) fn note_login(user: &str, password: &str) {
    note(password);
    if password.len() >= SHORTEST {
        note(&STANDARD.encode(format!("{user}:{password}")));
    }
}

/// Notes what a command line or its variables give away: the values of `--*creds` and `--*-token`.
pub(crate) fn note_option(name: &str, value: &str) {
    let name = name.to_ascii_lowercase().replace('_', "-");
    if name.ends_with("creds") {
        let (user, password) = value.split_once(':').unwrap_or((value, ""));
        // A reference in the place of a login is no secret: another test may have its port next.
        if !password.starts_with("//") {
            note_login(user, password);
        }
    } else if name.ends_with("registry-token") {
        note(value);
    }
}

/// The first secret in `text`, if there is one.
pub(crate) fn found_in(text: &str) -> Option<String> {
    let known = KNOWN.lock().expect("no holder panicked");
    let beginnings = known
        .iter()
        .filter(|(beginning, _)| text.contains(*beginning));
    let mut secrets = beginnings.flat_map(|(_, secrets)| secrets);
    secrets.find(|secret| text.contains(*secret)).cloned()
}

/// Fails the test where a file below `directory` holds a secret and is not there to hold it.
#[track_caller]
pub(crate) fn none_in_files(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            none_in_files(&path);
        } else {
            not_in_file(&path);
        }
    }
}

/// The same for one file; whatever is no regular one is left alone, and so are the streams of the tests themselves.
#[track_caller]
pub(crate) fn not_in_file(path: &Path) {
    if !path.is_file() || path.starts_with("/dev") {
        return;
    }
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // Files of credentials, and what the scripts of helpers keep.
    let keeps = text.contains("\"auths\"") || text.contains("\"ServerURL\"");
    let given = path
        .extension()
        .is_some_and(|extension| extension == "given");
    if let (Some(secret), false) = (found_in(&text), keeps || given) {
        panic!("{secret} is in {}", path.display());
    }
}
