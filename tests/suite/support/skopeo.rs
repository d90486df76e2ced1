//! skopeo, the peer that everything written here must be readable by.
//!
//! Without certificates and policies; a failure panics with what skopeo said.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// `skopeo inspect --raw`: the exact bytes behind a reference.
pub(crate) fn inspect_raw(reference: &str) -> Vec<u8> {
    run(&["inspect", "--raw", "--tls-verify=false", reference])
}

/// `skopeo copy --all`.
pub(crate) fn copy_all(source: &str, destination: &str) {
    copy_all_with(&[], source, destination);
}

/// `skopeo copy --all` with more options, `--src-creds=alice:…` for instance.
pub(crate) fn copy_all_with(options: &[&str], source: &str, destination: &str) {
    let fixed = [
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    run(&[&fixed, options, &[source, destination]].concat());
}

/// Any skopeo command; its standard output.
pub(crate) fn run(arguments: &[&str]) -> Vec<u8> {
    run_with_input(arguments, "")
}

/// The same with something on its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &str) -> Vec<u8> {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut child = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env_remove("REGISTRY_AUTH_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("skopeo is installed");
    let mut stdin = child.stdin.take().expect("piped");
    // Fails where skopeo ends without reading it.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "skopeo {}: {}\n{said}",
        arguments.join(" "),
        output.status
    );
    output.stdout
}
