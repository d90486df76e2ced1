//! `barge login` and `barge logout`, with skopeo's names.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{NetworkArgs, OutputArgs};

pub(super) const EXAMPLES: &str = "\
The login is checked, then stored in the file that podman and skopeo use
($XDG_RUNTIME_DIR/containers/auth.json, or --authfile), or with the credential
helper that this file names. A person at a terminal is asked for the password;
a script gives it on standard input:
    printf '%s' \"$PASSWORD\" | barge login -u robot --password-stdin quay.io

Every option has a variable: --username is BARGE_USERNAME. A flag wins over it.";

/// `BARGE_ALL` is about platforms: it must not make anybody forget every login.
pub(super) const TYPED_ALONE: &[&str] = &["all"];

/// `barge login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The registry, or a part of it
    #[arg(value_name = "HOST[:PORT][/NAMESPACE]")]
    pub registry: String,
    /// The user
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,
    /// Read the password from standard input
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub password_stdin: bool,
    /// Only print the user that is logged in
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub get_login: bool,
    /// The file to store the login in
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// A directory with *.crt, and *.cert with *.key
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Verify TLS certificates [default: true, on loopback HTTP too]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub tls_verify: Option<bool>,
    /// For how long.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What to tell.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `barge logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// The registry, or the part of it, to forget the login for
    #[arg(
        value_name = "HOST[:PORT][/NAMESPACE]",
        required_unless_present = "all"
    )]
    pub registry: Option<String>,
    /// Forget every login of the file
    #[arg(short = 'a', long, conflicts_with = "registry", value_parser = BoolishValueParser::new())]
    pub all: bool,
    /// The file to forget it in
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// For how long.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What to tell.
    #[command(flatten)]
    pub output: OutputArgs,
}
