//! One round: processes run into trouble, are recovered from, and run again; [`Judge`] looks at each step.

use std::any::Any;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::faults::Trouble;
use super::found::{DESTINATION, Found, PARTIAL, Place, SOURCE, names};
use super::images::Sample;
use super::laws::Judge;
use super::plan::{Form, Plan, Recovery, Run};
use super::processes::{Ended, Signal, watch};
use super::support::barge::{Barge, barge};
use super::support::image::{Bundle, list_of, push, write_layout};
use super::support::registry::{FakeRegistry, Referrers, Settings};
use super::support::wire::Server;

/// What a round came to.
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    /// What was planned, and all that happened.
    pub(crate) story: String,
}

impl Verdict {
    /// A round that could not be judged.
    pub(crate) fn of_panic(panic: Box<dyn Any + Send>) -> Self {
        let text = panic
            .downcast::<String>()
            .map_or_else(|_| String::new(), |text| *text);
        Self {
            violations: vec![format!(
                "judged: {}",
                text.lines().next().unwrap_or_default()
            )],
            story: text,
        }
    }
}

/// Carries out round `number` of `seed`.
pub(crate) fn run(seed: u64, number: u64) -> Verdict {
    let plan = Plan::new(seed, number);
    let world = World::new(&plan);
    let mut judge = Judge::new(&plan, &world.destination);
    if let Some(before) = judge.look("before the runs") {
        world.play(&mut judge, &before);
    }
    let (violations, mut story) = judge.finish();
    for server in world.servers() {
        let _ = writeln!(story, "\n{}:", server.host());
        for request in server.log() {
            let (method, path, query) = (&request.method, &request.path, &request.query);
            let _ = writeln!(story, "{} {method} {path}?{query}", request.status);
        }
    }
    Verdict { violations, story }
}

/// Where a round takes place.
struct World<'a> {
    plan: &'a Plan,
    source: Place,
    destination: Place,
    /// Of all requests, at both sides.
    requests: Arc<AtomicUsize>,
    directory: TempDir,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> Self {
        let directory = TempDir::with_prefix("barge-chaos-").expect("a temporary directory");
        let place = |form: Form, settings: &Settings, name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir(&path).expect("a new directory");
            match form {
                Form::Registry => Place::Registry(FakeRegistry::start_with(settings.clone())),
                Form::Layout => Place::Layout(path.join("layout")),
                Form::Archive => Place::Archive(path.join("archive.tar")),
            }
        };
        let world = Self {
            source: place(plan.from, &plan.source, "source"),
            destination: place(plan.to, &plan.destination, "destination"),
            requests: Arc::default(),
            plan,
            directory,
        };
        world.fill();
        world
    }

    /// Puts the old images where they go (by way of the source where that is a file), and the new ones into
    /// the source.
    fn fill(&self) {
        let old = self
            .plan
            .tags
            .iter()
            .filter_map(|tag| Some((tag.name, tag.old()?)));
        let old: Vec<(&str, &Sample)> = old.collect();
        let new = self.plan.tags.iter().map(|tag| (tag.name, tag.new()));
        let new: Vec<(&str, &Sample)> = new.collect();
        match (&self.source, &self.destination) {
            (_, Place::Registry(registry)) => {
                let form = self
                    .plan
                    .old_referrers
                    .then_some(self.plan.destination.referrers);
                put(&old, registry, (DESTINATION, form));
            }
            (Place::Registry(registry), _) if !old.is_empty() => {
                put(&old, registry, (SOURCE, Some(self.plan.source.referrers)));
                let [from, to] = self.references();
                let copy = barge().args(["copy", "--all-tags", &from, &to]);
                let referrers = self.plan.old_referrers.then_some("--referrers");
                copy.args(referrers).run().exits(0);
            }
            _ => {}
        }
        match &self.source {
            Place::Registry(registry) => {
                put(&new, registry, (SOURCE, Some(self.plan.source.referrers)))
            }
            Place::Layout(path) | Place::Archive(path) => write(&new, path.clone()),
        }
    }

    fn references(&self) -> [String; 2] {
        [
            self.source.reference(SOURCE),
            self.destination.reference(DESTINATION),
        ]
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        [&self.source, &self.destination]
            .into_iter()
            .filter_map(Place::server)
    }

    /// Lets the servers make this trouble, and only count where there is none.
    fn trouble(&self, troubles: &[Trouble; 2]) {
        for (place, trouble) in [&self.source, &self.destination].into_iter().zip(troubles) {
            if let Some(server) = place.server() {
                server.release();
                server.wait_for_silence();
                trouble.apply(server, &self.requests);
            }
        }
    }

    fn play(&self, judge: &mut Judge<'_>, before: &Found) {
        self.servers().for_each(Server::clear_log);
        self.trouble(&self.plan.troubles);
        let ended = thread::scope(|scope| {
            let watch = |run: &'a Run| {
                let command = self.copy(run);
                scope.spawn(|| watch(command, (run.starts_after, &run.signals), &self.requests))
            };
            let watched: Vec<_> = self.plan.runs.iter().map(watch).collect();
            let ended = watched
                .into_iter()
                .map(|watched| watched.join().expect("it was watched"));
            ended.collect::<Vec<Ended>>()
        });
        self.trouble(&Default::default());
        judge.runs(&ended, &self.journals());
        let Some(after) = judge.look("after the runs") else {
            return;
        };
        judge.ends(&ended, (before, &after));
        if self.plan.recovery != Recovery::Again {
            self.undo(judge);
            if let Some(undone) = judge.look("after the undo") {
                judge.undone(&ended, (before, &undone));
            }
        }
        for run in &self.plan.runs {
            let again = watch(self.copy(run), (0, &[]), &self.requests);
            judge.again(run, &again, &self.journals());
        }
    }

    fn state(&self, run: usize) -> PathBuf {
        let machine = if self.plan.one_machine { 0 } else { run };
        self.directory.path().join(format!("state-{machine}"))
    }

    fn copy(&self, run: &Run) -> Barge {
        let command = barge().args(["copy", "-o", "json", "-v", "--state-dir"]);
        let command = command.arg(self.state(run.number));
        command.args(&run.options).args(self.references())
    }

    /// `barge undo --all` on each machine; the first one may be killed.
    fn undo(&self, judge: &mut Judge<'_>) {
        for run in &self.plan.runs {
            let undo = |signals: &[Signal]| {
                let command = barge().args(["undo", "--all", "-o", "json", "--state-dir"]);
                watch(
                    command.arg(self.state(run.number)),
                    (0, signals),
                    &self.requests,
                )
            };
            if let Recovery::KilledUndo(requests) = self.plan.recovery {
                let seen = self.requests.load(Ordering::SeqCst);
                let signal = Signal {
                    name: "KILL",
                    requests: seen + requests,
                    then: Duration::ZERO,
                };
                judge.process("the undo to be killed", &undo(&[signal]));
                self.servers().for_each(Server::wait_for_silence);
            }
            judge.undo(&undo(&[]));
        }
        judge.journals("after the undo", &self.journals());
    }

    /// What is in the state directories besides locks.
    fn journals(&self) -> Vec<PathBuf> {
        let directories = (0..self.plan.runs.len()).map(|run| self.state(run).join("journal"));
        let paths = directories.flat_map(|directory| {
            let names = names(&directory)
                .into_iter()
                .filter(|name| !name.ends_with(".lock") && !name.ends_with(PARTIAL));
            names.map(|name| directory.join(name)).collect::<Vec<_>>()
        });
        paths.collect()
    }
}

/// Puts images there, and what refers to them in the form that the registry understands.
fn put(
    tags: &[(&str, &Sample)],
    registry: &FakeRegistry,
    (repository, referrers): (&str, Option<Referrers>),
) {
    for (tag, sample) in tags {
        push(&sample.bundle, registry, &format!("{repository}:{tag}"));
        for attached in sample.attached.iter().filter(|_| referrers.is_some()) {
            let signature = format!("{repository}:{}", attached.signature_tag());
            push(&attached.signature, registry, &signature);
            attached.referrer.put_into(registry, repository);
            if matches!(referrers, Some(Referrers::Absent)) {
                let list = list_of(&[&attached.referrer]);
                registry
                    .store
                    .put_manifest(repository, &attached.list_tag(), list);
            }
        }
    }
}

/// The same as a layout.
fn write(tags: &[(&str, &Sample)], path: PathBuf) {
    let mut images: Vec<(String, Bundle)> = Vec::new();
    for (tag, sample) in tags {
        images.push(((*tag).to_owned(), sample.bundle.clone()));
        for attached in &sample.attached {
            images.push((attached.signature_tag(), attached.signature.clone()));
            images.push((String::new(), attached.referrer.clone()));
        }
    }
    let key = |(name, bundle): &(String, Bundle)| (name.clone(), bundle.root.digest());
    images.sort_by_key(key);
    images.dedup_by_key(|image| key(image));
    let images = images
        .iter()
        .map(|(name, bundle)| (name.as_str(), bundle.clone()));
    write_layout(&path, &images.collect::<Vec<_>>());
}
