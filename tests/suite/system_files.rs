//! The files of the system, below `/etc`: certificates and registries.conf. Each run has an `/etc` of its
//! own, in a mount namespace that ends with it, so nobody's files are changed, nor needed.

use std::fs;
use std::path::Path;

use crate::support::barge::{Barge, barge};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::FakeRegistry;
use crate::support::tls::{Authority, Clients, TlsServer};

/// Puts the `etc` of the run's home in the place of `/etc`. Where somebody may not make namespaces, this
/// fails and the test with it: what it shows can be seen nowhere else.
const OWN_ETC: &str = r#"exec unshare --map-root-user --mount sh -c 'mount -t tmpfs tmpfs /etc && cp -r etc/. /etc && exec "$@"' sh "$@""#;

fn with_own_etc(run: Barge) -> Barge {
    fs::create_dir_all(run.home().join("etc")).expect("a directory");
    run.after(OWN_ETC)
}

fn image() -> MultiArch {
    MultiArch::standard(&["amd64"], Attestations::Without, 9)
}

fn filled() -> FakeRegistry {
    let registry = FakeRegistry::start();
    image().push_to(&registry, "x:1");
    registry
}

/// Writes a file into the home of `run`, and its directory.
fn put(run: &Barge, path: &str, text: &str) {
    let file = run.home().join(path);
    fs::create_dir_all(file.parent().expect("a directory")).expect("it can be made");
    fs::write(file, text).expect("a file");
}

#[test]
fn certificates_of_the_system_are_taken_where_the_user_has_none() {
    let registry = filled();
    let authority = Authority::new();
    let server = TlsServer::start(&registry.host(), &authority, Clients::Known);
    let host = server.host();
    let inspect = || barge().args(["inspect", "-v", &server.reference("x:1")]);
    let place = |run: &Barge, certs_d: &str, authority: &Authority| {
        let directory = run.home().join(certs_d).join(&host);
        fs::create_dir_all(&directory).expect("a directory");
        authority.write_to(&directory);
        authority.write_client_to(&directory);
    };
    with_own_etc(inspect()).run().exits(1);
    for certs_d in ["/etc/containers/certs.d", "/etc/docker/certs.d"] {
        let run = inspect();
        place(&run, certs_d.trim_start_matches('/'), &authority);
        let output = with_own_etc(run).run().exits(0);
        let told = format!("certificates for {host} from {certs_d}/{host}");
        assert!(output.stderr.contains(&told), "{told}: {output:#?}");
    }
    let other = Authority::named("another");
    let run = inspect();
    place(&run, "etc/containers/certs.d", &authority);
    place(&run, "etc/docker/certs.d", &other);
    with_own_etc(run).run().exits(0);
    let run = inspect();
    place(&run, "containers/certs.d", &other);
    place(&run, "etc/containers/certs.d", &authority);
    with_own_etc(run).run().exits(1);
}

#[test]
fn registries_of_the_system_count_where_the_user_has_no_file() {
    let registry = filled();
    let rule = |blocked: bool| {
        let host = registry.host();
        format!("[[registry]]\nlocation = \"{host}\"\nblocked = {blocked}\n")
    };
    let inspect = || barge().args(["inspect", "-v", &registry.reference("x:1")]);
    let (file, drop_in) = (
        "etc/containers/registries.conf",
        "etc/containers/registries.conf.d/a.conf",
    );
    let user = "containers/registries.conf";
    for (files, blocking) in [
        (&[][..], None),
        (&[(file, true)], Some(file)),
        (&[(file, false), (drop_in, true)], Some(drop_in)),
        (&[(file, true), (user, false)], None),
        (&[(drop_in, true), (user, false)], Some(drop_in)),
        (
            &[
                (drop_in, true),
                ("containers/registries.conf.d/a.conf", false),
            ],
            None,
        ),
    ] {
        let run = inspect();
        for (path, blocked) in files {
            put(&run, path, &rule(*blocked));
        }
        let output = with_own_etc(run).run();
        match blocking {
            None => drop(output.exits(0)),
            Some(path) => {
                let said = output.exits(1).stderr;
                let told = Path::new("/").join(path).display().to_string();
                assert!(said.contains(&format!("blocked ({told}, ")), "{said}");
            }
        }
    }
}
