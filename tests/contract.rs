//! The contract of [`Endpoint`]: the same cases against a real registry, the fake one and a layout.
//!
//! What one of them does differently is asked of its `caps`, never of its kind.

#[cfg(test)]
#[path = "suite/support/mod.rs"]
mod support;

#[cfg(test)]
mod cases {
    use std::time::Duration;

    use barge::endpoint::backoff::Backoff;
    use barge::endpoint::permits::{Permits, Rank};
    use barge::endpoint::registry::credentials::{CredentialSource, Credentials};
    use barge::endpoint::registry::{RegistriesConf, RegistryOptions, Tls};
    use barge::endpoint::{Arrival, Endpoint, Supply, Target};
    use barge::error::{Kind, Result};
    use barge::event::{Events, Side};
    use barge::image::digest::Digest;
    use barge::image::manifest::{Descriptor, Manifest};
    use barge::reference::{Reference, Role};
    use bytes::Bytes;
    use futures_util::TryStreamExt as _;
    use tempfile::TempDir;

    use crate::support::content;
    use crate::support::docker_registry::DockerRegistry;
    use crate::support::image::{
        Attestations, Bundle, Image, ImageSpec, Layout, MultiArch, write_layout,
    };
    use crate::support::registry::FakeRegistry;

    /// Runs `case` against an empty place of each kind.
    async fn everywhere(case: impl AsyncFn(&Endpoint)) {
        let docker = DockerRegistry::start();
        case(&endpoint(&docker.reference("a/y"), Side::Destination)).await;
        let fake = FakeRegistry::start();
        case(&endpoint(&fake.reference("a/y"), Side::Destination)).await;
        let directory = TempDir::new().expect("a temporary directory");
        let layout = Layout::at(&directory.path().join("layout"));
        case(&endpoint(&layout.reference(""), Side::Destination)).await;
    }

    fn endpoint(reference: &str, side: Side) -> Endpoint {
        // Fails where another test was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let reference = Reference::parse(reference, Role::Source).expect("a reference");
        let options = RegistryOptions {
            side,
            blame: None,
            credentials: CredentialSource::Given(Credentials::Anonymous),
            tls: Tls::default(),
            registries: RegistriesConf::default(),
            stall: Duration::from_secs(20),
            requests: 8,
            backoff: Backoff {
                times: 2,
                events: Events::ignored(),
            },
        };
        Endpoint::new(&reference, options).expect("an endpoint")
    }

    /// A layout on disk to take blobs from.
    struct Source {
        endpoint: Endpoint,
        layout: Layout,
        _directory: TempDir,
    }

    impl Source {
        fn of(bundle: impl Into<Bundle>) -> Self {
            let directory = TempDir::new().expect("a temporary directory");
            let layout = write_layout(directory.path(), &[("1", bundle.into())]);
            Self {
                endpoint: endpoint(&layout.reference(""), Side::Source),
                layout,
                _directory: directory,
            }
        }

        async fn bring(&self, blob: &Descriptor, place: &Endpoint) -> Result<Arrival> {
            let supply = Supply {
                source: &self.endpoint,
                mountable: &[],
                rank: Rank::new(0, blob.size),
                moving: &Permits::new(1),
                ahead: &Permits::new(1),
                asking: barge::endpoint::Asking::ToWrite,
                depth: barge::options::Depth::Presence,
            };
            place.ensure_blob(blob, supply).await
        }

        async fn bring_all(&self, manifest: &Manifest, place: &Endpoint) {
            for blob in manifest.blobs() {
                self.bring(blob, place).await.expect("the blob arrives");
            }
        }
    }

    fn image(seed: u64) -> Image {
        let image = ImageSpec::new("linux", "arm64").seed(seed);
        image.layers(2, 50_000).build()
    }

    fn parsed(manifest: &content::Manifest) -> Manifest {
        let parsed = Manifest::parse(manifest.bytes.clone(), Some(&manifest.media_type));
        parsed.expect("a manifest")
    }

    fn tag(name: &str) -> Target {
        Target::Tag(name.to_owned())
    }

    async fn read(place: &Endpoint, blob: &Descriptor, offset: u64) -> Bytes {
        let stream = place.blob(blob, offset).await.expect("a blob");
        let chunks: Vec<Bytes> = stream.try_collect().await.expect("its bytes");
        chunks.concat().into()
    }

    /// What `target` points at has to be `expected`, byte for byte.
    async fn is_there(place: &Endpoint, target: &Target, expected: &Manifest) {
        let found = place.manifest(target).await.expect("an answer");
        assert_eq!(found.as_ref(), Some(expected), "{place}: {target}");
        let head = place.head(target).await.expect("an answer");
        let head = head.expect("what can be read has a head");
        assert_eq!(
            (head.digest, head.media_type),
            (expected.digest.clone(), expected.media_type.clone())
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_there_is_none() {
        everywhere(async |place| {
            let manifest = parsed(&image(1).manifest);
            for target in [tag("none"), Target::Digest(manifest.digest.clone())] {
                assert_eq!(place.head(&target).await.expect("an answer"), None);
                assert_eq!(place.manifest(&target).await.expect("an answer"), None);
            }
            for blob in manifest.blobs() {
                assert!(!place.has_blob(blob).await.expect("an answer"));
                let error = place.blob(blob, 0).await.err().expect("no blob");
                assert_eq!(error.kind(), Kind::NotFound, "{error}");
            }
            let error = place.tags().await.expect_err("nothing is there");
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
            place.contact(Side::Destination).await.expect("a place");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_blob_is_brought_once_and_read_from_any_offset() {
        let source = Source::of(&image(1));
        everywhere(async |place| {
            let manifest = parsed(&image(1).manifest);
            for (blob, bytes) in manifest.blobs().into_iter().zip(blobs_of(&image(1))) {
                let first = source.bring(blob, place).await.expect("it arrives");
                let second = source.bring(blob, place).await.expect("it is there");
                assert_eq!((first, second), (Arrival::Copied, Arrival::Existing));
                assert!(place.has_blob(blob).await.expect("an answer"));
                assert_eq!(read(place, blob, 0).await, bytes);
                assert_eq!(read(place, blob, 100).await, bytes.slice(100..));
                assert_eq!(place.small_blob(blob).await.expect("a blob"), bytes);
            }
        })
        .await;
    }

    /// The bytes of config and layers, in the order of [`Manifest::blobs`].
    fn blobs_of(image: &Image) -> Vec<Bytes> {
        let layers = image.layers.iter().map(|layer| layer.bytes.clone());
        [image.config.clone()].into_iter().chain(layers).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_that_are_not_what_their_digest_says_are_never_stored() {
        let image = image(1);
        let source = Source::of(&image);
        let damaged = source.layout.blob_path(&image.layers[0].digest());
        std::fs::write(damaged, content::flip_bit(&image.layers[0].bytes)).expect("damage");
        let short = source.layout.blob_path(&image.layers[1].digest());
        std::fs::write(short, &image.layers[1].bytes[1..]).expect("damage");
        everywhere(async |place| {
            let manifest = parsed(&image.manifest);
            for blob in &manifest.blobs()[1..] {
                let error = source.bring(blob, place).await.expect_err("damage is seen");
                assert_eq!(error.kind(), Kind::DigestMismatch, "{error}");
                assert!(error.to_string().contains(blob.digest.as_str()), "{error}");
                assert!(!place.has_blob(blob).await.expect("an answer"));
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_blob_of_another_size_is_not_the_blob() {
        let source = Source::of(&image(1));
        everywhere(async |place| {
            let manifest = parsed(&image(1).manifest);
            source.bring_all(&manifest, place).await;
            let mut wrong = manifest.blobs()[0].clone();
            wrong.size += 1;
            assert!(!place.has_blob(&wrong).await.expect("an answer"));
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_manifest_by_digest_has_no_tag() {
        let source = Source::of(&image(1));
        everywhere(async |place| {
            let manifest = parsed(&image(1).manifest);
            source.bring_all(&manifest, place).await;
            place.put_manifest(&manifest).await.expect("it is put");
            place.put_manifest(&manifest).await.expect("twice is once");
            is_there(place, &Target::Digest(manifest.digest.clone()), &manifest).await;
            assert_eq!(place.head(&tag("1")).await.expect("an answer"), None);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_tag_that_is_published_again_is_replaced() {
        let images = [image(1), image(2)];
        everywhere(async |place| {
            for (number, image) in images.iter().enumerate() {
                let manifest = parsed(&image.manifest);
                Source::of(image).bring_all(&manifest, place).await;
                for name in ["moved", &format!("kept-{number}")] {
                    let published = place.publish(&manifest, &tag(name)).await;
                    published.expect("it is published");
                    is_there(place, &tag(name), &manifest).await;
                }
            }
            let [first, second] = images.each_ref().map(|image| parsed(&image.manifest));
            is_there(place, &tag("moved"), &second).await;
            is_there(place, &tag("kept-0"), &first).await;
            is_there(place, &Target::Digest(first.digest.clone()), &first).await;
            let tags = place.tags().await.expect("tags");
            assert_eq!(tags, ["kept-0", "kept-1", "moved"]);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_image_without_a_tag_is_published_by_its_digest() {
        let source = Source::of(&image(1));
        everywhere(async |place| {
            let manifest = parsed(&image(1).manifest);
            source.bring_all(&manifest, place).await;
            let target = Target::Digest(manifest.digest.clone());
            let published = place.publish(&manifest, &target).await;
            published.expect("it is published");
            is_there(place, &target, &manifest).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_index_keeps_its_bytes() {
        let index = MultiArch::standard(&["amd64", "arm64"], Attestations::With, 1);
        let bundle = Bundle::from(&index);
        let source = Source::of(&index);
        everywhere(async |place| {
            for child in bundle.manifests.iter().map(parsed) {
                source.bring_all(&child, place).await;
                place.put_manifest(&child).await.expect("it is put");
            }
            let root = parsed(&bundle.root);
            let published = place.publish(&root, &tag("1")).await;
            published.expect("it is published");
            is_there(place, &tag("1"), &root).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_checks_content_refuses_what_lacks_some() {
        everywhere(async |place| {
            let manifest = parsed(&image(1).manifest);
            let published = place.publish(&manifest, &tag("1")).await;
            assert_eq!(published.is_err(), place.caps().checks_content, "{place}");
            let head = place.head(&tag("1")).await.expect("an answer");
            assert_eq!(head.is_none(), place.caps().checks_content, "{place}");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_source_that_lacks_a_blob_says_so() {
        let source = Source::of(&image(1));
        everywhere(async |place| {
            let mut lost = parsed(&image(1).manifest).blobs()[1].clone();
            lost.digest = Digest::of(b"never written");
            let error = source.bring(&lost, place).await.expect_err("it is lost");
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
            assert!(!place.has_blob(&lost).await.expect("an answer"));
        })
        .await;
    }
}
