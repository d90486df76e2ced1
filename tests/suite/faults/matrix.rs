//! Every request of a small copy × every fault: the copy ends complete and byte for byte, or with the
//! right kind of error and no tag; it never hangs, and it repeats no more than it may.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{copy, single, source};
use crate::support::client::Client;
use crate::support::content::{Manifest, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::Bundle;
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::wire::{Answer, Fault, Request, Server};

/// Copies that wait for their timeouts side by side.
const AT_ONCE: usize = 4;

/// The side whose request meets the fault.
#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Destination,
}

/// A rule that spoils the request that comes after `index` others, and no other.
fn spoils(index: usize, fault: Fault) -> impl FnMut(&Request) -> Option<Fault> + Send {
    let mut seen = 0;
    move |_| {
        seen += 1;
        (seen == index + 1).then(|| fault.clone())
    }
}

/// One side of a copy: a log, faults, and what is stored behind them.
enum Site {
    InProcess(FakeRegistry),
    /// A proxy with the faults, in front of a registry's client.
    Real(Proxy, Client),
}

impl Site {
    fn server(&self) -> &Server {
        match self {
            Self::InProcess(registry) => registry,
            Self::Real(proxy, _) => proxy,
        }
    }

    fn tags(&self, repository: &str) -> Vec<String> {
        match self {
            Self::InProcess(registry) => registry.store.tags(repository),
            Self::Real(_, client) => client.tags(repository),
        }
    }

    fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        match self {
            Self::InProcess(registry) => registry.store.manifest(repository, reference),
            Self::Real(_, client) => client.manifest(repository, reference),
        }
    }

    fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        match self {
            Self::InProcess(registry) => {
                let found = registry.store.blob(repository, digest);
                found.map(|bytes| bytes.to_vec())
            }
            Self::Real(_, client) => client.blob(repository, digest),
        }
    }
}

/// Where copies go from and to; each to a repository of its own.
struct Field {
    registries: Option<(DockerRegistry, DockerRegistry)>,
    copies: AtomicUsize,
}

impl Field {
    fn in_process() -> Self {
        Self {
            registries: None,
            copies: AtomicUsize::new(0),
        }
    }

    fn real() -> Self {
        let registries = (DockerRegistry::start(), DockerRegistry::start());
        single().push_to(&registries.0, "x:1");
        Self {
            registries: Some(registries),
            ..Self::in_process()
        }
    }

    /// The sides of the next copy, and the repository that it goes to.
    fn sides(&self) -> (Site, Site, String) {
        let to = format!("y{}", self.copies.fetch_add(1, Ordering::Relaxed));
        let Some((source, destination)) = &self.registries else {
            let sides = (source(&single()), FakeRegistry::start());
            return (Site::InProcess(sides.0), Site::InProcess(sides.1), to);
        };
        let site = |registry: &DockerRegistry| {
            Site::Real(Proxy::start(registry.host()), registry.client())
        };
        (site(source), site(destination), to)
    }

    /// How many requests each side gets when nothing goes wrong.
    fn requests(&self) -> (usize, usize) {
        let (source, destination, to) = self.sides();
        let from = source.server().reference("x:1");
        let to = destination.server().reference(&format!("{to}:1"));
        copy(&from, &to).run().exits(0);
        (
            source.server().log().len(),
            destination.server().log().len(),
        )
    }
}

/// Spoils each request of both sides in turn, in process and in front of real registries. `kinds` are the
/// errors that the fault may end in.
fn every_request(fault: &Fault, kinds: &[&str]) {
    for field in [Field::in_process(), Field::real()] {
        let (reads, writes) = field.requests();
        // A repeated request.
        let reads = (0..reads).map(|index| (Side::Source, index, reads + 2));
        // A blob that has to be sent again is asked for, opened and written once more; or the HEAD that
        // takes the place of a mount.
        let writes = (0..writes).map(|index| (Side::Destination, index, writes + 4));
        let cases = Mutex::new(reads.chain(writes));
        let next = || cases.lock().expect("no holder panicked").next();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(case) = next() {
                        one(&field, case, fault, kinds);
                    }
                });
            }
        });
    }
}

fn one(field: &Field, (side, index, most): (Side, usize, usize), fault: &Fault, kinds: &[&str]) {
    let place = format!("{fault:?} at request {index} of the {side:?}");
    let (source, destination, repository) = field.sides();
    let spoilt = match side {
        Side::Source => source.server(),
        Side::Destination => destination.server(),
    };
    spoilt.on(spoils(index, fault.clone()));
    let to = destination.server().reference(&format!("{repository}:1"));
    let run = copy(&source.server().reference("x:1"), &to);
    let output = run.args(["--stall-timeout", "1"]).run();
    let asked = spoilt.log().len();
    assert!(asked <= most, "{place}: {asked} requests");
    if output.code == Some(0) {
        return is_complete(&destination, &repository, &place);
    }
    let report = output.exits(1).json();
    let error = match &report["tags"][0]["error"] {
        serde_json::Value::Null => &report["error"],
        error => error,
    };
    let kind = error["kind"].as_str().unwrap_or_default();
    assert!(kinds.contains(&kind), "{place}: {error:#}");
    assert_eq!(destination.tags(&repository), [""; 0], "{place}");
}

fn is_complete(destination: &Site, repository: &str, place: &str) {
    let bundle = Bundle::from(&single());
    let root = destination.manifest(repository, "1");
    assert_eq!(root.as_ref(), Some(&bundle.root), "{place}");
    for blob in &bundle.blobs {
        let stored = destination.blob(repository, &sha256(blob));
        assert_eq!(stored.as_deref(), Some(&blob[..]), "{place}");
    }
}

#[test]
fn connections_that_close() {
    every_request(&Fault::Reset, &[]);
    every_request(&Fault::LoseAnswer, &[]);
    every_request(&Fault::ResetAfter(1000), &[]);
}

#[test]
fn servers_that_are_ill() {
    for status in [500, 502] {
        every_request(&Fault::status(status), &[]);
    }
}

#[test]
fn servers_that_want_to_be_left_alone() {
    let busy = Answer::new(503).header("Retry-After", "1");
    every_request(&Fault::Status(busy), &[]);
    let limited = Answer::new(429).header("Retry-After", "Thu, 01 Jan 1970 00:00:09 GMT");
    every_request(&Fault::Status(limited), &[]);
}

#[test]
fn answers_that_break_off() {
    every_request(&Fault::CutBody(1), &[]);
    every_request(&Fault::CutBody(100_000), &[]);
}

#[test]
fn answers_that_stop() {
    every_request(&Fault::StallBody(1), &[]);
    every_request(&Fault::Stall, &[]);
}

#[test]
fn answers_that_are_slow() {
    every_request(&Fault::Delay(Duration::from_millis(300)), &[]);
}

#[test]
fn answers_that_are_wrong() {
    every_request(
        &Fault::FlipBit,
        &["digest-mismatch", "invalid-manifest", "protocol"],
    );
}

#[test]
fn refusals() {
    every_request(&Fault::status(401), &["unauthorized"]);
    every_request(&Fault::status(403), &["denied"]);
    every_request(&Fault::status(413), &["unsupported"]);
    every_request(&Fault::Early(Answer::new(413)), &["unsupported"]);
}
