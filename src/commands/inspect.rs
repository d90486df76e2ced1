//! `barge inspect`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use indicatif::DecimalBytes;
use serde::{Deserialize, Serialize};

use super::listener::Listener;
use super::referrers::{self, Asking, Referrer};
use super::{Code, failed, print};
use crate::bounded::{all, late, try_all};
use crate::cli::Form;
use crate::config::{InspectConfig, Subjects};
use crate::endpoint::{Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, Side};
use crate::image::filter::MAX_DEPTH;
use crate::image::manifest::{Content, Descriptor, Manifest};
use crate::image::platform::Platform;
use crate::image::{digest::Digest, media_type};
use crate::inventory::difference::{Difference, LeftOut};
use crate::reference::Reference;
use crate::report::json::is_zero;
use crate::report::progress::Style;
use crate::sanitize::{self, LONGEST_TEXT, brief, clean, excerpt, plural};

/// What a reference holds.
#[derive(Debug, Serialize)]
struct Inspected {
    reference: String,
    digest: Digest,
    media_type: String,
    platforms: Vec<Held>,
    attestations: usize,
    /// Blobs that an index lists, as those of caches do.
    #[serde(skip_serializing_if = "is_zero")]
    blobs: u64,
    /// What an archive leaves out of it by design.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOutCounts>,
    /// When the image was made, as its config says; an index has no config.
    created: Option<String>,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referrers: Vec<Referrer>,
    /// The indexes in it that something refers to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<Nested>,
    #[serde(skip)]
    is_index: bool,
    #[serde(skip)]
    lost_attestations: usize,
}

/// One image of it.
#[derive(Debug, Serialize)]
struct Held {
    platform: String,
    digest: Digest,
    size: u64,
    present: bool,
    /// Not there by design: an archive leaves it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    left_out: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referrers: Vec<Referrer>,
}

/// An index in it that is there.
#[derive(Debug, Serialize)]
struct Nested {
    digest: Digest,
    size: u64,
    referrers: Vec<Referrer>,
}

/// How much an archive leaves out.
#[derive(Debug, Serialize)]
struct LeftOutCounts {
    parts: usize,
    bytes: u64,
    /// The places that have it.
    places: Vec<String>,
}

impl LeftOutCounts {
    fn of(difference: &Difference, tag: Option<&str>) -> Self {
        let parts = difference.parts.iter();
        let parts: Vec<&LeftOut> = match tag {
            Some(tag) => difference.of_tag(tag).collect(),
            None => parts.collect(),
        };
        let sizes = parts.iter().map(|part| part.size);
        Self {
            parts: parts.len(),
            bytes: sizes.fold(0, u64::saturating_add),
            places: difference.places.clone(),
        }
    }
}

/// Shows what `config` names.
///
/// # Errors
///
/// When standard output cannot be written.
pub async fn run(config: InspectConfig) -> anyhow::Result<Code> {
    let listener = Listener::new(if config.output.quiet {
        Style::Quiet
    } else {
        Style::Silent
    });
    let events = listener.events();
    let form = config.output.form;
    let (endpoint, root) = match read(&config, &events).await {
        Ok(read) => read,
        Err(error) => return failed(&error, form),
    };
    if config.raw {
        crate::report::print(&root.bytes)?;
        return Ok(0);
    }
    match inspect(&config, (&endpoint, &root), &events).await {
        Ok(inspected) => {
            print(&match form {
                Form::Json => sanitize::json(&inspected),
                Form::Text => text(&inspected)?,
            })?;
            Ok(0)
        }
        Err(error) => failed(&error, form),
    }
}

/// The manifest that the reference names.
async fn read(config: &InspectConfig, events: &Events) -> Result<(Endpoint, Manifest)> {
    let reference = &config.reference;
    let endpoint = Endpoint::new(reference, config.access.options(Side::Source, events))?;
    endpoint.contact(Side::Source).await?;
    let target = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Target::Digest(digest.clone()),
        (None, Some(tag)) => endpoint.named(tag).await?,
        (None, None) => match endpoint.only_image().await? {
            Some(image) => Target::Digest(image.digest),
            None => Target::Tag("latest".into()),
        },
    };
    match endpoint.manifest(&target).await? {
        Some(manifest) => Ok((endpoint, manifest)),
        None => {
            Err(Error::new(Kind::NotFound, "read manifest", reference).because("it is not there"))
        }
    }
}

async fn inspect(
    config: &InspectConfig,
    (endpoint, root): (&Endpoint, &Manifest),
    events: &Events,
) -> Result<Inspected> {
    if config.subjects == Subjects::Root {
        endpoint.expect_few_subjects();
    }
    let asking = Asking {
        endpoint,
        subjects: config.subjects,
        events,
    };
    let mut inspected = Inspected {
        reference: named(&config.reference),
        digest: root.digest.clone(),
        media_type: root.media_type.clone(),
        platforms: Vec::new(),
        attestations: 0,
        blobs: 0,
        left_out: endpoint
            .difference()
            .await?
            .map(|difference| LeftOutCounts::of(difference, config.reference.tag())),
        created: None,
        labels: BTreeMap::new(),
        referrers: asking.of(&root.digest).await,
        indexes: Vec::new(),
        is_index: root.is_index(),
        lost_attestations: 0,
    };
    match &*root.content {
        Content::Index { .. } => inspected.add_index(endpoint, root).await?,
        Content::Image { config, .. } => inspected.add_image(endpoint, root, config).await?,
    }
    if config.subjects == Subjects::Each && inspected.is_index {
        inspected.add_referrers(asking).await;
    }
    inspected
        .indexes
        .retain(|index| !index.referrers.is_empty());
    Ok(inspected)
}

fn named(reference: &Reference) -> String {
    let implied = matches!(reference, Reference::Registry(_))
        && reference.tag().is_none()
        && reference.digest().is_none();
    if implied {
        format!("{reference}:latest")
    } else {
        reference.to_string()
    }
}

/// The fields of an image config that people ask for.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<Runtime>,
}

#[derive(Deserialize)]
struct Runtime {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl Inspected {
    /// Adds what refers to the images and indexes that are there.
    async fn add_referrers(&mut self, asking: Asking<'_>) {
        let present = self.platforms.iter_mut().filter(|held| held.present);
        let images = present.map(|held| (&held.digest, &mut held.referrers));
        let indexes = self.indexes.iter_mut();
        let indexes = indexes.map(|index| (&index.digest, &mut index.referrers));
        let asked = images.chain(indexes).map(async |(subject, referrers)| {
            *referrers = late(|| asking.of(subject)).await;
        });
        all(asked).await;
    }

    async fn add_index(&mut self, endpoint: &Endpoint, root: &Manifest) -> Result<()> {
        let mut indexes = vec![root.clone()];
        let mut seen = BTreeSet::new();
        let mut depth = 0;
        while !indexes.is_empty() {
            if depth > MAX_DEPTH {
                return Err(
                    Error::new(Kind::InvalidManifest, "read index", &self.reference)
                        .because(format!("indexes are nested deeper than {MAX_DEPTH}")),
                );
            }
            let mut nested = Vec::new();
            for index in &indexes {
                self.blobs += index.blobs().len() as u64;
                let asked = index
                    .entries()
                    .iter()
                    .map(|entry| late(|| look(endpoint, entry)));
                for (entry, child) in index.entries().iter().zip(try_all(asked).await?) {
                    let index = self.add_entry(entry, child);
                    // An index that is listed again holds nothing new.
                    nested.extend(index.filter(|index| seen.insert(index.digest.clone())));
                }
            }
            self.indexes.extend(nested.iter().map(|index| Nested {
                digest: index.digest.clone(),
                size: index.bytes.len() as u64,
                referrers: Vec::new(),
            }));
            indexes = nested;
            depth += 1;
        }
        Ok(())
    }

    /// Adds an entry of an index; a nested index that is there is given back.
    fn add_entry(&mut self, entry: &Descriptor, child: Child) -> Option<Manifest> {
        let left_out = matches!(child, Child::LeftOut);
        let (present, platform, nested) = match child {
            Child::Absent | Child::LeftOut => (false, None, None),
            Child::Present(platform) => (true, platform, None),
            Child::Nested(index) => (true, None, Some(*index)),
        };
        if nested.is_some() {
            return nested;
        }
        if entry.is_attestation() {
            self.attestations += 1;
            self.lost_attestations += usize::from(!present && !left_out);
            return None;
        }
        let written = entry
            .platform
            .as_ref()
            .filter(|platform| platform.is_named());
        let platform = written
            .or(platform.as_ref())
            .map_or_else(|| "unknown".to_owned(), ToString::to_string);
        self.platforms.push(Held {
            platform,
            digest: entry.digest.clone(),
            size: entry.size,
            present,
            left_out,
            referrers: Vec::new(),
        });
        None
    }

    async fn add_image(
        &mut self,
        endpoint: &Endpoint,
        root: &Manifest,
        config: &Descriptor,
    ) -> Result<()> {
        let bytes = read_config(endpoint, config).await?;
        let platform = platform_of(bytes.as_deref())?;
        self.platforms.push(Held {
            platform: platform
                .map_or_else(|| "unknown".to_owned(), |platform| platform.to_string()),
            digest: root.digest.clone(),
            size: root.bytes.len() as u64,
            present: true,
            left_out: false,
            referrers: Vec::new(),
        });
        let parsed = bytes
            .and_then(|bytes| serde_json::from_slice::<Config>(&bytes).ok())
            .unwrap_or_default();
        self.created = parsed.created;
        self.labels = parsed
            .config
            .and_then(|runtime| runtime.labels)
            .unwrap_or_default();
        Ok(())
    }
}

/// What is known of an entry of an index.
enum Child {
    Absent,
    /// Absent by design.
    LeftOut,
    Present(Option<Platform>),
    Nested(Box<Manifest>),
}

async fn absent(endpoint: &Endpoint, entry: &Descriptor) -> Result<Child> {
    Ok(if is_left_out(endpoint, entry).await? {
        Child::LeftOut
    } else {
        Child::Absent
    })
}

async fn is_left_out(endpoint: &Endpoint, part: &Descriptor) -> Result<bool> {
    let difference = endpoint.difference().await?;
    Ok(difference.is_some_and(|difference| difference.part(&part.digest).is_some()))
}

/// The config of an image; `None` for an artifact's, and for one that an archive leaves out.
async fn read_config(endpoint: &Endpoint, config: &Descriptor) -> Result<Option<Bytes>> {
    if !media_type::is_config(&config.media_type) || is_left_out(endpoint, config).await? {
        return Ok(None);
    }
    endpoint.small_blob(config).await.map(Some)
}

fn platform_of(config: Option<&[u8]>) -> Result<Option<Platform>> {
    config.map_or(Ok(None), Platform::from_config)
}

/// Whether the place holds `entry`; a nested index is read, and so is an image that has no platform.
async fn look(endpoint: &Endpoint, entry: &Descriptor) -> Result<Child> {
    let target = Target::Digest(entry.digest.clone());
    let named = entry.is_attestation() || entry.platform.as_ref().is_some_and(Platform::is_named);
    if !entry.is_index() && named {
        let there = endpoint.head(&target).await?.is_some();
        return if there {
            Ok(Child::Present(None))
        } else {
            absent(endpoint, entry).await
        };
    }
    let Some(manifest) = endpoint.manifest(&target).await? else {
        return absent(endpoint, entry).await;
    };
    match &*manifest.content {
        Content::Index { .. } => Ok(Child::Nested(Box::new(manifest))),
        Content::Image { config, .. } => {
            let bytes = read_config(endpoint, config).await?;
            Ok(Child::Present(platform_of(bytes.as_deref())?))
        }
    }
}

fn text(inspected: &Inspected) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "reference:    {}", clean(&inspected.reference))?;
    writeln!(text, "digest:       {}", inspected.digest)?;
    writeln!(text, "media type:   {}", brief(&inspected.media_type))?;
    if let Some(created) = &inspected.created {
        writeln!(text, "created:      {}", brief(created))?;
    }
    for (key, value) in &inspected.labels {
        writeln!(text, "label:        {}={}", brief(key), brief(value))?;
    }
    if let Some(LeftOutCounts {
        parts,
        bytes,
        places,
    }) = &inspected.left_out
    {
        let (bytes, places) = (
            DecimalBytes(*bytes),
            excerpt(&places.join(", "), LONGEST_TEXT),
        );
        writeln!(
            text,
            "left out:     {} ({bytes}) by design, held by {places}",
            plural(*parts as u64, "part")
        )?;
    }
    if !inspected.referrers.is_empty() {
        writeln!(text, "referrers:    {}", inspected.referrers.len())?;
        referrers::tell(&mut text, "  ", &inspected.referrers)?;
    }
    if !inspected.is_index {
        let platforms = inspected.platforms.iter().map(|held| brief(&held.platform));
        writeln!(
            text,
            "platform:     {}",
            platforms.collect::<Vec<_>>().join(", ")
        )?;
        return Ok(text);
    }
    add_entries(&mut text, inspected)?;
    Ok(text)
}

/// What an index lists, and how much of it is there.
fn add_entries(text: &mut String, inspected: &Inspected) -> std::fmt::Result {
    let total = inspected.platforms.len();
    let present = inspected
        .platforms
        .iter()
        .filter(|held| held.present)
        .count();
    let left_out = inspected.platforms.iter().filter(|held| held.left_out);
    let word = match left_out.count() {
        _ if present == total => "complete",
        left_out if present + left_out == total => "difference",
        _ => "sparse",
    };
    writeln!(
        text,
        "{:14}{present} of {total} present",
        format!("{word}:")
    )?;
    match (inspected.attestations, inspected.lost_attestations) {
        (0, _) => {}
        (count, 0) => writeln!(text, "attestations: {count}")?,
        (count, lost) => writeln!(text, "attestations: {count}, {lost} of them missing")?,
    }
    if inspected.blobs > 0 {
        writeln!(text, "blobs:        {}", inspected.blobs)?;
    }
    let width = inspected
        .platforms
        .iter()
        .map(|held| brief(&held.platform).chars().count())
        .max()
        .unwrap_or(0);
    for held in &inspected.platforms {
        let mark = match (held.present, held.left_out) {
            (true, _) => "present",
            (false, true) => "left out",
            (false, false) => "missing",
        };
        let size = DecimalBytes(held.size);
        writeln!(
            text,
            "  {:width$}  {mark}  {}  {size}",
            brief(&held.platform),
            held.digest
        )?;
        referrers::tell(text, "    ", &held.referrers)?;
    }
    for index in &inspected.indexes {
        let (digest, size) = (&index.digest, DecimalBytes(index.size));
        writeln!(text, "  {:width$}  present  {digest}  {size}", "index")?;
        referrers::tell(text, "    ", &index.referrers)?;
    }
    Ok(())
}
