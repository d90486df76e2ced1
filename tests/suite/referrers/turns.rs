//! Runs of one machine take turns at a list of referrers: no registry can compare and swap.

use std::path::Path;

use tempfile::tempdir;

use super::{SBOM, listed, single, with};
use crate::support::barge::{Barge, barge};
use crate::support::image::{Artifact, Bundle, list_tag, push};
use crate::support::registry::{FakeRegistry, Referrers};
use crate::support::wire::{Fault, Request};

const WAITS: &str = "waiting for another run";

fn artifact(content: &str) -> Bundle {
    Artifact::of(&single().manifest, SBOM, content).build()
}

fn list() -> String {
    list_tag(&single().digest())
}

fn reads_list(request: &Request) -> bool {
    request.method == "GET" && request.path.ends_with(&list())
}

fn writes_list(request: &Request) -> bool {
    request.method == "PUT" && request.path.ends_with(&list())
}

/// What is said once that takes long.
const TOLD: &str = "another run writes lists of referrers into";

/// A copy of `artifact` to `y`, under a tag of its own.
fn run(state: &Path, source: &FakeRegistry, (to, name): (&FakeRegistry, &str)) -> Barge {
    push(artifact(name), source, &format!("x:{name}"));
    barge()
        .args(["copy", "-vv", "-o", "json", "--state-dir"])
        .arg(state)
        .arg(source.reference(&format!("x:{name}")))
        .arg(to.reference("y"))
}

fn all_are_listed(mirror: &FakeRegistry, names: &[&str]) {
    let found = mirror.store.manifest("y", &list()).expect("a list");
    let mut expected: Vec<String> = names
        .iter()
        .map(|name| artifact(name).root.digest())
        .collect();
    expected.sort();
    assert_eq!(listed(&found), expected);
}

#[test]
fn the_next_reads_a_list_when_the_one_before_has_written_it() {
    for (first, second) in [
        ("best-effort", "best-effort"),
        ("rollback", "best-effort"),
        ("best-effort", "rollback"),
    ] {
        let state = tempdir().expect("a directory");
        let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
        mirror.fail(1, writes_list, Fault::Stall);
        let run = |policy, name| {
            let run = run(state.path(), &source, (&mirror, name));
            run.args(["--policy", policy]).spawn()
        };
        let one = run(first, "one");
        mirror.wait_for(1, writes_list);
        let before = mirror.count(reads_list);
        let two = run(second, "two");
        two.wait_until_said(WAITS);
        assert_eq!(mirror.count(reads_list), before, "{first} {second}");
        mirror.release();
        one.wait().exits(0);
        two.wait().exits(0);
        all_are_listed(&mirror, &["one", "two"]);
        assert_eq!(mirror.count(writes_list), 2, "nothing was lost on the way");
    }
}

#[test]
fn a_run_that_is_killed_holds_nobody_up() {
    let state = tempdir().expect("a directory");
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    mirror.fail(1, writes_list, Fault::Stall);
    let one = run(state.path(), &source, (&mirror, "one")).spawn();
    mirror.wait_for(1, writes_list);
    let two = run(state.path(), &source, (&mirror, "two")).spawn();
    two.wait_until_said(WAITS);
    one.signal("KILL");
    two.wait().exits(0);
    all_are_listed(&mirror, &["two"]);
}

#[test]
fn a_signal_ends_the_wait() {
    let state = tempdir().expect("a directory");
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    mirror.fail(1, writes_list, Fault::Stall);
    let one = run(state.path(), &source, (&mirror, "one")).spawn();
    mirror.wait_for(1, writes_list);
    for policy in ["best-effort", "rollback"] {
        let two = run(state.path(), &source, (&mirror, "two")).args(["--policy", policy]);
        let two = two.spawn();
        two.wait_until_said(WAITS);
        two.signal("INT");
        two.wait().exits(130);
    }
    mirror.release();
    one.wait().exits(0);
    assert_eq!(mirror.store.tags("y"), ["one".to_owned(), list()]);
}

#[test]
fn a_long_wait_is_told_once() {
    let state = tempdir().expect("a directory");
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    mirror.fail(1, writes_list, Fault::Stall);
    let one = run(state.path(), &source, (&mirror, "one")).spawn();
    mirror.wait_for(1, writes_list);
    for name in ["two", "three"] {
        push(artifact(name), &source, &format!("z:{name}"));
    }
    let two = barge().args(["copy", "--all-tags", "--state-dir"]);
    let two = two
        .arg(state.path())
        .args([source.reference("z"), mirror.reference("y")]);
    let two = two.spawn();
    two.wait_until_said(TOLD);
    mirror.release();
    one.wait().exits(0);
    let two = two.wait().exits(0);
    assert_eq!(two.stderr.matches(TOLD).count(), 1, "{two:#?}");
    all_are_listed(&mirror, &["one", "two", "three"]);
}

#[test]
fn other_lists_are_not_waited_for() {
    let state = tempdir().expect("a directory");
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    mirror.fail(1, writes_list, Fault::Stall);
    let one = run(state.path(), &source, (&mirror, "one")).spawn();
    mirror.wait_for(1, writes_list);
    // The same list of another repository.
    let other = barge().args(["copy", "--state-dir"]).arg(state.path());
    let other = other.args([source.reference("x:one"), mirror.reference("z")]);
    other.run().exits(0);
    mirror.release();
    one.wait().exits(0);
}

#[test]
fn who_cannot_keep_others_off_goes_on_and_says_so() {
    let (source, mirror) = (with(Referrers::Served), with(Referrers::Absent));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let run = run(file.path(), &source, (&mirror, "one"));
    let output = run.run().exits(0);
    assert!(output.stderr.contains("not kept off"), "{output:#?}");
    all_are_listed(&mirror, &["one"]);
}
