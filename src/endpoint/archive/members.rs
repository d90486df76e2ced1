//! Where everything goes in an archive that is to be written: decided from what is known before the first
//! blob moves, so that the same content always makes the same bytes. Pure.
//!
//! In front is what readers look for first: `oci-layout`, `index.json`, the manifests. A reader of a pipe
//! knows all images before the first of their blobs passes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tar::{Builder, EntryType, Header};

use super::member_name;
use super::shelf::Shelved;
use super::tar_index::{BLOCK, BLOCK_BYTES, LARGEST_OCTAL};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Stated};
use crate::inventory::difference;

/// The bytes of `oci-layout` (image-spec, "oci-layout file").
pub(in crate::endpoint) const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// What a tar file ends with.
pub(super) const END_MARK: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
/// How much of a name fits into a header.
const LONGEST_NAME: usize = 100;

/// What an archive is to hold, in order.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// `index.json`.
    pub index: Bytes,
    /// What is left out, where something may be.
    pub difference: Option<Bytes>,
    pub manifests: Vec<Arc<Shelved>>,
    pub blobs: Vec<Descriptor>,
}

/// A blob in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) digest: Digest,
    /// Where its header begins.
    pub(super) at: u64,
    /// The blocks before its bytes.
    pub(super) header: Vec<u8>,
    /// Its bytes, without what fills the last block.
    pub(super) size: u64,
}

/// A manifest in the file.
#[derive(Clone, Debug)]
pub(super) struct Front {
    /// Where its header begins.
    pub(super) at: u64,
    pub(super) manifest: Arc<Shelved>,
}

impl Front {
    /// All of its bytes in the file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let name = member_name(&self.manifest.digest);
        add_file(&mut bytes, &name, &self.manifest.bytes()?);
        Ok(bytes)
    }
}

/// An archive before its blobs are in it.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The bytes before the first manifest.
    pub(super) front: Vec<u8>,
    /// The manifests, each right behind the one before.
    pub(super) manifests: Vec<Front>,
    /// The blobs, each right behind the one before.
    pub(super) blobs: Vec<Place>,
    /// The length of the file, with its end mark.
    pub(super) length: u64,
}

impl Place {
    /// What is in it. Until a blob comes, a wrong size in one descriptor has a place of its own.
    fn content(&self) -> (&Digest, u64) {
        (&self.digest, self.size)
    }

    pub(super) fn stated(&self) -> Stated {
        (self.digest.clone(), self.size)
    }

    /// How many bytes it has, from its header to the last one that fills its last block.
    pub(super) fn length(&self) -> u64 {
        self.header.len() as u64 + self.size.next_multiple_of(BLOCK)
    }

    /// The bytes that fill the last block.
    pub(super) fn padding(&self) -> Vec<u8> {
        let missing = self.size.next_multiple_of(BLOCK) - self.size;
        vec![0; usize::try_from(missing).unwrap_or_default()]
    }
}

impl Places {
    /// The places of everything in `listing`.
    ///
    /// # Errors
    ///
    /// `invalid-manifest` where the blobs' sizes add up to more than a file can have.
    pub(super) fn of(listing: &Listing) -> Result<Self> {
        let digests = listing.manifests.iter().map(|manifest| &manifest.digest);
        let digests = digests.chain(listing.blobs.iter().map(|blob| &blob.digest));
        let algorithms: BTreeSet<&str> = digests.map(Digest::algorithm_name).collect();
        let mut front = header(EntryType::Directory, "blobs/", 0);
        for algorithm in algorithms {
            front.extend(header(
                EntryType::Directory,
                &format!("blobs/{algorithm}/"),
                0,
            ));
        }
        add_file(&mut front, "oci-layout", LAYOUT_FILE);
        add_file(&mut front, "index.json", &listing.index);
        if let Some(difference) = &listing.difference {
            add_file(&mut front, difference::FILE, difference);
        }
        let mut at = front.len() as u64;
        let mut manifests = Vec::new();
        for manifest in &listing.manifests {
            let name = member_name(&manifest.digest);
            let header = header(EntryType::Regular, &name, manifest.size);
            let front = Front {
                at,
                manifest: Arc::clone(manifest),
            };
            manifests.push(front);
            at += header.len() as u64 + manifest.size.next_multiple_of(BLOCK);
        }
        let mut blobs = Vec::new();
        for blob in &listing.blobs {
            let too_long = || {
                let cause = format!("its {} bytes are more than an archive can hold", blob.size);
                Error::new(Kind::InvalidManifest, "place blob", &blob.digest).because(cause)
            };
            // Half of what a number can hold is more than any file: what follows cannot overflow.
            if blob.size > u64::MAX / 4 || at > u64::MAX / 4 {
                return Err(too_long());
            }
            let place = Place {
                digest: blob.digest.clone(),
                at,
                header: header(EntryType::Regular, &member_name(&blob.digest), blob.size),
                size: blob.size,
            };
            at += place.length();
            blobs.push(place);
        }
        Ok(Self {
            front,
            manifests,
            blobs,
            length: at + END_MARK.len() as u64,
        })
    }
}

/// Bytes that go from one place of a file to another; both may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) length: u64,
}

/// The steps that bring the blobs that `before` and `after` share to their new places, none of which
/// writes over one that is still to be moved. Without a tag others may come first, so any order may turn
/// into any other; where blobs stand in each other's way, one is moved behind the end first.
pub(super) fn moves(before: &Places, after: &Places) -> Vec<Step> {
    let old = before.blobs.iter().map(|place| (place.content(), place));
    let old: HashMap<_, _> = old.collect();
    let both = after.blobs.iter().filter_map(|new| {
        let old = old.get(&new.content())?;
        let step = Step {
            from: old.at,
            to: new.at,
            length: new.length(),
        };
        (step.from != step.to).then_some(step)
    });
    let mut waiting: Vec<Step> = both.collect();
    let mut taken: BTreeMap<u64, u64> = waiting.iter().map(Step::source).collect();
    let end = before.length.max(after.length);
    let mut behind = end;
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let count = waiting.len();
        waiting.retain(|step| {
            let free = step.is_free(&taken);
            if free {
                taken.remove(&step.from);
                steps.push(*step);
            }
            !free
        });
        // What goes up is free from the last one on.
        waiting.reverse();
        if waiting.len() == count
            && let Some(step) = waiting.iter_mut().find(|step| step.from < end)
        {
            taken.remove(&step.from);
            let to = behind;
            steps.push(Step { to, ..*step });
            step.from = to;
            behind += step.length;
            taken.extend([step.source()]);
        }
    }
    steps
}

impl Step {
    fn source(&self) -> (u64, u64) {
        (self.from, self.from + self.length)
    }

    /// Whether none but its own of the ranges that are `taken`, by beginning and end, is where it goes.
    fn is_free(&self, taken: &BTreeMap<u64, u64>) -> bool {
        let mut others = taken.range(..self.to + self.length).rev();
        let last = others.find(|(start, _)| **start != self.from);
        last.is_none_or(|(_, end)| *end <= self.to)
    }
}

/// Adds a file whose bytes are at hand.
pub(super) fn add_file(archive: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    archive.extend(header(EntryType::Regular, name, bytes.len() as u64));
    archive.extend(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// The blocks before the bytes of a member: the same owner, mode and time whoever writes it, whenever.
/// What does not fit into a ustar header is in a pax header before it.
pub(super) fn header(kind: EntryType, name: &str, size: u64) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let text = size.to_string();
    let mut records: Vec<(&str, &[u8])> = Vec::new();
    if name.len() > LONGEST_NAME {
        records.push(("path", name.as_bytes()));
    }
    if size > LARGEST_OCTAL {
        records.push(("size", text.as_bytes()));
    }
    let mut header = Header::new_ustar();
    describe(&mut header, kind, name);
    header.set_size(if size > LARGEST_OCTAL { 0 } else { size });
    header.set_cksum();
    builder
        .append_pax_extensions(records)
        .expect("memory can be written to");
    let mut bytes = builder.get_ref().clone();
    bytes.extend(header.as_bytes());
    bytes
}

/// Writes all but the size and the checksum.
pub(super) fn describe(header: &mut Header, kind: EntryType, name: &str) {
    let field = header.as_old_mut().name.iter_mut();
    field
        .zip(name.bytes())
        .for_each(|(place, byte)| *place = byte);
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::archive::tar_index::{Span, TarIndex};

    fn listing(sizes: &[u64]) -> Listing {
        let blob = |size: &u64| {
            let digest = Digest::of(size.to_string().as_bytes());
            let text = format!(r#"{{"mediaType":"x","digest":"{digest}","size":{size}}}"#);
            serde_json::from_str(&text).expect("a descriptor")
        };
        Listing {
            index: Bytes::from_static(b"{}"),
            difference: None,
            manifests: Vec::new(),
            blobs: sizes.iter().map(blob).collect(),
        }
    }

    /// The archive without the blobs' bytes, read as if they were there.
    fn read(places: &Places) -> TarIndex {
        let read_at = |offset: u64, buffer: &mut [u8]| {
            let front = places.front.get(usize::try_from(offset).expect("small")..);
            let blob = places.blobs.iter().find_map(|place| {
                let inside = offset.checked_sub(place.at)?;
                let rest = place.header.get(usize::try_from(inside).ok()?..)?;
                (!rest.is_empty()).then_some(rest)
            });
            let known = front.filter(|front| !front.is_empty()).or(blob);
            let known = known.unwrap_or(&[0; 512]);
            buffer.copy_from_slice(&known[..buffer.len()]);
            Ok(())
        };
        TarIndex::read(places.length, read_at).expect("it is an archive")
    }

    #[test]
    fn everything_is_found_where_it_was_placed() {
        let huge = 20 << 30;
        let mut listing = listing(&[1, huge, 512, 0]);
        let long = crate::image::digest::Algorithm::Sha512.digest(b"x");
        listing.blobs[2].digest = long;
        let places = Places::of(&listing).expect("they fit");
        let contents = read(&places);
        assert!(contents.file("oci-layout").is_some() && contents.file("index.json").is_some());
        for (blob, place) in listing.blobs.iter().zip(&places.blobs) {
            let expected = Span {
                offset: place.at + place.header.len() as u64,
                size: blob.size,
            };
            assert_eq!(contents.file(&member_name(&blob.digest)), Some(expected));
        }
        let ends = places.blobs.last().map(|last| last.at + last.length());
        assert_eq!(ends, Some(places.length - 1024));
    }

    #[test]
    fn sizes_that_no_file_has_are_refused() {
        for sizes in [&[u64::MAX][..], &[u64::MAX / 4, u64::MAX / 4, 1]] {
            let error = Places::of(&listing(sizes)).expect_err("too long");
            assert_eq!(error.kind(), Kind::InvalidManifest);
        }
    }

    /// Carries out what moves blobs from one listing to another, and looks whether all is there.
    fn move_all(before: (&[u64], usize), after: (&[u64], usize)) {
        let place = |(sizes, index): (&[u64], usize)| {
            let mut listing = listing(sizes);
            listing.index = vec![b' '; index].into();
            Places::of(&listing).expect("they fit")
        };
        let (before, after) = (place(before), place(after));
        let mut file = vec![0; 100_000];
        let range = |start: u64, length: u64| {
            let start = usize::try_from(start).expect("small");
            start..start + usize::try_from(length).expect("small")
        };
        let mark = |place: &Place| u8::try_from(place.size % 251).expect("a byte");
        for place in &before.blobs {
            file[range(place.at, place.length())].fill(mark(place));
        }
        for step in moves(&before, &after) {
            let start = range(step.to, 0).start;
            file.copy_within(range(step.from, step.length), start);
        }
        for place in &after.blobs {
            let bytes = &file[range(place.at, place.length())];
            assert!(bytes.iter().all(|byte| *byte == mark(place)), "{place:?}");
        }
    }

    const FRONTS: [(usize, usize); 3] = [(10, 3000), (3000, 10), (10, 10)];

    /// Any blobs left out, and the front longer or shorter: moving one by one loses no byte.
    #[test]
    fn blobs_are_moved_without_loss() {
        let sizes = [700, 1, 5000, 2, 300, 9000, 4];
        for dropped in 0_u32..1 << sizes.len() {
            let kept = |bit: usize| dropped >> bit & 1 == 0;
            let stay: Vec<u64> = (0..sizes.len())
                .filter(|bit| kept(*bit))
                .map(|bit| sizes[bit])
                .collect();
            for (before, after) in FRONTS {
                move_all((&sizes, before), (&stay, after));
            }
        }
    }

    /// Without the tag that named a blob first, it may come later.
    #[test]
    fn blobs_that_change_their_order_are_moved_without_loss() {
        let sizes = [700, 1, 5000, 20, 300, 9000, 4];
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut stay = sizes.to_vec();
            chance.shuffle(&mut stay);
            stay.truncate(chance.usize(1..=sizes.len()));
            for (before, after) in FRONTS {
                move_all((&sizes, before), (&stay, after));
            }
        }
        move_all((&[1000, 20, 2000], 10), (&[2000, 20], 10));
    }
}
