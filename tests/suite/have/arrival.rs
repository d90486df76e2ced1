//! Arrival: what was left out is proved to be there before anything is written.

use serde_json::json;

use super::{Desk, export, import, lacking, single, standard, writes};
use crate::support::barge::{barge, copy, run};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::Layout;
use crate::support::proxy::Proxy;

/// `v1` on both sides, `v2` outside alone, and the archive that brings it.
struct Week {
    outside: DockerRegistry,
    inside: DockerRegistry,
    desk: Desk,
}

impl Week {
    fn new() -> Self {
        let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
        single(1).push_to(&outside, "app:v1");
        single(1).push_to(&inside, "app:v1");
        single(2).push_to(&outside, "app:v2");
        let desk = Desk::new();
        let have = desk.inventory(&[&inside.reference("app")]);
        let archive = desk.archive("week.tar");
        export(&have, &outside.reference("app"), &archive).exits(0);
        Self {
            outside,
            inside,
            desk,
        }
    }

    fn archive(&self) -> crate::support::image::archive::Archive {
        self.desk.archive("week.tar")
    }
}

#[test]
fn a_blob_that_is_gone_fails_the_import_before_any_write() {
    let week = Week::new();
    let gone = single(1).layers[0].clone();
    week.inside.remove_blob(&gone.digest());
    let proxy = Proxy::start(week.inside.host());
    let to = proxy.reference("app");
    let output = import(&week.archive(), &to).exits(1);
    let report = output.json();
    assert_eq!(report["error"]["kind"], "not-found");
    let expected = json!([{"part": "blob", "digest": gone.digest(), "size": gone.bytes.len(), "tags": ["v1", "v2"]}]);
    assert_eq!(report["lacking"], expected, "{report:#}");
    let hint = report["error"]["hint"].as_str().expect("a hint");
    let command = format!(
        "`barge copy --tag-glob v1,v2 {} oci-archive:whole.tar`",
        week.outside.reference("app")
    );
    assert!(hint.contains(&command), "{hint}");
    assert!(writes(&proxy).is_empty(), "{:?}", writes(&proxy));
    assert!(!proxy.log().is_empty());

    let archive = week.archive().reference("");
    let said = run(&["copy", "--all-tags", &archive, &to]).exits(1).stdout;
    let line = format!("  missing blob {} (601.67 kB) of v1, v2", gone.digest());
    assert!(said.contains(&line), "{said}");

    // Rollback settles what is unfinished before it copies: not even that comes first.
    let options = ["--all-tags", "--policy", "rollback"];
    copy(&options, &archive, &to).exits(1);
    assert!(writes(&proxy).is_empty());

    // What is named is brought, and the archive goes in.
    let whole = week.desk.archive("whole.tar");
    let from = week.outside.reference("app");
    copy(&["--tag-glob", "v1,v2"], &from, &whole.reference("")).exits(0);
    copy(
        &["--all-tags", "--recheck", "blobs"],
        &whole.reference(""),
        &to,
    )
    .exits(0);
    import(&week.archive(), &to).exits(0);
    let there = week.inside.client().blob("app", &gone.digest());
    assert_eq!(there.as_deref(), Some(&gone.bytes[..]));
}

#[test]
fn a_manifest_that_is_gone_fails_it_too() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let image = standard(1);
    image.push_to(&outside, "app:v1");
    image.push_to(&inside, "app:v1");
    let desk = Desk::new();
    let have = desk.inventory(&[&inside.reference("app")]);
    let archive = desk.archive("x.tar");
    export(&have, &outside.reference("app"), &archive).exits(0);
    let child = image.image("arm64").digest();
    inside.client().delete_manifest("app", &child);
    let proxy = Proxy::start(inside.host());
    let report = import(&archive, &proxy.reference("app")).exits(1).json();
    assert_eq!(lacking(&report), [child]);
    assert_eq!(report["lacking"][0]["part"], "manifest");
    assert!(writes(&proxy).is_empty());
}

#[test]
fn only_what_the_selected_tags_need_is_asked_for() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    for (seed, tag) in [(1, "app:v1"), (2, "app:v2")] {
        standard(seed).push_to(&outside, tag);
        standard(seed).push_to(&inside, tag);
    }
    let desk = Desk::new();
    let have = desk.inventory(&[&inside.reference("app")]);
    let archive = desk.archive("x.tar");
    export(&have, &outside.reference("app"), &archive).exits(0);
    let gone = standard(1).image("arm64").layers[1].digest();
    inside.remove_blob(&gone);
    let to = inside.reference("app");
    copy(&[], &archive.reference("v2"), &to).exits(0);
    copy(&["--tags", "v2"], &archive.reference(""), &to).exits(0);
    let report = copy(&["--tags", "v1"], &archive.reference(""), &to);
    assert_eq!(lacking(&report.exits(1).json()), [gone.as_str()]);
    let by_digest = format!("{}@{}", archive.reference(""), standard(1).digest());
    let report = copy(&[], &by_digest, &inside.reference("app:v1"));
    assert_eq!(lacking(&report.exits(1).json()), [gone]);
}

/// An inventory that lies, and one of another registry: what it promised is not there.
#[test]
fn an_inventory_is_not_believed() {
    let outside = DockerRegistry::start();
    let (inside, other) = (DockerRegistry::start(), DockerRegistry::start());
    single(1).push_to(&outside, "app:v1");
    single(1).push_to(&other, "app:v1");
    let desk = Desk::new();
    let honest = std::fs::read_to_string(desk.inventory(&[&other.reference("app")]));
    let honest = honest.expect("a file");
    let lie = honest.replace(other.host(), inside.host());
    for (name, text) in [("other", honest), ("lie", lie)] {
        let have = desk.write(name, &text);
        let archive = desk.archive(&format!("{name}.tar"));
        export(&have, &outside.reference("app"), &archive).exits(0);
        let proxy = Proxy::start(inside.host());
        let report = import(&archive, &proxy.reference("app")).exits(1).json();
        assert_eq!(lacking(&report).len(), 3, "{report:#}");
        assert!(writes(&proxy).is_empty());
    }
}

#[test]
fn an_empty_layout_or_archive_lacks_everything_and_a_full_one_nothing() {
    let week = Week::new();
    let full = Layout::at(&week.desk.path("full"));
    copy(
        &["--all-tags"],
        &week.inside.reference("app"),
        &full.reference(""),
    )
    .exits(0);
    let tar = week.desk.archive("full.tar");
    copy(&["--all-tags"], &full.reference(""), &tar.reference("")).exits(0);
    let empty = Layout::at(&week.desk.path("empty"));
    let new = week.desk.archive("new.tar");
    for destination in [empty.reference(""), new.reference("")] {
        let report = import(&week.archive(), &destination).exits(1).json();
        assert_eq!(lacking(&report).len(), 3, "{report:#}");
    }
    assert!(!week.desk.path("empty").exists() && !week.desk.path("new.tar").exists());
    for destination in [full.reference(""), tar.reference("")] {
        import(&week.archive(), &destination).exits(0);
        run(&["verify", "--deep", "--all-tags", &destination]).exits(0);
    }
    assert_eq!(full.manifest("v2"), Some(single(2).manifest.clone()));
}

#[test]
fn a_dry_run_asks_as_well() {
    let week = Week::new();
    let to = week.inside.reference("app");
    let archive = week.archive().reference("");
    let options = ["--all-tags", "--dry-run"];
    let output = copy(&options, &archive, &to).exits(0);
    assert_eq!(output.tag("v2")["blobs"]["existing"], 1, "{output:#?}");
    week.inside.remove_blob(&single(1).layers[0].digest());
    copy(&options, &archive, &to).exits(1);
}

/// Where nothing comes out of the inside, the archives that were sent say what is there.
#[test]
fn archives_that_were_sent_do_for_an_inventory() {
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let (from, to) = (outside.reference("app"), inside.reference("app"));
    let desk = Desk::new();
    let mut sent: Vec<String> = Vec::new();
    for seed in [1, 2, 3] {
        single(seed).push_to(&outside, &format!("app:v{seed}"));
        let archive = desk.archive(&format!("{seed}.tar"));
        let places: Vec<&str> = sent.iter().map(String::as_str).collect();
        if places.is_empty() {
            copy(&["--all-tags"], &from, &archive.reference("")).exits(0);
        } else {
            export(&desk.inventory(&places), &from, &archive).exits(0);
            assert!(archive.bytes().len() < 20_000);
        }
        import(&archive, &to).exits(0);
        sent.push(archive.reference(""));
    }
    run(&["verify", "--all-tags", "--against", &from, &to]).exits(0);
}

/// Parts of an archive that was cut for small disks, one of them lost or in another's place.
#[test]
fn parts_that_do_not_fit_together_are_no_archive() {
    let week = Week::new();
    let bytes = week.archive().bytes();
    let parts: Vec<&[u8]> = bytes.chunks(1024).collect();
    let proxy = Proxy::start(week.inside.host());
    let middle = parts.len() / 2;
    let mut swapped = parts.clone();
    swapped.swap(middle, middle + 1);
    let lost = [&parts[..middle], &parts[middle + 1..]].concat();
    for (name, parts) in [
        ("lost", lost),
        ("last", parts[..parts.len() - 4].to_vec()),
        ("swapped", swapped),
    ] {
        let joined = week.desk.path(name);
        std::fs::write(&joined, parts.concat()).expect("a file");
        let joined = format!("exec < {}", joined.display());
        let to = proxy.reference("app");
        let arguments = ["copy", "--tags", "v2", "oci-archive:-", &to];
        barge().args(arguments).after(&joined).run().exits(1);
        assert_eq!(week.inside.client().manifest("app", "v2"), None, "{name}");
    }
}
