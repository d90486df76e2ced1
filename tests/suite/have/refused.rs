//! What `--have` cannot take, and what a difference says of itself to those who only look.

use std::fs;

use serde_json::json;

use super::{Desk, export, import, single, standard, writes};
use crate::support::barge::{copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::archive::pack;
use crate::support::image::{Image, Layout};
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;

#[test]
fn a_file_that_is_no_inventory_stops_the_run() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "app:v1");
    let desk = Desk::new();
    let whole = r#"{"schema": 1, "kind": "inventory", "places": []}"#;
    let cases = [
        ("", "protocol", "it is cut short"),
        (&whole[..30], "protocol", "it is cut short"),
        ("{}", "protocol", "this is no inventory"),
        (
            r#"{"schema": 1, "tags": []}"#,
            "protocol",
            "this is no inventory",
        ),
        (&whole.replace('1', "2"), "unsupported", "schema 2"),
    ];
    for (text, kind, words) in cases {
        let have = desk.write("have.json", text);
        let archive = desk.archive("x.tar");
        let output = export(&have, &source.reference("app"), &archive).exits(1);
        let error = &output.json()["error"];
        assert_eq!(error["kind"], kind, "{output:#?}");
        let message = error["message"].as_str().expect("a message");
        assert!(
            message.contains(words) && message.contains(&have),
            "{message}"
        );
        assert!(!archive.path().exists());
    }
    let gone = desk.path("gone.json").display().to_string();
    let output = export(&gone, &source.reference("app"), &desk.archive("x.tar")).exits(1);
    assert_eq!(output.json()["error"]["kind"], "local-io");
}

#[test]
fn usage() {
    let desk = Desk::new();
    let have = desk.write("have.json", "{}");
    for arguments in [
        &["--have", &have, "docker://h.io/a:1", "oci:x"][..],
        &["--have", &have, "docker://h.io/a:1", "docker://h.io/b"],
        &["--have", "-", "oci-archive:-", "oci-archive:x"],
        &[
            "--have",
            "-",
            "--src-creds-file",
            "-",
            "h.io/a:1",
            "oci-archive:x",
        ],
    ] {
        run(&[&["copy"], arguments].concat()).exits(2);
    }
}

#[test]
fn a_difference_is_made_anew() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "app:v1");
    let desk = Desk::new();
    let from = source.reference("app");
    let (difference, full) = (desk.archive("difference.tar"), desk.archive("full.tar"));
    let have = desk.inventory(&[&from]);
    export(&have, &from, &difference).exits(0);
    copy(&["--all-tags"], &from, &full.reference("")).exits(0);
    let before = (difference.bytes(), full.bytes());
    let to_full = export(&have, &from, &full);
    let to_difference = copy(&["--all-tags"], &from, &difference.reference(""));
    for output in [to_full, to_difference] {
        let report = output.exits(1).json();
        assert_eq!(report["error"]["kind"], "conflict", "{report:#}");
    }
    assert!(before == (difference.bytes(), full.bytes()));
}

#[test]
fn verify_and_inspect_say_that_it_is_by_design() {
    let source = FakeRegistry::start();
    standard(1).push_to(&source, "app:old");
    single(1).push_to(&source, "app:one");
    let desk = Desk::new();
    let have = desk.inventory(&[&source.reference("app")]);
    standard(2).push_to(&source, "app:new");
    let archive = desk.archive("x.tar");
    export(&have, &source.reference("app"), &archive).exits(0);
    let reference = archive.reference("");

    let output = run(&["verify", "--deep", "--all-tags", "-o", "json", &reference]).exits(0);
    let tag = output.tag("old");
    assert_eq!(
        (&tag["status"], &tag["missing"]),
        (&json!("complete"), &json!([]))
    );
    // Four manifests below the index, each with a config and layers.
    assert_eq!(
        tag["left_out"].as_array().map(Vec::len),
        Some(13),
        "{tag:#}"
    );
    assert_eq!(output.tag("new")["left_out"], json!(null));
    let said = run(&["verify", "--all-tags", &reference]).exits(0).stdout;
    assert!(said.contains("note: old leaves out 13 parts ("), "{said}");

    let said = run(&["inspect", &archive.reference("old")]).exits(0).stdout;
    assert!(said.contains("left out:     13 parts ("), "{said}");
    assert!(said.contains("difference:   0 of 2 present"), "{said}");
    let said = run(&["inspect", &archive.reference("one")]).exits(0).stdout;
    assert!(said.contains("left out:     3 parts ("), "{said}");
    let said = run(&["inspect", "-o", "json", &archive.reference("new")]).exits(0);
    assert_eq!(said.json()["platforms"][0]["present"], true);

    let options = ["--arch", "arm64", "--all-tags", "-o", "json"];
    let output = run(&[&["verify"], &options[..], &[&reference]].concat()).exits(0);
    assert_eq!(
        output.tag("old")["absent_platforms"],
        json!([]),
        "{output:#?}"
    );

    // What is lost besides is no design.
    let layout = desk.unpack(&archive);
    let lost = standard(2).image("arm64").layers[0].digest();
    fs::remove_file(layout.join("blobs").join(lost.replace(':', "/"))).expect("there");
    let damaged = pack(&layout, &desk.path("damaged.tar"));
    let output = run(&["verify", "--all-tags", "-o", "json", &damaged.reference("")]).exits(3);
    assert_eq!(output.tag("new")["missing"][0]["digest"], lost);
}

/// What was not read is not counted as read.
#[test]
fn verify_counts_what_is_in_the_archive() {
    let source = FakeRegistry::start();
    single(1).push_to(&source, "app:v1");
    let desk = Desk::new();
    let have = desk.inventory(&[&source.reference("app")]);
    single(2).push_to(&source, "app:v2");
    let archive = desk.archive("x.tar");
    export(&have, &source.reference("app"), &archive).exits(0);
    let verify = |options: &[&str], reference: &str| {
        run(&[&["verify", "--deep"], options, &[reference]].concat())
    };
    let of = |image: &Image| image.config.len() + image.layers[1].bytes.len();
    let output = verify(&["--all-tags", "-o", "json"], &archive.reference("")).exits(0);
    let (v1, v2) = (output.tag("v1"), output.tag("v2"));
    assert_eq!((&v1["blobs"], &v1["bytes"]), (&json!(0), &json!(0)));
    assert_eq!(
        (&v2["blobs"], &v2["bytes"]),
        (&json!(2), &json!(of(&single(2))))
    );
    let totals = &output.json()["totals"];
    let left_out = single(1).layers[0].bytes.len() + of(&single(1));
    let expected = json!([2, of(&single(2)), 3, left_out, 0]);
    let names = [
        "blobs",
        "bytes",
        "left_out_blobs",
        "left_out_bytes",
        "missing_blobs",
    ];
    assert_eq!(
        json!(names.map(|name| &totals[name])),
        expected,
        "{totals:#}"
    );
    let said = verify(&["--all-tags"], &archive.reference(""))
        .exits(0)
        .stdout;
    assert!(
        said.contains("; 2 blobs (") && said.contains(") read, 3 ("),
        "{said}"
    );
    assert!(said.contains(") left out, 0 requests"), "{said}");

    // By its digest it leaves out the same.
    let by_digest = format!("{}@{}", archive.reference(""), single(2).digest());
    let output = verify(&["-o", "json"], &by_digest).exits(0);
    assert_eq!(output.json()["totals"]["left_out_blobs"], 1, "{output:#?}");

    let layout = desk.unpack(&archive);
    let lost = single(2).layers[1].digest();
    fs::remove_file(layout.join("blobs").join(lost.replace(':', "/"))).expect("there");
    let damaged = pack(&layout, &desk.path("damaged.tar"));
    let output = verify(&["--all-tags", "-o", "json"], &damaged.reference("")).exits(3);
    let totals = &output.json()["totals"];
    assert_eq!(json!(names.map(|name| &totals[name]))[0], 1, "{totals:#}");
    assert_eq!(
        (&totals["left_out_blobs"], &totals["missing_blobs"]),
        (&json!(3), &json!(1))
    );
}

/// Another tool sees a layout with parts missing, and reads what is whole.
#[test]
fn skopeo_reads_the_tags_that_are_whole() {
    let (source, inside) = (DockerRegistry::start(), DockerRegistry::start());
    standard(1).push_to(&source, "app:old");
    standard(1).push_to(&inside, "app:old");
    standard(2).push_to(&source, "app:new");
    let desk = Desk::new();
    let have = desk.inventory(&[&inside.reference("app")]);
    let archive = desk.archive("x.tar");
    export(&have, &source.reference("app"), &archive).exits(0);
    let layout = Layout::at(&desk.path("layout"));
    skopeo::copy_all(&archive.reference("new"), &layout.reference("new"));
    assert_eq!(layout.manifest("new"), Some(standard(2).root.clone()));
    let root = skopeo::inspect_raw(&archive.reference("old"));
    assert_eq!(root, standard(1).root.bytes);
}

/// What an archive says that it leaves out was written by anybody.
#[test]
fn a_record_that_lies_does_no_harm() {
    let (source, inside) = (FakeRegistry::start(), FakeRegistry::start());
    let elsewhere = FakeRegistry::start();
    single(1).push_to(&source, "app:v1");
    let desk = Desk::new();
    let archive = desk.archive("x.tar");
    let have = desk.inventory(&[&source.reference("app")]);
    export(&have, &source.reference("app"), &archive).exits(0);
    let layout = desk.unpack(&archive);
    let record = layout.join("barge-difference.json");
    let honest = fs::read_to_string(&record).expect("the record");
    let cases = [
        ("{}".to_owned(), "protocol"),
        (
            honest.replace("\"schema\":1", "\"schema\":2"),
            "unsupported",
        ),
        (honest.replace("sha256:", "md5:"), "protocol"),
        (
            honest.replace(&source.host(), &elsewhere.host()),
            "not-found",
        ),
    ];
    for (text, kind) in cases {
        fs::write(&record, &text).expect("the record");
        let forged = pack(&layout, &desk.path("forged.tar"));
        let report = import(&forged, &inside.reference("app")).exits(1).json();
        assert_eq!(report["error"]["kind"], kind, "{report:#}");
    }
    let long = format!("{honest}{}", " ".repeat(16 << 20));
    fs::write(&record, long).expect("the record");
    let forged = pack(&layout, &desk.path("forged.tar"));
    let report = import(&forged, &inside.reference("app")).exits(1).json();
    assert_eq!(report["error"]["kind"], "protocol", "{report:#}");
    assert!(writes(&inside).is_empty());
    assert!(elsewhere.log().is_empty(), "nobody else is asked");

    // One that names nothing is an archive that lacks parts.
    fs::remove_file(&record).expect("the record");
    let bare = pack(&layout, &desk.path("bare.tar"));
    let output = import(&bare, &inside.reference("app")).exits(1);
    assert_eq!(output.tag("v1")["error"]["kind"], "not-found");
}
