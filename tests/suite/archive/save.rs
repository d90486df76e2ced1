//! Archives for `docker load`: what is in them, and that others take them for what they are.

use std::io::Write as _;

use serde_json::{Value, json};

use super::peers::podman;
use super::{docker, names, place, single, standard, tagged, unpacked};
use crate::support::barge::{copy, run};
use crate::support::client::Client;
use crate::support::content::sha256;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::Archive;
use crate::support::image::{Format, Image, ImageSpec, Layer, Layout};
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::Request;

fn list(archive: &Archive) -> Value {
    let list = archive.files().remove("manifest.json").expect("a list");
    serde_json::from_slice(&list).expect("JSON")
}

/// A layer called as the archive calls it.
fn layer_name(layer: &Layer) -> String {
    format!("{}.tar", layer.diff_id.trim_start_matches("sha256:"))
}

fn config_name(image: &Image) -> String {
    let digest = image.config_digest();
    format!("{}.json", digest.trim_start_matches("sha256:"))
}

/// What a registry holds of `tag` is `image`, but for how its layers are compressed.
#[track_caller]
fn is_same(client: &Client, (repository, tag): (&str, &str), image: &Image) {
    let manifest = client.manifest(repository, tag).expect("it arrived");
    let manifest: Value = serde_json::from_slice(&manifest.bytes).expect("JSON");
    assert_eq!(manifest["config"]["digest"], image.config_digest());
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let diff_ids = layers.map(|layer| {
        let digest = layer["digest"].as_str().expect("a digest");
        sha256(&unpacked(
            &client.blob(repository, digest).expect("it arrived"),
        ))
    });
    let expected = image.layers.iter().map(|layer| layer.diff_id.clone());
    assert_eq!(diff_ids.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn skopeo_takes_what_is_saved_and_finds_the_same_image() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "x/y:1");
    let (directory, archive) = place();
    let (from, to) = (source.reference("x/y:1"), docker(&archive, ""));
    let tag = copy(&["--arch", "arm64"], &from, &to).exits(0).tag("1");
    let saved = image.image("arm64");
    assert_eq!(tag["status"], "copied");
    assert_eq!(tag["source_digest"], image.digest());
    assert_eq!(tag["digest"], saved.config_digest());
    assert_eq!(tag["platforms"], json!(["linux/arm64/v8"]));
    assert_eq!(tag["blobs"]["copied"], json!(1 + saved.layers.len()));
    assert_eq!(names(directory.path()), ["bundle.tar".to_owned()].into());

    let named = format!("{}/x/y:1", source.host());
    assert_eq!(list(&archive)[0]["RepoTags"], json!([named]));
    skopeo::copy_all(&docker(&archive, ""), &destination.reference("skopeo:1"));
    is_same(&destination.client(), ("skopeo", "1"), saved);
    skopeo::copy_all(
        &docker(&archive, &format!(":{named}")),
        &destination.reference("skopeo:named"),
    );
    copy(&[], &docker(&archive, ""), &destination.reference("barge")).exits(0);
    is_same(&destination.client(), ("barge", "1"), saved);
}

#[test]
fn what_is_in_it_is_what_docker_writes() {
    let source = FakeRegistry::start();
    let image = single(1);
    image.push_to(&source, "x:1");
    let (_directory, archive) = place();
    let to = docker(&archive, ":team/app:v2");
    let tag = copy(&[], &source.reference("x:1"), &to).exits(0).tag("1");
    assert_eq!(tag["destination_tag"], "v2");
    let files = archive.files();
    let layers: Vec<String> = image.layers.iter().map(layer_name).collect();
    for (layer, name) in image.layers.iter().zip(&layers) {
        assert!(files[name] == unpacked(&layer.bytes), "{name}");
    }
    assert_eq!(files[&config_name(&image)], image.config);
    let expected = json!([{
        "Config": config_name(&image),
        "RepoTags": ["docker.io/team/app:v2"],
        "Layers": layers,
    }]);
    assert_eq!(list(&archive), expected);
    let repositories: Value = serde_json::from_slice(&files["repositories"]).expect("JSON");
    let top = image.layers[2].diff_id.trim_start_matches("sha256:");
    assert_eq!(repositories, json!({"docker.io/team/app": {"v2": top}}));
    assert_eq!(files.len(), 3 + 3, "{:?}", archive.names());
}

#[test]
fn barge_reads_what_it_saved() {
    let source = tagged([1, 2]);
    let (_directory, archive) = place();
    let (from, to) = (source.reference("x"), docker(&archive, ""));
    copy(&["--all-tags"], &from, &to).exits(0);
    assert_eq!(run(&["list-tags", &to]).exits(0).stdout, "1\n2\n");
    let checked = run(&["verify", "--deep", "--all-tags", &to]).exits(0);
    assert!(checked.stdout.contains("2 complete"), "{checked:#?}");
    let named = docker(&archive, &format!(":{}/x:2", source.host()));
    let shown = run(&["inspect", "-o", "json", &named]).exits(0).json();
    assert_eq!(
        shown["platforms"][0]["platform"], "linux/arm64",
        "{shown:#}"
    );
}

/// Two tags of one image are one entry, and a layer of several images is there once: also where it is
/// compressed otherwise.
#[test]
fn what_images_share_is_fetched_once_and_kept_once() {
    let source = FakeRegistry::start();
    let shared = Layer::random(7, 20_000);
    let other = Layer {
        bytes: zstd::encode_all(&unpacked(&shared.bytes)[..], 1)
            .expect("memory")
            .into(),
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
        ..shared.clone()
    };
    let image = |seed, layer: &Layer| {
        let spec = ImageSpec::new("linux", "arm64")
            .seed(seed)
            .layer(layer.clone());
        spec.layers(1, 3000).build()
    };
    let images = [image(1, &shared), image(2, &other), image(3, &shared)];
    for (image, tag) in images.iter().zip(["x:1", "x:2", "x:3"]) {
        image.push_to(&source, tag);
    }
    images[0].push_to(&source, "x:same");
    let (_directory, archive) = place();
    let output = copy(
        &["--all-tags"],
        &source.reference("x"),
        &docker(&archive, ""),
    );
    let report = output.exits(0).json();
    assert_eq!(report["totals"]["copied"], json!(4));
    let blobs = [&shared, &other].map(|layer| {
        let digest = layer.digest();
        source.count(|request: &Request| request.is("GET", &digest))
    });
    assert_eq!(blobs.iter().sum::<usize>(), 1);
    let name = layer_name(&shared);
    assert_eq!(
        archive
            .names()
            .iter()
            .filter(|known| **known == name)
            .count(),
        1
    );
    let list = list(&archive);
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    let tags = ["1", "same"].map(|tag| format!("{}/x:{tag}", source.host()));
    assert_eq!(list[0]["RepoTags"], json!(tags));
    let sent = report["tags"].as_array().expect("tags").iter();
    let sent: u64 = sent
        .map(|tag| tag["bytes"].as_u64().expect("a number"))
        .sum();
    assert_eq!(report["totals"]["bytes"], sent);
}

/// Whoever comes first, and whatever is fetched at once.
#[test]
fn the_same_images_make_the_same_bytes() {
    let source = tagged(0..12);
    let (directory, archive) = place();
    let from = source.reference("x");
    copy(&["--all-tags", "--jobs", "1"], &from, &docker(&archive, "")).exits(0);
    let other = Archive::at(&directory.path().join("other.tar"));
    copy(&["--all-tags", "--jobs", "8"], &from, &docker(&other, "")).exits(0);
    assert!(archive.bytes() == other.bytes());
}

#[test]
fn layers_of_any_packing_are_unpacked() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    let gzip = Layer::random(1, 400_000);
    let plain = unpacked(&Layer::random(2, 300_000).bytes);
    let second = unpacked(&Layer::random(3, 300_000).bytes);
    let of = |bytes: Vec<u8>, plain: &[u8], packing: &str| Layer {
        bytes: bytes.into(),
        media_type: format!("application/vnd.oci.image.layer.v1.tar{packing}"),
        diff_id: sha256(plain),
        urls: Vec::new(),
    };
    let zstd = zstd::encode_all(&plain[..], 3).expect("memory");
    let image = ImageSpec::new("linux", "amd64")
        .format(Format::Oci)
        .layer(gzip)
        .layer(of(zstd, &plain, "+zstd"))
        .layer(of(second.clone(), &second, ""))
        .build();
    image.push_to(&source, "x:1");
    let (_directory, archive) = place();
    copy(&[], &source.reference("x:1"), &docker(&archive, "")).exits(0);
    let files = archive.files();
    assert!(files[&layer_name(&image.layers[1])] == plain);
    skopeo::copy_all(&docker(&archive, ""), &destination.reference("y:1"));
    is_same(&destination.client(), ("y", "1"), &image);
}

/// Without a tag there is no name: it is loaded by its ID. Without a repository the user has to say one.
#[test]
fn an_image_is_called_as_was_asked_for_or_as_its_source_calls_it() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let tags = |archive: &Archive| list(archive)[0]["RepoTags"].clone();
    let from = source.reference("x:1");
    for (asked, called) in [
        ("", format!("{}/x:1", source.host())),
        (":alpine", "docker.io/library/alpine:1".to_owned()),
        (":quay.io/a/b:c", "quay.io/a/b:c".to_owned()),
    ] {
        let (_directory, archive) = place();
        copy(&[], &from, &docker(&archive, asked)).exits(0);
        assert_eq!(tags(&archive), json!([called]));
    }
    let by_digest = source.reference(&format!("x@{}", single(1).digest()));
    for (asked, called) in [
        ("", json!([])),
        (":alpine", json!(["docker.io/library/alpine:latest"])),
    ] {
        let (_directory, archive) = place();
        copy(&[], &by_digest, &docker(&archive, asked)).exits(0);
        assert_eq!(tags(&archive), called);
    }
    let (directory, archive) = place();
    copy(
        &["--all-tags"],
        &source.reference("x"),
        &docker(&archive, ":a/b"),
    )
    .exits(0);
    assert_eq!(tags(&archive), json!(["docker.io/a/b:1"]));

    let bundle = Archive::at(&directory.path().join("oci.tar"));
    copy(&[], &docker(&archive, ""), &bundle.reference("1")).exits(0);
    let (_directory, known) = place();
    copy(&[], &bundle.reference("1"), &docker(&known, "")).exits(0);
    assert_eq!(tags(&known), json!(["docker.io/a/b:1"]));

    let nameless = Layout::at(&directory.path().join("nameless"));
    skopeo::copy_all(&from, &nameless.reference("1"));
    let (_directory, archive) = place();
    let output = copy(&[], &nameless.reference("1"), &docker(&archive, "")).exits(1);
    assert_eq!(
        output.tag("1")["error"]["kind"],
        "unsupported",
        "{output:#?}"
    );
    copy(&[], &nameless.reference("1"), &docker(&archive, ":n")).exits(0);
    assert_eq!(tags(&archive), json!(["docker.io/library/n:1"]));
}

#[test]
fn the_summary_says_that_the_digest_is_the_images_id() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let (_directory, archive) = place();
    let said = run(&["copy", &source.reference("x:1"), &docker(&archive, "")]).exits(0);
    let digest = format!("digest: {} (the image ID)\n", single(1).config_digest());
    assert!(said.stdout.contains(&digest), "{}", said.stdout);
    let from = format!("source: {}\n", single(1).digest());
    assert!(said.stdout.contains(&from), "{}", said.stdout);
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let source = tagged([1, 2]);
    let (directory, archive) = place();
    let of = |options: &[&str]| {
        let options = [&["--all-tags"], options].concat();
        let output = copy(&options, &source.reference("x"), &docker(&archive, ""));
        let report = output.exits(0).json();
        let tags = report["tags"].as_array().expect("tags").clone();
        tags.into_iter()
            .map(|tag| (tag["digest"].clone(), tag["bytes"].clone()))
            .collect::<Vec<_>>()
    };
    let would = of(&["--dry-run"]);
    assert!(names(directory.path()).is_empty());
    assert_eq!(would, of(&[]));
}

#[test]
fn podman_loads_what_is_saved() {
    let source = tagged([1, 2]);
    let (directory, archive) = place();
    let (from, to) = (source.reference("x"), docker(&archive, ":team/app"));
    copy(&["--all-tags"], &from, &to).exits(0);
    let podman = |arguments: &[&str]| podman(directory.path(), arguments);
    let path = archive.path().display().to_string();
    let loaded = podman(&["load", "--input", &path]);
    assert!(loaded.contains("docker.io/team/app:2"), "{loaded}");
    let ids = podman(&["images", "--no-trunc", "--quiet"]);
    for seed in [1, 2] {
        assert!(ids.contains(&single(seed).config_digest()), "{ids}");
    }
}

#[test]
fn a_file_that_is_there_stays_unless_it_may_be_replaced() {
    let source = tagged([1, 2]);
    let (directory, archive) = place();
    let save = |options: &[&str], tag: &str| {
        let from = source.reference(&format!("x:{tag}"));
        copy(options, &from, &docker(&archive, ""))
    };
    std::fs::write(archive.path(), "").expect("a file");
    save(&[], "1").exits(0);
    let first = archive.bytes();
    source.clear_log();
    let output = save(&[], "2").exits(1);
    assert_eq!(output.json()["error"]["kind"], "conflict", "{output:#?}");
    assert!(output.stdout.contains("--force"), "{output:#?}");
    assert_eq!(source.count(|request| request.path.contains("/x/")), 0);
    assert!(archive.bytes() == first);
    save(&["--force"], "2").exits(0);
    assert_eq!(list(&archive).as_array().map(Vec::len), Some(1));
    assert_eq!(list(&archive)[0]["Config"], config_name(&single(2)));
    assert_eq!(names(directory.path()).len(), 1);
}

/// Compressed it has a few KB: only an archive that keeps layers compressed takes it.
#[test]
fn refuses_layer_that_unpacks_to_over_a_hundred_times_its_size() {
    let zeros = vec![0; 80 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).expect("packed");
    let gzip = gzip.finish().expect("packed");
    let zstd = zstd::encode_all(&zeros[..], 1).expect("packed");
    let source = FakeRegistry::start();
    for (tag, bytes, kind) in [("gzip", gzip, "gzip"), ("zstd", zstd, "zstd")] {
        let bomb = Layer {
            bytes: bytes.into(),
            media_type: format!("application/vnd.oci.image.layer.v1.tar+{kind}"),
            diff_id: sha256(&zeros),
            urls: Vec::new(),
        };
        let image = ImageSpec::new("linux", "arm64").layer(bomb).build();
        image.push_to(&source, &format!("{tag}:1"));
        let (directory, archive) = place();
        let from = source.reference(&format!("{tag}:1"));
        let tag = copy(&[], &from, &docker(&archive, "")).exits(1).tag("1");
        assert_eq!(tag["error"]["kind"], "protocol", "{tag:#}");
        let hint = tag["error"]["hint"].as_str().expect("a hint");
        assert!(hint.contains("oci-archive:"), "{hint}");
        assert!(names(directory.path()).is_empty());
        copy(&[], &from, &archive.reference("")).exits(0);
    }
}

/// Files of zeros are packed a thousandfold, and small ones are in many an image.
#[test]
fn keeps_layer_of_zeros_below_the_bound_for_bombs() {
    let zeros = vec![0; 32 << 20];
    let layer = Layer {
        bytes: zstd::encode_all(&zeros[..], 1).expect("packed").into(),
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
        diff_id: sha256(&zeros),
        urls: Vec::new(),
    };
    let source = FakeRegistry::start();
    let image = ImageSpec::new("linux", "arm64")
        .layer(layer.clone())
        .build();
    image.push_to(&source, "x:1");
    let (_directory, archive) = place();
    copy(&[], &source.reference("x:1"), &docker(&archive, "")).exits(0);
    assert!(archive.files()[&layer_name(&layer)] == zeros);
}

/// Each of them is small enough by itself.
#[test]
fn refuses_layers_that_are_a_bomb_together() {
    let layer = |number: u8| {
        let mut zeros = vec![0; 60 << 20];
        zeros.push(number);
        Layer {
            bytes: zstd::encode_all(&zeros[..], 1).expect("packed").into(),
            media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
            diff_id: sha256(&zeros),
            urls: Vec::new(),
        }
    };
    let source = FakeRegistry::start();
    let spec = ImageSpec::new("linux", "arm64");
    let image = (0..5).map(layer).fold(spec, ImageSpec::layer).build();
    image.push_to(&source, "x:1");
    let (directory, archive) = place();
    let to = docker(&archive, "");
    let tag = copy(&[], &source.reference("x:1"), &to).exits(1).tag("1");
    assert_eq!(tag["error"]["kind"], "protocol", "{tag:#}");
    assert!(names(directory.path()).is_empty());
}
