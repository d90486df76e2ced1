//! The README's first command does what the README prints.

use std::fs;
use std::path::Path;

use crate::support::barge::barge;

/// The lines between the command and the end of its block.
fn printed(readme: &str, command: &str) -> Vec<String> {
    let (_, after) = readme.split_once(command).expect("the command");
    let block = after.split("```").next().expect("the end of the block");
    block.lines().skip(1).map(str::to_owned).collect()
}

/// Times differ from run to run.
fn without_times(line: &str) -> String {
    let is_time = |word: &str| {
        word.strip_suffix('s')
            .is_some_and(|number| number.parse::<f64>().is_ok())
    };
    line.split_whitespace()
        .filter(|word| !is_time(word))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_first_command_prints_what_the_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let arguments = "copy --arch arm64 oci:examples/hello:latest oci:hello-arm64:latest";
    let example = root.join("examples/hello");
    let source = format!("oci:{}:latest", example.display());
    let output = barge()
        .args(["copy", "--arch", "arm64", &source, "oci:hello-arm64:latest"])
        .run();
    let output = output.exits(0);
    let came: Vec<String> = output.stdout.lines().map(without_times).collect();
    let said: Vec<String> = printed(&readme, arguments)
        .iter()
        .map(|line| without_times(line))
        .collect();
    assert_eq!(came, said);
}
