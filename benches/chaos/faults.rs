//! What goes wrong on the wire in a round: a rule for a server that spoils requests as its seed says.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::plan::one;
use super::support::wire::{Answer, Fault, Request, Server};

/// What goes wrong at one side; by default nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    seed: u64,
    /// How many of a thousand requests are spoilt, and at most how many in all.
    per_mille: u32,
    at_most: usize,
    /// Indexes of [`faults`].
    kinds: Vec<usize>,
    /// These requests find no network.
    outage: Range<usize>,
    /// Every PUT of a manifest to a path that ends so is refused with this status.
    refused: Option<(String, u16)>,
}

impl Trouble {
    pub(crate) fn random(rng: &mut Rng, tag: &str) -> Self {
        let kinds = faults(rng).len();
        let start = rng.usize(..60);
        let outage = match rng.u8(..10) {
            0 => start..usize::MAX,
            1 => start..start + rng.usize(1..12),
            _ => 0..0,
        };
        let status = one(rng, &[400, 403, 404, 409, 429, 500]);
        Self {
            seed: rng.u64(..),
            per_mille: one(rng, &[0, 0, 10, 50, 150]),
            at_most: rng.usize(1..12),
            kinds: (0..rng.usize(1..4)).map(|_| rng.usize(..kinds)).collect(),
            outage,
            refused: (rng.u8(..8) == 0).then(|| (format!("/{tag}"), status)),
        }
    }

    /// The same, with no success that is none.
    pub(crate) fn without_lies(mut self) -> Self {
        self.kinds.retain(|kind| *kind != LIE);
        self
    }

    pub(crate) fn is_none(&self) -> bool {
        self.per_mille == 0 && self.outage.is_empty() && self.refused.is_none()
    }

    /// Lets `server` misbehave so from now on, and count its requests.
    pub(crate) fn apply(&self, server: &Server, requests: &Arc<AtomicUsize>) {
        let (trouble, requests) = (self.clone(), Arc::clone(requests));
        let mut rng = Rng::with_seed(self.seed);
        let (mut seen, mut spoilt) = (0, 0);
        server.behave();
        server.on(move |request| {
            requests.fetch_add(1, Ordering::SeqCst);
            seen += 1;
            if trouble.outage.contains(&seen) {
                return Some(Fault::Reset);
            }
            if let Some((end, status)) = &trouble.refused
                && puts_manifest(request)
                && request.path.ends_with(end)
            {
                return Some(Fault::Status(Answer::error(*status, "DENIED", &json!({}))));
            }
            let hit = rng.u32(..1000) < trouble.per_mille && spoilt < trouble.at_most;
            let kind = rng.choice(&trouble.kinds).filter(|_| hit)?;
            let fault = faults(&mut rng).swap_remove(*kind);
            fits(&fault, request).then(|| {
                spoilt += 1;
                fault
            })
        });
    }
}

/// The index of the fault that answers success to a write that is not carried out.
const LIE: usize = 12;

fn faults(rng: &mut Rng) -> Vec<Fault> {
    let bytes = rng.u64(..4000);
    let busy = Answer::error(429, "TOOMANYREQUESTS", &json!({}));
    vec![
        Fault::Reset,
        Fault::ResetAfter(bytes),
        Fault::status(503),
        Fault::Early(Answer::new(500)),
        Fault::Status(busy.clone()),
        Fault::Status(busy.header("Retry-After", "1")),
        Fault::Delay(Duration::from_millis(bytes / 16)),
        // One that was carried out after its process had given it up would look like another writer's.
        Fault::StallThen(Answer::new(503)),
        Fault::StallBody(bytes),
        Fault::CutBody(bytes),
        Fault::FlipBit,
        Fault::LoseAnswer,
        // To the PUT of a tag, which is not carried out.
        Fault::status(201),
        Fault::status(400),
    ]
}

/// Whether a client could know: a list of tags with another letter is another list, a success that is none shows
/// at a tag, and registries without the referrers API answer 400 to it.
fn fits(fault: &Fault, request: &Request) -> bool {
    match fault {
        Fault::FlipBit => request.reads_blob() || (request.is_manifest() && request.reads()),
        Fault::Status(answer) if answer.status == 201 => {
            puts_manifest(request) && !request.path.contains("sha256:")
        }
        Fault::Status(answer) if answer.status == 400 => !request.path.contains("/referrers/"),
        _ => true,
    }
}

fn puts_manifest(request: &Request) -> bool {
    request.method == "PUT" && request.is_manifest()
}
