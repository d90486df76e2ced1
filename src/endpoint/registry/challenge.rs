//! `WWW-Authenticate`, as registries really write it (RFC 9110 section 11.6.1). Pure.

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password in every request.
    Basic,
    /// A token from a token server.
    Bearer(Bearer),
}

impl Challenge {
    /// What the refused request would have needed.
    pub(crate) fn scope(&self) -> Option<&str> {
        match self {
            Self::Basic => None,
            Self::Bearer(bearer) => bearer.scope.as_deref(),
        }
    }
}

/// Where tokens come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The token server's URL.
    pub(crate) realm: String,
    /// To be sent back exactly as it came.
    pub(crate) service: Option<String>,
    /// What the refused request would have needed.
    pub(crate) scope: Option<String>,
}

/// The challenge to answer among those in the header values: `Bearer` where offered, else `Basic`.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in challenges(header) {
            if scheme.eq_ignore_ascii_case("bearer") {
                let get = |name: &str| {
                    let found = parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone())
                };
                if let Some(realm) = get("realm") {
                    let (service, scope) = (get("service"), get("scope"));
                    return Some(Challenge::Bearer(Bearer {
                        realm,
                        service,
                        scope,
                    }));
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

/// How the header values ask, where [`parse`] finds nothing in them that can be answered: for a person.
pub(crate) fn unanswerable<'a>(headers: impl IntoIterator<Item = &'a str>) -> String {
    let asked: Vec<String> = headers
        .into_iter()
        .flat_map(challenges)
        .map(|(scheme, _)| {
            if scheme.eq_ignore_ascii_case("bearer") {
                format!("{scheme} without a realm")
            } else {
                scheme
            }
        })
        .collect();
    if asked.is_empty() {
        "it does not say how to log in (no WWW-Authenticate)".to_owned()
    } else {
        let asked = asked.join(", ");
        format!("it asks for a login in a way that barge does not know: {asked}")
    }
}

type Parameters = Vec<(String, String)>;

/// Splits one header value into its challenges; a word without `=` begins the next one.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c == ',' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, remains) = parameter(value.trim_start_matches([' ', '\t']));
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = remains;
        } else {
            if !word.is_empty() {
                found.push((word.to_owned(), Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
}

/// A token or a quoted string at the start of `text`, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return (value, quoted.get(index + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer(Bearer {
            realm: realm.into(),
            service: owned(service),
            scope: owned(scope),
        })
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        let digest = [r#"Digest realm="x", qop="auth""#, "Negotiate", "bearer a=b"];
        assert_eq!(
            unanswerable(digest),
            "it asks for a login in a way that barge does not know: Digest, Negotiate, bearer without a realm"
        );
        assert!(unanswerable([]).contains("does not say how"));
    }

    #[test]
    fn challenges_in_any_case_and_order() {
        let quay = r#"Bearer realm="https://quay.io/v2/auth",service="quay.io""#;
        assert_eq!(
            parse([quay]),
            Some(bearer("https://quay.io/v2/auth", Some("quay.io"), None))
        );
        let scoped =
            r#"bearer scope="repository:a/b:pull,push", service="x", realm="https://h/t?a=b""#;
        assert_eq!(
            parse([scoped]),
            Some(bearer(
                "https://h/t?a=b",
                Some("x"),
                Some("repository:a/b:pull,push")
            ))
        );
        assert_eq!(
            parse([r#"Basic realm="Registry Realm""#]),
            Some(Challenge::Basic)
        );
        assert_eq!(parse(["BASIC"]), Some(Challenge::Basic));
        let both = r#"Basic realm="b", Bearer realm="https://h/t",service=plain"#;
        assert_eq!(
            parse([both]),
            Some(bearer("https://h/t", Some("plain"), None))
        );
        assert_eq!(
            parse([r#"Basic realm="b""#, r#"Bearer realm="r""#]),
            Some(bearer("r", None, None))
        );
        assert_eq!(
            parse([r#"Bearer realm="a\"b""#]),
            Some(bearer("a\"b", None, None))
        );
        assert_eq!(parse(["Negotiate", "", ",,", "= =", "Bearer"]), None);
        assert_eq!(
            parse([r#"Bearer realm="open"#]),
            Some(bearer("open", None, None))
        );
    }
}
