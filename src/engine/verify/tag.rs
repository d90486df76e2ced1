//! Verifying one tag: what is missing or damaged, and whether the source has the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Shared, TagJob};
use crate::bounded::{AT_ONCE, late, try_all};
use crate::catalog::{Catalog, IndexSurvey, content_error};
use crate::endpoint::Target;
use crate::error::{Error, Kind, Result};
use crate::finding::{Finding, Flaw, Lack, Part, Verdict};
use crate::image::digest::Digest;
use crate::image::filter::{Filtered, Known};
use crate::image::manifest::{Content, Descriptor, Manifest};
use crate::inventory::difference::LeftOut;
use crate::options::Mode;
use crate::plan;
use crate::sanitize::{few, plural};

/// Verifies one tag.
pub(super) async fn verify(shared: Arc<Shared>, job: TagJob) -> Finding {
    let started = Instant::now();
    let mut tag = Tag {
        mode: if shared.wanted.selectors().next().is_none() {
            Mode::All
        } else {
            Mode::SparseIndex
        },
        finding: Finding::new(&job.name),
        subjects: Vec::new(),
        shared: &shared,
        job: &job,
    };
    let looked = tag.look().await;
    let mut finding = tag.finding;
    finding.lacks.sort_by_key(|lack| lack.platform.clone());
    match looked {
        Err(error) => finding.error = Some(error),
        Ok(differs) => {
            let location = (&shared.catalog, &job.target);
            let lacking = lacking(&finding.lacks, tag.mode, location);
            finding.verdict = match (&lacking, &differs) {
                (None, None) => Verdict::Complete,
                (None, Some(error)) if error.kind() == Kind::DigestMismatch => Verdict::Different,
                _ => Verdict::Incomplete,
            };
            finding.error = lacking.or(differs);
        }
    }
    finding.elapsed = started.elapsed();
    finding
}

/// The error of a tag with missing or damaged content.
fn lacking(lacks: &[Lack], mode: Mode, (catalog, target): (&Catalog, &Target)) -> Option<Error> {
    let first = lacks.first()?;
    let count = |flaw| lacks.iter().filter(|lack| lack.flaw() == flaw).count();
    let missing = count(Flaw::Missing);
    let damaged = count(Flaw::Damaged) + count(Flaw::Unreadable);
    let wrong = count(Flaw::Wrong);
    let flags = if lacks.iter().any(Lack::comes_with_referrers) {
        "--referrers --recheck blobs"
    } else {
        "--recheck blobs"
    };
    let mut hint = if let Some(archive) = catalog.endpoint.mended_by() {
        archive.to_owned()
    } else if missing > 0 {
        format!("copy it again with {flags}, which brings what is missing")
    } else if damaged > 0 {
        format!("delete what is damaged, then copy it again with {flags}")
    } else {
        "delete nothing that refers to it, all of that is whole: what has to be mended is the list, by whoever writes it".to_owned()
    };
    let is_absent = |lack: &Lack| lack.part == Part::Manifest && lack.flaw() == Flaw::Missing;
    if mode == Mode::All && lacks.iter().any(is_absent) {
        hint.push_str("; where some platforms alone were copied, --arch A verifies those");
    }
    let kind = if missing > 0 {
        Kind::NotFound
    } else {
        first.error.kind()
    };
    let parts = [
        (missing, "parts missing"),
        (damaged, "parts damaged"),
        (wrong, "wrong in lists of referrers"),
    ];
    let some = parts.iter().filter(|(count, _)| *count > 0);
    let cause: Vec<String> = some
        .map(|(count, what)| format!("{what}: {count}"))
        .collect();
    Some(
        Error::new(kind, "find all of", catalog.name(target))
            .because(cause.join(", "))
            .hint(hint),
    )
}

pub(super) struct Tag<'a> {
    pub(super) shared: &'a Shared,
    pub(super) job: &'a TagJob,
    /// `All`, or `SparseIndex` if platforms are requested, which allows the others to be missing.
    mode: Mode,
    pub(super) finding: Finding,
    /// Everything the tag leads to, which may have referrers.
    pub(super) subjects: Vec<Digest>,
}

/// The result of checking one image.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    pub(super) foreign: u64,
    pub(super) lacks: Vec<Lack>,
}

impl Tag<'_> {
    /// Checks everything, then compares with the source. The inner error says how the source differs.
    async fn look(&mut self) -> Result<Option<Error>> {
        let (root, _room) = self.shared.catalog.root_in_room(&self.job.target).await?;
        self.finding.digest = Some(root.digest.clone());
        self.finding.manifests = 1;
        if root.is_index() {
            self.look_at_index(&root).await?;
        } else {
            self.look_at_image(&root).await?;
            self.subjects = vec![root.digest.clone()];
        }
        self.look_at_referrers().await?;
        self.excuse_left_out().await?;
        match (&self.shared.source, &self.job.source) {
            (Some(source), Some(target)) => self.compare(source, target, &root).await,
            _ => Ok(None),
        }
    }

    /// Removes content that an archive leaves out by design from what is missing.
    async fn excuse_left_out(&mut self) -> Result<()> {
        let Some(difference) = self.shared.catalog.endpoint.difference().await? else {
            return Ok(());
        };
        let finding = &mut self.finding;
        let of_tag = difference.of_tag(&finding.tag);
        let mut left_out: BTreeMap<&Digest, &LeftOut> =
            of_tag.map(|part| (&part.digest, part)).collect();
        finding.lacks.retain(|lack| {
            let digest = lack.digest.as_ref();
            let excuse = digest.and_then(|digest| difference.part(digest));
            let excuse = excuse.filter(|_| lack.error.kind() == Kind::NotFound);
            left_out.extend(excuse.map(|part| (&part.digest, part)));
            excuse.is_none()
        });
        finding.left_out = left_out.into_values().cloned().collect();
        Ok(())
    }

    async fn look_at_index(&mut self, root: &Manifest) -> Result<()> {
        let IndexSurvey { known, lost } = self.shared.catalog.survey(root, self.mode).await?;
        let choice = plan::choose_index(root, &known, self.mode, &self.shared.wanted)?;
        self.subjects = choice.subjects();
        let filtered = choice.filtered;
        let read = known.manifests.len() as u64;
        let unread = lost.iter().filter(|(entry, _)| entry.is_index()).count() as u64;
        self.finding.manifests += read - unread;
        // Unreadable entries matter unless all requested platforms were found elsewhere.
        let matters = self.mode == Mode::All || !filtered.missing.is_empty();
        let (lost, passed_over) = if matters {
            (lost, Vec::new())
        } else {
            (Vec::new(), lost)
        };
        if lost.is_empty() {
            self.judge(&filtered)?;
        }
        self.note(&filtered);
        let lost: Vec<Lack> = lost
            .into_iter()
            .map(|(entry, error)| lack(&entry, error))
            .collect();
        for index in [root].into_iter().chain(&filtered.nested) {
            let looked = self.look_at_blobs(index, None).await?;
            self.add(looked);
        }
        self.look_at_children(&filtered, &known).await?;
        let passed_over = passed_over.iter().map(|(entry, _)| entry);
        let omitted: Vec<&Descriptor> = passed_over.chain(&filtered.omitted).collect();
        self.look_for_omitted(&omitted, &lost).await?;
        self.finding.lacks.extend(lost);
        Ok(())
    }

    async fn look_at_image(&mut self, root: &Manifest) -> Result<()> {
        let catalog = &self.shared.catalog;
        let platform = content_error(catalog.platform(root).await)?.unwrap_or_default();
        let name = platform.as_ref().map(ToString::to_string);
        let looked = self.look_at_blobs(root, name.as_deref()).await?;
        let choice = plan::choose_image(root, platform.as_ref(), self.mode, &self.shared.wanted);
        if looked.lacks.is_empty() {
            self.judge(&choice.filtered)?;
        }
        self.note(&choice.filtered);
        self.add(looked);
        Ok(())
    }

    /// Fails a tag that does not list the requested platforms.
    fn judge(&self, filtered: &Filtered) -> Result<()> {
        let (kind, what, names) = if !filtered.missing_required.is_empty() {
            (
                Kind::RequiredArch,
                "it lacks the required",
                &filtered.missing_required,
            )
        } else if self.mode != Mode::All && filtered.platforms.is_empty() {
            (
                Kind::MissingPlatform,
                "it has none of the platforms asked for:",
                &filtered.missing,
            )
        } else {
            return Ok(());
        };
        let present = filtered.platforms.iter().chain(&filtered.omitted_platforms);
        let present: Vec<&str> = present.map(String::as_str).collect();
        let cause = format!("{what} {}; it lists {}", names.join(", "), few(&present));
        let name = self.shared.catalog.name(&self.job.target);
        Err(Error::new(kind, "select platforms of", name)
            .because(cause)
            .hint("`barge inspect` lists the platforms"))
    }

    fn note(&mut self, filtered: &Filtered) {
        self.finding.platforms.clone_from(&filtered.platforms);
        self.finding.missing_platforms.clone_from(&filtered.missing);
    }

    pub(super) fn add(&mut self, looked: Looked) {
        self.finding.blobs += looked.blobs;
        self.finding.bytes = self.finding.bytes.saturating_add(looked.bytes);
        self.finding.lacks.extend(looked.lacks);
        self.finding.foreign += looked.foreign;
    }

    async fn look_at_children(&mut self, filtered: &Filtered, known: &Known) -> Result<()> {
        let shared = self.shared;
        let looked = filtered.kept.iter().map(|entry| {
            let platform = platform_of(entry, known);
            late(move || look_at_child(&shared.catalog, entry, platform))
        });
        let looked: Vec<_> = looked.collect();
        let mut looked = stream::iter(looked).buffered(AT_ONCE);
        // Keeps earlier results if a later child fails.
        while let Some((manifests, looked)) = looked.try_next().await? {
            self.finding.manifests += manifests;
            self.add(looked);
        }
        Ok(())
    }

    async fn look_at_blobs(&self, image: &Manifest, platform: Option<&str>) -> Result<Looked> {
        look_at_blobs(&self.shared.catalog, image, platform).await
    }

    /// Records unrequested platforms that are missing.
    async fn look_for_omitted(&mut self, omitted: &[&Descriptor], lost: &[Lack]) -> Result<()> {
        let lost: BTreeSet<&Digest> = lost
            .iter()
            .filter_map(|lack| lack.digest.as_ref())
            .collect();
        let omitted = omitted.iter().copied();
        let omitted =
            omitted.filter(|entry| !entry.is_attestation() && !lost.contains(&entry.digest));
        let endpoint = &self.shared.catalog.endpoint;
        let looked = omitted.map(async |entry| {
            let target = Target::Digest(entry.digest.clone());
            Ok::<_, Error>((entry, endpoint.head(&target).await?.is_some()))
        });
        let looked = try_all(looked).await?;
        let difference = endpoint.difference().await?;
        let is_excused = |entry: &Descriptor| {
            difference.is_some_and(|difference| difference.part(&entry.digest).is_some())
        };
        let looked = looked.into_iter().filter(|(entry, _)| !is_excused(entry));
        for (entry, _) in looked.filter(|(_, is_there)| !is_there) {
            let name = entry
                .platform
                .as_ref()
                .map_or_else(|| entry.digest.to_string(), ToString::to_string);
            if !self.finding.absent_platforms.contains(&name) {
                self.finding.absent_platforms.push(name);
            }
        }
        Ok(())
    }

    /// Returns an error unless the digest is the source's, or that of the filtered index a copy of these platforms
    /// would write.
    async fn compare(
        &mut self,
        source: &Catalog,
        target: &Target,
        here: &Manifest,
    ) -> Result<Option<Error>> {
        let Some(head) = source.endpoint.head(target).await? else {
            let error = Error::new(Kind::NotFound, "compare with", source.name(target))
                .because("the source does not have it");
            return Ok(Some(error));
        };
        self.finding.source_digest = Some(head.digest.clone());
        if head.digest == here.digest {
            return Ok(None);
        }
        if self.is_list(here) {
            return self.compare_list((source, target), here).await;
        }
        let root = source.root(target).await?;
        if self.mode != Mode::All && root.is_index() {
            let surveyed = source.survey(&root, Mode::FilteredIndex).await?;
            let wanted = &self.shared.wanted;
            let choice = plan::choose_index(&root, &surveyed.known, Mode::FilteredIndex, wanted)?;
            if choice.filtered.root.digest == here.digest {
                return Ok(None);
            }
        }
        Ok(Some(self.different(&source.name(target), &root, here)))
    }

    /// The error of a tag that differs from the source's.
    fn different(&self, source: &str, root: &Manifest, here: &Manifest) -> Error {
        let name = self.shared.catalog.name(&self.job.target);
        let error = Error::new(Kind::DigestMismatch, "compare", name);
        let (platforms, entries) = listed(root);
        let (held, ours) = if here.is_index() {
            listed(here)
        } else {
            let held = self.finding.platforms.iter().cloned().collect();
            (held, [&here.digest].into())
        };
        let arch = held.iter().cloned().collect::<Vec<_>>().join(",");
        let is_part = !held.is_empty() && held.is_subset(&platforms) && held != platforms;
        let cause = format!(
            "{source} is {}, but here it is {}",
            root.digest, here.digest
        );
        if is_part && ours.is_subset(&entries) {
            let some = format!(
                "{cause}: it has {} of the source's {}, and these are the same",
                held.len(),
                plural(platforms.len() as u64, "platform")
            );
            return error.because(some).hint(if self.mode == Mode::All {
                format!("if no others are wanted, --arch {arch} compares these")
            } else {
                format!("the index is another than barge makes of these platforms; `barge copy --arch {arch}` writes that")
            });
        }
        error.because(cause).hint(if is_part {
            format!("one of them moved on; `barge copy --arch {arch}` brings what the source has now of these platforms")
        } else {
            "one of them moved on; `barge copy` brings what the source has now".to_owned()
        })
    }
}

/// The platforms of the images that an index lists, and the digests of all its entries.
fn listed(index: &Manifest) -> (BTreeSet<String>, BTreeSet<&Digest>) {
    let images = index
        .entries()
        .iter()
        .filter(|entry| !entry.is_attestation());
    let platforms = images.filter_map(|entry| Some(entry.platform.as_ref()?.to_string()));
    let entries = index.entries().iter().map(|entry| &entry.digest);
    (platforms.collect(), entries.collect())
}

/// The platform of an image, as its entry writes it or its config names it.
fn platform_of(entry: &Descriptor, known: &Known) -> Option<String> {
    let by_config = || known.platforms.get(&entry.digest)?.as_ref();
    let platform = entry.platform.as_ref().or_else(by_config)?;
    (!entry.is_attestation()).then(|| platform.to_string())
}

/// Describes a missing or damaged entry of an index.
pub(super) fn lack(entry: &Descriptor, error: Error) -> Lack {
    let part = if entry.is_index() {
        Part::Index
    } else if entry.is_attestation() {
        Part::Attestation
    } else {
        Part::Manifest
    };
    Lack {
        part,
        digest: Some(entry.digest.clone()),
        tag: None,
        size: entry.size,
        platform: entry.platform.as_ref().map(ToString::to_string),
        of: None,
        error,
    }
}

/// Checks an entry of an index and its blobs. Also returns how many of its manifests are present.
async fn look_at_child(
    catalog: &Catalog,
    entry: &Descriptor,
    platform: Option<String>,
) -> Result<(u64, Looked)> {
    let _room = catalog.room(entry).await;
    let image = match content_error(catalog.child(entry).await)? {
        Ok(image) => image,
        Err(error) => {
            let mut lack = lack(entry, error);
            lack.platform = platform;
            let lacks = vec![lack];
            return Ok((
                0,
                Looked {
                    lacks,
                    ..Looked::default()
                },
            ));
        }
    };
    let looked = look_at_blobs(catalog, &image, platform.as_deref()).await?;
    Ok((1, looked))
}

pub(super) async fn look_at_blobs(
    catalog: &Catalog,
    image: &Manifest,
    platform: Option<&str>,
) -> Result<Looked> {
    let config = match &*image.content {
        Content::Image { config, .. } => Some(&config.digest),
        Content::Index { .. } => None,
    };
    let blobs = image.blobs();
    let looked = blobs.iter().map(async |blob| {
        let found = content_error(late(|| catalog.blob(blob)).await)?;
        Ok::<_, Error>(found.err().map(|error| Lack {
            part: if image.is_index() {
                Part::Blob
            } else if config == Some(&blob.digest) {
                Part::Config
            } else {
                Part::Layer
            },
            digest: Some(blob.digest.clone()),
            tag: None,
            size: blob.size,
            platform: platform.map(str::to_owned),
            of: None,
            error,
        }))
    });
    let lacks: Vec<Option<Lack>> = try_all(looked).await?;
    let mut all = Looked {
        foreign: image.foreign() as u64,
        ..Looked::default()
    };
    for (blob, lack) in blobs.iter().zip(lacks) {
        if lack.is_none() {
            all.blobs += 1;
            all.bytes = all.bytes.saturating_add(blob.size);
        }
        all.lacks.extend(lack);
    }
    Ok(all)
}
