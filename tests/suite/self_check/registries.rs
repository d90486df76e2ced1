//! Images go into every kind of place and come out of it byte for byte, by skopeo's judgement too.

use std::fs;

use tempfile::tempdir;

use crate::support::client::Client;
use crate::support::content::{DOCKER_LIST, OCI_INDEX};
use crate::support::docker_registry::{Config, Deletes, DockerRegistry, Login};
use crate::support::image::{
    Attestations, Bundle, Form, Format, ImageSpec, IndexBuilder, Layout, MultiArch, Spacing,
    write_layout,
};
use crate::support::registry::FakeRegistry;
use crate::support::{barge, skopeo};

fn standard() -> MultiArch {
    MultiArch::standard(
        &["amd64", "arm64/v8", "ppc64le", "s390x"],
        Attestations::With,
        1,
    )
}

#[test]
fn a_docker_registry_holds_an_index_with_attestations() {
    let registry = DockerRegistry::start();
    let image = standard();
    image.push_to(&registry, "library/x:1");
    let reference = registry.reference("library/x:1");
    assert_eq!(skopeo::inspect_raw(&reference), image.root.bytes);
    assert_eq!(registry.client().tags("library/x"), ["1"]);

    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(directory.path());
    skopeo::copy_all(&reference, &layout.reference("1"));
    assert_eq!(layout.manifest("1"), Some(image.root.clone()));
    assert!(layout.has_blob(&image.attestation("arm64").digest()));
}

#[test]
fn a_docker_registrys_blobs_can_be_removed_and_damaged() {
    let registry = DockerRegistry::start();
    let image = ImageSpec::new("linux", "arm64").layers(2, 500).build();
    image.push_to(&registry, "x:1");
    let client = registry.client();
    let [first, second] = [image.layers[0].digest(), image.layers[1].digest()];
    registry.remove_blob(&first);
    registry.corrupt_blob(&second);
    assert!(!client.has_blob("x", &first));
    let damaged = client.blob("x", &second).expect("a damaged blob is served");
    assert_eq!(damaged.len(), image.layers[1].bytes.len());
    assert_ne!(damaged, image.layers[1].bytes);
}

#[test]
fn a_docker_registry_may_want_a_password_or_refuse_deletes() {
    let registry = DockerRegistry::start_with(Config {
        deletes: Deletes::Disabled,
        login: Login::Password,
        ..Config::default()
    });
    let image = ImageSpec::new("linux", "arm64").layers(1, 500).build();
    image.push_to(&registry, "x:1");
    let stranger = Client::new(registry.host(), None);
    assert_eq!(
        stranger
            .request("GET /v2/", &[], b"")
            .expect("an answer")
            .status,
        401
    );
    let delete = format!("DELETE /v2/x/manifests/{}", image.digest());
    assert_eq!(
        registry
            .client()
            .request(&delete, &[], b"")
            .expect("an answer")
            .status,
        405
    );
}

#[test]
fn skopeo_copies_into_the_fake_and_out_of_it() {
    let (source, registry) = (FakeRegistry::start(), FakeRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    skopeo::copy_all(&source.reference("x:1"), &registry.reference("team/y:2"));
    assert_eq!(
        registry.store.manifest("team/y", "2"),
        Some(image.root.clone())
    );
    assert!(registry.count(|request| request.is("PUT", "/manifests/")) == 9);
    assert!(registry.count(|request| request.method == "PATCH" && request.body_len > 0) > 0);

    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(directory.path());
    skopeo::copy_all(&registry.reference("team/y:2"), &layout.reference("2"));
    assert_eq!(layout.manifest("2"), Some(image.root.clone()));
    for digest in [
        image.image("s390x").config_digest(),
        image.image("arm64").layers[0].digest(),
    ] {
        assert!(layout.has_blob(&digest));
    }
}

#[test]
fn a_written_layout_can_be_copied_and_unpacked() {
    let directory = tempdir().expect("a temporary directory");
    let image = standard();
    let single = ImageSpec::new("linux", "amd64").layers(2, 70_000).build();
    let images = [("1", Bundle::from(&image)), ("", Bundle::from(&single))];
    let layout = write_layout(&directory.path().join("layout"), &images);
    assert_eq!(layout.references(), ["1"]);

    let registry = FakeRegistry::start();
    skopeo::copy_all(&layout.reference("1"), &registry.reference("x:1"));
    assert_eq!(registry.store.manifest("x", "1"), Some(image.root));

    // docker-archive wants the layers unpacked and checks their diff_ids.
    single.push_to(&registry, "y:1");
    let archive = directory.path().join("archive.tar");
    let destination = format!("docker-archive:{}:y:1", archive.display());
    skopeo::run(&[
        "copy",
        "--src-tls-verify=false",
        &registry.reference("y:1"),
        &destination,
    ]);
    assert!(fs::metadata(archive).expect("an archive").len() > 140_000);
}

#[test]
fn docker_lists_and_strange_indexes_are_good() {
    let registry = DockerRegistry::start();
    let docker = |architecture| {
        ImageSpec::new("linux", architecture)
            .format(Format::Docker)
            .layers(1, 400)
            .build()
    };
    let list = IndexBuilder::new(Form::Docker)
        .spacing(Spacing::Pretty)
        .image(&docker("amd64"))
        .image(&docker("arm64"));
    let list = list.build();
    list.push_to(&registry, "x:list");
    assert_eq!(
        skopeo::inspect_raw(&registry.reference("x:list")),
        list.root.bytes
    );
    let fake = FakeRegistry::start();
    skopeo::copy_all(&registry.reference("x:list"), &fake.reference("x:list"));
    let copied = fake.store.manifest("x", "list").expect("it was copied");
    assert_eq!(
        (copied.media_type.as_str(), &copied.bytes),
        (DOCKER_LIST, &list.root.bytes)
    );

    let inner = standard();
    let outer = IndexBuilder::new(Form::OciBare).index(&inner).build();
    outer.push_to(&registry, "x:nested");
    let found = registry
        .client()
        .manifest("x", "nested")
        .expect("it was pushed");
    assert_eq!(
        (found.media_type.as_str(), found.bytes),
        (OCI_INDEX, outer.root.bytes)
    );
}

#[test]
fn barge_runs() {
    let running = barge::barge().arg("--version").spawn();
    assert!(running.home().is_dir());
    let output = running.wait().exits(0);
    assert_eq!(output.stderr, "");
}
