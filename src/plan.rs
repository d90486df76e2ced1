//! What one tag needs, decided before anything moves. Pure: manifests in, work out.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::filter::{self, Filtered, Form, Known};
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::platform::{Platform, Wanted};
use crate::options::{MissingArch, Mode};
use crate::sanitize::few;

/// What becomes of a tag's root, and which of its children are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The digest of the source's root.
    pub source: Digest,
    /// What the filter made of it.
    pub filtered: Filtered,
}

impl Choice {
    /// Whether the destination's root is the source's own index, which may then lack children.
    #[must_use]
    pub(crate) fn is_own_index(&self) -> bool {
        self.filtered.root.is_index() && !self.filtered.is_rewritten()
    }

    /// Whether the destination gets an index without some of its children.
    #[must_use]
    pub(crate) fn is_sparse(&self) -> bool {
        self.is_own_index() && !self.filtered.omitted.is_empty()
    }

    /// What the source's index lists: what is wanted, and what is left out.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Descriptor> {
        self.filtered.kept.iter().chain(&self.filtered.omitted)
    }

    /// The digests of all manifests that the destination is to hold below the root.
    pub(crate) fn children(&self) -> impl Iterator<Item = Digest> {
        let nested = self.filtered.nested.iter().map(|index| &index.digest);
        nested
            .chain(self.filtered.kept.iter().map(|entry| &entry.digest))
            .cloned()
    }

    /// The manifests whose referrers come along: all that the destination is to hold, but for indexes that
    /// are new there.
    #[must_use]
    pub(crate) fn subjects(&self) -> Vec<Digest> {
        let Filtered { root, replaced, .. } = &self.filtered;
        let new: BTreeSet<&Digest> = replaced.values().collect();
        let all = std::iter::once(root.digest.clone()).chain(self.children());
        all.filter(|digest| !new.contains(digest)).collect()
    }
}

/// Decides what becomes of an index.
///
/// # Errors
///
/// When the index cannot be filtered; see [`filter::filter`].
pub(crate) fn choose_index(
    index: &Manifest,
    known: &Known,
    mode: Mode,
    wanted: &Wanted,
) -> Result<Choice> {
    let filtered = match mode {
        Mode::All => filter::everything(index, known)?,
        Mode::FilteredIndex => filter::filter(index, wanted, known, Form::Rewrite)?,
        Mode::SparseIndex => filter::filter(index, wanted, known, Form::Keep)?,
    };
    Ok(Choice {
        source: index.digest.clone(),
        filtered,
    })
}

/// Decides what becomes of a single image, whose config names `platform`.
#[must_use]
pub(crate) fn choose_image(
    image: &Manifest,
    platform: Option<&Platform>,
    mode: Mode,
    wanted: &Wanted,
) -> Choice {
    let name = platform.map(ToString::to_string);
    let matches = mode == Mode::All || platform.is_some_and(|platform| wanted.matches(platform));
    let lacks = |selectors: &mut dyn Iterator<Item = &crate::image::platform::PlatformSelector>| {
        let mut seen = BTreeSet::new();
        let missing = selectors
            .filter(|selector| !platform.is_some_and(|platform| selector.matches(platform)))
            .map(ToString::to_string);
        missing
            .filter(|name| seen.insert(name.clone()))
            .collect::<Vec<_>>()
    };
    let present: Vec<String> = match mode {
        Mode::All => name.into_iter().collect(),
        Mode::FilteredIndex | Mode::SparseIndex => {
            vec![name.unwrap_or_else(|| "unknown".to_owned())]
        }
    };
    let (platforms, omitted_platforms) = if matches {
        (present, Vec::new())
    } else {
        (Vec::new(), present)
    };
    Choice {
        source: image.digest.clone(),
        filtered: Filtered {
            root: image.clone(),
            nested: Vec::new(),
            kept: Vec::new(),
            omitted: Vec::new(),
            platforms,
            omitted_platforms,
            missing: lacks(&mut wanted.selectors()),
            missing_required: lacks(&mut wanted.required.iter()),
            replaced: BTreeMap::new(),
        },
    }
}

/// Whether a tag goes on.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It has what was asked for, or some of it.
    Copy,
    /// It has none of the platforms, and such tags are left out.
    Skip(Error),
    Fail(Error),
}

/// Whether a tag whose source came to `choice` is copied.
#[must_use]
pub(crate) fn judge(choice: &Choice, mode: Mode, missing: MissingArch, name: &str) -> Verdict {
    let Filtered {
        platforms,
        omitted_platforms,
        missing: lacks,
        missing_required,
        ..
    } = &choice.filtered;
    let present: Vec<String> = platforms.iter().chain(omitted_platforms).cloned().collect();
    let present = listed(&present);
    let error = |kind, what: &str, names: &[String]| {
        Error::new(kind, "select platforms of", name).because(format!(
            "{what} {}; the source has {present}",
            names.join(", ")
        ))
    };
    if !missing_required.is_empty() {
        return Verdict::Fail(error(
            Kind::RequiredArch,
            "it lacks the required",
            missing_required,
        ));
    }
    if mode == Mode::All || !platforms.is_empty() {
        return Verdict::Copy;
    }
    let error = error(
        Kind::MissingPlatform,
        "it has none of the platforms asked for:",
        lacks,
    );
    match missing {
        MissingArch::Fail => Verdict::Fail(error),
        MissingArch::Skip => Verdict::Skip(error),
    }
}

fn listed(platforms: &[String]) -> String {
    if platforms.is_empty() {
        return "no platform".to_owned();
    }
    few(platforms)
}

/// Refuses a tag whose digest at the destination would not be the source's.
///
/// # Errors
///
/// `unsupported`, where the filter made a new index.
pub(crate) fn check_digest(choice: &Choice, name: &str) -> Result<()> {
    let root = &choice.filtered.root.digest;
    if *root == choice.source {
        return Ok(());
    }
    let cause = format!(
        "--preserve-digests is given, and without what is left out ({}) its index has the digest {root} instead of {}",
        listed(&choice.filtered.omitted_platforms),
        choice.source
    );
    Err(Error::new(Kind::Unsupported, "copy", name)
        .because(cause)
        .hint("--mode sparse-index and --mode all keep the digest; one platform's image has its own: SOURCE@DIGEST"))
}

/// Leaves of `choice` the one image that a place without indexes can hold.
///
/// # Errors
///
/// `unsupported` where the source's index comes to several images, or none.
pub(crate) fn keep_one_image(choice: &mut Choice, name: &str) -> Result<()> {
    let filtered = &mut choice.filtered;
    if !filtered.root.is_index() {
        return Ok(());
    }
    filtered.kept.retain(|entry| !entry.is_attestation());
    filtered.nested.clear();
    if filtered.kept.len() == 1 {
        return Ok(());
    }
    let cause = format!(
        "it is an index of {} images ({}), and a docker-archive holds one of a tag",
        filtered.kept.len(),
        listed(&filtered.platforms)
    );
    Err(Error::new(Kind::Unsupported, "save", name)
        .because(cause)
        .hint("name one of the platforms: --arch arm64, arm/v7 or windows/amd64:10.0.17763, for example"))
}

/// Every blob of `image` once, the largest first.
#[must_use]
pub(crate) fn largest_first(image: &Manifest) -> Vec<&Descriptor> {
    let mut blobs = image.blobs();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    blobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn image(layers: &[u64]) -> Manifest {
        let descriptor = |kind: &str, size: u64| {
            let digest = Digest::of(format!("{kind}{size}").as_bytes());
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#
            )
        };
        let layers: Vec<String> = layers
            .iter()
            .map(|size| descriptor("layer.v1.tar+gzip", *size))
            .collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
            descriptor("config.v1+json", 2),
            layers.join(",")
        );
        Manifest::parse(Bytes::from(text), None).expect("an image")
    }

    fn wanted(platforms: &[&str], required: &[&str]) -> Wanted {
        let parse = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().expect("a selector"))
                .collect()
        };
        Wanted {
            platforms: parse(platforms),
            required: parse(required),
        }
    }

    fn platform(os: &str, architecture: &str) -> Platform {
        let config = format!(r#"{{"os":"{os}","architecture":"{architecture}"}}"#);
        Platform::from_config(config.as_bytes())
            .expect("a config")
            .expect("a platform")
    }

    #[test]
    fn a_single_image_is_judged_by_its_config() {
        let arm = platform("linux", "arm64");
        let choose = |wanted| choose_image(&image(&[1]), Some(&arm), Mode::FilteredIndex, &wanted);
        let fits = choose(wanted(&["arm64"], &[]));
        assert!(matches!(
            judge(&fits, Mode::FilteredIndex, MissingArch::Fail, "x"),
            Verdict::Copy
        ));
        assert_eq!(fits.filtered.platforms, ["linux/arm64"]);
        let lacks = choose(wanted(&["amd64"], &[]));
        let Verdict::Fail(error) = judge(&lacks, Mode::FilteredIndex, MissingArch::Fail, "x")
        else {
            panic!()
        };
        assert_eq!(error.kind(), Kind::MissingPlatform);
        assert!(
            error
                .to_string()
                .contains("amd64; the source has linux/arm64"),
            "{error}"
        );
        assert!(matches!(
            judge(&lacks, Mode::SparseIndex, MissingArch::Skip, "x"),
            Verdict::Skip(_)
        ));
        let required = choose(wanted(&["arm64"], &["amd64"]));
        let Verdict::Fail(error) = judge(&required, Mode::FilteredIndex, MissingArch::Skip, "x")
        else {
            panic!()
        };
        assert_eq!(error.kind(), Kind::RequiredArch);
    }

    #[test]
    fn blobs_come_once_and_the_largest_first() {
        let image = image(&[5, 90, 5, 30]);
        let sizes: Vec<u64> = largest_first(&image).iter().map(|blob| blob.size).collect();
        assert_eq!(sizes, [90, 30, 5, 2]);
    }
}
