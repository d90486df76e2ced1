//! Runs one command to its end and tells what it took.
//!
//! GNU time has the processor time and the peak memory of the child alone; the wall clock is our own,
//! since that of GNU time ends at hundredths.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Seconds by the clock.
    pub(crate) wall: f64,
    /// Seconds of the processor, in user and kernel mode.
    pub(crate) cpu: f64,
    /// The most memory that it held, in MiB.
    pub(crate) memory: f64,
}

/// Runs `command` (its first word is the program) in an empty home; panics where it fails.
pub(crate) fn measure(command: &[String]) -> Usage {
    let home = tempfile::tempdir().expect("a temporary directory");
    let usage = home.path().join("usage");
    let mut timed = Command::new("time");
    timed
        .args(["--format=%U %S %M", "--output"])
        .arg(&usage)
        .args(command)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TMPDIR"))
        .envs(["HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"].map(|name| (name, home.path())))
        .current_dir(home.path())
        .stdin(Stdio::null());
    let began = Instant::now();
    let output = timed.output().expect("GNU time is installed");
    let wall = began.elapsed().as_secs_f64();
    assert!(
        output.status.success(),
        "{} failed:\n{}{}",
        command.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let written = fs::read_to_string(usage).expect("GNU time wrote its file");
    let numbers: Vec<f64> = written
        .split_whitespace()
        .map(|word| word.parse().expect("GNU time writes numbers"))
        .collect();
    let [user, system, kibibytes] = numbers[..] else {
        panic!("GNU time wrote {written}");
    };
    Usage {
        wall,
        cpu: user + system,
        memory: kibibytes / 1024.0,
    }
}
