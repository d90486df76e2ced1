//! Options that say whom to be at a registry, and whom to trust.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

/// Access to a registry: both sides of a copy, or the one reference.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// User and password
    #[arg(long, value_name = "USER[:PASS]")]
    pub creds: Option<String>,
    /// A file with USER:PASS; - is standard input
    #[arg(long, value_name = "FILE")]
    pub creds_file: Option<PathBuf>,
    /// Ask as nobody
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub no_creds: bool,
    /// A bearer token
    #[arg(long, value_name = "TOKEN")]
    pub registry_token: Option<String>,
    /// A file with credentials, as Docker's config.json
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// A directory with *.crt, and *.cert with *.key
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Verify TLS certificates [default: true, on loopback HTTP too]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub tls_verify: Option<bool>,
}

/// Access to the source, where there is one besides.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Access")]
pub struct SourceAccessArgs {
    /// User and password for the source
    #[arg(long, value_name = "USER[:PASS]")]
    pub src_creds: Option<String>,
    /// A file with USER:PASS for the source; - is standard input
    #[arg(long, value_name = "FILE")]
    pub src_creds_file: Option<PathBuf>,
    /// Ask the source as nobody
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub src_no_creds: bool,
    /// A bearer token for the source
    #[arg(long, value_name = "TOKEN")]
    pub src_registry_token: Option<String>,
    /// A file with credentials for the source
    #[arg(long, value_name = "FILE")]
    pub src_authfile: Option<PathBuf>,
    /// Certificates for the source
    #[arg(long, value_name = "DIR")]
    pub src_cert_dir: Option<PathBuf>,
    /// Verify the source's TLS certificate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub src_tls_verify: Option<bool>,
}

/// Access to both registries of a copy.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub struct CopyAccessArgs {
    /// The source's own.
    #[command(flatten)]
    pub source: SourceAccessArgs,
    /// User and password for the destination
    #[arg(long, value_name = "USER[:PASS]")]
    pub dest_creds: Option<String>,
    /// A file with USER:PASS for the destination; - is standard input
    #[arg(long, value_name = "FILE")]
    pub dest_creds_file: Option<PathBuf>,
    /// Ask the destination as nobody
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub dest_no_creds: bool,
    /// A bearer token for the destination
    #[arg(long, value_name = "TOKEN")]
    pub dest_registry_token: Option<String>,
    /// A file with credentials for the destination
    #[arg(long, value_name = "FILE")]
    pub dest_authfile: Option<PathBuf>,
    /// Certificates for the destination
    #[arg(long, value_name = "DIR")]
    pub dest_cert_dir: Option<PathBuf>,
    /// Verify the destination's TLS certificate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub dest_tls_verify: Option<bool>,
    /// What holds for both sides.
    #[command(flatten)]
    pub both: AccessArgs,
}
