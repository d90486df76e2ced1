//! Archives of `docker save`: images in them have no manifests, and get the same ones every time.

use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::{docker as reference, names, place, single, unpacked};
use crate::support::barge::{Output, copy, run};
use crate::support::content::sha256;
use crate::support::image::Image;
use crate::support::image::archive::{Archive, member};
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;

fn diff_ids(config: &[u8]) -> Value {
    let config: Value = serde_json::from_slice(config).expect("a config");
    config["rootfs"]["diff_ids"].clone()
}

/// The manifest of `tag`, whose layers have to unpack to what the config names.
#[track_caller]
fn is_sound(registry: &FakeRegistry, repository: &str, tag: &str, image: &Image) -> Value {
    let client = crate::support::client::Client::new(&registry.host(), None);
    let manifest = client.manifest(repository, tag).expect("it arrived");
    let manifest: Value = serde_json::from_slice(&manifest.bytes).expect("JSON");
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        client.blob(repository, digest).expect("it arrived")
    };
    assert_eq!(blob(&manifest["config"]), image.config);
    let layers = manifest["layers"].as_array().expect("layers");
    let came = layers.iter().map(|layer| {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        sha256(&unpacked(&blob(layer)))
    });
    assert_eq!(json!(came.collect::<Vec<_>>()), diff_ids(&image.config));
    manifest
}

#[test]
fn what_skopeo_saves_arrives_with_its_layers_compressed_the_same_every_time() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    single(1).push_to(&source, "x:1");
    let (directory, archive) = place();
    let named = reference(&archive, ":team/app:v1");
    skopeo::copy_all_with(
        &["--override-arch=arm64", "--additional-tag=team/app:v2"],
        &source.reference("x:1"),
        &named,
    );
    let tags = run(&["list-tags", &reference(&archive, "")])
        .exits(0)
        .stdout;
    assert_eq!(tags, "v1\nv2\n");
    let first = copy(
        &["--all-tags"],
        &reference(&archive, ""),
        &destination.reference("y"),
    )
    .exits(0);
    let manifest = is_sound(&destination, "y", "v1", &single(1));
    assert_eq!(is_sound(&destination, "y", "v2", &single(1)), manifest);

    let one = copy(&[], &named, &destination.reference("z"))
        .exits(0)
        .tag("v1");
    assert_eq!(one["digest"], first.tag("v1")["digest"]);
    is_sound(&destination, "z", "v1", &single(1));
    let again = copy(&[], &named, &destination.reference("z")).exits(0);
    assert_eq!(again.tag("v1")["status"], "current");

    let bundle = Archive::at(&directory.path().join("oci.tar"));
    copy(&[], &named, &bundle.reference("")).exits(0);
    let name = &bundle.entries()[0]["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "docker.io/team/app:v1");
    let raw = skopeo::inspect_raw(&bundle.reference("v1"));
    assert_eq!(sha256(&raw), one["digest"].as_str().expect("a digest"));
    assert_eq!(names(directory.path()).len(), 2);
}

fn link(name: &str, target: &str) -> Vec<u8> {
    let block = member(EntryType::Symlink, name, b"");
    let mut header = Header::from_byte_slice(&block[..512]).clone();
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// An archive as old Docker wrote it: layers in folders, those that are the same as links.
fn saved(
    image: &Image,
    layer_of: impl Fn(usize, &[u8]) -> Vec<u8>,
    change: impl Fn(&mut Value),
) -> (tempfile::TempDir, Archive) {
    let (directory, archive) = place();
    let mut bytes = Vec::new();
    let mut layers = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let content = layer_of(number, &unpacked(&layer.bytes));
        bytes.extend(member(
            EntryType::Regular,
            &format!("{number}.tar"),
            &content,
        ));
        bytes.extend(link(
            &format!("{number}/layer.tar"),
            &format!("../{number}.tar"),
        ));
        layers.push(format!("{number}/layer.tar"));
    }
    bytes.extend(link("out/layer.tar", "../../outside.tar"));
    bytes.extend(member(EntryType::Regular, "c.json", &image.config));
    let mut list = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": layers}]);
    change(&mut list);
    bytes.extend(member(
        EntryType::Regular,
        "manifest.json",
        list.to_string().as_bytes(),
    ));
    bytes.extend([0; 1024]);
    std::fs::write(archive.path(), bytes).expect("a file");
    (directory, archive)
}

fn plain(_: usize, layer: &[u8]) -> Vec<u8> {
    layer.to_vec()
}

#[test]
fn links_are_followed_where_the_list_names_them() {
    let destination = FakeRegistry::start();
    let (_directory, archive) = saved(&single(1), plain, |_| {});
    copy(&[], &reference(&archive, ""), &destination.reference("y")).exits(0);
    is_sound(&destination, "y", "1", &single(1));
    copy(
        &[],
        &reference(&archive, ":app:1"),
        &destination.reference("z:other"),
    )
    .exits(0);
    is_sound(&destination, "z", "other", &single(1));
}

#[test]
fn a_layer_that_is_compressed_stays_as_it_is() {
    let destination = FakeRegistry::start();
    let image = single(1);
    let packed = |number: usize, _: &[u8]| image.layers[number].bytes.to_vec();
    let (_directory, archive) = saved(&image, packed, |_| {});
    copy(&[], &reference(&archive, ""), &destination.reference("y")).exits(0);
    let manifest = is_sound(&destination, "y", "1", &image);
    for (came, layer) in manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .zip(&image.layers)
    {
        assert_eq!(came["digest"], layer.digest());
    }
}

/// What is done to the list of an archive.
type Change = fn(&mut Value);

/// What is wrong with each list, and what is said of it.
fn wrong_lists() -> [(&'static str, Change, &'static str); 6] {
    [
        (
            "a layer too few",
            |list| drop(list[0]["Layers"].as_array_mut().map(Vec::pop)),
            "lists 2 layers, the config 3",
        ),
        (
            "no such layer",
            |list| list[0]["Layers"][0] = json!("9.tar"),
            "does not hold",
        ),
        (
            "a link that leads out",
            |list| list[0]["Layers"][0] = json!("out/layer.tar"),
            "does not hold",
        ),
        (
            "a name that leads out",
            |list| list[0]["Config"] = json!("../c.json"),
            "does not hold",
        ),
        (
            "no config",
            |list| list[0]["Config"] = json!("0.tar"),
            "not the config of an image",
        ),
        (
            "a bad name",
            |list| list[0]["RepoTags"] = json!(["A B:1"]),
            "has the name",
        ),
    ]
}

/// Copies what has to be refused.
fn import(archive: &Archive) -> (Output, FakeRegistry) {
    let destination = FakeRegistry::start();
    let output = copy(&[], &reference(archive, ""), &destination.reference("y")).exits(1);
    (output, destination)
}

#[test]
fn a_list_that_does_not_hold_is_refused() {
    for (case, change, why) in wrong_lists() {
        let (_directory, archive) = saved(&single(1), plain, change);
        let (output, destination) = import(&archive);
        assert!(output.stdout.contains(why), "{case}: {output:#?}");
        assert!(
            destination
                .log()
                .iter()
                .all(|request| request.method == "GET"),
            "{case}"
        );
    }
}

#[test]
fn a_layer_that_is_not_what_its_config_says_never_arrives() {
    let flip = |number: usize, layer: &[u8]| {
        let mut layer = layer.to_vec();
        if number == 2 {
            layer[600] ^= 1;
        }
        layer
    };
    let (_directory, archive) = saved(&single(1), flip, |_| {});
    let (output, destination) = import(&archive);
    assert!(output.stdout.contains("digest-mismatch"), "{output:#?}");
    assert_eq!(
        destination.count(|request| request.is("PUT", "/manifests/")),
        0
    );
}

#[test]
fn the_two_kinds_of_archive_are_told_apart() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "x:1");
    let (_directory, archive) = place();
    copy(&[], &source.reference("x:1"), &archive.reference("")).exits(0);
    let said = run(&["inspect", &reference(&archive, "")]).exits(1).stderr;
    assert!(said.contains("write oci-archive:PATH"), "{said}");
    let (_directory, archive) = saved(&single(1), plain, |_| {});
    let said = run(&["inspect", &archive.reference("")]).exits(1).stderr;
    assert!(said.contains("write docker-archive:PATH"), "{said}");
}
