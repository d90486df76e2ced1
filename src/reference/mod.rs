//! The transports' syntax: what a SOURCE, a DESTINATION or a REFERENCE on the command line names.
//!
//! One parser, [`Reference::parse`]; it looks at text alone and never at a disk or a registry.
//! A word that could be a misspelt transport is refused, never taken for a name on Docker Hub.

mod misplaced;
mod name;
mod scope;
mod standard;
mod typo;
mod whole;

use std::fmt;
use std::path::PathBuf;

pub use self::name::{origin, spellings};
pub use self::scope::RegistryScope;
pub use self::standard::{STANDARD, is_standard_input};
pub use self::whole::{repository_of, tag_of};
use crate::error::{Error, Result};
use crate::image::digest::Digest;

/// Where on the command line a reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Something to read: Docker's short names are understood.
    Source,
    /// Something to write: a registry has to be named.
    Destination,
}

/// A parsed reference of any transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `docker://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`.
    Registry(RegistryReference),
    /// `oci:PATH[:REF]` or `oci:PATH@DIGEST`.
    Layout(FileReference),
    /// `oci-archive:PATH[:REF]`.
    OciArchive(FileReference),
    /// `docker-archive:PATH[:NAME:TAG]`.
    DockerArchive(FileReference),
}

/// A repository in a registry, and what in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// The registry as people write it: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub host: String,
    /// The repository in it, `library/nginx`.
    pub repository: String,
    /// The tag, where one was written.
    pub tag: Option<String>,
    /// The digest, where one was written.
    pub digest: Option<Digest>,
}

/// A layout directory or an archive file, and what in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReference {
    /// The directory or file.
    pub path: PathBuf,
    /// What is after the path's colon.
    pub name: Option<String>,
    /// The digest, where one was written.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses `text` as it stands on the command line.
    ///
    /// # Errors
    ///
    /// A usage error that shows what is wrong in `text` and what to write instead.
    ///
    /// ```
    /// use barge::reference::{Reference, Role};
    ///
    /// let reference = Reference::parse("nginx", Role::Source)?;
    /// assert_eq!(reference.to_string(), "docker://docker.io/library/nginx");
    /// assert!(Reference::parse("nginx", Role::Destination).is_err());
    /// # Ok::<(), barge::error::Error>(())
    /// ```
    pub fn parse(text: &str, role: Role) -> Result<Self> {
        let parsed = if let Some(rest) = text.strip_prefix("docker://") {
            registry(rest, role, Transport::Written).map(Self::Registry)
        } else if let Some(rest) = text.strip_prefix("oci:") {
            file(rest).map(Self::Layout)
        } else if let Some(rest) = text.strip_prefix("oci-archive:") {
            file(rest).map(|file| Self::OciArchive(standard::one_name(file, role)))
        } else if let Some(rest) = text.strip_prefix("docker-archive:") {
            file(rest).map(|file| Self::DockerArchive(standard::one_name(file, role)))
        } else {
            bare(text, role).map(Self::Registry)
        };
        parsed.map_err(|why| match misplaced::credentials_end(text) {
            None => Error::usage(format!("invalid reference `{text}`: {why}")),
            // Neither the text nor the reason may be shown: they hold a password.
            Some(end) => Error::usage(format!(
                "invalid reference `…{}`: credentials do not belong into a reference; give them with --src-creds or --dest-creds (--creds for one reference)",
                text.get(end..).unwrap_or_default()
            )),
        })
    }

    /// The tag, or REF, that was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Registry(reference) => reference.tag.as_deref(),
            Self::Layout(file) | Self::OciArchive(file) | Self::DockerArchive(file) => {
                file.name.as_deref()
            }
        }
    }

    /// The digest that was written.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Registry(reference) => reference.digest.as_ref(),
            Self::Layout(file) | Self::OciArchive(file) | Self::DockerArchive(file) => {
                file.digest.as_ref()
            }
        }
    }

    /// Whether it is an archive on standard input or output, which is written as `-`.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        match self {
            Self::OciArchive(file) | Self::DockerArchive(file) => file.path.as_os_str() == STANDARD,
            Self::Registry(_) | Self::Layout(_) => false,
        }
    }

    /// The same place without tag and digest.
    #[must_use]
    pub fn place(&self) -> Self {
        let mut place = self.clone();
        match &mut place {
            Self::Registry(reference) => {
                reference.tag = None;
                reference.digest = None;
            }
            Self::Layout(file) | Self::OciArchive(file) | Self::DockerArchive(file) => {
                file.name = None;
                file.digest = None;
            }
        }
        place
    }
}

impl RegistryReference {
    /// What docker calls an image, `NAME[:TAG]`: `alpine` is `docker.io/library/alpine`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong in it.
    pub fn of_image(text: &str) -> Result<Self> {
        registry(text, Role::Source, Transport::Written)
            .map_err(|why| Error::usage(format!("invalid name of an image `{text}`: {why}")))
    }

    /// The repository with its host.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Layout(file) => write!(f, "oci:{file}"),
            Self::OciArchive(file) => write!(f, "oci-archive:{file}"),
            Self::DockerArchive(file) => write!(f, "docker-archive:{file}"),
        }
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        suffix(f, self.tag.as_ref(), self.digest.as_ref())
    }
}

impl fmt::Display for FileReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        suffix(f, self.name.as_ref(), self.digest.as_ref())
    }
}

fn suffix(
    f: &mut fmt::Formatter<'_>,
    tag: Option<&String>,
    digest: Option<&Digest>,
) -> fmt::Result {
    if let Some(tag) = tag {
        write!(f, ":{tag}")?;
    }
    digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
}

/// Whether `text` can be a tag (distribution-spec, "Pulling manifests").
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether the transport stood before the name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Written,
    Implied,
}

type Parsed<T> = std::result::Result<T, String>;

fn bare(text: &str, role: Role) -> Parsed<RegistryReference> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(match scheme {
            "http" | "https" => {
                format!("`{scheme}://` is no transport; write docker://HOST/REPOSITORY")
            }
            _ => format!("`{scheme}://` is no transport; did you mean docker://?"),
        });
    }
    if text.starts_with(['.', '/', '~', '\\']) {
        return Err(format!(
            "this looks like a path; write oci:{text} for a layout"
        ));
    }
    let before = text.split([':', '/', '@']).next().unwrap_or_default();
    if text
        .get(before.len()..)
        .is_some_and(|rest| rest.starts_with(':'))
    {
        typo::check(before)?;
    }
    registry(text, role, Transport::Implied)
}

fn registry(text: &str, role: Role, transport: Transport) -> Parsed<RegistryReference> {
    if text.is_empty() {
        return Err("the name is missing; write docker://HOST/REPOSITORY:TAG".into());
    }
    let (host, rest) = match text.split_once('/') {
        Some((first, rest)) if is_host(first) => (Some(first), rest),
        _ => (None, text),
    };
    if host.is_none() && role == Role::Destination {
        one_word_destination(text, transport)?;
    }
    if let Some(host) = host {
        name::check_host(host)?;
    }
    let (path, tag, digest) = split_name(rest)?;
    name::check_repository(path)?;
    let host = match host {
        None | Some("index.docker.io") => HUB.to_owned(),
        Some(host) => host.to_lowercase(),
    };
    // An image of Docker's own has no namespace in its name.
    let official = host == HUB && !path.contains('/');
    let repository = if official {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    name::check_length(&repository)?;
    Ok(RegistryReference {
        host,
        repository,
        tag,
        digest,
    })
}

/// Docker Hub, as references name it.
const HUB: &str = "docker.io";

fn one_word_destination(text: &str, transport: Transport) -> Parsed<()> {
    if transport == Transport::Written && text.contains('/') {
        return Ok(());
    }
    Err(format!(
        "a destination names its registry; write docker://HOST/{text}, docker://docker.io/… for Docker Hub, or oci:PATH for a layout"
    ))
}

/// Docker's rule: the first component is a host when it has a dot or a port, or is `localhost`.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

/// Splits `PATH[:TAG][@DIGEST]`.
fn split_name(text: &str) -> Parsed<(&str, Option<String>, Option<Digest>)> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(parse_digest(digest)?)),
        None => (text, None),
    };
    match name.split_once(':') {
        Some((path, tag)) if is_tag(tag) => Ok((path, Some(tag.to_owned()), digest)),
        Some((_, tag)) => Err(format!("`{tag}` cannot be a tag")),
        None => Ok((name, None, digest)),
    }
}

fn parse_digest(text: &str) -> Parsed<Digest> {
    text.parse()
        .map_err(|why| format!("digest `{text}`: {why}"))
}

fn file(text: &str) -> Parsed<FileReference> {
    let (text, digest) = match text.rsplit_once('@') {
        Some((before, after)) if after.starts_with("sha") && after.contains(':') => {
            (before, Some(parse_digest(after)?))
        }
        _ => (text, None),
    };
    let (path, name) = split_path(text);
    if path.is_empty() {
        return Err("the path is missing; write oci:PATH:TAG".into());
    }
    match (name, digest) {
        (Some(""), _) => {
            Err("nothing follows the path's colon; write a tag there, or no colon".into())
        }
        (Some(name), Some(_)) => Err(format!("name the tag `{name}` or the digest, not both")),
        (name, digest) => Ok(FileReference {
            path: PathBuf::from(path),
            name: name.map(str::to_owned),
            digest,
        }),
    }
}

/// PATH ends at its first colon, but for the one of a drive letter on Windows.
fn split_path(text: &str) -> (&str, Option<&str>) {
    let bytes = text.as_bytes();
    let drive = cfg!(windows)
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.get(1) == Some(&b':')
        && matches!(bytes.get(2), Some(b'\\' | b'/'));
    let start = if drive { 2 } else { 0 };
    let colon = text
        .char_indices()
        .find(|&(index, letter)| index >= start && letter == ':');
    match colon {
        Some((index, _)) => {
            let (path, rest) = text.split_at(index);
            (path, rest.get(1..))
        }
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn sources_and_what_they_mean() {
        let digest = format!("docker://q.io/a/b:1@sha256:{HEX}");
        for (text, means) in [
            ("nginx", "docker://docker.io/library/nginx"),
            ("nginx:1.25", "docker://docker.io/library/nginx:1.25"),
            ("docker:dind", "docker://docker.io/library/docker:dind"),
            ("library/nginx", "docker://docker.io/library/nginx"),
            (
                "grafana/grafana:latest",
                "docker://docker.io/grafana/grafana:latest",
            ),
            ("docker.io/nginx", "docker://docker.io/library/nginx"),
            (
                "docker://index.docker.io/nginx",
                "docker://docker.io/library/nginx",
            ),
            ("localhost/x", "docker://localhost/x"),
            ("localhost:5000/a/b:v1", "docker://localhost:5000/a/b:v1"),
            ("docker://[::1]:5000/a:v1", "docker://[::1]:5000/a:v1"),
            ("[fe80::1]/a", "docker://[fe80::1]/a"),
            ("Quay.IO/a/b", "docker://quay.io/a/b"),
            (digest.as_str(), digest.as_str()),
            ("oci:dir", "oci:dir"),
            ("oci:/a/b:docker.io/x/y:1", "oci:/a/b:docker.io/x/y:1"),
            ("oci:a@b:v1", "oci:a@b:v1"),
            ("oci-archive:x.tar:v1", "oci-archive:x.tar:v1"),
            (
                "docker-archive:x.tar:name:v1",
                "docker-archive:x.tar:name:v1",
            ),
        ] {
            let parsed = match Reference::parse(text, Role::Source) {
                Ok(parsed) => parsed.to_string(),
                Err(error) => panic!("{text}: {error}"),
            };
            assert_eq!(parsed, means, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, role, says) in [
            ("nginx", Role::Destination, "names its registry"),
            ("docker://nginx", Role::Destination, "names its registry"),
            ("a/b", Role::Destination, "names its registry"),
            ("dir:/x", Role::Source, "does not speak"),
            ("docker-daemon:x:1", Role::Source, "does not speak"),
            (
                "oci-archve:x.tar",
                Role::Source,
                "did you mean oci-archive:",
            ),
            ("oic:x", Role::Source, "did you mean oci:"),
            ("OCI:x", Role::Source, "did you mean oci:"),
            ("dcoker://h.io/x", Role::Source, "did you mean docker://"),
            ("https://h.io/x", Role::Source, "is no transport"),
            ("./dir", Role::Source, "looks like a path"),
            ("/dir:x", Role::Source, "looks like a path"),
            ("", Role::Source, "name is missing"),
            ("docker://", Role::Source, "name is missing"),
            ("docker://h.io/", Role::Source, "repository is missing"),
            ("docker://h.io/A/b", Role::Source, "lower case"),
            ("docker://Nginx/a", Role::Source, "lower case"),
            ("docker://h.io/a:b:c", Role::Source, "cannot be a tag"),
            ("oci-layout:x", Role::Source, "does not speak"),
            ("oci-arch:x", Role::Source, "is no transport"),
            ("docker://h.io/a:", Role::Source, "cannot be a tag"),
            ("docker://h.io/a@sha256:12", Role::Source, "digest"),
            ("docker://h.io:0/a", Role::Source, "port"),
            ("docker://h.io:99999/a", Role::Source, "port"),
            ("docker://::1/a", Role::Source, "brackets"),
            ("docker://[::g]/a", Role::Source, "IPv6"),
            ("oci:", Role::Source, "path is missing"),
            ("oci::x", Role::Source, "path is missing"),
            ("oci:x:", Role::Source, "nothing follows"),
            ("oci:x@sha256:1", Role::Source, "digest"),
        ] {
            let error = Reference::parse(text, role).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn tags_are_checked() {
        assert!(is_tag("v1.0_x-y") && is_tag(&"a".repeat(128)));
        assert!(
            !is_tag("")
                && !is_tag(".a")
                && !is_tag("-a")
                && !is_tag("a/b")
                && !is_tag(&"a".repeat(129))
        );
    }
}
