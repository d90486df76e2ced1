//! What the numbers were taken with: processor, programs.

use std::fs;
use std::process::Command;

/// Two lines: the processor, and the programs with their versions.
pub(crate) fn describe() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = information.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let flags = field("flags").or_else(|| field("Features"));
    let hashes = flags.is_some_and(|flags| {
        flags
            .split(' ')
            .any(|flag| flag == "sha_ni" || flag == "sha2")
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} cores, {} SHA-256 instructions\n{}; {}; {}",
        field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        if hashes { "with" } else { "without" },
        version(env!("CARGO_BIN_EXE_barge")),
        version("skopeo"),
        version("docker-registry"),
    )
}

/// The first line of `PROGRAM --version`, which also brings the program into memory.
fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().unwrap_or_default().to_owned()
}
