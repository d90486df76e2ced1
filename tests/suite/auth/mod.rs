//! Who barge is to a registry, and what a registry allows it.

mod credentials;
mod scopes;
mod tokens;

use crate::support::barge::{Barge, barge};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::{Auth, Bearer, FakeRegistry, Settings};

const USER: &str = crate::support::docker_registry::USER;
const PASSWORD: &str = crate::support::docker_registry::PASSWORD;
/// What `--creds` takes.
const LOGIN: &str = "alice:s3cret-Pa55";

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
