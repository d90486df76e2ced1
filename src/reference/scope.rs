//! What a login is for: a registry, or a part of it.

use std::fmt;

use super::name;
use crate::error::{Error, Result};

/// `HOST[:PORT][/NAMESPACE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryScope {
    /// The registry as people write it; `docker.io` whichever name of the hub was written.
    pub host: String,
    /// A namespace or repository in it; empty for all of it.
    pub namespace: String,
}

impl RegistryScope {
    /// Parses `text` as it stands on the command line.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    ///
    /// ```
    /// use barge::reference::RegistryScope;
    ///
    /// let scope = RegistryScope::parse("quay.io/team")?;
    /// assert_eq!((scope.host.as_str(), scope.namespace.as_str()), ("quay.io", "team"));
    /// assert!(RegistryScope::parse("https://quay.io").is_err());
    /// # Ok::<(), barge::error::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        let (host, namespace) = text.split_once('/').unwrap_or((text, ""));
        let wrong = |why: String| {
            // What may hold a password is not shown.
            let shown = text.rsplit('@').next().unwrap_or_default();
            Error::usage(format!("invalid registry `{shown}`: {why}")).hint(
                "write HOST[:PORT] or HOST[:PORT]/NAMESPACE, as quay.io or localhost:5000/team",
            )
        };
        if text.contains("://") {
            return Err(wrong("a registry is written without a scheme".into()));
        }
        if host.contains('@') {
            let why = "the user is not part of it: give it with --username, and the password on standard input, with --password-stdin";
            return Err(wrong(why.into()));
        }
        name::check_host(host).map_err(wrong)?;
        if !namespace.is_empty() || text.ends_with('/') {
            name::check_repository(namespace).map_err(wrong)?;
        }
        let is_hub = matches!(host, "index.docker.io" | "registry-1.docker.io");
        Ok(Self {
            host: if is_hub { "docker.io" } else { host }.to_owned(),
            namespace: namespace.to_owned(),
        })
    }
}

impl fmt::Display for RegistryScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.namespace.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_namespaces() {
        let parse = |text: &str| {
            RegistryScope::parse(text)
                .map(|scope| scope.to_string())
                .ok()
        };
        let same = |text: &str| parse(text).as_deref() == Some(text);
        for text in ["quay.io", "localhost:5000", "[::1]:5000/a/b", "q.io/ns"] {
            assert!(same(text), "{text}");
        }
        assert_eq!(parse("index.docker.io").as_deref(), Some("docker.io"));
        for text in [
            "",
            "quay",
            "https://q.io",
            "q.io/",
            "q.io/Ns",
            "u:p@q.io",
            "q.io/x:1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let error = RegistryScope::parse("alice:hidden@q.io").expect_err("has a user");
        let told = error.to_string();
        assert!(
            told.contains("--username") && !told.contains("hidden"),
            "{told}"
        );
    }
}
