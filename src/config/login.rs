//! `barge login` and `barge logout`, resolved.

use std::path::PathBuf;

use super::access::{Access, resolve};
use super::environment::Environment;
use super::{Output, output};
use crate::cli::{AccessArgs, LoginArgs, LogoutArgs};
use crate::endpoint::registry::credentials::login_file::LoginFile;
use crate::error::{Error, Result};
use crate::reference::RegistryScope;

/// What `login` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginWish {
    /// Check and store a login whose password a person types.
    Ask,
    /// The same with the password from standard input.
    ReadPassword,
    /// Print the user that is logged in.
    ShowUser,
}

#[derive(Debug)]
pub struct LoginConfig {
    /// What the login is for.
    pub registry: RegistryScope,
    /// The user, where it was given.
    pub user: Option<String>,
    pub wish: LoginWish,
    /// Where the login is stored.
    pub file: LoginFile,
    /// How the registry is reached.
    pub access: Access,
    pub output: Output,
}

#[derive(Debug)]
pub struct LogoutConfig {
    /// What to forget the login for; `None`: every login.
    pub registry: Option<RegistryScope>,
    /// Where it is stored.
    pub file: LoginFile,
    /// Where else credentials are looked for, unless the user named a file.
    pub elsewhere: Option<Access>,
    pub output: Output,
}

impl LoginConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    pub fn new(arguments: LoginArgs, environment: &Environment) -> Result<Self> {
        let wish = match (arguments.get_login, arguments.password_stdin) {
            (true, true) => {
                return Err(Error::usage(
                    "--get-login reads no password; leave --password-stdin out",
                ));
            }
            (true, false) => LoginWish::ShowUser,
            (false, true) => LoginWish::ReadPassword,
            (false, false) => LoginWish::Ask,
        };
        if wish == LoginWish::ReadPassword && arguments.username.is_none() {
            return Err(Error::usage("--password-stdin needs --username"));
        }
        if arguments.username.as_ref().is_some_and(String::is_empty) {
            return Err(Error::usage("--username is empty"));
        }
        let access = AccessArgs {
            authfile: arguments.authfile.clone(),
            cert_dir: arguments.cert_dir,
            tls_verify: arguments.tls_verify,
            ..AccessArgs::default()
        };
        Ok(Self {
            registry: RegistryScope::parse(&arguments.registry)?,
            user: arguments.username,
            wish,
            file: login_file(arguments.authfile, environment)?,
            access: resolve(access, &arguments.network, environment, "--")?,
            output: output(&arguments.output),
        })
    }
}

impl LogoutConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    pub fn new(arguments: LogoutArgs, environment: &Environment) -> Result<Self> {
        let registry = arguments.registry.as_deref();
        let registry = registry.filter(|_| !arguments.all);
        let elsewhere = || resolve(AccessArgs::default(), &arguments.network, environment, "--");
        let elsewhere = arguments.authfile.is_none().then(elsewhere).transpose()?;
        Ok(Self {
            registry: registry.map(RegistryScope::parse).transpose()?,
            file: login_file(arguments.authfile, environment)?,
            elsewhere,
            output: output(&arguments.output),
        })
    }
}

fn login_file(named: Option<PathBuf>, environment: &Environment) -> Result<LoginFile> {
    let path = environment.login_file(named).ok_or_else(|| {
        Error::usage("there is no home directory to keep logins in; name a file with --authfile")
    })?;
    Ok(LoginFile { path })
}
