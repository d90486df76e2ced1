//! What every input has to hold, one function a target: the fuzzer looks for inputs that break it, the
//! tests run those that are kept in `corpus`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use barge::endpoint::archive::OciArchive;
use barge::endpoint::archive::docker::DockerArchive;
use barge::endpoint::archive::tar_index::{Span, TarIndex};
use barge::endpoint::backoff::Backoff;
use barge::endpoint::registry::answers::{Answer, Reading};
use barge::endpoint::{BlobStream, Target};
use barge::error::{Error, Kind, Result};
use barge::event::{Events, Side};
use barge::image::digest::Digest;
use barge::image::filter::{Filtered, Form, Known, Need, everything, filter, needs};
use barge::image::manifest::{Manifest, media_type};
use barge::image::platform::{Platform, Wanted};
use barge::reference::{Reference, Role};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;

/// A target: its name, and what it does with an input.
pub(crate) type Named = (&'static str, fn(&[u8]));

/// Every target; `fuzz_targets` and `corpus` have each by its name.
pub(crate) const ALL: [Named; 7] = [
    ("answer", answer),
    ("tar_index", tar_index),
    ("oci_archive", oci_archive),
    ("docker_archive", docker_archive),
    ("manifest", manifest),
    ("filter", index_filter),
    ("reference", reference),
];

/// A password that nothing else says.
const SECRET: &str = "Hidden-Word";
/// How many tags of an archive are looked into.
const TAGS: usize = 4;

/// What is understood of a tar file is what the `tar` crate understands, and lies within the file.
pub(crate) fn tar_index(data: &[u8]) {
    'forms: for bytes in [data.to_vec(), with_checksums(data)] {
        let read_at = |offset: u64, buffer: &mut [u8]| {
            let start = usize::try_from(offset).expect("within the file");
            buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
            Ok(())
        };
        let Ok(contents) = TarIndex::read(bytes.len() as u64, read_at) else {
            continue;
        };
        let mut files = 0;
        let mut ends = BTreeSet::new();
        let mut archive = tar::Archive::new(&bytes[..]);
        for entry in archive.entries().expect("a tar file") {
            let entry = match entry {
                Ok(entry) => entry,
                // A link that says to have more bytes than any file: only this one would pass over them.
                Err(why) if why.to_string() == "size overflow" => continue 'forms,
                Err(why) => panic!("a member that was accepted: {why}"),
            };
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                continue;
            }
            // A link has no bytes to Go's reader, to GNU tar and to us; this one passes over as many as it says.
            if (kind.is_symlink() || kind.is_hard_link()) && entry.size() > 0 {
                continue 'forms;
            }
            let path = entry.path_bytes().into_owned();
            let name = String::from_utf8(path).expect("names are text");
            assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
            let _ = contents.follow(&name);
            if !kind.is_file() && !kind.is_contiguous() {
                continue;
            }
            let span = Span {
                offset: entry.raw_file_position(),
                size: entry.size(),
            };
            let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
            let plain = parts.collect::<Vec<_>>().join("/");
            assert_eq!(contents.file(&plain), Some(span), "{plain:?}");
            assert!(span.offset + span.size <= bytes.len() as u64);
            assert!(ends.last().is_none_or(|end| *end <= span.offset));
            ends.insert(span.offset + span.size);
            files += 1;
        }
        assert_eq!(contents.files().count(), files);
    }
}

/// An OCI archive is read or refused; what is read of it is what it says.
pub(crate) fn oci_archive(data: &[u8]) {
    reading(&with_checksums(data), &async |path| {
        let archive = OciArchive::new(path.to_owned(), Side::Source, patience());
        let _ = archive.images().await;
        for tag in archive.tags().await?.into_iter().take(TAGS) {
            let Some(manifest) = archive.manifest(&Target::Tag(tag)).await? else {
                continue;
            };
            for blob in manifest.blobs() {
                let Some(size) = archive.blob_size(blob).await? else {
                    continue;
                };
                let bytes = all(archive.open_blob(blob, 0).await?).await?;
                assert_eq!(bytes.len() as u64, size);
            }
        }
        Ok(())
    });
}

/// An archive of `docker save` is read or refused; its blobs are what the manifests made for it say.
pub(crate) fn docker_archive(data: &[u8]) {
    reading(&with_checksums(data), &async |path| {
        let archive = DockerArchive::new(path.to_owned(), Side::Source, patience());
        let _ = archive.images().await;
        for tag in archive.tags().await?.into_iter().take(TAGS) {
            let manifest = archive.manifest(&Target::Tag(tag)).await?;
            let manifest = manifest.expect("a tag that is listed is there");
            for blob in manifest.blobs() {
                assert!(archive.has_blob(blob).await?);
                let bytes = all(archive.open_blob(blob, 0).await?).await?;
                assert_eq!(Digest::of(&bytes), blob.digest);
                assert_eq!(bytes.len() as u64, blob.size);
            }
        }
        Ok(())
    });
}

/// A manifest keeps its bytes, and means the same with its own media type beside it.
pub(crate) fn manifest(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = Platform::from_config(data);
    let types = [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_LIST,
    ];
    for content_type in types.into_iter().map(Some).chain([None]) {
        let Ok(manifest) = Manifest::parse(bytes.clone(), content_type) else {
            continue;
        };
        assert_eq!(manifest.bytes, bytes);
        assert_eq!(manifest.digest, Digest::of(data));
        assert!(serde_json::from_slice::<BTreeMap<String, &RawValue>>(data).is_ok());
        let again = Manifest::parse(bytes.clone(), Some(&manifest.media_type));
        assert_eq!(again.ok().as_ref(), Some(&manifest));
        let blobs = manifest.blobs();
        let stated = blobs.iter().map(|blob| (&blob.digest, blob.size));
        let distinct: BTreeSet<_> = stated.collect();
        assert_eq!(distinct.len(), blobs.len());
    }
}

/// The platforms that the bits of an input's first two bytes ask for and require.
const PLATFORMS: [&str; 8] = [
    "amd64",
    "arm64",
    "arm/v7",
    "arm",
    "linux/s390x",
    "windows/amd64:10.0.1",
    "386",
    "linux/arm/v6",
];

/// What is kept of an index is in it, and filtering again changes nothing.
///
/// Behind two bytes for platforms the input has the index, then what it nests, each behind a zero byte.
/// Sixty-four times the digit N in a digest stands for the digest of the Nth of these.
pub(crate) fn index_filter(data: &[u8]) {
    let [asked, required, documents @ ..] = data else {
        return;
    };
    let Some((index, mut known)) = tree(documents) else {
        return;
    };
    let of = |bits: u8| {
        let chosen = PLATFORMS.iter().enumerate();
        let chosen = chosen.filter(move |(bit, _)| bits & (1 << bit) != 0);
        chosen
            .map(|(_, name)| name.parse().expect("a platform"))
            .collect()
    };
    let wanted = Wanted {
        platforms: of(*asked),
        required: of(*required),
    };
    let Ok(true) = learn(&index, &mut known) else {
        assert!(filter(&index, &wanted, &known, Form::Rewrite).is_err());
        return;
    };
    let _ = everything(&index, &known).expect("all is known");
    let filtered = filter(&index, &wanted, &known, Form::Rewrite).expect("all is known");
    let kept = filter(&index, &wanted, &known, Form::Keep).expect("all is known");
    assert_eq!((&kept.root, &kept.kept), (&index, &filtered.kept));
    assert_eq!(filtered.is_rewritten(), filtered.root != index);
    for side in [&filtered.kept, &filtered.omitted] {
        let distinct: BTreeSet<_> = side.iter().map(|entry| &entry.digest).collect();
        assert_eq!(distinct.len(), side.len());
    }
    if !filtered.kept.is_empty() {
        settles(&index, &filtered, (&wanted, &known));
    }
}

/// A filtered index has its fields as before, and is what it becomes when it is filtered once more.
fn settles(index: &Manifest, filtered: &Filtered, (wanted, known): (&Wanted, &Known)) {
    let parsed = Manifest::parse(filtered.root.bytes.clone(), Some(&index.media_type));
    assert_eq!(parsed.ok().as_ref(), Some(&filtered.root));
    let others = [&index.bytes, &filtered.root.bytes].map(others);
    assert_eq!(others[0], others[1]);
    let mut known = known.clone();
    for nested in &filtered.nested {
        known
            .manifests
            .insert(nested.digest.clone(), nested.clone());
    }
    let again = filter(&filtered.root, wanted, &known, Form::Rewrite).expect("all is known");
    assert_eq!((&again.root, &again.kept), (&filtered.root, &filtered.kept));
    assert!(again.omitted.is_empty() && !again.is_rewritten());
}

/// The fields of an index but for its entries, each as it was written: text may be in it that is no Unicode.
fn others(index: &Bytes) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(index).expect("it was parsed");
    fields.remove("manifests");
    let fields = fields.into_iter();
    fields
        .map(|(key, value)| (key, value.get().to_owned()))
        .collect()
}

/// The first of these documents, and what it may nest.
fn tree(documents: &[u8]) -> Option<(Manifest, Known)> {
    let mut texts: Vec<String> = documents
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8(text.to_vec()).ok())
        .collect::<Option<_>>()?;
    let mut known = Known::default();
    for number in (1..texts.len().min(10)).rev() {
        let nested = Manifest::parse(texts[number].clone().into(), None).ok()?;
        let sign = number.to_string().repeat(64);
        for text in &mut texts[..number] {
            *text = text.replace(&sign, nested.digest.hex());
        }
        known.manifests.insert(nested.digest.clone(), nested);
    }
    let index = Manifest::parse(texts.swap_remove(0).into(), None).ok()?;
    index.is_index().then_some((index, known))
}

/// Gives every entry without a platform one, or none, by its digest; whether no index is missing then.
fn learn(index: &Manifest, known: &mut Known) -> Result<bool> {
    for need in needs(index, known)? {
        let Need::Platform(entry) = need else {
            return Ok(false);
        };
        let is_nested = known.manifests.contains_key(&entry.digest);
        let digits = entry.digest.hex().bytes().map(usize::from).sum::<usize>();
        let platform = (digits % 2 == 0 && !is_nested).then(|| Platform {
            os: "linux".into(),
            architecture: PLATFORMS[digits / 2 % 2].into(),
            ..Platform::default()
        });
        known.platforms.insert(entry.digest, platform);
    }
    Ok(true)
}

/// What a reference is shown as means the same; a password in one is not repeated.
pub(crate) fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for role in [Role::Source, Role::Destination] {
        if let Ok(reference) = Reference::parse(text, role) {
            let shown = reference.to_string();
            let again = Reference::parse(&shown, Role::Source);
            assert_eq!(again.ok(), Some(reference), "{shown:?}");
        }
        // What would be a tag and its digest is none.
        if text.starts_with("sha") || text.contains(SECRET) {
            continue;
        }
        for scheme in ["", "docker://"] {
            let text = format!("{scheme}user:{SECRET}@{text}");
            if let Err(error) = Reference::parse(&text, role) {
                assert!(!error.to_string().contains(SECRET), "{error}");
            }
        }
    }
}

/// A request that the registry of [`answer`] answers.
const ASKED: &str = "https://registry.example/v2/a/tags/list?n=2";
/// Longer errors are not read by people.
const LONGEST_ERROR: usize = 10_000;

/// What an answer of a registry or token server says leads to no address that the rules exclude, takes no more
/// memory than the answer, and shows no secret.
///
/// An input has the status in its first line, then headers, and behind an empty line the body.
pub(crate) fn answer(data: &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let header = |line: &'_ [u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(line.get(..colon)?).ok()?;
        // What the borrow of a closure cannot say: both are parts of the line.
        Some((
            name.to_owned(),
            line.get(colon + 1..)?.trim_ascii().to_vec(),
        ))
    };
    let headers: Option<Vec<_>> = lines.map(header).collect();
    let (Some(status), Some(headers)) = (status, headers) else {
        return;
    };
    let answer = Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect(),
        body,
    };
    let Some(reading) = Reading::of(&answer, ASKED, SECRET) else {
        return;
    };
    leads_nowhere_else(&reading);
    if let Ok(tags) = &reading.tags {
        assert!(tags.iter().map(String::len).sum::<usize>() + tags.len() <= body.len());
    }
    if let Ok(referrers) = &reading.referrers {
        assert!(
            referrers
                .iter()
                .map(|digest| digest.as_str().len())
                .sum::<usize>()
                <= body.len()
        );
    }
    if let Some((token, shown)) = &reading.token {
        assert!(
            shown.starts_with("Token { header: Sensitive,"),
            "{token} {shown}"
        );
    }
    shows_no_secret(&reading.refusal);
    let errors = [
        reading.next_page.err(),
        reading.tags.err(),
        reading.referrers.err(),
    ];
    errors.iter().flatten().for_each(shows_no_secret);
}

/// A list stays at its registry, and nothing leaves TLS there.
fn leads_nowhere_else(reading: &Reading) {
    if let Some(location) = &reading.location {
        let (scheme, place) = location.split_once("://").expect("an address");
        let is_own = place.starts_with("registry.example/");
        assert!(
            scheme == "https" || (scheme == "http" && !is_own),
            "{location}"
        );
    }
    if let Ok(Some(next)) = &reading.next_page {
        assert!(
            next.starts_with("https://registry.example/") && next != ASKED,
            "{next}"
        );
    }
}

fn shows_no_secret(error: &Error) {
    let text = format!("{error} {}", error.advice().unwrap_or_default());
    assert!(!text.contains(SECRET), "{text}");
    let length = text.chars().count();
    assert!(length <= LONGEST_ERROR, "{length} letters: {text}");
}

/// A tar file with the checksums of its headers put right, which no mutation would hit.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0_usize;
    while let Some(block) = bytes.get_mut(at..at.saturating_add(512)) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = tar::Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let kind = header.entry_type();
        let has_bytes = !kind.is_symlink() && !kind.is_hard_link();
        let size = header.entry_size().unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let length = size.checked_next_multiple_of(512).unwrap_or(usize::MAX);
        at = at.saturating_add(512);
        if has_bytes {
            at = at.saturating_add(length);
        }
    }
    bytes
}

/// Reads a file of these bytes; what is wrong with them is told as that, and is no fault of ours.
fn reading(bytes: &[u8], read: &impl AsyncFn(&Path) -> Result<()>) {
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
        );
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("it can be written");
    let end = RUNTIME.with_borrow(|runtime| runtime.block_on(read(file.path())));
    if let Err(error) = end {
        assert_ne!(error.kind(), Kind::Usage, "{error}");
    }
}

async fn all(stream: BlobStream) -> Result<Vec<u8>> {
    stream
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend(chunk);
            Ok(all)
        })
        .await
}

fn patience() -> Backoff {
    Backoff {
        times: 0,
        events: Events::ignored(),
    }
}
