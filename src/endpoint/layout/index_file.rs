//! `index.json` of a layout, or of a layout in an archive: read as raw text, so that entries,
//! annotations and fields of others stay as they were written. On disk it changes under a lock by one rename.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use tokio::sync::OwnedMutexGuard;

use super::super::{OnlyImage, Overwrite, Target};
use super::cosign::{KIND, name_belonging};
use crate::disk::{self, Access};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::keys;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::image::media_type;
use crate::image::referrers::artifact_type;
use crate::reference::{is_tag, repository_of, tag_of};
use crate::sanitize::few;
use crate::select::is_digest_tag;

const INDEX: &str = "index.json";
/// The longest `index.json` that is read or written, in bytes: as of any index, which is 10,000 tags.
pub(in crate::endpoint) const LONGEST: u64 = MAX_MANIFEST_BYTES as u64;
const LOCK: &str = ".barge.lock";
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Repository and tag, by which containerd and podman know an image.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// The file's fields in raw text, and its entries.
#[derive(Clone, Debug)]
pub(in crate::endpoint) struct IndexFile {
    fields: BTreeMap<String, Box<RawValue>>,
    entries: Vec<Entry>,
}

/// One entry of `manifests`.
#[derive(Clone, Debug)]
pub(in crate::endpoint) struct Entry {
    /// Its REF.
    pub(in crate::endpoint) name: Option<String>,
    /// What it points at.
    pub(in crate::endpoint) descriptor: Descriptor,
    raw: Box<RawValue>,
}

/// The right to change `index.json`: alone in this process, and among all processes.
#[derive(Debug)]
pub struct IndexLock {
    pub(super) _turn: OwnedMutexGuard<()>,
    pub(super) _file: File,
}

/// What a manifest is entered as.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::endpoint) struct Names<'a> {
    /// The REF; `None`: by digest alone.
    pub(in crate::endpoint) reference: Option<&'a str>,
    /// The repository that it comes from, where that is known.
    pub(in crate::endpoint) repository: Option<&'a str>,
}

impl IndexFile {
    /// The index of the layout at `path`; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let file = path.join(INDEX);
        let failed = |kind| Error::new(kind, "read", file.display());
        match disk::read(&file, LONGEST) {
            Ok(bytes) => Self::of(&bytes, &file.display()).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                Err(failed(Kind::InvalidManifest).because(error))
            }
            Err(error) => Err(failed(Kind::LocalIo).because(error)),
        }
    }

    /// The index that `bytes`, read from `file`, are.
    pub(in crate::endpoint) fn of(bytes: &[u8], file: &dyn Display) -> Result<Self> {
        Self::parse(bytes).map_err(|why| {
            let cause = format!("not the index of a layout: {why}");
            Error::new(Kind::InvalidManifest, "read", file).because(cause)
        })
    }

    fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        keys::check(bytes, &keys::MANIFEST)?;
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes)?;
        let raw: Option<Vec<Box<RawValue>>> = match fields.remove("manifests") {
            Some(manifests) => serde_json::from_str(manifests.get())?,
            None => None,
        };
        let entries = raw.unwrap_or_default().into_iter().map(Entry::parse);
        let mut entries = entries.collect::<serde_json::Result<Vec<_>>>()?;
        name_belonging(&mut entries);
        Ok(Self { fields, entries })
    }

    /// An index without entries.
    pub(in crate::endpoint) fn empty() -> Self {
        let raw =
            |text: &str| RawValue::from_string(text.to_owned()).expect("a constant that is JSON");
        let fields = BTreeMap::from([
            ("schemaVersion".to_owned(), raw("2")),
            (
                "mediaType".to_owned(),
                raw(r#""application/vnd.oci.image.index.v1+json""#),
            ),
        ]);
        Self {
            fields,
            entries: Vec::new(),
        }
    }

    /// Every entry.
    pub(in crate::endpoint) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().cloned()
    }

    /// Every REF, sorted by bytes.
    pub(in crate::endpoint) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.entries().filter_map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The name that `tag` leads to: the same, else that of the only entry whose whole name has this tag; with several
    /// the error lists them.
    pub(in crate::endpoint) fn tagged(
        &self,
        tag: &str,
        place: &dyn Display,
    ) -> Result<Option<String>> {
        let mut names = self.names();
        if names.iter().any(|name| name == tag) {
            return Ok(Some(tag.to_owned()));
        }
        names.retain(|name| tag_of(name) == tag);
        if names.len() > 1 {
            let names: Vec<String> = names.iter().map(|name| format!("{place}:{name}")).collect();
            let cause = format!("{} images have this tag: {}", names.len(), few(&names));
            let name = format!("{place}:{tag}");
            return Err(Error::new(Kind::NotFound, "choose an image for", name)
                .because(cause)
                .hint("name one as it is listed"));
        }
        Ok(names.pop())
    }

    /// The images. What belongs to an image is none, unless there are no others: a digest tag, and what has no
    /// name and `refers` to another.
    pub(in crate::endpoint) fn images(
        &self,
        refers: impl Fn(&Digest) -> Result<bool>,
    ) -> Result<Vec<OnlyImage>> {
        let mut entries: Vec<_> = self.entries().collect();
        // A name tells more than none: the nameless entry of a named image is no second image.
        entries.sort_by_key(|entry| entry.name.is_none());
        let mut images: Vec<OnlyImage> = Vec::new();
        for Entry {
            name, descriptor, ..
        } in entries
        {
            let digest = descriptor.digest;
            if name.is_some() || images.iter().all(|image| image.digest != digest) {
                images.push(OnlyImage { name, digest });
            }
        }
        if images.len() > 1 {
            let mut own = Vec::new();
            for image in &images {
                let belongs = match &image.name {
                    Some(name) => is_digest_tag(name),
                    None => refers(&image.digest)?,
                };
                if !belongs {
                    own.push(image.clone());
                }
            }
            if !own.is_empty() {
                images = own;
            }
        }
        Ok(images)
    }

    /// The entry of `target` in `place`; one REF for two images is an error.
    pub(in crate::endpoint) fn find(
        &self,
        target: &Target,
        place: &dyn Display,
    ) -> Result<Option<Descriptor>> {
        let mut found: Option<&Entry> = None;
        for entry in &self.entries {
            let matches = match target {
                Target::Tag(tag) => entry.name.as_ref() == Some(tag),
                Target::Digest(digest) => entry.descriptor.digest == *digest,
            };
            match found {
                Some(first) if matches && first.descriptor.digest != entry.descriptor.digest => {
                    let name = format!("{place}:{target}");
                    let hint = if matches!(target, Target::Tag(tag) if is_digest_tag(tag)) {
                        format!(
                            "give each of them in index.json, as its {REF_NAME}, the digest tag of what it belongs to; without --referrers nobody asks for them"
                        )
                    } else {
                        format!("name the one that is meant by its digest, {place}@DIGEST")
                    };
                    return Err(Error::new(Kind::InvalidManifest, "read manifest", name)
                        .because("it has several images under this name")
                        .hint(hint));
                }
                None if matches => found = Some(entry),
                _ => {}
            }
        }
        Ok(found.map(|entry| entry.descriptor.clone()))
    }

    /// The repository of the image that `target` names, where its entry tells.
    pub(in crate::endpoint) fn repository(&self, target: &Target) -> Option<String> {
        let names = |entry: &&Entry| match target {
            Target::Tag(tag) => entry.name.as_ref() == Some(tag),
            Target::Digest(digest) => entry.descriptor.digest == *digest,
        };
        self.entries.iter().find(names)?.repository()
    }

    /// Refuses to enter the image `digest` as what another repository's image is entered as in `place`. One
    /// of unknown origin may be another's, unless it is the same image; where nothing is known of the one
    /// that is there either, it is replaced.
    pub(in crate::endpoint) fn check_owner(
        &self,
        (names, digest): (Names<'_>, &Digest),
        overwrite: Overwrite,
        place: &dyn Display,
    ) -> Result<()> {
        let Some(reference) = names.reference else {
            return Ok(());
        };
        let target = Target::Tag(reference.to_owned());
        let Some(owner) = self.repository(&target) else {
            return Ok(());
        };
        // A REF that is a whole name says itself of which repository it is.
        let repository = names.repository.map(str::to_owned);
        let this = match repository.or_else(|| repository_of(reference)) {
            Some(repository) if repository == owner => return Ok(()),
            None if self.leads_to(reference, digest) => return Ok(()),
            Some(repository) => format!("this one is of {repository}"),
            None => "of this one the source does not say of which repository it is".to_owned(),
        };
        if overwrite == Overwrite::Always {
            return Ok(());
        }
        let name = format!("{place}:{reference}");
        let cause = format!("it is an image of {owner} there, {this}");
        Err(Error::new(Kind::Conflict, "write", name)
            .because(cause)
            .hint("copy to another REF or file, or replace it with --force"))
    }

    /// Whether an entry of this REF is the image `digest`.
    fn leads_to(&self, reference: &str, digest: &Digest) -> bool {
        self.entries.iter().any(|entry| {
            entry.name.as_deref() == Some(reference) && entry.descriptor.digest == *digest
        })
    }

    /// The text of the file.
    pub(in crate::endpoint) fn text(&self) -> serde_json::Result<String> {
        let mut fields: BTreeMap<&str, &RawValue> = BTreeMap::new();
        fields.extend(
            self.fields
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_ref())),
        );
        let manifests: Vec<&RawValue> = self
            .entries
            .iter()
            .map(|entry| entry.raw.as_ref())
            .collect();
        let manifests = serde_json::value::to_raw_value(&manifests)?;
        fields.insert("manifests", &manifests);
        serde_json::to_string(&fields)
    }

    /// Enters `manifest` as `name`, in the place of the entry of that name; whether anything changed.
    pub(in crate::endpoint) fn enter(
        &mut self,
        manifest: &Manifest,
        names: Names<'_>,
    ) -> serde_json::Result<bool> {
        let name = names.reference;
        let same = |entry: &Entry| entry.name.as_deref() == name;
        let points = |entry: &Entry| entry.descriptor.digest == manifest.digest;
        let of_name = self.entries.iter().filter(|entry| same(entry)).count();
        let done = match name {
            // By digest alone: any entry that names the digest will do.
            None => self.entries.iter().any(points),
            Some(_) => {
                of_name == 1
                    && self
                        .entries
                        .iter()
                        .any(|entry| same(entry) && points(entry))
            }
        };
        if done {
            return Ok(false);
        }
        let place = name.and_then(|_| self.entries.iter().position(same));
        let old = place
            .and_then(|index| self.entries.get(index))
            .map(|entry| entry.raw.as_ref());
        let entry = Entry::parse(entry_text(manifest, names, old)?)?;
        match place.and_then(|index| self.entries.get_mut(index)) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        if let Some(place) = place {
            let mut index = 0;
            self.entries.retain(|entry| {
                index += 1;
                index - 1 == place || !same(entry)
            });
        }
        Ok(true)
    }
}

impl Entry {
    /// As containerd's name has it, else as its REF does where that is a whole name.
    fn repository(&self) -> Option<String> {
        let name = self.descriptor.annotations.get(IMAGE_NAME);
        let Some((repository, tag)) = name.and_then(|name| name.rsplit_once(':')) else {
            return repository_of(self.name.as_ref()?);
        };
        is_tag(tag).then(|| repository.to_owned())
    }

    fn parse(raw: Box<RawValue>) -> serde_json::Result<Self> {
        let descriptor: Descriptor = serde_json::from_str(raw.get())?;
        let name = descriptor
            .annotations
            .get(REF_NAME)
            .filter(|name| !name.is_empty())
            .cloned();
        Ok(Self {
            name,
            descriptor,
            raw,
        })
    }
}

/// The text of an entry for `manifest`; annotations of the entry that it replaces stay.
fn entry_text(
    manifest: &Manifest,
    names: Names<'_>,
    old: Option<&RawValue>,
) -> serde_json::Result<Box<RawValue>> {
    #[derive(serde::Deserialize)]
    struct Old {
        #[serde(default)]
        annotations: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let old: Option<Old> = old.map(|raw| serde_json::from_str(raw.get())).transpose()?;
    let mut annotations = old.and_then(|old| old.annotations).unwrap_or_default();
    if let Some(name) = names.reference {
        annotations.insert(REF_NAME.to_owned(), name.into());
    }
    // The name of the image that was here is not the name of this one, nor is it of that kind.
    annotations.remove(IMAGE_NAME);
    annotations.remove(KIND);
    if let (Some(repository), Some(tag)) = (names.repository, names.reference)
        && is_tag(tag)
    {
        annotations.insert(IMAGE_NAME.to_owned(), format!("{repository}:{tag}").into());
    }
    let mut entry = serde_json::json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest.as_str(),
        "size": manifest.bytes.len(),
    });
    if let Some(fields) = entry.as_object_mut() {
        let artifact = artifact_type(manifest);
        if !artifact.is_empty() && !media_type::is_config(&artifact) {
            fields.insert("artifactType".to_owned(), artifact.into());
        }
        if !annotations.is_empty() {
            fields.insert("annotations".to_owned(), annotations.into());
        }
    }
    serde_json::value::to_raw_value(&entry)
}

/// Refuses to write a list of `length` bytes into `place`, if it would not be read again.
pub(in crate::endpoint) fn fits(
    (name, length): (&str, usize),
    (most, places): (u64, &str),
    place: &dyn Display,
) -> Result<()> {
    if length as u64 <= most {
        return Ok(());
    }
    let cause = format!("its {name} would have {length} bytes, and {most} are read at most");
    Err(Error::new(Kind::Unsupported, "write", place)
        .because(cause)
        .hint(format!("copy the tags into several {places}")))
}

/// The file whose lock keeps other processes from the index of the layout at `path`.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    path.join(LOCK)
}

/// Changes the index of the layout at `path` by one rename. `change` tells whether it changed anything.
pub(super) fn change(
    path: &Path,
    _lock: &IndexLock,
    change: impl FnOnce(&mut IndexFile) -> Result<bool>,
) -> Result<()> {
    let file = path.join(INDEX);
    let failed =
        |why: &dyn Display| Error::new(Kind::LocalIo, "write", file.display()).because(why);
    let mut index = IndexFile::read(path)?.unwrap_or_else(IndexFile::empty);
    if change(&mut index)? {
        let text = index.text().map_err(|error| failed(&error))?;
        fits((INDEX, text.len()), (LONGEST, "layouts"), &file.display())?;
        sync_names(&path.join("blobs")).map_err(|error| failed(&error))?;
        disk::write_whole(&file, text.as_bytes(), Access::Umask).map_err(|error| failed(&error))?;
        disk::sync_directory(path).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Makes the names of blobs last through a power cut before the index names them. Their bytes are synced before
/// they have a name.
fn sync_names(blobs: &Path) -> io::Result<()> {
    for algorithm in std::fs::read_dir(blobs)? {
        let algorithm = algorithm?;
        if algorithm.file_type()?.is_dir() {
            disk::sync_directory(&algorithm.path())?;
        }
    }
    disk::sync_directory(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn manifest(seed: &str) -> Manifest {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"x":"{seed}"}}"#
        );
        Manifest::parse(Bytes::from(text), None).expect("a manifest")
    }

    fn named(reference: &str) -> Names<'_> {
        Names {
            reference: Some(reference),
            repository: None,
        }
    }

    fn names(index: &IndexFile) -> Vec<Option<String>> {
        index.entries().map(|entry| entry.name).collect()
    }

    #[test]
    fn what_is_not_ours_stays() {
        let other = format!(
            r#"{{"mediaType":"m","digest":"{}","size":1e1,"urls":[],"x":1.50}}"#,
            manifest("o").digest
        );
        let old = format!(
            r#"{{"mediaType":"m","digest":"{}","size":9,"annotations":{{"{REF_NAME}":"v1","mine":"kept"}}}}"#,
            manifest("old").digest
        );
        let other = other.replace("1e1", "10");
        let text = format!(
            r#"{{"schemaVersion":2,"annotations":{{"a":"b"}},"manifests":[{other},{old}],"n":1.0}}"#
        );
        let mut index = IndexFile::parse(text.as_bytes()).expect("parses");
        assert!(index.enter(&manifest("new"), named("v1")).expect("enters"));
        assert!(!index.enter(&manifest("new"), named("v1")).expect("enters"));
        let text = index.text().expect("text");
        assert!(
            text.contains(&other)
                && text.contains(r#""annotations":{"a":"b"}"#)
                && text.contains(r#""n":1.0"#)
        );
        assert!(
            text.contains(r#""mine":"kept""#) && text.contains(manifest("new").digest.as_str())
        );
        assert!(!text.contains(manifest("old").digest.as_str()));
        assert_eq!(names(&index), [None, Some("v1".into())]);
    }

    #[test]
    fn by_digest_alone_is_entered_once() {
        let mut index = IndexFile::empty();
        assert!(
            index
                .enter(&manifest("a"), Names::default())
                .expect("enters")
        );
        assert!(
            !index
                .enter(&manifest("a"), Names::default())
                .expect("enters")
        );
        assert!(
            index
                .enter(&manifest("b"), Names::default())
                .expect("enters")
        );
        assert!(index.enter(&manifest("a"), named("v1")).expect("enters"));
        assert_eq!(names(&index), [None, None, Some("v1".into())]);
    }

    #[test]
    fn one_name_for_two_images_is_refused_and_mended() {
        let mut index = IndexFile::empty();
        index.enter(&manifest("a"), named("v1")).expect("enters");
        let again = index.entries.first().expect("one").clone();
        index.enter(&manifest("b"), named("v1")).expect("enters");
        index.entries.push(again);
        let target = Target::Tag("v1".into());
        assert!(index.find(&target, &"oci:x").is_err());
        index.enter(&manifest("b"), named("v1")).expect("enters");
        assert_eq!(names(&index), [Some("v1".into())]);
        let found = index.find(&target, &"oci:x").expect("finds");
        assert_eq!(found.map(|found| found.digest), Some(manifest("b").digest));
    }
}
