//! Every kind of request breaks once in every way, and the copy arrives all the same; what is no accident
//! is not repeated; and patience ends.

use std::time::Duration;

use super::{copy, index, single, source};
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Bundle, ImageSpec, Layer, Layout};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::{Answer, Fault, Request, Server};

type Place = (&'static str, fn(&Request) -> bool);

/// What is asked of a source.
const READS: [Place; 5] = [
    ("ping", |request| request.path == "/v2/"),
    ("tag list", |request| request.is("GET", "/tags/list")),
    ("tag GET", |request| request.is("GET", "/manifests/1")),
    ("child GET", |request| {
        request.is("GET", "/manifests/sha256:")
    }),
    ("blob GET", |request| request.is("GET", "/blobs/sha256:")),
];

/// What is asked of a destination.
const WRITES: [Place; 7] = [
    ("ping", |request| request.path == "/v2/"),
    ("tag HEAD", |request| request.is("HEAD", "/manifests/1")),
    ("blob HEAD", |request| request.is("HEAD", "/blobs/sha256:")),
    ("POST", |request| {
        request.is("POST", "/blobs/uploads/") && request.parameter("mount").is_none()
    }),
    ("blob PUT", |request| request.is("PUT", "/blobs/uploads/")),
    ("child PUT", |request| {
        request.is("PUT", "/manifests/sha256:")
    }),
    ("tag PUT", |request| request.is("PUT", "/manifests/1")),
];

/// The request that asks for a blob by mounting it from its own repository. It is not repeated: HEAD and
/// a plain POST take its place, so its failure is no retry.
fn asks_by_mount(request: &Request) -> bool {
    request.is("POST", "/blobs/uploads/") && request.parameter("mount").is_some()
}

/// Copies `x:1` while the first request of each of these kinds meets `fault`; the copy has to be perfect.
#[track_caller]
fn survives(fault: &Fault, (reads, writes): (&[Place], &[Place])) {
    let source = source(&index());
    let destination = FakeRegistry::start();
    for (server, places) in [(&source, reads), (&destination, writes)] {
        for (_, is_so) in places {
            server.fail(1, *is_so, fault.clone());
        }
    }
    destination.fail(1, asks_by_mount, fault.clone());
    let run = copy(&source.reference("x"), &destination.reference("y"));
    let output = run.arg("--all-tags").run().exits(0);
    assert_eq!(output.tag("1")["status"], "copied");
    let retries = &output.json()["totals"]["retries"];
    assert_eq!(
        retries,
        reads.len() + writes.len(),
        "{fault:?}: {output:#?}"
    );
    is_complete(&destination);
}

#[track_caller]
fn is_complete(destination: &FakeRegistry) {
    let bundle = Bundle::from(&index());
    let store = &destination.store;
    assert_eq!(store.manifest("y", "1").as_ref(), Some(&bundle.root));
    for child in &bundle.manifests {
        assert_eq!(store.manifest("y", &child.digest()).as_ref(), Some(child));
    }
    for blob in &bundle.blobs {
        let digest = crate::support::content::sha256(blob);
        assert_eq!(store.blob("y", &digest).as_ref(), Some(blob));
    }
}

#[test]
fn server_errors_are_survived() {
    for status in [500, 502, 503, 504, 408] {
        survives(&Fault::status(status), (&READS, &WRITES));
    }
}

#[test]
fn resets_and_lost_answers_are_survived() {
    survives(&Fault::Reset, (&READS, &WRITES));
    survives(&Fault::LoseAnswer, (&READS, &WRITES));
}

#[test]
fn too_many_requests_are_survived_and_waited_for() {
    let limited = |seconds: &str| {
        let answer = Answer::new(429).header("Retry-After", seconds);
        Fault::Status(answer)
    };
    survives(&limited("0"), (&READS, &WRITES));

    let source = source(&single());
    source.fail(1, READS[2].1, limited("1"));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    run.run().exits(0);
    let tries = |server: &Server| {
        let log = server.log().into_iter();
        log.filter(READS[2].1).collect::<Vec<_>>()
    };
    let [first, second] = &tries(&source)[..] else {
        panic!("two tries, not {:#?}", source.log());
    };
    let waited = second.began - first.ended.expect("an answer");
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

#[test]
fn cut_bodies_are_survived() {
    survives(&Fault::CutBody(5), (&READS[1..], &[]));
}

#[test]
fn an_upload_that_breaks_in_the_middle_is_survived() {
    survives(&Fault::ResetAfter(50), (&[], &WRITES[4..5]));
}

#[test]
fn a_real_registry_is_written_in_spite_of_everything() {
    let faults = [
        Fault::status(502),
        Fault::Reset,
        Fault::ResetAfter(50),
        Fault::LoseAnswer,
    ];
    let source = source(&index());
    let registry = DockerRegistry::start();
    let proxy = Proxy::start(registry.host());
    for (number, fault) in faults.into_iter().enumerate() {
        for (_, is_so) in WRITES {
            proxy.fail(1, is_so, fault.clone());
        }
        proxy.fail(1, asks_by_mount, fault.clone());
        let name = format!("y{number}");
        let run = copy(&source.reference("x"), &proxy.reference(&name));
        run.arg("--all-tags").run().exits(0);
        proxy.behave();
        let layout = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::at(layout.path());
        skopeo::copy_all(
            &registry.reference(&format!("{name}:1")),
            &layout.reference("1"),
        );
        assert_eq!(layout.manifest("1"), Some(index().root), "{fault:?}");
    }
}

#[test]
fn what_is_no_accident_is_not_repeated() {
    let places = [
        (true, READS[1]),
        (true, READS[2]),
        (true, READS[3]),
        (true, READS[4]),
        (
            false,
            ("any POST", |request: &Request| request.method == "POST"),
        ),
        (false, WRITES[4]),
        (false, WRITES[5]),
        (false, WRITES[6]),
    ];
    for (status, kind) in [(403, "denied"), (404, "not-found")] {
        for (at_source, (place, is_so)) in places {
            let [source, destination] = [source(&index()), FakeRegistry::start()];
            let server = if at_source { &source } else { &destination };
            server.on(move |request| is_so(request).then_some(Fault::status(status)));
            let run = copy(&source.reference("x"), &destination.reference("y"));
            let report = run.arg("--all-tags").run().exits(1).json();
            assert_eq!(report["totals"]["retries"], 0, "{status} {place}");
            let error = match &report["tags"][0]["error"] {
                serde_json::Value::Null => &report["error"],
                error => error,
            };
            assert_eq!(error["kind"], kind, "{status} {place}: {error:#}");
            assert_eq!(destination.store.tags("y"), Vec::<String>::new(), "{place}");
        }
    }
}

#[test]
fn a_bad_request_is_not_repeated() {
    for (place, is_so) in [READS[2], READS[4]] {
        let [source, destination] = [source(&single()), FakeRegistry::start()];
        source.on(move |request| is_so(request).then_some(Fault::status(400)));
        let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
        let output = run.run().exits(1);
        assert_eq!(output.json()["totals"]["retries"], 0, "{place}");
        assert!(source.count(is_so) <= 2, "{place}");
    }
}

#[test]
fn patience_ends_and_no_tag_is_left() {
    for (status, kind) in [(503, "unavailable"), (429, "rate-limited")] {
        let reads = READS[2..].iter().map(|place| (true, *place));
        let writes = WRITES[1..].iter().map(|place| (false, *place));
        for (at_source, (place, is_so)) in reads.chain(writes) {
            let [source, destination] = [source(&index()), FakeRegistry::start()];
            let server = if at_source { &source } else { &destination };
            let breaks = move |request: &Request| {
                is_so(request) || place == "POST" && asks_by_mount(request)
            };
            server.on(move |request| breaks(request).then_some(Fault::status(status)));
            let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
            let output = run.args(["--retry-times", "1"]).run().exits(1);
            let error = output.tag("1")["error"].clone();
            assert_eq!(error["kind"], kind, "{place}: {error:#}");
            assert_eq!(destination.store.tags("y"), Vec::<String>::new(), "{place}");
        }
    }
}

#[test]
fn a_registry_that_wants_an_hour_is_not_waited_for() {
    let source = source(&single());
    let limited = Answer::new(429).header("Retry-After", "3600");
    source.on(move |request| READS[2].1(request).then(|| Fault::Status(limited.clone())));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.run().exits(1);
    assert_eq!(output.tag("1")["error"]["kind"], "rate-limited");
    assert_eq!(source.count(READS[2].1), 1);
}

#[test]
fn no_retries_means_none() {
    let source = source(&single());
    source.fail(1, READS[2].1, Fault::status(503));
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x:1"), &destination.reference("y:1"));
    let output = run.args(["--retry-times", "0"]).run().exits(1);
    assert_eq!(output.json()["totals"]["retries"], 0);
    assert_eq!(source.count(READS[2].1), 1);
}

#[test]
fn tags_that_share_a_failing_blob_wait_for_one_round_of_retries() {
    let shared = Layer::random(9, 5000);
    let source = FakeRegistry::start();
    for seed in 0..12 {
        let image = ImageSpec::new("linux", "arm64").seed(seed);
        let image = image.layer(shared.clone()).build();
        image.push_to(&source, &format!("x:{seed}"));
    }
    let digest = shared.digest();
    source.on(move |request| {
        let fault = Fault::Status(Answer::new(503));
        (request.reads_blob() && request.path.ends_with(&digest)).then_some(fault)
    });
    let destination = FakeRegistry::start();
    let run = copy(&source.reference("x"), &destination.reference("y"));
    let output = run
        .args(["--all-tags", "--retry-times", "3"])
        .run()
        .exits(1);
    let retries = output.json()["totals"]["retries"].as_u64();
    // A tag that is so late that it did not wait tries again, which is one more round.
    assert!(retries.is_some_and(|retries| retries <= 6), "{output:#?}");
    for seed in 0..12 {
        assert_eq!(
            output.tag(&seed.to_string())["error"]["kind"],
            "unavailable"
        );
    }
}
