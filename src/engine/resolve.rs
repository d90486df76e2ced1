//! Reading what a tag is: its manifests at the source, and what the filter makes of them.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Held;
use super::{Earlier, Shared, Tag};
use crate::bounded::{all, late, try_all};
use crate::endpoint::hints::damaged_there;
use crate::endpoint::{Arrival, Endpoint, Head, Target};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::filter::{self, Filtered, Known, Need};
use crate::image::manifest::{Content, Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::image::media_type;
use crate::image::platform::Platform;
use crate::options::{ForeignLayers, Mode, Recheck};
use crate::plan::{self, Choice};
use crate::sanitize::few;

/// What reading came to.
pub(super) enum Resolved {
    /// The destination's tag points at the very manifest, and no more is to be looked into.
    Same(Digest),
    /// What is to be there.
    Choice(Box<Choice>),
}

impl Tag {
    pub(super) async fn resolve(&mut self) -> Result<Resolved> {
        let root = match self.shared.settings.mode {
            Mode::All => match self.root_or_same().await? {
                Root::Read(root) => *root,
                Root::Same(digest) => return Ok(Resolved::Same(digest)),
            },
            Mode::FilteredIndex | Mode::SparseIndex => {
                let (root, there) = tokio::join!(self.source_root(), self.destination_head());
                self.there = there?;
                root?
            }
        };
        let choice = if root.is_index() {
            self.choose_index(&root).await?
        } else {
            self.choose_image(&root).await?
        };
        Ok(Resolved::Choice(Box::new(choice)))
    }

    /// In mode all the digest alone may tell that nothing is to be done, and an index that the
    /// destination has already is read there, which spares a pull that counts.
    async fn root_or_same(&mut self) -> Result<Root> {
        self.there = self.destination_head().await?;
        let Some(there) = self.there.clone() else {
            return Ok(Root::Read(Box::new(self.source_root().await?)));
        };
        let digest = match &self.job.source {
            Target::Digest(digest) => digest.clone(),
            target @ Target::Tag(_) => {
                let head = self.shared.source.head(target).await?;
                head.ok_or_else(|| self.absent())?.digest
            }
        };
        if digest != there.digest {
            return Ok(Root::Read(Box::new(self.source_root().await?)));
        }
        let checks = self.shared.destination.caps().checks_content;
        let recheck = self.shared.settings.recheck;
        let is_image = !media_type::is_index(&there.media_type);
        // Whose referrers are wanted is only known of an index that is read.
        let enough = self.shared.settings.referrers.is_none() || is_image && checks;
        let right = recheck == Recheck::None || recheck == Recheck::Children && is_image && checks;
        if enough && right {
            return Ok(Root::Same(digest));
        }
        let target = Target::Digest(digest);
        let held = self.read_root(&self.shared.destination, &target).await?;
        Ok(Root::Read(Box::new(match held {
            Some(root) => root,
            None => self.source_root().await?,
        })))
    }

    /// What the tag points at, or would once an earlier run is settled.
    pub(super) async fn destination_head(&self) -> Result<Option<Head>> {
        match &self.job.earlier {
            Earlier::Preview(there) => Ok(there.clone()),
            Earlier::Nothing => self.head_of_sound(&self.job.destination).await,
        }
    }

    /// What the destination has as `target`. With `--recheck blobs` a file that is damaged is written again, so it
    /// is as good as none.
    pub(super) async fn head_of_sound(&self, target: &Target) -> Result<Option<Head>> {
        let Shared {
            destination,
            settings,
            ..
        } = &*self.shared;
        match destination.head(target).await {
            Err(error)
                if error.kind() == Kind::DigestMismatch
                    && settings.recheck == Recheck::Blobs
                    && destination.is_local() =>
            {
                tracing::info!(%error, "a manifest is damaged");
                Ok(None)
            }
            head => head.map_err(damaged_there),
        }
    }

    async fn source_root(&self) -> Result<Manifest> {
        self.count_pull();
        let read = self.read_root(&self.shared.source, &self.job.source);
        read.await?.ok_or_else(|| self.absent())
    }

    /// `manifest` of the source, with its nondistributable layers where they are to come and the source has them.
    async fn with_foreign_layers(&self, manifest: Manifest) -> Result<Manifest> {
        if self.shared.settings.foreign == ForeignLayers::Left {
            return Ok(manifest);
        }
        let layers = manifest.foreign_layers().map(async |layer| {
            let held = self.shared.source.has_blob(layer).await?;
            Ok::<_, Error>(held.then(|| layer.digest.clone()))
        });
        let held: BTreeSet<Digest> = try_all(layers).await?.into_iter().flatten().collect();
        Ok(manifest.with_layers(&held))
    }

    /// Reads a root once there is room for it, which the tag keeps to its end.
    async fn read_root(&self, place: &Endpoint, target: &Target) -> Result<Option<Manifest>> {
        let mut room = self.shared.roots.largest().await;
        let manifest = place.manifest(target).await?;
        room.shrink(manifest.as_ref().map_or(0, |root| root.bytes.len()));
        // A stream begins when all tags have decided: each of them has read its root by then.
        if self.shared.import.is_none() {
            self.keep_room(room);
        }
        match manifest {
            Some(found) => self.with_foreign_layers(found).await.map(Some),
            None => Ok(None),
        }
    }

    fn absent(&self) -> Error {
        Error::new(Kind::NotFound, "read manifest", self.source_name())
            .because("the source does not have it")
    }

    /// Reads what the filter needs to know, round by round, and filters.
    async fn choose_index(&self, root: &Manifest) -> Result<Choice> {
        self.choose_knowing(root, Known::default()).await
    }

    /// The same, where some is known already.
    async fn choose_knowing(&self, root: &Manifest, mut known: Known) -> Result<Choice> {
        let settings = &self.shared.settings;
        loop {
            let mut needs =
                filter::needs(root, &known).map_err(|error| self.about_source(&error))?;
            if settings.mode == Mode::All {
                // Every entry is copied, whatever its platform.
                needs.retain(|need| matches!(need, Need::Index(_)));
            }
            if needs.is_empty() {
                break;
            }
            let learnt = try_all(needs.iter().map(|need| late(|| self.learn(need)))).await?;
            let mut lost = Vec::new();
            for (need, learnt) in needs.iter().zip(learnt) {
                let (Need::Index(entry) | Need::Platform(entry)) = need;
                match learnt {
                    Learnt::Index(manifest) => {
                        known.manifests.insert(entry.digest.clone(), *manifest);
                    }
                    Learnt::Platform(platform) => {
                        known.platforms.insert(entry.digest.clone(), platform);
                    }
                    Learnt::Lost => lost.push(entry.clone()),
                }
            }
            if !lost.is_empty() {
                let indexes = root.entries().iter().filter(|entry| entry.is_index());
                if let Some(list) = self.without_gone(root, indexes).await? {
                    return self.choose_index_as(&list, &root.digest).await;
                }
                let nested = known.manifests.values().flat_map(Manifest::entries);
                let listed: Vec<_> = root.entries().iter().chain(nested).cloned().collect();
                if settings.mode == Mode::All {
                    lost.clone_from(&listed);
                }
                return Err(self.lost(listed.iter(), &lost).await);
            }
        }
        let choice = plan::choose_index(root, &known, settings.mode, &settings.wanted)
            .map_err(|error| self.about_source(&error))?;
        for entry in &choice.filtered.kept {
            if let Some(platform) = entry.platform.clone().filter(Platform::is_named) {
                let listed = self
                    .shared
                    .listed
                    .run(&entry.digest, async { Ok(platform) });
                listed.await?;
            }
        }
        Ok(choice)
    }

    /// The attestations of `choice` that the source lists and does not hold, where a new index can do without them:
    /// those of images saved from a store that pulled one platform.
    pub(super) async fn lost_attestations(
        &self,
        choice: &Choice,
        held: &Held,
    ) -> Result<BTreeSet<Digest>> {
        if self.shared.settings.mode != Mode::FilteredIndex {
            return Ok(BTreeSet::new());
        }
        let kept = choice.filtered.kept.iter();
        let asked = kept.filter(|entry| entry.is_attestation() && !held.contains(&entry.digest));
        let lost = asked.map(|entry| {
            late(async move || {
                let _room = self.shared.children.of(entry.size).await;
                match self.child(entry).await {
                    Err(error) if error.kind() == Kind::NotFound => Some(entry.digest.clone()),
                    // Any other failure is met again where it matters.
                    Ok(_) | Err(_) => None,
                }
            })
        });
        Ok(all(lost).await.into_iter().flatten().collect())
    }

    /// `choice` without these attestations.
    pub(super) async fn choose_without(
        &self,
        choice: Choice,
        gone: BTreeSet<Digest>,
    ) -> Result<Choice> {
        let nested = choice.filtered.nested.iter();
        let known = Known {
            manifests: nested
                .map(|index| (index.digest.clone(), index.clone()))
                .collect(),
            gone,
            ..Known::default()
        };
        let again = self
            .choose_knowing(&choice.filtered.root, known)
            .await?
            .filtered;
        let before = choice.filtered;
        let of_source: BTreeSet<&Digest> = before.replaced.values().collect();
        let mut replaced: BTreeMap<Digest, Digest> = again.replaced.clone();
        replaced.retain(|old, _| !of_source.contains(old));
        for (source, first) in &before.replaced {
            let last = again.replaced.get(first).unwrap_or(first);
            replaced.insert(source.clone(), last.clone());
        }
        Ok(Choice {
            source: choice.source,
            filtered: Filtered {
                omitted: before.omitted.into_iter().chain(again.omitted).collect(),
                omitted_platforms: before.omitted_platforms,
                missing: before.missing,
                missing_required: before.missing_required,
                replaced,
                ..again
            },
        })
    }

    /// What becomes of `list`, which stands for the source's root with the digest `source`.
    pub(super) async fn choose_index_as(&self, list: &Manifest, source: &Digest) -> Result<Choice> {
        let choice = Box::pin(self.choose_index(list)).await?;
        Ok(Choice {
            source: source.clone(),
            ..choice
        })
    }

    fn about_source(&self, error: &Error) -> Error {
        Error::new(error.kind(), "read index", self.source_name()).because(error.cause())
    }

    async fn learn(&self, need: &Need) -> Result<Learnt> {
        let (Need::Index(entry) | Need::Platform(entry)) = need;
        let manifest = match self.child(entry).await {
            Ok(manifest) => manifest,
            Err(error) if error.kind() == Kind::NotFound => return Ok(Learnt::Lost),
            Err(error) => return Err(error),
        };
        Ok(match need {
            Need::Index(_) => Learnt::Index(Box::new(manifest)),
            Need::Platform(_) => Learnt::Platform(self.platform(&manifest).await?),
        })
    }

    async fn choose_image(&self, root: &Manifest) -> Result<Choice> {
        let settings = &self.shared.settings;
        let platform = match settings.mode {
            Mode::All => self.platform_of_moved(root).await?,
            Mode::FilteredIndex | Mode::SparseIndex => self.platform(root).await?,
        };
        Ok(plan::choose_image(
            root,
            platform.as_ref(),
            settings.mode,
            &settings.wanted,
        ))
    }

    /// The platform of an image that is copied whatever it is: for the report, so it must cost no blob
    /// that would not be moved anyway. Every tag of the run tells the same, whichever comes first.
    async fn platform_of_moved(&self, image: &Manifest) -> Result<Option<Platform>> {
        let Content::Image { config, .. } = &*image.content else {
            return Ok(None);
        };
        if config.size > MAX_MANIFEST_BYTES as u64 {
            return Ok(None);
        }
        let read = Box::pin(self.read_before_it_moves(image, config));
        let key = (config.stated(), config.media_type.clone());
        let known = self.shared.platforms.run(&key, read).await?;
        Ok(known.into_inner())
    }

    /// The platform that `config` names, where it has not been at the destination before this run. What moved
    /// for an index is not read again: that has told its platform.
    async fn read_before_it_moves(
        &self,
        image: &Manifest,
        config: &Descriptor,
    ) -> Result<Option<Platform>> {
        let Shared {
            source,
            destination,
            blobs,
            settings,
            ..
        } = &*self.shared;
        if !source.is_local() {
            // Never while it is moved: distribution on a file system answers 500 to a look during a mount.
            let look = async {
                let depth = settings.recheck.depth();
                let there = destination.holds_blob(config, depth).await?;
                Ok(there.then_some(Arrival::Existing))
            };
            match blobs.look(&config.stated(), look).await? {
                Some(Arrival::Existing) => return Ok(None),
                Some(Arrival::Copied | Arrival::Mounted) => {
                    let listed = &self.shared.listed;
                    let listed = listed.look(&image.digest, async { Ok(None) }).await?;
                    if listed.is_some() {
                        return Ok(listed);
                    }
                    // It moved for a descriptor that calls it no config.
                }
                None => {}
            }
        }
        match self.platform(image).await {
            // Its platform decides nothing here.
            Err(error) if error.kind() == Kind::InvalidManifest => Ok(None),
            platform => platform,
        }
    }

    /// The platform that an image's config names.
    async fn platform(&self, image: &Manifest) -> Result<Option<Platform>> {
        let Content::Image { config, .. } = &*image.content else {
            return Ok(None);
        };
        if !media_type::is_config(&config.media_type) {
            return Ok(None);
        }
        let bytes = self.shared.source.small_blob(config).await?;
        Platform::from_config(&bytes)
    }

    /// A child of the root, by its entry; read once a run.
    pub(super) async fn child(&self, entry: &Descriptor) -> Result<Manifest> {
        let manifest = self.read(entry).await?;
        match entry.misstates(&manifest) {
            None => Ok(manifest),
            Some((kind, cause)) => {
                let name = format!("{}@{}", self.shared.source, entry.digest);
                Err(Error::new(kind, "read manifest", name).because(cause))
            }
        }
    }

    /// The manifest that `entry` names, whatever it says of it; read once a run.
    pub(super) async fn read(&self, entry: &Descriptor) -> Result<Manifest> {
        let target = Target::Digest(entry.digest.clone());
        let read = self.shared.manifests.read(&entry.digest, async {
            self.count_pull();
            let found = self.shared.source.manifest(&target).await?;
            let found = found.ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    "read manifest",
                    format!("{}@{target}", self.shared.source),
                )
                .because("the index lists it, but the source does not hold it")
            })?;
            self.with_foreign_layers(found).await
        });
        read.await
    }

    /// The error of a source that is itself sparse: some of what is `wanted` it lists, but does not hold.
    /// Everything `listed` is asked for, once a tag, however many of its images fail.
    pub(super) async fn lost<'a>(
        &self,
        listed: impl Iterator<Item = &'a Descriptor>,
        wanted: &[Descriptor],
    ) -> Error {
        let lost = self.lost.get_or_init(|| self.find_lost(listed, wanted));
        lost.await.clone()
    }

    async fn find_lost<'a>(
        &self,
        listed: impl Iterator<Item = &'a Descriptor>,
        wanted: &[Descriptor],
    ) -> Error {
        let asked = listed.map(|entry| {
            late(async move || {
                let target = Target::Digest(entry.digest.clone());
                (entry, self.shared.source.head(&target).await)
            })
        });
        let wanted: BTreeSet<&Digest> = wanted.iter().map(|entry| &entry.digest).collect();
        let (mut held, mut lost) = (Vec::new(), Vec::new());
        let mut only_attestations = true;
        for (entry, head) in all(asked).await {
            match head {
                Ok(Some(_)) if !entry.is_attestation() && !entry.is_index() => {
                    held.push(label(entry));
                }
                Ok(None) if wanted.contains(&entry.digest) => {
                    only_attestations &= entry.is_attestation();
                    lost.push(label(entry));
                }
                _ => {}
            }
        }
        if lost.is_empty() {
            return Error::new(Kind::NotFound, "read the children of", self.source_name())
                .because("some that its index lists are there by HEAD, and not by GET")
                .hint("ask the registry's operator to check its storage");
        }
        let held = if held.is_empty() {
            "no image of it".to_owned()
        } else {
            few(&held)
        };
        let them = if lost.len() == 1 { "it" } else { "them" };
        let cause = format!(
            "the source is sparse: its index lists {}, but the source does not hold {them}; it holds {held}",
            few(&lost)
        );
        let hint = match self.shared.settings.mode {
            Mode::All => "`barge inspect` shows what is present; --arch picks among that",
            Mode::SparseIndex if only_attestations => {
                "--mode filtered-index makes an index without what is lost"
            }
            Mode::FilteredIndex | Mode::SparseIndex => {
                "name with --arch platforms that are held; `barge inspect` shows them"
            }
        };
        Error::new(Kind::NotFound, "read the children of", self.source_name())
            .because(cause)
            .hint(hint)
    }

    pub(super) fn count_pull(&self) {
        self.pulls
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

enum Root {
    Read(Box<Manifest>),
    Same(Digest),
}

enum Learnt {
    Index(Box<Manifest>),
    Platform(Option<Platform>),
    /// The source lists it, and does not hold it.
    Lost,
}

/// An entry of an index as errors name it.
fn label(entry: &Descriptor) -> String {
    match &entry.platform {
        _ if entry.is_attestation() => format!("attestation {}", entry.digest),
        _ if entry.is_index() => format!("index {}", entry.digest),
        Some(platform) => format!("{platform} ({})", entry.digest),
        None => entry.digest.to_string(),
    }
}
