//! kill -9 while the tags of what belongs to images move: the next run, or `barge undo`, puts them back.

use std::path::Path;

use tempfile::{TempDir, tempdir};

use super::rollback::{rollback, source, tagged};
use super::{index, listed, sbom_and_signature, single, with};
use crate::support::barge::barge;
use crate::support::image::{Artifact, Bundle, list_of, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::signing::{Held, Signer};
use crate::support::wire::{Fault, Request};

/// The digest tags of [`source`]: a signature, and the lists of an image and of its bill of materials.
const COMPANIONS: usize = 3;

fn flips_companion(request: &Request) -> bool {
    request.is("PUT", "/y/manifests/sha256-")
}

struct World {
    signer: Signer,
    source: FakeRegistry,
    mirror: FakeRegistry,
    theirs: Bundle,
    state: TempDir,
}

impl World {
    /// The mirror has a signature of the same index by somebody else, and lists something of the image.
    fn new() -> Self {
        let signer = Signer::new();
        let (source, mirror) = (source(&signer), with(Referrers::Absent));
        let digest = index().digest();
        index().push_to(&mirror, "y:other");
        let tag = Signer::tag(&digest);
        push(Signer::new().sign(&digest), &mirror, &format!("y:{tag}"));
        let theirs = Artifact::of(&single().manifest, super::SBOM, "theirs").build();
        theirs.put_into(&mirror, "y");
        let list = list_of(&[&theirs]);
        mirror
            .store
            .put_manifest("y", &list_tag(&single().digest()), list);
        Self {
            signer,
            source,
            mirror,
            theirs,
            state: tempdir().expect("a directory"),
        }
    }

    fn copy(&self) -> crate::support::barge::Barge {
        let (from, to) = (self.source.reference("x"), self.mirror.reference("y"));
        rollback(self.state.path(), &from, &to)
    }

    /// Kills a run when so many of the digest tags have moved.
    fn kill_after(&self, moved: usize) {
        let mut seen = 0;
        self.mirror.clear_log();
        self.mirror.on(move |request| {
            seen += usize::from(flips_companion(request));
            (flips_companion(request) && seen > moved).then_some(Fault::Stall)
        });
        let running = self.copy().spawn();
        let answered = |request: &Request| flips_companion(request) && request.status == 201;
        self.mirror.wait_for(moved, answered);
        self.mirror.wait_for(COMPANIONS, flips_companion);
        running.signal("KILL");
        assert_eq!(running.wait().code, None);
        self.mirror.behave();
    }
}

fn journals(state: &Path) -> usize {
    let files = std::fs::read_dir(state.join("journal")).expect("a directory");
    let names = files.map(|file| file.expect("a file").file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".json"))
        .count()
}

#[test]
fn undo_puts_back_what_moved() {
    for moved in 0..COMPANIONS {
        let world = World::new();
        let before = tagged(&world.mirror);
        world.kill_after(moved);
        let changed = tagged(&world.mirror) != before;
        assert_eq!(changed, moved > 0, "{moved}");
        assert_eq!(journals(world.state.path()), 1, "{moved}");
        let undo = barge().args(["undo", "--all", "-o", "json", "--state-dir"]);
        undo.arg(world.state.path()).run().exits(0);
        assert_eq!(tagged(&world.mirror), before, "{moved}");
        assert_eq!(journals(world.state.path()), 0, "{moved}");
    }
}

#[test]
fn the_next_run_settles_and_goes_on() {
    for moved in 0..COMPANIONS {
        let world = World::new();
        world.kill_after(moved);
        let output = world.copy().run().exits(0);
        let settled = &output.json()["settled"];
        let put_back = ["restored", "deleted"].map(|what| settled[what].as_array().map(Vec::len));
        let put_back: usize = put_back.into_iter().flatten().sum();
        assert_eq!(put_back, moved, "{settled}");
        assert_eq!(settled["left"], serde_json::json!([]), "{settled}");
        let held = Held::Fake(&world.mirror, "y");
        assert_eq!(world.signer.verify(&held, "1"), Ok(()), "{moved}");
        let list = world
            .mirror
            .store
            .manifest("y", &list_tag(&single().digest()));
        let (sbom, _) = sbom_and_signature(&single().manifest);
        let mut both = vec![sbom.root.digest(), world.theirs.root.digest()];
        both.sort();
        assert_eq!(listed(&list.expect("a list")), both, "{moved}");
        assert_eq!(journals(world.state.path()), 0, "{moved}");
    }
}

/// A mirror whose images were there moves nothing but what belongs to them.
#[test]
fn a_run_that_moved_only_signatures_is_settled_by_one_that_brings_them() {
    let world = World::new();
    for (tag, image) in [
        ("1", Bundle::from(&index())),
        ("2", Bundle::from(&single())),
    ] {
        push(image, &world.mirror, &format!("y:{tag}"));
    }
    world.kill_after(1);
    assert_eq!(journals(world.state.path()), 1);
    let (from, to) = (world.source.reference("x"), world.mirror.reference("y"));
    let without = barge().args(["copy", "--all-tags", "--policy", "rollback", "--state-dir"]);
    let without = without.arg(world.state.path()).args([&from, &to]);
    without.run().exits(0);
    assert_eq!(journals(world.state.path()), 1, "it does not write them");
    world.copy().run().exits(0);
    assert_eq!(journals(world.state.path()), 0);
    let held = Held::Fake(&world.mirror, "y");
    assert_eq!(world.signer.verify(&held, "1"), Ok(()));
}
