//! Standard input and output by all their names, and where they are closed.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::single;
use crate::support::barge::{barge, run};
use crate::support::image::write_layout;

/// A layout with the image `v1`, in a directory of its own.
fn layout() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let image = single(1);
    let layout = write_layout(&directory.path().join("lay"), &[("v1", (&image).into())]);
    (directory, layout.reference(""))
}

/// Runs barge with what a shell makes of `redirection`.
fn redirected(home: &Path, redirection: &str, arguments: &[&str]) -> Output {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_barge")]);
    command.args(arguments).env("HOME", home).current_dir(home);
    command.output().expect("a shell")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn a_closed_standard_output_loses_nothing_unsaid() {
    let (home, layout) = layout();
    for arguments in [
        ["copy", "--all-tags", &layout, "oci-archive:-"].as_slice(),
        &["copy", "--dry-run", "--all-tags", &layout, "oci-archive:-"],
        &["inventory", &layout],
    ] {
        let closed = redirected(home.path(), ">&-", arguments);
        assert_eq!(code(&closed), Some(1), "{closed:?}");
        let said = String::from_utf8_lossy(&closed.stderr);
        assert!(said.contains("standard output is closed"), "{said}");
        let dropped = redirected(home.path(), "> /dev/null", arguments);
        assert_eq!(code(&dropped), Some(0), "{dropped:?}");
    }
}

#[test]
fn a_closed_standard_input_is_not_called_an_empty_archive() {
    let (home, _) = layout();
    let arguments = ["list-tags", "oci-archive:-"];
    let closed = redirected(home.path(), "<&-", &arguments);
    assert_eq!(code(&closed), Some(1), "{closed:?}");
    let said = String::from_utf8_lossy(&closed.stderr);
    assert!(said.contains("standard input is closed"), "{said}");
    let empty = redirected(home.path(), "< /dev/null", &arguments);
    let said = String::from_utf8_lossy(&empty.stderr);
    assert!(said.contains("it is empty"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_stream_is_the_same_by_each_of_its_names() {
    let (home, layout) = layout();
    let write = |name: &str| {
        let to = format!("oci-archive:{name}");
        let arguments = ["copy", "--all-tags", &layout, &to];
        let file = format!("> {}", home.path().join("out.tar").display());
        let output = redirected(home.path(), &file, &arguments);
        assert_eq!(code(&output), Some(0), "{output:?}");
        let summary = String::from_utf8_lossy(&output.stderr);
        assert!(summary.contains("v1"), "{summary}");
        std::fs::read(home.path().join("out.tar")).expect("an archive")
    };
    let archive = write("-");
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        assert!(write(name) == archive, "{name}");
    }
    let file = format!("< {}", home.path().join("out.tar").display());
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let from = format!("oci-archive:{name}");
        let listed = redirected(home.path(), &file, &["list-tags", &from]);
        assert_eq!(listed.stdout, b"v1\n", "{listed:?}");
    }
}

#[test]
fn standard_input_is_read_for_one_thing() {
    let to = "docker://127.0.0.1:1/x";
    for arguments in [
        [
            "copy",
            "--src-creds-file",
            "-",
            "oci-archive:/dev/stdin",
            to,
        ]
        .as_slice(),
        &[
            "copy",
            "--dest-creds-file",
            "/dev/stdin",
            "oci-archive:-",
            to,
        ],
        &["copy", "--dest-creds-file", "-", "docker-archive:-", to],
        &["verify", "--against", "oci-archive:-", "oci-archive:-"],
        &[
            "verify",
            "--against",
            "oci-archive:/dev/stdin",
            "docker-archive:-",
        ],
    ] {
        let output = run(arguments).exits(2);
        let said = &output.stderr;
        assert!(said.contains("both name standard input"), "{output:#?}");
    }
    // What else is there is read.
    let output = barge().args(["list-tags", "oci-archive:-"]).input("").run();
    assert!(output.exits(1).stderr.contains("it is empty"));
}
