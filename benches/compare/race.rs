//! Runs the contenders of one workload in turn, each from the same start, and takes the medians.
//!
//! Where a workload has no delay the runs that are timed go straight to the registries, and one more run of
//! each contender, which nobody times, goes through the counting proxies.

use std::path::Path;
use std::time::Duration;

use super::child::{Usage, measure};
use super::requests;
use super::support::docker_registry::DockerRegistry;
use super::support::proxy::Proxy;
use super::support::wire::Fault;
use super::tools::{Contender, Sides};

/// What the destination holds before every run.
pub(crate) enum Start {
    Nothing,
    /// All of it already: the same registry for every run.
    Everything(DockerRegistry),
}

/// What must be at the destination after every run.
pub(crate) struct Arrival {
    pub(crate) repository: &'static str,
    pub(crate) blobs: Vec<String>,
}

/// One workload.
pub(crate) struct Race<'a> {
    pub(crate) name: String,
    pub(crate) source: &'a DockerRegistry,
    pub(crate) start: Start,
    pub(crate) delay: Option<Duration>,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) arrival: Arrival,
    /// Where the requests are written down, for whoever wants to see them.
    pub(crate) requests: Option<&'a Path>,
}

/// The medians of one contender.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) tool: &'static str,
    pub(crate) usage: Usage,
    /// At the source and at the destination.
    pub(crate) requests: [usize; 2],
}

impl Race<'_> {
    /// Every contender `rounds` times in turn; in their order.
    pub(crate) fn run(&self, rounds: u32) -> Vec<Summary> {
        let mut usages: Vec<Vec<Usage>> = self.contenders.iter().map(|_| Vec::new()).collect();
        let mut requests = vec![[0, 0]; self.contenders.len()];
        for round in 1..=rounds {
            for (index, contender) in self.contenders.iter().enumerate() {
                let (usage, counted) = self.lap(contender, self.delay);
                report(&self.name, round, contender.tool, usage);
                usages[index].push(usage);
                requests[index] = counted.unwrap_or_default();
            }
        }
        if self.delay.is_none() {
            for (index, contender) in self.contenders.iter().enumerate() {
                let counted = self.lap(contender, Some(Duration::ZERO)).1;
                requests[index] = counted.unwrap_or_default();
            }
        }
        let summaries = self.contenders.iter().zip(usages).zip(requests);
        summaries
            .map(|((contender, usages), requests)| Summary {
                tool: contender.tool,
                usage: median(&usages),
                requests,
            })
            .collect()
    }

    /// One run; through proxies, which count, where there is a delay.
    fn lap(&self, contender: &Contender, delay: Option<Duration>) -> (Usage, Option<[usize; 2]>) {
        let fresh;
        let destination = match &self.start {
            Start::Everything(registry) => registry,
            Start::Nothing => {
                fresh = DockerRegistry::start();
                &fresh
            }
        };
        let hosts = [self.source.host(), destination.host()];
        let proxies = delay.map(|delay| hosts.map(|host| slow_proxy(host, delay)));
        let [source, destination_host] = match &proxies {
            Some(proxies) => proxies.each_ref().map(|proxy| proxy.host()),
            None => hosts.map(str::to_owned),
        };
        let sides = Sides {
            source,
            destination: destination_host,
        };
        let usage = measure(&contender.command(&sides));
        self.arrival.check(destination, contender.tool);
        let logs = proxies.map(|proxies| proxies.map(|proxy| proxy.log()));
        if let (Some(directory), Some(logs)) = (self.requests, &logs) {
            let run = format!("{} {}", self.name, contender.tool);
            requests::write(directory, &run, logs);
        }
        (usage, logs.map(|logs| logs.map(|log| log.len())))
    }
}

impl Arrival {
    fn check(&self, destination: &DockerRegistry, tool: &str) {
        let client = destination.client();
        for blob in &self.blobs {
            let arrived = client.has_blob(self.repository, blob);
            assert!(arrived, "{tool} left out {blob} of {}", self.repository);
        }
    }
}

/// A proxy in front of `host` that makes every request wait.
pub(crate) fn slow_proxy(host: &str, delay: Duration) -> Proxy {
    let proxy = Proxy::start(host);
    if !delay.is_zero() {
        proxy.on(move |_| Some(Fault::Delay(delay)));
    }
    proxy
}

/// Says on standard error how far it is.
#[expect(
    clippy::print_stderr,
    reason = "a benchmark takes minutes: it tells how far it is"
)]
pub(crate) fn report(name: &str, round: u32, tool: &str, usage: Usage) {
    eprintln!(
        "{name}, round {round}: {tool} {:.2} s, CPU {:.2} s, {:.0} MiB",
        usage.wall, usage.cpu, usage.memory
    );
}

/// The median of each number by itself.
pub(crate) fn median(usages: &[Usage]) -> Usage {
    let middle = |number: fn(&Usage) -> f64| {
        let mut numbers: Vec<f64> = usages.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        let half = numbers.len() / 2;
        if numbers.len().is_multiple_of(2) {
            f64::midpoint(numbers[half - 1], numbers[half])
        } else {
            numbers[half]
        }
    };
    Usage {
        wall: middle(|usage| usage.wall),
        cpu: middle(|usage| usage.cpu),
        memory: middle(|usage| usage.memory),
    }
}
