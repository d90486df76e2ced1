//! Which of the parts that an archive leaves out a run needs. Its record tells that for each tag; which
//! platform a part is of is read from the manifests, as far as they are there.

use std::collections::BTreeSet;

use super::super::TagJob;
use super::Selected;
use crate::bounded::{AT_ONCE, try_all};
use crate::catalog::{Catalog, IndexSurvey, content_error};
use crate::endpoint::{Endpoint, Target};
use crate::error::Result;
use crate::event::Events;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::inventory::difference::{Difference, LeftOut};
use crate::options::{Depth, Mode};
use crate::plan;

/// What one tag needs.
struct Need {
    /// What its record calls it.
    names: BTreeSet<String>,
    /// The digests of what is wanted of it; `None`: of all that its record lists.
    digests: Option<Digests>,
}

/// Parts of one image, by what refers to them.
#[derive(Default)]
struct Digests {
    wanted: BTreeSet<Digest>,
    /// What nothing but unwanted platforms need.
    unwanted: BTreeSet<Digest>,
    /// Whether what is in neither is wanted: nobody knows what it is of.
    others: bool,
}

impl Need {
    fn takes(&self, part: &LeftOut) -> bool {
        match &self.digests {
            None => !part.tags.is_disjoint(&self.names),
            Some(digests) => {
                let unknown = digests.others && !digests.unwanted.contains(&part.digest);
                digests.wanted.contains(&part.digest)
                    || unknown && !part.tags.is_disjoint(&self.names)
            }
        }
    }
}

/// All that these tags may need, by the record alone: of an image by digest it is not known what it is called.
pub(super) fn recorded<'a>(difference: &'a Difference, tags: &[TagJob]) -> Vec<&'a LeftOut> {
    let names: BTreeSet<String> = tags.iter().map(|tag| tag.source.to_string()).collect();
    let by_digest = tags
        .iter()
        .any(|tag| matches!(tag.source, Target::Digest(_)));
    let parts = difference.parts.iter();
    parts
        .filter(|part| by_digest || !part.tags.is_disjoint(&names))
        .collect()
}

/// What the tags of a run need, of an archive.
pub(super) struct Needs(Vec<Need>);

impl Needs {
    /// Exactly, as far as the manifests of `source` can be read.
    ///
    /// # Errors
    ///
    /// When the source cannot be read.
    pub(super) async fn read(
        source: &Endpoint,
        selected: &Selected<'_>,
        events: &Events,
    ) -> Result<Self> {
        let catalog = Catalog::new(source.clone(), Depth::Presence, (AT_ONCE, events));
        let mut needs = Vec::new();
        for tag in selected.tags {
            needs.push(need(&catalog, selected, tag).await?);
        }
        Ok(Self(needs))
    }

    /// Those of `parts` that are needed, each for the tags that need it.
    pub(super) fn among<'a>(&self, parts: impl Iterator<Item = &'a LeftOut>) -> Vec<LeftOut> {
        let narrowed = parts.filter_map(|part| {
            let mut part = part.clone();
            let takers = self.0.iter().filter(|need| need.takes(&part));
            part.tags = takers.flat_map(|need| &need.names).cloned().collect();
            (!part.tags.is_empty()).then_some(part)
        });
        narrowed.collect()
    }
}

async fn need(catalog: &Catalog, selected: &Selected<'_>, tag: &TagJob) -> Result<Need> {
    let names = match &tag.source {
        Target::Tag(name) => BTreeSet::from([name.clone()]),
        Target::Digest(digest) => called(&catalog.endpoint, digest).await?,
    };
    let root = content_error(catalog.root(&tag.source).await)?;
    let digests = match (root, &tag.source) {
        (Ok(_), Target::Tag(_)) if selected.mode == Mode::All => None,
        // What is wrong with an index is told when it is copied.
        (Ok(root), _) => content_error(digests(catalog, selected, &root).await)?.ok(),
        (Err(_), Target::Tag(_)) => None,
        (Err(_), Target::Digest(root)) => Some(Digests {
            wanted: BTreeSet::from([root.clone()]),
            ..Digests::default()
        }),
    };
    Ok(Need { names, digests })
}

/// The tags that point at `digest`; of an image that has none, the digest.
async fn called(archive: &Endpoint, digest: &Digest) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for tag in archive.tags().await? {
        let head = archive.head(&Target::Tag(tag.clone())).await?;
        if head.is_some_and(|head| head.digest == *digest) {
            names.insert(tag);
        }
    }
    if names.is_empty() {
        names.insert(digest.to_string());
    }
    Ok(names)
}

async fn digests(catalog: &Catalog, selected: &Selected<'_>, root: &Manifest) -> Result<Digests> {
    let mut digests = Digests {
        wanted: BTreeSet::from([root.digest.clone()]),
        others: selected.referrers.is_some(),
        ..Digests::default()
    };
    if !root.is_index() {
        let platform = content_error(catalog.platform(root).await)?;
        let is_wanted = platform.map_or(true, |platform| {
            let choice =
                plan::choose_image(root, platform.as_ref(), selected.mode, selected.wanted);
            !choice.filtered.platforms.is_empty()
        });
        if is_wanted {
            digests.wanted.extend(blobs(root));
        }
        return Ok(digests);
    }
    let IndexSurvey { known, lost } = catalog.survey(root, selected.mode).await?;
    let choice = plan::choose_index(root, &known, selected.mode, selected.wanted)?;
    digests.wanted.extend(choice.children());
    digests.wanted.extend(known.manifests.into_keys());
    digests
        .wanted
        .extend(lost.into_iter().map(|(entry, _)| entry.digest));
    digests
        .wanted
        .extend(listed(catalog, &choice.filtered.kept).await?);
    let omitted = &choice.filtered.omitted;
    digests.unwanted = listed(catalog, omitted).await?;
    digests
        .unwanted
        .extend(omitted.iter().map(|entry| entry.digest.clone()));
    Ok(digests)
}

/// The blobs of these images, as far as the images are there.
async fn listed(catalog: &Catalog, images: &[Descriptor]) -> Result<BTreeSet<Digest>> {
    let read = images
        .iter()
        .map(async |entry| content_error(catalog.child(entry).await));
    let read = try_all(read).await?;
    Ok(read.iter().flatten().flat_map(blobs).collect())
}

fn blobs(image: &Manifest) -> impl Iterator<Item = Digest> {
    image.blobs().into_iter().map(|blob| blob.digest.clone())
}
