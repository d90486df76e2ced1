//! `barge login`.

use serde::Serialize;

use super::signals::Signals;
use super::{Code, failed, print, prompt};
use crate::cli::Form;
use crate::config::{LoginConfig, LoginWish};
use crate::endpoint::registry::credentials::login_file::LoginKey;
use crate::endpoint::registry::credentials::{Credentials, Secret, standard_input};
use crate::endpoint::registry::login::{self, Verdict};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::report;
use crate::report::summary::{Outcome, Signal};
use crate::sanitize::{self, clean};

/// The result for scripts.
#[derive(Serialize)]
struct LoggedIn {
    registry: String,
    user: String,
    /// A file, or a credential helper; nothing where a login was only looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
}

/// Logs in, or tells who is.
///
/// # Errors
///
/// When standard output cannot be written, and what is wrong with how it was called.
pub async fn run(config: LoginConfig) -> anyhow::Result<Code> {
    let form = config.output.form;
    let signals = Signals::listen();
    let done = match config.wish {
        LoginWish::ShowUser => until_signal(&signals, who(&config)).await,
        LoginWish::Ask | LoginWish::ReadPassword => log_in(&config, &signals).await,
    };
    match done {
        Ok(done) => {
            print(&render(&done, form))?;
            Ok(0)
        }
        Err(error) if error.kind() == Kind::Usage => Err(error.into()),
        Err(error) if error.kind() == Kind::Interrupted => {
            failed(&error, form)?;
            // Ctrl-C at a prompt is told by the prompt, too, and perhaps first.
            let signal = signals.came().unwrap_or(Signal::Interrupt);
            Ok(Outcome::Interrupted(signal).exit_code())
        }
        Err(error) => failed(&error, form),
    }
}

fn render(done: &LoggedIn, form: Form) -> String {
    let (registry, user) = (clean(&done.registry), clean(&done.user));
    match (form, &done.stored) {
        (Form::Json, _) => sanitize::json(done),
        (Form::Text, None) => format!("{user}\n"),
        (Form::Text, Some(stored)) => {
            format!(
                "logged in to {registry} as {user}; stored in {}\n",
                clean(stored)
            )
        }
    }
}

async fn who(config: &LoginConfig) -> Result<LoggedIn> {
    let registry = &config.registry;
    let options = config.access.options(Side::Source, &Events::ignored());
    let sources = options.credentials;
    let found = sources.find(&registry.host, &registry.namespace).await?;
    let missing = |why: String| {
        Error::new(Kind::NotFound, "find a login for", registry)
            .because(why)
            .hint(format!("log in with `barge login {registry}`"))
    };
    let user = match &found.credentials {
        Credentials::Anonymous => return Err(missing(found.origin)),
        token @ (Credentials::Identity(_) | Credentials::Token(_)) => {
            return Err(missing(format!(
                "{token} is stored, without a user ({})",
                found.origin
            )));
        }
        Credentials::Password { user, .. } => user.clone(),
    };
    tracing::info!("login for {registry} from {}", found.origin);
    Ok(LoggedIn {
        registry: registry.to_string(),
        user,
        stored: None,
    })
}

/// What `work` gives, unless a signal comes first.
async fn until_signal<T>(signals: &Signals, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = signals.stop.soon.cancelled() => Err(prompt::interrupted()),
    }
}

async fn log_in(config: &LoginConfig, signals: &Signals) -> Result<LoggedIn> {
    let registry = &config.registry;
    let user = prompt::user(config.user.clone(), signals).await?;
    let password = match config.wish {
        LoginWish::ReadPassword => until_signal(signals, read_password()).await?,
        LoginWish::Ask | LoginWish::ShowUser => {
            let question = format!("Password of {} at {registry}: ", clean(&user));
            prompt::password(question, signals).await?
        }
    };
    let credentials = Credentials::Password {
        user: user.clone(),
        password: password.clone(),
    };
    let options = config.access.options(Side::Destination, &Events::ignored());
    let check = login::check(registry, credentials, options);
    let verdict = until_signal(signals, check).await?;
    if verdict == Verdict::NotAsked && !config.output.quiet {
        report::say(&format!(
            "warning: {registry} asks for no login, so this one could not be checked"
        ));
    }
    let key = LoginKey {
        host: &registry.host,
        namespace: &registry.namespace,
    };
    let waiting = || {
        let file = config.file.path.display();
        report::say(&format!("another process is writing {file}; waiting"));
    };
    let lock = until_signal(signals, config.file.lock(waiting)).await?;
    let login = (user.as_str(), &password);
    let stored = config.file.store(&lock, key, login).await?;
    Ok(LoggedIn {
        registry: registry.to_string(),
        user,
        stored: Some(stored),
    })
}

/// The password on standard input, without the line end that `echo` adds.
async fn read_password() -> Result<Secret> {
    let text = standard_input()
        .await
        .map_err(|why| Error::new(Kind::LocalIo, "read", "the password").because(why))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    prompt::not_empty(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
