//! Verifying: whether a place holds all that its tags list. Nothing is written.
//!
//! Tags are looked at concurrently; what they share is looked at once.

mod list;
mod referrers;
mod tag;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Stop, TAGS_AT_ONCE};
use crate::catalog::Catalog;
use crate::endpoint::{Endpoint, Target};
use crate::error::{Error, Kind};
use crate::event::{Event, Events};
use crate::finding::Finding;
use crate::image::platform::Wanted;
use crate::image::referrers::Types;
use crate::options::Depth;

/// All that is to be verified.
#[derive(Debug)]
pub(crate) struct Job {
    pub place: Endpoint,
    /// What it is compared with.
    pub source: Option<Endpoint>,
    pub tags: Vec<TagJob>,
    /// The platforms asked for; none of them: all.
    pub wanted: Wanted,
    /// The types of what refers to images that is looked at too; `None`: nothing is.
    pub referrers: Option<Types>,
    /// How far blobs are looked into.
    pub depth: Depth,
    /// Blobs that are read at once.
    pub jobs: usize,
    pub events: Events,
}

/// One tag to verify.
#[derive(Clone, Debug)]
pub(crate) struct TagJob {
    /// The name in the report: the tag or REF, or the digest.
    pub name: String,
    /// What to look at.
    pub target: Target,
    /// What it is compared with.
    pub source: Option<Target>,
}

/// What verifying came to.
#[derive(Debug)]
pub(crate) struct Verified {
    /// A finding for each tag, sorted by bytes.
    pub findings: Vec<Finding>,
    /// Blobs that are right as far as they were looked into, each once.
    pub blobs: u64,
    pub bytes: u64,
}

/// What the tags of a run share.
struct Shared {
    catalog: Catalog,
    source: Option<Catalog>,
    wanted: Wanted,
    referrers: Option<Types>,
}

/// Runs `job` to its end, or until it is to `stop`. Every tag gets its finding.
pub(crate) async fn run(job: Job, stop: &Stop) -> Verified {
    job.events.send(Event::Selected {
        tags: job.tags.len(),
    });
    let reading = (job.jobs, &job.events);
    let shared = Arc::new(Shared {
        catalog: Catalog::new(job.place, job.depth, reading),
        source: job
            .source
            .map(|source| Catalog::new(source, Depth::Presence, reading)),
        wanted: job.wanted,
        referrers: job.referrers,
    });
    let names: Vec<String> = job.tags.iter().map(|tag| tag.name.clone()).collect();
    let mut findings = work(&shared, job.tags, stop).await;
    let hopeless = findings
        .values()
        .find_map(|finding| finding.error.clone().filter(Error::is_fatal));
    for name in names {
        findings.entry(name.clone()).or_insert_with(|| {
            let error = hopeless
                .clone()
                .unwrap_or_else(|| unfinished(&name, stop.soon.is_cancelled()));
            Finding::failed(name, error)
        });
    }
    let (blobs, bytes) = shared.catalog.counts();
    Verified {
        findings: findings.into_values().collect(),
        blobs,
        bytes,
    }
}

/// The findings of the tags that came to their end, by name.
async fn work(shared: &Arc<Shared>, tags: Vec<TagJob>, stop: &Stop) -> BTreeMap<String, Finding> {
    let mut waiting = tags.into_iter();
    let mut running = JoinSet::new();
    let mut findings = BTreeMap::new();
    let mut hopeless = false;
    loop {
        while !hopeless
            && running.len() < TAGS_AT_ONCE
            && let Some(tag) = waiting.next()
        {
            running.spawn(tag::verify(Arc::clone(shared), tag));
        }
        let ended = tokio::select! {
            biased;
            () = stop.soon.cancelled() => break,
            ended = running.join_next() => ended,
        };
        match ended {
            Some(Ok(finding)) => {
                // What every tag would meet ends the run.
                hopeless |= finding.error.as_ref().is_some_and(Error::is_fatal);
                findings.insert(finding.tag.clone(), finding);
            }
            // A task that panicked: its tag is among those without a finding.
            Some(Err(error)) => tracing::error!(%error, "the task of a tag ended"),
            None => break,
        }
    }
    running.shutdown().await;
    findings
}

/// Why a tag has no finding.
fn unfinished(tag: &str, interrupted: bool) -> Error {
    if interrupted {
        Error::new(Kind::Interrupted, "verify", tag)
            .because("a signal ended the run")
            .hint("run the same command again")
    } else {
        Error::internal("verify", tag)
    }
}
