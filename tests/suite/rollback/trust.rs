//! Whose journals are obeyed: a journal makes barge write with the user's login, so those of others are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::kill::kill_after_flips;
use super::{World, before, is_flip, undo};
use crate::support::barge::Output;
use crate::support::wire::Fault;

/// Any user but the one of the tests.
const OTHER: u32 = 12345;

/// A world in which a run was killed, and the journal that it left.
fn killed() -> (World, PathBuf) {
    let world = World::new();
    kill_after_flips(&world, 3);
    let journal = world.journals().remove(0);
    (world, journal)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode can be set");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

/// Gives `path` to another user, if this one may.
fn give_away(path: &Path) -> bool {
    chown(path, Some(OTHER), None).is_ok()
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo runs").success());
}

fn error(output: &Output) -> Value {
    output.json()["error"].clone()
}

/// Checks that neither a run nor an undo does what the journal says.
#[track_caller]
fn is_refused(world: &World, journal: &Path, words: &str) {
    let tags = world.tags();
    let refused = error(&world.copy(&[]).run().exits(1));
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains(words), "{refused:#}");
    assert!(refused["hint"].is_string(), "{refused:#}");
    let path = journal.to_str().expect("a path");
    let report = undo(world.state.path(), &[path]).run().exits(1).json();
    let refused = &report["failed"][0]["error"];
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains(words), "{report:#}");
    assert_eq!(world.tags(), tags);
}

#[test]
fn refuses_a_journal_of_another_user() {
    let (world, journal) = killed();
    if !give_away(&journal) {
        return;
    }
    is_refused(&world, &journal, "belongs to user 12345");
    let path = journal.to_str().expect("a path");
    undo(world.state.path(), &["--forget", path]).run().exits(0);
    world.copy(&[]).run().exits(0);
}

#[test]
fn refuses_a_journal_that_others_can_write() {
    let (world, journal) = killed();
    for open in [0o620, 0o602] {
        set_mode(&journal, open);
        is_refused(&world, &journal, "can be written by others");
    }
    set_mode(&journal, 0o644);
    undo(world.state.path(), &["--all"]).run().exits(0);
    assert_eq!(world.tags(), before());
}

#[test]
fn refuses_a_directory_of_another_user_or_that_others_can_write() {
    let (world, journal) = killed();
    let directory = world.state.path().join("journal");
    for open in [0o770, 0o707, 0o777] {
        set_mode(&directory, open);
        is_refused(&world, &journal, "can be written by others");
        assert_eq!(error(&world.copy(&[]).run())["kind"], "local-io");
        undo(world.state.path(), &[]).run().exits(1);
    }
    set_mode(&directory, 0o755);
    if give_away(&directory) {
        is_refused(&world, &journal, "belongs to user 12345");
        chown(
            &directory,
            Some(fs::metadata(&journal).expect("there").uid()),
            None,
        )
        .expect("back");
    }
    undo(world.state.path(), &["--all"]).run().exits(0);
    assert_eq!(world.tags(), before());
}

#[test]
fn keeps_others_out_of_what_it_makes() {
    let world = World::new();
    world.destination.fail(1, is_flip, Fault::Stall);
    let running = world.copy(&[]).after("umask 000").spawn();
    world.destination.wait_for(1, is_flip);
    let directory = world.state.path().join("journal");
    assert_eq!(mode(&directory), 0o700);
    for entry in fs::read_dir(&directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    world.destination.release();
    running.wait().exits(0);
}

#[test]
fn does_not_wait_for_a_pipe_in_the_place_of_a_journal_or_lock() {
    let world = World::new();
    world.copy(&[]).run().exits(0);
    let directory = world.state.path().join("journal");
    let locks = fs::read_dir(&directory).expect("a directory");
    let lock = locks.map(|entry| entry.expect("an entry").path());
    let lock = lock.last().expect("a lock");
    fs::remove_file(&lock).expect("a lock");
    pipe(&lock);
    for options in [&[][..], &["--dry-run"]] {
        let refused = error(&world.copy(options).run().exits(1));
        assert_eq!(refused["kind"], "local-io", "{refused:#}");
    }
    fs::remove_file(&lock).expect("a pipe");
    let name = lock.file_stem().expect("a name").to_string_lossy();
    let journal = directory.join(format!("{name}-1-0.json"));
    pipe(&journal);
    let refused = error(&world.copy(&[]).run().exits(1));
    assert_eq!(refused["kind"], "conflict", "{refused:#}");
    let listed = undo(world.state.path(), &[]).run().exits(0).json();
    assert_eq!(listed["journals"][0]["state"], "unreadable", "{listed:#}");
}

#[test]
fn stops_waiting_for_another_run_when_a_signal_comes() {
    let world = World::new();
    world.destination.fail(1, is_flip, Fault::Stall);
    let first = world.copy(&[]).spawn();
    world.destination.wait_for(1, is_flip);
    let second = world.copy(&[]).spawn();
    second.wait_until_said("waiting for its end");
    second.signal("TERM");
    second.wait().exits(143);
    world.destination.release();
    first.wait().exits(0);
}
