//! `barge inventory` as clap sees it.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{AccessArgs, NetworkArgs, ReferrerArgs, TagArgs, TalkArgs};

/// `barge inventory`.
#[derive(Debug, Args)]
pub struct InventoryArgs {
    /// Repositories, layouts or archives to look into
    #[arg(value_name = "REPOSITORY", required = true)]
    pub repositories: Vec<String>,
    /// Ask for every blob, instead of trusting a registry that has its manifest
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub check: bool,
    /// Which tags.
    #[command(flatten)]
    pub tags: TagArgs,
    /// What refers to them.
    #[command(flatten)]
    pub referrers: ReferrerArgs,
    /// Who is asking.
    #[command(flatten)]
    pub access: AccessArgs,
    /// For how long.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// How much to tell.
    #[command(flatten)]
    pub talk: TalkArgs,
}

pub(super) const HELP: &str = "\
Prints JSON: the digests of all manifests and blobs that are there. barge copy
--have leaves those out of an archive. A repository that does not exist yet
holds nothing, which is no error. What is listed is proved when the archive
arrives; --check only tells earlier what a registry has lost. For copies with
--referrers give it here too: what refers to images is listed then.

Example:
  Inside, then outside, then inside again:
    barge inventory docker://registry.internal/org/app > have.json
    barge copy --all-tags --have have.json quay.io/org/app \\
        oci-archive:bundle.tar
    barge copy --all-tags oci-archive:bundle.tar \\
        docker://registry.internal/org/app

Every option has a variable: --check is BARGE_CHECK. A flag wins over it. The
variable of a repeatable option holds one value a line.";
