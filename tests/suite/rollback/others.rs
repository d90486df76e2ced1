//! Who else is there: a second writer, a second run, registries that refuse, and what uses a manifest
//! that could be deleted.

use serde_json::json;

use super::{TAGS, World, after, before, bundles, image, is_flip, is_true, refuse_f, undo};
use crate::support::barge::{Output, Running, barge, run};
use crate::support::content::OCI_MANIFEST;
use crate::support::image::{ImageSpec, MultiArch, push};
use crate::support::registry::{Auth, Bearer, Deletes, Referrers, Settings, Sparse, Untagged};
use crate::support::wire::{Answer, Fault, Request};

/// A run whose last tag is refused, after `meanwhile` has happened.
#[track_caller]
fn refused(world: &World, meanwhile: impl FnOnce()) -> Output {
    refuse_f(&world.destination, world.copy(&[]), meanwhile)
}

#[test]
fn a_tag_that_somebody_else_moves_is_left_to_them() {
    let keeps = Settings::default();
    let drops = Settings {
        sparse: Sparse::On,
        untagged: Untagged::Dropped,
        ..Settings::default()
    };
    let cases = ["a", "b", "e"].map(|tag| [(tag, keeps.clone()), (tag, drops.clone())]);
    for (tag, settings) in cases.into_iter().flatten() {
        let world = World::with(settings);
        let theirs = image(90);
        let store = &world.destination.store;
        let output = refused(&world, || {
            push(&theirs, &world.destination, &format!("y:{tag}"));
        });
        let output = output.exits(5);
        let report = output.json();
        assert_eq!(report["outcome"], "rollback-incomplete");
        assert_eq!(report["left"], json!([tag]));
        assert_eq!(output.tag("f")["error"]["kind"], "denied");
        let error = output.tag(tag)["error"].clone();
        assert_eq!(error["kind"], "conflict", "{error:#}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(&theirs.digest()), "{message}");
        let mut expected = before();
        expected.insert(tag.to_owned(), theirs.digest());
        assert_eq!(world.tags(), expected);
        // What the hint says puts back what the tag had.
        if let (_, Some(before)) = bundles(tag) {
            let hint = error["hint"].as_str().expect("a hint");
            let (_, command) = hint.split_once("with: ").expect("a command");
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            run(&words).exits(0);
            assert_eq!(store.tag("y", tag), Some(before.root.digest()));
        }
    }
}

#[test]
fn a_tag_that_somebody_else_deletes_stays_deleted() {
    let world = World::new();
    let output = refused(&world, || world.destination.store.remove_tag("y", "a")).exits(5);
    assert_eq!(output.json()["left"], json!(["a"]));
    assert_eq!(output.tag("a")["error"]["kind"], "conflict");
    let mut expected = before();
    expected.remove("a");
    assert_eq!(world.tags(), expected);
}

/// A registry that refuses to move a tag again, as Quay does an immutable one (409) and Harbor (412).
#[test]
fn a_tag_that_the_registry_will_not_move_back_is_a_conflict() {
    for status in [409, 412] {
        let world = World::new();
        let mut flips = 0;
        let refusal = Answer::error(status, "TAG_IMMUTABLE", &json!({}));
        world.destination.on(move |request| {
            flips += usize::from(is_flip(request) && request.path.ends_with("/a"));
            let again = is_flip(request) && request.path.ends_with("/a") && flips > 1;
            again.then(|| Fault::Status(refusal.clone()))
        });
        let output = refused(&world, || {}).exits(5);
        is_true(&output, &world.destination, "immutable tags");
        assert_eq!(output.json()["left"], json!(["a"]));
        let error = output.tag("a")["error"].clone();
        assert_eq!(error["kind"], "conflict");
        let hint = error["hint"].as_str().expect("a hint");
        assert!(hint.contains("let the registry move this tag"), "{hint}");
        assert!(hint.contains("barge undo"), "{hint}");
    }
}

/// A tag that may not move at all fails the run, and nothing has to be put back.
#[test]
fn a_tag_that_is_immutable_fails_the_flip() {
    let world = World::new();
    let refusal = Answer::error(409, "TAG_IMMUTABLE", &json!({}));
    let of_b = |request: &Request| is_flip(request) && request.path.ends_with("/b");
    world.destination.fail(9, of_b, Fault::Status(refusal));
    let output = world.copy(&[]).run().exits(4);
    assert_eq!(output.tag("b")["error"]["kind"], "conflict");
    is_true(&output, &world.destination, "an immutable tag");
}

#[test]
fn a_restore_whose_blobs_are_gone_is_named() {
    let world = World::new();
    let lost = image(1).config_digest();
    let output = refused(&world, || world.destination.store.remove_blob("y", &lost));
    let output = output.exits(5);
    assert_eq!(output.json()["left"], json!(["a"]));
    let error = output.tag("a")["error"].clone();
    assert_eq!(error["kind"], "not-found", "{error:#}");
    assert!(error["message"].to_string().contains(&lost), "{error:#}");
    let mut expected = before();
    expected.insert("a".to_owned(), after()["a"].clone());
    assert_eq!(world.tags(), expected);
}

/// Not every refusal means that.
#[test]
fn a_restore_that_is_refused_is_not_called_lost() {
    let world = World::new();
    let mut flips = 0;
    world.destination.on(move |request| {
        let of_a = is_flip(request) && request.path.ends_with("/a");
        flips += usize::from(of_a);
        (of_a && flips > 1).then(|| Fault::status(400))
    });
    let output = refused(&world, || {}).exits(5);
    let message = output.tag("a")["error"]["message"].to_string();
    assert!(
        message.contains("it may have lost its content"),
        "{message}"
    );
}

/// A registry that checks nothing would take an index back without them.
#[test]
fn children_that_the_registry_dropped_are_put_back() {
    let world = World::with(Settings {
        sparse: Sparse::On,
        untagged: Untagged::Dropped,
        ..Settings::default()
    });
    let old = super::index(3);
    let output = refused(&world, || {
        for child in &old.children {
            let digest = child.content.manifest().digest();
            world.destination.store.remove_manifest("y", &digest);
        }
    });
    let output = output.exits(4);
    is_true(&output, &world.destination, "dropped children");
}

/// What refers to the manifest of a new tag keeps it from being deleted by its digest.
#[test]
fn a_manifest_with_referrers_is_not_deleted() {
    for referrers in [Referrers::Served, Referrers::Absent] {
        let world = World::with(Settings {
            referrers,
            deletes: Deletes::DigestOnly,
            ..Settings::default()
        });
        let subject = image(15).manifest;
        let size = subject.bytes.len();
        let names = json!({"mediaType": OCI_MANIFEST, "digest": subject.digest(), "size": size});
        let signature = ImageSpec::new("linux", "arm64")
            .field("subject", names)
            .build();
        let store = &world.destination.store;
        let name = match referrers {
            Referrers::Served | Referrers::Paged(_) | Referrers::Quay => signature.digest(),
            Referrers::Absent => subject.digest().replace(':', "-"),
        };
        let output = refused(&world, || {
            store.put_blob("y", signature.config.clone());
            store.put_manifest("y", &name, signature.manifest.clone());
        });
        let output = output.exits(5);
        assert_eq!(output.json()["left"], json!(["e"]), "{referrers:?}");
        assert_eq!(output.tag("e")["error"]["kind"], "unsupported");
        assert_eq!(store.tag("y", "e"), Some(image(15).digest()));
        assert_eq!(store.tag("y", "d"), None);
    }
}

/// A world where `child` is new, and `index`, which is new too, leads to its manifest.
fn with_child(referrers: Referrers) -> (World, MultiArch) {
    let world = World::with(Settings {
        deletes: Deletes::DigestOnly,
        referrers,
        ..Settings::default()
    });
    let index = super::index(40);
    push(&index, &world.source, "x:index");
    let child = index.children[0].content.manifest();
    let store = &world.source.store;
    store.put_manifest("x", "child", child.clone());
    (world, index)
}

/// A run whose last tag is refused. The child is staged for its own tag before the index is read: who
/// finds it there does not know who pushed it.
fn child_first(world: &World, index: &MultiArch, meanwhile: impl FnOnce()) -> Output {
    let digest = index.children[0].content.manifest().digest();
    let of_index = |request: &Request| request.path.ends_with("/manifests/index");
    world.source.fail(1, of_index, Fault::Stall);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let staged = |request: &Request| request.is("PUT", &digest) && request.status == 201;
            world.destination.wait_for(1, staged);
            world.source.wait_for(1, of_index);
            world.source.release();
        });
        refused(world, meanwhile)
    })
}

/// A new tag whose manifest only another new tag leads to goes when that is gone.
#[test]
fn new_tags_that_lead_to_each_other_all_go() {
    let (world, index) = with_child(Referrers::Absent);
    let output = child_first(&world, &index, || {}).exits(4);
    assert_eq!(world.tags(), before(), "{:#}", output.json());
    let deletes = |request: &Request| request.method == "DELETE" && request.status == 202;
    // `d` shares its digest with `a`, which moved back.
    assert_eq!(world.destination.count(deletes), 4);
}

/// Where the index cannot be deleted, what it lists is still needed.
#[test]
fn what_a_tag_that_stays_leads_to_stays() {
    let (world, index) = with_child(Referrers::Served);
    let root = &index.root;
    let subject = json!({
        "mediaType": root.media_type,
        "digest": root.digest(),
        "size": root.bytes.len(),
    });
    let signature = ImageSpec::new("linux", "arm64").field("subject", subject);
    let signature = signature.build().manifest;
    let store = world.destination.store.clone();
    let output = child_first(&world, &index, || {
        store.put_manifest("y", &signature.digest(), signature.clone());
    });
    let output = output.exits(5);
    super::are_whole(&world.destination);
    assert_eq!(output.json()["left"], json!(["child", "index"]));
    let mut expected = before();
    expected.insert("index".to_owned(), root.digest());
    let child = index.children[0].content.manifest().digest();
    expected.insert("child".to_owned(), child);
    assert_eq!(world.tags(), expected);
}

/// A token that allows to push need not allow to delete, which is asked for when it is needed.
#[test]
fn deleting_gets_the_right_that_it_needs() {
    let world = World::with(Settings {
        auth: Auth::Bearer(Bearer::default()),
        ..Settings::default()
    });
    refused(&world, || {}).exits(4);
    assert_eq!(world.tags(), before());

    let world = World::with(Settings {
        auth: Auth::Bearer(Bearer {
            denied: vec![("y".to_owned(), "delete".to_owned())],
            ..Bearer::default()
        }),
        ..Settings::default()
    });
    let output = refused(&world, || {}).exits(5);
    is_true(&output, &world.destination, "no right to delete");
    for tag in output.json()["left"].as_array().expect("left") {
        let entry = output.tag(tag.as_str().expect("a tag"));
        assert_eq!(entry["error"]["kind"], "unauthorized", "{entry:#}");
    }
}

/// A run that stalls while it stages, and a second one that waits for it.
fn two_runs() -> (World, Running, Running) {
    let world = World::new();
    let slow = image(15).config_digest();
    let is_slow = move |request: &Request| request.is("GET", &slow);
    let stalls = is_slow.clone();
    world
        .source
        .on(move |request| stalls(request).then_some(Fault::Stall));
    let first = world.copy(&[]).spawn();
    world.source.wait_for(1, is_slow);
    world.source.behave();
    let second = world.copy(&[]).spawn();
    second.wait_until_said("another rollback run");
    (world, first, second)
}

#[test]
fn a_second_run_into_the_same_repository_waits() {
    let (world, first, second) = two_runs();
    world.source.release();
    assert_eq!(first.wait().exits(0).json()["totals"]["copied"], TAGS.len());
    let report = second.wait().exits(0).json();
    assert_eq!(report["totals"]["current"], TAGS.len());
    assert_eq!(world.tags(), after());
}

#[test]
fn a_signal_ends_the_wait() {
    let (world, first, second) = two_runs();
    second.signal("INT");
    assert_eq!(second.wait().exits(130).json()["outcome"], "interrupted");
    world.source.release();
    first.wait().exits(0);
}

#[test]
fn the_journal_of_a_run_at_work_is_not_settled_by_others() {
    let world = World::new();
    let mut flips = 0;
    world.destination.on(move |request| {
        flips += usize::from(is_flip(request));
        (is_flip(request) && flips > 2).then_some(Fault::Stall)
    });
    let run = world.copy(&[]).spawn();
    world.destination.wait_for(TAGS.len(), is_flip);
    let state = world.state.path();
    let listed = undo(state, &[]).run().exits(0).json();
    assert_eq!(listed["journals"][0]["state"], "at-work", "{listed:#}");
    let path = listed["journals"][0]["journal"].as_str().expect("a path");
    let refused = undo(state, &["--forget", path]).run().exits(1).json();
    assert_eq!(refused["error"]["kind"], "conflict");
    let text = undo(state, &["-o", "text"]).run().exits(0).stdout;
    assert!(!text.contains("barge undo JOURNAL"), "{text}");
    let best_effort = barge()
        .args(["copy", "-o", "json", "--state-dir"])
        .arg(state)
        .args([
            world.source.reference("x:b"),
            world.destination.reference("y:c"),
        ])
        .run()
        .exits(1);
    assert!(
        best_effort.stderr.contains("is at work on"),
        "{best_effort:#?}"
    );
    let hint = best_effort.json()["tags"][0]["error"]["hint"].clone();
    assert_eq!(hint, "run again when it has");
    let settling = undo(state, &["--all"]).spawn();
    settling.wait_until_said("another rollback run");
    world.destination.behave();
    world.destination.release();
    run.wait().exits(0);
    let settled = settling.wait().exits(0).json();
    assert_eq!(settled["ended"], json!([path]), "{settled:#}");
    assert_eq!(settled["settled"], json!([]), "{settled:#}");
    assert_eq!(world.tags(), after());
}
