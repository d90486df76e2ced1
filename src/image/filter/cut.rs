//! Cutting entries out of the text of an index, and nothing else.
//!
//! Whatever is not named here stays as it was written: order, spacing, unknown fields, numbers, escapes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::image::manifest::Manifest;
use crate::splice::splice;

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
    let parts = index.manifests.iter().zip(edits).map(|(entry, edit)| {
        let words = match edit {
            Edit::Drop => None,
            Edit::Keep => Some(entry.get().into()),
            Edit::Replace(index) => Some(replace(entry.get(), index)?.into()),
        };
        Ok((entry.get(), words))
    });
    splice(text, parts.collect::<Result<Vec<_>, String>>()?)
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
    let parts = edits.into_iter();
    splice(
        text,
        parts.map(|(value, new)| (value.get(), Some(new.into()))),
    )
}
