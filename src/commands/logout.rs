//! `barge logout`.

use serde::Serialize;

use super::{Code, failed, print};
use crate::cli::Form;
use crate::config::LogoutConfig;
use crate::endpoint::registry::credentials::Credentials;
use crate::endpoint::registry::credentials::login_file::LoginKey;
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::reference::RegistryScope;
use crate::sanitize::{self, clean};

/// The result for scripts.
#[derive(Serialize)]
struct LoggedOut {
    /// What there was a login for.
    registries: Vec<String>,
}

/// Forgets what `config` names.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(config: LogoutConfig) -> anyhow::Result<Code> {
    let form = config.output.form;
    let done = match &config.registry {
        Some(registry) => log_out(&config, registry).await,
        None => config.file.erase_all().await,
    };
    match done {
        Ok(registries) => {
            print(&match form {
                Form::Json => sanitize::json(&LoggedOut { registries }),
                Form::Text => text(&registries),
            })?;
            Ok(0)
        }
        Err(error) => failed(&error, form),
    }
}

fn text(registries: &[String]) -> String {
    if registries.is_empty() {
        return "there was no login\n".into();
    }
    let lines = registries
        .iter()
        .map(|registry| format!("logged out of {}\n", clean(registry)));
    lines.collect()
}

async fn log_out(config: &LogoutConfig, registry: &RegistryScope) -> Result<Vec<String>> {
    let key = LoginKey {
        host: &registry.host,
        namespace: &registry.namespace,
    };
    if config.file.erase(key).await? {
        return Ok(vec![registry.to_string()]);
    }
    let error = Error::new(Kind::NotFound, "log out of", registry).because(format!(
        "there is no login for it in {}",
        config.file.path.display()
    ));
    Err(match elsewhere(config, registry).await? {
        Some(origin) => error.hint(format!(
            "another tool stored one: {origin}; log out with that tool, or name its file with --authfile"
        )),
        None => error.hint("`barge login --get-login` tells who is logged in"),
    })
}

/// Where else there is a login.
async fn elsewhere(config: &LogoutConfig, registry: &RegistryScope) -> Result<Option<String>> {
    let Some(access) = &config.elsewhere else {
        return Ok(None);
    };
    let options = access.options(Side::Source, &Events::ignored());
    let (host, path) = (&registry.host, &registry.namespace);
    let found = options.credentials.find(host, path).await?;
    Ok((found.credentials != Credentials::Anonymous).then_some(found.origin))
}
