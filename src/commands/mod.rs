//! One verb a file: a config, the calls that it takes, what came of it.

pub mod copy;
mod files;
pub mod inspect;
pub mod inventory;
pub mod list_tags;
mod listener;
pub mod login;
pub mod logout;
mod names;
pub mod panics;
mod prompt;
mod recovery;
mod referrers;
mod signals;
pub mod undo;
pub mod verify;

use anyhow::Context as _;

use crate::cli::{CompletionsArgs, Form};
use crate::error::Error;
use crate::report::{self, json, text};
use crate::sanitize;

/// The exit code of a verb.
pub type Code = u8;

/// The code of `verb`, which a panic ends like any failure.
///
/// # Errors
///
/// When results cannot be written.
pub async fn guarded(
    form: Form,
    verb: impl Future<Output = anyhow::Result<Code>>,
) -> anyhow::Result<Code> {
    match panics::caught("end the run", verb).await {
        Ok(ended) => ended,
        Err(error) => failed(&error, form),
    }
}

/// Tells of a failure of a verb that has no summary.
///
/// # Errors
///
/// When standard output cannot be written.
fn failed(error: &Error, form: Form) -> anyhow::Result<Code> {
    if form == Form::Json {
        let body = serde_json::json!({ "error": json::ErrorReport::new(error) });
        print(&sanitize::json(&body))?;
    }
    report::say(&text::error(error));
    Ok(1)
}

fn print(text: &str) -> anyhow::Result<()> {
    report::print(text.as_bytes()).context("failed to write to standard output")
}

/// `barge completions`.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn completions(arguments: &CompletionsArgs) -> anyhow::Result<Code> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut crate::cli::command(),
        "barge",
        &mut script,
    );
    report::print(&script).context("failed to write to standard output")?;
    Ok(0)
}
