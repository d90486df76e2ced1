//! Which options switch off which variables: a flag that was typed wins over a variable that says
//! something else about the same thing.

use std::collections::BTreeSet;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Options of which one replaces the others. What holds for both sides replaces what a variable says of
/// one; a side's own flag leaves the other side alone, so it is no rival of what holds for both.
const GROUPS: [&[&str]; 5] = [
    &[
        "src_creds",
        "src_creds_file",
        "src_no_creds",
        "src_registry_token",
        "src_authfile",
        "creds",
        "creds_file",
        "no_creds",
        "registry_token",
        "authfile",
    ],
    &[
        "dest_creds",
        "dest_creds_file",
        "dest_no_creds",
        "dest_registry_token",
        "dest_authfile",
        "creds",
        "creds_file",
        "no_creds",
        "registry_token",
        "authfile",
    ],
    &["src_tls_verify", "tls_verify"],
    &["dest_tls_verify", "tls_verify"],
    &["quiet", "verbose"],
];

/// The options whose variables do not count, by their names on the command line.
pub(super) fn overridden(matches: &ArgMatches) -> Vec<String> {
    let Some((_, matches)) = matches.subcommand() else {
        return Vec::new();
    };
    let source = |id: &str| {
        matches
            .try_contains_id(id)
            .ok()
            .and_then(|_| matches.value_source(id))
    };
    let typed = |id: &str| source(id) == Some(ValueSource::CommandLine);
    let from_variable = |id: &str| source(id) == Some(ValueSource::EnvVariable);
    let mut off: Vec<&str> = Vec::new();
    for group in GROUPS {
        for (place, id) in group.iter().enumerate() {
            let rival = |flag: &str| is_shared(flag) || !is_shared(id);
            let beaten = group
                .iter()
                .enumerate()
                .any(|(other, flag)| other != place && rival(flag) && typed(flag));
            if from_variable(id) && beaten {
                off.push(id);
            }
        }
    }
    off.extend(
        platform_choice(matches, &typed)
            .into_iter()
            .filter(|id| from_variable(id)),
    );
    off.into_iter().map(|id| id.replace('_', "-")).collect()
}

/// The options whose values come from variables, by the names of their arguments.
pub(super) fn from_variables(matches: &ArgMatches) -> BTreeSet<String> {
    let Some((_, matches)) = matches.subcommand() else {
        return BTreeSet::new();
    };
    let ids = matches.ids().map(clap::Id::as_str);
    let set = ids.filter(|id| matches.value_source(id) == Some(ValueSource::EnvVariable));
    set.map(str::to_owned).collect()
}

/// Whether the option holds for both sides of a copy.
fn is_shared(id: &str) -> bool {
    !id.starts_with("src_") && !id.starts_with("dest_")
}

/// `--mode all` excludes platforms; a platform, or another mode, excludes `--all`.
fn platform_choice(matches: &ArgMatches, typed: &impl Fn(&str) -> bool) -> Vec<&'static str> {
    use crate::options::Mode;
    if matches.try_contains_id("mode").is_err() {
        return Vec::new();
    }
    let mode = matches.get_one::<Mode>("mode");
    let mut off = Vec::new();
    if typed("all") {
        off.extend(["mode", "arch", "require_arch"]);
    }
    if typed("mode") {
        off.push("all");
        if mode == Some(&Mode::All) {
            off.extend(["arch", "require_arch"]);
        }
    }
    if typed("arch") || typed("require_arch") {
        off.push("all");
        if mode == Some(&Mode::All) {
            off.push("mode");
        }
    }
    off
}
