//! Who barge is to a registry, and what a registry allows it.

mod challenges;
mod credentials;
mod creds_file;
mod echoes;
mod files;
mod helpers;
mod hints;
mod hopeless;
mod identity;
mod login;
mod login_file;
mod logout;
mod real_tokens;
mod scopes;
mod tokens;
mod told;

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::barge::{Barge, barge};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::{Auth, Bearer, FakeRegistry, Settings};

const USER: &str = crate::support::docker_registry::USER;
const PASSWORD: &str = crate::support::docker_registry::PASSWORD;
/// What `--creds` takes.
const LOGIN: &str = "alice:s3cret-Pa55";

/// The same as a header shows it.
fn login_in_base64() -> String {
    STANDARD.encode(LOGIN)
}

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 1)
}

fn bearer() -> Bearer {
    Bearer::user(USER, PASSWORD)
}

fn guarded(auth: Auth) -> FakeRegistry {
    FakeRegistry::start_with(Settings {
        auth,
        ..Settings::default()
    })
}

/// A registry open to all with the image as `x:1`.
fn open_source() -> FakeRegistry {
    let source = FakeRegistry::start();
    image().push_to(&source, "x:1");
    source
}

/// `barge copy` with a JSON report and all that it can say on standard error.
fn copy(source: &str, destination: &str) -> Barge {
    barge().args(["copy", "-o", "json", "-vv", source, destination])
}

/// A registry that wants [`LOGIN`] for tokens and has the image as `x:1`.
fn guarded_source() -> FakeRegistry {
    let source = guarded(Auth::Bearer(bearer()));
    image().push_to(&source, "x:1");
    source
}

/// `barge inspect` with all that it can say on standard error.
fn inspect(reference: &str) -> Barge {
    barge().args(["inspect", "-vv", reference])
}

/// `{"auths": …}` with these keys, each with a login (`user:password`).
fn auth_file(path: &Path, logins: &[(&str, &str)]) {
    let entry = |(key, login): &(&str, &str)| {
        let auth = STANDARD.encode(login);
        ((*key).to_owned(), json!({ "auth": auth }))
    };
    let auths: serde_json::Map<String, Value> = logins.iter().map(entry).collect();
    write(path, &json!({ "auths": auths }));
}

/// Writes a configuration file, and its directory.
fn write(path: &Path, config: &Value) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
    fs::write(path, config.to_string()).expect("the file can be written");
}

/// The users who asked a token server, in order.
fn users(registry: &FakeRegistry) -> Vec<String> {
    let requests = registry.token_requests().into_iter();
    requests
        .map(|request| request.user.unwrap_or_default())
        .collect()
}
