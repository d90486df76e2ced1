//! The images of all rounds: indexes and single images that share children and layers, some of their
//! manifests with a cosign signature and an OCI referrer. They are built once and never change.

use std::sync::LazyLock;

use super::support::content::Manifest;
use super::support::image::{
    Artifact, Bundle, Content, Form, Image, ImageSpec, IndexBuilder, Layer, MultiArch, Platform,
    list_tag,
};

pub(crate) static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(samples);

/// One image or index with what refers to it.
pub(crate) struct Sample {
    pub(crate) bundle: Bundle,
    index: Option<MultiArch>,
    pub(crate) attached: Vec<Attached>,
}

/// What refers to the manifest `subject`.
pub(crate) struct Attached {
    pub(crate) subject: String,
    pub(crate) signature: Bundle,
    pub(crate) referrer: Bundle,
}

impl Attached {
    fn to(manifest: &Manifest) -> Self {
        let subject = manifest.digest();
        Self {
            signature: Artifact::new("application/x-signature", &subject).build(),
            referrer: Artifact::of(manifest, "application/spdx+json", &subject).build(),
            subject,
        }
    }

    pub(crate) fn list_tag(&self) -> String {
        list_tag(&self.subject)
    }

    pub(crate) fn signature_tag(&self) -> String {
        format!("{}.sig", self.list_tag())
    }
}

impl Sample {
    pub(crate) fn digest(&self) -> String {
        self.bundle.root.digest()
    }

    /// The digests of the children that a copy of these architectures (of all, if none is named) brings, and
    /// of those that it leaves out.
    pub(crate) fn split(&self, architectures: &[&str]) -> [Vec<String>; 2] {
        let children = self.index.iter().flat_map(|index| &index.children);
        let (kept, omitted): (Vec<_>, Vec<_>) = children.partition(|child| {
            let platform = child.platform.clone().unwrap_or_default();
            let is_of = |architecture: &&str| match &child.attests {
                None => platform.architecture == **architecture,
                Some(image) => self.has_image(architecture, image),
            };
            architectures.is_empty() || architectures.iter().any(is_of)
        });
        [kept, omitted].map(|part| {
            let digests = part.iter().map(|child| child.content.manifest().digest());
            digests.collect()
        })
    }

    fn has_image(&self, architecture: &str, digest: &str) -> bool {
        let mut children = self.index.iter().flat_map(|index| &index.children);
        children.any(|child| match &child.content {
            Content::Image(image) => {
                image.platform.architecture == architecture && image.digest() == digest
            }
            Content::Index(_) => false,
        })
    }
}

fn single(image: &Image) -> Sample {
    Sample {
        bundle: image.into(),
        index: None,
        attached: vec![Attached::to(&image.manifest)],
    }
}

fn index(images: &[Image]) -> Sample {
    let builder = IndexBuilder::new(Form::Oci);
    let attested = |builder: IndexBuilder, image| builder.image(image).attest(image);
    let index = images.iter().fold(builder, attested).build();
    Sample {
        bundle: (&index).into(),
        attached: [&index.root, &images[0].manifest].map(Attached::to).into(),
        index: Some(index),
    }
}

fn samples() -> Vec<Sample> {
    let image = |architecture: &str, seed, size| {
        let spec = ImageSpec::on(Platform::parse(architecture)).seed(seed);
        spec.layer(Layer::random(1, 4000)).layers(2, size).build()
    };
    let indexed = |architectures: &[&str], seed: u64, size| {
        // Two indexes share their first image.
        let seed_of = |number| if number == 0 { seed.max(2) } else { seed };
        let images = architectures.iter().enumerate();
        let images =
            images.map(|(number, architecture)| image(architecture, seed_of(number), size));
        index(&images.collect::<Vec<_>>())
    };
    let (three, two) = (["amd64", "arm64", "s390x"], ["amd64", "arm64"]);
    vec![
        indexed(&three, 1, 3000),
        indexed(&three, 2, 3000),
        indexed(&three, 3, 40_000),
        indexed(&three, 4, 600_000),
        indexed(&two, 5, 900),
        indexed(&two, 6, 900),
        // A child of the first two, and others.
        single(&image("amd64", 2, 3000)),
        single(&image("amd64", 7, 5000)),
        single(&image("amd64", 8, 200_000)),
    ]
}
