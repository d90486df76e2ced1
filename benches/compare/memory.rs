//! Sixteen layers of a gigabyte at once: how much memory their copy holds.
//!
//! OnceMap for each tool: it moves sixteen gigabytes, and peaks do not vary with the rounds.

use std::sync::Arc;

use super::Options;
use super::child::measure;
use super::generator::{Generator, Sink};
use super::race::{Summary, report};
use super::table::Table;
use super::targets::{Bound, Target};
use super::tools::{self, Contender, Sides};

const LAYERS: u64 = 16;
const NAME: &str = "bench/memory:1";

pub(crate) fn run(options: &Options, table: &mut Table) {
    let source = Generator::new(LAYERS, options.memory_megabytes as usize).serve();
    let expected = LAYERS * u64::from(options.memory_megabytes) * 1_000_000;
    let lap = |contender: Contender| {
        let sink = Sink::default();
        let received = Arc::clone(&sink.received);
        let destination = sink.serve();
        source.clear_log();
        let sides = Sides {
            source: source.host(),
            destination: destination.host(),
        };
        let usage = measure(&contender.command(&sides));
        let received = *received.lock().expect("no holder panicked");
        assert!(
            received >= expected,
            "{} sent {received} bytes",
            contender.tool
        );
        report("memory", 1, contender.tool, usage);
        Summary {
            tool: contender.tool,
            usage,
            requests: [&source, &destination].map(|server| server.count(|_| true)),
        }
    };
    let summaries = [tools::barge_memory(NAME), tools::skopeo_memory(NAME)].map(lap);
    let target = Target::new(
        "memory: peak MiB",
        summaries[0].usage.memory,
        Bound::AtMost(48.0),
    );
    table.add("memory", &summaries, vec![target]);
}
