//! Archives that come through a pipe and are not whole: what came is brought, and the fault is told once.

use std::io::Write as _;

use tempfile::tempdir;

use super::arriving::{END, Pipe, bundle, header_of};
use super::{large, single, tagged};
use crate::support::barge::{Barge, Output, barge};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::Layout;
use crate::support::registry::FakeRegistry;

const TAGS: [&str; 6] = ["1", "2", "3", "4", "5", "6"];

/// What became of `command` when these bytes came; it may have stopped reading before their end.
fn piped(bytes: &[u8], pipe: &Pipe, command: Barge) -> Output {
    let (running, mut writer) = pipe.spawn(command);
    let _ = writer.write_all(bytes);
    drop(writer);
    running.wait()
}

fn six() -> Vec<u8> {
    bundle(&tagged(1..=6))
}

/// How an archive is damaged: its bytes, and how many of its tags come whole.
fn damages() -> [(&'static str, Vec<u8>, usize); 5] {
    let bytes = six();
    let at = |seed| header_of(&bytes, &large(seed));
    let hole = at(3) + 100_000;
    [
        ("no end mark", bytes[..bytes.len() - END.len()].to_vec(), 6),
        ("the middle", bytes[..at(4) + 1000].to_vec(), 3),
        (
            "a hole",
            [&bytes[..hole], &bytes[hole + 200_123..]].concat(),
            2,
        ),
        (
            "a hole of blocks",
            [&bytes[..hole], &bytes[hole + 1_024_000..]].concat(),
            2,
        ),
        ("the beginning", bytes[..at(1) + 1000].to_vec(), 0),
    ]
}

#[track_caller]
fn assert_brought(output: Output, (case, whole): (&str, usize), has: impl Fn(&str) -> bool) {
    let output = output.exits(if whole == 0 { 1 } else { 3 });
    let report = output.json();
    assert_eq!(report["error"]["kind"], "protocol", "{case}: {report:#}");
    for (index, tag) in TAGS.iter().enumerate() {
        let told = output.tag(tag);
        let status = if index < whole { "copied" } else { "failed" };
        assert_eq!(told["status"], status, "{case}: {report:#}");
        assert_eq!(has(tag), index < whole, "{case}, {tag}");
        // The blob that a hole is in came, and is another one.
        if index > whole {
            assert_eq!(told["error"]["message"], report["error"]["message"]);
        }
    }
}

#[test]
fn what_came_whole_is_brought_into_a_registry() {
    for (case, bytes, whole) in damages() {
        let inside = DockerRegistry::start();
        let pipe = Pipe::new();
        let command = pipe.copy(&["--all-tags"], &inside.reference("x"));
        let output = piped(&bytes, &pipe, command);
        let client = inside.client();
        assert_brought(output, (case, whole), |tag| {
            let seed = tag.parse().expect("a number");
            client.manifest("x", tag) == Some(single(seed).manifest)
        });
    }
}

#[test]
fn what_came_whole_is_brought_into_a_layout() {
    for (case, bytes, whole) in damages() {
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("layout");
        let layout = Layout::at(&path);
        let pipe = Pipe::new();
        let command = pipe.copy(&["--all-tags"], &layout.reference(""));
        let output = piped(&bytes, &pipe, command);
        let has = path
            .join("index.json")
            .exists()
            .then(|| layout.references());
        let has = has.unwrap_or_default();
        assert_brought(output, (case, whole), |tag| {
            has.iter().any(|name| name == tag)
        });
    }
}

fn said(bytes: &[u8], options: &[&str], code: i32) -> String {
    let inside = FakeRegistry::start();
    let pipe = Pipe::new();
    let command = barge()
        .args([
            "copy",
            "--all-tags",
            "oci-archive:-",
            &inside.reference("x"),
        ])
        .args(options)
        .env("TMPDIR", pipe.spool());
    piped(bytes, &pipe, command).exits(code).stdout
}

#[test]
fn a_fault_is_told_once() {
    let [no_end, middle, ..] = damages();
    let rollback = ["--policy", "rollback"];
    for (bytes, options, code, expected) in [
        (
            &no_end.1,
            &[][..],
            3,
            "PARTIAL: no tag failed (6 tags copied or current), but the source could not be read to its end",
        ),
        (&no_end.1, &rollback, 4, "6 tags: 6 rolled back"),
        (
            &middle.1,
            &[],
            3,
            "PARTIAL: 3 of 6 tags failed\n4, 5, 6: what is needed did not come\n6 tags",
        ),
        (
            &middle.1,
            &rollback,
            4,
            "\n4, 5, 6: protocol: failed to read archive",
        ),
    ] {
        let said = said(bytes, options, code);
        for once in [
            expected,
            "it is cut off",
            "hint: see whether what is before the pipe failed; bring lost parts again",
        ] {
            assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
        }
        assert!(!said.contains("harm"), "{said}");
    }
}

#[test]
fn what_is_no_archive_is_called_so() {
    for bytes in [&b"hello\n"[..], &[b'x'; 2000]] {
        let said = said(bytes, &[], 1);
        assert!(said.contains("it is no tar file"), "{said}");
        assert!(said.contains("what is before the pipe failed"), "{said}");
    }
}

#[test]
fn a_cut_below_compression_is_told_with_a_hint() {
    let bytes = six();
    let gzip = super::tail::gzip(&bytes);
    let zstd = zstd::encode_all(&bytes[..], 1).expect("packed");
    for packed in [&gzip, &zstd] {
        let half = &packed[..packed.len() / 2];
        let told = said(half, &[], 3);
        assert!(told.contains("it is cut off"), "{told}");
        assert!(told.contains("what is before the pipe failed"), "{told}");

        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("half.tar");
        std::fs::write(&path, half).expect("a file");
        let from = format!("oci-archive:{}", path.display());
        let verified = barge().args(["verify", "--all-tags", &from]).run().exits(1);
        assert!(verified.stdout.contains("it is cut off"), "{verified:#?}");
        assert!(verified.stdout.contains("bring it again"), "{verified:#?}");
    }
}
