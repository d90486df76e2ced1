//! barge beside skopeo: the same copies in turn, and a table of what each of them took.
//!
//! `benches/compare.sh` runs it. The registries, images and proxies are those of the tests; every run gets an
//! empty destination of its own. It prints medians, ratios, and how far the targets are reached.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod child;
mod generator;
mod images;
mod machine;
mod memory;
mod proxies;
mod race;
mod raw;
mod requests;
#[path = "../../tests/suite/support/mod.rs"]
mod support;
mod table;
mod targets;
mod tools;
mod workloads;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use table::Table;
use workloads::Bench;

/// Runs barge and the installed skopeo in turn and prints what each of them took
#[derive(Clone, Debug, Parser)]
#[command(name = "benches/compare.sh")]
struct Options {
    /// What to run [default: many again big arch]
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Runs of each tool of which the median is taken
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Tags of `many` and `again`
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    tags: u32,
    /// Milliseconds that every request waits, where a workload has a delay
    #[arg(long, default_value = "20")]
    delay: u64,
    /// Megabytes of a layer of `big` and `arch`
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    megabytes: u32,
    /// Megabytes of each of the 16 layers of `memory`
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(2..))]
    memory_megabytes: u32,
    /// Write every request of the last run of each tool into files in this directory
    #[arg(long, value_name = "DIRECTORY")]
    requests: Option<PathBuf>,
    /// Given by `cargo bench`; without it nothing is run
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Small tags of four platforms into an empty registry, with and without delay
    Many,
    /// The same once more, unchanged
    Again,
    /// One image of two big layers, and the floor for it
    Big,
    /// One platform of four big ones
    Arch,
    /// Sixteen layers of a gigabyte from a generator, thrown away where they arrive
    Memory,
    /// How much the proxies add of their own
    Proxies,
}

impl Workload {
    const STANDARD: [Self; 4] = [Self::Many, Self::Again, Self::Big, Self::Arch];
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(raw::ARGUMENT) {
        return raw::main();
    }
    let options = Options::parse();
    if !options.bench {
        println!("run this as benches/compare.sh, or with `cargo bench --bench compare`");
        return;
    }
    let chosen = match options.workloads.as_slice() {
        [] => Workload::STANDARD.to_vec(),
        chosen => chosen.to_vec(),
    };
    println!("{}\n", machine::describe());
    let mut bench = Bench::new(options);
    let mut table = Table::default();
    for workload in chosen {
        run(workload, &mut bench, &mut table);
    }
    print!("{table}");
}

fn run(workload: Workload, bench: &mut Bench, table: &mut Table) {
    match workload {
        Workload::Many => bench.many(table),
        Workload::Again => bench.again(table),
        Workload::Big => bench.big(table),
        Workload::Arch => bench.arch(table),
        Workload::Memory => memory::run(bench.options(), table),
        Workload::Proxies => println!("{}\n", proxies::describe(bench.delay())),
    }
}
