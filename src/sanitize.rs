//! Foreign text made fit for a terminal. Pure.

use std::fmt::Write as _;

use serde::Serialize;

/// `text` without control characters and invisible marks, white space folded.
///
/// ```
/// assert_eq!(barge::sanitize::clean("a\x1b[31m\n b"), "a [31m b");
/// ```
#[must_use]
pub fn clean(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .filter(|letter| !is_invisible(*letter))
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// So many of what `noun` names; one in -ry ends in -ries.
///
/// ```
/// use barge::sanitize::plural;
///
/// assert_eq!(plural(1, "tag"), "1 tag");
/// assert_eq!(plural(0, "tag"), "0 tags");
/// assert_eq!(plural(2, "retry"), "2 retries");
/// ```
#[must_use]
pub fn plural(count: u64, noun: &str) -> String {
    match noun.strip_suffix("ry") {
        _ if count == 1 => format!("{count} {noun}"),
        Some(stem) => format!("{count} {stem}ries"),
        None => format!("{count} {noun}s"),
    }
}

/// Names that are listed before `and N more`.
pub(crate) const FEW: usize = 10;

/// The first ten of `names`, and how many more there are: an error names no more, however many a registry sent.
///
/// ```
/// use barge::sanitize::few;
///
/// assert_eq!(few(&["a", "b"]), "a, b");
/// assert!(few(&["x"; 12]).ends_with("x and 2 more"));
/// ```
#[must_use]
pub fn few(names: &[impl AsRef<str>]) -> String {
    let first = names.iter().take(FEW).map(AsRef::as_ref);
    let first = first.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A name, a platform or a label that is longer is cut: a line has several of them.
pub const LONGEST_NAME: usize = 300;
/// So is a sentence or a list with several such names in it.
pub const LONGEST_TEXT: usize = 4000;

/// `text` as a part of a line: cleaned, and cut after [`LONGEST_NAME`] letters.
#[must_use]
pub fn brief(text: &str) -> String {
    excerpt(text, LONGEST_NAME)
}

/// `text`, cleaned and cut after so many letters.
#[must_use]
pub fn excerpt(text: &str, longest: usize) -> String {
    let cleaned = clean(text);
    if cleaned.chars().count() > longest {
        return cleaned.chars().take(longest).chain("…".chars()).collect();
    }
    cleaned
}

/// `value` as JSON of several lines, with a line end. What a terminal would obey is escaped: JSON leaves
/// C1 controls and marks that turn text round as they are.
///
/// ```
/// assert_eq!(barge::sanitize::json(&"\u{9b}2J"), "\"\\u009b2J\"\n");
/// ```
///
/// # Panics
///
/// Where `value` has no JSON form, as a map whose keys are no strings.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("reports have a JSON form");
    let mut escaped = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if letter != '\n' && (letter.is_control() || is_invisible(letter)) {
            // All of them are in the basic plane, and stand in strings only.
            let code = u32::from(letter);
            write!(escaped, "\\u{code:04x}").expect("a string takes every write");
        } else {
            escaped.push(letter);
        }
    }
    escaped.push('\n');
    escaped
}

/// `text` as one word of a shell's command line.
///
/// ```
/// assert_eq!(barge::sanitize::word("it's"), r"'it'\''s'");
/// assert_eq!(barge::sanitize::word("/a/b-1.json"), "/a/b-1.json");
/// ```
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@=,".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Marks that reorder or hide what a terminal shows.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_tricky_text() {
        assert_eq!(excerpt(&"a".repeat(1000), 600).chars().count(), 601);
        assert_eq!(excerpt("a", 600), "a");
        assert_eq!(clean("a\u{202e}b\r\n\tc"), "ab c");
    }
}
