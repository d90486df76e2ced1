//! The report as the contract has it: every field, the files beside it, and what goes where.

use std::fs;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::barge::{barge, copy, run};
use crate::support::content::sha256;
use crate::support::image::{Attestations, ImageSpec, Layout, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::wire::Request;

const TOP: [&str; 10] = [
    "barge",
    "destination",
    "dry_run",
    "mode",
    "outcome",
    "policy",
    "schema",
    "source",
    "tags",
    "totals",
];
const TAG: [&str; 10] = [
    "blobs",
    "bytes",
    "digest",
    "missing_platforms",
    "omitted_platforms",
    "platforms",
    "seconds",
    "source_digest",
    "status",
    "tag",
];
const TOTALS: [&str; 12] = [
    "bytes",
    "copied",
    "current",
    "failed",
    "not_attempted",
    "requests",
    "retries",
    "rolled_back",
    "seconds",
    "skipped",
    "tags",
    "would_copy",
];

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

fn index(seed: u64) -> MultiArch {
    MultiArch::standard(&["amd64", "arm64/v8"], Attestations::With, seed)
}

/// A source with the index at `x:good` and one that lost a layer at `x:bad`.
fn source() -> (FakeRegistry, MultiArch) {
    let source = FakeRegistry::start();
    let (good, bad) = (index(71), index(72));
    good.push_to(&source, "x:good");
    bad.push_to(&source, "x:bad");
    source
        .store
        .remove_blob("x", &bad.image("arm64").layers[1].digest());
    (source, good)
}

#[test]
fn every_field_of_the_contract_is_there() {
    let ((source, good), destination) = (source(), FakeRegistry::start());
    let options = ["--all-tags", "--arch", "arm64,s390x", "--jobs", "1"];
    let (from, to) = (source.reference("x"), destination.reference("team/x"));
    let output = copy(&options, &from, &to).exits(3);
    let report = output.json();
    assert_eq!(keys(&report), TOP);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["barge"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&report["source"], &report["destination"]),
        (&json!(from), &json!(to))
    );
    assert_eq!(
        (&report["mode"], &report["policy"]),
        (&json!("filtered-index"), &json!("best-effort"))
    );
    assert_eq!(
        (&report["dry_run"], &report["outcome"]),
        (&json!(false), &json!("partial"))
    );

    let tag = output.tag("good");
    assert_eq!(keys(&tag), TAG);
    assert_eq!(tag["source_digest"], good.digest());
    let stored = destination.store.tag("team/x", "good");
    assert_eq!(tag["digest"].as_str().map(str::to_owned), stored);
    assert_eq!(tag["platforms"], json!(["linux/arm64/v8"]));
    assert_eq!(tag["omitted_platforms"], json!(["linux/amd64"]));
    assert_eq!(tag["missing_platforms"], json!(["s390x"]));
    let (image, attestation) = (good.image("arm64"), good.attestation("arm64"));
    let layers = image.layers.iter().chain(&attestation.layers);
    let sizes = layers.map(|layer| layer.bytes.len());
    let bytes: usize = sizes.sum::<usize>() + image.config.len() + attestation.config.len();
    assert_eq!(
        (&tag["blobs"], &tag["bytes"]),
        (
            &json!({"copied": 5, "mounted": 0, "existing": 0}),
            &json!(bytes)
        )
    );
    assert!(tag["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    check_failure_and_totals(&output.tag("bad"), &report);
}

fn check_failure_and_totals(bad: &Value, report: &Value) {
    assert_eq!(bad["status"], "failed");
    assert_eq!(bad.get("digest"), None, "nothing is there under the tag");
    assert_eq!(keys(&bad["error"]), ["hint", "kind", "message"]);
    let totals = &report["totals"];
    assert_eq!(keys(totals), TOTALS);
    for (name, count) in [
        ("tags", 2),
        ("copied", 1),
        ("failed", 1),
        ("current", 0),
        ("skipped", 0),
        ("rolled_back", 0),
        ("not_attempted", 0),
        ("would_copy", 0),
        ("retries", 0),
    ] {
        assert_eq!(totals[name], count, "{name}");
    }
    assert_eq!(report["tags"][0]["tag"], "bad", "sorted");
    let sent = report["tags"].as_array().into_iter().flatten();
    let sent: u64 = sent.filter_map(|tag| tag["bytes"].as_u64()).sum();
    assert_eq!(totals["bytes"], sent);
}

#[test]
fn blobs_that_tags_share_are_counted_once() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    let image = index(73);
    image.push_to(&source, "x:1");
    image.push_to(&source, "x:2");
    let (from, to) = (source.reference("x"), destination.reference("x"));
    let report = copy(&["--all-tags", "--arch", "arm64"], &from, &to)
        .exits(0)
        .json();
    let count = |name: &str| {
        let tags = report["tags"].as_array().into_iter().flatten();
        tags.filter_map(|tag| tag["blobs"][name].as_u64())
            .sum::<u64>()
    };
    assert_eq!((count("copied"), count("existing")), (5, 5));
    let bytes: u64 = destination
        .log()
        .iter()
        .filter(|request| request.is_upload())
        .map(|request| request.body_len)
        .sum();
    assert_eq!(report["totals"]["bytes"], bytes);
    let asked = source.log().len() + destination.log().len();
    assert_eq!(report["totals"]["requests"], asked);
}

#[test]
fn the_destinations_tag_is_named_where_it_differs() {
    let ((source, good), destination) = (source(), FakeRegistry::start());
    let to = destination.reference("x:other");
    let tag = copy(&[], &source.reference("x:good"), &to)
        .exits(0)
        .tag("good");
    assert_eq!(tag["destination_tag"], "other");
    let from = source.reference(&format!("x@{}", good.digest()));
    let tag = copy(&[], &from, &destination.reference("y"))
        .exits(0)
        .tag(&good.digest());
    assert_eq!(keys(&tag), TAG);
    assert_eq!(destination.store.tags("y"), [""; 0]);
    assert!(destination.store.manifest("y", &good.digest()).is_some());
}

#[test]
fn a_run_that_could_not_start_says_so_at_the_top() {
    let (source, destination) = (FakeRegistry::start(), FakeRegistry::start());
    for options in [&["--all-tags"][..], &["--tags", "x", "--retry-times", "0"]] {
        let to = destination.reference("x");
        let report = copy(options, &source.reference("nobody"), &to)
            .exits(1)
            .json();
        assert_eq!(
            (&report["outcome"], &report["tags"]),
            (&json!("failed"), &json!([]))
        );
        assert_eq!(report["error"]["kind"], "not-found");
        assert_eq!(keys(&report["error"]), ["hint", "kind", "message"]);
        assert_eq!(report["totals"]["tags"], 0);
    }
}

#[test]
fn the_files_beside_say_the_same() {
    let ((source, _), destination) = (source(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (report, digests) = (path("report.json"), path("digests"));
    let files = ["--report", &report, "--digestfile", &digests];
    let read = |path: &str| fs::read_to_string(path).expect("the file is there");

    let one = copy(
        &files,
        &source.reference("x:good"),
        &destination.reference("x"),
    );
    let one = one.exits(0);
    assert_eq!(read(&report), one.stdout);
    let digest = one.tag("good")["digest"].clone();
    assert_eq!(json!(read(&digests).trim_end()), digest);

    let options = [&files[..], &["--all-tags"]].concat();
    let many = copy(
        &options,
        &source.reference("x"),
        &destination.reference("y"),
    )
    .exits(3);
    assert_eq!(
        read(&report),
        many.stdout,
        "also of a run that failed in part"
    );
    let line = format!(
        "{} {}\n",
        digest.as_str().expect("a digest"),
        destination.reference("y:good")
    );
    assert_eq!(read(&digests), line);

    let options = ["copy", "--report", &report, "--all-tags"];
    let to = destination.reference("z");
    let text = run(&[&options[..], &[&source.reference("x"), &to]].concat()).exits(3);
    assert!(text.stdout.contains("PARTIAL"));
    let written: Value = serde_json::from_str(&read(&report)).expect("JSON beside text");
    assert_eq!(written["totals"]["failed"], 1);
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["digests", "report.json"],
        "no temporary file is left"
    );
}

#[test]
fn the_digest_of_an_earlier_run_does_not_stay_in_the_digestfile() {
    let ((source, _), destination) = (source(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("digest");
    let digests = file.to_str().expect("a path");
    let run = |options: &[&str], from: &str, to: &str| {
        fs::write(&file, "sha256:old").expect("a file");
        let options = [&["--digestfile", digests], options].concat();
        copy(&options, from, to)
    };
    let content = || fs::read_to_string(&file).expect("the file is there");
    let (good, to) = (source.reference("x:good"), destination.reference("x"));
    run(&[], &source.reference("x:none"), &to).exits(1);
    assert_eq!(content(), "");
    run(&["--report", "no/such/place.json"], &good, &to).exits(1);
    assert_eq!(content(), "");
    run(&["--dry-run"], &good, &to).exits(0);
    assert_eq!(content(), "");
    run(
        &["--all-tags", "--policy", "rollback"],
        &source.reference("x"),
        &to,
    )
    .exits(4);
    assert_eq!(content(), "");
    run(&[], &good, "oci:").exits(2);
    assert_eq!(content(), "sha256:old", "a usage error is no run");
}

#[cfg(unix)]
#[test]
fn the_files_beside_go_behind_what_is_printed_into_one_file() {
    let ((source, good), destination) = (source(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("printed");
    let run = barge().args(["copy", "--digestfile", "/dev/stdout"]);
    let run = run.arg(source.reference("x:good"));
    let run = run.arg(destination.reference("x"));
    let redirected = format!("exec > {}", file.display());
    run.after(&redirected).run().exits(0);
    let printed = fs::read_to_string(&file).expect("what was printed");
    assert!(printed.starts_with("TAG"), "{printed}");
    assert!(printed.ends_with(&good.digest()), "{printed}");
}

#[cfg(unix)]
#[test]
fn the_files_beside_keep_the_mode_of_what_they_replace() {
    use std::os::unix::fs::PermissionsExt as _;
    let ((source, _), destination) = (source(), FakeRegistry::start());
    let directory = tempdir().expect("a temporary directory");
    for mode in [0o600, 0o664] {
        let paths = ["report", "digest"].map(|name| directory.path().join(name));
        for path in &paths {
            fs::write(path, "").expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        }
        let names = paths.each_ref().map(|path| path.to_str().expect("a path"));
        let options = ["--report", names[0], "--digestfile", names[1]];
        let to = destination.reference("x");
        copy(&options, &source.reference("x:good"), &to).exits(0);
        for path in &paths {
            let metadata = fs::metadata(path).expect("the file is there");
            assert!(metadata.len() > 0);
            assert_eq!(
                metadata.permissions().mode() & 0o777,
                mode,
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_anything_moves() {
    let ((source, _), destination) = (source(), FakeRegistry::start());
    let missing = "no/such/directory/report.json";
    let to = destination.reference("x");
    let output = copy(&["--report", missing], &source.reference("x:good"), &to).exits(1);
    assert!(output.stderr.contains("no/such/directory"), "{output:#?}");
    assert_eq!(destination.store.repositories(), [""; 0]);
}

#[test]
fn people_get_a_line_a_tag_and_totals() {
    let ((source, _), destination) = (source(), FakeRegistry::start());
    let (from, to) = (source.reference("x:good"), destination.reference("x"));
    let output = run(&["copy", "--arch", "arm64", &from, &to]).exits(0);
    let mut lines = output.stdout.lines();
    let head: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        head,
        ["TAG", "STATUS", "PLATFORMS", "DIGEST", "BYTES", "TIME"]
    );
    let row: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(row[..3], ["good", "copied", "linux/arm64/v8"]);
    let digest = destination.store.tag("x", "good").expect("it is there");
    assert!(output.stdout.contains(&digest), "{output:#?}");
    assert!(output.stdout.contains("1 tag: 1 copied"), "{output:#?}");
    assert_eq!(
        output.stderr, "",
        "a short run without a terminal has no progress to tell"
    );
}

#[test]
fn usage_errors_leave_standard_output_empty() {
    let source = FakeRegistry::start();
    let x = source.reference("x");
    let x = x.as_str();
    for arguments in [
        &["copy"][..],
        &["copy", x],
        &["copy", x, "nginx"],
        &["copy", x, "dir:/tmp/x"],
        &["copy", "oci-archve:x", x],
        &["copy", x, x, "--mode", "sparse-index"],
        &["copy", x, x, "--all", "--arch", "arm64"],
        &["copy", x, x, "--arch", "linux"],
        &["copy", x, x, "--tags", "a(", "-o", "json"],
        &["copy", x, x, "--tag-glob", "[", "-o", "json"],
        &["copy", x, x, "--policy", "hope", "-o", "json"],
        &["undo", "x", "--all"],
        &["undo", "--all", "--forget", "x", "-o", "json"],
        &["copy", x, x, "--no-such-option"],
        &["copy", x, "docker://h.io/UPPER"],
        &["inspect"],
        &["inspect", "docker://h.io/a@sha256:12", "-o", "json"],
        &["list-tags", "docker://h.io/a:1", "-o", "json"],
        &["no-such-verb"],
    ] {
        let output = run(arguments).exits(2);
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(source.log().len(), 0, "nothing was contacted");
}

#[test]
fn nondistributable_layers_are_counted_and_not_pushed() {
    use crate::support::content::DOCKER_FOREIGN_LAYER;
    use crate::support::image::{Format, Layer};
    let foreign = Layer::random(5, 900).foreign(DOCKER_FOREIGN_LAYER, "https://example.com/layer");
    let image = ImageSpec::new("windows", "amd64")
        .format(Format::Docker)
        .layer(foreign.clone())
        .layers(1, 500)
        .build();
    let (source, directory) = (
        FakeRegistry::start(),
        tempdir().expect("a temporary directory"),
    );
    image.push_to(&source, "x:1");
    let layout = Layout::at(&directory.path().join("layout"));
    let destination = FakeRegistry::start();
    for to in [destination.reference("x"), layout.reference("")] {
        let tag = copy(&[], &source.reference("x:1"), &to).exits(0).tag("1");
        assert_eq!(tag["blobs"]["nondistributable"], 1);
        assert_eq!(tag["blobs"]["copied"], 2);
    }
    assert!(!destination.store.has_blob("x", &foreign.digest()));
    assert!(!layout.has_blob(&foreign.digest()));
}

#[test]
fn a_single_image_names_its_platform_where_that_costs_nothing() {
    let [source, destination] = [FakeRegistry::start(), FakeRegistry::start()];
    ImageSpec::new("linux", "arm64")
        .layers(1, 500)
        .build()
        .push_to(&source, "x:1");
    let first = copy(&[], &source.reference("x:1"), &destination.reference("y"));
    assert_eq!(first.exits(0).tag("1")["platforms"], json!(["linux/arm64"]));
    assert_eq!(source.count(Request::reads_blob), 2);
    source.clear_log();
    // Under another tag: every blob is there, and none is read for the report's sake.
    copy(&[], &source.reference("x:1"), &destination.reference("y:2")).exits(0);
    assert_eq!(source.count(Request::reads_blob), 0);
}

/// More tags than are worked on at once: the last begin when the config has moved.
#[test]
fn every_tag_of_an_image_names_its_platform() {
    let image = MultiArch::standard(&["arm64"], Attestations::Without, 88);
    let child = image.image("arm64");
    for (index_first, options) in [(false, &[][..]), (false, &["--referrers"]), (true, &[])] {
        let [source, destination] = [FakeRegistry::start(), FakeRegistry::start()];
        for number in 10..40 {
            let name = format!("x:{number}");
            if index_first && number < 39 {
                image.push_to(&source, &name);
            } else {
                child.push_to(&source, &name);
            }
        }
        let (from, to) = (source.reference("x"), destination.reference("y"));
        let output = copy(&[&["--all-tags"], options].concat(), &from, &to).exits(0);
        for number in 10..40 {
            let platforms = &output.tag(&number.to_string())["platforms"];
            let named = json!(["linux/arm64"]);
            assert_eq!(*platforms, named, "{number} {index_first} {options:?}");
        }
        let config = sha256(&child.config);
        let reads = source.count(|request| request.is("GET", &format!("/blobs/{config}")));
        assert_eq!(reads, 1, "{index_first} {options:?}");
    }
}
