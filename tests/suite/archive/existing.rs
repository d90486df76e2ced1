//! An archive that is there already is added to, as a layout is, and what is another's stays.

use serde_json::json;

use super::{names, place, single, standard, tagged};
use crate::support::barge::{copy, run};
use crate::support::image::archive::{Archive, blob_name};
use crate::support::image::{Form, ImageSpec, IndexBuilder, Layer, Layout, push, write_layout};
use crate::support::registry::FakeRegistry;

#[test]
fn what_is_there_stays_and_is_not_fetched_again() {
    let source = tagged([1, 2, 3]);
    let (directory, archive) = place();
    let one = |tag: &str| {
        copy(
            &[],
            &source.reference(&format!("x:{tag}")),
            &archive.reference(""),
        )
        .exits(0)
    };
    one("1");
    source.clear_log();
    let tag = one("2").tag("2");
    assert_eq!(
        (&tag["blobs"]["copied"], &tag["blobs"]["existing"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        source.count(|request| request.is("GET", &single(1).layers[0].digest())),
        0
    );
    assert_eq!(archive.references(), ["1", "2"]);
    for seed in [1, 2] {
        assert_eq!(
            archive.manifest(&seed.to_string()),
            Some(single(seed).manifest.clone())
        );
        for layer in &single(seed).layers {
            assert_eq!(archive.files()[&blob_name(&layer.digest())], layer.bytes);
        }
    }

    let before = archive.bytes();
    assert_eq!(one("2").tag("2")["status"], "current");
    assert!(archive.bytes() == before, "a current archive is left alone");

    // What no entry reaches any more is left behind.
    copy(&[], &source.reference("x:3"), &archive.reference("1")).exits(0);
    assert_eq!(archive.manifest("1"), Some(single(3).manifest.clone()));
    let files = archive.files();
    assert!(!files.contains_key(&blob_name(&single(1).layers[2].digest())));
    assert!(files.contains_key(&blob_name(&single(2).layers[2].digest())));
    assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());
}

#[test]
fn what_is_there_stays_whole_when_a_tag_that_shares_blobs_with_it_fails() {
    let source = tagged([1, 2]);
    let (_directory, archive) = place();
    let to = archive.reference("");
    copy(&[], &source.reference("x:1"), &to).exits(0);
    let lost = Layer::random(9, 900_000);
    let lacking = ImageSpec::new("linux", "amd64").layer(lost.clone()).build();
    let index = IndexBuilder::new(Form::Oci)
        .image(&lacking)
        .image(&single(1));
    push(&index.build(), &source, "x:3");
    source.store.remove_blob("x", &lost.digest());
    // The lost blob comes first, and alone: those behind it are not wanted any more by the tag.
    let options = ["--tag-glob", "2,3", "--jobs", "1"];
    let output = copy(&options, &source.reference("x"), &to).exits(3);
    assert_eq!(output.tag("2")["status"], "copied");
    assert_eq!(output.tag("3")["status"], "failed");
    assert_eq!(archive.references(), ["1", "2"]);
    run(&["verify", &archive.reference("1")]).exits(0);
    for seed in [1, 2] {
        for layer in &single(seed).layers {
            assert_eq!(archive.files()[&blob_name(&layer.digest())], layer.bytes);
        }
    }
}

#[test]
fn a_sparse_index_is_filled_up() {
    let source = FakeRegistry::start();
    let image = standard();
    image.push_to(&source, "x:1");
    let (_directory, archive) = place();
    for arch in ["amd64", "arm64"] {
        let options = ["--arch", arch, "--mode", "sparse-index"];
        copy(&options, &source.reference("x:1"), &archive.reference("")).exits(0);
    }
    let inspected = run(&["inspect", &archive.reference("1")]).exits(0).stdout;
    assert!(inspected.contains("2 of 3 present"), "{inspected}");
    let files = archive.files();
    for platform in ["amd64", "arm64"] {
        assert!(files.contains_key(&blob_name(&image.image(platform).layers[0].digest())));
    }
}

#[test]
fn a_file_that_is_no_archive_is_left_alone() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let (_directory, archive) = place();
    std::fs::write(archive.path(), "my diary").expect("a file");
    let output = copy(&[], &source.reference("x:1"), &archive.reference("")).exits(1);
    assert_eq!(output.json()["error"]["kind"], "protocol", "{output:#?}");
    assert_eq!(archive.bytes(), b"my diary");
}

#[test]
fn a_compressed_archive_becomes_a_plain_one_only_by_force() {
    let source = tagged([1, 2]);
    let from = |seed: u64| source.reference(&format!("x:{seed}"));
    let (_directory, archive) = place();
    copy(&[], &from(1), &archive.reference("")).exits(0);
    let plain = archive.bytes();
    let packed = zstd::encode_all(&plain[..], 1).expect("packed");
    std::fs::write(archive.path(), &packed).expect("written");
    let output = copy(&[], &from(2), &archive.reference("")).exits(1);
    let error = &output.json()["error"];
    assert_eq!(error["kind"], "conflict", "{output:#?}");
    assert!(output.stdout.contains("compressed"), "{output:#?}");
    assert_eq!(archive.bytes(), packed);
    copy(&["--force"], &from(2), &archive.reference("")).exits(0);
    assert_eq!(archive.references(), ["1", "2"]);
}

#[test]
fn a_name_that_says_compressed_is_refused() {
    let source = tagged([1]);
    let (directory, _) = place();
    for name in ["a.tgz", "a.tar.gz", "a.tar.ZST", "a.tar.xz"] {
        for transport in ["oci-archive", "docker-archive"] {
            let path = directory.path().join(name);
            let to = format!("{transport}:{}", path.display());
            let output = copy(&[], &source.reference("x:1"), &to).exits(2);
            assert!(output.stderr.contains("plain tar"), "{output:#?}");
        }
    }
    assert!(names(directory.path()).is_empty());
    assert_eq!(source.count(|_| true), 0);
}

#[test]
fn another_repositorys_image_is_replaced_only_by_force() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "ours/a:1");
    single(2).push_to(&source, "theirs/a:1");
    single(3).push_to(&source, "theirs/a:2");
    let (directory, archive) = place();
    let layout = Layout::at(&directory.path().join("layout"));
    for destination in [archive.reference(""), layout.reference("")] {
        copy(&[], &source.reference("ours/a:1"), &destination).exits(0);
        let theirs = source.reference("theirs/a");
        let output = copy(&["--all-tags"], &theirs, &destination).exits(3);
        let refused = output.tag("1");
        assert_eq!(refused["error"]["kind"], "conflict", "{refused:#}");
        let message = refused["error"]["message"].as_str().expect("a message");
        assert!(
            message.contains("/ours/a ") && message.contains("/theirs/a"),
            "{message}"
        );
        assert_eq!(output.tag("2")["status"], "copied");
        let tags = run(&["list-tags", &destination]).exits(0).stdout;
        assert_eq!(tags, "1\n2\n");
        copy(&["--force"], &source.reference("theirs/a:1"), &destination).exits(0);
        let inspected = run(&["inspect", "-o", "json", &format!("{destination}:1")]).exits(0);
        assert_eq!(inspected.json()["digest"], single(2).manifest.digest());
    }
}

/// What says nothing of its repository may be another's.
#[test]
fn an_image_of_unknown_origin_replaces_a_named_one_only_by_force() {
    let source = FakeRegistry::start();
    for (seed, tag) in [(1, "1"), (2, "2"), (1, "3")] {
        single(seed).push_to(&source, &format!("ours/a:{tag}"));
    }
    let (directory, archive) = place();
    let at = |name: &str| Layout::at(&directory.path().join(name));
    let (layout, named) = (at("layout"), at("named"));
    let images = [("1", (&single(2)).into()), ("3", (&single(1)).into())];
    let plain = write_layout(&directory.path().join("plain"), &images);
    let ours = |tag: &str| source.reference(&format!("ours/a:{tag}"));
    copy(
        &["--all-tags"],
        &source.reference("ours/a"),
        &named.reference(""),
    )
    .exits(0);
    for destination in [archive.reference(""), layout.reference("")] {
        for tag in ["1", "3"] {
            copy(&[], &ours(tag), &destination).exits(0);
        }
        let output = copy(&["--all-tags"], &plain.reference(""), &destination).exits(3);
        let refused = &output.tag("1")["error"];
        assert_eq!(refused["kind"], "conflict", "{output:#?}");
        let message = refused["message"].as_str().expect("a message");
        assert!(message.contains("/ours/a there, of this one"), "{message}");
        // The same image keeps the name that is known of it.
        assert_eq!(output.tag("3")["status"], "current");
        // From a file that says the repository it is an update.
        let two = named.reference("2");
        let output = copy(&[], &two, &format!("{destination}:1")).exits(0);
        assert_eq!(output.tag("2")["status"], "copied");
        let back = copy(&[], &plain.reference("3"), &format!("{destination}:1"));
        assert_eq!(back.exits(1).tag("3")["error"]["kind"], "conflict");
        let plain = plain.reference("3");
        copy(&["--force"], &plain, &format!("{destination}:1")).exits(0);
        copy(&[], &named.reference("2"), &format!("{destination}:1")).exits(0);
    }
    let name = |tag: &str| json!(format!("{}/ours/a:{tag}", source.host()));
    for entry in archive.entries() {
        let annotations = &entry["annotations"];
        let tag = annotations["org.opencontainers.image.ref.name"].as_str();
        let named = &annotations["io.containerd.image.name"];
        assert_eq!(*named, name(tag.expect("a REF")), "{entry:#}");
    }
}

/// The names that containerd and podman go by come along from file to file.
#[test]
fn names_survive_from_archive_to_archive() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "team/app:v1");
    let (directory, archive) = place();
    copy(
        &[],
        &source.reference("team/app:v1"),
        &archive.reference(""),
    )
    .exits(0);
    let second = Archive::at(&directory.path().join("second.tar"));
    copy(&[], &archive.reference(""), &second.reference("")).exits(0);
    assert_eq!(second.entries(), archive.entries());
    copy(&[], &archive.reference("v1"), &second.reference("v2")).exits(0);
    let name = format!("{}/team/app:v2", source.host());
    assert_eq!(
        second.entries()[1]["annotations"]["io.containerd.image.name"],
        name
    );
}
