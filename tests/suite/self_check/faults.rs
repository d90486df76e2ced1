//! Every fault does what it says, on the fake registry and on the proxy before a real one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::content::sha256;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Attestations, Image, ImageSpec, MultiArch};
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::skopeo;
use crate::support::wire::{Answer, Fault, Request, Server};

fn image() -> Image {
    ImageSpec::new("linux", "arm64").layers(1, 300_000).build()
}

/// A registry with an image, and the line that reads its layer.
fn registry() -> (FakeRegistry, String) {
    let registry = FakeRegistry::start();
    image().push_to(&registry, "x:1");
    let line = format!("GET /v2/x/blobs/{}", image().layers[0].digest());
    (registry, line)
}

fn client(server: &Server) -> Client {
    Client::new(&server.host(), None)
}

#[test]
fn a_status_a_reset_and_then_the_truth() {
    let (registry, line) = registry();
    let limited = Answer::new(429).header("Retry-After", "1");
    registry.fail(1, Request::reads_blob, Fault::Status(limited));
    registry.fail(1, Request::reads_blob, Fault::Reset);
    let client = client(&registry);
    let reply = client.request(&line, &[], b"").expect("an answer");
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("1"))
    );
    assert!(client.request(&line, &[], b"").is_err());
    let reply = client.request(&line, &[], b"").expect("an answer");
    assert_eq!(reply.body, image().layers[0].bytes);
    let log = registry.log();
    let statuses: Vec<u16> = log.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [429, 0, 200]);
    assert_eq!(log[2].answer_len, image().layers[0].bytes.len() as u64);
}

#[test]
fn a_body_is_cut_or_damaged() {
    let (registry, line) = registry();
    registry.fail(1, Request::reads_blob, Fault::CutBody(100_000));
    registry.fail(1, Request::reads_blob, Fault::FlipBit);
    let whole = image().layers[0].bytes.clone();
    let cut = client(&registry)
        .request(&line, &[], b"")
        .expect("a beginning");
    assert_eq!(cut.body, whole[..100_000]);
    let damaged = client(&registry)
        .request(&line, &[], b"")
        .expect("an answer")
        .body;
    let differ = damaged
        .iter()
        .zip(whole.iter())
        .filter(|(one, other)| one != other);
    assert_eq!((damaged.len(), differ.count()), (whole.len(), 1));
    let rest = client(&registry)
        .request(&line, &[("Range", "bytes=100000-")], b"")
        .expect("the rest");
    assert_eq!((rest.status, &rest.body[..]), (206, &whole[100_000..]));
    assert_eq!(registry.log()[2].header("range"), Some("bytes=100000-"));
}

#[test]
fn a_stall_lasts_until_it_is_released() {
    let (registry, line) = registry();
    registry.fail(1, Request::reads_blob, Fault::Stall);
    registry.fail(1, Request::reads_blob, Fault::StallBody(1000));
    for count in 1..=2 {
        let client = client(&registry);
        let line = line.clone();
        let reading =
            thread::spawn(move || client.request(&line, &[], b"").expect("an answer").body);
        registry.wait_for(count, Request::reads_blob);
        if count == 2 {
            registry.wait_for(1, |request| request.answer_len == 1000);
        }
        assert!(!reading.is_finished());
        registry.release();
        assert_eq!(reading.join().expect("no panic"), image().layers[0].bytes);
    }
    assert_eq!(registry.peak(Request::reads_blob), 1);
}

#[test]
fn a_stalled_server_can_be_dropped() {
    let (registry, line) = registry();
    registry.on(|_| Some(Fault::Stall));
    let client = client(&registry);
    let reading = thread::spawn(move || client.request(&line, &[], b"").map(|_| ()));
    registry.wait_for(1, Request::reads_blob);
    drop(registry);
    let error = reading.join().expect("no panic").expect_err("no answer");
    assert!([ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()));
}

#[test]
fn a_lost_answer_has_been_carried_out_and_a_delay_is_one() {
    let registry = FakeRegistry::start();
    registry.fail(
        1,
        |request| request.is("POST", "/uploads/"),
        Fault::LoseAnswer,
    );
    registry.fail(
        1,
        |request| request.method == "POST",
        Fault::Delay(Duration::from_millis(20)),
    );
    assert!(
        client(&registry)
            .request("POST /v2/x/blobs/uploads/", &[], b"")
            .is_err()
    );
    assert_eq!(registry.store.open_uploads(), 1);
    let began = Instant::now();
    client(&registry).put_blob("x", b"hello");
    assert!(began.elapsed() >= Duration::from_millis(20));
    assert!(registry.store.has_blob("x", &sha256(b"hello")));
}

#[test]
fn an_upload_that_broke_off_tells_how_far_it_came() {
    let registry = FakeRegistry::start();
    let client = client(&registry);
    let start = client
        .request("POST /v2/x/blobs/uploads/", &[], b"")
        .expect("a session");
    let location = start.header("location").expect("a Location").to_owned();
    let path = location
        .strip_prefix(&format!("http://{}", registry.host()))
        .expect("its own host");
    let bytes = vec![7; 50_000];
    registry.fail(
        1,
        |request| request.method == "PATCH",
        Fault::ResetAfter(20_000),
    );
    assert!(
        client
            .request(&format!("PATCH {path}"), &[], &bytes)
            .is_err()
    );
    registry.wait_for(1, |request| {
        request.method == "PATCH" && request.ended.is_some()
    });
    let status = client
        .request(&format!("GET {path}"), &[], b"")
        .expect("a status");
    assert_eq!(
        (status.status, status.header("range")),
        (204, Some("0-19999"))
    );
    let wrong = [("Content-Range", "30000-49999")];
    let refused = client
        .request(&format!("PATCH {path}"), &wrong, &bytes[30_000..])
        .expect("an answer");
    assert_eq!(refused.status, 416);
    let finish = format!("PUT {path}&digest={}", sha256(&bytes));
    assert_eq!(
        client
            .request(&finish, &[], &bytes[20_000..])
            .expect("an answer")
            .status,
        201
    );
    let again = client
        .request(&format!("GET {path}"), &[], b"")
        .expect("an answer");
    assert_eq!(again.status, 404);
}

#[test]
fn a_rule_may_change_what_the_registry_holds() {
    let (registry, _) = registry();
    let store = registry.store.clone();
    registry.on(move |request| {
        if request.is_manifest() && store.tag("x", "1").is_some() {
            store.remove_tag("x", "1");
        }
        None
    });
    assert_eq!(client(&registry).manifest("x", "1"), None);
    registry.behave();
    image().push_to(&registry, "x:1");
    assert_eq!(client(&registry).manifest("x", "1"), Some(image().manifest));
}

#[test]
fn redirected_blobs_come_from_the_other_server() {
    let (registry, line) = registry();
    let storage = registry.redirect_blobs();
    let reply = client(&registry)
        .request(&line, &[], b"")
        .expect("an answer");
    assert_eq!(reply.status, 307);
    skopeo::copy_all(&registry.reference("x:1"), &registry.reference("y:1"));
    assert!(
        storage.count(|request| request.header("authorization").is_none() && request.status == 200)
            > 0
    );
}

#[test]
fn a_proxy_logs_and_spoils_what_goes_to_a_real_registry() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::start(registry.host());
    let image = MultiArch::standard(&["amd64", "arm64"], Attestations::With, 5);
    image.push_to(&registry, "x:1");
    skopeo::copy_all(&proxy.reference("x:1"), &proxy.reference("y:2"));
    assert_eq!(
        registry.client().manifest("y", "2"),
        Some(image.root.clone())
    );
    let puts = proxy.count(|request| request.is("PUT", "/y/manifests/") && request.status == 201);
    assert_eq!(puts, 5);

    let layer = image.image("arm64").layers[0].clone();
    proxy.fail(1, Request::reads_blob, Fault::CutBody(1000));
    let line = format!("GET /v2/x/blobs/{}", layer.digest());
    let cut = client(&proxy)
        .request(&line, &[], b"")
        .expect("a beginning");
    assert_eq!(cut.body, layer.bytes[..1000]);
    let whole = client(&proxy).request(&line, &[], b"").expect("an answer");
    assert_eq!(whole.body, layer.bytes);
}

#[test]
fn a_tls_hello_gets_a_plain_answer_and_no_line_in_the_log() {
    let (registry, _) = registry();
    let distribution = DockerRegistry::start();
    for host in [registry.host().as_str(), distribution.host()] {
        let mut stream = TcpStream::connect(host).expect("a connection");
        let patience = Some(Duration::from_secs(20));
        stream
            .set_read_timeout(patience)
            .expect("a timeout can be set");
        // Go's server reads up to a line feed; a real hello has one in the number of supported_groups.
        let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3, 0, 0x0a];
        stream.write_all(&hello).expect("a hello can be sent");
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        assert!(read.is_ok(), "{host}: {read:?}");
        assert!(answer.starts_with(b"HTTP/1."), "{host}: {answer:?}");
    }
    assert_eq!(registry.log().len(), 0);
}
