//! An OCI layout in one tar file (`oci-archive:`): its headers are read once, everything else at its
//! place. Nothing is unpacked.

pub mod ahead;
pub mod compose;
pub mod contents;
pub mod docker;
mod layer;
mod listed;
pub mod members;
mod partial;
mod pipe;
mod positioned;
pub mod saved;
pub mod saving;
mod store;
pub mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OnceCell, oneshot};

use self::contents::{Contents, Span};
use self::store::{Opening, Packing, Stamp, Store};
use super::advice::{BRING_AGAIN, of_archive};
use super::backoff::Backoff;
use super::layout::attached::{Lists, understood};
use super::layout::index_file::IndexFile;
use super::layout::stored::Stored;
use super::{BlobStream, Had, Head, Labels, Lent, Listed, Naming, OnlyImage, Overwrite, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Side;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::inventory::difference::{self, Difference};
use crate::reference::STANDARD;
use crate::select::is_digest_tag;

/// The longest `index.json` that is read or written: 4 MiB, as of any index, which is 10,000 tags.
const LONGEST_INDEX: u64 = MAX_MANIFEST_BYTES as u64;
/// The longest list of what is left out that is read or written: tens of thousands of parts.
const LONGEST_DIFFERENCE: u64 = 16 << 20;

/// What came of reading a manifest.
type MayBeRead = Result<Option<Manifest>>;

/// An archive; opened when it is first asked for something.
#[derive(Clone, Debug)]
pub struct OciArchive {
    path: PathBuf,
    side: Side,
    pub(super) labels: Labels,
    /// What it leaves out is read there.
    pub(super) lent: Arc<Lent>,
    opened: OnceCell<Option<Arc<Opened>>>,
    /// What refers to what in it.
    lists: OnceCell<Arc<Lists>>,
    pub(crate) backoff: Backoff,
}

/// What is known of an archive that is there.
#[derive(Debug)]
struct Opened {
    store: Arc<Store>,
    contents: Contents,
    index: IndexFile,
    /// What it was made without.
    difference: Option<Difference>,
}

impl OciArchive {
    /// The archive at `path`; nothing is read.
    #[must_use]
    pub fn new(path: PathBuf, side: Side, backoff: Backoff) -> Self {
        Self {
            path,
            side,
            labels: Labels::default(),
            lent: Arc::default(),
            opened: OnceCell::new(),
            lists: OnceCell::new(),
            backoff,
        }
    }

    /// Every REF, sorted by bytes.
    ///
    /// # Errors
    ///
    /// `not-found` when there is no such file, `protocol` when it is no archive that can be trusted.
    pub async fn tags(&self) -> Result<Vec<String>> {
        Ok(self.present().await?.index.names())
    }

    /// The one image of the archive.
    ///
    /// # Errors
    ///
    /// `not-found` when there is none, or several: the message lists them.
    pub async fn only_image(&self) -> Result<OnlyImage> {
        let opened = self.present().await?;
        let read = self.belonging(opened).await?;
        let refers = |digest: &Digest| {
            let manifest = understood(read.get(digest).cloned().unwrap_or(Ok(None)))?;
            Ok(manifest.is_some_and(|manifest| manifest.subject().is_some()))
        };
        opened.index.only_image(self, refers)
    }

    /// The manifests of the entries that may belong to an image.
    async fn belonging(&self, opened: &Opened) -> Result<BTreeMap<Digest, MayBeRead>> {
        let mut read = BTreeMap::new();
        for entry in opened.index.entries() {
            if entry.name.is_none_or(|name| is_digest_tag(&name)) {
                let digest = entry.descriptor.digest;
                let manifest = self.manifest(&Target::Digest(digest.clone())).await;
                read.insert(digest, manifest);
            }
        }
        Ok(read)
    }

    /// What `target` points at; `None` also when its manifest is not there.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn head(&self, target: &Target) -> Result<Option<Head>> {
        let manifest = self.manifest(target).await?;
        Ok(manifest.map(Head::from))
    }

    /// The manifest that `target` names, checked.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what its digest says.
    pub async fn manifest(&self, target: &Target) -> Result<Option<Manifest>> {
        let Some(opened) = self.opened().await? else {
            return Ok(None);
        };
        let Some(stored) = Stored::named(target, Some(&opened.index), self)? else {
            return Ok(None);
        };
        let Some(span) = opened.span(&stored.digest) else {
            return match self.lent.lender(&stored.digest) {
                Some(lender) => {
                    let target = Target::Digest(stored.digest);
                    Box::pin(lender.manifest(&target)).await
                }
                // What is added to an archive mends it.
                None if self.side == Side::Destination => Ok(None),
                None => stored.if_listed().map_err(of_archive),
            };
        };
        let read = || opened.store.read(span);
        stored.read(span.size, read).map(Some).map_err(of_archive)
    }

    /// What refers to `subject`.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn referrers(&self, subject: &Digest) -> Result<Listed> {
        let Some(opened) = self.opened().await? else {
            return Ok(Listed::default());
        };
        let known = self.lists.get_or_try_init(|| async {
            let mut read = self.belonging(opened).await?;
            let without_entry = opened.without_entry();
            for digest in &without_entry {
                let manifest = self.manifest(&Target::Digest(digest.clone())).await;
                read.insert(digest.clone(), manifest);
            }
            let read = |digest: &Digest| read.get(digest).cloned().unwrap_or(Ok(None));
            Lists::of((&opened.index, self), &without_entry, read).map(Arc::new)
        });
        Ok(known.await?.to(subject))
    }

    /// What is under a digest tag; `None` where there is no such entry.
    pub(super) async fn digest_tagged(&self, tag: &str) -> Result<Option<Had>> {
        let target = Target::Tag(tag.to_owned());
        let Some(opened) = self.opened().await? else {
            return Ok(None);
        };
        let Some(entry) = opened.index.find(&target, self)? else {
            return Ok(None);
        };
        let naming = Naming::entry(&entry, Some(tag));
        naming.had(self.manifest(&target).await, self).map(Some)
    }

    /// Whether the blob is there, in its right size.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blob_size(blob).await? == Some(blob.size))
    }

    /// The size of `blob` as it is stored, in bytes, if it is there.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn blob_size(&self, blob: &Descriptor) -> Result<Option<u64>> {
        let opened = self.opened().await?;
        let span = opened.and_then(|opened| opened.span(&blob.digest));
        match (span, self.lent.lender(&blob.digest)) {
            (Some(span), _) => Ok(Some(span.size)),
            (None, Some(lender)) => Box::pin(lender.blob_size(blob)).await,
            (None, None) => Ok(None),
        }
    }

    /// The bytes of `blob` from `offset` on.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn open_blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream> {
        let opened = self.opened().await?;
        let found = opened.and_then(|opened| Some((opened, opened.span(&blob.digest)?)));
        let Some((opened, span)) = found else {
            if let Some(lender) = self.lent.lender(&blob.digest) {
                return Box::pin(lender.blob(blob, offset)).await;
            }
            let name = format!("{self}@{}", blob.digest);
            return Err(Error::new(Kind::NotFound, "read blob", name)
                .because("the archive does not hold it")
                .hint(BRING_AGAIN));
        };
        Ok(Arc::clone(&opened.store).stream(span, offset))
    }

    /// The repository that the image behind `target` is of, where its entry tells.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn repository(&self, target: &Target) -> Result<Option<String>> {
        let opened = self.opened().await?;
        Ok(opened.and_then(|opened| opened.index.repository(target)))
    }

    /// What the archive was made without, if anything.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read.
    pub async fn difference(&self) -> Result<Option<&Difference>> {
        let opened = self.opened().await?;
        Ok(opened.and_then(|opened| opened.difference.as_ref()))
    }

    /// Whether an archive can be written here: nothing stands there, or an archive that can be read. One
    /// that leaves something out is made anew, since what it lacks depends on who made it when.
    ///
    /// # Errors
    ///
    /// `local-io` when it cannot, `conflict` when it is or would become such an archive.
    pub async fn check_writable(&self) -> Result<()> {
        let error = |cause| Error::new(Kind::LocalIo, "write", self).because(cause);
        if self.path.as_os_str() == STANDARD && std::io::stdout().is_terminal() {
            return Err(error("standard output is a terminal".to_owned())
                .hint("send it to a file or another command"));
        }
        check_directory(&self.path, self)?;
        let Some(opened) = self.opened().await? else {
            return Ok(());
        };
        let conflict = |why| Error::new(Kind::Conflict, "add to", self).because(why);
        let why = match (&opened.difference, &self.labels.without) {
            (Some(_), _) => "the archive there leaves out parts of its images",
            (None, Some(_)) => "there is an archive, and --have makes a new one",
            (None, None) => {
                let is_plain = opened.store.packing == Packing::None;
                if is_plain || self.labels.overwrite == Overwrite::Always {
                    return Ok(());
                }
                let why = "the archive there is compressed, and would become a plain tar file";
                let hint = "name another file; --force writes this one plain, with what it holds";
                return Err(conflict(why).hint(hint));
            }
        };
        Err(conflict(why).hint("name another file, or remove this one first"))
    }

    /// Whether it is written from its beginning to its end, and nothing of it can be changed or read.
    fn is_stream(&self) -> bool {
        let special = |metadata: std::fs::Metadata| !metadata.is_file() && !metadata.is_dir();
        self.path.as_os_str() == STANDARD || std::fs::metadata(&self.path).is_ok_and(special)
    }

    /// The archive, which has to be there.
    async fn present(&self) -> Result<&Opened> {
        let opened = self.opened().await?;
        opened.ok_or_else(|| no_such_file(self))
    }

    /// The archive; `None` where there is no such file. At a destination an empty file is none: `mktemp` made it.
    async fn opened(&self) -> Result<Option<&Opened>> {
        if self.side == Side::Destination && self.is_stream() {
            return Ok(None);
        }
        let opened = self.opened.get_or_try_init(|| async {
            if self.side == Side::Destination
                && Stamp::at(&self.path).is_some_and(|at| at.is_empty())
            {
                return Ok(None);
            }
            open(&self.path, self.to_string(), Opened::read).await
        });
        Ok(opened.await?.as_ref().map(AsRef::as_ref))
    }
}

/// Opens the archive at `path` by `read`; `None` where there is no such file.
async fn open<T: Send + 'static>(
    path: &Path,
    name: String,
    read: fn(&Opening<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let (path, place) = (path.to_owned(), name.clone());
    let (sender, receiver) = oneshot::channel();
    // A thread of its own: one that waits for a pipe must not keep the process from ending.
    std::thread::spawn(move || {
        let opening = Opening {
            path: &path,
            name: &name,
            wanted: &|| !sender.is_closed(),
        };
        let opened = read(&opening);
        // Nobody waits for it where the run has ended.
        let _ = sender.send(opened);
    });
    let opened = receiver.await;
    match opened.map_err(|why| Error::new(Kind::LocalIo, "read archive", place).because(why))? {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(of_archive(error)),
    }
}

/// Refuses a path in a directory that is not there.
fn check_directory(path: &Path, archive: &dyn fmt::Display) -> Result<()> {
    let directory = partial::parent(path);
    if directory.is_dir() {
        return Ok(());
    }
    let cause = format!("there is no directory {}", directory.display());
    Err(Error::new(Kind::LocalIo, "write", archive).because(cause))
}

/// The error of whoever would write a blob or manifest of an archive by itself.
pub(super) fn written_whole(archive: &dyn fmt::Display) -> Error {
    Error::new(Kind::Unsupported, "write", archive).because("an archive is written whole")
}

fn no_such_file(archive: &dyn fmt::Display) -> Error {
    Error::new(Kind::NotFound, "read archive", archive).because("there is no such file")
}

impl Opened {
    fn read(opening: &Opening<'_>) -> Result<Arc<Self>> {
        let store = opening.open()?;
        let contents = store.contents()?;
        let refused =
            |why: String| Error::new(Kind::Protocol, "read archive", opening.name).because(why);
        let Some(span) = contents.file("index.json") else {
            let error = refused("it has no index.json".to_owned());
            return Err(if contents.file("manifest.json").is_some() {
                error.hint("it looks like an archive of `docker save`: write docker-archive:PATH")
            } else {
                error.hint("an OCI archive is a layout in a tar file, with index.json at its top")
            });
        };
        if let Some(link) = contents.any_link() {
            return Err(refused(format!(
                "{link:?} is a link, which an OCI archive never has"
            )));
        }
        if span.size > LONGEST_INDEX {
            return Err(refused(format!("its index.json has {} bytes", span.size)));
        }
        let failed = |why| Error::new(Kind::LocalIo, "read archive", opening.name).because(why);
        let text = store.read(span).map_err(failed)?;
        let index = IndexFile::of(&text, &format_args!("index.json of {}", opening.name))?;
        let difference = match contents.file(difference::FILE) {
            None => None,
            Some(span) if span.size > LONGEST_DIFFERENCE => {
                let (name, size) = (difference::FILE, span.size);
                return Err(refused(format!("its {name} has {size} bytes")));
            }
            Some(span) => {
                let text = store.read(span).map_err(failed)?;
                Some(Difference::parse(&text, opening.name)?)
            }
        };
        Ok(Arc::new(Self {
            store: Arc::new(store),
            contents,
            index,
            difference,
        }))
    }

    /// Blobs that may refer to something although they have no entry: in what `cosign save` wrote.
    fn without_entry(&self) -> Vec<Digest> {
        if !self.index.is_cosigns() {
            return Vec::new();
        }
        let small = self.contents.files();
        let small = small.filter(|(_, span)| span.size <= MAX_MANIFEST_BYTES as u64);
        let digest = |name: &str| {
            let hex = name.strip_prefix("blobs/sha256/")?;
            format!("sha256:{hex}").parse().ok()
        };
        let mut found: Vec<Digest> = small.filter_map(|(name, _)| digest(name)).collect();
        found.sort();
        found
    }

    /// Where a blob or manifest is.
    fn span(&self, digest: &Digest) -> Option<Span> {
        self.contents.file(&member_name(digest))
    }
}

/// The name of a blob in an archive, as in a layout.
fn member_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm_name(), digest.hex())
}

impl fmt::Display for OciArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-archive:{}", self.path.display())
    }
}
