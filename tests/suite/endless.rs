//! Lists of tags that have no end: they cost a bounded number of requests and bytes, and an error says so.

use serde_json::json;

use crate::support::barge::copy;
use crate::support::content::OCI_INDEX;
use crate::support::image::{Artifact, ImageSpec, list_of};
use crate::support::registry::{Auth, FakeRegistry, Referrers, Settings};
use crate::support::wire::{Answer, Fault, Request};

fn lists_tags(request: &Request) -> bool {
    request.is("GET", "/tags/list")
}

/// A registry with an image as `x:1` whose list of tags has this on each page, by number, as JSON.
fn registry(ends: Ends, page: impl Fn(usize) -> String + Send + 'static) -> FakeRegistry {
    let registry = FakeRegistry::start();
    let image = ImageSpec::new("linux", "arm64").layers(1, 1000).build();
    image.push_to(&registry, "x:1");
    let mut number = 0;
    registry.on(move |request| {
        if !lists_tags(request) {
            return None;
        }
        let body = format!(r#"{{"name":"x","tags":[{}]}}"#, page(number));
        number += 1;
        let answer = Answer::new(200).body("application/json", body);
        let link = format!("</v2/x/tags/list?page={number}>; rel=\"next\"");
        Some(Fault::Status(match ends {
            Ends::Never => answer.header("Link", link),
            Ends::Everywhere => answer,
        }))
    });
    registry
}

/// Whether a page leads to the next.
#[derive(Clone, Copy)]
enum Ends {
    Never,
    Everywhere,
}

type Page = fn(usize) -> String;

/// A page of 7 MB that no other one repeats.
fn heavy(number: usize) -> String {
    format!(r#""{number}{}""#, "x".repeat(7_000_000))
}

#[test]
fn a_list_of_tags_without_end_is_an_error() {
    let same = |_| r#""1""#.to_owned();
    let pages: [(Page, usize); 2] = [(same, 2), (heavy, 10)];
    for (page, most) in pages {
        let (source, destination) = (registry(Ends::Never, page), FakeRegistry::start());
        let (from, to) = (source.reference("x"), destination.reference("y"));
        let report = copy(&["--all-tags"], &from, &to).exits(1).json();
        let error = &report["error"];
        assert_eq!(error["kind"], "protocol", "{error}");
        assert_ne!(error["hint"], json!(null), "{error}");
        assert_eq!(source.count(lists_tags), most, "{error}");
    }
}

#[test]
fn referrers_of_one_tag_are_asked_for_one_by_one_when_the_list_has_no_end() {
    let (source, destination) = (registry(Ends::Never, heavy), FakeRegistry::start());
    let (from, to) = (source.reference("x:1"), destination.reference("y:1"));
    copy(&["--referrers"], &from, &to).exits(0);
    assert_eq!(source.count(lists_tags), 10);
    assert!(source.count(|request| request.is("GET", "/manifests/sha256-")) > 0);
}

#[test]
fn a_registry_that_ignores_last_and_keeps_no_order_is_asked_twice() {
    // A thousand: a page as full as was asked for.
    let page = |number: usize| {
        let names = (0..1000).map(|name| format!("\"{}\"", (name + number) % 1000));
        names.collect::<Vec<_>>().join(",")
    };
    let source = registry(Ends::Everywhere, page);
    let destination = FakeRegistry::start();
    let (from, to) = (source.reference("x"), destination.reference("y"));
    copy(&["--tags", "1"], &from, &to).exits(0);
    assert_eq!(source.count(lists_tags), 2);
}

/// Behind a proxy a registry may know neither its name nor that there is TLS.
#[test]
fn the_next_page_is_asked_for_at_the_registry_itself() {
    let source = FakeRegistry::start_with(Settings {
        auth: Auth::basic("alice", "s3cret-Pa55"),
        referrers: Referrers::Served,
        ..Settings::default()
    });
    let image = ImageSpec::new("linux", "arm64").layers(1, 1000).build();
    let artifacts = ["bill", "proof"].map(|text| Artifact::of(&image.manifest, text, text).build());
    for tag in ["1", "2"] {
        image.push_to(&source, &format!("x:{tag}"));
    }
    for artifact in &artifacts {
        artifact.put_into(&source, "x");
    }
    source.on(move |request| {
        let (first, body) = if lists_tags(request) {
            let tag = if request.query.contains("page=2") {
                "2"
            } else {
                "1"
            };
            (tag == "1", format!(r#"{{"name":"x","tags":["{tag}"]}}"#))
        } else if request.is("GET", "/referrers/") {
            let is_first = !request.query.contains("page=2");
            let artifact = &artifacts[usize::from(!is_first)];
            (is_first, list_of(&[artifact]).json().to_string())
        } else {
            return None;
        };
        Some(Fault::Status(page(request, body, first)))
    });
    let destination = FakeRegistry::start_with(Settings {
        referrers: Referrers::Served,
        ..Settings::default()
    });
    let options = [
        "--all-tags",
        "--referrers",
        "--src-creds",
        "alice:s3cret-Pa55",
    ];
    let output = copy(
        &options,
        &source.reference("x"),
        &destination.reference("y"),
    )
    .exits(0);
    for tag in ["1", "2"] {
        assert_eq!(output.tag(tag)["status"], "copied");
    }
    assert_eq!(destination.store.tags("y"), ["1", "2"]);
    let report = output.json();
    let tags = report["tags"].as_array().expect("tags");
    let came = tags
        .iter()
        .filter_map(|tag| tag["referrers"]["copied"].as_u64());
    assert_eq!(came.sum::<u64>(), 2, "{report:#}");
}

/// A page, and where it is the first a link to the second at a name of inside.
fn page(request: &Request, body: String, is_first: bool) -> Answer {
    let answer = Answer::new(200).body(OCI_INDEX, body);
    let next = format!("http://registry.internal:5000{}?page=2", request.path);
    if is_first {
        answer.header("Link", format!("<{next}>; rel=\"next\""))
    } else {
        answer
    }
}
