//! Tags of signatures and of lists of referrers in the journals of earlier rollback runs: one that a later run
//! relies on is not taken back, and one that it would have to change is a conflict until `barge undo`.

use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use super::{SBOM, index, single, with};
use crate::support::barge::{Barge, Output, barge};
use crate::support::image::{Artifact, Bundle, list_tag, push};
use crate::support::registry::{Deletes, FakeRegistry, Referrers};
use crate::support::signing::Signer;
use crate::support::wire::{Fault, Request};

/// What belongs to the image of the tags `v1` and `v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    Signature,
    List,
}

const BOTH: [Attached; 2] = [Attached::Signature, Attached::List];
const POLICIES: [&str; 2] = ["best-effort", "rollback"];

fn cases() -> impl Iterator<Item = (Attached, &'static str)> {
    BOTH.into_iter()
        .flat_map(|attached| POLICIES.map(|policy| (attached, policy)))
}

/// A source of two tags of one image, and a mirror with nothing.
struct World {
    attached: Attached,
    source: FakeRegistry,
    mirror: FakeRegistry,
    state: TempDir,
}

impl World {
    fn new(attached: Attached) -> Self {
        let world = Self {
            attached,
            source: with(Referrers::Served),
            mirror: with(Referrers::Absent),
            state: tempdir().expect("a directory"),
        };
        for tag in ["v1", "v2"] {
            let image = match attached {
                Attached::Signature => Bundle::from(&index()),
                Attached::List => Bundle::from(&single()),
            };
            push(image, &world.source, &format!("x:{tag}"));
        }
        world.attach("first");
        world
    }

    /// Attaches something at the source: another signature, or one more artifact.
    fn attach(&self, content: &str) {
        match self.attached {
            Attached::Signature => {
                let signed = Signer::new().sign(&index().digest());
                push(signed, &self.source, &format!("x:{}", self.tag()));
            }
            Attached::List => {
                let artifact = Artifact::of(&single().manifest, SBOM, content).build();
                artifact.put_into(&self.source, "x");
            }
        }
    }

    fn tag(&self) -> String {
        match self.attached {
            Attached::Signature => Signer::tag(&index().digest()),
            Attached::List => list_tag(&single().digest()),
        }
    }

    /// What the tag of the signature, or of the list, points at in the mirror.
    fn there(&self) -> Option<String> {
        self.mirror.store.tag("y", &self.tag())
    }

    fn copy(&self, tag: &str, policy: &str) -> Barge {
        let command = barge().args(["copy", "-o", "json", "--referrers", "--policy", policy]);
        let command = command.args(["--retry-times", "0", "--state-dir"]);
        command.arg(self.state.path()).args([
            self.source.reference(&format!("x:{tag}")),
            self.mirror.reference("y"),
        ])
    }

    /// Kills a rollback run of `v1` when what belongs to it has moved, and `v1` has not.
    fn kill(&self) {
        let flip = |request: &Request| request.is("PUT", "/y/manifests/v1");
        self.mirror.fail(1, flip, Fault::Stall);
        let running = self.copy("v1", "rollback").spawn();
        self.mirror.wait_for(1, flip);
        running.signal("KILL");
        assert_eq!(running.wait().code, None);
        self.mirror.behave();
        assert!(self.there().is_some());
        assert_eq!(self.mirror.store.tag("y", "v1"), None);
    }

    fn undo(&self, what: &str) -> Output {
        let command = barge().args(["undo", "-o", "json", "--state-dir"]);
        command.arg(self.state.path()).arg(what).run()
    }
}

fn journals(state: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(state.join("journal")).expect("a directory");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths
}

#[test]
fn undo_of_a_killed_run_spares_what_a_later_run_relies_on() {
    for (attached, policy) in cases() {
        let world = World::new(attached);
        world.kill();
        let there = world.there();
        // One that does not come to its end leaves it to the journal.
        let shows = |request: &Request| request.is("PUT", "/y/manifests/v2");
        world.mirror.fail(1, shows, Fault::status(403));
        if policy == "rollback" {
            world.copy("v2", policy).run().exits(4);
            let listed = world.undo("--quiet").exits(0).json();
            let held = listed["journals"][0]["tags"].to_string();
            assert!(held.contains(&world.tag()), "{listed:#}");
        }
        world.mirror.behave();
        let output = world.copy("v2", policy).run().exits(0);
        assert!(output.stderr.contains(&world.tag()), "{output:#?}");
        assert_eq!(journals(world.state.path()).len(), 1, "v1 is still in it");
        world.undo("--all").exits(0);
        assert_eq!(world.there(), there, "{attached:?} {policy}");
        let store = &world.mirror.store;
        assert_eq!(store.tags("y"), [world.tag(), "v2".to_owned()]);
        assert!(journals(world.state.path()).is_empty());
    }
}

/// A run that is killed when the tag is about to be shown has not told anyone that it is right.
#[test]
fn a_kill_before_the_tag_is_shown_lets_undo_take_back_no_more_than_was_moved() {
    for (attached, policy) in cases() {
        let world = World::new(attached);
        world.kill();
        let there = world.there();
        let shows = |request: &Request| request.is("PUT", "/y/manifests/v2");
        world.mirror.fail(1, shows, Fault::Stall);
        let running = world.copy("v2", policy).spawn();
        world.mirror.wait_for(1, shows);
        running.signal("KILL");
        assert_eq!(running.wait().code, None);
        world.mirror.behave();
        world.undo("--all").exits(0);
        // Best-effort shows nothing before the journal has let go of what it relies on.
        let kept = if policy == "rollback" { None } else { there };
        assert_eq!(world.there(), kept, "{attached:?} {policy}");
        for tag in ["v1", "v2"] {
            assert_eq!(world.mirror.store.tag("y", tag), None, "{policy}");
        }
        assert!(journals(world.state.path()).is_empty());
    }
}

#[test]
fn what_a_killed_run_moved_is_not_changed_before_it_is_put_back() {
    for (attached, policy) in cases() {
        let world = World::new(attached);
        world.kill();
        let there = world.there();
        world.attach("second");
        let output = world.copy("v2", policy).run();
        let code = if policy == "rollback" { 4 } else { 1 };
        let output = output.exits(code);
        let error = output.tag("v2")["error"].clone();
        assert_eq!(error["kind"], "conflict", "{attached:?} {policy}: {error}");
        let hint = error["hint"].as_str().expect("a hint");
        assert!(hint.contains("barge undo"), "{hint}");
        assert!(
            error["message"].to_string().contains(&world.tag()),
            "{error}"
        );
        assert_eq!(world.there(), there, "{attached:?} {policy}");
        assert_eq!(world.mirror.store.tag("y", "v2"), None);
        world.undo("--all").exits(0);
        assert_eq!(world.there(), None);
        world.copy("v2", policy).run().exits(0);
        assert_ne!(world.there(), there);
    }
}

#[test]
fn what_a_run_at_work_has_moved_is_not_relied_on() {
    for attached in BOTH {
        let world = World::new(attached);
        let flip = |request: &Request| request.is("PUT", "/y/manifests/v1");
        world.mirror.fail(1, flip, Fault::Stall);
        let running = world.copy("v1", "rollback").spawn();
        world.mirror.wait_for(1, flip);
        let output = world.copy("v2", "best-effort").run().exits(1);
        let error = output.tag("v2")["error"].clone();
        assert_eq!(error["kind"], "conflict", "{attached:?}: {error}");
        world.mirror.release();
        running.wait().exits(0);
        world.copy("v2", "best-effort").run().exits(0);
    }
}

#[test]
fn a_closed_journal_lets_go_of_what_a_later_run_relies_on() {
    for (attached, policy) in cases() {
        let world = World::new(attached);
        world
            .mirror
            .configure(|settings| settings.deletes = Deletes::Off);
        let flip = |request: &Request| request.is("PUT", "/y/manifests/v1");
        world.mirror.fail(1, flip, Fault::status(403));
        world.copy("v1", "rollback").run().exits(5);
        world.mirror.behave();
        world
            .mirror
            .configure(|settings| settings.deletes = Deletes::default());
        let journal = journals(world.state.path()).remove(0);
        let there = world.there();
        assert!(there.is_some());
        world.copy("v2", policy).run().exits(0);
        assert!(journals(world.state.path()).is_empty());
        let undone = world.undo(&journal.to_string_lossy()).exits(1);
        assert_eq!(undone.json()["error"]["kind"], "not-found");
        assert_eq!(world.there(), there, "{attached:?} {policy}");
    }
}
