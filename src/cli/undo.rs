//! `barge undo` as clap sees it.

use std::path::PathBuf;

use clap::Args;

use super::{AccessArgs, NetworkArgs, OutputArgs};

/// `barge undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The journal whose tags are put back: a file, or a name from the list
    #[arg(value_name = "JOURNAL")]
    pub journal: Option<String>,
    /// Put back the tags of every unfinished journal
    #[arg(long, conflicts_with = "journal")]
    pub all: bool,
    /// Drop a journal, and leave its tags as they are
    #[arg(long, value_name = "JOURNAL", conflicts_with_all = ["journal", "all"])]
    pub forget: Option<String>,
    /// Where journals are kept [default: ~/.local/state/barge]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
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

/// Options that say what is to be done, and not how: they have no variable. `BARGE_ALL` is about
/// platforms: it must not make a list of journals an undo of them all.
pub(super) const TYPED_ALONE: &[&str] = &["all", "forget"];

pub(super) const HELP: &str = "\
A run with --policy rollback that is killed while it moves tags leaves a journal
of what they pointed at. The next such run into that repository that selects
all those tags puts them back by itself. Without JOURNAL the unfinished
journals are listed.

Exit codes: 0 all tags are back, 1 not done, 2 usage error, 5 some tags could
not be put back, 130 and 143 interrupted.

Every option but --all and --forget has a variable: --state-dir is
BARGE_STATE_DIR. A flag wins over it.";
