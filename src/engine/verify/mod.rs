//! Verifying: checks that everything a repository's tags list is present. Nothing is written.
//!
//! Tags are checked concurrently; content they share is checked once.

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

/// A verification run.
#[derive(Debug)]
pub(crate) struct Job {
    /// The endpoint to verify.
    pub place: Endpoint,
    /// The endpoint to compare with.
    pub source: Option<Endpoint>,
    /// The tags to verify.
    pub tags: Vec<TagJob>,
    /// The requested platforms; all if empty.
    pub wanted: Wanted,
    /// The types of referrers to check as well; `None` for no referrers.
    pub referrers: Option<Types>,
    /// How thoroughly blobs are checked.
    pub depth: Depth,
    /// How many blobs are read at once.
    pub jobs: usize,
    /// Receives progress and warnings.
    pub events: Events,
}

/// One tag to verify.
#[derive(Clone, Debug)]
pub(crate) struct TagJob {
    /// The name in the report: a tag, REF or digest.
    pub name: String,
    /// The manifest to verify.
    pub target: Target,
    /// The manifest to compare with.
    pub source: Option<Target>,
}

/// The result of a verification run.
#[derive(Debug)]
pub(crate) struct Verified {
    /// A finding for each tag, sorted by bytes.
    pub findings: Vec<Finding>,
    /// The number of distinct blobs that passed their check.
    pub blobs: u64,
    /// Their total size in bytes.
    pub bytes: u64,
}

/// State shared by all tags of a run.
struct Shared {
    catalog: Catalog,
    source: Option<Catalog>,
    wanted: Wanted,
    referrers: Option<Types>,
}

/// Runs `job` until it finishes or `stop` is cancelled. Every tag gets a finding.
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

/// Verifies the tags, and returns the findings of those that finished, by name.
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
                // A failure that every tag would meet ends the run.
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

/// The error of a tag that did not finish.
fn unfinished(tag: &str, interrupted: bool) -> Error {
    if interrupted {
        Error::new(Kind::Interrupted, "verify", tag)
            .because("a signal ended the run")
            .hint("run the same command again")
    } else {
        Error::internal("verify", tag)
    }
}
