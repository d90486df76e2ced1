//! What refers to an image, as `inspect` shows it.

use std::fmt::Write as _;

use indicatif::DecimalBytes;
use serde::Serialize;

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::event::{Event, Events};
use crate::image::digest::Digest;
use crate::image::referrers::{Types, shown_type};
use crate::printable::clean;

/// One that refers to an image.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Referrer {
    #[serde(rename = "type")]
    artifact_type: String,
    digest: Digest,
    /// Of its manifest, in bytes.
    size: u64,
    /// The tag that cosign keeps it under.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// What refers to `subject`, sorted by type. Where that cannot be found out the rest is shown all the same.
pub(super) async fn of(endpoint: &Endpoint, subject: &Digest, events: &Events) -> Vec<Referrer> {
    list(endpoint, subject).await.unwrap_or_else(|error| {
        let warning = format!("what refers to {subject} is not shown: {error}");
        events.send(Event::Warning(warning));
        Vec::new()
    })
}

async fn list(endpoint: &Endpoint, subject: &Digest) -> Result<Vec<Referrer>> {
    let found = endpoint.attached(subject, &Types::default()).await?;
    let listed = found.referrers.into_iter().map(|entry| Referrer {
        artifact_type: entry.artifact_type.unwrap_or_else(|| "unknown".to_owned()),
        digest: entry.digest,
        size: entry.size,
        tag: None,
    });
    let tagged = found.tagged.into_iter().map(|(tag, manifest)| Referrer {
        artifact_type: shown_type(&manifest),
        size: manifest.bytes.len() as u64,
        digest: manifest.digest,
        tag: Some(tag),
    });
    let mut referrers: Vec<Referrer> = listed.chain(tagged).collect();
    referrers.sort();
    Ok(referrers)
}

/// A line for each, behind `indent`.
pub(super) fn tell(text: &mut String, indent: &str, referrers: &[Referrer]) -> std::fmt::Result {
    for referrer in referrers {
        let size = DecimalBytes(referrer.size);
        let kind = clean(&referrer.artifact_type);
        writeln!(text, "{indent}{kind}  {}  {size}", referrer.digest)?;
    }
    Ok(())
}
