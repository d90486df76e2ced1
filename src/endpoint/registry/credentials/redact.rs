//! The secrets that this run shows to registries, so that none of them comes back in a registry's words:
//! some echo the request that they refuse. Nothing is read from here but whether a text holds one.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::Credentials;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";
/// Shorter secrets would tear words apart, and the gap would tell them.
const SHORTEST: usize = 4;
/// How often one text is escaped within another at most.
const DEEPEST: usize = 3;

/// One run has one list: a destination may be told by a proxy what was meant for the source.
static SECRETS: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Remembers `secret`.
pub(in super::super) fn note(secret: &str) {
    if secret.len() < SHORTEST {
        return;
    }
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    secrets.insert(secret.to_owned());
}

/// Remembers the secrets of `credentials`, and the header that shows them.
pub(in super::super) fn note_credentials(credentials: &Credentials) {
    match credentials {
        Credentials::Anonymous => {}
        Credentials::Identity(token) | Credentials::Token(token) => note(token.expose()),
        Credentials::Password { user, password } => {
            note(password.expose());
            let pair = format!("{user}:{}", password.expose());
            for base64 in [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                note(&base64.encode(&pair));
            }
        }
    }
}

/// `text` without the secrets of this run, however they are spelt in it.
pub(in super::super) fn redact(text: &str) -> String {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        // One secret may be the beginning of another.
        let found = secrets.iter().filter_map(|secret| spelt(rest, secret));
        let length = if let Some(length) = found.max() {
            shown.push_str(REDACTED);
            length
        } else {
            shown.push(letter);
            letter.len_utf8()
        };
        rest = &rest[length..];
    }
    shown
}

/// How much of the beginning of `text` spells `secret`. Each letter may be spelt in its own way: encoders
/// differ in which they leave as they are.
fn spelt(text: &str, secret: &str) -> Option<usize> {
    let mut ends = BTreeSet::from([0]);
    for letter in secret.chars() {
        ends = ends
            .into_iter()
            .flat_map(|end| spellings(&text[end..], letter).map(move |length| end + length))
            .collect();
        if ends.is_empty() {
            return None;
        }
    }
    ends.last().copied()
}

/// The lengths of the beginnings of `text` that spell `letter`: as it is, form- and percent-encoded (RFC 3986
/// section 2.1), escaped as JSON does it, and as HTML does.
fn spellings(text: &str, letter: char) -> impl Iterator<Item = usize> {
    let plain = text.starts_with(letter).then_some(letter.len_utf8());
    let encoded = match text.as_bytes().first() {
        Some(b'+') if letter == ' ' => vec![1],
        Some(b'%') => percent(text, letter),
        Some(b'\\') => escaped(text, letter),
        Some(b'&') => entity(text, letter).into_iter().collect(),
        _ => Vec::new(),
    };
    plain.into_iter().chain(encoded)
}

/// `%2F`, and `%252F` where it was encoded once more.
fn percent(text: &str, letter: char) -> Vec<usize> {
    let mut buffer = [0; 4];
    let bytes = letter.encode_utf8(&mut buffer).as_bytes();
    let at = |depth: usize| {
        let mark = format!("%{}", "25".repeat(depth));
        let mut rest = text;
        for byte in bytes {
            let digits = rest.strip_prefix(&mark)?.get(..2)?;
            rest = rest.get(mark.len() + 2..)?;
            if !digits.eq_ignore_ascii_case(&format!("{byte:02x}")) {
                return None;
            }
        }
        Some(text.len() - rest.len())
    };
    (0..DEEPEST).filter_map(at).collect()
}

/// `\"` and `\u0022`; every escape within another doubles the backslashes.
fn escaped(text: &str, letter: char) -> Vec<usize> {
    let after = text.trim_start_matches('\\');
    let slashes = text.len() - after.len();
    if slashes >= 1 << DEEPEST {
        return Vec::new();
    }
    let unicode = || {
        let mut buffer = [0; 2];
        let mut rest = text;
        for unit in letter.encode_utf16(&mut buffer) {
            let digits = rest.trim_start_matches('\\').strip_prefix('u')?.get(..4)?;
            if !digits.eq_ignore_ascii_case(&format!("{unit:04x}")) {
                return None;
            }
            rest = rest.trim_start_matches('\\').get(5..)?;
        }
        Some(text.len() - rest.len())
    };
    let itself = after
        .starts_with(letter)
        .then(|| slashes + letter.len_utf8());
    // A backslash that is no escape stands for itself, as two, or as four.
    let slash = (letter == '\\')
        .then_some(2..=slashes)
        .into_iter()
        .flatten();
    itself.into_iter().chain(unicode()).chain(slash).collect()
}

/// `&quot;`, `&#34;` and `&#x22;`.
fn entity(text: &str, letter: char) -> Option<usize> {
    const LONGEST: usize = 10;
    let (name, _) = text.strip_prefix('&')?.split_once(';')?;
    if name.len() > LONGEST {
        return None;
    }
    let number = name
        .strip_prefix('#')
        .and_then(|number| match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        });
    let named = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => number.and_then(char::from_u32),
    };
    (named == Some(letter)).then_some(name.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_does_not_show() {
        let login = Credentials::parse(r#"erin:a"b-Pa55"#).expect("a login");
        note_credentials(&login);
        note("a\"b-Pa55-and-more");
        let base64 = STANDARD.encode(r#"erin:a"b-Pa55"#);
        for (text, shown) in [
            (r#"wrong: a"b-Pa55!"#, "wrong: [redacted]!"),
            (r#"{"sent": "a\"b-Pa55"}"#, r#"{"sent": "[redacted]"}"#),
            (r#"a"b-Pa55-and-more"#, "[redacted]"),
            (&format!("Basic {base64}"), "Basic [redacted]"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn every_spelling_is_found() {
        let secret = "ö p%2\\/<\"&'+=";
        for text in [
            secret,
            "%C3%B6%20p%252%5C%2F%3C%22%26%27%2B%3D",
            "%c3%b6+p%252%5c%2f%3c%22%26%27%2b%3d",
            "ö%20p%252%5C/%3C%22&'+=",
            "%25C3%25B6%2520p%25252%255C%252F%253C%2522%2526%2527%252B%253D",
            r#"ö p%2\\/<\"&'+="#,
            r#"\u00f6 p%2\\\/\u003c\"\u0026\u0027+\u003d"#,
            r#"\\u00F6 p%2\\\\/<\\\"&'+="#,
            "&#246; p%2\\/&lt;&quot;&amp;&#39;&#43;&#x3D;",
            "&#xf6; p%2\\/&lt;&#034;&amp;&apos;+=",
        ] {
            assert_eq!(spelt(text, secret), Some(text.len()), "{text}");
            assert_eq!(
                spelt(&format!("{text};"), secret),
                Some(text.len()),
                "{text}"
            );
        }
        for other in [
            "",
            "ö p%2",
            "%",
            "%c3",
            "\\",
            "\\u00",
            "&",
            "&#246",
            "ö p%2\\/<\"&'+-",
        ] {
            assert_eq!(spelt(other, secret), None, "{other}");
        }
        let surrogates = r"\ud83d\ude00-key";
        assert_eq!(spelt(surrogates, "😀-key"), Some(surrogates.len()));
    }
}
