//! What refers to images, as clap sees it.

use clap::Args;
use clap::builder::BoolishValueParser;

/// What comes along with images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signatures")]
pub struct ReferrerArgs {
    /// With its signatures, attestations, SBOMs; of some types: =TYPE[,TYPE...]
    #[arg(
        long,
        value_name = "TYPES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all",
        value_delimiter = '\n'
    )]
    pub referrers: Vec<String>,
    /// Fail where --arch would change an index that is signed
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub require_signature: bool,
}
