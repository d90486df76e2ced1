//! Reading what others pack, compressed or not, from a file or a pipe.

use std::fs::{self, File};
use std::io::Write as _;

use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::tempdir;

use super::{names, place, single, standard};
use crate::support::barge::{barge, copy, run};
use crate::support::image::archive::{Archive, pack};
use crate::support::image::{Bundle, Layout, write_layout};
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::{Fault, Request};

#[test]
fn what_skopeo_packs_arrives_whole() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    let (directory, archive) = place();
    let from = source.reference("x:1");
    skopeo::copy_all(&from, &archive.reference("v1"));
    assert_eq!(
        run(&["list-tags", &archive.reference("")]).exits(0).stdout,
        "v1\n"
    );
    let tag = copy(&[], &archive.reference(""), &destination.reference("y"))
        .exits(0)
        .tag("v1");
    assert_eq!(tag["digest"], image.digest());
    let layout = Layout::at(&directory.path().join("layout"));
    copy(&[], &destination.reference("y:v1"), &layout.reference("")).exits(0);
    assert_eq!(layout.manifest("v1"), Some(image.root.clone()));
}

/// An archive of two images, as it is, as gzip and as zstd packs it.
fn packings() -> (tempfile::TempDir, [Archive; 3]) {
    let directory = tempdir().expect("a temporary directory");
    let images = [
        ("1", Bundle::from(&standard())),
        ("2", Bundle::from(&single(2))),
    ];
    write_layout(&directory.path().join("layout"), &images);
    let plain = pack(
        &directory.path().join("layout"),
        &directory.path().join("a.tar"),
    );
    let bytes = plain.bytes();
    let gzip = directory.path().join("a.tar.gz");
    let mut encoder = GzEncoder::new(
        File::create(&gzip).expect("a file"),
        flate2::Compression::fast(),
    );
    encoder
        .write_all(&bytes)
        .and_then(|()| encoder.try_finish())
        .expect("written");
    let zstd = directory.path().join("a.tar.zst");
    fs::write(&zstd, zstd::encode_all(&bytes[..], 1).expect("packed")).expect("written");
    (directory, [plain, Archive::at(&gzip), Archive::at(&zstd)])
}

#[test]
fn compressed_archives_and_pipes_are_read_too() {
    let (_directory, archives) = packings();
    let layer = &single(2).layers[2];
    for archive in archives {
        for from_pipe in [false, true] {
            let target = tempdir().expect("a temporary directory");
            let layout = Layout::at(&target.path().join("layout"));
            let spool = tempdir().expect("a temporary directory");
            let source = if from_pipe {
                "oci-archive:-".to_owned()
            } else {
                archive.reference("")
            };
            let pipe = format!(
                "mkfifo p && (cat {} > p &) && exec < p",
                archive.path().display()
            );
            barge()
                .args(["copy", "--all-tags", &source, &layout.reference("")])
                .env("TMPDIR", spool.path())
                .after(if from_pipe { &pipe } else { "true" })
                .run()
                .exits(0);
            assert_eq!(layout.manifest("1"), Some(standard().root.clone()));
            assert_eq!(
                layout.blob(&layer.digest()).as_deref(),
                Some(&layer.bytes[..])
            );
            assert!(names(spool.path()).is_empty());
        }
    }
}

#[test]
fn a_missing_file_another_format_and_a_choice_are_told() {
    let (directory, [plain, ..]) = packings();
    let inspect = |reference: &str| run(&["inspect", reference]).exits(1).stderr;
    let said = inspect(&Archive::at(&directory.path().join("none")).reference(""));
    assert!(said.contains("there is no such file"), "{said}");
    let said = inspect(&plain.reference(""));
    for (name, platform) in [("1", "linux/amd64, "), ("2", "linux/arm64)")] {
        let choice = format!("{} ({platform}", plain.reference(name));
        assert!(said.contains(&choice), "{said}");
    }
    let said = inspect(&Archive::at(&directory.path().join("layout")).reference(""));
    assert!(
        said.contains("it is a directory") && said.contains("write oci:"),
        "{said}"
    );
    let xz = Archive::at(&directory.path().join("a.tar.xz"));
    fs::write(xz.path(), b"\xfd7zXZ\0 and more").expect("a file");
    let said = inspect(&xz.reference(""));
    assert!(said.contains("xz; gzip and zstd are understood"), "{said}");
}

/// Every layer is read at its own place while others are.
#[test]
fn blobs_are_read_side_by_side() {
    let destination = FakeRegistry::start();
    let (_directory, [plain, ..]) = packings();
    destination.on(|request| {
        let is_upload = request.method == "PUT" && request.is_upload();
        is_upload.then_some(Fault::Delay(std::time::Duration::from_millis(200)))
    });
    let report = copy(
        &["--all-tags"],
        &plain.reference(""),
        &destination.reference("y"),
    )
    .exits(0)
    .json();
    assert_eq!(report["totals"]["copied"], json!(2));
    assert!(destination.peak(Request::is_upload) >= 4);
}
