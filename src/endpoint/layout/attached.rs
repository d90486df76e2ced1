//! What refers to something in a layout, or a layout in an archive: the lists under digest tags that regctl
//! keeps, and entries whose manifest has a `subject`, as oras writes them, with a name or without. `cosign save`
//! keeps no entries of those.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use super::Layout;
use super::index_file::{self, Entry, IndexFile, IndexLock, Names};
use crate::disk::{self, Access};
use crate::endpoint::{Had, Listed, Lost, Naming, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest, media_type};
use crate::image::referrers::{Additions, artifact_type, list_tag, merge};
use crate::select::is_list_tag;

/// What refers to what in a layout.
#[derive(Clone, Debug, Default)]
pub(in crate::endpoint) struct Lists {
    /// By the name of its list.
    by_name: BTreeMap<String, Listed>,
    /// What has no name and cannot be read: it may refer to anything.
    unknown: Vec<Lost>,
}

/// What is entered into a layout at once.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Images and what they are called.
    pub images: Vec<(Manifest, Target)>,
    /// What belongs to an image and has a tag made of its digest.
    pub tags: Vec<(String, Manifest)>,
    /// What is to be in each list of referrers, by its tag; they are stored.
    pub referrers: Vec<(String, Additions)>,
}

impl Lists {
    /// What refers to what among the entries of `index`, the one of `place`, and the blobs `without_entry`,
    /// whose manifests `read` gives.
    pub(in crate::endpoint) fn of(
        (index, place): (&IndexFile, &dyn Display),
        without_entry: &[Digest],
        read: impl Fn(&Digest) -> Result<Option<Manifest>>,
    ) -> Result<Self> {
        let mut lists = Self::default();
        for digest in without_entry {
            // Nothing says that a blob is more than bytes.
            if let Some(manifest) = if_legible(read(digest))? {
                lists.add(Descriptor::of(&manifest), &manifest);
            }
        }
        for entry in index.entries() {
            let naming = Naming::entry(&entry.descriptor, entry.name.as_deref());
            let read = || read(&entry.descriptor.digest);
            match &entry.name {
                Some(name) if is_list_tag(name) => {
                    let list = naming.had(read(), place)?;
                    lists.add_list(name, list);
                }
                _ if !entry.may_refer() => {}
                // A tag of its own, whose loss is told where it is copied.
                Some(_) => {
                    if let Some(manifest) = if_legible(read())? {
                        lists.add(entry.descriptor, &manifest);
                    }
                }
                None => match read() {
                    Err(error) if is_no_manifest(&error) => {}
                    read => match naming.clone().had(read, place)? {
                        Ok(manifest) if manifest.subject().is_none() => {
                            let unclear = index.unclear(&entry, place);
                            let lost = unclear.map(|error| Lost { naming, error });
                            lists.unknown.extend(lost);
                        }
                        Ok(manifest) => lists.add(entry.descriptor, &manifest),
                        Err(lost) => lists.unknown.push(lost),
                    },
                },
            }
        }
        let names = index.entries().filter(|entry| entry.name.is_some());
        let mut known: BTreeSet<Digest> = names.map(|entry| entry.descriptor.digest).collect();
        let listed = lists.by_name.values().flat_map(|listed| &listed.entries);
        known.extend(listed.map(|entry| entry.digest.clone()));
        let is_known = |lost: &Lost| {
            let digest = lost.naming.digest.as_ref();
            digest.is_some_and(|digest| known.contains(digest))
        };
        lists.unknown.retain(|lost| !is_known(lost));
        Ok(lists)
    }

    /// What refers to `subject`.
    pub(in crate::endpoint) fn to(&self, subject: &Digest) -> Listed {
        let listed = self.by_name.get(&list_tag(subject)).cloned();
        let mut listed = listed.unwrap_or_default();
        listed.lost.extend(self.unknown.iter().cloned());
        listed
    }

    fn add_list(&mut self, name: &str, had: Had) {
        let known = self.by_name.entry(name.to_owned()).or_default();
        match had {
            Ok(list) => list.entries().iter().for_each(|entry| known.add(entry)),
            Err(lost) => known.lost.push(lost),
        }
    }

    fn add(&mut self, mut entry: Descriptor, manifest: &Manifest) {
        let Some(subject) = manifest.subject() else {
            return;
        };
        entry.artifact_type = Some(artifact_type(manifest));
        let known = self.by_name.entry(list_tag(&subject.digest)).or_default();
        known.add(&entry);
    }
}

impl Listed {
    fn add(&mut self, entry: &Descriptor) {
        let mut known = self.entries.iter();
        if !known.any(|known| known.digest == entry.digest) {
            self.entries.push(entry.clone());
        }
    }
}

impl Entry {
    /// Whether it is a manifest, which may refer to another.
    pub(in crate::endpoint) fn may_refer(&self) -> bool {
        let named = self.descriptor.media_type.as_str();
        named.is_empty() || media_type::is_image(named) || media_type::is_index(named)
    }
}

/// Without a name there may be anything: what is no manifest refers to nothing.
pub(in crate::endpoint) fn understood(read: Result<Option<Manifest>>) -> Result<Option<Manifest>> {
    match read {
        Err(error) if is_no_manifest(&error) => Ok(None),
        other => other,
    }
}

/// The manifest, where what is there is one and can be read.
fn if_legible(read: Result<Option<Manifest>>) -> Result<Option<Manifest>> {
    match understood(read) {
        Err(error) if error.is_of_content() => Ok(None),
        other => other,
    }
}

fn is_no_manifest(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unsupported | Kind::InvalidManifest)
}

impl Layout {
    /// What refers to `subject`.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read.
    pub fn referrers(&self, subject: &Digest) -> Result<Listed> {
        let known = if let Some(known) = self.lists.get() {
            known
        } else {
            let read = |digest: &Digest| self.manifest(&Target::Digest(digest.clone()));
            let found = match self.index()? {
                Some(index) => {
                    let without_entry = self.without_entry(&index)?;
                    Lists::of((&index, self), &without_entry, read)?
                }
                None => Lists::default(),
            };
            self.lists.get_or_init(|| found.into())
        };
        Ok(known.to(subject))
    }

    /// Blobs that may refer to something although they have no entry: in what `cosign save` wrote.
    fn without_entry(&self, index: &IndexFile) -> Result<Vec<Digest>> {
        if !index.is_cosigns() {
            return Ok(Vec::new());
        }
        let directory = self.path.join("blobs/sha256");
        let failed = |why: std::io::Error| self.error(Kind::LocalIo, "read").because(why);
        let mut found = Vec::new();
        for file in std::fs::read_dir(directory).map_err(failed)? {
            let file = file.map_err(failed)?;
            let name = file.file_name();
            let digest = format!("sha256:{}", name.to_string_lossy()).parse();
            let size = file.metadata().map_err(failed)?.len();
            if let Ok(digest) = digest
                && size <= MAX_MANIFEST_BYTES as u64
            {
                found.push(digest);
            }
        }
        found.sort();
        Ok(found)
    }

    /// What is under a digest tag; `None` where there is no such entry.
    pub(in crate::endpoint) fn digest_tagged(&self, tag: &str) -> Result<Option<Had>> {
        let target = Target::Tag(tag.to_owned());
        let Some(entry) = self
            .index()?
            .and_then(|index| index.find(&target, self).transpose())
        else {
            return Ok(None);
        };
        let naming = Naming::entry(&entry?, Some(tag));
        naming.had(self.manifest(&target), self).map(Some)
    }

    /// What the manifest with this digest refers to.
    pub(super) fn refers(&self, digest: &Digest) -> Result<Option<Digest>> {
        let manifest = understood(self.manifest(&Target::Digest(digest.clone())))?;
        let subject = manifest.as_ref().and_then(Manifest::subject);
        Ok(subject.map(|subject| subject.digest.clone()))
    }

    /// Waits until no other process writes `index.json`.
    ///
    /// # Errors
    ///
    /// When it cannot be locked.
    pub async fn lock(&self) -> Result<IndexLock> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let waiting = || {
            let place = self.path.display();
            let text = format!("another process is writing {place}; waiting");
            let tell = || self.backoff.events.send(Event::Warning(text));
            self.waited.get_or_init(tell);
        };
        let path = index_file::lock_path(&self.path);
        let failed =
            |why: std::io::Error| Error::new(Kind::LocalIo, "lock", path.display()).because(why);
        let file = disk::lock_file(&path, Access::Umask).map_err(failed)?;
        let file = disk::lock(file, waiting).await.map_err(failed)?;
        Ok(IndexLock {
            _turn: turn,
            _file: file,
        })
    }

    /// Enters manifests that are stored into `index.json`, all at once, when no other process writes it.
    ///
    /// # Errors
    ///
    /// When it cannot be written; nothing is entered then.
    pub async fn enter(&self, arrivals: Arrivals) -> Result<()> {
        let lock = self.lock().await?;
        self.enter_locked(lock, arrivals).await
    }

    /// The same with the right to write it.
    ///
    /// # Errors
    ///
    /// When it cannot be written; nothing is entered then.
    pub async fn enter_locked(&self, lock: IndexLock, arrivals: Arrivals) -> Result<()> {
        let layout = self.clone();
        let entered = tokio::task::spawn_blocking(move || {
            let enter = |index: &mut IndexFile| layout.enter_into(index, &arrivals);
            index_file::change(&layout.path, &lock, enter)
        });
        entered
            .await
            .map_err(|error| self.error(Kind::LocalIo, "write").because(error))?
    }

    /// What an image that comes is entered as.
    pub(super) fn names<'a>(&'a self, target: &'a Target) -> Names<'a> {
        match target {
            Target::Tag(tag) => Names {
                reference: Some(tag),
                repository: self.labels.repository_of(tag),
            },
            Target::Digest(_) => Names::default(),
        }
    }

    /// Whether anything changed.
    fn enter_into(&self, index: &mut IndexFile, arrivals: &Arrivals) -> Result<bool> {
        let mut changed = false;
        for (manifest, target) in &arrivals.images {
            let names = self.names(target);
            let image = (names, &manifest.digest);
            index.check_owner(image, self.labels.overwrite, self)?;
            changed |= self.entered(index, manifest, names)?;
        }
        for (tag, added) in &arrivals.referrers {
            changed |= self.enter_referrers(index, tag, added)?;
        }
        for (tag, manifest) in &arrivals.tags {
            changed |= self.entered(index, manifest, tagged(tag))?;
        }
        Ok(changed)
    }

    /// Enters what refers to something in both forms: in the list under `tag`, and each by itself.
    fn enter_referrers(&self, index: &mut IndexFile, tag: &str, added: &Additions) -> Result<bool> {
        let list = self.manifest(&Target::Tag(tag.to_owned()))?;
        let mut changed = false;
        if let Some(list) = merge(list.as_ref(), added)? {
            let failed =
                |error: &std::io::Error| self.blob_error("write manifest", &list.digest, error);
            let path = self.blob_path(&list.digest);
            disk::write_whole(&path, &list.bytes, Access::Umask).map_err(|error| failed(&error))?;
            changed |= self.entered(index, &list, tagged(tag))?;
        }
        for digest in added.digests() {
            let stored = self.manifest(&Target::Digest(digest.clone()))?;
            if let Some(manifest) = stored {
                changed |= self.entered(index, &manifest, Names::default())?;
            }
        }
        Ok(changed)
    }

    fn entered(
        &self,
        index: &mut IndexFile,
        manifest: &Manifest,
        names: Names<'_>,
    ) -> Result<bool> {
        let entered = index.enter(manifest, names);
        entered.map_err(|why| Error::new(Kind::LocalIo, "write", self).because(why))
    }
}

/// The name of what belongs to an image: of no repository, since a digest means the same everywhere.
pub(in crate::endpoint) fn tagged(tag: &str) -> Names<'_> {
    Names {
        reference: Some(tag),
        repository: None,
    }
}
