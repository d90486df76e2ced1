//! `completions/` and `man/` are made from the command line's own definition. This fails when they
//! are stale; `BARGE_GENERATE=1 cargo test --test generated` writes them afresh.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap_complete::Shell;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn completions() -> Files {
    let shells = [
        (Shell::Bash, "barge.bash"),
        (Shell::Zsh, "_barge"),
        (Shell::Fish, "barge.fish"),
    ];
    let script = |shell| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut barge::cli::command(), "barge", &mut text);
        text
    };
    shells
        .into_iter()
        .map(|(shell, name)| (Path::new("completions").join(name), script(shell)))
        .collect()
}

/// One page for the command and one for each verb, without a date: the same source, the same bytes.
fn pages() -> Files {
    let mut command = barge::cli::command();
    command.build();
    let mut files = Files::new();
    let mut add = |command: clap::Command, name: String| {
        let mut text = Vec::new();
        clap_mangen::Man::new(command)
            .title(name.to_uppercase())
            .render(&mut text)
            .expect("a page");
        files.insert(Path::new("man").join(format!("{name}.1")), text);
    };
    for verb in command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
    {
        let name = format!("barge-{}", verb.get_name());
        let heading: &'static str = Box::leak(name.clone().into_boxed_str());
        add(
            verb.clone()
                .name(heading)
                .bin_name(name.replacen('-', " ", 1)),
            name,
        );
    }
    add(
        command.clone().disable_help_subcommand(true),
        "barge".into(),
    );
    files
}

fn committed(folder: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return Files::new();
    };
    let names = entries.map(|entry| Path::new(folder).join(entry.expect("an entry").file_name()));
    names
        .map(|name| {
            (
                name.clone(),
                fs::read(root.join(name)).expect("a readable file"),
            )
        })
        .collect()
}

#[test]
fn completions_and_man_pages_are_fresh() {
    let wanted: Files = completions().into_iter().chain(pages()).collect();
    if std::env::var_os("BARGE_GENERATE").is_some() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, text) in &wanted {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a writable file");
        }
    }
    let found: Files = committed("completions")
        .into_iter()
        .chain(committed("man"))
        .collect();
    let stale: Vec<&PathBuf> = wanted
        .keys()
        .chain(found.keys())
        .filter(|name| wanted.get(*name) != found.get(*name))
        .collect();
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; run BARGE_GENERATE=1 cargo test --test generated"
    );
}
