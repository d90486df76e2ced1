//! The thread that reads an archive from a pipe.
//!
//! An archive can be used before its end if `index.json`, all manifests and all configs stand in front of the large
//! blobs, as in barge's own archives: those are kept, and each blob behind them is offered to the reader of the
//! [stream](TarStream). Any other archive is written to a temporary file first. Every member is checked up to the end mark.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::one_pass::{Keep, Members};
use super::opened::{Opened, no_link};
use super::opening::{Opening, Source};
use super::store::Store;
use super::tar_index::{Fault, Member, TarIndex};
use super::tar_stream::{Coming, TarStream};
use super::{member_name, opened_by};
use crate::endpoint::layout::index_file::IndexFile;
use crate::error::{Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Content, Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::inventory::difference::{self, Difference};

const BLOBS: &str = "blobs/";

/// The archive at `path`, once it can be used; `None` if there is no such file.
pub(super) async fn open_stream(path: &Path, name: String) -> Result<Option<Arc<Opened>>> {
    let (path, place) = (path.to_owned(), name.clone());
    let work = move |sender: oneshot::Sender<Result<Arc<Opened>>>| {
        let sender = RefCell::new(Some(sender));
        let opening = Opening {
            path: &path,
            name: &name,
            // Later the channel of blobs says whether the archive is still wanted.
            wanted: &|| {
                let sender = sender.borrow();
                sender.as_ref().is_none_or(|sender| !sender.is_closed())
            },
        };
        let tell = |opened| {
            if let Some(sender) = sender.take() {
                // The receiver is gone if the run has ended.
                let _ = sender.send(opened);
            }
        };
        match opening.source() {
            Ok(Source::ByOffset(store)) => tell(Opened::of(store, &name)),
            Ok(Source::OnePass(pass)) => read(Members::of(pass), &name, tell),
            Err(error) => tell(Err(error)),
        }
    };
    opened_by(work, place).await
}

/// Reads an archive to its end, and calls `tell` when it can be used.
fn read(mut members: Members<'_>, name: &str, tell: impl Fn(Result<Arc<Opened>>)) {
    match Front::read(&mut members, name) {
        Ok(Some(opened)) => {
            let (sender, receiver) = mpsc::channel(1);
            let contents = opened.contents.clone();
            let stream = Some(TarStream::new(receiver, members.store()));
            tell(Ok(Arc::new(Opened { stream, ..opened })));
            members.keep_nothing();
            let ended = send_blobs(&mut members, contents, &sender);
            // The receiver is gone if the run has ended.
            let _ = sender.blocking_send(ended.map(|()| None));
        }
        Ok(None) => {
            let store = members.spool();
            tell(store.and_then(|store| Opened::of(store, name)));
        }
        Err(error) => tell(Err(error)),
    }
}

/// Offers each blob behind the front; `contents` has what stands in it.
fn send_blobs(
    members: &mut Members<'_>,
    mut contents: TarIndex,
    sender: &mpsc::Sender<Result<Option<Coming>>>,
) -> Result<()> {
    while let Some((name, member)) = members.next()? {
        let added = contents.add(name.clone(), member.clone());
        added.map_err(|fault| members.refusal(fault))?;
        let refused = match member {
            Some(Member::Link(_)) => Some(no_link(&name)),
            Some(Member::File(_)) if name == difference::FILE => Some(format!(
                "{name} comes behind blobs: what is left out cannot be proved before something is written"
            )),
            Some(Member::File(_)) | None => None,
        };
        if let Some(why) = refused {
            return Err(members.refusal(Fault::Refused(why)));
        }
        let (Some(Member::File(span)), Some(digest)) = (member, digest_of(&name)) else {
            continue;
        };
        let (keep, answer) = oneshot::channel();
        let (done, read) = oneshot::channel();
        let coming = Coming {
            digest,
            span,
            keep,
            read,
        };
        if sender.blocking_send(Ok(Some(coming))).is_err() {
            return Err(members.store().error(Kind::Interrupted));
        }
        let keep = answer.blocking_recv().unwrap_or(Keep::No);
        let has_read = members.read(span, keep);
        // The receiver is gone if the blob is skipped.
        let _ = done.send(has_read.clone());
        has_read?;
    }
    Ok(())
}

/// The digest that a member's name has.
fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix(BLOBS)?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// The most manifests and configs that are waited for: an archive that names more is read to its end first.
const MOST_EXPECTED: usize = 100_000;

/// What stands in front of the large blobs.
struct Front {
    contents: TarIndex,
    index: IndexFile,
    difference: Option<Difference>,
    /// Manifests and configs that are named and have not come; manifests with their media types.
    expected: HashMap<Digest, Option<String>>,
    /// All that was ever expected.
    named: HashSet<Digest>,
    /// Those of it that came before they were expected.
    unread: Vec<Digest>,
}

impl Front {
    /// Reads the front; `None` if the archive is in another order.
    fn read(members: &mut Members<'_>, name: &str) -> Result<Option<Opened>> {
        let store = Arc::clone(members.store());
        let mut contents = TarIndex::default();
        let mut front: Option<Self> = None;
        while let Some((file, member)) = members.next()? {
            let contents_now = front
                .as_mut()
                .map_or(&mut contents, |front| &mut front.contents);
            let added = contents_now.add(file.clone(), member.clone());
            added.map_err(|fault| members.refusal(fault))?;
            let span = match member {
                Some(Member::File(span)) => span,
                // Refused once the whole archive has been read.
                Some(Member::Link(_)) => return Ok(None),
                None => continue,
            };
            let Some(digest) = digest_of(&file) else {
                if front.is_some() && file == difference::FILE {
                    return Ok(None);
                }
                members.read(span, Keep::Yes)?;
                continue;
            };
            if front.is_none() {
                front = Self::begin((&store, &mut contents), name)?;
            }
            let Some(known) = &mut front else {
                return Ok(None);
            };
            if span.size > MAX_MANIFEST_BYTES as u64 || known.expected.len() > MOST_EXPECTED {
                return Ok(None);
            }
            members.read(span, Keep::Yes)?;
            known.take(digest, &store)?;
            if known.expected.is_empty() {
                return Ok(front.map(|front| Opened {
                    store,
                    contents: front.contents,
                    stream: None,
                    index: front.index,
                    difference: front.difference,
                }));
            }
        }
        Ok(None)
    }

    /// Reads `index.json`, which has to stand before the first blob.
    fn begin((store, contents): (&Store, &mut TarIndex), name: &str) -> Result<Option<Self>> {
        if contents.file("index.json").is_none() {
            return Ok(None);
        }
        let (index, difference) = Opened::front((store, contents), name)?;
        // In what `cosign save` wrote, manifests that refer to an image have no entry.
        if index.is_cosigns() {
            return Ok(None);
        }
        let entries = index.entries();
        let roots: Vec<Descriptor> = entries.map(|entry| entry.descriptor).collect();
        let mut front = Self {
            contents: std::mem::take(contents),
            expected: HashMap::new(),
            named: HashSet::new(),
            unread: Vec::new(),
            difference,
            index,
        };
        for root in roots {
            front.expect(&root, Some(root.media_type.clone()));
        }
        Ok(Some(front))
    }

    fn expect(&mut self, descriptor: &Descriptor, media_type: Option<String>) {
        let digest = &descriptor.digest;
        let is_left_out = |difference: &Difference| difference.part(digest).is_some();
        if self.difference.as_ref().is_some_and(is_left_out) || !self.named.insert(digest.clone()) {
            return;
        }
        self.expected.insert(digest.clone(), media_type);
        if self.contents.file(&member_name(digest)).is_some() {
            self.unread.push(digest.clone());
        }
    }

    /// Notes that a blob has come, and expects what it names.
    fn take(&mut self, digest: Digest, store: &Store) -> Result<()> {
        self.unread.push(digest);
        while let Some(digest) = self.unread.pop() {
            let media_type = self.expected.remove(&digest).flatten();
            let span = self.contents.file(&member_name(&digest));
            let (Some(media_type), Some(span)) = (media_type, span) else {
                continue;
            };
            let bytes = store.read(span);
            let bytes = bytes.map_err(|why| store.error(Kind::LocalIo).because(why))?;
            // The tag that needs a manifest that cannot be parsed fails with the reason.
            let Ok(manifest) = Manifest::parse(bytes, Some(&media_type)) else {
                continue;
            };
            if let Content::Image { config, .. } = &*manifest.content
                && config.size <= MAX_MANIFEST_BYTES as u64
            {
                self.expect(config, None);
            }
            for entry in manifest.entries() {
                self.expect(entry, Some(entry.media_type.clone()));
            }
        }
        Ok(())
    }
}
