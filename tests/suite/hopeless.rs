//! What every tag would meet ends a run early: the tags that had no turn are `not-attempted`.

use serde_json::json;

use crate::support::barge::copy;
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::{Auth, Bearer, FakeRegistry, Settings};

const TAGS: usize = 60;

fn source() -> FakeRegistry {
    let source = FakeRegistry::start();
    for number in 0..TAGS {
        let image = MultiArch::standard(&["amd64"], Attestations::Without, number as u64);
        image.push_to(&source, &format!("x:{number}"));
    }
    source
}

#[test]
fn a_destination_that_denies_uploads_ends_the_run() {
    let source = source();
    let bearer = Bearer {
        denied: vec![("y".into(), "push".into())],
        ..Bearer::user("me", "pass")
    };
    let settings = Settings {
        auth: Auth::Bearer(bearer),
        ..Settings::default()
    };
    let destination = FakeRegistry::start_with(settings);
    let options = ["--all-tags", "--dest-creds", "me:pass"];
    let report = copy(
        &options,
        &source.reference("x"),
        &destination.reference("y"),
    )
    .exits(1)
    .json();
    let totals = &report["totals"];
    assert_eq!(totals["tags"], json!(TAGS));
    assert!(totals["not_attempted"].as_u64() > Some(0), "{totals:#}");
    let failed = report["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .filter(|tag| tag["status"] == "failed");
    for tag in failed {
        assert_eq!(tag["error"]["kind"], "denied", "{tag:#}");
    }
    assert_eq!(
        destination.count(|request| request.is("PUT", "/manifests/")),
        0
    );
}
