//! The grammar of registry hosts and repository names (distribution's `reference` package), read by
//! hand: the regular expression of a library costs every start 50 ms and 18 MiB to compile.

use std::net::{IpAddr, Ipv6Addr};

use super::Parsed;

/// What distribution allows a repository's name at most.
const LONGEST: usize = 255;

/// Names of one registry in each line; the first stands for all.
const SAME: [&[&str]; 2] = [
    &["localhost", "127.0.0.1", "[::1]"],
    &[
        super::HUB,
        "index.docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
    ],
];
/// The port of a host that is written without one.
const HTTPS: u16 = 443;

/// The name that stands for the registry `host`, whichever of its names that is: two hosts with one origin are one
/// registry.
///
/// ```
/// use barge::reference::origin;
///
/// assert_eq!(origin("Registry.example.com:443"), "registry.example.com");
/// assert_eq!(origin("127.0.0.1:5000"), "localhost:5000");
/// ```
#[must_use]
pub fn origin(host: &str) -> String {
    let (name, port) = name_and_port(host);
    let name = names_of(&name).first().map_or(&*name, |first| *first);
    with_port(name, port)
}

/// Every usual name of the registry `host`.
#[must_use]
pub fn spellings(host: &str) -> Vec<String> {
    let (name, port) = name_and_port(host);
    let names = names_of(&name);
    let names = if names.is_empty() { &[&*name] } else { names };
    let mut spelt: Vec<String> = names.iter().map(|name| with_port(name, port)).collect();
    if port.is_none() {
        spelt.extend(names.iter().map(|name| format!("{name}:{HTTPS}")));
    }
    spelt
}

fn names_of(name: &str) -> &'static [&'static str] {
    let mut lines = SAME.into_iter();
    lines.find(|line| line.contains(&name)).unwrap_or_default()
}

/// The name as it is written in one way, and the port unless it is the one of HTTPS.
fn name_and_port(host: &str) -> (String, Option<u16>) {
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let (name, port) = match host.rfind(':') {
        Some(colon) if colon >= end => host.split_at(colon),
        _ => (host, ""),
    };
    let port = port.trim_start_matches(':').parse().ok();
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let name = match address.map(str::parse::<Ipv6Addr>) {
        Some(Ok(address)) => match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        },
        _ => name.to_lowercase(),
    };
    (name, port.filter(|port| *port != HTTPS))
}

fn with_port(name: &str, port: Option<u16>) -> String {
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// Checks `HOST[:PORT]`, where an IPv6 address stands in brackets.
pub(super) fn check_host(host: &str) -> Parsed<()> {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = match bracketed {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').unwrap_or_default())),
        None if host.matches(':').count() > 1 => {
            return Err("an IPv6 host is written in brackets, [::1]:5000".into());
        }
        None => host
            .split_once(':')
            .map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if let Some(port) = port.filter(|port| !is_port(port)) {
        return Err(format!("port `{port}` is not between 1 and 65535"));
    }
    if bracketed.is_some() {
        let address = name.parse::<std::net::Ipv6Addr>();
        return address
            .map(|_| ())
            .map_err(|_| format!("`[{name}]` is no IPv6 address"));
    }
    // Docker takes `Host/name` for a host, but so it takes a repository with a capital by mistake.
    if !name.contains('.') && port.is_none() && name != "localhost" {
        return Err(format!(
            "`{name}`: repositories are lower case, and a host has a dot or a port"
        ));
    }
    check_labels(name)?;
    // A last label of digits makes it an address, as for URLs.
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(format!("`{name}` is no IPv4 address"));
    }
    Ok(())
}

fn check_labels(name: &str) -> Parsed<()> {
    let good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.split('.').all(good) {
        Ok(())
    } else {
        Err(format!("`{name}` cannot be the name of a host"))
    }
}

/// Checks the length of a repository's path.
pub(super) fn check_length(path: &str) -> Parsed<()> {
    if path.len() > LONGEST {
        return Err(format!(
            "the repository has {} characters; {LONGEST} are the most",
            path.len()
        ));
    }
    Ok(())
}

pub(super) fn check_repository(path: &str) -> Parsed<()> {
    if path.is_empty() {
        return Err("the repository is missing; write docker://HOST/REPOSITORY:TAG".into());
    }
    if path.chars().any(char::is_uppercase) {
        return Err(format!("repository `{path}` must be lower case"));
    }
    check_length(path)?;
    match path.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some("") => Err(format!("repository `{path}` has an empty component")),
        Some(component) => Err(format!(
            "`{component}` cannot be part of a repository: letters and digits, with `.`, `_`, `__` or dashes between them"
        )),
    }
}

/// Letters and digits, and between them one dot, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().next_back()];
    let separators =
        text.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    ends.into_iter().all(|end| end.is_some_and(is_word))
        && separators.into_iter().all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_grammar() {
        for good in ["a", "library/nginx", "a.b_c__d-e---f/0", "x9"] {
            assert!(check_repository(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a//b", "/a", "a/", "A", "a..b", "a___b", "a.-b", "-a", "a-", "a b", "ä", "a\n",
        ] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
        assert!(check_repository(&"a".repeat(256)).is_err());
    }

    #[test]
    fn names_of_one_registry_have_one_origin() {
        for (origin_of_all, names) in [
            ("h.io", &["h.io", "H.io", "h.io:443", "h.io:0443"][..]),
            ("h.io:5000", &["h.io:5000", "H.IO:05000"]),
            (
                "localhost",
                &["localhost", "127.0.0.1", "[::1]", "[::1]:443"],
            ),
            (
                "localhost:5000",
                &[
                    "127.0.0.1:5000",
                    "[0:0:0:0:0:0:0:1]:5000",
                    "[::FFFF:127.0.0.1]:5000",
                ],
            ),
            ("[fe80::a]:80", &["[fe80::a]:80", "[FE80:0::A]:80"]),
            (
                "docker.io",
                &["docker.io", "registry-1.docker.io", "index.docker.io:443"],
            ),
            ("127.0.0.2", &["127.0.0.2"]),
            ("h.io:80", &["h.io:80"]),
        ] {
            for name in names {
                assert_eq!(origin(name), origin_of_all, "{name}");
                assert!(spellings(name).contains(&origin(name)), "{name}");
                for spelt in spellings(name) {
                    assert_eq!(origin(&spelt), origin_of_all, "{name} {spelt}");
                }
            }
        }
    }

    #[test]
    fn hosts_follow_the_grammar() {
        for good in [
            "localhost",
            "quay.io",
            "127.0.0.1:1",
            "a-b.c",
            "Quay.IO",
            "registry:5000",
            "[::1]",
            "[::1]:5",
        ] {
            assert!(check_host(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "user@h.io",
            "h.io?",
            "h.io\n",
            "h.io:+5",
            "h.io:",
            "1.2.3.4.5",
            "1.2.3.256",
            "[::1]x",
            "[x]",
            "::1",
        ] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }
}
