//! filtered-index into a strict registry: what arrives, what does not, and what a second run does.

use serde_json::json;
use tempfile::tempdir;

use crate::support::barge::copy;
use crate::support::content::{Manifest, OCI_INDEX, OCI_MANIFEST, sha256};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{
    Attestations, Form, Image, ImageSpec, IndexBuilder, Layout, MultiArch, Platform, Spacing,
};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::Request;

const PLATFORMS: [&str; 4] = ["amd64", "arm64/v8", "ppc64le", "s390x"];

fn standard() -> MultiArch {
    MultiArch::standard(&PLATFORMS, Attestations::With, 11)
}

/// The index as somebody would have built it with these platforms alone.
fn built_with(image: &MultiArch, platforms: &[&str]) -> Manifest {
    let add = |builder: IndexBuilder, platform: &&str| {
        let child = image.image(platform);
        builder.image(child).attest(child)
    };
    let builder = platforms.iter().fold(IndexBuilder::new(Form::Oci), add);
    builder.build().root
}

#[test]
fn only_the_platforms_asked_for_arrive() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "library/x:1");
    let (from, to) = (source.reference("library/x:1"), destination.reference("y"));
    let output = copy(&["--arch", "arm64"], &from, &to).exits(0);

    let expected = built_with(&image, &["arm64"]);
    let tag = output.tag("1");
    assert_eq!(tag["status"], "copied");
    assert_eq!(tag["source_digest"], image.digest());
    assert_eq!(tag["digest"], expected.digest());
    assert_eq!(tag["platforms"], json!(["linux/arm64/v8"]));
    let omitted = json!(["linux/amd64", "linux/ppc64le", "linux/s390x"]);
    assert_eq!(tag["omitted_platforms"], omitted);
    assert_eq!(tag["missing_platforms"], json!([]));

    let client = destination.client();
    assert_eq!(client.manifest("y", "1"), Some(expected.clone()));
    let holds = |image: &Image| client.manifest("y", &image.digest()).is_some();
    for platform in PLATFORMS {
        let wanted = platform.starts_with("arm64");
        assert_eq!(holds(image.image(platform)), wanted, "{platform}");
        assert_eq!(holds(image.attestation(platform)), wanted, "{platform}");
    }
    let directory = tempdir().expect("a temporary directory");
    let layout = Layout::at(directory.path());
    skopeo::copy_all(&destination.reference("y:1"), &layout.reference("1"));
    assert_eq!(layout.manifest("1"), Some(expected));
}

/// An index with odd spacing, numbers, escapes and fields, and these entries.
fn odd(entries: &[String]) -> Manifest {
    let entries = entries.join("  ,\n\t");
    let text = format!(
        "\n{{ \"annotations\":{{\"b\":\"\\u0041\", \"a\" : \"é\"}},\t\"manifests\" : [\r\n {entries} ]\n,\
         \"schemaVersion\":2,  \"unknown\": [1.50, 1e3, 12345678901234567890123] , \"mediaType\":\"{OCI_INDEX}\"}}\n"
    );
    Manifest::new(OCI_INDEX, text)
}

fn odd_entry(image: &Image) -> String {
    let (digest, size) = (image.digest(), image.manifest.bytes.len());
    let platform = serde_json::Value::Object(image.platform.fields());
    format!(
        "{{\"size\" :{size},\n\"x\\u002dodd\" : {{\"n\": 0.10}}, \"digest\":\"{digest}\",\"platform\": {platform} ,\
         \"annotations\":{{\"z\":\"1\",\"a\":\"],[\"}}, \"mediaType\" :\"{OCI_MANIFEST}\" }}"
    )
}

#[test]
fn what_is_kept_stays_as_it_was_written() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let mut image = MultiArch::standard(&PLATFORMS, Attestations::Without, 12);
    let entries = PLATFORMS.map(|platform| odd_entry(image.image(platform)));
    image.root = odd(&entries);
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    for (arch, kept) in [("arm64,s390x", [1, 3]), ("amd64,ppc64le", [0, 2])] {
        let output = copy(&["--arch", arch], &from, &to).exits(0);
        let expected = odd(&kept.map(|at| entries[at].clone()));
        assert_eq!(output.tag("1")["digest"], expected.digest());
        assert_eq!(destination.client().manifest("x", "1"), Some(expected));
    }
}

#[test]
fn pretty_indexes_stay_pretty() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let image = standard();
    let build = |platforms: &[&str]| {
        let builder = IndexBuilder::new(Form::Oci)
            .spacing(Spacing::Pretty)
            .field("annotations", json!({"org.example.kept": "yes"}))
            .field("artifactType", json!("application/x-test"));
        let add = |builder: IndexBuilder, platform: &&str| builder.image(image.image(platform));
        platforms.iter().fold(builder, add).build()
    };
    build(&PLATFORMS).push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    copy(&["--arch", "ppc64le"], &from, &to).exits(0);
    let expected = build(&["ppc64le"]).root;
    assert_eq!(destination.store.manifest("x", "1"), Some(expected));
}

#[test]
fn a_second_run_is_current_and_only_reads() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    let proxy = Proxy::start(destination.host());
    standard().push_to(&source, "x:1");
    let run = || {
        copy(
            &["--arch", "arm64"],
            &source.reference("x:1"),
            &proxy.reference("x"),
        )
    };
    let first = run().exits(0).tag("1");
    proxy.clear_log();
    let output = run().exits(0);
    let second = output.tag("1");
    assert_eq!(second["status"], "current");
    assert_eq!(second["digest"], first["digest"]);
    assert_eq!(
        (&second["bytes"], &output.json()["totals"]["current"]),
        (&json!(0), &json!(1))
    );
    let log = proxy.log();
    assert!(log.iter().all(Request::reads), "{log:#?}");
    // The registry checked the children of an index that was written for it: the tag alone is asked for.
    let manifests = proxy.count(Request::is_manifest);
    assert_eq!(manifests, 1, "{log:#?}");
    assert_eq!(proxy.count(Request::reads_blob), 0, "{log:#?}");
}

#[test]
fn a_filter_that_keeps_everything_keeps_the_digest() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let arch = "amd64,aarch64,linux/ppc64le,s390x";
    let tag = copy(&["--arch", arch], &from, &to).exits(0).tag("1");
    assert_eq!(tag["digest"], image.digest());
    assert_eq!(tag["omitted_platforms"], json!([]));
    let texts = PLATFORMS.map(|platform| Platform::parse(platform).text());
    assert_eq!(tag["platforms"], json!(texts));
    assert_eq!(destination.client().manifest("x", "1"), Some(image.root));
}

#[test]
fn the_same_repository_grows_and_shrinks() {
    let (source, destination) = (FakeRegistry::start(), DockerRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    let both = built_with(&image, &["amd64", "arm64"]);
    let one = built_with(&image, &["arm64"]);
    for (options, expected, status) in [
        (&["--arch", "arm64"][..], &one, "copied"),
        (&["--arch", "arm64", "--arch", "amd64"], &both, "copied"),
        (&["--mode", "all"], &image.root, "copied"),
        (&["--all"], &image.root, "current"),
        (&["--arch", "arm64"], &one, "copied"),
        (&["--platform", "linux/arm64/v8"], &one, "current"),
    ] {
        let tag = copy(options, &from, &to).exits(0).tag("1");
        assert_eq!(tag["status"], status, "{options:?}");
        assert_eq!(
            destination.client().manifest("x", "1").as_ref(),
            Some(expected),
            "{options:?}"
        );
    }
    let there = |platform: &&str| {
        let digest = image.image(platform).digest();
        destination.client().manifest("x", &digest).is_some()
    };
    assert!(PLATFORMS.iter().all(there));
}

#[test]
fn the_next_architecture_brings_only_what_is_missing() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x"));
    copy(&["--arch", "arm64"], &from, &to).exits(0);
    source.clear_log();
    let tag = copy(&["--arch", "arm64,s390x"], &from, &to)
        .exits(0)
        .tag("1");
    assert_eq!(tag["platforms"], json!(["linux/arm64/v8", "linux/s390x"]));
    let own = image.image("s390x").layers[1].digest();
    let old = [
        &image.image("arm64").layers[0],
        &image.image("arm64").layers[1],
    ];
    let read = |digest: &str| source.count(|request| request.is("GET", &format!("blobs/{digest}")));
    assert_eq!(read(&own), 1);
    assert!(old.iter().all(|layer| read(&layer.digest()) == 0));
}

/// An index that loses nothing keeps its digest; one that does is refused before anything moves.
#[test]
fn a_digest_that_is_to_stay_does_or_its_tag_fails() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let image = standard();
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("y"));
    let options = ["--preserve-digests", "--arch", "arm64"];
    let tag = copy(&options, &from, &to).exits(1).tag("1");
    assert_eq!(tag["error"]["kind"], "unsupported", "{tag:#}");
    let message = tag["error"]["message"].as_str().expect("a message");
    assert!(message.contains(&image.digest()), "{message}");
    assert!(message.contains("linux/s390x"), "{message}");
    assert_eq!(destination.count(|request| !request.reads()), 0);
    assert_eq!(source.count(Request::reads_blob), 0);

    for kept in [
        &["--arch", "amd64,arm64,ppc64le,s390x"][..],
        &[],
        &["--arch", "arm64", "--mode", "sparse-index"],
    ] {
        let tag = copy(&[kept, &["--preserve-digests"]].concat(), &from, &to);
        assert_eq!(tag.exits(0).tag("1")["digest"], image.digest(), "{kept:?}");
    }
}

/// Readers that ignore the case of keys, as Go's do, would see the second list.
#[test]
fn refuses_index_with_a_second_list_under_another_case() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let index = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 61);
    index.push_to(&source, "x:1");
    let text = String::from_utf8(index.root.bytes.to_vec()).expect("text");
    for key in ["Manifests", "manife\u{17f}ts", "manifests"] {
        let text = text.replacen('{', &format!("{{\"{key}\":[],"), 1);
        source
            .store
            .put_manifest("x", "1", Manifest::new(OCI_INDEX, text));
        let (from, to) = (source.reference("x:1"), destination.reference("x:1"));
        for options in [&["--arch", "arm64"][..], &[]] {
            let tag = copy(options, &from, &to).exits(1).tag("1");
            assert_eq!(tag["error"]["kind"], "invalid-manifest", "{key}: {tag:#}");
        }
    }
    assert_eq!(destination.count(|request| request.method == "PUT"), 0);
}

/// By its config alone this image is for arm64 to some and for amd64 to others.
#[test]
fn refuses_config_with_a_second_architecture_under_another_case() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let mut image = ImageSpec::new("linux", "arm64").layers(1, 300).build();
    let config = String::from_utf8(image.config.to_vec()).expect("text");
    let config = config.replacen('{', "{\"Architecture\":\"amd64\",", 1);
    let text = String::from_utf8(image.manifest.bytes.to_vec()).expect("text");
    let text = text.replace(&image.config_digest(), &sha256(config.as_bytes()));
    let size = |bytes: usize| format!("\"size\":{bytes}");
    let text = text.replace(&size(image.config.len()), &size(config.len()));
    image.config = config.into();
    image.manifest = Manifest::new(OCI_MANIFEST, text);
    image.push_to(&source, "x:1");
    let (from, to) = (source.reference("x:1"), destination.reference("x:1"));
    let tag = copy(&["--arch", "arm64"], &from, &to).exits(1).tag("1");
    assert_eq!(tag["error"]["kind"], "invalid-manifest", "{tag:#}");
    copy(&[], &from, &to).exits(0);
}
