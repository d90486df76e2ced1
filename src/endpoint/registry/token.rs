//! What a token server answers (distribution's token specification, `OAuth2`), and how long it is good.

use std::time::{Duration, Instant, SystemTime};

use reqwest::header::HeaderValue;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a token server grants when it does not say for how long.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);

/// A token in use.
#[derive(Debug)]
pub(super) struct Token {
    /// The header that shows it.
    pub(super) header: HeaderValue,
    /// When to get another one.
    pub(super) renew: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    issued_at: Option<String>,
}

/// When a token was asked for, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) date: SystemTime,
}

impl Asked {
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            date: SystemTime::now(),
        }
    }
}

impl Token {
    /// The token in `body`; `note` is given what must not be shown, first of all.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, in words that do not show it.
    pub(super) fn parse(
        body: &[u8],
        asked: Asked,
        note: impl FnOnce(&str),
    ) -> Result<Self, &'static str> {
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| "the answer is not the JSON of a token")?;
        let life = life(&answer, asked.date);
        let given = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or("the answer holds no token")?;
        note(&given);
        let header = bearer(&given).ok_or("the token has characters that no header may hold")?;
        // Renewed a little early: a request takes time, and clocks differ.
        let margin = (life / 5).min(Duration::from_secs(15));
        let renew = asked.at.checked_add(life.saturating_sub(margin));
        Ok(Self {
            header,
            renew: renew.unwrap_or(asked.at),
        })
    }
}

/// How long the token is good from when it was asked for. `issued_at` may say that it is not new; where
/// it would have ended before it came, the clocks differ, and it says nothing.
fn life(answer: &Answer, asked: SystemTime) -> Duration {
    let told = answer.expires_in.as_ref().and_then(seconds);
    let life = told.unwrap_or(DEFAULT_LIFE);
    let issued = answer.issued_at.as_deref();
    let issued = issued.and_then(|date| OffsetDateTime::parse(date, &Rfc3339).ok());
    let age = issued.and_then(|issued| asked.duration_since(issued.into()).ok());
    let left = age.and_then(|age| life.checked_sub(age));
    left.filter(|left| !left.is_zero()).unwrap_or(life)
}

/// A number of seconds, which some write as a text; what is none says nothing.
fn seconds(told: &serde_json::Value) -> Option<Duration> {
    let text = || told.as_str()?.trim().parse().ok();
    let number = told.as_f64().or_else(text)?;
    Duration::try_from_secs_f64(number).ok()
}

/// The header that shows `token`, if a header may hold it.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    secret_header(&format!("Bearer {token}"))
}

/// A header that is not to be shown.
pub(super) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until the token is renewed, when it was asked for at 2026-01-01T00:01:00Z.
    fn life(json: &str) -> Option<u64> {
        let date = OffsetDateTime::parse("2026-01-01T00:01:00Z", &Rfc3339).expect("a date");
        let asked = Asked {
            at: Instant::now(),
            date: date.into(),
        };
        let token = Token::parse(json.as_bytes(), asked, |_| {}).ok()?;
        Some(token.renew.duration_since(asked.at).as_secs())
    }

    #[test]
    fn tokens_of_every_form() {
        assert_eq!(life(r#"{"token":"t"}"#), Some(48));
        assert_eq!(life(r#"{"access_token":"t","expires_in":300}"#), Some(285));
        let both = r#"{"token":"","access_token":"t","expires_in":5}"#;
        assert_eq!(life(both), Some(4));
        assert_eq!(life(r#"{"token":"t","expires_in":0}"#), Some(0));
        for (told, expected) in [
            (r#""300""#, 285),
            ("300.5", 285),
            ("-300", 48),
            (r#""soon""#, 48),
            ("null", 48),
        ] {
            let json = format!(r#"{{"token":"t","expires_in":{told}}}"#);
            assert_eq!(life(&json), Some(expected), "{told}");
        }
        for wrong in ["{}", "no", r#"{"token":""}"#, r#"{"token":"a\nb"}"#] {
            assert_eq!(life(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_that_was_issued_earlier_ends_earlier() {
        let issued = |date: &str| {
            let json = format!(r#"{{"token":"t","expires_in":300,"issued_at":"{date}"}}"#);
            life(&json)
        };
        assert_eq!(issued("2026-01-01T00:00:00Z"), Some(225));
        assert_eq!(issued("2026-01-01T01:00:00.5+01:00"), Some(225));
        // Clocks that differ, and dates that are none.
        assert_eq!(issued("2026-01-01T00:05:00Z"), Some(285));
        assert_eq!(issued("2025-12-31T23:00:00Z"), Some(285));
        assert_eq!(issued("yesterday"), Some(285));
    }
}
