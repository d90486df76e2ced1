//! `tags/list` in all its pagings.

use serde_json::{Value, json};

use super::Call;
use super::settings::Paging;
use super::store::World;
use crate::support::wire::Answer;

pub(super) fn list(world: &World, call: &Call, repository: &str) -> Answer {
    let Some(found) = world.repositories.get(repository) else {
        return Answer::error(404, "NAME_UNKNOWN", &json!({ "name": repository }));
    };
    let tags: Vec<&String> = found.tags.keys().collect();
    let asked = call.parameter("n").and_then(|n| n.parse().ok());
    let page = match world.settings.paging {
        Paging::Relative | Paging::Absolute | Paging::Unquoted if asked == Some(0) => {
            return Answer::error(400, "PAGINATION_NUMBER_INVALID", &json!({"n": 0}));
        }
        Paging::Relative | Paging::Absolute | Paging::Unquoted | Paging::Cut => {
            Page::cut(&tags, call.parameter("last"), asked)
        }
        Paging::All => Page {
            tags: tags.iter().rev().map(|tag| (*tag).clone()).collect(),
            more: false,
        },
        Paging::Fixed(size) => Page::cut(
            &tags,
            call.parameter("next_page").map(conceal).as_deref(),
            Some(size),
        ),
        Paging::Null => return Answer::new(200).json(&json!({"name": repository, "tags": null})),
    };
    let link = page
        .more
        .then(|| page.link(world.settings.paging, call, asked))
        .flatten();
    let body: Value = json!({"name": repository, "tags": page.tags});
    let answer = Answer::new(200).json(&body);
    match link {
        Some(link) => answer.header("Link", link),
        None => answer,
    }
}

struct Page {
    tags: Vec<String>,
    more: bool,
}

impl Page {
    fn cut(tags: &[&String], last: Option<&str>, size: Option<usize>) -> Self {
        let rest = tags
            .iter()
            .filter(|tag| last.is_none_or(|last| tag.as_str() > last));
        let rest: Vec<String> = rest.map(|tag| (*tag).clone()).collect();
        let size = size.unwrap_or(rest.len());
        Self {
            more: rest.len() > size,
            tags: rest.into_iter().take(size).collect(),
        }
    }

    fn link(&self, paging: Paging, call: &Call, asked: Option<usize>) -> Option<String> {
        let last = self.tags.last()?;
        let next = format!("{}?last={last}&n={}", call.path, asked.unwrap_or_default());
        match paging {
            Paging::Relative => Some(format!("<{next}>; rel=\"next\"")),
            Paging::Absolute => Some(format!("<http://{}{next}>; rel=\"next\"", call.host())),
            Paging::Unquoted => Some(format!("<{next}>; rel=next")),
            Paging::Fixed(size) => {
                let page = conceal(last);
                Some(format!(
                    "<{}?n={size}&next_page={page}>; rel=\"next\"",
                    call.path
                ))
            }
            Paging::Cut | Paging::All | Paging::Null => None,
        }
    }
}

/// Makes a tag opaque, so that nobody can build the next page's address himself; twice is once too much.
fn conceal(tag: &str) -> String {
    let turned = |c: char| match c {
        'a'..='m' | 'A'..='M' => char::from(c as u8 + 13),
        'n'..='z' | 'N'..='Z' => char::from(c as u8 - 13),
        '0'..='4' => char::from(c as u8 + 5),
        '5'..='9' => char::from(c as u8 - 5),
        other => other,
    };
    tag.chars().map(turned).collect()
}
