//! kill -9 at any moment: `barge undo --all` puts everything back, and so does the same run before it
//! goes on.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{TAGS, Tags, World, after, are_whole, before, bundles, each, is_flip, is_true, undo};
use crate::support::barge::barge;
use crate::support::image::push;
use crate::support::registry::{Auth, Deletes, FakeRegistry, Settings};
use crate::support::wire::{Fault, Request};

/// Stops the destination's world at the request that comes after `index` others, and kills the run then.
/// Whether the run came so far.
fn kill(world: &World, index: usize) -> bool {
    let mut seen = 0;
    world.destination.clear_log();
    world.destination.on(move |_| {
        seen += 1;
        (seen > index).then_some(Fault::Stall)
    });
    let mut running = world.copy(&[]).spawn();
    let came = || world.destination.log().len() > index;
    while !came() && running.is_running() {
        thread::sleep(Duration::from_millis(1));
    }
    if !came() {
        running.wait().exits(0);
        return false;
    }
    running.signal("KILL");
    assert_eq!(running.wait().code, None);
    world.destination.behave();
    true
}

/// Kills a run at each of its requests, and checks what is left then.
fn at_each_request(check: impl Fn(&World, &str) + Sync) {
    /// Which tag comes first decides over so many requests, so another run may have fewer.
    const VARY: usize = 4;
    let world = World::new();
    world.copy(&[]).run().exits(0);
    let requests = world.destination.log().len();
    let cases: Vec<usize> = (0..requests).collect();
    each(&cases, |index| {
        let (world, place) = (World::new(), format!("killed at request {index}"));
        if kill(&world, *index) {
            check(&world, &place);
        } else {
            assert!(index + VARY >= requests, "{place} of {requests}");
        }
    });
}

/// Kills a run when so many tags have moved.
pub(super) fn kill_after_flips(world: &World, moved: usize) {
    let mut seen = 0;
    world.destination.clear_log();
    world.destination.on(move |request| {
        seen += usize::from(is_flip(request));
        (is_flip(request) && seen > moved).then_some(Fault::Stall)
    });
    let running = world.copy(&[]).spawn();
    let answered = |request: &Request| is_flip(request) && request.status == 201;
    world.destination.wait_for(moved, answered);
    // One that comes after the faults have ended would move its tag.
    world.destination.wait_for(TAGS.len(), is_flip);
    running.signal("KILL");
    assert_eq!(running.wait().code, None);
    world.destination.behave();
}

#[test]
fn after_every_request_the_undo_puts_all_back() {
    at_each_request(|world, place| {
        are_whole(&world.destination);
        let killed = world.tags();
        let journals = world.journals().len();
        assert!(killed == before() || journals == 1, "{place}");
        let output = undo(world.state.path(), &["--all"]).run().exits(0);
        assert_eq!(world.tags(), before(), "{place}");
        are_whole(&world.destination);
        assert!(world.journals().is_empty(), "{place}");
        told_what_was_undone(&output.json(), &killed, place);
    });
}

#[track_caller]
fn told_what_was_undone(report: &serde_json::Value, killed: &Tags, place: &str) {
    let before = before();
    let moved = |new: bool| {
        let moved = killed.iter().filter(|(tag, digest)| {
            before.get(*tag) != Some(digest) && before.contains_key(*tag) != new
        });
        moved.map(|(tag, _)| tag.clone()).collect::<Vec<String>>()
    };
    let settled = &report["settled"][0];
    if settled.is_null() {
        assert_eq!(*killed, before, "{place}");
        return;
    }
    assert_eq!(settled["restored"], json!(moved(false)), "{place}");
    assert_eq!(settled["deleted"], json!(moved(true)), "{place}");
    assert_eq!(settled["left"], json!([]), "{place}");
}

#[test]
fn after_every_request_the_same_run_settles_and_goes_on() {
    at_each_request(|world, place| {
        let journals = world.journals();
        let output = world.copy(&[]).run().exits(0);
        is_true(&output, &world.destination, place);
        let settled = &output.json()["settled"];
        match journals.first() {
            None => assert!(settled.is_null(), "{place}: {settled:#}"),
            Some(path) => {
                let path = path.to_string_lossy();
                assert_eq!(settled["journal"], json!(path), "{place}");
                assert_eq!(settled["left"], json!([]), "{place}");
            }
        }
        assert!(world.journals().is_empty(), "{place}");
    });
}

/// `barge copy` of `w:other` to the same repository, best-effort.
fn copy_another(world: &World, from: &FakeRegistry, to: &str) -> crate::support::barge::Output {
    barge()
        .args(["copy", "-o", "json", "--state-dir"])
        .arg(world.state.path())
        .args([from.reference("w:other"), world.destination.reference(to)])
        .run()
}

#[test]
fn a_run_over_other_tags_neither_settles_nor_is_hindered() {
    let world = World::new();
    kill_after_flips(&world, 3);
    let half_way = world.tags();
    super::image(50).push_to(&world.source, "w:other");
    let output = copy_another(&world, &world.source, "y:other").exits(0);
    assert_eq!(output.tag("other")["status"], "copied");
    assert!(output.stderr.contains("barge undo"), "{output:#?}");
    let mut now = world.tags();
    assert_eq!(now.remove("other"), Some(super::image(50).digest()));
    assert_eq!(now, half_way);
    assert_eq!(world.journals().len(), 1);

    // A tag that the journal holds is not written.
    let output = copy_another(&world, &world.source, "y:a").exits(1);
    assert_eq!(output.json()["tags"][0]["error"]["kind"], "conflict");
    let hint = output.json()["tags"][0]["error"]["hint"].clone();
    assert!(hint.to_string().contains("barge undo"), "{hint}");
    // One that is right already need not be written.
    let done = TAGS
        .iter()
        .find(|tag| half_way.get(**tag) == after().get(**tag));
    let done = done.expect("a tag that moved");
    let (from, to) = (
        world.source.reference(&format!("x:{done}")),
        world.destination.reference("y"),
    );
    let run = |options: &[&str]| {
        let command = barge().args(["copy", "-o", "json", "--state-dir"]);
        let command = command.arg(world.state.path()).args(options);
        command.args([&from, &to]).run()
    };
    assert_eq!(run(&[]).exits(0).tag(done)["status"], "current");
    // A rollback run that does not select all of the journal's tags does not settle it either.
    let rollback = ["--policy", "rollback"];
    assert_eq!(run(&rollback).exits(0).tag(done)["status"], "current");
    assert_eq!(world.journals().len(), 1);

    undo(world.state.path(), &["--all"]).run().exits(0);
    let mut now = world.tags();
    now.remove("other");
    let mut expected = before();
    expected.insert((*done).to_owned(), after()[*done].clone());
    assert_eq!(now, expected, "what a later run found right stays");
}

#[test]
fn journals_are_listed_settled_one_by_one_and_dropped() {
    let world = World::new();
    kill_after_flips(&world, 2);
    let half_way = world.tags();
    let state = world.state.path();
    let journal = world.journals().remove(0);
    let path = journal.to_string_lossy().into_owned();
    let stem = journal
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let listed = undo(state, &[]).run().exits(0).json();
    assert_eq!(listed["schema"], 1);
    let entry = &listed["journals"][0];
    assert_eq!(entry["journal"], json!(path));
    assert_eq!(entry["state"], "unfinished");
    assert_eq!(
        entry["destination"],
        json!(world.destination.reference("y"))
    );
    assert_eq!(entry["tags"].as_array().map(Vec::len), Some(TAGS.len()));
    assert_eq!(world.tags(), half_way);
    let text = undo(state, &["-o", "text"]).run().exits(0).stdout;
    assert!(
        text.contains(&path) && text.contains("unfinished"),
        "{text}"
    );

    let missing = undo(state, &["nothing-like-it"]).run().exits(1);
    assert_eq!(missing.json()["error"]["kind"], "not-found");
    undo(state, &[&stem]).run().exits(0);
    assert_eq!(world.tags(), before());
    assert!(world.journals().is_empty());

    kill_after_flips(&world, 2);
    let half_way = world.tags();
    let path = world.journals().remove(0).to_string_lossy().into_owned();
    let output = undo(state, &["--forget", &path]).run().exits(0);
    assert_eq!(output.json()["forgotten"], json!(path));
    assert_eq!(world.tags(), half_way);
    assert!(world.journals().is_empty());
    // Nothing stands in the way of the next run, which knows nothing of that.
    let output = world.copy(&[]).run().exits(0);
    assert_eq!(output.json().get("settled"), None);
}

#[test]
fn what_cannot_be_settled_is_named_and_the_run_goes_on() {
    let world = World::with(Settings {
        deletes: Deletes::Off,
        ..Settings::default()
    });
    kill_after_flips(&world, TAGS.len() - 1);
    let left: Vec<String> = world
        .tags()
        .into_keys()
        .filter(|tag| !before().contains_key(tag))
        .collect();
    assert!(!left.is_empty());
    let output = undo(world.state.path(), &["--all"]).run().exits(5);
    let report = output.json();
    assert_eq!(report["outcome"], "rollback-incomplete");
    let settled = report["settled"][0]["left"].as_array().expect("left");
    let named: Vec<&str> = settled
        .iter()
        .filter_map(|left| left["tag"].as_str())
        .collect();
    assert_eq!(named, left);
    for left in settled {
        assert_eq!(left["error"]["kind"], "unsupported", "{left:#}");
    }
    let output = world.copy(&[]).run().exits(0);
    is_true(
        &output,
        &world.destination,
        "after an undo that was incomplete",
    );
    assert_eq!(output.json().get("settled"), None);
}

#[test]
fn who_forgets_to_log_in_tries_again() {
    let world = World::new();
    kill_after_flips(&world, 2);
    let half_way = world.tags();
    let user = Auth::basic("user", "pass");
    world.destination.configure(|settings| settings.auth = user);
    let state = world.state.path();
    for options in [&["--all"][..], &["--all", "--creds", "user:wrong"]] {
        // No tag was looked at, so nothing is said of any.
        let report = undo(state, options).run().exits(1).json();
        assert_eq!(report["settled"], json!([]), "{report:#}");
        assert_eq!(report["failed"][0]["error"]["kind"], "unauthorized");
        assert_eq!(world.tags(), half_way);
        let listed = undo(state, &[]).run().exits(0).json();
        assert_eq!(listed["journals"][0]["state"], "unfinished");
    }
    undo(state, &["--all", "--creds", "user:pass"])
        .run()
        .exits(0);
    assert_eq!(world.tags(), before());
    assert!(world.journals().is_empty());
}

#[test]
fn what_may_go_better_another_time_is_not_given_up() {
    let world = World::new();
    kill_after_flips(&world, 2);
    let half_way = world.tags();
    world
        .destination
        .on(|request| request.path.ends_with("/a").then_some(Fault::Reset));
    let output = world.copy(&[]).run().exits(1);
    let report = output.json();
    assert_eq!(report["error"]["kind"], "unavailable", "{report:#}");
    assert_eq!(report["settled"]["left"][0]["tag"], "a");
    assert_eq!(world.tags().get("a"), half_way.get("a"));
    assert_eq!(world.journals().len(), 1);
    world.destination.behave();
    let output = world.copy(&[]).run().exits(0);
    assert!(output.json()["settled"].is_object());
    is_true(&output, &world.destination, "another time");
    assert!(world.journals().is_empty());
}

/// What it holds as it was before may be needed, and only its file's name tells of which repository.
#[test]
fn a_journal_that_cannot_be_understood_keeps_rollback_runs_out() {
    for (form, other, says, advice) in [
        (
            r#""version":1"#,
            r#""version":2"#,
            "version is 2",
            "a barge that reads version 2",
        ),
        (
            r#""version":1"#,
            "!",
            "no journal of barge",
            "look at the tags",
        ),
        (
            r#""tag":"a""#,
            r#""tag":"../../z/manifests/a""#,
            "is no tag",
            "look at the tags",
        ),
    ] {
        let world = World::new();
        kill_after_flips(&world, 2);
        let half_way = world.tags();
        let journal = world.journals().remove(0);
        let text = std::fs::read_to_string(&journal).expect("a journal");
        std::fs::write(&journal, text.replacen(form, other, 1)).expect("written");
        for options in [&[][..], &["--dry-run"]] {
            let error = world.copy(options).run().exits(1).json()["error"].clone();
            assert_eq!(error["kind"], "conflict", "{error:#}");
            assert!(error["message"].to_string().contains(says), "{error:#}");
            let hint = error["hint"].to_string();
            assert!(hint.contains(advice) && hint.contains("--forget"), "{hint}");
        }
        let output = undo(world.state.path(), &["--all"]).run().exits(1);
        assert_eq!(output.json()["failed"][0]["error"]["kind"], "unsupported");
        let listed = undo(world.state.path(), &[]).run().exits(0).json();
        assert_eq!(listed["journals"][0]["state"], "unreadable");
        assert_eq!(world.tags(), half_way);
        // Best-effort runs go on, and say so.
        super::image(50).push_to(&world.source, "w:other");
        let output = copy_another(&world, &world.source, "y:other").exits(0);
        assert!(output.stderr.contains(says), "{output:#?}");
        let path = journal.display().to_string();
        undo(world.state.path(), &["--forget", &path])
            .run()
            .exits(0);
        world.copy(&[]).run().exits(0);
    }
}

/// Two runs over different tags were killed.
#[test]
fn every_journal_that_is_settled_is_named() {
    let world = World::new();
    for (tag, others) in [("a", "[b-f]"), ("b", "[ac-f]")] {
        world
            .destination
            .on(|request| is_flip(request).then_some(Fault::Stall));
        let running = world.copy(&["--exclude-tags", others]).spawn();
        world.destination.wait_for(1, is_flip);
        running.signal("KILL");
        running.wait();
        world.destination.behave();
        world.destination.clear_log();
        push(bundles(tag).0, &world.destination, &format!("y:{tag}"));
    }
    let journals: Vec<String> = world
        .journals()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(journals.len(), 2);
    for options in [&["--dry-run"][..], &["--dry-run", "-o", "text"], &[]] {
        let output = world.copy(options).run().exits(0);
        if options.contains(&"text") {
            assert!(journals.iter().all(|path| output.stdout.contains(path)));
            continue;
        }
        let settled = &output.json()["settled"];
        let mut named: Vec<String> =
            serde_json::from_value(settled["journals"].clone()).expect("names");
        assert_eq!(settled["journal"], json!(named[0]));
        named.sort();
        assert_eq!(named, journals);
        assert_eq!(settled["restored"], json!(["a", "b"]));
    }
}

/// The registry cannot delete what a killed run made, and the next run fails too.
#[test]
fn what_an_earlier_run_left_makes_a_rollback_incomplete() {
    let world = World::with(Settings {
        deletes: Deletes::Off,
        ..Settings::default()
    });
    kill_after_flips(&world, TAGS.len() - 1);
    world
        .source
        .store
        .remove_manifest("x", &super::image(13).digest());
    let output = world.copy(&["-o", "text"]).run().exits(5);
    let left: Vec<String> = world
        .tags()
        .into_keys()
        .filter(|tag| !before().contains_key(tag))
        .collect();
    assert!(!left.is_empty());
    let says = format!("may not be as before: {}", left.join(", "));
    assert!(output.stdout.contains(&says), "{output:#?}");
}
