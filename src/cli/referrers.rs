//! What refers to images, as clap sees it.

use clap::Args;

use crate::options::MissingReferrers;

/// What is copied with images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signatures")]
pub struct CopyReferrerArgs {
    /// Which.
    #[command(flatten)]
    pub which: ReferrerArgs,
    /// What becomes of a tag where the source lists referrers that are gone
    #[arg(long, value_enum, value_name = "WHAT", default_value = "fail")]
    pub missing_referrers: MissingReferrers,
}

/// What is copied, or looked at, with images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signatures")]
pub struct ReferrerArgs {
    /// Include what refers to images: signatures, SBOMs; =TYPE[,TYPE...]: only such
    #[arg(
        long,
        value_name = "TYPES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all",
        value_delimiter = '\n'
    )]
    pub referrers: Vec<String>,
}
