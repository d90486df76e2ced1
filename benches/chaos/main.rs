//! Random copies in random trouble: signals, two processes at once, faults at both sides. After each step
//! of a round the destination is read by code that is not barge's, and has to obey the [`laws`].
//!
//! `cargo bench --bench chaos -- --minutes 10`; `--seed N --round K` repeats a round. What a round does
//! follows from these two numbers, when it happens also from the machine: repeat it a few times.

#![expect(clippy::print_stdout, reason = "what it finds is what it is for")]

mod faults;
mod found;
mod images;
mod laws;
mod plan;
mod processes;
mod round;
#[path = "../../tests/suite/support/mod.rs"]
mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use round::Verdict;

const TELLS: Duration = Duration::from_secs(10);

/// Copies images in random trouble and checks what is left after each round
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench --bench chaos --")]
struct Options {
    /// How long to go on
    #[arg(long, default_value = "10", conflicts_with = "round")]
    minutes: u64,
    /// What all rounds follow from [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Carry out this round of the seed alone
    #[arg(long, requires = "seed")]
    round: Option<u64>,
    /// Rounds at once
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// Where to write what happened in rounds with violations [default: in the temporary directory]
    #[arg(long, value_name = "DIRECTORY")]
    stories: Option<PathBuf>,
    /// Given by `cargo bench`; without it nothing is run
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("run this with `cargo bench --bench chaos`");
        return ExitCode::SUCCESS;
    }
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("seed {seed}");
    let minutes = Duration::from_mins(options.minutes);
    let end = options.round.is_none().then(|| Instant::now() + minutes);
    let next = AtomicU64::new(options.round.unwrap_or(0));
    let numbers = || {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let goes_on = end.is_none_or(|end| Instant::now() < end);
        (goes_on && options.round.is_none_or(|round| round == number)).then_some(number)
    };
    let mut tally = Tally::new(&options, seed);
    let (sender, verdicts) = channel();
    thread::scope(|scope| {
        for _ in 0..options.threads {
            let sender = sender.clone();
            scope.spawn(move || {
                for number in std::iter::from_fn(numbers) {
                    let verdict = catch_unwind(AssertUnwindSafe(|| round::run(seed, number)));
                    let sent = sender.send((number, verdict.unwrap_or_else(Verdict::of_panic)));
                    sent.expect("the tally outlives the workers");
                }
            });
        }
        drop(sender);
        tally.listen(&verdicts);
    });
    tally.finish()
}

/// What all rounds came to.
struct Tally {
    seed: u64,
    stories: PathBuf,
    began: Instant,
    rounds: u64,
    violations: Vec<String>,
}

impl Tally {
    fn new(options: &Options, seed: u64) -> Self {
        let stories = options.stories.clone();
        Self {
            seed,
            stories: stories.unwrap_or_else(|| std::env::temp_dir().join("barge-chaos")),
            began: Instant::now(),
            rounds: 0,
            violations: Vec::new(),
        }
    }

    /// Takes verdicts as long as some may come, and tells every ten seconds how far it is.
    fn listen(&mut self, verdicts: &Receiver<(u64, Verdict)>) {
        let mut next = Instant::now() + TELLS;
        loop {
            match verdicts.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok((number, verdict)) => self.add(number, &verdict),
                Err(RecvTimeoutError::Timeout) => {
                    let (seconds, found) = (self.began.elapsed().as_secs(), self.violations.len());
                    println!("{seconds} s: {} rounds, {found} violations", self.rounds);
                    next += TELLS;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn add(&mut self, number: u64, verdict: &Verdict) {
        self.rounds += 1;
        if verdict.violations.is_empty() {
            return;
        }
        let path = self.stories.join(format!("{}-{number}.txt", self.seed));
        let written =
            fs::create_dir_all(&self.stories).and_then(|()| fs::write(&path, &verdict.story));
        println!("{}: {written:?}", path.display());
        for violation in &verdict.violations {
            let line = format!("--seed {} --round {number}: {violation}", self.seed);
            println!("{line}");
            self.violations.push(line);
        }
    }

    fn finish(self) -> ExitCode {
        println!(
            "rounds {}, violations {}",
            self.rounds,
            self.violations.len()
        );
        self.violations.iter().for_each(|line| println!("{line}"));
        if self.violations.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
