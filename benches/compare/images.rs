//! The images of the workloads, and how they get into the source.

use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Form, Image, ImageSpec, IndexBuilder, Layer, MultiArch, Platform};

/// The platforms of every index here.
pub(crate) const PLATFORMS: [&str; 4] = ["amd64", "arm64", "ppc64le", "s390x"];

/// The repository of the small tags.
pub(crate) const SMALL: &str = "bench/small";

/// The repository of [`ONE`] and [`FOUR`].
pub(crate) const BIG: &str = "bench/big";

/// The tag of an index with one big image.
pub(crate) const ONE: &str = "one";

/// The tag of an index with a big image for each platform.
pub(crate) const FOUR: &str = "four";

const SMALL_LAYER: usize = 3000;

/// Puts `tags` tags of four platforms there: two own layers each, and one that all of them share.
///
/// The digest of one layer of each tag, to see by whether it arrived.
pub(crate) fn push_small(registry: &DockerRegistry, tags: u32) -> Vec<String> {
    let shared = Layer::random(0, SMALL_LAYER);
    let mut layers = Vec::new();
    for tag in 1..=tags {
        let mut index = IndexBuilder::new(Form::Oci);
        for platform in PLATFORMS {
            let image = ImageSpec::on(Platform::parse(platform))
                .seed(tag.into())
                .layer(shared.clone())
                .layers(2, SMALL_LAYER)
                .build();
            index = index.image(&image);
        }
        let index = index.build();
        index.push_to(registry, &format!("{SMALL}:{tag}"));
        layers.push(index.image("s390x").layers[2].digest());
    }
    layers
}

/// The big images, whose layers have about so many bytes.
pub(crate) fn push_big(registry: &DockerRegistry, layer: usize) -> MultiArch {
    let images: Vec<Image> = PLATFORMS
        .map(|platform| {
            ImageSpec::on(Platform::parse(platform))
                .layers(2, layer)
                .build()
        })
        .into();
    let index = |images: &[Image]| {
        let builder = IndexBuilder::new(Form::Oci);
        images.iter().fold(builder, IndexBuilder::image).build()
    };
    index(&images[..1]).push_to(registry, &format!("{BIG}:{ONE}"));
    let all = index(&images);
    all.push_to(registry, &format!("{BIG}:{FOUR}"));
    all
}
