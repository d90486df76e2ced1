//! `barge inventory`: what is there, each digest once, and nothing printed that is not whole.

use serde_json::{Value, json};

use super::{Desk, single, standard};
use crate::support::barge::{copy, run};
use crate::support::content::{Manifest, OCI_MANIFEST};
use crate::support::docker_registry::{Config, DockerRegistry, Login, PASSWORD};
use crate::support::image::{Bundle, push};
use crate::support::registry::{FakeRegistry, Settings, Sparse};
use crate::support::wire::{Fault, Request};

fn inventory(arguments: &[&str]) -> Value {
    run(&[&["inventory"], arguments].concat()).exits(0).json()
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

#[test]
fn it_lists_every_digest_once_in_order() {
    let registry = DockerRegistry::start();
    single(1).push_to(&registry, "app:v1");
    single(1).push_to(&registry, "app:latest");
    single(2).push_to(&registry, "app:v2");
    let listed = inventory(&[&registry.reference("app")]);
    assert_eq!(
        (&listed["schema"], &listed["kind"]),
        (&json!(1), &json!("inventory"))
    );
    let place = &listed["places"][0];
    assert_eq!(place["reference"], registry.reference("app"));
    let mut manifests = [single(1).digest(), single(2).digest()];
    manifests.sort();
    assert_eq!(place["manifests"], json!(manifests));
    let mut blobs: Vec<String> = [1, 2]
        .iter()
        .flat_map(|seed| {
            let image = single(*seed);
            [image.config_digest(), image.layers[1].digest()]
        })
        .collect();
    blobs.push(single(1).layers[0].digest());
    blobs.sort();
    assert_eq!(place["blobs"], json!(blobs));
}

#[test]
fn each_manifest_is_read_once_and_blobs_are_asked_for_only_on_demand() {
    let registry = FakeRegistry::start();
    standard(1).push_to(&registry, "app:v1");
    standard(1).push_to(&registry, "app:latest");
    let reference = registry.reference("app");
    let trusting = inventory(&[&reference]);
    let reads = |registry: &FakeRegistry| {
        registry.count(|request| request.method == "GET" && request.is_manifest())
    };
    // An index, two images and their attestations.
    assert_eq!(reads(&registry), 5);
    assert_eq!(registry.count(Request::reads_blob), 0);
    registry.clear_log();
    let checked = inventory(&["--check", &reference]);
    assert_eq!(checked, trusting);
    let blobs = count(&checked["places"][0]["blobs"]);
    assert_eq!(
        registry.count(|request| request.is("HEAD", "/blobs/")),
        blobs
    );
    let gone = standard(1).image("arm64").layers[0].digest();
    registry.store.remove_blob("app", &gone);
    let checked = inventory(&["--check", &reference]);
    assert_eq!(count(&checked["places"][0]["blobs"]), blobs - 1);
    assert_eq!(inventory(&[&reference]), trusting);
}

#[test]
fn a_sparse_index_lists_what_it_has() {
    let registry = FakeRegistry::start_with(Settings::quay(Sparse::On));
    let image = standard(1);
    let absent = image.image("amd64").digest();
    let bundle = Bundle::from(&image).without(&[&absent]);
    push(&bundle, &registry, "app:v1");
    let listed = inventory(&[&registry.reference("app")]);
    let manifests = &listed["places"][0]["manifests"];
    assert_eq!(count(manifests), 4);
    let text = manifests.to_string();
    assert!(text.contains(&image.digest()) && !text.contains(&absent));
    let lost = image.image("amd64").config_digest();
    assert!(!listed["places"][0]["blobs"].to_string().contains(&lost));
}

#[test]
fn what_does_not_exist_yet_is_empty_and_what_cannot_be_asked_is_an_error() {
    let registry = DockerRegistry::start_with(Config {
        login: Login::Password,
        ..Config::default()
    });
    let reference = registry.reference("app");
    let right = format!("alice:{PASSWORD}");
    let output = run(&["inventory", "--creds", &right, &reference]).exits(0);
    let empty = json!([{"reference": reference, "manifests": [], "blobs": []}]);
    assert_eq!(output.json()["places"], empty);
    assert!(
        output.stderr.contains("is taken to hold nothing"),
        "{output:#?}"
    );

    let wrong = run(&["inventory", "--creds", "alice:wrong-one", &reference]).exits(1);
    let nobody = run(&[
        "inventory",
        "docker://127.0.0.1:9/app",
        "--retry-times",
        "0",
    ])
    .exits(1);
    for output in [wrong, nobody] {
        assert_eq!(output.stdout, "", "{output:#?}");
        assert!(output.stderr.contains("barge: failed to"), "{output:#?}");
    }
}

#[test]
fn layouts_and_archives_are_looked_into() {
    let registry = FakeRegistry::start();
    single(1).push_to(&registry, "app:v1");
    let desk = Desk::new();
    let layout = format!("oci:{}", desk.path("layout").display());
    let archive = desk.archive("x.tar").reference("");
    for place in [&layout, &archive] {
        copy(&[], &registry.reference("app:v1"), place).exits(0);
    }
    let lost = single(1).layers[1].digest();
    std::fs::remove_file(desk.path("layout/blobs").join(lost.replace(':', "/"))).expect("there");
    let listed = inventory(&[&layout, &archive, &layout]);
    let places = &listed["places"];
    assert_eq!(count(places), 2, "each place once");
    assert_eq!(
        (count(&places[0]["blobs"]), count(&places[1]["blobs"])),
        (2, 3)
    );
}

#[test]
fn tags_are_picked_as_elsewhere() {
    let registry = FakeRegistry::start();
    single(1).push_to(&registry, "app:v1");
    single(2).push_to(&registry, &format!("app:sha256-{}", "0".repeat(64)));
    let reference = registry.reference("app");
    let manifests = |options: &[&str]| {
        let listed = inventory(&[options, &[&reference]].concat());
        count(&listed["places"][0]["manifests"])
    };
    assert_eq!(manifests(&[]), 1);
    assert_eq!(manifests(&["--include-digest-tags"]), 2);
    run(&["inventory", "--tags", "v2", &registry.reference("app:v1")]).exits(2);
}

/// Many registries deny to read what does not exist; and what nobody can read is brought again.
#[test]
fn what_is_denied_or_odd_is_not_there_and_said_so() {
    let registry = FakeRegistry::start();
    single(1).push_to(&registry, "app:v1");
    let odd = Manifest::new(OCI_MANIFEST, br#"{"schemaVersion": 2}"#.to_vec());
    registry.store.put_manifest("app", "odd", odd);
    registry.on(|request| request.is("GET", "/new/tags/").then(|| Fault::status(403)));
    let (app, new) = (registry.reference("app"), registry.reference("new"));
    let output = run(&["inventory", &app, &new]).exits(0);
    let places = &output.json()["places"];
    assert_eq!(places[0]["manifests"], json!([single(1).digest()]));
    assert_eq!(places[1]["manifests"], json!([]));
    for words in ["it is not listed", "is taken to hold nothing"] {
        assert!(output.stderr.contains(words), "{output:#?}");
    }
}
