//! What a rollback run writes down before its first tag moves, so that whoever comes later can put the
//! tags back. Pure: [`crate::state`] keeps journals on disk, the engine carries out what [`undo`] says.

pub(crate) mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::image::order::{Node, rounds};
use crate::reference::is_tag;

/// The form that this barge writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Why a file cannot be read as a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has the form of another barge.
    Version(u32),
    /// It has no such form at all, for this reason.
    NoJournal(String),
}

impl Unreadable {
    /// What to do about the file at `path`; `path` is a word of a command line.
    #[must_use]
    pub fn hint(&self, path: &str) -> String {
        match self {
            Self::Version(version) => format!(
                "settle it with a barge that reads version {version}: barge undo {path}; only where there is none, `barge undo --forget {path}` drops it, and its tags stay as they are"
            ),
            Self::NoJournal(_) => format!(
                "look at the tags of that repository; once they are right, `barge undo --forget {path}` drops it"
            ),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "its version is {version}, this barge reads {VERSION}")
            }
            Self::NoJournal(why) => write!(f, "it is no journal of barge: {why}"),
        }
    }
}

/// The flip of one run into one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    /// The repository, as a reference without a tag: `docker://registry.example.com/mirror/app`.
    pub destination: String,
    /// When it was written, in seconds since 1970.
    pub created: u64,
    /// Whether somebody has still to put tags back.
    pub state: State,
    /// What was to move, or was left; no tag twice, and none that a later run has made right.
    pub tags: Vec<Move>,
    /// The manifests that the tags pointed at before, and all that were found below them.
    manifests: BTreeMap<Digest, Kept>,
}

/// How far a journal's run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The run is flipping or undoing, or was killed doing so.
    Open,
    /// The undo ran to its end and had to leave these tags.
    Closed,
}

/// One tag that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The destination's tag.
    pub tag: String,
    /// What it pointed at; `None`: it was not there.
    pub before: Option<Digest>,
    /// What the run makes it point at.
    pub after: Digest,
    /// Whether `after` was looked for in vain before staging, and pushed by this run.
    pub pushed: bool,
}

/// A manifest as it was at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    media_type: String,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    bytes: Bytes,
}

impl Journal {
    /// An open journal of `tags` of `destination`, whose old manifests are `manifests`.
    #[must_use]
    pub fn new(
        destination: String,
        created: u64,
        tags: Vec<Move>,
        manifests: impl IntoIterator<Item = Manifest>,
    ) -> Self {
        let kept = manifests.into_iter().map(|manifest| {
            let kept = Kept {
                media_type: manifest.media_type,
                bytes: manifest.bytes,
            };
            (manifest.digest, kept)
        });
        Self {
            version: VERSION,
            destination,
            created,
            state: State::Open,
            tags,
            manifests: kept.collect(),
        }
    }

    /// Reads what [`Journal::text`] wrote.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(bytes: &[u8]) -> std::result::Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let not_one = |why: serde_json::Error| Unreadable::NoJournal(why.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(not_one)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let journal: Self = serde_json::from_slice(bytes).map_err(not_one)?;
        // It goes into addresses as it is.
        match journal.tags.iter().find(|moved| !is_tag(&moved.tag)) {
            Some(moved) => Err(Unreadable::NoJournal(format!("`{}` is no tag", moved.tag))),
            None => Ok(journal),
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    ///
    /// When it has no JSON form, which does not happen.
    pub fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// The same where nothing more is tried by itself: of the tags that it is still about, those that
    /// `stay`. `None`: it is about none any more.
    #[must_use]
    pub fn closed(&self, stay: impl Fn(&str) -> bool) -> Option<Self> {
        let mut closed = self.without(|tag| !stay(tag))?;
        closed.state = State::Closed;
        Some(closed)
    }

    /// The same without the tags that `go`. `None`: it is about none any more.
    #[must_use]
    pub fn without(&self, go: impl Fn(&str) -> bool) -> Option<Self> {
        let mut rest = self.clone();
        rest.tags.retain(|moved| !go(&moved.tag));
        (!rest.tags.is_empty()).then_some(rest)
    }

    /// A manifest that was kept, as it is put back.
    ///
    /// # Errors
    ///
    /// `not-found` where it was not kept, `digest-mismatch` where the file is damaged.
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let failed = |kind| Error::new(kind, "read manifest", digest);
        let kept = self.manifests.get(digest);
        let kept = kept.ok_or_else(|| failed(Kind::NotFound).because("the journal lacks it"))?;
        if !digest.matches(&kept.bytes) {
            let cause = "the journal is damaged: its bytes have another digest";
            return Err(failed(Kind::DigestMismatch).because(cause));
        }
        let mut manifest = Manifest::parse(kept.bytes.clone(), Some(&kept.media_type))?;
        manifest.digest = digest.clone();
        Ok(manifest)
    }

    /// The manifests below `root` that were kept, each once, children before their parents.
    ///
    /// # Errors
    ///
    /// As [`Journal::manifest`]. A child that the destination lacked before is no error.
    pub fn children(&self, root: &Manifest) -> Result<Vec<Manifest>> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        self.below(root, &mut seen, &mut found)?;
        let nodes: Vec<Node> = found.iter().map(Node::of).collect();
        let order = rounds(&nodes).into_iter().flatten();
        Ok(order
            .filter_map(|number| found.get(number).cloned())
            .collect())
    }

    /// Depth is bounded by what was kept: bytes cannot name their own digest.
    fn below(
        &self,
        parent: &Manifest,
        seen: &mut BTreeSet<Digest>,
        found: &mut Vec<Manifest>,
    ) -> Result<()> {
        for entry in parent.entries() {
            if !self.manifests.contains_key(&entry.digest) || !seen.insert(entry.digest.clone()) {
                continue;
            }
            let child = self.manifest(&entry.digest)?;
            self.below(&child, seen, found)?;
            found.push(child);
        }
        Ok(())
    }
}

fn to_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest::media_type;

    fn index(children: &[&Manifest], seed: &str) -> Manifest {
        let entries = children.iter().map(|child| {
            let (kind, size) = (&child.media_type, child.bytes.len());
            format!(
                r#"{{"mediaType":"{kind}","digest":"{}","size":{size}}}"#,
                child.digest
            )
        });
        let entries: Vec<String> = entries.collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}],"x":"{seed}"}}"#,
            media_type::OCI_INDEX,
            entries.join(",")
        );
        Manifest::parse(Bytes::from(text), None).expect("an index")
    }

    fn journal(manifests: &[&Manifest]) -> Journal {
        let kept = manifests.iter().map(|manifest| (*manifest).clone());
        Journal::new("docker://h.io/a".into(), 1, Vec::new(), kept)
    }

    #[test]
    fn is_read_as_it_was_written() {
        let root = index(&[], "é");
        let mut journal = journal(&[&root]);
        journal.tags.push(Move {
            tag: "v1".into(),
            before: None,
            after: root.digest.clone(),
            pushed: true,
        });
        let text = journal.text().expect("text");
        let read = Journal::read(text.as_bytes()).expect("a journal");
        assert_eq!(read, journal);
        assert_eq!(read.manifest(&root.digest).expect("kept"), root);
        let newer = text.replace(r#""version":1"#, r#""version":2"#);
        let why = Journal::read(newer.as_bytes()).expect_err("newer");
        assert_eq!(why, Unreadable::Version(2));
        let elsewhere = text.replace(r#""tag":"v1""#, r#""tag":"../../y/manifests/v1""#);
        for no_journal in [&*elsewhere, "{}", ""] {
            let why = Journal::read(no_journal.as_bytes()).expect_err("no journal");
            assert!(matches!(why, Unreadable::NoJournal(_)), "{why}");
        }
    }

    #[test]
    fn children_come_before_their_parents() {
        let leaf = index(&[], "leaf");
        let nested = index(&[&leaf], "nested");
        let gone = index(&[], "gone");
        let root = index(&[&nested, &leaf, &gone], "root");
        let journal = journal(&[&root, &nested, &leaf]);
        let found = journal.children(&root).expect("children");
        assert_eq!(found, [leaf, nested]);
        let lacking = journal.manifest(&gone.digest).expect_err("gone");
        assert_eq!(lacking.kind(), Kind::NotFound);
    }

    #[test]
    fn damage_is_noticed() {
        let root = index(&[], "root");
        let text = journal(&[&root]).text().expect("text");
        let other = STANDARD.encode(index(&[], "toor").bytes);
        let damaged = text.replace(&STANDARD.encode(&root.bytes), &other);
        let journal = Journal::read(damaged.as_bytes()).expect("a journal");
        let error = journal.manifest(&root.digest).expect_err("damaged");
        assert_eq!(error.kind(), Kind::DigestMismatch);
    }
}
