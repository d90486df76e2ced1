//! The secrets that this run shows to registries, so that none of them comes back in a registry's words:
//! some echo the request that they refuse. Nothing is read from here but whether a text holds one.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Credentials;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";
/// Shorter secrets would tear words apart, and the gap would tell them.
const SHORTEST: usize = 4;

/// One run has one list: a destination may be told by a proxy what was meant for the source.
static SECRETS: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Remembers `secret`, as it is and as JSON writes it.
pub(in super::super) fn note(secret: &str) {
    if secret.len() < SHORTEST {
        return;
    }
    let quoted = serde_json::Value::from(secret).to_string();
    let escaped = quoted.trim_matches('"').to_owned();
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    secrets.extend([secret.to_owned(), escaped]);
}

/// Remembers the secrets of `credentials`, and the header that shows them.
pub(in super::super) fn note_credentials(credentials: &Credentials) {
    match credentials {
        Credentials::Anonymous => {}
        Credentials::Identity(token) | Credentials::Token(token) => note(token.expose()),
        Credentials::Password { user, password } => {
            note(password.expose());
            note(&STANDARD.encode(format!("{user}:{}", password.expose())));
        }
    }
}

/// `text` without the secrets of this run.
pub(in super::super) fn conceal(text: &str) -> String {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let mut found: Vec<&String> = secrets.iter().filter(|it| text.contains(*it)).collect();
    // One secret may be the beginning of another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let hidden = |text: String, secret: &String| text.replace(secret.as_str(), REDACTED);
    found.into_iter().fold(text.to_owned(), hidden)
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
            assert_eq!(conceal(text), shown);
        }
    }
}
