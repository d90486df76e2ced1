//! Archives that were made to do harm: an error, nothing written outside, and soon.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tar::EntryType;
use tempfile::tempdir;

use super::{names, place, single, unpacked};
use crate::support::barge::{Output, barge, run};
use crate::support::content::sha256;
use crate::support::image::Image;
use crate::support::image::archive::{Archive, blob_name, member};
use crate::support::registry::FakeRegistry;

/// The members of an archive of `image`, as one tag.
pub(super) fn honest(image: &Image) -> Vec<(String, Vec<u8>)> {
    let manifest = &image.manifest;
    let entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest(),
        "size": manifest.bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    });
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let blobs = image.layers.iter().map(|layer| layer.bytes.to_vec());
    let blobs = blobs.chain([image.config.to_vec(), manifest.bytes.to_vec()]);
    let mut members: Vec<(String, Vec<u8>)> = blobs
        .map(|bytes| (blob_name(&sha256(&bytes)), bytes))
        .collect();
    members.push(("index.json".into(), index.into()));
    members
}

pub(super) fn packed(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members = members.iter();
    members
        .flat_map(|(name, bytes)| member(EntryType::Regular, name, bytes))
        .collect()
}

/// The members of an archive of `image` as `docker save` writes it.
pub(super) fn saved(image: &Image) -> Vec<(String, Vec<u8>)> {
    let layers = image.layers.iter().map(|layer| unpacked(&layer.bytes));
    let named = |(number, bytes)| (format!("{number}.tar"), bytes);
    let mut members: Vec<(String, Vec<u8>)> = layers.enumerate().map(named).collect();
    let layers: Vec<&String> = members.iter().map(|(name, _)| name).collect();
    let list = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": layers}]);
    members.push(("c.json".into(), image.config.to_vec()));
    members.push(("manifest.json".into(), list.to_string().into()));
    members
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("packed")
}

/// Copies an OCI archive of these bytes, and looks that nothing was written but in the registry.
#[track_caller]
fn import(bytes: &[u8], code: i32) -> (Output, FakeRegistry) {
    import_as("oci-archive", bytes, code)
}

/// The same for an archive of this transport.
#[track_caller]
fn import_as(transport: &str, bytes: &[u8], code: i32) -> (Output, FakeRegistry) {
    let directory = tempdir().expect("a temporary directory");
    let archive = Archive::at(&directory.path().join("a/b/bundle.tar"));
    fs::create_dir_all(archive.path().parent().expect("it is in one")).expect("a directory");
    fs::write(archive.path(), bytes).expect("a file");
    let spool = tempdir().expect("a temporary directory");
    let destination = FakeRegistry::start();
    let command = barge()
        .args([
            "copy",
            "-o",
            "json",
            &format!("{transport}:{}", archive.path().display()),
            &destination.reference("y"),
        ])
        .env("TMPDIR", spool.path());
    let home = command.home().to_owned();
    let began = Instant::now();
    let running = command.spawn();
    let is_empty = |directory: &Path| names(directory).is_empty();
    let output = running.wait().exits(code);
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "{:?}",
        began.elapsed()
    );
    assert!(!home.exists() || is_empty(&home));
    assert!(is_empty(spool.path()));
    let count = |directory: &Path| names(directory).len();
    assert_eq!(
        (
            count(directory.path()),
            count(&directory.path().join("a/b"))
        ),
        (1, 1)
    );
    (output, destination)
}

/// Why the whole archive, or its one tag, was refused.
fn error(output: &Output) -> Value {
    let report = output.json();
    let of_tag = report["tags"][0]["error"].clone();
    if of_tag.is_null() {
        report["error"].clone()
    } else {
        of_tag
    }
}

/// What each is, its members, and what is said of it; `layer` is the name of one that the archive has.
fn harmful(layer: &str) -> [(&'static str, Vec<u8>, &'static str); 10] {
    let size_of_half = {
        let mut lying = member(EntryType::Regular, "big", b"x");
        let mut header = tar::Header::from_byte_slice(&lying[..512]).clone();
        header.set_size(1 << 50);
        header.set_cksum();
        lying[..512].copy_from_slice(header.as_bytes());
        lying
    };
    [
        (
            "climbs",
            member(EntryType::Regular, "../../escaped", b"x"),
            "leads out",
        ),
        (
            "absolute",
            member(EntryType::Regular, "/tmp/escaped", b"x"),
            "leads out",
        ),
        (
            "link",
            member(EntryType::Symlink, "blobs/link", b""),
            "is a link",
        ),
        (
            "hard link",
            member(EntryType::Link, "blobs/link", b""),
            "is a link",
        ),
        (
            "device",
            member(EntryType::Char, "blobs/null", b""),
            "device",
        ),
        ("pipe", member(EntryType::Fifo, "blobs/pipe", b""), "pipe"),
        (
            "sparse",
            member(EntryType::GNUSparse, "blobs/s", b""),
            "sparse",
        ),
        (
            "twice",
            member(EntryType::Regular, layer, b"other bytes"),
            "twice",
        ),
        ("lying size", size_of_half, "cut off"),
        (
            "two sizes",
            [
                member(EntryType::XHeader, "p", b"9 size=9\n"),
                member(EntryType::Regular, "q", b"x"),
            ]
            .concat(),
            "two sizes",
        ),
    ]
}

#[test]
fn an_archive_that_could_do_harm_is_refused_as_a_whole() {
    let image = single(1);
    let end = [0; 1024];
    for (transport, members) in [
        ("oci-archive", honest(&image)),
        ("docker-archive", saved(&image)),
    ] {
        let fine = packed(&members);
        let (output, _) = import_as(transport, &[&fine[..], &end].concat(), 0);
        assert_eq!(output.tag("1")["status"], "copied");

        for (case, bad, why) in harmful(&members[2].0) {
            // What `docker save` writes has links.
            if transport == "docker-archive" && why == "is a link" {
                continue;
            }
            let last = [&fine[..], &bad, &end].concat();
            let first = [&bad[..], &fine, &end].concat();
            for bytes in [first, gzip(&last), zstd(&last), last] {
                let (output, destination) = import_as(transport, &bytes, 1);
                let error = error(&output);
                assert_eq!(error["kind"], "protocol", "{case}: {error:#}");
                assert!(
                    error["message"]
                        .as_str()
                        .is_some_and(|text| text.contains(why)),
                    "{transport}, {case}: {error:#}"
                );
                assert!(
                    destination
                        .log()
                        .iter()
                        .all(|request| request.method == "GET"),
                    "{transport}, {case}"
                );
            }
        }
    }
}

#[test]
fn an_archive_that_is_cut_off_is_refused() {
    for (transport, members) in [
        ("oci-archive", honest(&single(1))),
        ("docker-archive", saved(&single(1))),
    ] {
        let fine = packed(&members);
        for length in [100, 512, 600, 20_000, fine.len() - 512, fine.len()] {
            let (output, _) = import_as(transport, &fine[..length], 1);
            let error = error(&output);
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("cut off")),
                "{error:#}"
            );
        }
        for bytes in [gzip(&fine), zstd(&fine)] {
            let (output, destination) = import_as(transport, &bytes[..bytes.len() / 2], 1);
            assert_eq!(error(&output)["kind"], "protocol", "{output:#?}");
            assert_eq!(destination.count(|request| request.method != "GET"), 0);
        }
    }
}

#[test]
fn bytes_that_are_not_their_name_never_arrive() {
    let image = single(1);
    for (number, (name, _)) in honest(&image).iter().enumerate().take(5) {
        let mut members = honest(&image);
        let bytes = &mut members[number].1;
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        let bytes = [&packed(&members)[..], &[0; 1024]].concat();
        let (output, destination) = import(&bytes, 1);
        assert_eq!(
            error(&output)["kind"],
            "digest-mismatch",
            "{name}: {output:#?}"
        );
        assert_eq!(
            destination.count(|request| request.is("PUT", "/manifests/")),
            0
        );
    }
}

#[test]
fn a_blob_of_another_size_than_its_manifest_says_never_arrives() {
    let image = single(1);
    for change in [-1_i64, 1] {
        let mut members = honest(&image);
        let bytes = &mut members[2].1;
        let size = i64::try_from(bytes.len()).expect("small") + change;
        bytes.resize(usize::try_from(size).expect("positive"), 0);
        let bytes = [&packed(&members)[..], &[0; 1024]].concat();
        let (output, _) = import(&bytes, 1);
        assert_eq!(error(&output)["kind"], "digest-mismatch", "{output:#?}");
    }
}

#[test]
fn an_index_that_is_none_or_names_what_is_not_there_is_told() {
    let image = single(1);
    let with_index = |index: &str| {
        let mut members = honest(&image);
        let last = members.len() - 1;
        members[last].1 = index.into();
        [&packed(&members)[..], &[0; 1024]].concat()
    };
    let gone = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(b"gone"), "size": 4});
    let gone = json!({"manifests": [gone]}).to_string();
    for (index, kind) in [
        ("[]", "invalid-manifest"),
        ("{", "invalid-manifest"),
        (r#"{"manifests":[]}"#, "not-found"),
        (&gone, "not-found"),
    ] {
        let (output, _) = import(&with_index(index), 1);
        assert_eq!(error(&output)["kind"], kind, "{index}: {output:#?}");
    }
    let mut members = honest(&image);
    members.pop();
    let (output, _) = import(&[&packed(&members)[..], &[0; 1024]].concat(), 1);
    assert!(
        error(&output)["message"]
            .as_str()
            .is_some_and(|text| text.contains("no index.json"))
    );
}

#[test]
fn a_bomb_ends_early() {
    let zeros = vec![0; 4 << 20];
    let pack = |encoder: &mut dyn std::io::Write| {
        let huge = member(EntryType::Regular, "blobs/sha256/x", b"");
        let mut header = tar::Header::from_byte_slice(&huge[..512]).clone();
        header.set_size(4 << 30);
        header.set_cksum();
        encoder.write_all(header.as_bytes()).expect("written");
        for _ in 0..20 {
            encoder.write_all(&zeros).expect("written");
        }
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    pack(&mut gzip);
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    pack(&mut zstd);
    for (bomb, unpacker) in [
        (gzip.finish().expect("packed"), "gzip -dc"),
        (zstd.finish().expect("packed"), "zstd -dc"),
    ] {
        let (output, _) = import(&bomb, 1);
        is_a_bomb(&output);
        // An image of zeros is none, and this is the way in for it.
        assert!(output.stdout.contains(unpacker), "{output:#?}");
    }
}

#[track_caller]
fn is_a_bomb(output: &Output) {
    assert_eq!(error(output)["kind"], "protocol");
    let message = error(output)["message"].to_string();
    assert!(message.contains("100 times its size"), "{output:#?}");
}

/// A bomb within an archive that is not compressed itself.
#[test]
fn a_layer_that_is_a_bomb_ends_early() {
    let zeros = vec![0; 80 << 20];
    for bomb in [gzip(&zeros), zstd(&zeros)] {
        let mut members = saved(&single(1));
        members[0].1 = bomb;
        let bytes = [&packed(&members)[..], &[0; 1024]].concat();
        let (output, _) = import_as("docker-archive", &bytes, 1);
        is_a_bomb(&output);
        assert!(!output.stdout.contains("-dc"), "{output:#?}");
    }
}

/// What a frame refers back to is held in memory: as much as others pack with, and no more.
#[test]
fn a_window_of_zstd_is_bounded() {
    let fine = [&packed(&honest(&single(1)))[..], &[0; 1024]].concat();
    for (window, code) in [(25, 0), (26, 1), (27, 1)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(window).expect("it can");
        encoder.write_all(&fine).expect("packed");
        let (output, _) = import(&encoder.finish().expect("packed"), code);
        if code == 1 {
            let error = error(&output);
            assert_eq!(error["kind"], "protocol");
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains("more than 32 MiB of memory"), "{message}");
        }
    }
}

/// What lists the contents is read as a whole, so it is no longer than a manifest may be.
#[test]
fn a_list_that_is_too_long_is_refused() {
    for (transport, name, members) in [
        ("oci-archive", "index.json", honest(&single(1))),
        ("docker-archive", "manifest.json", saved(&single(1))),
    ] {
        for (length, code) in [(4 << 20, 0), ((4 << 20) + 1, 1)] {
            let mut members = members.clone();
            let list = members.iter_mut().find(|(other, _)| other == name);
            list.expect("it").1.resize(length, b' ');
            let bytes = [&packed(&members)[..], &[0; 1024]].concat();
            let (output, _) = import_as(transport, &bytes, code);
            if code == 1 {
                assert_eq!(error(&output)["kind"], "protocol", "{output:#?}");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_members_do_no_harm() {
    let image = single(1);
    let mut many = Vec::new();
    for number in 0..100_000 {
        many.extend(member(
            EntryType::Regular,
            &format!("blobs/sha256/{number:064x}"),
            b"",
        ));
    }
    for (transport, members) in [
        ("oci-archive", honest(&image)),
        ("docker-archive", saved(&image)),
    ] {
        let bytes = [&many[..], &packed(&members), &[0; 1024]].concat();
        let (output, _) = import_as(transport, &bytes, 0);
        assert_eq!(output.tag("1")["status"], "copied");
    }
}

/// Each is looked up by itself: compared with all others they would take hours.
#[test]
fn a_hundred_thousand_names_of_one_image_do_no_harm() {
    let mut members = saved(&single(1));
    let list = members.last_mut().expect("there is one");
    let names: Vec<String> = (0..100_000).map(|number| format!("app:{number}")).collect();
    let layers = json!(["0.tar", "1.tar", "2.tar"]);
    list.1 = json!([{"Config": "c.json", "RepoTags": names, "Layers": layers}])
        .to_string()
        .into();
    let (_directory, archive) = place();
    let bytes = [&packed(&members)[..], &[0; 1024]].concat();
    fs::write(archive.path(), bytes).expect("a file");
    let reference = format!("docker-archive:{}", archive.path().display());
    let tags = run(&["list-tags", &reference]).exits(0).stdout;
    assert_eq!(tags.lines().count(), 100_000);
    run(&["inspect", &format!("{reference}:app:99999")]).exits(0);
}

/// Other readers take the last of the keys that are alike but for case.
#[test]
fn refuses_lists_with_a_second_key_under_another_case() {
    for (transport, members, known) in [
        ("oci-archive", honest(&single(1)), "manifests"),
        ("docker-archive", saved(&single(1)), "Config"),
    ] {
        for other in [known.to_uppercase(), known.to_owned()] {
            let mut members = members.clone();
            let list = &mut members.last_mut().expect("a list").1;
            let text = String::from_utf8(list.clone()).expect("text");
            let text = text.replacen('{', &format!("{{\"{other}\":[],"), 1);
            *list = text.into();
            let bytes = [&packed(&members)[..], &[0; 1024]].concat();
            let (output, _) = import_as(transport, &bytes, 1);
            assert_eq!(error(&output)["kind"], "invalid-manifest", "{output:#?}");
        }
    }
}
