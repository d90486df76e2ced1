//! Other repositories of the same registry lend what the destination's lacks.

use super::{Desk, export, import, lacking, single, standard, writes};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::ImageSpec;
use crate::support::image::Layer;
use crate::support::proxy::Proxy;
use crate::support::registry::{FakeRegistry, Mounts, Settings};

#[test]
fn what_another_repository_has_is_mounted() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let proxy = Proxy::start(inside.host());
    single(1).push_to(&inside, "base:v1");
    standard(5).push_to(&inside, "base:many");
    single(2).push_to(&outside, "app:v2");
    standard(5).push_to(&outside, "app:many");
    let desk = Desk::new();
    let places = [proxy.reference("app"), proxy.reference("base")];
    let have = desk.inventory(&[&places[0], &places[1]]);
    let archive = desk.archive("x.tar");
    export(&have, &outside.reference("app"), &archive).exits(0);
    assert!(archive.bytes().len() < 30_000);

    proxy.clear_log();
    let output = import(&archive, &places[0]).exits(0);
    assert_eq!(output.tag("v2")["blobs"]["mounted"], 1, "{output:#?}");
    let large = single(2).layers[0].digest();
    assert_eq!(proxy.count(|request| request.is("GET", &large)), 0);
    let client = inside.client();
    assert_eq!(
        client.manifest("app", "v2"),
        Some(single(2).manifest.clone())
    );
    assert_eq!(
        client.manifest("app", "many"),
        Some(standard(5).root.clone())
    );
    assert!(client.has_blob("app", &large));
}

#[test]
fn a_registry_that_mounts_nothing_is_read_from_and_written_to() {
    let outside = FakeRegistry::start();
    let inside = FakeRegistry::start_with(Settings {
        mounts: Mounts::Ignored,
        ..Settings::default()
    });
    single(1).push_to(&inside, "base:v1");
    single(2).push_to(&outside, "app:v2");
    let desk = Desk::new();
    let have = desk.inventory(&[&inside.reference("base")]);
    let archive = desk.archive("x.tar");
    export(&have, &outside.reference("app"), &archive).exits(0);
    import(&archive, &inside.reference("app")).exits(0);
    let layer = &single(2).layers[0];
    let there = inside.store.blob("app", &layer.digest());
    assert_eq!(there.as_deref(), Some(&layer.bytes[..]));
}

/// Each blob from the repository that has it, not from the first one.
#[test]
fn several_repositories_lend_one_image() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let (one, two) = (Layer::random(41, 9000), Layer::random(42, 9000));
    let image = |seed, layers: &[&Layer]| {
        let spec = ImageSpec::new("linux", "arm64").seed(seed);
        let add = |spec: ImageSpec, layer: &&Layer| spec.layer(Layer::clone(layer));
        layers.iter().fold(spec, add).build()
    };
    image(1, &[&one]).push_to(&inside, "a:1");
    image(2, &[&two]).push_to(&inside, "b:1");
    let both = image(3, &[&one, &two]);
    both.push_to(&outside, "app:1");
    let desk = Desk::new();
    let have = desk.inventory(&[&inside.reference("a"), &inside.reference("b")]);
    let archive = desk.archive("x.tar");
    export(&have, &outside.reference("app"), &archive).exits(0);
    let output = import(&archive, &inside.reference("app")).exits(0);
    assert_eq!(output.tag("1")["blobs"]["mounted"], 2, "{output:#?}");

    // It is asked for where the inventory has it, and nowhere else.
    inside.remove_blob(&two.digest());
    let proxy = Proxy::start(inside.host());
    let report = import(&archive, &proxy.reference("new")).exits(1).json();
    assert!(lacking(&report).contains(&two.digest()), "{report:#}");
    assert!(writes(&proxy).is_empty());
}
