//! `barge list-tags`.

use std::fmt::Write as _;

use serde::Serialize;

use super::listener::Listener;
use super::names;
use super::{Code, failed, print};
use crate::cli::Form;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::event::{Events, Side};
use crate::printable::{self, clean};
use crate::report::progress::Style;
use crate::request::ListTagsRequest;

/// The result for scripts.
#[derive(Serialize)]
struct Listed {
    repository: String,
    tags: Vec<String>,
    /// Tags of the repository, selected or not.
    total: usize,
}

/// Lists the tags that `request` selects.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(request: ListTagsRequest) -> anyhow::Result<Code> {
    let listener = Listener::new(if request.output.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    match list(&request, &listener.events()).await {
        Ok(listed) => {
            print(&render(&listed, request.output.form)?)?;
            Ok(0)
        }
        Err(error) => failed(&error, request.output.form),
    }
}

async fn list(request: &ListTagsRequest, events: &Events) -> Result<Listed> {
    let endpoint = Endpoint::new(
        &request.repository,
        request.access.options(Side::Source, events),
    )?;
    let all = names::all(&endpoint, &request.repository).await?;
    let tags = names::selected(&endpoint, &request.selection, &all).await?;
    Ok(Listed {
        repository: request.repository.to_string(),
        tags: tags.into_iter().cloned().collect(),
        total: all.len(),
    })
}

fn render(listed: &Listed, form: Form) -> anyhow::Result<String> {
    let mut text = String::new();
    match form {
        Form::Json => text = printable::json(listed),
        Form::Text => {
            for tag in &listed.tags {
                writeln!(text, "{}", clean(tag))?;
            }
        }
    }
    Ok(text)
}
