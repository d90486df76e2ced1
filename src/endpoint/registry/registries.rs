//! registries.conf(5), version 2: which registries are insecure or blocked, and where a name really is.
//! Mirrors are not followed, short names are Docker's.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::event::Side;

/// Where rules for registries are looked for.
#[derive(Clone, Debug, Default)]
pub struct RegistriesConf {
    /// The first of these files that is there is read.
    pub files: Vec<PathBuf>,
    /// `CONTAINERS_REGISTRIES_CONF`: this file instead, which has to be there.
    pub named: Option<PathBuf>,
    /// Directories whose `*.conf` files are read on top, later ones over earlier ones.
    pub drop_ins: Vec<PathBuf>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    registry: Vec<Rule>,
}

/// Where a repository really is, and how to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    /// The repository, or whatever part of the host was asked about.
    pub(crate) path: String,
    /// TLS need not be verified, nor be spoken.
    pub(crate) insecure: bool,
    /// What to tell of it: another place than was written, mirrors that are left alone.
    pub(crate) notes: Vec<String>,
}

impl RegistriesConf {
    /// The place of `path` at `host`. A location other than the name is where images are read; they are
    /// written where the name says, as podman and skopeo do.
    ///
    /// # Errors
    ///
    /// `local-io` when a file cannot be understood, `denied` for a blocked registry; both name the file.
    pub(crate) fn resolve(&self, host: &str, path: &str, side: Side) -> Result<Place> {
        let rules = self.read()?;
        let name = if path.is_empty() {
            host.to_owned()
        } else {
            format!("{host}/{path}")
        };
        let mut place = Place {
            host: host.to_owned(),
            path: path.to_owned(),
            insecure: false,
            notes: Vec::new(),
        };
        let Some(((rule, file), length)) = best(&rules, &name) else {
            return Ok(place);
        };
        let origin = format!("{}, {}", file.display(), rule.key());
        if rule.blocked {
            return Err(Error::new(Kind::Denied, "use", name)
                .because(format!("the registry is blocked ({origin})"))
                .hint(format!("take `blocked` out of {}", file.display())));
        }
        place.insecure = rule.insecure;
        if !rule.mirror.is_empty() && side == Side::Source {
            place.notes.push(format!(
                "the mirrors of {name} are not followed ({origin}): name one as the source to read from it"
            ));
        }
        let rest = name.get(length..).unwrap_or_default();
        let moved = format!("{}{rest}", rule.location.trim_end_matches('/'));
        if rule.location.is_empty() || moved == name || side == Side::Destination {
            return Ok(place);
        }
        let (host, path) = moved.split_once('/').unwrap_or((&moved, ""));
        if host.is_empty() || path.is_empty() != place.path.is_empty() {
            return Err(unreadable(
                file,
                &format!("`{}` is no place for {name}", rule.location),
            ));
        }
        place
            .notes
            .push(format!("{name} is read from {moved} ({origin})"));
        (place.host, place.path) = (host.to_owned(), path.to_owned());
        Ok(place)
    }

    /// Every rule with its file, those that count last.
    fn read(&self) -> Result<Vec<(Rule, PathBuf)>> {
        let main = match &self.named {
            Some(path) => Some(path.clone()),
            None => self.files.iter().find(|path| path.exists()).cloned(),
        };
        let mut rules: Vec<(Rule, PathBuf)> = Vec::new();
        let drop_ins = self.drop_ins.iter().map(|path| listed(path));
        let drop_ins = drop_ins.collect::<Result<Vec<_>>>()?;
        for path in main.into_iter().chain(drop_ins.into_iter().flatten()) {
            let bytes = disk::read_settings(&path).map_err(|error| unreadable(&path, &error))?;
            let text = String::from_utf8(bytes).map_err(|error| wrong(&path, &error))?;
            let added = parse(&text).map_err(|error| wrong(&path, &error))?;
            rules.extend(added.into_iter().map(|rule| (rule, path.clone())));
        }
        Ok(rules)
    }
}

impl Rule {
    /// What names are compared with.
    fn key(&self) -> &str {
        let key = if self.prefix.is_empty() {
            &self.location
        } else {
            &self.prefix
        };
        key.trim_end_matches('/')
    }

    /// How much of `name` this is for, if it is.
    fn matches(&self, name: &str) -> Option<usize> {
        if let Some(domain) = self.key().strip_prefix('*') {
            let host = name.split('/').next().unwrap_or_default();
            let bare = host.split(':').next().unwrap_or_default();
            let inside =
                domain.starts_with('.') && (host.ends_with(domain) || bare.ends_with(domain));
            return inside.then_some(host.len());
        }
        let rest = name.strip_prefix(self.key())?;
        (!self.key().is_empty() && (rest.is_empty() || rest.starts_with('/')))
            .then_some(self.key().len())
    }
}

/// The rule with the longest key for `name`, of several the last, and how much of the name it is for.
fn best<'a>(rules: &'a [(Rule, PathBuf)], name: &str) -> Option<(&'a (Rule, PathBuf), usize)> {
    let fitting = rules
        .iter()
        .filter_map(|rule| Some((rule, rule.0.matches(name)?)));
    fitting.max_by_key(|(rule, _)| rule.0.key().len())
}

fn parse(text: &str) -> std::result::Result<Vec<Rule>, String> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })?;
    for rule in &config.registry {
        if rule.key().is_empty() {
            return Err("a [[registry]] has neither `prefix` nor `location`".into());
        }
        for (key, name) in [("prefix", &rule.prefix), ("location", &rule.location)] {
            if name.contains("://") {
                return Err(format!(
                    "the {key} `{name}` of a [[registry]] has a scheme: write HOST[:PORT][/PATH] alone, with `insecure = true` for plain HTTP"
                ));
            }
        }
    }
    Ok(config.registry)
}

/// The `*.conf` files of a directory, by name; none of one that is not there.
fn listed(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> Error {
    unreadable(path, why)
        .hint("fix the file; `man containers-registries.conf` describes its format")
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::LocalIo, "read registries from", path.display()).because(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(Rule, PathBuf)> {
        let rules = parse(text).expect("test TOML").into_iter();
        rules.map(|rule| (rule, PathBuf::new())).collect()
    }

    #[test]
    fn the_longest_prefix_counts_and_ends_at_a_slash() {
        let rules = rules(
            r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            location = "a.io"
            [[registry]]
            prefix = "a.io/ns"
            location = "b.io/other"
            [[registry]]
            prefix = "*.wild.io"
            location = "c.io"
            insecure = true
            [aliases]
            "x" = "y.io/x"
            "#,
        );
        let key = |name| best(&rules, name).map(|(rule, length)| (rule.0.key().to_owned(), length));
        let some = |key: &str, length| Some((key.to_owned(), length));
        assert_eq!(key("a.io/ns/x"), some("a.io/ns", 7));
        assert_eq!(key("a.io/nsx"), some("a.io", 4));
        assert_eq!(key("a.io"), some("a.io", 4));
        assert_eq!(key("a.io:5000/x"), None);
        assert_eq!(key("deep.er.wild.io:5000/x"), some("*.wild.io", 20));
        assert_eq!(key("wild.io/x"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text| parse(text).expect_err("not to be understood");
        assert!(wrong("a = 1\n[[registry]\n").starts_with("line 2"));
        assert!(wrong("[[registry]]\ninsecure = true\n").contains("location"));
        assert!(wrong("[[registry]]\nlocation = 5\n").starts_with("line 2"));
    }
}
