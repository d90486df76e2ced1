//! An archive of `docker save`: one image a tag, its config read first, its layers unpacked in the order of
//! their `diff_id`s, which no tag that fails can change. The next ones are fetched meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::super::bring::Tally;
use super::super::{Shared, TAGS_AT_ONCE};
use super::{Export, Needed, Ready, disputed, interrupted};
use crate::endpoint::archive::docker::DockerArchive;
use crate::endpoint::archive::docker_manifest::{Image, Name, config};
use crate::endpoint::archive::docker_writer::DockerWriter;
use crate::endpoint::archive::prefetch::Prefetch;
use crate::endpoint::{Arrival, Target};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Stated;
use crate::once_map::Done;
use crate::options::Run;

/// A blob that unpacks to a layer. Several blobs may unpack to the same one.
struct Wanted<'a> {
    diff_id: &'a Digest,
    needed: Needed,
}

impl Ready {
    /// What the image is to be called; nothing, where its tag is not known either.
    fn name(&self, archive: &DockerArchive) -> Result<Option<Name>> {
        let Target::Tag(tag) = &self.tag.job.destination else {
            return Ok(None);
        };
        let repository = archive.repository_of(self.load.repository.as_deref());
        let Some(repository) = repository else {
            let cause = "the source does not say of which repository it is";
            return Err(
                Error::new(Kind::Unsupported, "name", self.tag.source_name())
                    .because(cause)
                    .hint(format!("name it: {archive}:NAME")),
            );
        };
        Ok(Some(Name {
            repository: repository.to_owned(),
            tag: tag.clone(),
        }))
    }

    /// Reads the image's config.
    async fn read(&self, (shared, archive): (&Shared, &DockerArchive)) -> Result<Image> {
        let (manifest, name) = (self.load.image()?, self.name(archive)?);
        let bytes = shared.source.small_blob(config(&manifest)?).await?;
        Image::of(&manifest, bytes, name)
    }
}

impl Export<'_, DockerArchive> {
    /// Writes the archive; an error is every tag's.
    pub(super) async fn write(&mut self, cancelled: &CancellationToken) -> Result<()> {
        let saved = cancelled.run_until_cancelled(self.save()).await;
        let Some((saving, images)) = saved.unwrap_or_else(|| Err(interrupted()))? else {
            return Ok(());
        };
        let images: Vec<&Image> = self.alive_of(&images).map(|(_, image)| image).collect();
        saving.finish(&images).await
    }

    /// All but the end of the archive; nothing where nothing is to be written.
    async fn save(&mut self) -> Result<Option<(DockerWriter, Vec<Option<Image>>)>> {
        let images = self.read().await;
        self.count(&images);
        if self.alive() == 0 || self.shared.settings.run == Run::Dry || self.is_off() {
            return Ok(None);
        }
        self.check_sizes(disputed(needed(self.wanted(&images))))
            .await?;
        let Some((mut saving, wanted)) = self.begin(&images).await? else {
            return Ok(None);
        };
        self.bring(&mut saving, &wanted).await?;
        if self.alive() == 0 || self.is_off() {
            return Ok(None);
        }
        self.count(&images);
        Ok(Some((saving, images)))
    }

    /// Begins to write all that has not failed; nothing where no tag is left.
    async fn begin<'i>(
        &mut self,
        images: &'i [Option<Image>],
    ) -> Result<Option<(DockerWriter, Vec<Wanted<'i>>)>> {
        loop {
            let wanted = self.wanted(images);
            let error = match self.archive.save(least(&wanted)).await {
                Ok(saving) => return Ok(Some((saving, wanted))),
                Err(error) => error,
            };
            if !self.doubt_largest(needed(wanted)).await? {
                return Err(error);
            }
            if self.alive() == 0 || self.is_off() {
                return Ok(None);
            }
        }
    }

    /// Reads what all images are; a tag whose image cannot be saved fails.
    async fn read(&mut self) -> Vec<Option<Image>> {
        let whence = (self.shared.as_ref(), self.archive);
        let read = self.ready.iter().map(|ready| ready.read(whence));
        let images: Vec<_> = stream::iter(read).buffered(TAGS_AT_ONCE).collect().await;
        let kept = images.into_iter().zip(&mut self.failed);
        kept.map(|(image, failed)| image.map_err(|error| *failed = Some(error)).ok())
            .collect()
    }

    /// The images of the tags that have not failed, with the tags' numbers.
    fn alive_of<'i>(
        &self,
        images: &'i [Option<Image>],
    ) -> impl Iterator<Item = (usize, &'i Image)> + use<'i, '_> {
        let alive = images.iter().zip(&self.failed).enumerate();
        alive.filter_map(|(number, (image, failed))| match failed {
            None => Some((number, image.as_ref()?)),
            Some(_) => None,
        })
    }

    /// Counts what comes for each tag: nothing of an archive is there before.
    fn count(&self, images: &[Option<Image>]) {
        let mut seen = BTreeSet::new();
        for (number, image) in self.alive_of(images) {
            let mut tally = Tally::default();
            for (blob, content) in image.blobs() {
                let first = seen.insert(content);
                tally.add(
                    blob,
                    if first {
                        Done::Now(Arrival::Copied)
                    } else {
                        Done::Before(Arrival::Copied)
                    },
                );
            }
            if let Some(ready) = self.ready.get(number) {
                *ready.tag.tally() = tally;
            }
        }
    }

    /// The blobs of all layers, in the order in which these are in the archive.
    fn wanted<'i>(&self, images: &'i [Option<Image>]) -> Vec<Wanted<'i>> {
        let mut wanted: BTreeMap<(&Digest, Stated), Wanted> = BTreeMap::new();
        for (number, image) in self.alive_of(images) {
            for (diff_id, blob) in &image.layers {
                let known = wanted.entry((diff_id, blob.stated()));
                let known = known.or_insert_with(|| Wanted {
                    diff_id,
                    needed: Needed {
                        blob: blob.clone(),
                        users: Vec::new(),
                    },
                });
                known.needed.users.push(number);
            }
        }
        wanted.into_values().collect()
    }

    /// Brings the layers. A blob that fails fails the tags that have it; another one that unpacks to the
    /// same layer may still come.
    async fn bring(&mut self, saving: &mut DockerWriter, wanted: &[Wanted<'_>]) -> Result<()> {
        let shared = self.shared;
        let jobs = shared.settings.jobs;
        let begin = |blob| Prefetch::begin(blob, &shared.source, (jobs, &shared.events));
        let mut next = wanted.iter().peekable();
        let mut coming: VecDeque<(&Wanted, Option<Prefetch>)> = VecDeque::new();
        let mut last = None;
        loop {
            while coming.len() < jobs
                && let Some(wanted) = next.next()
            {
                // The second blob of a layer is needed only where the first one fails.
                let first = last.replace(wanted.diff_id) != Some(wanted.diff_id);
                let fetched = first && self.is_wanted(Some(&wanted.needed.users));
                coming.push_back((wanted, fetched.then(|| begin(&wanted.needed.blob))));
            }
            let Some((wanted, prefetch)) = coming.pop_front() else {
                return Ok(());
            };
            let Needed { blob, users } = &wanted.needed;
            if !self.is_wanted(Some(users)) {
                continue;
            }
            if saving.holds(wanted.diff_id) {
                // It need not come, and states a size all the same.
                let unread = Needed {
                    blob: blob.clone(),
                    users: users.clone(),
                };
                self.check_sizes(vec![unread]).await?;
                continue;
            }
            let prefetch = prefetch.unwrap_or_else(|| begin(blob));
            match saving.add(wanted.diff_id, prefetch).await {
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => self.fail(users, &error),
                Ok(()) => {}
            }
        }
    }
}

/// The blobs of layers, each once.
fn needed(wanted: Vec<Wanted<'_>>) -> BTreeMap<Stated, Needed> {
    let mut needed: BTreeMap<Stated, Needed> = BTreeMap::new();
    for wanted in wanted {
        let Needed { blob, users } = wanted.needed;
        let known = needed.entry(blob.stated());
        let known = known.or_insert_with(|| Needed {
            blob,
            users: Vec::new(),
        });
        known.users.extend(users);
    }
    needed
}

/// How many bytes the layers have at least.
fn least(wanted: &[Wanted<'_>]) -> u64 {
    let sizes = wanted.iter().map(|wanted| wanted.needed.blob.size);
    sizes.fold(0, u64::saturating_add)
}
