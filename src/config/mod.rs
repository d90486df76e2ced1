//! Flags and environment, resolved and checked once: what comes out can be carried out as it is.

mod access;
mod environment;
mod inventory;
mod login;
mod referrers;
mod saving;
mod undo;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::{
    CopyAccessArgs, CopyArgs, InspectArgs, ListTagsArgs, OutputArgs, PlatformArgs, TagArgs,
};
use crate::endpoint::Overwrite;
use crate::error::{Error, Result};
use crate::image::digest::Digest;
use crate::image::platform::{PlatformSelector, Wanted};
use crate::options::{Digests, ForeignLayers, MissingArch, Mode, Policy, Recheck, Run};
use crate::reference::{Reference, Role, is_standard_input};
use crate::select::{Patterns, Selection};
use crate::state::StateDirectory;

pub use self::access::Access;
use self::access::{resolve, sides};
pub use self::environment::Environment;
pub use self::inventory::InventoryConfig;
pub use self::login::{LoginConfig, LoginWish, LogoutConfig};
pub use self::referrers::Along;
pub use self::undo::{Task, UndoConfig, homeless};
pub use self::verify::VerifyConfig;
pub use crate::cli::{Form, Progress};

#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The form of results.
    pub form: Form,
    /// Whether standard error is for errors alone.
    pub quiet: bool,
}

#[derive(Debug)]
pub struct CopyConfig {
    /// Where images are read.
    pub source: Reference,
    pub destination: Reference,
    /// What images are called in an archive of docker, where DESTINATION says so.
    pub repository: Option<String>,
    /// The tag that DESTINATION names.
    pub tag: Option<String>,
    /// Which tags; `None`: the one that the references name.
    pub selection: Option<Selection>,
    /// What becomes of an index.
    pub mode: Mode,
    /// The platforms asked for.
    pub wanted: Wanted,
    /// What becomes of a tag without them.
    pub missing: MissingArch,
    /// What a failed tag means for the others.
    pub policy: Policy,
    /// Where journals are kept; `None`: there is no home directory.
    pub state: Option<StateDirectory>,
    /// How far a tag that looks right is looked into.
    pub recheck: Recheck,
    /// What refers to the images.
    pub referrers: Along,
    /// Whether another repository's image in a layout or archive is replaced.
    pub overwrite: Overwrite,
    /// Whether digests may change.
    pub digests: Digests,
    /// Whether nondistributable layers are copied.
    pub foreign: ForeignLayers,
    /// The inventory of what is left out of an archive.
    pub have: Option<PathBuf>,
    /// Blob transfers at once.
    pub jobs: usize,
    /// Whether anything is written.
    pub run: Run,
    /// How the source is reached.
    pub source_access: Access,
    /// How the destination is reached.
    pub destination_access: Access,
    pub output: Output,
    /// How progress is shown.
    pub progress: Progress,
    /// Where the JSON summary goes as well.
    pub report: Option<PathBuf>,
    pub digestfile: Option<PathBuf>,
    /// Variables that say what the destination can never hold.
    pub notes: Vec<String>,
}

/// The images of which it is shown what refers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// What the reference names.
    Root,
    /// The image of each platform too.
    Each,
}

#[derive(Debug)]
pub struct InspectConfig {
    /// What to look at.
    pub reference: Reference,
    /// Whether the bytes are printed as they are.
    pub raw: bool,
    /// Of which of its images it is shown what refers to them.
    pub subjects: Subjects,
    /// How it is reached.
    pub access: Access,
    pub output: Output,
}

#[derive(Debug)]
pub struct ListTagsConfig {
    pub repository: Reference,
    /// Which; `None`: all but digest tags.
    pub selection: Selection,
    /// How it is reached.
    pub access: Access,
    pub output: Output,
}

impl CopyConfig {
    /// Checks `arguments` as a whole.
    ///
    /// # Errors
    ///
    /// A usage error that says which words do not go together.
    pub fn new(mut arguments: CopyArgs, environment: &Environment) -> Result<Self> {
        let source = Reference::parse(&arguments.source, Role::Source)?;
        let destination = Reference::parse(&arguments.destination, Role::Destination)?;
        let notes = saving::disregard(&mut arguments, &destination);
        let selection = Selection::compile(&patterns(&arguments.tags))?;
        let (mode, wanted) = platforms(&arguments.platforms)?;
        let digests = saving::digests(&arguments.transfer);
        let referrers = Along::new(&arguments.referrers, &arguments.platforms)?;
        let types = referrers.types.as_ref();
        let image = saving::check(&destination, (mode, &wanted), digests, types)?;
        let tag = match &image {
            Some(image) => image.tag.clone(),
            None => destination.tag().map(str::to_owned),
        };
        check_names(&source, (&destination, tag.as_deref()), selection.is_some())?;
        let files = (&arguments.report.report, &arguments.report.digestfile);
        if files.0.is_some() && files.0 == files.1 {
            return Err(Error::usage("--report and --digestfile name the same file"));
        }
        let have = arguments.transfer.have;
        saving::check_have(have.as_deref(), &destination)?;
        check_standard_input(&arguments.access, (&source, have.as_deref()))?;
        let access = sides(arguments.access);
        let foreign = saving::foreign(&arguments.platforms);
        let network = &arguments.network;
        let jobs = usize::from(arguments.transfer.jobs);
        Ok(Self {
            source,
            destination,
            repository: image.map(|image| image.place()),
            tag,
            selection,
            mode,
            wanted,
            missing: arguments.platforms.missing_arch,
            policy: arguments.transfer.policy,
            state: state_directory(arguments.transfer.state_dir, environment),
            recheck: arguments.transfer.recheck,
            referrers,
            overwrite: if arguments.transfer.force {
                Overwrite::Always
            } else {
                Overwrite::Never
            },
            digests,
            foreign,
            have,
            jobs,
            run: if arguments.transfer.dry_run {
                Run::Dry
            } else {
                Run::Real
            },
            source_access: resolve(access.0, network, environment, "--src-")?.for_jobs(jobs),
            destination_access: resolve(access.1, network, environment, "--dest-")?.for_jobs(jobs),
            output: output(&arguments.output),
            progress: arguments.report.progress,
            report: arguments.report.report,
            digestfile: arguments.report.digestfile,
            notes,
        })
    }
}

impl InspectConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    pub fn new(arguments: InspectArgs, environment: &Environment) -> Result<Self> {
        Ok(Self {
            reference: Reference::parse(&arguments.reference, Role::Source)?,
            raw: arguments.raw,
            subjects: if arguments.platforms {
                Subjects::Each
            } else {
                Subjects::Root
            },
            access: resolve(arguments.access, &arguments.network, environment, "--")?,
            output: output(&arguments.output),
        })
    }
}

impl ListTagsConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    pub fn new(arguments: ListTagsArgs, environment: &Environment) -> Result<Self> {
        Ok(Self {
            repository: repository(&arguments.repository, "list-tags")?,
            selection: listed(&arguments.tags)?,
            access: resolve(arguments.access, &arguments.network, environment, "--")?,
            output: output(&arguments.output),
        })
    }
}

/// A reference that names no image, for `verb`.
fn repository(text: &str, verb: &str) -> Result<Reference> {
    let repository = Reference::parse(text, Role::Source)?;
    let is_repository = verb == "list-tags" && repository.repository_in_file().is_some();
    if !is_repository && (repository.tag().is_some() || repository.digest().is_some()) {
        return Err(Error::usage(format!(
            "`{text}` names one image; {verb} takes a repository"
        )));
    }
    Ok(repository)
}

/// The tags that are listed: all but digest tags where no option says which.
fn listed(arguments: &TagArgs) -> Result<Selection> {
    let mut patterns = patterns(arguments);
    let any = !patterns.include_regex.is_empty() || !patterns.include_glob.is_empty();
    let excluding = !patterns.exclude_regex.is_empty() || !patterns.exclude_glob.is_empty();
    patterns.all |= !any && !excluding;
    Selection::compile(&patterns)?.ok_or_else(|| Error::usage("no tag can be selected"))
}

/// Standard input holds one thing: an image, an inventory, or a login, and nothing says whose two would be.
fn check_standard_input(
    access: &CopyAccessArgs,
    (source, have): (&Reference, Option<&Path>),
) -> Result<()> {
    let files = [&access.source.src_creds_file, &access.dest_creds_file];
    let is_stdin = |file: &Option<PathBuf>| file.as_deref().is_some_and(is_standard_input);
    let mut logins = files.into_iter().chain([&access.both.creds_file]);
    let readers: Vec<&str> = [
        ("--have", have.is_some_and(is_standard_input)),
        ("SOURCE", source.is_standard()),
        ("a file with credentials", logins.any(is_stdin)),
    ]
    .into_iter()
    .filter_map(|(reader, reads)| reads.then_some(reader))
    .collect();
    if let [one, other, ..] = readers.as_slice() {
        let both = format!("{one} and {other} both name standard input");
        return Err(Error::usage(both));
    }
    if files.into_iter().all(is_stdin) {
        return Err(Error::usage(
            "--src-creds-file and --dest-creds-file both name standard input; --creds-file - is one login for both sides",
        ));
    }
    Ok(())
}

/// Where state is kept: as named, else where the XDG Base Directory Specification has it.
fn state_directory(named: Option<PathBuf>, environment: &Environment) -> Option<StateDirectory> {
    let home = || Some(environment.home.as_ref()?.join(".local/state"));
    // The specification has relative paths ignored.
    let state_home = environment.state.clone();
    let state_home = state_home.filter(|path| path.is_absolute()).or_else(home);
    match named {
        // What is said of it later is to hold in every directory. Fails for an empty path alone.
        Some(path) => Some(StateDirectory::named(
            &std::path::absolute(&path).unwrap_or(path),
        )),
        None => Some(StateDirectory::new(&state_home?.join("barge"))),
    }
}

fn output(arguments: &OutputArgs) -> Output {
    Output {
        form: arguments.output,
        quiet: arguments.talk.quiet,
    }
}

/// The values of a repeatable option without the blank lines that a variable may have; a value that is
/// nothing else stays, to be complained about.
fn lines(values: &[String]) -> Vec<String> {
    let some: Vec<String> = values
        .iter()
        .filter(|value| !value.trim().is_empty())
        .cloned()
        .collect();
    if some.is_empty() {
        values.to_vec()
    } else {
        some
    }
}

fn patterns(arguments: &TagArgs) -> Patterns {
    Patterns {
        include_regex: lines(&arguments.tags),
        exclude_regex: lines(&arguments.exclude_tags),
        include_glob: lines(&arguments.tag_glob),
        exclude_glob: lines(&arguments.exclude_tag_glob),
        all: arguments.all_tags,
        digest_tags: arguments.include_digest_tags,
    }
}

fn check_names(
    source: &Reference,
    (destination, tag): (&Reference, Option<&str>),
    many: bool,
) -> Result<()> {
    if let Some(digest) = destination.digest() {
        return Err(Error::usage(format!(
            "DESTINATION carries the digest {digest}, but the digest follows from what is copied; name a tag, or nothing"
        )));
    }
    if !many {
        return Ok(());
    }
    let digest = source.digest().map(Digest::as_str);
    let is_repository = source.repository_in_file().is_some();
    let named = source.tag().filter(|_| !is_repository);
    for (role, place, name) in [
        ("SOURCE", source, named.or(digest)),
        ("DESTINATION", destination, tag),
    ] {
        if let Some(name) = name {
            return Err(Error::usage(format!(
                "{role} names `{name}`, and the tag options select tags; leave one of them out ({} keeps every tag's name)",
                place.place()
            )));
        }
    }
    Ok(())
}

fn platforms(arguments: &PlatformArgs) -> Result<(Mode, Wanted)> {
    let wanted = Wanted {
        platforms: selectors(&arguments.arch, "--arch")?,
        required: selectors(&arguments.require_arch, "--require-arch")?,
    };
    let asked = !wanted.platforms.is_empty() || !wanted.required.is_empty();
    let mode = match (arguments.all, arguments.mode) {
        (true, Some(mode)) if mode != Mode::All => {
            return Err(Error::usage(
                "--all is --mode all; it does not go with another --mode",
            ));
        }
        (false, Some(mode)) => mode,
        (false, None) if asked => Mode::FilteredIndex,
        (true, _) | (false, None) => Mode::All,
    };
    match (mode, asked) {
        (Mode::All, true) => Err(Error::usage(
            "--mode all copies every platform, --arch and --require-arch pick some; leave one out, or take --mode filtered-index or sparse-index",
        )),
        (Mode::FilteredIndex | Mode::SparseIndex, false) => Err(Error::usage(
            "--mode filtered-index and sparse-index need --arch, which says what to keep: --arch amd64,arm64",
        )),
        _ => Ok((mode, wanted)),
    }
}

/// The platforms of a repeatable option, whose values are lists too; each once.
fn selectors(values: &[String], option: &str) -> Result<Vec<PlatformSelector>> {
    let mut seen = BTreeSet::new();
    let mut selectors = Vec::new();
    let lines = values.iter().flat_map(|value| value.lines());
    for text in lines
        .filter(|line| !line.trim().is_empty())
        .flat_map(|line| line.split(','))
    {
        let selector: PlatformSelector = text
            .parse()
            .map_err(|why| Error::usage(format!("{option} `{text}`: {why}")))?;
        if seen.insert(selector.to_string()) {
            selectors.push(selector);
        }
    }
    if selectors.is_empty() && !values.is_empty() {
        return Err(Error::usage(format!(
            "{option} names no platform; write {option} arm64, for example"
        )));
    }
    Ok(selectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Verb};
    use std::ffi::OsString;

    fn copy(
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> std::result::Result<CopyConfig, String> {
        let words = ["barge", "copy", "docker://h.io/a", "oci:x"]
            .iter()
            .chain(arguments);
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let cli = cli::parse(words.map(OsString::from).collect(), variable)
            .map_err(|error| error.to_string())?;
        let Verb::Copy(arguments) = cli.verb else {
            return Err("not copy".into());
        };
        CopyConfig::new(*arguments, &Environment::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn modes_and_platforms_go_together() {
        let mode = |arguments: &[&str]| copy(arguments, &[]).map(|request| request.mode);
        assert_eq!(mode(&[]), Ok(Mode::All));
        assert_eq!(mode(&["--arch", "arm64"]), Ok(Mode::FilteredIndex));
        assert_eq!(
            mode(&["--platform", "arm64,amd64", "--mode", "sparse-index"]),
            Ok(Mode::SparseIndex)
        );
        assert_eq!(mode(&["-a"]), Ok(Mode::All));
        assert_eq!(mode(&["-a", "--mode", "all"]), Ok(Mode::All));
        for wrong in [
            &["-a", "--arch", "arm64"][..],
            &["--mode", "all", "--arch", "arm64"],
            &["--mode", "sparse-index"],
            &["--mode", "filtered-index"],
            &["-a", "--mode", "sparse-index", "--arch", "arm64"],
            &["--arch", "linux"],
            &["--arch", ""],
            &["--arch", "arm64,"],
            &["--src-creds", ":x"],
            &["--src-creds", "a:b", "--src-no-creds"],
            &["--jobs", "0"],
            &["--tags", "("],
        ] {
            assert!(mode(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tag_options_and_names_exclude_each_other() {
        let check = |source: &str, destination: &str, many| {
            let source = Reference::parse(source, Role::Source).expect("source");
            let destination =
                Reference::parse(destination, Role::Destination).expect("destination");
            check_names(&source, (&destination, destination.tag()), many).is_ok()
        };
        assert!(check("h.io/a", "h.io/b", true));
        assert!(check("h.io/a:1", "h.io/b:2", false));
        assert!(!check("h.io/a:1", "h.io/b", true));
        assert!(!check("h.io/a", "oci:x:1", true));
        let digest = format!("docker://h.io/b@sha256:{}", "0".repeat(64));
        assert!(!check("h.io/a", &digest, false));
    }
}
