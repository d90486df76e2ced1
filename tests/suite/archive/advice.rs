//! What is said of archives helps with archives: nobody pushes an image to a file.

use std::fs;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::hostile::{honest, packed, saved};
use super::{docker, place, single, standard, tagged};
use crate::support::barge::{copy, run};
use crate::support::image::archive::Archive;
use crate::support::registry::FakeRegistry;

/// An archive of these members, and the directory that it is in.
fn written(members: &[(String, Vec<u8>)]) -> (tempfile::TempDir, Archive) {
    let (directory, archive) = place();
    let bytes = [&packed(members)[..], &[0; 1024]].concat();
    fs::write(archive.path(), bytes).expect("a file");
    (directory, archive)
}

/// The errors of a report: the run's, or those of its tags.
fn errors(report: &Value) -> Vec<Value> {
    let tags = report["tags"].as_array().into_iter().flatten();
    let errors = tags.map(|tag| &tag["error"]);
    let errors = errors
        .chain([&report["error"]])
        .filter(|error| !error.is_null());
    errors.cloned().collect()
}

/// Copies and verifies what is at `reference`; each has to say how an archive is mended.
#[track_caller]
fn is_to_be_brought_again(case: &str, reference: &str) {
    let destination = FakeRegistry::start();
    let to = destination.reference("y");
    for arguments in [
        &["copy", "--all-tags"][..],
        &["verify", "--all-tags", "--deep"],
    ] {
        let mut words = arguments.to_vec();
        words.extend(["-o", "json", reference]);
        if words[0] == "copy" {
            words.push(&to);
        }
        let report = run(&words).exits(1).json();
        let errors = errors(&report);
        assert!(!errors.is_empty(), "{case}: {report:#}");
        for error in errors {
            let hint = error["hint"].as_str().expect("a hint");
            assert!(
                hint.contains("bring it again, or have it made anew"),
                "{case}: {error:#}"
            );
        }
    }
}

#[test]
fn a_damaged_oci_archive_is_to_be_brought_again() {
    let image = single(1);
    let whole = honest(&image);
    for (place, (name, bytes)) in whole.iter().enumerate() {
        if name != "index.json" {
            let without: Vec<_> = whole
                .iter()
                .filter(|(other, _)| other != name)
                .cloned()
                .collect();
            let (_directory, archive) = written(&without);
            is_to_be_brought_again("missing", &archive.reference(""));
        }
        let mut spoilt = whole.clone();
        // Of the same length, and no JSON any more.
        spoilt[place].1 = vec![b'x'; bytes.len()];
        let (_directory, archive) = written(&spoilt);
        is_to_be_brought_again("spoilt", &archive.reference(""));
    }
}

#[test]
fn a_damaged_docker_archive_is_to_be_brought_again() {
    let whole = saved(&single(1));
    let with = |name: &str, text: Value| {
        let mut members = whole.clone();
        let member = members.iter_mut().find(|(other, _)| other == name);
        member.expect("it").1 = text.to_string().into();
        members
    };
    let list = |config: &str, name: &str, layers: &[&str]| json!([{"Config": config, "RepoTags": [name], "Layers": layers}]);
    let all = ["0.tar", "1.tar", "2.tar"];
    for (case, members) in [
        ("no list", with("manifest.json", json!({}))),
        (
            "climbs",
            with("manifest.json", list("../c.json", "app:1", &all)),
        ),
        (
            "gone",
            with("manifest.json", list("c.json", "app:1", &["9.tar"])),
        ),
        (
            "no name",
            with("manifest.json", list("c.json", "A::", &all)),
        ),
        (
            "fewer",
            with("manifest.json", list("c.json", "app:1", &all[1..])),
        ),
        ("no config", with("c.json", json!("x"))),
        ("other bytes", with("1.tar", json!("x"))),
    ] {
        let (_directory, archive) = written(&members);
        is_to_be_brought_again(case, &docker(&archive, ""));
    }
}

/// `mktemp` makes the file that an archive is to be, and makes it its owner's alone.
#[cfg(unix)]
#[test]
fn an_empty_file_is_written_and_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let source = tagged([1]);
    for is_docker in [false, true] {
        let (_directory, archive) = place();
        fs::write(archive.path(), "").expect("a file");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(archive.path(), private).expect("a mode");
        let (to, from) = if is_docker {
            (docker(&archive, ":app:1"), docker(&archive, ""))
        } else {
            (archive.reference("1"), archive.reference(""))
        };
        let report = run(&["verify", "--all-tags", "-o", "json", &from])
            .exits(1)
            .json();
        let message = report["error"]["message"].as_str().expect("a message");
        assert!(message.ends_with("it is empty"), "{report:#}");
        copy(&[], &source.reference("x:1"), &to).exits(0);
        run(&["verify", "--all-tags", "--deep", &from]).exits(0);
        let mode = fs::metadata(archive.path())
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Where platforms are absent since nobody copied them, `--arch` is what was meant.
#[test]
fn verify_of_a_sparse_archive_speaks_of_the_platforms() {
    let source = FakeRegistry::start();
    standard().push_to(&source, "x:1");
    let (_directory, archive) = place();
    let sparse = ["--arch", "amd64", "--mode", "sparse-index"];
    copy(&sparse, &source.reference("x:1"), &archive.reference("1")).exits(0);
    let verify = |options: &[&str]| {
        let reference = archive.reference("");
        run(&[&["verify", "-o", "json"], options, &[&reference]].concat())
    };
    let report = verify(&[]).exits(1).json();
    let hint = report["tags"][0]["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("--arch A verifies those"), "{hint}");
    verify(&["--arch", "amd64"]).exits(0);
    let report = verify(&["--arch", "amd64,arm64"]).exits(1).json();
    let hint = report["tags"][0]["error"]["hint"].as_str().expect("a hint");
    assert!(!hint.contains("--arch"), "{hint}");
}

/// Somebody unpacks an archive that leaves parts out: what is missing of the layout is no damage.
#[test]
fn an_unpacked_difference_is_called_one() {
    let source = tagged([1]);
    let directory = tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let have = run(&["inventory", &source.reference("x")]).exits(0).stdout;
    fs::write(path("have.json"), have).expect("a file");
    let archive = Archive::at(&path("x.tar"));
    let have = path("have.json").display().to_string();
    let from = source.reference("x");
    copy(
        &["--all-tags", "--have", &have],
        &from,
        &archive.reference(""),
    )
    .exits(0);
    tar::Archive::new(fs::File::open(archive.path()).expect("a file"))
        .unpack(path("layout"))
        .expect("unpacked");
    let layout = format!("oci:{}", path("layout").display());
    let told = |report: &Value| {
        let error = &report["error"];
        assert_eq!(error["kind"], "unsupported", "{report:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(
            message.contains("an unpacked archive that leaves parts"),
            "{report:#}"
        );
        error["hint"].as_str().expect("a hint").to_owned()
    };
    let registry = FakeRegistry::start();
    told(
        &copy(&["--all-tags"], &layout, &registry.reference("y"))
            .exits(1)
            .json(),
    );
    told(
        &copy(&[], &source.reference("x:1"), &format!("{layout}:1"))
            .exits(1)
            .json(),
    );
    let report = run(&["verify", "--all-tags", "-o", "json", &layout])
        .exits(1)
        .json();
    let hint = told(&report);
    // What the hint says makes it whole again.
    let (_, command) = hint.split_once("`tar -cf FILE ").expect("a command");
    let (options, _) = command.split_once('`').expect("a command");
    let again = Archive::at(&path("again.tar"));
    let mut tar = std::process::Command::new("tar");
    let packed = tar
        .arg("-cf")
        .arg(again.path())
        .args(options.split(' '))
        .status();
    assert!(packed.is_ok_and(|status| status.success()));
    copy(
        &["--all-tags"],
        &again.reference(""),
        &source.reference("x"),
    )
    .exits(0);
}
