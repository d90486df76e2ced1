//! `barge verify` as clap sees it.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{AccessArgs, NetworkArgs, OutputArgs, ReferrerArgs, SourceAccessArgs, TagArgs};

/// `barge verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What to check
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// Compare the digest of each tag with what SOURCE has
    #[arg(long, value_name = "SOURCE")]
    pub against: Option<String>,
    /// Read and hash every blob, instead of asking for its size
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub deep: bool,
    /// Blobs that --deep reads at once
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: u16,
    /// Platforms that have to be whole: arm64, linux/arm64, arm/v7
    #[arg(
        long,
        visible_alias = "platform",
        value_name = "A[,A...]",
        value_delimiter = '\n'
    )]
    pub arch: Vec<String>,
    /// A platform that every tag has to have
    #[arg(long, value_name = "A", value_delimiter = '\n')]
    pub require_arch: Vec<String>,
    /// What is looked at with images.
    #[command(flatten)]
    pub referrers: ReferrerArgs,
    /// Which tags.
    #[command(flatten)]
    pub tags: TagArgs,
    /// Who is asking SOURCE.
    #[command(flatten)]
    pub source_access: SourceAccessArgs,
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

pub(super) const HELP: &str = "\
A tag is complete when every manifest and every blob of its platforms is there,
in its right size; with --arch, of those platforms alone, and what else a
sparse index lacks is listed. With --against it also has to have the digest
that SOURCE has, or with --arch that of the index which copy makes of it;
then SOURCE's tags are the ones that are looked at. With --referrers all that
refers to its images has to be whole too, and with --against to be there.

Examples:
  barge verify --all-tags --arch arm64 docker://registry.example.com/org/app
  barge verify --deep --all-tags oci-archive:app.tar
  barge verify --against quay.io/org/app --tag-glob '3.*' oci:app

Exit codes: 0 all tags complete, 1 none, 2 usage error, 3 some, 130 and 143
interrupted.

Every option has a variable: --deep is BARGE_DEEP. A flag wins over it. The
variable of a repeatable option holds one value a line.";
