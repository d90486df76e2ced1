//! The targets of the fuzzer over the inputs that are kept: those that it begins with, and each that once
//! broke something.
//!
//! To look for more, with a nightly compiler and `cargo install cargo-fuzz`:
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz TARGET NEW tests/fuzz/corpus/TARGET`, where NEW is a
//! directory that takes what it finds.

#[cfg(test)]
mod targets;

#[cfg(test)]
mod corpus {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use crate::targets::ALL;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz")
            .join(name)
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.expect("an entry").path();
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        };
        entries.map(name).collect()
    }

    #[test]
    fn every_kept_input_holds() {
        for (name, target) in ALL {
            let inputs = fs::read_dir(folder("corpus").join(name)).expect("a corpus");
            let mut count = 0;
            for input in inputs {
                let path = input.expect("an entry").path();
                let bytes = fs::read(&path).expect("a file");
                let held = std::panic::catch_unwind(|| target(&bytes));
                assert!(held.is_ok(), "{}", path.display());
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }

    /// A target that is in the list alone would never be fuzzed, or never tested.
    #[test]
    fn each_target_has_its_file_and_its_corpus() {
        let targets: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&folder("fuzz_targets")), targets);
        assert_eq!(names(&folder("corpus")), targets);
        let listed = fs::read_to_string(folder("Cargo.toml")).expect("a manifest");
        for name in targets {
            assert!(listed.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
