//! Which proxy a request goes through: that of its own host, whatever registry it is made for. The usual
//! variables say so, as curl and Go (`httpproxy`) read them. Reads them; contacts nobody.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::error::{Error, Result};

/// The proxies of the environment.
#[derive(Clone)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    /// `NO_PROXY`, in lower case.
    spared: String,
}

impl Proxies {
    /// What the variables name.
    ///
    /// # Errors
    ///
    /// `usage` for one that names no proxy.
    pub(super) fn from_environment() -> Result<Self> {
        Self::read(|name| {
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        })
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |names: [&'static str; 2]| {
            let mut values = names.into_iter().filter_map(|name| {
                let value = variable(name)?;
                Some((name, value.trim().to_owned()))
            });
            values.find(|(_, value)| !value.is_empty())
        };
        let proxy = |names| set(names).map(parse).transpose();
        let all = proxy(["ALL_PROXY", "all_proxy"])?;
        let spared = set(["NO_PROXY", "no_proxy"]);
        let proxies = Self {
            http: proxy(["HTTP_PROXY", "http_proxy"])?.or_else(|| all.clone()),
            https: proxy(["HTTPS_PROXY", "https_proxy"])?.or(all),
            spared: spared.map_or_else(String::new, |(_, value)| value.to_ascii_lowercase()),
        };
        // Below a web server `HTTP_PROXY` is what a stranger sent (<https://httpoxy.org>).
        Ok(match variable("REQUEST_METHOD") {
            Some(_) => Self {
                http: None,
                https: None,
                ..proxies
            },
            None => proxies,
        })
    }

    /// The proxy for `url`: none for loopback, nor for what `NO_PROXY` names.
    pub(super) fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let host = url.host_str()?;
        (!is_loopback(host) && !self.spares(url, host)).then_some(proxy)
    }

    /// The proxy for `url` as a person may see it: without user and password.
    pub(super) fn shown(&self, url: &Url) -> Option<String> {
        let proxy = self.of(url)?;
        let port = proxy.port().map(|port| format!(":{port}"));
        let (scheme, host) = (proxy.scheme(), proxy.host_str().unwrap_or_default());
        Some(format!("{scheme}://{host}{}/", port.unwrap_or_default()))
    }

    fn spares(&self, url: &Url, host: &str) -> bool {
        let port = url.port_or_known_default().unwrap_or_default().to_string();
        let entries = self.spared.split(',').map(str::trim);
        let entries: Vec<&str> = entries
            .filter_map(|entry| simplified(entry, (host, &port)))
            .collect();
        let others = Matcher::builder().all("http://proxy").no(entries.join(","));
        let address = url.as_str().parse();
        address.is_ok_and(|address| others.build().intercept(&address).is_none())
    }
}

/// The proxy that a variable of this name and value names.
fn parse((variable, value): (&str, String)) -> Result<Url> {
    let wrong = |why: &str| {
        Error::usage(format!("{variable} names no proxy: {why}"))
            .hint(format!("write {variable} as http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, or unset it"))
    };
    let value = if value.contains("://") {
        value
    } else {
        format!("http://{value}")
    };
    let mut url = Url::parse(&value).map_err(|why| wrong(&format!("it is no URL ({why})")))?;
    match url.scheme() {
        "http" | "https" | "socks4" | "socks4a" | "socks5h" => {}
        // As Go has it: the proxy looks names up, since it may be the only one that knows them.
        "socks5" => url
            .set_scheme("socks5h")
            .map_err(|()| wrong("it is no URL"))?,
        other => return Err(wrong(&format!("no proxy speaks `{other}`"))),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    Ok(url)
}

/// An entry of `NO_PROXY` as a name, address or network that the matcher knows, if it may be for this host
/// and port. The matcher knows neither `HOST:PORT` nor `*.suffix`, which is for the hosts below it alone.
fn simplified<'a>(entry: &'a str, (host, port): (&str, &str)) -> Option<&'a str> {
    let (name, wanted) = match entry.rsplit_once(':') {
        // An IPv6 address has a port behind brackets only.
        Some((name, wanted)) if !name.contains(':') || name.ends_with(']') => (name, wanted),
        _ => (entry, port),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let below_alone = bare != name && bare == host;
    (wanted == port && !below_alone).then_some(bare)
}

/// `localhost`, 127/8 or `::1`, with or without a port.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Proxies> {
        Proxies::read(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn taken(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = read(variables).expect("proxies");
        proxies.shown(&Url::parse(url).expect("a URL"))
    }

    #[test]
    fn each_scheme_has_its_proxy_and_loopback_none() {
        let variables = [
            ("HTTP_PROXY", ""),
            ("http_proxy", "plain:1"),
            ("ALL_PROXY", "socks5://u:p@other"),
        ];
        let each = |url| taken(&variables, url);
        assert_eq!(each("http://a.io/").as_deref(), Some("http://plain:1/"));
        assert_eq!(each("https://a.io/").as_deref(), Some("socks5h://other/"));
        for loopback in ["http://LOCALHOST:5/", "https://[::1]/", "http://127.1.2.3/"] {
            assert_eq!(each(loopback), None, "{loopback}");
        }
        let below_a_web_server = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://evil")];
        assert_eq!(taken(&below_a_web_server, "http://a.io/"), None);
    }

    #[test]
    fn no_proxy_is_read_as_curl_and_go_do() {
        for (spared, url, through) in [
            ("a.io:5000", "https://a.io:5000/", false),
            ("A.io:5000", "https://a.io:5000/", false),
            ("a.io:5000", "https://a.io:5001/", true),
            ("a.io:443", "https://a.io/", false),
            ("a.io:80", "https://a.io/", true),
            ("10.0.0.1:443", "https://10.0.0.1/", false),
            ("10.0.0.1:1", "https://10.0.0.1/", true),
            ("[fd00::1]:443", "https://[fd00::1]/", false),
            ("[fd00::1]:444", "https://[fd00::1]/", true),
            ("fd00::1", "https://[fd00::1]/", false),
            ("fd00::/8", "https://[fd00::1]/", false),
            ("x, *.a.io", "https://b.a.io/", false),
            ("*.a.io:443", "https://b.a.io/", false),
            ("*.a.io", "https://a.io/", true),
            ("*.a.io", "https://ba.io/", true),
            (".a.io", "https://a.io/", false),
            ("*", "https://a.io/", false),
            ("10.0.0.0/8", "https://10.9.9.9:5000/", false),
            ("", "https://a.io/", true),
        ] {
            let proxy = taken(&[("ALL_PROXY", "http://p"), ("no_proxy", spared)], url);
            assert_eq!(proxy.is_some(), through, "{spared} {url}");
        }
    }

    #[test]
    fn what_names_no_proxy_is_an_error_without_its_password() {
        for value in ["ht!tp://u:s3cret@p", "ftp://u:s3cret@p", "http://u:s3cret@"] {
            let error = read(&[("https_proxy", value)]).err().expect("an error");
            let told = error.to_string();
            assert!(told.contains("https_proxy"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn loopback_is_a_host_not_a_prefix() {
        for host in [
            "localhost",
            "LocalHost:5000",
            "127.0.0.1:1",
            "127.8.9.1",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.com",
            "128.0.0.1",
            "[::2]:5000",
            "example.com:127",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
