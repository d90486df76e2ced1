//! Cutting entries out of the text of an index, and nothing else.
//!
//! Whatever is not named here stays as it was written: order, spacing, unknown fields, numbers, escapes.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::image::manifest::Manifest;

/// What happens to one entry.
pub(super) enum Edit<'a> {
    /// It stays as it is.
    Keep,
    /// It goes, with the comma and the space in front of it.
    Drop,
    /// It stays, but lists this index in place of its own.
    Replace(&'a Manifest),
}

#[derive(Deserialize)]
struct Index<'a> {
    #[serde(borrow)]
    manifests: Vec<&'a RawValue>,
}

/// What depends on the content that an entry lists.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    digest: &'a RawValue,
    #[serde(borrow)]
    size: &'a RawValue,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The text of an index after one edit for each of its entries, of which at least one must stay.
///
/// The entry that comes first in the result stands where the first one stood; each other one keeps the
/// text between it and the entry that was written before it.
pub(super) fn cut(text: &str, edits: &[Edit<'_>]) -> Result<String, String> {
    let index: Index<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if index.manifests.len() != edits.len() {
        return Err("its entries changed while they were read".to_owned());
    }
    let mut result = String::with_capacity(text.len());
    let mut end = None;
    let mut first = true;
    for (entry, edit) in index.manifests.iter().zip(edits) {
        let span = span(text, entry.get())?;
        // In front of the first entry: everything from the start of the text.
        let before = end.map_or(0..span.start, |end| end..span.start);
        if end.is_none() || !(first || matches!(edit, Edit::Drop)) {
            result.push_str(slice(text, before)?);
        }
        end = Some(span.end);
        match edit {
            Edit::Drop => continue,
            Edit::Keep => result.push_str(entry.get()),
            Edit::Replace(index) => result.push_str(&replace(entry.get(), index)?),
        }
        first = false;
    }
    result.push_str(slice(text, end.unwrap_or(0)..text.len())?);
    Ok(result)
}

/// The text of an entry that lists `index` in place of the one that it was written for.
fn replace(text: &str, index: &Manifest) -> Result<String, String> {
    let entry: Entry<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut edits = vec![
        (entry.digest, format!("\"{}\"", index.digest)),
        (entry.size, index.bytes.len().to_string()),
    ];
    if let Some(data) = entry.data.filter(|data| data.get().starts_with('"')) {
        edits.push((data, format!("\"{}\"", STANDARD.encode(&index.bytes))));
    }
    edits.sort_by_key(|(value, _)| value.get().as_ptr());
    let mut result = String::with_capacity(text.len());
    let mut end = 0;
    for (value, new) in edits {
        let span = span(text, value.get())?;
        result.push_str(slice(text, end..span.start)?);
        result.push_str(&new);
        end = span.end;
    }
    result.push_str(slice(text, end..text.len())?);
    Ok(result)
}

/// Where `part`, which was borrowed from `text`, stands in it.
fn span(text: &str, part: &str) -> Result<Range<usize>, String> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr());
    start
        .map(|start| start..start + part.len())
        .filter(|span| text.get(span.clone()) == Some(part))
        .ok_or_else(|| "an entry is not where it was read".to_owned())
}

fn slice(text: &str, span: Range<usize>) -> Result<&str, String> {
    text.get(span)
        .ok_or_else(|| "its entries are out of order".to_owned())
}
