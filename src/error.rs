//! The one error of the library: a kind, what was being done, to what, and why it failed.
//!
//! Two tables decide everything that depends on a kind: [`Kind::retryable`] and [`Kind::hint`].
//! Neither has a catch-all, so a new kind does not compile until both say what it means.
//!
//! A hint writes `--SIDE-creds` for an option that each side has. The user sees that of the side where the error
//! occurred, and `--creds` where there is one reference only, or the side is not known.

use std::fmt;
use std::time::Duration;

/// One side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where images are read.
    Source,
    /// Where images are written.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// What went wrong, as scripts see it in `error.kind` of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command line or a reference is wrong; nothing was contacted.
    Usage,
    /// The registry wants credentials, or refused the ones that it got.
    Unauthorized,
    /// The credentials are good, but they do not allow this.
    Denied,
    /// The repository, tag, manifest or blob is not there.
    NotFound,
    /// The registry asked for fewer requests (429).
    RateLimited,
    /// Network trouble, a server error (5xx) or a timeout.
    Unavailable,
    /// The bytes that came do not have the digest or size that was asked for.
    DigestMismatch,
    /// A manifest or index that cannot be understood.
    InvalidManifest,
    /// The source has none of the platforms asked for.
    MissingPlatform,
    /// The source lacks a platform that was required.
    RequiredArch,
    /// The destination refuses an index some of whose children it does not hold.
    SparseRejected,
    /// Something that barge, or the other side, cannot do.
    Unsupported,
    /// Somebody else's change is in the way.
    Conflict,
    /// A local file or directory could not be read or written.
    LocalIo,
    /// A signal ended the run.
    Interrupted,
    /// The other side answered something that its protocol does not allow.
    Protocol,
}

impl Kind {
    /// The name of the kind in the report, `kebab-case`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::NotFound => "not-found",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::DigestMismatch => "digest-mismatch",
            Self::InvalidManifest => "invalid-manifest",
            Self::MissingPlatform => "missing-platform",
            Self::RequiredArch => "required-arch",
            Self::SparseRejected => "sparse-rejected",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
            Self::LocalIo => "local-io",
            Self::Interrupted => "interrupted",
            Self::Protocol => "protocol",
        }
    }

    /// Whether doing the same again may go better.
    ///
    /// A mismatch is not in the list: whoever streams a blob decides whether to fetch it once more.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Unavailable => true,
            Self::Usage
            | Self::Unauthorized
            | Self::Denied
            | Self::NotFound
            | Self::DigestMismatch
            | Self::InvalidManifest
            | Self::MissingPlatform
            | Self::RequiredArch
            | Self::SparseRejected
            | Self::Unsupported
            | Self::Conflict
            | Self::LocalIo
            | Self::Interrupted
            | Self::Protocol => false,
        }
    }

    /// What the user can do about it, where the kind alone tells.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Usage => Some("see `barge --help`"),
            Self::Unauthorized => Some(
                "give credentials with --SIDE-creds, or log in with `barge login`, docker, podman or skopeo",
            ),
            Self::Denied => Some(
                "ask for the right to do this, or use other credentials; many registries also answer so for a repository that does not exist",
            ),
            Self::NotFound => {
                Some("check the name; `barge list-tags` and `barge inspect` show what is there")
            }
            Self::RateLimited => Some("log in for a higher limit, wait, or lower --jobs"),
            Self::Unavailable => {
                Some("check the address and the network, then run the same command again")
            }
            Self::DigestMismatch => Some(
                "the stored copy is damaged, or something on the way changes bytes; push the image to the source again",
            ),
            Self::InvalidManifest => Some("look at it with `barge inspect --raw`"),
            Self::MissingPlatform => Some(
                "`barge inspect` lists the platforms; --missing-arch skip leaves such tags out",
            ),
            Self::RequiredArch => Some("`barge inspect` lists the platforms that the source has"),
            Self::SparseRejected => Some(
                "let the registry take sparse indexes (Quay: FEATURE_SPARSE_INDEX: true, and before March 2026 SPARSE_INDEX_REQUIRED_ARCHS; distribution 3: validation.manifests.indexes.platforms: none, or list), or use --mode filtered-index",
            ),
            Self::Unsupported | Self::Protocol => None,
            Self::Conflict => Some("look at the destination, then run again"),
            Self::LocalIo => Some("check the path, its permissions and the space on the disk"),
            Self::Interrupted => Some("run the same command again"),
        }
    }
}

/// The result of everything in this library.
pub type Result<T> = std::result::Result<T, Error>;

/// One failure: `failed to {doing} {target}: {cause}`.
///
/// Cheap to clone in spirit (one small box), since a blob that several tags share fails all of them.
#[derive(Clone, Debug)]
pub struct Error(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    kind: Kind,
    doing: String,
    target: String,
    cause: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
    is_fatal: bool,
    in_doubt: bool,
    side: Option<Side>,
}

/// What hints write in place of the side's prefix of an option.
const ANY_SIDE: &str = "--SIDE-";

/// The longest name of a target, and the longest cause, in letters: both may repeat what a registry sent.
const LONGEST_TARGET: usize = 1000;
const LONGEST_CAUSE: usize = 4000;

/// `text`, cut after so many letters.
fn cut(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Error {
    /// An error of `kind` while `doing` (a verb: `read manifest`) something to `target`.
    pub fn new(kind: Kind, doing: impl Into<String>, target: impl fmt::Display) -> Self {
        Self(Box::new(Details {
            kind,
            doing: doing.into(),
            target: target.to_string(),
            cause: String::new(),
            hint: None,
            retry_after: None,
            is_fatal: false,
            in_doubt: false,
            side: None,
        }))
    }

    /// A usage error; `message` says what is wrong, in which word of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        let mut error = Self::new(Kind::Usage, "", "");
        error.0.cause = message.into();
        error
    }

    /// A fault of barge itself.
    pub fn internal(doing: impl Into<String>, target: impl fmt::Display) -> Self {
        Self::new(Kind::Protocol, doing, target).because("an internal error, please report it")
    }

    /// The same error with its cause, cut if it is outsize.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = cut(cause.to_string(), LONGEST_CAUSE);
        self
    }

    /// The same error whose cause is followed by a remark.
    #[must_use]
    pub fn remarking(self, remark: &str) -> Self {
        let cause = format!("{} ({remark})", self.0.cause);
        self.because(cause)
    }

    /// The same error with a hint of its own, in place of its kind's.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(cut(hint.into(), LONGEST_CAUSE));
        self
    }

    /// The same error with a hint, unless it has one of its own.
    #[must_use]
    pub fn or_hint(mut self, hint: &str) -> Self {
        self.0.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// The same error with the time that the other side asked to wait.
    #[must_use]
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.0.retry_after = delay;
        self
    }

    /// The same error as one that every other tag would meet too.
    #[must_use]
    pub fn hitting_all(mut self) -> Self {
        self.0.is_fatal = true;
        self
    }

    /// Whether every other tag would meet it too: a run that goes on would only repeat it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.0.is_fatal
    }

    /// The same error as one of a request that was given up before who has to carry it out had answered.
    #[must_use]
    pub fn in_doubt(mut self) -> Self {
        self.0.in_doubt = true;
        self
    }

    /// Whether what failed may still be carried out, or has been.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.0.in_doubt
    }

    /// The same error as one of `side`, unless it has a side.
    #[must_use]
    pub fn at(mut self, side: Option<Side>) -> Self {
        self.0.side = self.0.side.or(side);
        self
    }

    /// Where it occurred; `None` where a command has one reference only, and for what is of neither side.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// Whether it is the content of a place that is wrong, rather than the way to it.
    #[must_use]
    pub fn is_of_content(&self) -> bool {
        matches!(
            self.kind(),
            Kind::NotFound | Kind::DigestMismatch | Kind::InvalidManifest | Kind::LocalIo
        )
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What it happened to.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// Why, without what was being done.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let prefix = match self.0.side {
            Some(Side::Source) => "--src-",
            Some(Side::Destination) => "--dest-",
            None => "--",
        };
        let hint = self.0.hint.as_deref().or_else(|| self.0.kind.hint())?;
        Some(hint.replace(ANY_SIDE, prefix))
    }

    /// How long the other side asked to wait before the next try.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            doing,
            target,
            cause,
            ..
        } = &*self.0;
        if doing.is_empty() {
            return f.write_str(cause);
        }
        write!(f, "failed to {doing}")?;
        if !target.is_empty() {
            write!(f, " {}", cut(target.clone(), LONGEST_TARGET))?;
        }
        if cause.is_empty() {
            Ok(())
        } else {
            write!(f, ": {cause}")
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_sentence() {
        let error = Error::new(Kind::NotFound, "read manifest", "docker.io/library/x:1")
            .because("not found");
        assert_eq!(
            error.to_string(),
            "failed to read manifest docker.io/library/x:1: not found"
        );
        assert_eq!(Error::usage("nothing to do").to_string(), "nothing to do");
    }

    #[test]
    fn outsize_targets_and_causes_are_cut() {
        let long = "é".repeat(70_000);
        let error = Error::new(Kind::NotFound, "read", &long).because(&long);
        assert_eq!(error.target(), long, "compared, not shown");
        let message = error.hint(&long).to_string();
        assert!(message.chars().count() < 5100, "{}", message.len());
        assert!(message.ends_with("é…"), "{message}");
    }

    #[test]
    fn a_hint_of_its_own_wins_over_the_kinds() {
        let error = Error::new(Kind::Usage, "parse", "x");
        assert_eq!(error.advice().as_deref(), Some("see `barge --help`"));
        let hinted = error.or_hint("write y");
        assert_eq!(hinted.advice().as_deref(), Some("write y"));
        let again = hinted.or_hint("write z");
        assert_eq!(again.advice().as_deref(), Some("write y"));
    }

    #[test]
    fn a_hint_names_the_option_of_the_side() {
        let error = Error::new(Kind::Protocol, "contact", "x").hint("add --SIDE-tls-verify=false");
        let advice = |side| error.clone().at(side).advice().expect("a hint");
        assert_eq!(advice(Some(Side::Source)), "add --src-tls-verify=false");
        assert_eq!(
            advice(Some(Side::Destination)),
            "add --dest-tls-verify=false"
        );
        assert_eq!(advice(None), "add --tls-verify=false");
        let twice = error.at(Some(Side::Source)).at(Some(Side::Destination));
        assert_eq!(twice.side(), Some(Side::Source), "the first side is kept");
    }
}
