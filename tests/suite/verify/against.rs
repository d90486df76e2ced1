//! `--against`: the digests of two places, tag by tag.

use tempfile::tempdir;

use super::{single, standard, verify};
use crate::support::barge::{copy, run};
use crate::support::registry::{Auth, FakeRegistry, Settings};

#[test]
fn tags_are_the_same_or_moved_on_or_not_there() {
    let (source, mirror) = (FakeRegistry::start(), FakeRegistry::start());
    for tag in ["same", "moved", "new"] {
        single(41).push_to(&source, &format!("x:{tag}"));
    }
    let options = ["--all-tags", "--exclude-tags", "new"];
    copy(&options, &source.reference("x"), &mirror.reference("x")).exits(0);
    single(42).push_to(&mirror, "x:own");
    let options = ["--all-tags", "--against", &source.reference("x")];
    let before = verify(&options, &mirror.reference("x")).exits(3);
    assert_eq!(before.json()["against"], source.reference("x"));
    assert_eq!(before.tag("moved")["status"], "complete");
    single(43).push_to(&source, "x:moved");
    let output = verify(&options, &mirror.reference("x")).exits(3);
    assert_eq!(output.json()["totals"]["tags"], 3, "the source's tags");
    assert_eq!(output.tag("same")["status"], "complete");
    assert_eq!(output.tag("same")["source_digest"], single(41).digest());
    let moved = output.tag("moved");
    assert_eq!(moved["status"], "different");
    assert_eq!(output.json()["totals"]["different"], 1);
    assert_eq!(moved["error"]["kind"], "digest-mismatch");
    assert_eq!(moved["digest"], single(41).digest());
    assert_eq!(moved["source_digest"], single(43).digest());
    assert_eq!(output.tag("new")["status"], "failed");
    assert_eq!(output.tag("new")["error"]["kind"], "not-found");
    let text = run(&[&["verify"], &options[..], &[&mirror.reference("x")]].concat()).exits(3);
    assert!(
        text.stdout.contains(&single(43).digest()),
        "{}",
        text.stdout
    );
}

#[test]
fn an_index_of_some_platforms_is_what_copy_makes_of_the_source() {
    let source = FakeRegistry::start();
    standard(44).push_to(&source, "x:1");
    let directory = tempdir().expect("a temporary directory");
    let place = format!("oci:{}:1", directory.path().join("layout").display());
    copy(&["--arch", "arm64"], &source.reference("x:1"), &place).exits(0);
    let against = ["--against", &source.reference("x:1")];
    verify(&[&against[..], &["--arch", "arm64"]].concat(), &place).exits(0);
    let all = verify(&against, &place).exits(1);
    assert_eq!(all.tag("1")["error"]["kind"], "digest-mismatch");
    assert_eq!(all.tag("1")["status"], "different");
    let hint = all.tag("1")["error"]["hint"].to_string();
    assert!(hint.contains("--arch linux/arm64 compares these"), "{hint}");
    standard(45).push_to(&source, "x:1");
    let moved = verify(&[&against[..], &["--arch", "arm64"]].concat(), &place).exits(1);
    assert_eq!(moved.tag("1")["error"]["kind"], "digest-mismatch");
    for options in [&against[..], &[&against[..], &["--arch", "arm64"]].concat()] {
        let hint = verify(options, &place).exits(1).tag("1")["error"]["hint"].to_string();
        let advice = "moved on; `barge copy --arch linux/arm64` brings";
        assert!(hint.contains(advice), "{hint}");
    }
}

#[test]
fn each_side_has_its_own_credentials_and_a_tag_named_once_is_enough() {
    let guarded = |user: &str, password: &str| {
        FakeRegistry::start_with(Settings {
            auth: Auth::basic(user, password),
            ..Settings::default()
        })
    };
    let source = guarded("alice", "source-Pa55word");
    let mirror = guarded("bob", "mirror-Pa55word");
    for registry in [&source, &mirror] {
        single(46).push_to(registry, "x:3");
    }
    for (ours, theirs) in [("x:3", "x"), ("x", "x:3"), ("x:3", "x:3")] {
        let options = [
            "--against",
            &source.reference(theirs),
            "--src-creds",
            "alice:source-Pa55word",
            "--creds",
            "bob:mirror-Pa55word",
        ];
        let output = verify(&options, &mirror.reference(ours)).exits(0);
        assert_eq!(output.tag("3")["source_digest"], single(46).digest());
    }
}
