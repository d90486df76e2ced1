//! What refers to a manifest: OCI 1.1 referrers, which name it as their `subject`, and what cosign keeps
//! under tags made of its digest.
//!
//! Pure: which tags those are, which types are wanted, the list that stands in for the referrers API, and
//! the walk over everything that refers to something.

mod list;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::list::{Additions, merge, without};
use super::digest::{Algorithm, Digest};
use super::manifest::{Content, Descriptor, Manifest};
use super::media_type;
use crate::error::{Error, Kind, Result};

/// How far a walk goes: what refers to something that refers to something, and so on.
pub const MAX_DEPTH: usize = 100;
/// How many referrers one walk may meet.
pub const MOST: usize = 10_000;
/// How much of a digest is in the name of a list (distribution-spec 1.1, "Referrers Tag Schema").
const LONGEST_HEX: usize = 64;
/// What cosign's tags end with: signatures, attestations, bills of materials.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];
/// Types of artifacts that are signatures: Notary Project, cosign's two.
const SIGNATURES: [&str; 3] = [
    "application/vnd.cncf.notary.signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.cosign.simplesigning.v1+json",
];
/// A bundle holds a signature of the image, or of a statement about it.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// The tag of the list of what refers to `subject`, where a registry has no referrers API
/// (distribution-spec 1.1, "Referrers Tag Schema").
///
/// ```
/// use barge::image::digest::Digest;
/// use barge::image::referrers::list_tag;
///
/// let digest = Digest::of(b"image");
/// assert_eq!(list_tag(&digest), format!("sha256-{}", digest.hex()));
/// ```
#[must_use]
pub fn list_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(LONGEST_HEX).collect();
    format!("{}-{hex}", subject.algorithm_name())
}

/// Whether what is under the tag of a list is what the tag is made of: GitLab's registry takes
/// `sha256-<hex>` for a digest (<https://github.com/oras-project/oras-go/issues/1396>).
#[must_use]
pub fn is_itself(tag: &str, found: &Digest) -> bool {
    list_tag(found) == tag
}

/// Whether a manifest may be a list of referrers. What tells the index of an image apart is that it says for which
/// platforms its entries are.
#[must_use]
pub fn may_be_list(manifest: &Manifest) -> bool {
    let is_image = |entry: &Descriptor| entry.platform.is_some() && entry.artifact_type.is_none();
    manifest.is_index() && !manifest.entries().iter().any(is_image)
}

/// The tags under which cosign keeps what belongs to `subject` (cosign, "Signature Specifications",
/// Tag-based Discovery): `sha256-<hex>.sig`, `.att`, `.sbom`. With SHA-512 they would be too long for a tag.
#[must_use]
pub fn cosign_tags(subject: &Digest) -> Vec<String> {
    if subject.algorithm() != Algorithm::Sha256 {
        return Vec::new();
    }
    let list = list_tag(subject);
    COSIGN.iter().map(|end| format!("{list}.{end}")).collect()
}

/// Whether a tag of cosign's is the one for signatures.
#[must_use]
pub fn is_signature_tag(tag: &str) -> bool {
    tag.rsplit_once('.').is_some_and(|(_, end)| end == "sig")
}

/// Whether an artifact of this type is a signature.
#[must_use]
pub fn is_signature(artifact_type: &str) -> bool {
    SIGNATURES.contains(&artifact_type) || artifact_type.starts_with(BUNDLE)
}

/// The types of artifacts that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(Vec<String>);

impl Types {
    /// These; none: every type.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// The option that asks for these.
    #[must_use]
    pub fn option(&self) -> String {
        match self.0.as_slice() {
            [] => "--referrers".to_owned(),
            names => format!("--referrers={}", names.join(",")),
        }
    }

    /// The one that is wanted, where it is just one: what a registry can be asked for.
    #[must_use]
    pub fn only(&self) -> Option<&str> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether artifacts of this type are wanted.
    #[must_use]
    pub fn takes(&self, artifact_type: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| wanted == artifact_type)
    }

    /// Whether what a tag of cosign's points at is wanted: what it holds has the type, it has none itself.
    #[must_use]
    pub fn takes_tagged(&self, manifest: &Manifest) -> bool {
        let Content::Image { layers, .. } = &*manifest.content else {
            return self.takes(&artifact_type(manifest));
        };
        let mut held = layers.iter().map(|layer| layer.media_type.as_str());
        self.takes(&artifact_type(manifest)) || held.any(|held| self.takes(held))
    }
}

/// What only the list of referrers repeats of a manifest.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<Box<RawValue>>,
}

impl Told {
    fn by(manifest: &Manifest) -> Self {
        // What was parsed as a manifest parses once more; an odd field is none that a list repeats.
        serde_json::from_slice(&manifest.bytes).unwrap_or_default()
    }
}

/// The type of the artifact that `manifest` is: its own, else that of its config; empty for an index
/// without one (distribution-spec 1.1, "Listing Referrers").
#[must_use]
pub fn artifact_type(manifest: &Manifest) -> String {
    let own = Told::by(manifest).artifact_type;
    let own = own.filter(|own| !own.is_empty());
    own.unwrap_or_else(|| match &*manifest.content {
        Content::Image { config, .. } => config.media_type.clone(),
        Content::Index { .. } => String::new(),
    })
}

/// The type under which people know `manifest`: that of what it holds, where it is one of cosign's.
#[must_use]
pub fn shown_type(manifest: &Manifest) -> String {
    let own = artifact_type(manifest);
    match &*manifest.content {
        Content::Image { layers, .. } if media_type::is_config(&own) => {
            layers.first().map_or(own, |layer| layer.media_type.clone())
        }
        Content::Image { .. } | Content::Index { .. } => own,
    }
}

/// A walk from manifests to what refers to them, level by level, so that what refers comes after what it
/// refers to. Each is met once, however they refer to one another: tags can make a circle.
#[derive(Debug)]
pub struct Walk {
    met: BTreeSet<Digest>,
    depth: usize,
}

impl Walk {
    /// A walk that begins at `subjects`; they are its first level, each once.
    #[must_use]
    pub fn from(subjects: impl IntoIterator<Item = Digest>) -> (Self, Vec<Digest>) {
        let mut walk = Self {
            met: BTreeSet::new(),
            depth: 0,
        };
        let first = walk.unmet(subjects);
        (walk, first)
    }

    /// The next level: what was `found` to refer to the one before, without what was met already.
    ///
    /// # Errors
    ///
    /// `invalid-manifest` past [`MAX_DEPTH`] levels or [`MOST`] referrers.
    pub fn next(&mut self, found: impl IntoIterator<Item = Digest>) -> Result<Vec<Digest>> {
        let level = self.unmet(found);
        self.depth += 1;
        let cause = if self.depth > MAX_DEPTH && !level.is_empty() {
            format!("they refer to one another more than {MAX_DEPTH} deep")
        } else if self.met.len() > MOST {
            format!("there are more than {MOST}")
        } else {
            return Ok(level);
        };
        let error = Error::new(Kind::InvalidManifest, "follow referrers", "");
        Err(error
            .because(cause)
            .hint("copy without --referrers, or narrow it to a type: --referrers=TYPE"))
    }

    fn unmet(&mut self, found: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
        let found = found.into_iter();
        found
            .filter(|digest| self.met.insert(digest.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const OCI: &str = media_type::OCI_MANIFEST;

    pub(super) fn artifact(seed: &str, more: &str) -> Manifest {
        let digest = Digest::of(seed.as_bytes());
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI}"{more},"config":{{"mediaType":"c/d","digest":"{digest}","size":2}},"layers":[{{"mediaType":"l/m","digest":"{digest}","size":2}}]}}"#
        );
        Manifest::parse(text.into(), None).expect("a manifest")
    }

    pub(super) fn list(entries: &str) -> Manifest {
        let text = format!(r#"{{ "schemaVersion": 2, "x": 1.50, "manifests": [{entries}] }}"#);
        Manifest::parse(text.into(), Some(media_type::OCI_INDEX)).expect("an index")
    }

    #[test]
    fn tags_are_made_of_digests() {
        let digest = Digest::of(b"x");
        let hex = digest.hex();
        assert_eq!(list_tag(&digest), format!("sha256-{hex}"));
        let ends = ["sig", "att", "sbom"].map(|end| format!("sha256-{hex}.{end}"));
        assert_eq!(cosign_tags(&digest), ends);
        let long = Algorithm::Sha512.digest(b"x");
        assert_eq!(list_tag(&long), format!("sha512-{}", &long.hex()[..64]));
        assert!(cosign_tags(&long).is_empty());
    }

    #[test]
    fn types_narrow() {
        let all = Types::default();
        let one = Types::new(vec!["a/b".into()]);
        let two = Types::new(vec!["a/b".into(), "l/m".into()]);
        assert!(all.takes("x/y") && all.takes("") && all.only().is_none());
        assert!(one.takes("a/b") && !one.takes("x/y"));
        assert_eq!((one.only(), two.only()), (Some("a/b"), None));
        let tagged = artifact("s", "");
        assert!(all.takes_tagged(&tagged) && two.takes_tagged(&tagged));
        assert!(!one.takes_tagged(&tagged));
    }

    #[test]
    fn an_artifact_has_its_own_type_or_its_configs() {
        assert_eq!(artifact_type(&artifact("s", "")), "c/d");
        assert_eq!(
            artifact_type(&artifact("s", r#","artifactType":"""#)),
            "c/d"
        );
        assert_eq!(
            artifact_type(&artifact("s", r#","artifactType":"a/b""#)),
            "a/b"
        );
        assert_eq!(artifact_type(&list("")), "");
        for (name, is_one) in [
            ("application/vnd.cncf.notary.signature", true),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", true),
            ("application/spdx+json", false),
        ] {
            assert_eq!(is_signature(name), is_one, "{name}");
        }
    }

    #[test]
    fn a_walk_ends() {
        let digest = |name: &str| Digest::of(name.as_bytes());
        let (mut walk, first) = Walk::from([digest("a"), digest("a")]);
        assert_eq!(first, [digest("a")]);
        let second = walk.next([digest("b"), digest("a"), digest("b")]);
        assert_eq!(second.ok(), Some(vec![digest("b")]));
        assert_eq!(walk.next([digest("a")]).ok(), Some(Vec::new()), "a circle");
        let (mut deep, _) = Walk::from([digest("0")]);
        let ends = (1..=MAX_DEPTH + 1).map(|level| deep.next([digest(&level.to_string())]).is_ok());
        assert_eq!(ends.filter(|ok| *ok).count(), MAX_DEPTH);
        let (mut wide, _) = Walk::from([digest("0")]);
        let many = (0..MOST).map(|number| digest(&format!("{number}.")));
        assert!(wide.next(many).is_err());
    }
}
