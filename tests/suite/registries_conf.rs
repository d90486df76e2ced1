//! registries.conf(5): insecure and blocked registries, and names that lead elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use crate::support::barge::{Barge, barge};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::tls::{Authority, Clients, TlsServer};

fn image() -> MultiArch {
    MultiArch::standard(&["amd64", "arm64"], Attestations::With, 5)
}

fn filled(name: &str) -> FakeRegistry {
    let registry = FakeRegistry::start();
    image().push_to(&registry, name);
    registry
}

/// A run with this as the registries.conf that a variable names.
fn with_conf(run: Barge, text: &str) -> Barge {
    let file = run.home().join("of-a-variable.conf");
    fs::write(&file, text).expect("a file");
    run.env("CONTAINERS_REGISTRIES_CONF", file)
}

fn put(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join("containers").join(name);
    fs::create_dir_all(file.parent().expect("a directory")).expect("it can be made");
    fs::write(&file, text).expect("a file");
    file
}

/// The registry behind a TLS that nobody trusts.
fn untrusted() -> (FakeRegistry, TlsServer) {
    let registry = filled("x:1");
    let server = TlsServer::start(&registry.host(), &Authority::new(), Clients::Anyone);
    (registry, server)
}

#[test]
fn an_insecure_registry_is_not_verified_unless_a_flag_says_so() {
    let (_registry, server) = untrusted();
    let conf = |prefix: &str| format!("[[registry]]\nlocation = \"{prefix}\"\ninsecure = true\n");
    let inspect = |conf: &str| {
        let run = barge().args(["inspect", &server.reference("x:1")]);
        with_conf(run, conf)
    };
    inspect(&conf(&server.host())).run().exits(0);
    inspect(&conf(&format!("{}/x", server.host())))
        .run()
        .exits(0);
    inspect(&conf("127.0.0.1")).run().exits(1);
    inspect(&conf(&format!("{}/y", server.host())))
        .run()
        .exits(1);
    let run = inspect(&conf(&server.host())).arg("--tls-verify=true");
    run.run().exits(1);
    let source = filled("x:1");
    let run = barge().args(["copy", &source.reference("x:1"), &server.reference("y:1")]);
    with_conf(run, &conf(&server.host())).run().exits(0);
    let login = ["login", "-u", "alice", "--password-stdin"];
    let run = barge().args(login).arg(server.host()).input("any-Pa55");
    with_conf(run, &conf(&server.host())).run().exits(0);
}

#[test]
fn a_blocked_registry_is_not_contacted() {
    let registry = filled("x:1");
    let host = registry.host();
    let conf = format!("[[registry]]\nprefix = \"{host}/x\"\nblocked = true\n");
    let (from, to) = (registry.reference("x:1"), registry.reference("y:1"));
    for arguments in [
        &["inspect", from.as_str()][..],
        &["list-tags", &registry.reference("x")],
        &["copy", &from, &to],
        &["copy", &to, &from],
    ] {
        let run = barge().args(arguments).args(["-o", "json"]);
        let error = with_conf(run, &conf).run().exits(1).json()["error"].clone();
        assert_eq!(error["kind"], "denied");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("blocked"), "{message}");
        assert!(message.contains("of-a-variable.conf"), "{message}");
    }
    assert_eq!(registry.log().len(), 0);
    let inspect = barge().args(["inspect", &registry.reference("z:1")]);
    with_conf(inspect, &conf).run().exits(1);
    assert!(
        !registry.log().is_empty(),
        "another repository is not blocked"
    );
}

#[test]
fn a_location_is_where_images_are_read_and_that_is_told() {
    let registry = filled("mirror/team/x:1");
    let conf = format!(
        "[[registry]]\nprefix = \"example.com/team\"\nlocation = \"{}/mirror/team\"\n",
        registry.host()
    );
    let run = barge().args(["inspect", "--raw", "example.com/team/x:1"]);
    let output = with_conf(run, &conf).run().exits(0);
    assert_eq!(output.stdout.as_bytes(), image().root.bytes);
    let told = format!(
        "example.com/team/x is read from {}/mirror/team/x",
        registry.host()
    );
    assert!(output.stderr.contains(&told), "{output:#?}");
    let run = barge().args(["copy", "-o", "json", "docker://example.com/team/x:1"]);
    let output = with_conf(run.arg("oci:y"), &conf).run().exits(0);
    assert_eq!(output.json()["source"], "docker://example.com/team/x:1");
    assert!(output.stderr.contains(&told), "{output:#?}");
    let run = barge().args(["list-tags", "example.com/team/x"]);
    assert_eq!(with_conf(run, &conf).run().exits(0).stdout, "1\n");
}

#[test]
fn credentials_are_those_of_the_location() {
    use crate::support::registry::{Auth, Settings};
    let registry = FakeRegistry::start_with(Settings {
        auth: Auth::basic("alice", "s3cret-Pa55"),
        ..Settings::default()
    });
    image().push_to(&registry, "x:1");
    let host = registry.host();
    let conf = format!("[[registry]]\nprefix = \"*.example.com\"\nlocation = \"{host}\"\n");
    let run = barge().args(["inspect", "deep.example.com/x:1"]);
    let auth = r#"{"auth": "YWxpY2U6czNjcmV0LVBhNTU="}"#;
    let config = format!(r#"{{"auths": {{"{host}": {auth}}}}}"#);
    put(run.home(), "auth.json", &config);
    with_conf(run, &conf).run().exits(0);
}

#[test]
fn images_are_written_where_the_name_says() {
    let source = filled("x:1");
    let [named, elsewhere] = [(); 2].map(|()| FakeRegistry::start());
    let conf = format!(
        "[[registry]]\nprefix = \"{}\"\nlocation = \"{}\"\n",
        named.host(),
        elsewhere.host()
    );
    let run = barge().args(["copy", &source.reference("x:1"), &named.reference("y:1")]);
    with_conf(run, &conf).run().exits(0);
    assert_eq!(named.store.manifest("y", "1"), Some(image().root));
    assert_eq!(elsewhere.log().len(), 0);
}

#[test]
fn mirrors_are_left_alone_and_that_is_told() {
    let [registry, mirror] = [(); 2].map(|()| filled("x:1"));
    let conf = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        registry.host(),
        mirror.host()
    );
    let run = barge().args(["inspect", &registry.reference("x:1")]);
    let output = with_conf(run, &conf).run().exits(0);
    assert!(output.stderr.contains("mirrors"), "{output:#?}");
    assert_eq!(mirror.log().len(), 0);
}

#[test]
fn drop_ins_come_on_top_and_the_users_file_before_the_systems() {
    let registry = filled("x:1");
    let host = registry.host();
    let rule =
        |blocked: bool| format!("[[registry]]\nlocation = \"{host}\"\nblocked = {blocked}\n");
    let inspect = || barge().args(["inspect", &registry.reference("x:1")]);
    let run = inspect();
    let file = put(run.home(), "registries.conf", &rule(true));
    let output = run.run().exits(1);
    assert!(
        output.stderr.contains(&file.display().to_string()),
        "{output:#?}"
    );
    let run = inspect();
    put(run.home(), "registries.conf", &rule(true));
    put(run.home(), "registries.conf.d/10-a.conf", &rule(true));
    put(run.home(), "registries.conf.d/20-b.conf", &rule(false));
    put(run.home(), "registries.conf.d/30-c.txt", &rule(true));
    run.run().exits(0);
    let run = inspect();
    put(run.home(), "registries.conf", &rule(false));
    let below = run.home().join(".config");
    put(&below, "registries.conf.d/20-b.conf", &rule(true));
    run.run().exits(1);
    let run = inspect();
    put(run.home(), "registries.conf", &rule(true));
    with_conf(run, &rule(false)).run().exits(0);
}

#[test]
fn a_configuration_that_cannot_be_understood_is_named() {
    let registry = filled("x:1");
    for (text, why) in [
        ("[[registry]\n", "line 1"),
        ("\n[[registry]]\nlocation = 5\n", "line 3"),
        ("[[registry]]\ninsecure = true\n", "neither"),
        (
            "[[registry]]\nlocation = \"https://a.io\"\n",
            "the location `https://a.io` of a [[registry]] has a scheme",
        ),
        (
            "[[registry]]\nprefix = \"http://a.io\"\nlocation = \"b.io\"\n",
            "the prefix `http://a.io` of a [[registry]] has a scheme",
        ),
    ] {
        let run = barge().args(["inspect", &registry.reference("x:1")]);
        let output = with_conf(run, text).run().exits(1);
        assert!(output.stderr.contains("of-a-variable.conf"), "{output:#?}");
        assert!(output.stderr.contains(why), "{output:#?}");
    }
    let place: TempDir = tempdir().expect("a directory");
    let run = barge().args(["inspect", &registry.reference("x:1")]);
    let missing = place.path().join("missing.conf");
    let output = run.env("CONTAINERS_REGISTRIES_CONF", missing).run();
    assert!(output.exits(1).stderr.contains("missing.conf"));
    assert_eq!(registry.log().len(), 0);
}
