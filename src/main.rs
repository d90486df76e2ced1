//! The `barge` command: parse, run, exit code.

use std::process::ExitCode;
use std::time::Duration;

use barge::cli::{self, Form, Verb};
use barge::commands::{self, Code};
use barge::config::{
    CopyConfig, Environment, InspectConfig, InventoryConfig, ListTagsConfig, LoginConfig,
    LogoutConfig, UndoConfig, VerifyConfig,
};
use barge::error::{Error, Kind};
use barge::report;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    commands::panics::tell_in_one_line();
    std::panic::catch_unwind(begin).unwrap_or(ExitCode::FAILURE)
}

fn begin() -> ExitCode {
    let cli = match cli::parse(std::env::args_os().collect(), |name| std::env::var_os(name)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output and ends well; what is wrong goes to standard error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ran = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let form = form(&cli.verb);
        let ran = runtime.block_on(commands::guarded(form, run(cli.verb)));
        // What was dropped on the way removes its partial files before the process ends.
        runtime.shutdown_timeout(Duration::from_secs(5));
        ran
    });
    match ran {
        Ok(code) => ExitCode::from(code),
        Err(error) => ended_badly(&error),
    }
}

/// The form in which a failure is told that no summary could tell. A copy may write an archive to standard
/// output.
fn form(verb: &Verb) -> Form {
    match verb {
        Verb::Copy(_) | Verb::Inventory(_) | Verb::Completions(_) => Form::Text,
        Verb::Inspect(arguments) => arguments.output.output,
        Verb::ListTags(arguments) => arguments.output.output,
        Verb::Login(arguments) => arguments.output.output,
        Verb::Logout(arguments) => arguments.output.output,
        Verb::Undo(arguments) => arguments.output.output,
        Verb::Verify(arguments) => arguments.output.output,
    }
}

/// What no summary could tell: a usage error, or results that could not be written.
fn ended_badly(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<Error>() {
        report::say(&report::text::error(error));
        return ExitCode::from(if error.kind() == Kind::Usage { 2 } else { 1 });
    }
    report::say(&format!("{error:#}"));
    ExitCode::FAILURE
}

async fn run(verb: Verb) -> anyhow::Result<Code> {
    ignore_file_size_signal();
    let environment = Environment::read();
    match verb {
        Verb::Copy(arguments) => {
            log(arguments.output.talk.verbose);
            commands::copy::run(CopyConfig::new(*arguments, &environment)?).await
        }
        Verb::Inspect(arguments) => {
            log(arguments.output.talk.verbose);
            commands::inspect::run(InspectConfig::new(arguments, &environment)?).await
        }
        Verb::Inventory(arguments) => {
            log(arguments.talk.verbose);
            commands::inventory::run(InventoryConfig::new(*arguments, &environment)?).await
        }
        Verb::ListTags(arguments) => {
            log(arguments.output.talk.verbose);
            commands::list_tags::run(ListTagsConfig::new(arguments, &environment)?).await
        }
        Verb::Login(arguments) => {
            log(arguments.output.talk.verbose);
            commands::login::run(LoginConfig::new(arguments, &environment)?).await
        }
        Verb::Logout(arguments) => {
            log(arguments.output.talk.verbose);
            commands::logout::run(LogoutConfig::new(arguments, &environment)?).await
        }
        Verb::Undo(arguments) => {
            log(arguments.output.talk.verbose);
            commands::undo::run(UndoConfig::new(arguments, &environment)?).await
        }
        Verb::Verify(arguments) => {
            log(arguments.output.talk.verbose);
            commands::verify::run(VerifyConfig::new(*arguments, &environment)?).await
        }
        Verb::Completions(arguments) => commands::completions(&arguments),
    }
}

/// Logs what barge itself does; the crates below would log URLs of uploads, which can hold secrets.
fn log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "barge=info",
        _ => "barge=debug",
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time();
    let filter = tracing_subscriber::EnvFilter::new(level);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}

/// A file that would pass `ulimit -f` is an error to report, not the end of the process.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn ignore_file_size_signal() {
    const SIGXFSZ: i32 = 25;
    let kind = tokio::signal::unix::SignalKind::from_raw(SIGXFSZ);
    if let Err(error) = tokio::signal::unix::signal(kind) {
        tracing::info!(%error, "SIGXFSZ keeps its default");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn ignore_file_size_signal() {}
