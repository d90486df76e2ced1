//! Everything once, then week by week what is new: between Debian's registries on both ends.

use serde_json::json;

use super::{Desk, OWN, export, import, single, standard};
use crate::support::barge::{barge, copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::blob_name;
use crate::support::proxy::Proxy;
use crate::support::wire::Request;

#[test]
fn the_first_archive_has_everything_and_the_next_only_what_is_new() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let desk = Desk::new();
    let (from, to) = (outside.reference("app"), inside.reference("mirror/app"));
    single(1).push_to(&outside, "app:v1");
    single(2).push_to(&outside, "app:v2");

    let have = desk.inventory(&[&to]);
    let first = desk.archive("first.tar");
    let report = export(&have, &from, &first).exits(0).json();
    assert_eq!(report["totals"]["left_out_blobs"], json!(null));
    assert!(!first.names().contains(&"barge-difference.json".to_owned()));
    import(&first, &to).exits(0);

    single(3).push_to(&outside, "app:v3");
    let have = desk.inventory(&[&to]);
    let weekly = desk.archive("weekly.tar");
    let output = export(&have, &from, &weekly).exits(0);
    let report = output.json();
    // Of the first two nothing but their roots; of the third what is its own.
    let tag = output.tag("v3");
    assert_eq!(
        tag["blobs"],
        json!({"copied": 2, "mounted": 0, "existing": 1})
    );
    let size = |seed: u64, layer: usize| single(seed).layers[layer].bytes.len();
    let own = size(3, 1) + single(3).config.len();
    assert_eq!(tag["bytes"], own);
    let totals = &report["totals"];
    assert_eq!(totals["bytes"], own);
    // Shared by three, and for each of two a layer and a config.
    assert_eq!(totals["left_out_blobs"], 5);
    let configs = single(1).config.len() + single(2).config.len();
    let left_out = size(1, 0) + size(1, 1) + size(2, 1) + configs;
    assert_eq!(totals["left_out_bytes"], left_out);
    assert!(
        weekly.bytes().len() < OWN + 20_000,
        "{}",
        weekly.bytes().len()
    );
    assert!(weekly.manifest("v1").is_some());

    let proxy = Proxy::start(inside.host());
    let output = import(&weekly, &proxy.reference("mirror/app")).exits(0);
    assert_eq!(output.tag("v1")["status"], "current");
    assert_eq!(output.tag("v3")["status"], "copied");
    assert_eq!(proxy.count(|request| request.is("PUT", "/manifests/")), 1);
    assert_eq!(proxy.count(|request| request.is("PUT", "/uploads/")), 2);
    let large = single(3).layers[0].digest();
    assert_eq!(proxy.count(|request| request.is("GET", &large)), 0);
    let client = inside.client();
    for seed in [1, 2, 3] {
        let manifest = client.manifest("mirror/app", &format!("v{seed}"));
        assert_eq!(manifest, Some(single(seed).manifest.clone()));
    }
    run(&["verify", "--deep", "--all-tags", "--against", &from, &to]).exits(0);
}

#[test]
fn the_summary_says_what_was_left_out() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    single(1).push_to(&outside, "app:v1");
    single(1).push_to(&inside, "app:v1");
    let desk = Desk::new();
    let have = desk.inventory(&[&inside.reference("app")]);
    let archive = desk.archive("x.tar").reference("");
    let from = outside.reference("app:v1");
    let said = run(&["copy", "--have", &have, &from, &archive]).exits(0);
    assert!(
        said.stdout
            .contains("0 B sent, 607.75 kB left out (3 blobs)"),
        "{said:#?}"
    );
}

/// Of an index that is there the children stay behind too, manifests and all.
#[test]
fn of_an_image_that_is_there_only_the_root_comes() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let desk = Desk::new();
    let (old, new) = (standard(1), standard(2));
    old.push_to(&outside, "app:old");
    old.push_to(&inside, "app:old");
    new.push_to(&outside, "app:new");
    let have = desk.inventory(&[&inside.reference("app")]);
    let archive = desk.archive("x.tar");
    export(&have, &outside.reference("app"), &archive).exits(0);
    let files = archive.files();
    assert!(files.contains_key(&blob_name(&old.digest())));
    for platform in ["amd64", "arm64"] {
        assert!(!files.contains_key(&blob_name(&old.image(platform).digest())));
        assert!(files.contains_key(&blob_name(&new.image(platform).digest())));
    }
    // A tag that is gone inside, or new, gets its children from there.
    copy(
        &[],
        &archive.reference("old"),
        &inside.reference("app:again"),
    )
    .exits(0);
    import(&archive, &inside.reference("app")).exits(0);
    let client = inside.client();
    assert_eq!(client.manifest("app", "again"), Some(old.root.clone()));
    assert_eq!(client.manifest("app", "new"), Some(new.root.clone()));
}

#[test]
fn through_pipes_and_compressed() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let desk = Desk::new();
    let to = inside.reference("app");
    single(1).push_to(&outside, "app:v1");
    single(1).push_to(&inside, "app:v1");
    single(2).push_to(&outside, "app:v2");
    let have = std::fs::read_to_string(desk.inventory(&[&to])).expect("a file");
    let piped = desk.path("piped.tar.gz");
    let packed = format!("exec > {}", desk.path("piped.tar").display());
    let from = outside.reference("app");
    let arguments = ["copy", "--all-tags", "--have", "-", &from, "oci-archive:-"];
    let output = barge().args(arguments).after(&packed).input(&have).run();
    let output = output.exits(0);
    assert!(output.stderr.contains("left out (3 blobs)"), "{output:#?}");
    let packed = std::process::Command::new("gzip")
        .arg("-k")
        .arg(desk.path("piped.tar"))
        .status();
    assert!(packed.expect("gzip is installed").success());
    let piped = format!("exec < {}", piped.display());
    let arguments = ["copy", "--all-tags", "oci-archive:-", &to];
    barge().args(arguments).after(&piped).run().exits(0);
    let there = inside.client().manifest("app", "v2");
    assert_eq!(there, Some(single(2).manifest.clone()));
}

/// `--arch`, both modes and rollback at either end.
#[test]
fn platforms_and_policies_go_together_with_it() {
    for mode in ["filtered-index", "sparse-index"] {
        let outside = DockerRegistry::start();
        let inside = crate::support::registry::FakeRegistry::start_with(
            crate::support::registry::Settings::quay(crate::support::registry::Sparse::On),
        );
        let desk = Desk::new();
        let options = ["--arch", "arm64", "--mode", mode, "--policy", "rollback"];
        let (from, to) = (outside.reference("app"), inside.reference("app"));
        standard(1).push_to(&outside, "app:v1");
        let direct = [&options[..4], &["--all-tags"]].concat();
        copy(&direct, &from, &to).exits(0);
        standard(2).push_to(&outside, "app:v2");
        let have = desk.inventory(&[&to]);
        let archive = desk.archive("x.tar");
        let outward = [&options[..], &["--all-tags", "--have", &have]].concat();
        let output = copy(&outward, &from, &archive.reference("")).exits(0);
        let blobs = &output.tag("v1")["blobs"];
        assert_eq!(
            (&blobs["copied"], &blobs["left_out"]),
            (&json!(0), &json!(5))
        );
        let inward = [&options[..], &["--all-tags"]].concat();
        inside.clear_log();
        let output = copy(&inward, &archive.reference(""), &to).exits(0);
        assert_eq!(output.tag("v1")["status"], "current", "{output:#?}");
        assert_eq!(output.tag("v2")["status"], "copied");
        let fetches = |request: &Request| request.method == "GET" && request.reads_blob();
        assert_eq!(inside.count(fetches), 0);
        let verify = ["verify", "--all-tags", "--arch", "arm64", "--against"];
        run(&[&verify[..], &[&from, &to]].concat()).exits(0);
    }
}
