//! A dry run tells what a run would do with a journal that is open, and writes nothing.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::kill::kill_after_flips;
use super::{TAGS, World, before, image, is_flip, undo};
use crate::support::barge::{Barge, barge};
use crate::support::image::push;
use crate::support::registry::Auth;
use crate::support::wire::{Fault, Request};

/// All files that runs keep, and what is in them.
fn kept(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(world.state.path().join("journal")).expect("journals");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let content = std::fs::read(&path).expect("a file");
        (path, content)
    };
    let mut kept: Vec<_> = entries.map(file).collect();
    kept.sort();
    kept
}

/// `run`, after which everything is as before.
#[track_caller]
fn dry(world: &World, run: Barge, code: i32) -> crate::support::barge::Output {
    let (tags, files) = (world.tags(), kept(world));
    world.destination.clear_log();
    let output = run.arg("--dry-run").run().exits(code);
    let writes = |request: &Request| !request.reads();
    assert_eq!(world.destination.count(writes), 0);
    assert_eq!((world.tags(), kept(world)), (tags, files));
    output
}

/// A tag that did not move.
fn unmoved(world: &World) -> &'static str {
    let (now, old) = (world.tags(), before());
    let mut still = TAGS.iter().filter(|tag| now.get(**tag) == old.get(**tag));
    still.next().expect("a tag that did not move")
}

/// A copy of the one tag, under this policy.
fn one(world: &World, tag: &str, policy: &str) -> Barge {
    let source = world.source.reference(&format!("x:{tag}"));
    barge()
        .args(["copy", "-o", "json", "--policy", policy, "--state-dir"])
        .arg(world.state.path())
        .args([source, world.destination.reference("y")])
}

#[test]
fn it_foresees_how_a_journal_is_settled() {
    let world = World::new();
    kill_after_flips(&world, 3);
    let foreseen = dry(&world, world.copy(&[]), 0).json();
    // What moved moves again, after it went back.
    assert_eq!(foreseen["totals"]["would_copy"], TAGS.len(), "{foreseen:#}");
    let text = dry(&world, world.copy(&["-o", "text"]), 0).stdout;
    assert!(text.contains("a run would settle "), "{text}");
    let settled = world.copy(&[]).run().exits(0).json()["settled"].clone();
    assert_eq!(foreseen["settled"], settled);
    let names = |field: &str| settled[field].as_array().map_or(0, Vec::len);
    assert_eq!(names("restored") + names("deleted"), 3, "{settled:#}");
}

/// Their manifests were there under other tags, so they cannot go by digest.
#[test]
fn a_deletion_that_a_run_may_not_manage_is_told_apart() {
    let world = World::new();
    push(&image(15), &world.destination, "y:other");
    let of_f = |request: &Request| is_flip(request) && request.path.ends_with("/f");
    let stall = move |request: &Request| of_f(request).then_some(Fault::Stall);
    world.destination.on(stall);
    let running = world.copy(&[]).spawn();
    let moved = |request: &Request| is_flip(request) && request.status == 201;
    world.destination.wait_for(TAGS.len() - 1, moved);
    running.signal("KILL");
    running.wait();
    world.destination.behave();
    let run = dry(&world, world.copy(&[]), 0);
    let says = "a run deletes e only where the registry deletes single tags";
    assert!(run.stderr.contains(says), "{run:#?}");
}

/// Without the journal nothing would have to move.
#[test]
fn it_judges_tags_as_they_would_be_then() {
    let world = World::new();
    kill_after_flips(&world, 3);
    for tag in TAGS {
        let (bundle, _) = super::bundles(tag);
        let now = world.tags().get(tag).cloned();
        if now.is_some_and(|now| before().get(tag) != Some(&now)) {
            continue;
        }
        push(bundle, &world.destination, &format!("y:{tag}"));
    }
    let output = dry(&world, world.copy(&[]), 0);
    assert_eq!(output.json()["totals"]["would_copy"], TAGS.len());
}

#[test]
fn a_tag_of_somebody_else_is_named() {
    let world = World::new();
    kill_after_flips(&world, 3);
    push(&image(90), &world.destination, "y:a");
    let report = dry(&world, world.copy(&[]), 0).json();
    let left = &report["settled"]["left"];
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(left[0]["tag"], "a");
    assert_eq!(left[0]["error"]["kind"], "conflict");
    assert_eq!(
        world.copy(&[]).run().exits(0).json()["settled"],
        report["settled"]
    );
}

#[test]
fn what_a_run_would_not_write_is_a_conflict() {
    let world = World::new();
    kill_after_flips(&world, 1);
    let tag = unmoved(&world);
    for (policy, code) in [("best-effort", 1), ("rollback", 4)] {
        let foreseen = dry(&world, one(&world, tag, policy), code);
        let run = one(&world, tag, policy).run().exits(code);
        for output in [&foreseen, &run] {
            assert_eq!(output.tag(tag)["error"]["kind"], "conflict", "{policy}");
        }
        assert_eq!(foreseen.json()["outcome"], run.json()["outcome"]);
    }
}

#[test]
fn what_hinders_a_run_hinders_it_too() {
    let world = World::new();
    kill_after_flips(&world, 2);
    let looks = |request: &Request| request.path.ends_with("/manifests/a");
    let refuse = move |request: &Request| looks(request).then(|| Fault::status(403));
    world.destination.on(refuse);
    let foreseen = dry(&world, world.copy(&[]), 1).json();
    let run = world.copy(&[]).run().exits(1).json();
    for report in [&foreseen, &run] {
        assert_eq!(report["error"]["kind"], "denied", "{report:#}");
        assert_eq!(report["settled"]["left"][0]["tag"], "a");
    }
}

#[test]
fn a_run_at_work_is_said_and_not_waited_for() {
    let world = World::new();
    let stall = |request: &Request| is_flip(request).then_some(Fault::Stall);
    world.destination.on(stall);
    let running = world.copy(&[]).spawn();
    world.destination.wait_for(TAGS.len(), is_flip);
    let output = world.copy(&["--dry-run"]).run().exits(0);
    assert!(output.stderr.contains("is at work"), "{output:#?}");
    assert_eq!(output.json().get("settled"), None);
    world.destination.behave();
    world.destination.release();
    running.wait().exits(0);
}

/// The command of a conflict, pasted: it goes the way that the run went.
#[test]
fn the_command_that_is_named_goes_the_same_way() {
    let world = World::new();
    kill_after_flips(&world, 2);
    let tag = unmoved(&world);
    let user = Auth::basic("user", "pass");
    world.destination.configure(|settings| settings.auth = user);
    let host = world.destination.host();
    let file = world.state.path().join("auth 1.json");
    let auths = json!({"auths": {host: {"auth": "dXNlcjpwYXNz"}}});
    std::fs::write(&file, auths.to_string()).expect("written");
    let copy = one(&world, tag, "best-effort")
        .args(["--dest-tls-verify=false", "--dest-authfile"])
        .arg(&file);
    let output = copy.run().exits(1);
    let hint = output.tag(tag)["error"]["hint"].clone();
    let hint = Value::as_str(&hint).expect("a hint");
    let (_, command) = hint.split_once("barge ").expect("a command");
    for option in ["--tls-verify=false", "--authfile ", "--state-dir "] {
        assert!(command.contains(option), "{command}");
    }
    assert!(output.stderr.contains(command), "{output:#?}");
    let name = file.display().to_string();
    let words = command.replace(&format!("'{name}'"), "FILE");
    let words = words.split(' ').map(|word| word.replace("FILE", &name));
    barge().args(words).run().exits(0);
    assert_eq!(world.tags(), before());
    assert!(world.journals().is_empty());
    assert_eq!(
        undo(world.state.path(), &[]).run().exits(0).json()["journals"],
        json!([])
    );
}
