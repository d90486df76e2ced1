//! The shape of the house: a module imports lower ranks only, nothing imports everything, and the pure
//! modules name no I/O. DESIGN.md has the table.

use std::fs;
use std::path::{Path, PathBuf};

/// Ranks of the modules, as DESIGN.md has them.
const RANKS: [(&str, u8); 23] = [
    ("disk", 0),
    ("error", 0),
    ("sanitize", 0),
    ("splice", 0),
    ("bounded", 1),
    ("image", 1),
    ("inventory", 2),
    ("once_map", 2),
    ("reference", 2),
    ("event", 3),
    ("finding", 3),
    ("journal", 3),
    ("options", 3),
    ("select", 3),
    ("endpoint", 4),
    ("catalog", 5),
    ("cli", 5),
    ("plan", 5),
    ("state", 5),
    ("config", 6),
    ("engine", 7),
    ("report", 7),
    ("commands", 8),
];

/// Modules that decide and do not do.
const PURE: [&str; 11] = [
    "image",
    "inventory",
    "journal",
    "reference",
    "select",
    "plan",
    "event",
    "finding",
    "error",
    "sanitize",
    "splice",
];

/// What pure modules never name.
const IMPURE: [&str; 6] = [
    "tokio",
    "reqwest",
    "std::fs",
    "std::env",
    "Instant::now",
    "SystemTime::now",
];

/// Files that hold tests alone.
const TEST_FILES: [&str; 2] = ["tests.rs", "laws.rs"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The top-level module that a file of `src` belongs to; `None` for `lib.rs` and `main.rs`.
fn module(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(folder("src")).expect("a file of src");
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.trim_end_matches(".rs").to_owned();
    (!matches!(name.as_str(), "lib" | "main")).then_some(name)
}

fn rank(module: &str) -> u8 {
    let found = RANKS.iter().find(|(name, _)| *name == module);
    found
        .unwrap_or_else(|| panic!("module `{module}` has no rank: add it to DESIGN.md and here"))
        .1
}

/// Code lines of a file without its tests, which may use what they like.
fn code(path: &Path) -> Vec<String> {
    if path
        .file_name()
        .is_some_and(|name| TEST_FILES.iter().any(|tests| name == *tests))
    {
        return Vec::new();
    }
    let text = fs::read_to_string(path).expect("a readable file");
    let own = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .to_owned();
    own.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(str::to_owned)
        .collect()
}

/// The modules that a line names behind `crate::`.
fn named(line: &str) -> Vec<String> {
    let word = |rest: &str| {
        rest.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    line.split("crate::").skip(1).map(word).collect()
}

#[test]
fn imports_climb_down() {
    let mut wrong = Vec::new();
    for path in sources(&folder("src")) {
        let Some(own) = module(&path) else { continue };
        for line in code(&path) {
            for other in named(&line) {
                if other != own && rank(&other) >= rank(&own) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that climb:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn nothing_imports_everything() {
    let mut wrong = Vec::new();
    for path in sources(&folder("src")) {
        let globs = code(&path)
            .into_iter()
            .filter(|line| line.starts_with("use ") && line.contains("::*"));
        wrong.extend(globs.map(|line| format!("{}: {line}", path.display())));
    }
    assert!(wrong.is_empty(), "glob imports:\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_do_nothing() {
    let mut wrong = Vec::new();
    for path in sources(&folder("src")) {
        if !module(&path).is_some_and(|own| PURE.contains(&own.as_str())) {
            continue;
        }
        for line in code(&path) {
            if IMPURE.iter().any(|name| line.contains(name)) {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "input or output in pure modules:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn design_names_every_module() {
    let design = fs::read_to_string(folder("DESIGN.md")).expect("DESIGN.md");
    let missing: Vec<&str> = RANKS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !design.contains(&format!("`{name}")))
        .collect();
    assert!(missing.is_empty(), "DESIGN.md says nothing of {missing:?}");
}
