//! Files whose images have whole names, `localhost/app:1`, as podman and docker save them: a registry gets
//! their tags.

use std::path::Path;

use super::peers::podman;
use super::{docker, place, single, tagged};
use crate::support::barge::{Output, copy, run};
use crate::support::client::Client;
use crate::support::image::archive::Archive;
use crate::support::registry::FakeRegistry;

/// What podman saves of images that it calls so.
fn saved(directory: &Path, format: &str, names: &[(&str, u64)]) -> Archive {
    let source = tagged(names.iter().map(|(_, seed)| *seed));
    for (name, seed) in names {
        let loaded = directory.join("loaded.tar");
        let seed = seed.to_string();
        let target = docker(&Archive::at(&loaded), ":seed");
        copy(
            &["--force"],
            &source.reference(&format!("x:{seed}")),
            &target,
        )
        .exits(0);
        podman(directory, &["load", "-i", "loaded.tar"]);
        podman(
            directory,
            &["tag", &format!("docker.io/library/seed:{seed}"), name],
        );
    }
    let names = names.iter().map(|(name, _)| *name);
    let many = if format == "docker-archive" {
        vec!["-m"]
    } else {
        vec![]
    };
    let options = ["save", "--format", format, "-o", "saved.tar"];
    let arguments: Vec<&str> = options.into_iter().chain(many).chain(names).collect();
    podman(directory, &arguments);
    Archive::at(&directory.join("saved.tar"))
}

/// The image that came under this tag is the one of `seed`.
#[track_caller]
fn has(registry: &FakeRegistry, repository: &str, (tag, seed): (&str, u64)) {
    let manifest = Client::new(&registry.host(), None).manifest(repository, tag);
    let manifest = manifest.unwrap_or_else(|| panic!("{repository}:{tag} is not there"));
    let text = String::from_utf8(manifest.bytes.to_vec()).expect("JSON");
    assert!(text.contains(&single(seed).config_digest()), "{text}");
}

fn all(options: &[&str], source: &str, destination: &str) -> Output {
    copy(&[&["--all-tags"], options].concat(), source, destination)
}

#[test]
fn what_podman_saves_as_an_oci_archive_arrives_under_its_tag() {
    let (directory, _) = place();
    let archive = saved(
        directory.path(),
        "oci-archive",
        &[("localhost/team/app:v1", 1)],
    );
    let source = archive.reference("");
    let listed = run(&["list-tags", &source]).exits(0).stdout;
    assert_eq!(listed, "localhost/team/app:v1\n");
    let whole = archive.reference(listed.trim());
    run(&["inspect", &whole]).exits(0);
    let destination = FakeRegistry::start();
    for (repository, source, options) in [
        ("a", &source, &["--all-tags"][..]),
        ("b", &source, &["--tag-glob", "v?"]),
        ("c", &source, &["--tags", "v1"]),
        (
            "d",
            &archive.reference("localhost/team/app"),
            &["--all-tags"],
        ),
        ("e", &whole, &[]),
        ("f", &source, &[]),
    ] {
        let output = copy(options, source, &destination.reference(repository)).exits(0);
        let tag = &output.json()["tags"][0];
        assert_eq!(tag["status"], "copied", "{output:#?}");
        let came = Client::new(&destination.host(), None).manifest(repository, "v1");
        assert_eq!(came, archive.manifest(listed.trim()), "{repository}");
        let verified = ["verify", "--all-tags", "--against", &archive.reference("")];
        let place = destination.reference(repository);
        run(&[&verified[..], &[&place]].concat()).exits(0);
    }
    let output = all(&[], &source, &destination.reference("a")).exits(0);
    let tag = output.tag("localhost/team/app:v1");
    assert_eq!(
        (&tag["status"], &tag["destination_tag"]),
        (&"current".into(), &"v1".into())
    );

    // From file to file as well, with the repository in the name that containerd goes by.
    let second = Archive::at(&directory.path().join("second.tar"));
    all(&[], &source, &second.reference("")).exits(0);
    assert_eq!(second.references(), ["v1"]);
    let name = &second.entries()[0]["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "localhost/team/app:v1");
}

#[test]
fn repositories_whose_tags_differ_are_one_copy() {
    let (directory, _) = place();
    let names = [("localhost/app:1", 1), ("localhost/base:2", 2)];
    let archive = saved(directory.path(), "docker-archive", &names);
    let destination = FakeRegistry::start();
    all(&[], &docker(&archive, ""), &destination.reference("y")).exits(0);
    has(&destination, "y", ("1", 1));
    has(&destination, "y", ("2", 2));
}

#[test]
fn of_several_repositories_with_the_same_tags_one_is_named() {
    let (directory, _) = place();
    let names = [
        ("localhost/app:1", 1),
        ("localhost/app:2", 2),
        ("localhost/base:1", 3),
    ];
    let archive = saved(directory.path(), "docker-archive", &names);
    let source = docker(&archive, "");
    let destination = FakeRegistry::start();
    let output = all(&[], &source, &destination.reference("y")).exits(1);
    let error = &output.json()["error"];
    assert_eq!(error["kind"], "conflict", "{output:#?}");
    let message = error["message"].as_str().expect("a message");
    assert!(
        message
            .contains("2 of the selected images have the tag 1: localhost/app:1, localhost/base:1"),
        "{message}"
    );
    let one = |name: &str| docker(&archive, &format!(":localhost/{name}"));
    let hint = error["hint"].as_str().expect("a hint");
    let choices = format!("{} or {}", one("app"), one("base"));
    assert!(hint.contains(&choices), "{hint}");
    assert_eq!(destination.count(|request| request.method == "PUT"), 0);

    all(&[], &one("app"), &destination.reference("app")).exits(0);
    has(&destination, "app", ("1", 1));
    has(&destination, "app", ("2", 2));
    let glob = ["--tag-glob", "1"];
    copy(&glob, &one("base"), &destination.reference("base")).exits(0);
    has(&destination, "base", ("1", 3));
    let whole = ["--tag-glob", "localhost/base:*"];
    copy(&whole, &source, &destination.reference("again")).exits(0);
    has(&destination, "again", ("1", 3));
    let listed = run(&["list-tags", &source]).exits(0).stdout;
    assert_eq!(
        listed,
        "localhost/app:1\nlocalhost/app:2\nlocalhost/base:1\n"
    );
    for name in listed.lines() {
        run(&["inspect", &docker(&archive, &format!(":{name}"))]).exits(0);
    }
    let listed = run(&["list-tags", &one("base")]).exits(0).stdout;
    assert_eq!(listed, "localhost/base:1\n");

    // A file can hold both, and is read as this one.
    let bundle = Archive::at(&directory.path().join("bundle.tar"));
    all(&[], &source, &bundle.reference("")).exits(0);
    assert_eq!(
        bundle.references(),
        ["localhost/app:1", "localhost/base:1", "2"]
    );
    let again = bundle.reference("localhost/app");
    all(&[], &again, &destination.reference("third")).exits(0);
    has(&destination, "third", ("1", 1));
    has(&destination, "third", ("2", 2));
    let none = all(
        &[],
        &bundle.reference("localhost/none"),
        &destination.reference("z"),
    )
    .exits(1);
    assert_eq!(none.json()["error"]["kind"], "not-found", "{none:#?}");
}

/// Also where a file holds one repository, whose images it lists by their tags.
#[test]
fn whole_names_select_in_files_of_one_repository() {
    let source = FakeRegistry::start();
    for seed in [1, 2] {
        single(seed).push_to(&source, &format!("team/app:v{seed}"));
    }
    let (directory, archive) = place();
    let from = source.reference("team/app");
    let layout = format!("oci:{}", directory.path().join("layout").display());
    let saved = docker(&Archive::at(&directory.path().join("saved.tar")), "");
    let whole = format!("{}/team/app:v2", source.host());
    for file in [archive.reference(""), layout, saved] {
        all(&[], &from, &file).exits(0);
        let listed = |option: &str, pattern: &str| {
            run(&["list-tags", option, pattern, &file]).exits(0).stdout
        };
        assert_eq!(listed("--tags", &whole), "v2\n", "{file}");
        assert_eq!(listed("--tag-glob", &whole), "v2\n", "{file}");
        assert_eq!(listed("--exclude-tags", &whole), "v1\n", "{file}");
        // What may be meant for tags is compared with tags alone.
        assert_eq!(listed("--tags", "1.*"), "", "{file}");
        assert_eq!(listed("--tags", "v.*"), "v1\nv2\n", "{file}");
        let registry = FakeRegistry::start();
        copy(&["--tags", &whole], &file, &registry.reference("x")).exits(0);
        assert_eq!(registry.store.tags("x"), ["v2"], "{file}");
        run(&["verify", "--tags", &whole, &file]).exits(0);
        // A repository that is not in it.
        if !file.starts_with("oci:") {
            let nowhere = format!("{file}:nowhere.example/app");
            let output = all(&[], &nowhere, &registry.reference("x")).exits(1);
            let hint = output.json()["error"]["hint"].to_string();
            let named = format!("{file}:{}/team/app", source.host());
            assert!(hint.contains(&named), "{output:#?}");
        }
    }
}
