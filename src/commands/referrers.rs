//! What refers to an image, as `inspect` shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use indicatif::DecimalBytes;
use serde::Serialize;

use crate::bounded::{all, late};
use crate::config::Subjects;
use crate::endpoint::{Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::referrers::{Types, shown_type};
use crate::sanitize::brief;

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
    /// Whether it is listed here and names another subject, or none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stray: bool,
}

/// Who asks, how far what is listed is looked into, and who is told what cannot be found out.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// For the root alone a HEAD tells what is gone; for each image it is read, which may count as a pull.
    pub(super) subjects: Subjects,
    pub(super) events: &'a Events,
}

impl Asking<'_> {
    /// What refers to `subject`, sorted by type. Where that cannot be found out the rest is shown all the same.
    pub(super) async fn of(self, subject: &Digest) -> Vec<Referrer> {
        list(subject, self).await.unwrap_or_else(|error| {
            self.warn(&format!("what refers to {subject} is not shown"), &error);
            Vec::new()
        })
    }

    fn warn(self, what: &str, error: &Error) {
        let advice = error.advice().map(|advice| format!("; {advice}"));
        let advice = advice.unwrap_or_default();
        let warning = format!("{what}: {error}{advice}");
        self.events.send(Event::Warning(warning));
    }

    /// Looks at what a list names: lists outlive what they list, and may name what refers to something else.
    async fn look(self, subject: &Digest, entry: Descriptor) -> Referrer {
        let mut referrer = Referrer {
            artifact_type: entry.artifact_type.unwrap_or_else(unknown),
            digest: Some(entry.digest.clone()),
            size: entry.size,
            tag: None,
            lost: None,
            stray: false,
        };
        match self.state(subject, &entry.digest).await {
            Ok(State::Stands) => {}
            Ok(State::Stray) => referrer.stray = true,
            Ok(State::Gone) => referrer.lost = Some(Kind::NotFound.name()),
            Err(error) if error.is_of_content() => referrer.lost = Some(error.kind().name()),
            Err(error) => {
                let what = format!("whether {} is there is not known", entry.digest);
                self.warn(&what, &error);
            }
        }
        referrer
    }

    async fn state(self, subject: &Digest, digest: &Digest) -> Result<State> {
        let difference = self.endpoint.difference().await?;
        if difference.is_some_and(|difference| difference.part(digest).is_some()) {
            return Ok(State::Stands);
        }
        let target = Target::Digest(digest.clone());
        if self.subjects == Subjects::Root {
            let there = self.endpoint.head(&target).await?;
            return Ok(there.map_or(State::Gone, |_| State::Stands));
        }
        let there = self.endpoint.manifest(&target).await?;
        Ok(there.map_or(State::Gone, |artifact| {
            let named = artifact.subject().map(|named| &named.digest);
            if named == Some(subject) {
                State::Stands
            } else {
                State::Stray
            }
        }))
    }
}

/// What became of what a list names.
enum State {
    Stands,
    Gone,
    Stray,
}

async fn list(subject: &Digest, asking: Asking<'_>) -> Result<Vec<Referrer>> {
    let found = asking.endpoint.attached(subject, &Types::default()).await?;
    let mut seen = BTreeSet::new();
    let listed = found.referrers.into_iter();
    let listed = listed.filter(|entry| seen.insert(entry.digest.clone()));
    let listed = all(listed.map(|entry| late(|| asking.look(subject, entry)))).await;
    let tagged = found.tagged.into_iter().map(|(tag, manifest)| Referrer {
        artifact_type: shown_type(&manifest),
        size: manifest.bytes.len() as u64,
        digest: Some(manifest.digest),
        tag: Some(tag),
        lost: None,
        stray: false,
    });
    let lost = found.lost.into_iter().map(|lost| Referrer {
        artifact_type: unknown(),
        size: lost.naming.size,
        digest: lost.naming.digest,
        tag: lost.naming.tag,
        lost: Some(lost.error.kind().name()),
        stray: false,
    });
    let mut referrers: Vec<Referrer> = listed.into_iter().chain(tagged).chain(lost).collect();
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
        let kind = brief(&referrer.artifact_type);
        let digest = referrer.digest.as_ref().map_or("", Digest::as_str);
        match (referrer.lost, referrer.tag.as_deref()) {
            (None, _) if referrer.stray => writeln!(
                text,
                "{indent}{kind}  {digest}  {size}  listed here, but refers to something else"
            )?,
            (None, _) => writeln!(text, "{indent}{kind}  {digest}  {size}")?,
            (Some(why), tag) => {
                let names = [tag.map(brief), Some(digest.to_owned())];
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
