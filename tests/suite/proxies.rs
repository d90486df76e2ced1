//! Proxies, as the usual variables name them; hosts are names that only the proxy knows.

use tempfile::{TempDir, tempdir};

use crate::support::barge::{Barge, barge};
use crate::support::forward::ForwardProxy;
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::FakeRegistry;
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
fn socks_is_spoken_too() {
    let inside = inside();
    let proxy = format!("socks5h://{}", inside.proxy.host());
    inspect(&inside).env("HTTPS_PROXY", proxy).run().exits(0);
    let asked = inside.proxy.asked();
    assert_eq!(asked[0].how, "SOCKS5");
    assert_eq!(asked[0].target, "registry.test:443");
    assert!(!inside.registry.log().is_empty());
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
    for other in ["other.test", "egistry.test", "10.0.0.0/8"] {
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
    for (spared, through) in [("0.0.0.0/8", false), ("1.0.0.0/8", true)] {
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
