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
    /// `None` where a registry lists its tag and has lost it.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// Of its manifest, in bytes.
    size: u64,
    /// The tag that cosign keeps it under, or that of a list that is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// What is wrong with it: the kind of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<&'static str>,
}

/// What refers to `subject`, sorted by type. Where that cannot be found out the rest is shown all the same.
pub(super) async fn of(endpoint: &Endpoint, subject: &Digest, events: &Events) -> Vec<Referrer> {
    list(endpoint, subject).await.unwrap_or_else(|error| {
        let advice = error.advice().map(|advice| format!("; {advice}"));
        let advice = advice.unwrap_or_default();
        let warning = format!("what refers to {subject} is not shown: {error}{advice}");
        events.send(Event::Warning(warning));
        Vec::new()
    })
}

async fn list(endpoint: &Endpoint, subject: &Digest) -> Result<Vec<Referrer>> {
    let found = endpoint.attached(subject, &Types::default()).await?;
    let listed = found.referrers.into_iter().map(|entry| Referrer {
        artifact_type: entry.artifact_type.unwrap_or_else(unknown),
        digest: Some(entry.digest),
        size: entry.size,
        tag: None,
        lost: None,
    });
    let tagged = found.tagged.into_iter().map(|(tag, manifest)| Referrer {
        artifact_type: shown_type(&manifest),
        size: manifest.bytes.len() as u64,
        digest: Some(manifest.digest),
        tag: Some(tag),
        lost: None,
    });
    let lost = found.lost.into_iter().map(|lost| Referrer {
        artifact_type: unknown(),
        size: lost.naming.size,
        digest: lost.naming.digest,
        tag: lost.naming.tag,
        lost: Some(lost.error.kind().name()),
    });
    let mut referrers: Vec<Referrer> = listed.chain(tagged).chain(lost).collect();
    referrers.sort();
    Ok(referrers)
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A line for each, behind `indent`.
pub(super) fn tell(text: &mut String, indent: &str, referrers: &[Referrer]) -> std::fmt::Result {
    for referrer in referrers {
        let size = DecimalBytes(referrer.size);
        let kind = clean(&referrer.artifact_type);
        let digest = referrer.digest.as_ref().map_or("", Digest::as_str);
        match (referrer.lost, referrer.tag.as_deref()) {
            (None, _) => writeln!(text, "{indent}{kind}  {digest}  {size}")?,
            (Some(why), tag) => {
                let names = [tag.map(clean), Some(digest.to_owned())];
                let names: Vec<String> = names.into_iter().flatten().collect();
                writeln!(
                    text,
                    "{indent}lost ({why})  {}",
                    names.join("  ").trim_end()
                )?;
            }
        }
    }
    Ok(())
}
