//! The workloads between real registries: what each copies, who runs, and what must be reached.

use std::time::Duration;

use super::Options;
use super::child::measure;
use super::images::{self, BIG};
use super::race::{Arrival, Race, Start, Summary};
use super::support::docker_registry::DockerRegistry;
use super::support::image::{Layer, MultiArch};
use super::table::Table;
use super::targets::{Bound, Target};
use super::tools::{self, Contender, MIRROR, Sides};

/// The source, filled when a workload first needs it.
pub(crate) struct Bench {
    options: Options,
    source: DockerRegistry,
    small: Option<Vec<String>>,
    big: Option<MultiArch>,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            source: DockerRegistry::start(),
            small: None,
            big: None,
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.options.delay)
    }

    /// All tags into an empty registry, with the delay and without.
    pub(crate) fn many(&mut self, table: &mut Table) {
        let tags = self.options.tags;
        for delay in [Some(self.delay()), None] {
            let contenders = vec![tools::barge_tags("barge", &[]), tools::skopeo_tags()];
            let text = self.delayed("many", delay);
            let summaries = self.tags(&text, (delay, Start::Nothing), contenders);
            let [barge, skopeo] = &summaries[..] else {
                unreachable!("as many summaries as contenders");
            };
            let times = if delay.is_some() { 15.0 } else { 3.0 };
            // 4 images with a config and two layers each, one layer that all share; 4 manifests and an index.
            let (blobs, manifests) = (12 * tags + 1, 5 * tags);
            let targets = vec![
                Target::faster(&text, (barge, skopeo), times),
                Target::requests(
                    format!("{text}: requests at the destination"),
                    barge.requests[1],
                    2 * blobs + manifests + 2 * tags + 5,
                ),
            ];
            table.add(&text, &summaries, targets);
        }
    }

    /// All tags into a registry that has them.
    pub(crate) fn again(&mut self, table: &mut Table) {
        let (delay, tags) = (Some(self.delay()), self.options.tags);
        let destination = DockerRegistry::start();
        self.small();
        let sides = Sides {
            source: self.source.host().to_owned(),
            destination: destination.host().to_owned(),
        };
        measure(&tools::barge_tags("barge", &[]).command(&sides));
        let contenders = vec![
            tools::barge_tags("barge --recheck none", &["--recheck", "none"]),
            tools::barge_tags("barge", &[]),
            tools::skopeo_tags(),
        ];
        let text = self.delayed("again", delay);
        let summaries = self.tags(&text, (delay, Start::Everything(destination)), contenders);
        let [unchecked, checked, skopeo] = &summaries[..] else {
            unreachable!("as many summaries as contenders");
        };
        let lean = format!("{text}, --recheck none");
        let targets = vec![
            Target::faster(&lean, (unchecked, skopeo), 50.0),
            Target::requests(
                format!("{lean}: requests at both sides"),
                unchecked.requests.iter().sum(),
                2 * tags + 3,
            ),
            Target::faster(&text, (checked, skopeo), 30.0),
        ];
        table.add(&text, &summaries, targets);
    }

    /// One image with two big layers, beside the floor.
    pub(crate) fn big(&mut self, table: &mut Table) {
        let layers = self.big_layers("amd64");
        let contenders = vec![
            tools::barge_big(),
            tools::skopeo_big(),
            tools::floor(layers.clone()),
        ];
        let summaries = self.copy_big("big", contenders, layers);
        let [barge, skopeo, floor] = &summaries[..] else {
            unreachable!("as many summaries as contenders");
        };
        let [own, peer, least] = [barge, skopeo, floor].map(|summary| summary.usage);
        let targets = vec![
            Target::new(
                "big: wall / skopeo",
                own.wall / peer.wall,
                Bound::AtMost(0.6),
            ),
            Target::new(
                "big: wall / floor",
                own.wall / least.wall,
                Bound::AtMost(1.15),
            ),
            Target::new("big: CPU / skopeo", own.cpu / peer.cpu, Bound::AtMost(0.45)),
            Target::new("big: peak MiB", own.memory, Bound::AtMost(32.0)),
        ];
        table.add("big", &summaries, targets);
    }

    /// One platform of four big ones.
    pub(crate) fn arch(&mut self, table: &mut Table) {
        let layers = self.big_layers("arm64");
        let contenders = vec![tools::barge_arch(), tools::skopeo_arch()];
        let summaries = self.copy_big("arch", contenders, layers);
        table.add("arch", &summaries, Vec::new());
    }

    fn tags(
        &mut self,
        name: &str,
        (delay, start): (Option<Duration>, Start),
        contenders: Vec<Contender>,
    ) -> Vec<Summary> {
        let blobs = self.small();
        let race = Race {
            name: name.to_owned(),
            source: &self.source,
            start,
            delay,
            contenders,
            arrival: Arrival {
                repository: MIRROR,
                blobs,
            },
            requests: self.options.requests.as_deref(),
        };
        race.run(self.options.rounds)
    }

    fn copy_big(&self, name: &str, contenders: Vec<Contender>, blobs: Vec<String>) -> Vec<Summary> {
        let race = Race {
            name: name.to_owned(),
            source: &self.source,
            start: Start::Nothing,
            delay: None,
            contenders,
            arrival: Arrival {
                repository: BIG,
                blobs,
            },
            requests: self.options.requests.as_deref(),
        };
        race.run(self.options.rounds)
    }

    fn small(&mut self) -> Vec<String> {
        let (source, tags) = (&self.source, self.options.tags);
        let pushed = self
            .small
            .get_or_insert_with(|| images::push_small(source, tags));
        pushed.clone()
    }

    /// The layers of the big image for `platform`.
    fn big_layers(&mut self, platform: &str) -> Vec<String> {
        let (source, megabytes) = (&self.source, self.options.megabytes);
        let index = self
            .big
            .get_or_insert_with(|| images::push_big(source, megabytes as usize * 1_000_000));
        let layers = &index.image(platform).layers;
        layers.iter().map(Layer::digest).collect()
    }

    fn delayed(&self, workload: &str, delay: Option<Duration>) -> String {
        match delay {
            Some(_) => format!("{workload}, {} ms", self.options.delay),
            None => format!("{workload}, no delay"),
        }
    }
}
