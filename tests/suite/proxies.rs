//! Proxies, as the usual variables name them; hosts are names that only the proxy knows.

use tempfile::{TempDir, tempdir};

use crate::support::barge::{Barge, barge};
use crate::support::forward::ForwardProxy;
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::{Auth, Bearer, Blobs, FakeRegistry};
use crate::support::secrets;
use crate::support::tls::{Authority, Lifetime, TlsServer};

/// A registry that a proxy knows as `registry.test`, with TLS.
struct Inside {
    registry: FakeRegistry,
    proxy: ForwardProxy,
    directory: TempDir,
    _server: TlsServer,
}

fn inside() -> Inside {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64", "arm64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let authority = Authority::new();
    let identity = authority.identity("registry.test", Lifetime::Now);
    let server = TlsServer::start_as(&registry.host(), &identity);
    let directory = tempdir().expect("a temporary directory");
    authority.write_to(directory.path());
    Inside {
        registry,
        proxy: ForwardProxy::start(&server.host()),
        directory,
        _server: server,
    }
}

/// `barge inspect -v` of an image that is nowhere but behind the proxy.
fn inspect(inside: &Inside) -> Barge {
    let run = barge().args(["inspect", "-v", "docker://registry.test/x:1"]);
    let run = run.args(["--retry-times", "0", "--stall-timeout", "5"]);
    run.arg("--cert-dir").arg(inside.directory.path())
}

#[test]
fn https_goes_through_a_tunnel() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let inside = inside();
        let proxy = format!("http://{}", inside.proxy.host());
        let output = inspect(&inside).env(variable, &proxy).run().exits(0);
        let asked = inside.proxy.asked();
        assert!(!asked.is_empty(), "{variable}");
        for one in &asked {
            assert_eq!(
                (one.how.as_str(), one.target.as_str()),
                ("CONNECT", "registry.test:443")
            );
        }
        let told = format!("proxy for registry.test: {proxy}");
        assert!(output.stderr.contains(&told), "{output:#?}");
    }
}

#[test]
fn socks_is_spoken_too_and_the_proxy_looks_names_up() {
    for scheme in ["socks5h", "socks5"] {
        let inside = inside();
        let proxy = format!("{scheme}://{}", inside.proxy.host());
        inspect(&inside).env("HTTPS_PROXY", proxy).run().exits(0);
        let asked = inside.proxy.asked();
        assert_eq!(asked[0].how, "SOCKS5");
        assert_eq!(asked[0].target, "registry.test:443");
        assert!(!inside.registry.log().is_empty());
    }
}

#[test]
fn a_proxy_that_is_not_there_is_told() {
    let inside = inside();
    for proxy in ["socks5://127.0.0.1:1", "http://127.0.0.1:1"] {
        for verify in ["--tls-verify=true", "--tls-verify=false"] {
            let run = inspect(&inside).arg(verify).env("ALL_PROXY", proxy);
            let said = run.run().exits(1).stderr;
            let told = proxy.replace("socks5:", "socks5h:");
            let told = format!("(through the proxy {told}/)");
            assert!(said.contains(&told), "{said}");
            for wrong in ["dns", "plain HTTP"] {
                assert!(!said.contains(wrong), "{said}");
            }
        }
    }
}

#[test]
fn a_variable_that_names_no_proxy_is_told() {
    secrets::note("proxy-Pa55");
    let inside = inside();
    for (variable, value) in [
        ("HTTPS_PROXY", "ht!tp://carol:proxy-Pa55@127.0.0.1:1"),
        ("https_proxy", "ftp://carol:proxy-Pa55@127.0.0.1:1"),
        ("HTTP_PROXY", "http://carol:proxy-Pa55@"),
        ("ALL_PROXY", "127.0.0.1:port"),
    ] {
        let said = inspect(&inside).env(variable, value).run().exits(1).stderr;
        assert!(
            said.contains(&format!("{variable} names no proxy")),
            "{said}"
        );
    }
}

#[test]
fn plain_http_goes_through_its_own_proxy() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let proxy = ForwardProxy::start(&registry.host());
    let run = barge().args([
        "inspect",
        "docker://registry.test/x:1",
        "--tls-verify=false",
    ]);
    let address = format!("http://{}", proxy.host());
    let run = run.env("HTTP_PROXY", &address).env("HTTPS_PROXY", &address);
    run.run().exits(0);
    let plain = |asked: &crate::support::forward::Asked| {
        asked.how == "GET" && asked.target == "http://registry.test/v2/"
    };
    assert!(proxy.asked().iter().any(plain), "{:#?}", proxy.asked());
}

#[test]
fn plain_http_is_tried_where_a_proxy_refuses_a_tunnel_and_nothing_is_verified() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let proxy = ForwardProxy::start(&registry.host());
    proxy.refuse_tunnels();
    let address = format!("http://{}", proxy.host());
    let inspect = |option: &str| {
        let run = barge().args(["inspect", "docker://registry.test:5000/x:1", option]);
        let run = run.args(["--retry-times", "0"]).env("HTTP_PROXY", &address);
        run.env("HTTPS_PROXY", &address).run()
    };
    inspect("--tls-verify=false").exits(0);
    for option in ["--tls-verify=true", "--no-creds"] {
        let before = proxy.asked().len();
        let said = inspect(option).exits(1).stderr;
        assert!(said.contains("the proxy refuses to connect"), "{said}");
        let asked = proxy.asked();
        assert!(asked[before..].iter().all(|one| one.how == "CONNECT"));
    }
}

#[test]
fn a_proxy_that_wants_a_login_is_named() {
    let registry = FakeRegistry::start();
    let proxy = ForwardProxy::start(&registry.host());
    proxy.want_login();
    let address = format!("http://{}", proxy.host());
    for option in ["--tls-verify=true", "--tls-verify=false"] {
        let before = proxy.asked().len();
        let run = barge().args(["inspect", "docker://registry.test:5000/x:1", option]);
        let run = run.env("HTTP_PROXY", &address).env("HTTPS_PROXY", &address);
        let said = run.run().exits(1).stderr;
        let named = format!("the proxy {address}/ wants a login");
        assert!(said.contains(&named), "{said}");
        assert!(said.contains("USER:PASSWORD@HOST"), "{said}");
        assert_eq!(proxy.asked().len() - before, 1, "once, not again and again");
    }
}

#[test]
fn a_proxys_password_is_sent_to_it_and_shown_to_nobody() {
    secrets::note("proxy-Pa55");
    let inside = inside();
    let proxy = format!("http://carol:proxy-Pa55@{}", inside.proxy.host());
    let output = inspect(&inside).env("HTTPS_PROXY", &proxy).run().exits(0);
    let sent = inside.proxy.asked()[0].authorization.clone();
    assert_eq!(sent.as_deref(), Some("Basic Y2Fyb2w6cHJveHktUGE1NQ=="));
    assert!(!output.stderr.contains("proxy-Pa55"), "{output:#?}");
    assert!(output.stderr.contains("proxy for registry.test"));
    // A proxy that is not there.
    let proxy = "http://carol:proxy-Pa55@127.0.0.1:1";
    let output = inspect(&inside).env("HTTPS_PROXY", proxy).run().exits(1);
    assert!(!output.stderr.contains("proxy-Pa55"), "{output:#?}");
    let told = "(through the proxy http://127.0.0.1:1/)";
    assert!(output.stderr.contains(told), "{output:#?}");
}

#[test]
fn no_proxy_names_hosts_and_suffixes() {
    for spared in [
        "registry.test",
        ".test",
        "test",
        "other.io, registry.test",
        "registry.test:443",
        "*.test",
        "*",
    ] {
        let inside = inside();
        let proxy = format!("http://{}", inside.proxy.host());
        let run = inspect(&inside).env("HTTPS_PROXY", proxy);
        // The name is known to the proxy alone.
        let output = run.env("NO_PROXY", spared).run().exits(1);
        assert!(inside.proxy.asked().is_empty(), "{spared}");
        let told = "proxy for registry.test: none";
        assert!(output.stderr.contains(told), "{output:#?}");
    }
    for other in [
        "other.test",
        "egistry.test",
        "10.0.0.0/8",
        "registry.test:80",
        "*.registry.test",
    ] {
        let inside = inside();
        let proxy = format!("http://{}", inside.proxy.host());
        let run = inspect(&inside).env("HTTPS_PROXY", proxy);
        run.env("NO_PROXY", other).run().exits(0);
    }
}

/// 0.0.0.0 is this machine, and no loopback address.
#[cfg(target_os = "linux")]
#[test]
fn no_proxy_names_networks() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let reference = registry.reference("x:1").replace("127.0.0.1", "0.0.0.0");
    let with_port = reference
        .trim_start_matches("docker://")
        .replace("/x:1", "");
    for (spared, through) in [
        ("0.0.0.0/8", false),
        ("1.0.0.0/8", true),
        (&with_port, false),
        ("0.0.0.0:1", true),
    ] {
        let proxy = ForwardProxy::start(&registry.host());
        let address = format!("http://{}", proxy.host());
        let run = barge().args(["inspect", "--tls-verify=false", &reference]);
        let run = run.env("HTTP_PROXY", &address).env("HTTPS_PROXY", &address);
        run.env("NO_PROXY", spared).run().exits(0);
        assert_eq!(!proxy.asked().is_empty(), through, "{spared}");
    }
}

#[test]
fn loopback_needs_no_proxy() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let run = barge().args(["inspect", &registry.reference("x:1")]);
    let run = run.env("HTTP_PROXY", "http://127.0.0.1:1");
    run.env("HTTPS_PROXY", "http://127.0.0.1:1").run().exits(0);
}

/// 0.0.0.0 is this machine, and no loopback address.
#[cfg(target_os = "linux")]
#[test]
fn the_proxy_of_plain_http_is_told() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let host = registry.host().replace("127.0.0.1", "0.0.0.0");
    let proxy = ForwardProxy::start(&registry.host());
    let address = format!("http://{}", proxy.host());
    let reference = format!("docker://{host}/x:1");
    let run = barge().args(["inspect", "-v", "--tls-verify=false", &reference]);
    let said = run.env("HTTP_PROXY", &address).run().exits(0).stderr;
    let secure = format!("proxy for {host}: none");
    let plain = format!("proxy for {host} over plain HTTP: {address}/");
    assert!(said.contains(&secure) && said.contains(&plain), "{said}");
    assert!(!proxy.asked().is_empty());
}

#[test]
fn where_a_loopback_registry_leads_to_goes_through_the_proxy() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::With, 6);
    image.push_to(&registry, "x:1");
    let storage = registry.redirect_blobs();
    let proxy = ForwardProxy::start(&storage.host());
    registry.configure(|settings| {
        settings.blobs = Blobs::Redirected("http://storage.test/storage".into());
        settings.auth = Auth::Bearer(Bearer {
            realm: Some("http://tokens.test/token".into()),
            ..Bearer::default()
        });
    });
    let run = barge().args(["copy", &registry.reference("x:1"), "oci:y"]);
    let address = format!("http://{}", proxy.host());
    run.env("HTTP_PROXY", &address).run().exits(0);
    let asked = proxy.asked();
    let went = |start: &str| asked.iter().any(|one| one.target.starts_with(start));
    assert!(went("http://tokens.test/token"), "{asked:#?}");
    assert!(went("http://storage.test/storage"), "{asked:#?}");
    assert!(!went("http://127.0.0.1"), "{asked:#?}");
}
