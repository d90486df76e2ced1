//! The contenders' command lines.
//!
//! skopeo 1.9 copies many tags by `skopeo sync` alone, which appends the repository's last name to the destination.

use super::images::{BIG, FOUR, ONE, SMALL};
use super::raw;

/// The repository at the destination: `skopeo sync` makes this of [`SMALL`] and the prefix [`PREFIX`].
pub(crate) const MIRROR: &str = "mirror/small";
const PREFIX: &str = "mirror";

/// The hosts (`127.0.0.1:PORT`) that a run copies between.
pub(crate) struct Sides {
    pub(crate) source: String,
    pub(crate) destination: String,
}

type Build = dyn Fn(&Sides) -> Vec<String>;

/// A tool and how it is called for one workload.
pub(crate) struct Contender {
    pub(crate) tool: &'static str,
    command: Box<Build>,
}

impl Contender {
    fn new(tool: &'static str, command: impl Fn(&Sides) -> Vec<String> + 'static) -> Self {
        Self {
            tool,
            command: Box::new(command),
        }
    }

    /// The command line, the program first.
    pub(crate) fn command(&self, sides: &Sides) -> Vec<String> {
        (self.command)(sides)
    }
}

/// `barge copy --all-tags`, with these options.
pub(crate) fn barge_tags(tool: &'static str, options: &'static [&'static str]) -> Contender {
    Contender::new(tool, move |sides| {
        let names = format!("{SMALL} {MIRROR}");
        barge(&[&["--all-tags"], options].concat(), &names, sides)
    })
}

/// `skopeo sync --all` of a whole repository.
pub(crate) fn skopeo_tags() -> Contender {
    Contender::new("skopeo", |sides| {
        let mut words = skopeo("sync", &["--all", "--src", "docker", "--dest", "docker"]);
        words.push(format!("{}/{SMALL}", sides.source));
        words.push(format!("{}/{PREFIX}", sides.destination));
        words
    })
}

/// `barge copy` of the index with one big image.
pub(crate) fn barge_big() -> Contender {
    let names = format!("{BIG}:{ONE} {BIG}:{ONE}");
    Contender::new("barge", move |sides| barge(&[], &names, sides))
}

/// `skopeo copy --all` of the same.
pub(crate) fn skopeo_big() -> Contender {
    let name = format!("{BIG}:{ONE}");
    Contender::new("skopeo", move |sides| {
        skopeo_copy(skopeo("copy", &["--all"]), &name, sides)
    })
}

/// One client a blob, which pipes GET into PUT.
pub(crate) fn floor(digests: Vec<String>) -> Contender {
    Contender::new("floor", move |sides| {
        let program = std::env::current_exe().expect("this program has a path");
        let hosts = [&sides.source, &sides.destination].map(String::clone);
        let fixed = [program.display().to_string(), raw::ARGUMENT.to_owned()];
        let repository = [BIG.to_owned()];
        [&fixed[..], &hosts, &repository, &digests].concat()
    })
}

/// `barge copy --arch arm64` of the index with four big images.
pub(crate) fn barge_arch() -> Contender {
    let names = format!("{BIG}:{FOUR} {BIG}:{FOUR}");
    Contender::new("barge", move |sides| {
        barge(&["--arch", "arm64"], &names, sides)
    })
}

/// `skopeo copy` of its arm64 image; no index arrives.
pub(crate) fn skopeo_arch() -> Contender {
    let name = format!("{BIG}:{FOUR}");
    Contender::new("skopeo", move |sides| {
        let mut words = skopeo("copy", &[]);
        let options = ["--override-os", "linux", "--override-arch", "arm64"];
        // They are options of skopeo, not of its copy.
        words.splice(1..1, options.map(String::from));
        skopeo_copy(words, &name, sides)
    })
}

/// `barge copy` of a single image, with as many blobs at once as it has.
pub(crate) fn barge_memory(name: &'static str) -> Contender {
    Contender::new("barge", move |sides| {
        barge(&["--jobs", "16"], &format!("{name} {name}"), sides)
    })
}

/// `skopeo copy` of a single image.
pub(crate) fn skopeo_memory(name: &'static str) -> Contender {
    Contender::new("skopeo", move |sides| {
        skopeo_copy(skopeo("copy", &[]), name, sides)
    })
}

/// `names` are those at the source and the destination.
fn barge(options: &[&str], names: &str, sides: &Sides) -> Vec<String> {
    let fixed = [env!("CARGO_BIN_EXE_barge"), "copy"];
    let hosts = [&sides.source, &sides.destination];
    let references = names
        .split(' ')
        .zip(hosts)
        .map(|(name, host)| format!("docker://{host}/{name}"));
    let words = fixed.iter().chain(options).map(ToString::to_string);
    words.chain(references).collect()
}

fn skopeo(verb: &str, options: &[&str]) -> Vec<String> {
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let fixed = ["skopeo", "--insecure-policy", verb];
    [&fixed[..], &plain, options]
        .concat()
        .into_iter()
        .map(String::from)
        .collect()
}

fn skopeo_copy(mut words: Vec<String>, name: &str, sides: &Sides) -> Vec<String> {
    words.push(format!("docker://{}/{name}", sides.source));
    words.push(format!("docker://{}/{name}", sides.destination));
    words
}
