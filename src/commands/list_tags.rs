//! `barge list-tags`.

use std::fmt::Write as _;

use serde::Serialize;

use super::listener::Listener;
use super::names;
use super::{Code, failed, print};
use crate::cli::Form;
use crate::config::ListTagsConfig;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::event::{Events, Side};
use crate::report::progress::Style;
use crate::sanitize::{self, clean};

/// The result for scripts.
#[derive(Serialize)]
struct Listed {
    repository: String,
    tags: Vec<String>,
    /// Tags of the repository, selected or not.
    total: usize,
}

/// Lists the tags that `config` selects.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(config: ListTagsConfig) -> anyhow::Result<Code> {
    let listener = Listener::new(if config.output.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    match list(&config, &listener.events()).await {
        Ok(listed) => {
            print(&render(&listed, config.output.form)?)?;
            Ok(0)
        }
        Err(error) => failed(&error, config.output.form),
    }
}

async fn list(config: &ListTagsConfig, events: &Events) -> Result<Listed> {
    let endpoint = Endpoint::new(
        &config.repository,
        config.access.options(Side::Source, events),
    )?;
    let all = names::all(&endpoint, &config.repository).await?;
    let tags = names::selected(&endpoint, &config.selection, &all).await?;
    Ok(Listed {
        repository: config.repository.to_string(),
        tags: tags.into_iter().cloned().collect(),
        total: all.len(),
    })
}

fn render(listed: &Listed, form: Form) -> anyhow::Result<String> {
    let mut text = String::new();
    match form {
        Form::Json => text = sanitize::json(listed),
        Form::Text => {
            for tag in &listed.tags {
                writeln!(text, "{}", clean(tag))?;
            }
        }
    }
    Ok(text)
}
