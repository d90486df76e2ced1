//! How each side is reached: whom to be there, whom to trust, how long to try.

use std::path::Path;
use std::time::Duration;

use super::environment::Environment;
use crate::cli::{AccessArgs, CopyAccessArgs, NetworkArgs, SourceAccessArgs};
use crate::endpoint::backoff::Backoff;
use crate::endpoint::registry::credentials::{CredentialSource, Credentials};
use crate::endpoint::registry::{RegistriesConf, RegistryOptions, Tls};
use crate::error::{Error, Result};
use crate::event::{Events, Side};
use crate::sanitize::word;

/// Small requests that one registry gets at once.
const SMALL_REQUESTS: usize = 32;

/// How one side is reached.
#[derive(Clone, Debug)]
pub struct Access {
    credentials: CredentialSource,
    tls: Tls,
    registries: RegistriesConf,
    retry_times: u32,
    stall: Duration,
    /// Blob transfers at once, on top of small requests.
    jobs: usize,
    /// Whether options are for this side alone: `--src-creds`.
    has_side: bool,
}

impl Access {
    /// The same for a run that moves so many blobs at once.
    pub(super) fn for_jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs;
        self
    }

    /// What has to be written behind a command to reach registries in the same way, with a space in front
    /// of each word; in place of a secret there is a word that says what belongs there. Paths hold in
    /// every directory.
    #[must_use]
    pub fn as_options(&self) -> String {
        let Tls {
            verify, cert_dir, ..
        } = &self.tls;
        let mut options = who(&self.credentials);
        if let Some(verify) = verify {
            options.push_str(if *verify {
                " --tls-verify"
            } else {
                " --tls-verify=false"
            });
        }
        if let Some(directory) = cert_dir {
            options.push_str(&path_option("--cert-dir", directory));
        }
        options
    }

    /// The options of the registry client for `side`.
    #[must_use]
    pub fn options(&self, side: Side, events: &Events) -> RegistryOptions {
        RegistryOptions {
            side,
            blame: self.has_side.then_some(side),
            credentials: self.credentials.clone(),
            tls: self.tls.clone(),
            registries: self.registries.clone(),
            stall: self.stall,
            requests: SMALL_REQUESTS + self.jobs,
            backoff: Backoff {
                times: self.retry_times,
                events: events.clone(),
            },
        }
    }
}

/// The options that say whom to be. Files that are looked through anyway need none.
fn who(credentials: &CredentialSource) -> String {
    match credentials {
        CredentialSource::Given(Credentials::Anonymous) => " --no-creds".to_owned(),
        CredentialSource::Given(Credentials::Token(_)) => " --registry-token TOKEN".to_owned(),
        CredentialSource::Given(Credentials::Password { .. } | Credentials::Identity(_)) => {
            " --creds USER:PASSWORD".to_owned()
        }
        CredentialSource::File(path) if path.as_os_str() == "-" => " --creds-file -".to_owned(),
        CredentialSource::File(path) => path_option("--creds-file", path),
        CredentialSource::Files(files) => {
            let named = files.iter().filter(|file| file.named);
            let options = named.map(|file| path_option("--authfile", &file.path));
            options.collect()
        }
    }
}

/// ` OPTION PATH`, as a shell reads it.
pub(super) fn path_option(option: &str, path: &Path) -> String {
    // Fails for an empty path alone.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!(" {option} {}", word(&path.to_string_lossy()))
}

/// The options of each side: its own, else those for both.
pub(super) fn sides(arguments: CopyAccessArgs) -> (AccessArgs, AccessArgs) {
    let both = arguments.both;
    let destination = AccessArgs {
        creds: arguments.dest_creds,
        creds_file: arguments.dest_creds_file,
        no_creds: arguments.dest_no_creds,
        registry_token: arguments.dest_registry_token,
        authfile: arguments.dest_authfile,
        cert_dir: arguments.dest_cert_dir,
        tls_verify: arguments.dest_tls_verify,
    };
    (source(arguments.source, &both), over(destination, &both))
}

/// The options of the source: its own, else those for both.
pub(super) fn source(arguments: SourceAccessArgs, both: &AccessArgs) -> AccessArgs {
    let own = AccessArgs {
        creds: arguments.src_creds,
        creds_file: arguments.src_creds_file,
        no_creds: arguments.src_no_creds,
        registry_token: arguments.src_registry_token,
        authfile: arguments.src_authfile,
        cert_dir: arguments.src_cert_dir,
        tls_verify: arguments.src_tls_verify,
    };
    over(own, both)
}

fn over(own: AccessArgs, both: &AccessArgs) -> AccessArgs {
    let says_who = own.creds.is_some()
        || own.creds_file.is_some()
        || own.no_creds
        || own.registry_token.is_some()
        || own.authfile.is_some();
    let who = if says_who { own.clone() } else { both.clone() };
    AccessArgs {
        creds: who.creds,
        creds_file: who.creds_file,
        no_creds: who.no_creds,
        registry_token: who.registry_token,
        authfile: who.authfile.or_else(|| both.authfile.clone()),
        cert_dir: own.cert_dir.or_else(|| both.cert_dir.clone()),
        tls_verify: own.tls_verify.or(both.tls_verify),
    }
}

pub(super) fn resolve(
    access: AccessArgs,
    network: &NetworkArgs,
    environment: &Environment,
    prefix: &str,
) -> Result<Access> {
    Ok(Access {
        tls: Tls {
            verify: access.tls_verify,
            cert_dir: access.cert_dir.clone(),
            certs_d: environment.certs_d(),
        },
        registries: environment.registries(),
        credentials: credentials(access, environment, prefix)?,
        retry_times: network.retry_times,
        stall: Duration::from_secs(network.stall_timeout),
        jobs: 0,
        has_side: prefix != "--",
    })
}

fn credentials(
    access: AccessArgs,
    environment: &Environment,
    prefix: &str,
) -> Result<CredentialSource> {
    let ways = [
        access.creds.is_some(),
        access.creds_file.is_some(),
        access.no_creds,
        access.registry_token.is_some(),
    ];
    if ways.iter().filter(|given| **given).count() > 1 {
        return Err(Error::usage(format!(
            "{prefix}creds, {prefix}creds-file, {prefix}no-creds and {prefix}registry-token exclude each other"
        )));
    }
    if access.no_creds {
        return Ok(CredentialSource::Given(Credentials::Anonymous));
    }
    if let Some(token) = access.registry_token {
        let given = Credentials::token(&token).ok_or_else(|| {
            Error::usage(format!(
                "{prefix}registry-token is empty or has characters that no header can carry, perhaps a line end"
            ))
        })?;
        return Ok(CredentialSource::Given(given));
    }
    if let Some(path) = access.creds_file {
        return Ok(CredentialSource::File(path));
    }
    if let Some(text) = access.creds {
        let given = Credentials::parse(&text).ok_or_else(|| {
            Error::usage(format!(
                "{prefix}creds has no user name; write USER:PASSWORD"
            ))
        })?;
        return Ok(CredentialSource::Given(given));
    }
    Ok(CredentialSource::Files(
        environment.auth_files(access.authfile),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(arguments: AccessArgs) -> Access {
        let network = NetworkArgs {
            retry_times: 0,
            stall_timeout: 30,
        };
        resolve(arguments, &network, &Environment::default(), "--").expect("it goes together")
    }

    #[test]
    fn options_lead_the_same_way_and_hold_no_secret() {
        let some = |text: &str| Some(text.to_owned());
        let none = AccessArgs::default;
        let file = |path: &str| Some(path.into());
        for (arguments, expected) in [
            (none(), ""),
            (
                AccessArgs {
                    creds: some("user:pass"),
                    ..none()
                },
                " --creds USER:PASSWORD",
            ),
            (
                AccessArgs {
                    registry_token: some("secret"),
                    ..none()
                },
                " --registry-token TOKEN",
            ),
            (
                AccessArgs {
                    no_creds: true,
                    tls_verify: Some(true),
                    ..none()
                },
                " --no-creds --tls-verify",
            ),
            (
                AccessArgs {
                    creds_file: file("-"),
                    tls_verify: Some(false),
                    ..none()
                },
                " --creds-file - --tls-verify=false",
            ),
            (
                AccessArgs {
                    creds_file: file("/a b"),
                    cert_dir: file("/c"),
                    ..none()
                },
                " --creds-file '/a b' --cert-dir /c",
            ),
            (
                AccessArgs {
                    authfile: file("/f"),
                    ..none()
                },
                " --authfile /f",
            ),
        ] {
            assert_eq!(access(arguments).as_options(), expected);
        }
        let relative = AccessArgs {
            authfile: file("f"),
            ..none()
        };
        let here = std::env::current_dir().expect("a directory").join("f");
        let expected = format!(" --authfile {}", word(&here.to_string_lossy()));
        assert_eq!(access(relative).as_options(), expected);
    }
}
