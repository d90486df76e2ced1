//! What stands behind an archive's end mark is no part of it: it is not kept, and need not end.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tempfile::tempdir;

use super::arriving::{Pipe, bundle};
use super::{single, tagged};
use crate::support::barge::{Output, barge};
use crate::support::image::Layout;
use crate::support::image::archive::Archive;
use crate::support::skopeo;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

/// An archive of `x:1` whose index stands behind its blobs.
fn index_last() -> Vec<u8> {
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("skopeo.tar"));
    skopeo::copy_all(&tagged([1]).reference("x:1"), &archive.reference("1"));
    archive.bytes()
}

/// What a shell line, which has the archive as `$A`, pipes into a command.
fn piped(line: &str, archive: &Path, command: &[&str]) -> Output {
    let line = format!(
        "A={}; mkfifo p; {{ {line}; }} > p 2> /dev/null & exec < p",
        archive.display()
    );
    barge().args(command).after(&line).run()
}

/// It ends by itself, and soon.
#[test]
fn bytes_without_end_behind_an_archive_are_left() {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("a.tar");
    let inside = directory.path().join("layout");
    let layout = Layout::at(&inside);
    let to = layout.reference("");
    for archive in [bundle(&tagged([1])), index_last()] {
        fs::write(&path, &archive).expect("a file");
        for line in [
            "cat $A /dev/zero",
            "cat $A /dev/zero | gzip -1",
            "{ gzip -c $A; cat /dev/zero; }",
        ] {
            for command in [
                &["copy", "--all-tags", "oci-archive:-", &to][..],
                &["verify", "--all-tags", "oci-archive:-"],
            ] {
                piped(line, &path, command).exits(0);
            }
            assert_eq!(layout.manifest("1"), Some(single(1).manifest));
            fs::remove_dir_all(&inside).expect("a directory");
        }
    }
    let nothing = barge().args(["copy", "oci-archive:/dev/zero", &to]);
    let nothing = nothing.run().exits(1);
    assert!(nothing.stdout.contains("no index.json"), "{nothing:#?}");
}

/// Whoever writes it does not fail, and no disk is filled.
#[test]
fn what_fills_a_tape_is_read_and_not_kept() {
    let (front, last) = (bundle(&tagged([1])), index_last());
    for (bytes, packed) in [(&front, gzip(&front)), (&last, gzip(&last))] {
        for (bytes, fill) in [(bytes, 0), (bytes, b'x'), (&packed, 0), (&packed, b'x')] {
            let directory = tempdir().expect("a temporary directory");
            let layout = Layout::at(&directory.path().join("layout"));
            let pipe = Pipe::new();
            let command = pipe.copy(&["--all-tags"], &layout.reference(""));
            let (running, mut writer) = pipe.spawn_on_disk(command, "4m");
            let padded = [&bytes[..], &vec![fill; 20 << 20]].concat();
            writer.write_all(&padded).expect("it is read");
            drop(writer);
            running.wait().exits(0);
            assert_eq!(layout.manifest("1"), Some(single(1).manifest));
        }
    }
}
