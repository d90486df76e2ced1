//! The command line as clap sees it: raw flags that do no work. [`crate::config`] makes sense of them.
//!
//! Every option has a variable `BARGE_<OPTION>`. A flag wins over its variable, and switches off the
//! variables of options that it conflicts with.

mod access;
mod conflicts;
mod inventory;
mod login;
mod referrers;
mod undo;
mod verify;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{
    Arg, ArgAction, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    ValueEnum,
};

pub use self::access::{AccessArgs, CopyAccessArgs, SourceAccessArgs};
pub use self::inventory::InventoryArgs;
pub use self::login::{LoginArgs, LogoutArgs};
pub use self::referrers::{CopyReferrerArgs, ReferrerArgs};
pub use self::undo::UndoArgs;
pub use self::verify::VerifyArgs;
use crate::options::{MissingArch, Mode, Policy, Recheck};

/// Copy container images between registries, OCI layouts and archives
#[derive(Debug, Parser)]
#[command(name = "barge", version, max_term_width = 80)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const ENVIRONMENT: &str = "\
Every option has a variable: --no-creds is BARGE_NO_CREDS. A flag wins over it.
The variable of a repeatable option holds one value a line.";

const COPY_EXAMPLES: &str = "\
Modes:
  all             every child, then the index itself; the default without --arch
  filtered-index  a new index of just the platforms asked for; the default with
                  --arch. Its digest is new, its other bytes are the source's
  sparse-index    the original index with its digest, so that pins and
                  signatures stay good; only the children asked for come along.
                  The destination must accept that

Policies:
  best-effort     every tag that can be copied is; a failed one stays as it was
  rollback        all tags or none: everything is copied by digest first, then
                  the tags move together, and back where anything goes wrong.
                  What they pointed at is in --state-dir meanwhile, so that
                  the next run, or barge undo, can go on after a kill

Examples:
  Mirror two architectures of one tag, as an index of just those:
    barge copy --arch amd64,arm64 docker.io/library/alpine:3.20 \\
        docker://registry.example.com/mirror/alpine
  Keep the digest of the original index (the registry must allow it):
    barge copy --arch arm64 --mode sparse-index quay.io/org/app:v1 \\
        docker://registry.example.com/org/app
  The same with its signatures, which stay good:
    barge copy --arch arm64 --mode sparse-index --referrers quay.io/org/app:v1 \\
        docker://registry.example.com/org/app
  Every 3.x tag into a layout on disk, a JSON summary for the script:
    barge copy --tags '3\\..*' -o json docker.io/library/python oci:python
  Move all tags of a release at once, or none:
    barge copy --policy rollback --tag-glob 'latest,4.2*' quay.io/org/app \\
        docker://registry.example.com/org/app

References:
  docker://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]   a registry
  oci:PATH[:REF], oci:PATH@DIGEST                  an OCI image layout
  oci-archive:PATH[:REF]                           the same in one tar file;
                  PATH - is a stream, all or nothing: a blob that fails ends it
  docker-archive:PATH[:NAME[:TAG]]                 what docker save writes, and
                  docker load and podman load read; it has one platform of an
                  image, and digests of its own: the summary has the image ID
With tag options, a SOURCE file may name one repository: PATH:localhost/app

Exit codes: 0 all tags copied or current, 1 none, 2 usage error, 3 some failed,
4 rolled back, 5 rolled back but for tags that are named, 130 and 143
interrupted.

Every option has a variable: --src-creds is BARGE_SRC_CREDS. A flag wins over
it. The variable of a repeatable option holds one value a line.";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Copy one tag of a repository, or many
    #[command(after_help = COPY_EXAMPLES)]
    Copy(Box<CopyArgs>),
    /// Show what a reference holds: digest, platforms, which of them are present
    #[command(after_help = ENVIRONMENT)]
    Inspect(InspectArgs),
    /// List what is there, for copies that leave it out
    #[command(after_help = inventory::HELP)]
    Inventory(Box<InventoryArgs>),
    /// List the tags that the tag options select, one a line
    #[command(after_help = ENVIRONMENT)]
    ListTags(ListTagsArgs),
    /// Log in to a registry, for barge, podman and skopeo
    #[command(after_help = login::EXAMPLES)]
    Login(LoginArgs),
    /// Forget a login
    #[command(after_help = ENVIRONMENT)]
    Logout(LogoutArgs),
    /// Put back tags that a rollback run which was killed left half-way
    #[command(after_help = undo::HELP)]
    Undo(UndoArgs),
    /// Check that all is there that a tag lists, or many
    #[command(after_help = verify::HELP)]
    Verify(Box<VerifyArgs>),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// `barge copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    /// Which platforms.
    #[command(flatten)]
    pub platforms: PlatformArgs,
    /// Which tags.
    #[command(flatten)]
    pub tags: TagArgs,
    /// How.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// What comes along.
    #[command(flatten)]
    pub referrers: CopyReferrerArgs,
    /// Who is asking.
    #[command(flatten)]
    pub access: CopyAccessArgs,
    /// For how long.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What to tell.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What else to tell.
    #[command(flatten)]
    pub report: ReportArgs,
    /// The arguments whose values come from variables.
    #[arg(skip)]
    pub from_variables: BTreeSet<String>,
}

/// Which platforms are copied.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platforms")]
pub struct PlatformArgs {
    /// Platforms to copy: arm64, linux/arm64, arm/v7, windows/amd64:10.0.17763
    #[arg(
        long,
        visible_alias = "platform",
        value_name = "A[,A...]",
        value_delimiter = '\n'
    )]
    pub arch: Vec<String>,
    /// What becomes of an index, see below
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// The same as --mode all
    #[arg(short = 'a', long, value_parser = BoolishValueParser::new())]
    pub all: bool,
    /// A platform to copy that has to be there
    #[arg(long, value_name = "A", value_delimiter = '\n')]
    pub require_arch: Vec<String>,
    /// What becomes of a tag with none of the platforms
    #[arg(long, value_enum, value_name = "WHAT", default_value = "fail")]
    pub missing_arch: MissingArch,
    /// Fail rather than leave platforms out of an index that is signed
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub require_signature: bool,
    /// Copy nondistributable layers like any other, where the source has them
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub include_foreign_layers: bool,
}

/// Which tags are copied or listed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tags")]
pub struct TagArgs {
    /// Tags that match as a whole
    #[arg(long, value_name = "REGEX", value_delimiter = '\n')]
    pub tags: Vec<String>,
    /// Tags to leave out
    #[arg(long, value_name = "REGEX", value_delimiter = '\n')]
    pub exclude_tags: Vec<String>,
    /// Every tag
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub all_tags: bool,
    /// Tags that match
    #[arg(
        long,
        help = "Tags that match: latest,3.[789].?,*-slim",
        value_name = "GLOBS",
        value_delimiter = '\n'
    )]
    pub tag_glob: Vec<String>,
    /// Tags to leave out
    #[arg(long, value_name = "GLOBS", value_delimiter = '\n')]
    pub exclude_tag_glob: Vec<String>,
    /// Do not leave out digest tags (sha256-…, with .sig, .att, .sbom)
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub include_digest_tags: bool,
}

/// How the copy goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Transfer")]
pub struct TransferArgs {
    /// What a failed tag means for the others
    #[arg(long, value_enum, value_name = "POLICY", default_value = "best-effort")]
    pub policy: Policy,
    /// Where journals and locks of runs are [default: ~/.local/state/barge]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Blob transfers at once
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: u16,
    /// How far a tag whose digest is right is looked into; unless none, each
    /// tag that is written is looked at once after that
    #[arg(long, value_enum, value_name = "WHAT", default_value = "children")]
    pub recheck: Recheck,
    /// Fail a tag whose digest would not be the source's
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub preserve_digests: bool,
    /// Only say what would be copied
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
    /// Leave out of the oci-archive what barge inventory lists; - is stdin
    #[arg(long, value_name = "FILE")]
    pub have: Option<PathBuf>,
    /// Replace another repository's image of the same REF (layouts, OCI
    /// archives); write a compressed OCI archive plain; replace the whole
    /// file (docker-archive)
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub force: bool,
}

/// Limits on one request or transfer.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Failures in a row that one request may have
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retry_times: u32,
    /// Drop and resume a connection that moves no byte for that long, or
    /// less than 1 KiB/s for four times as long
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub stall_timeout: u64,
}

/// What is printed, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The form of what goes to standard output
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub output: Form,
    /// How much to tell.
    #[command(flatten)]
    pub talk: TalkArgs,
}

/// How much goes to standard error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct TalkArgs {
    /// Say more on standard error (-vv: every request)
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, value_parser = BoolishValueParser::new())]
    pub quiet: bool,
}

/// What else a copy writes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ReportArgs {
    /// Write the JSON summary to a file as well
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the digest of the image copied, or a line for each, to a file;
    /// it is empty when there is none
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,
    /// How progress is shown on standard error
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    pub progress: Progress,
}

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    Text,
    /// For scripts
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Bars
    Bar,
    /// A line every 10 seconds
    Plain,
    /// Not at all
    None,
}

/// `barge inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// What to look at
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// Print the bytes of the manifest as they are
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub raw: bool,
    /// Show what refers to the image of each platform too, and read all of it:
    /// what is lost or refers to something else is marked
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub platforms: bool,
    /// Who is asking.
    #[command(flatten)]
    pub access: AccessArgs,
    /// For how long.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What to tell.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `barge list-tags`.
#[derive(Debug, Args)]
pub struct ListTagsArgs {
    /// The repository, or layout, whose tags to list
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    /// Which tags.
    #[command(flatten)]
    pub tags: TagArgs,
    /// Who is asking.
    #[command(flatten)]
    pub access: AccessArgs,
    /// For how long.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What to tell.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `barge completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// The command without its environment, as man pages and completions show it.
#[must_use]
pub fn command() -> Command {
    let command = Cli::command()
        .mut_subcommand("copy", with_both_sides)
        .mut_subcommand("verify", with_both_sides);
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    verbs
        .into_iter()
        .fold(with_short_help(command), |command, verb| {
            command.mut_subcommand(verb, with_short_help)
        })
}

/// What the commands with one reference call the same is for both sides here.
fn with_both_sides(verb: Command) -> Command {
    BOTH_SIDES.iter().fold(verb, |verb, id| {
        verb.mut_arg(id, |argument| {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            argument.help(format!("{help} (both sides)"))
        })
    })
}

/// One screenful of help, whichever of its flags was typed.
fn with_short_help(command: Command) -> Command {
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::HelpShort)
        .help("Print help");
    command.disable_help_flag(true).arg(help)
}

/// Options of [`AccessArgs`].
const BOTH_SIDES: [&str; 7] = [
    "creds",
    "creds_file",
    "no_creds",
    "registry_token",
    "authfile",
    "cert_dir",
    "tls_verify",
];

/// Parses `arguments`, options that they lack from the variables that `variable` reads.
///
/// # Errors
///
/// clap's own, which is also how `--help` and `--version` end.
pub fn parse(
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> clap::error::Result<Cli> {
    let matches = with_environment(command(), &variable).try_get_matches_from(arguments.clone())?;
    let overridden = conflicts::overridden(&matches);
    let matches = if overridden.is_empty() {
        matches
    } else {
        let kept = |name: &str| {
            variable(name).filter(|_| !overridden.iter().any(|id| name == variable_name(id)))
        };
        with_environment(command(), &kept).try_get_matches_from(arguments)?
    };
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Verb::Copy(copy) = &mut cli.verb {
        copy.from_variables = conflicts::from_variables(&matches);
    }
    Ok(cli)
}

/// Every long option of every verb reads its variable, where that is set and not empty.
fn with_environment(mut command: Command, variable: &impl Fn(&str) -> Option<OsString>) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in verbs {
        let alone = match verb.as_str() {
            "logout" => login::TYPED_ALONE,
            "undo" => undo::TYPED_ALONE,
            _ => &[],
        };
        command = command.mut_subcommand(verb, |verb| {
            verb.mut_args(|argument| {
                if alone.contains(&argument.get_id().as_str()) {
                    return argument;
                }
                let long = argument
                    .get_long()
                    .filter(|long| !matches!(*long, "help" | "version"));
                let Some(name) = long.map(variable_name) else {
                    return argument;
                };
                // A variable that is set and empty is how CI systems say that it is not set.
                if variable(&name).is_none_or(|value| value.to_string_lossy().trim().is_empty()) {
                    return argument;
                }
                argument.env(name).hide_env(true)
            })
        });
    }
    command
}

fn variable_name(option: &str) -> String {
    format!("BARGE_{}", option.replace('-', "_").to_uppercase())
}
