//! Changes in a text that leave the rest as it was written. What changes is named by slices that were
//! borrowed from the text, which is what a parser that copies nothing gives. Pure.

use std::borrow::Cow;
use std::ops::Range;

/// What becomes of a part of a text: other words, or nothing.
pub(crate) type Part<'a> = (&'a str, Option<Cow<'a, str>>);

/// `text` with other words in place of its `parts`, which come in the order of the text. A part that is
/// dropped goes with what separates it from the part before it; what comes first in the result stands
/// where the first part stood.
///
/// # Errors
///
/// When a part is not of this text, or out of order.
pub(crate) fn splice<'a>(
    text: &str,
    parts: impl IntoIterator<Item = Part<'a>>,
) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut end = None;
    let mut first = true;
    for (part, words) in parts {
        let span = span(text, part)?;
        // In front of the first part: everything from the start of the text.
        let before = end.map_or(0..span.start, |end| end..span.start);
        if end.is_none() || !(first || words.is_none()) {
            result.push_str(slice(text, before)?);
        }
        end = Some(span.end);
        if let Some(words) = words {
            result.push_str(&words);
            first = false;
        }
    }
    result.push_str(slice(text, end.unwrap_or(0)..text.len())?);
    Ok(result)
}

/// Where `part`, which was borrowed from `text`, stands in it.
fn span(text: &str, part: &str) -> Result<Range<usize>, String> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr());
    start
        .map(|start| start..start + part.len())
        .filter(|span| text.get(span.clone()) == Some(part))
        .ok_or_else(|| "a part is not where it was read".to_owned())
}

fn slice(text: &str, span: Range<usize>) -> Result<&str, String> {
    text.get(span)
        .ok_or_else(|| "its parts are out of order".to_owned())
}
