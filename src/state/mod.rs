//! What barge keeps on this machine between runs: the journals of rollback runs, a file each, and a
//! lock for each repository. It writes and reads them, and decides nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::disk::{self, Access, Distrust};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::journal::Journal;
use crate::reference::{origin, spellings};
use crate::sanitize::word;

/// How much of a repository's name goes into the name of a file.
const LONGEST_NAME: usize = 100;
/// How much of the digest of its name tells a repository from others whose names look alike in a file's.
const DIGITS: usize = 12;
const EXTENSION: &str = "json";
/// The longest journal that is written or read, in bytes: more than any run needs.
const LONGEST: u64 = 256 << 20;

/// The directory of journals; made when something is first written to it.
#[derive(Clone, Debug)]
pub struct StateDirectory {
    journals: PathBuf,
    /// What names it on a command line; nothing where it is the one by default.
    option: String,
}

/// A file with a journal.
#[derive(Debug)]
pub struct Stored {
    pub path: PathBuf,
    /// What is in it, or why that cannot be known.
    pub journal: Result<Journal>,
}

/// The right to be the one rollback run into a repository, or to write some of its lists of referrers; given
/// back when it is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "an open file is what holds the lock")] File);

impl StateDirectory {
    /// Journals are in `journal` below `path`; nothing is read or written.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            journals: path.join("journal"),
            option: String::new(),
        }
    }

    /// The same for a directory that the user named.
    #[must_use]
    pub fn named(path: &Path) -> Self {
        Self {
            option: format!(" --state-dir {}", word(&path.to_string_lossy())),
            ..Self::new(path)
        }
    }

    /// What has to be written behind a command so that it keeps state here, with a space in front.
    #[must_use]
    pub fn as_option(&self) -> &str {
        &self.option
    }

    /// The directories whose locks keep others from the journal at `path` of `destination`: this one, and
    /// the one that the file is in, where runs into that repository have been. In one order for all.
    #[must_use]
    pub fn keepers(&self, path: &Path, destination: &str) -> Vec<Self> {
        let beside = Self {
            journals: disk::parent(path).to_owned(),
            option: String::new(),
        };
        // Two ways to one file would be two locks, one of which waits for the other.
        let real = |directory: &Self| fs::canonicalize(&directory.journals).ok();
        let mut keepers = vec![self.clone()];
        let mut stems = stems(destination).into_iter();
        let locked = stems.any(|stem| beside.lock_named(&stem).is_file());
        if real(&beside) != real(self) && locked {
            keepers.push(beside);
        }
        keepers.sort_by_cached_key(real);
        keepers
    }

    fn lock_file(&self, destination: &str) -> PathBuf {
        self.lock_named(&file_name(destination))
    }

    fn lock_named(&self, stem: &str) -> PathBuf {
        self.journals.join(format!("{stem}.lock"))
    }

    /// Whether a rollback run into `destination` is at work. Writes nothing.
    ///
    /// # Errors
    ///
    /// `local-io` when that cannot be found out.
    pub fn is_locked(&self, destination: &str) -> Result<bool> {
        match disk::open_to_lock(&self.lock_file(destination)) {
            Ok(file) => Ok(self.try_lock(file)?.is_none()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("look for", &error)),
        }
    }

    fn try_lock(&self, file: File) -> Result<Option<Lock>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.failed("lock", &error)),
        }
    }

    /// Every journal, the oldest first.
    ///
    /// # Errors
    ///
    /// `local-io` when the directory is there and cannot be read.
    pub fn journals(&self) -> Result<Vec<Stored>> {
        self.files(|_| true)
    }

    /// The journals of the repository `destination`, by whichever name of its registry they were written, and files
    /// whose names say that they may be one; the oldest first.
    ///
    /// # Errors
    ///
    /// `local-io` when the directory is there and cannot be read.
    pub fn journals_of(&self, destination: &str) -> Result<Vec<Stored>> {
        let (wanted, stems) = (place_of(destination), stems(destination));
        self.files(|stored| {
            let journal = stored.journal.as_ref();
            journal.map_or_else(
                |_| is_named_by(&stored.path, &stems),
                |journal| place_of(&journal.destination) == wanted,
            )
        })
    }

    fn files(&self, is_wanted: impl Fn(&Stored) -> bool) -> Result<Vec<Stored>> {
        let failed = |error: &io::Error| self.failed("read", error);
        let entries = match fs::read_dir(&self.journals) {
            Ok(entries) => {
                self.check_owner("read")?;
                entries
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(&error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_journal = path.extension().is_some_and(|end| end == EXTENSION);
            if is_journal && !name.starts_with('.') {
                found.extend(read(&path).filter(&is_wanted));
            }
        }
        let age = |stored: &Stored| stored.journal.as_ref().map_or(0, |journal| journal.created);
        found.sort_by(|left, right| (age(left), &left.path).cmp(&(age(right), &right.path)));
        Ok(found)
    }

    /// The file that `name` means: a path, or the name of a file here, with or without its extension.
    ///
    /// # Errors
    ///
    /// `not-found` where there is none.
    pub fn find(&self, name: &str) -> Result<Stored> {
        let here = self.journals.join(name);
        let named = self.journals.join(format!("{name}.{EXTENSION}"));
        for path in [Path::new(name), &here, &named] {
            if path.is_file()
                && let Some(stored) = read(path)
            {
                return Ok(stored);
            }
        }
        Err(Error::new(Kind::NotFound, "find journal", name)
            .because(format!(
                "it is neither a file nor in {}",
                self.journals.display()
            ))
            .hint("`barge undo` lists the journals that are there"))
    }

    /// The right to be the one rollback run into `destination`; `None` while another process has it.
    ///
    /// # Errors
    ///
    /// `local-io` when the directory cannot be made or written.
    pub fn lock(&self, destination: &str) -> Result<Option<Lock>> {
        self.take(&self.lock_file(destination))
    }

    /// The files whose locks keep others from the lists of referrers under `tags` of `destination`, in the
    /// order in which everybody takes several. Lists share them, so that there are few.
    pub fn list_locks<'a>(
        &self,
        destination: &str,
        tags: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<PathBuf> {
        let stem = file_name(destination);
        let file = |tag: &str| {
            let digest = Digest::of(tag.as_bytes());
            let digit: String = digest.hex().chars().take(1).collect();
            self.journals.join(format!("{stem}.lists-{digit}.lock"))
        };
        tags.into_iter().map(file).collect()
    }

    /// The right that `file` stands for, such as one of [`StateDirectory::list_locks`]; `None` while another
    /// has it.
    ///
    /// # Errors
    ///
    /// `local-io` when the directory cannot be made or written.
    pub fn take(&self, file: &Path) -> Result<Option<Lock>> {
        let failed = |error: &io::Error| self.failed("write", error);
        disk::create_private_directory(&self.journals).map_err(|error| failed(&error))?;
        self.check_owner("write")?;
        let file = disk::lock_file(file, Access::Owner).map_err(|error| failed(&error))?;
        self.try_lock(file)
    }

    /// Fails where others can change which journals there are.
    fn check_owner(&self, doing: &str) -> Result<()> {
        let metadata = fs::metadata(&self.journals).map_err(|error| self.failed(doing, &error))?;
        match disk::distrust(&metadata) {
            Some(distrust) => {
                let cause = format!("the directory {distrust}");
                Err(self
                    .failed(doing, &cause)
                    .hint(open_directory(distrust, &self.journals)))
            }
            None => Ok(()),
        }
    }

    /// Writes a new journal. It is on the disk, to survive a power cut, when this returns.
    ///
    /// # Errors
    ///
    /// `local-io`, and there is no file then.
    pub fn create(&self, journal: &Journal) -> Result<PathBuf> {
        let chance = fastrand::u32(..);
        let stem = file_name(&journal.destination);
        let name = format!("{stem}-{}-{chance:08x}.{EXTENSION}", journal.created);
        let path = self.journals.join(name);
        disk::sweep(&self.journals);
        save(&path, journal)?;
        Ok(path)
    }

    fn failed(&self, doing: &str, error: &dyn fmt::Display) -> Error {
        Error::new(
            Kind::LocalIo,
            doing,
            format!("journals in {}", self.journals.display()),
        )
        .because(error)
        .hint("name a directory that can be written and lasts with --state-dir")
    }
}

/// The journal at `path`; `None` where the file is gone. Why it cannot be read is in [`Stored::journal`].
#[must_use]
pub(crate) fn read(path: &Path) -> Option<Stored> {
    let failed = |kind| Error::new(kind, "read journal", path.display());
    let unread = |error: io::Error| failed(Kind::LocalIo).because(error);
    let bytes = match disk::open(path) {
        Ok(file) => own(&file, path).and_then(|()| disk::read_file(file, LONGEST).map_err(unread)),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(unread(error)),
    };
    let journal = bytes.and_then(|bytes| {
        Journal::read(&bytes).map_err(|why| {
            let hint = why.hint(&word(&path.to_string_lossy()));
            failed(Kind::Unsupported).because(why).hint(hint)
        })
    });
    Some(Stored {
        path: path.to_owned(),
        journal,
    })
}

/// Fails where another user may have written the journal that is open, or put it there: what it says is done with
/// this user's login.
fn own(file: &File, path: &Path) -> Result<()> {
    let failed = || Error::new(Kind::LocalIo, "read journal", path.display());
    let metadata = |found: io::Result<Metadata>| found.map_err(|error| failed().because(error));
    if let Some(distrust) = disk::distrust(&metadata(file.metadata())?) {
        let error = failed().because(format!("it {distrust}"));
        return Err(error.hint(open_file(distrust, path)));
    }
    let directory = disk::parent(path);
    if let Some(distrust) = disk::distrust(&metadata(fs::metadata(directory))?) {
        let error = failed().because(format!("its directory {distrust}"));
        return Err(error.hint(open_directory(distrust, directory)));
    }
    Ok(())
}

/// What helps with a journal that another user may have written.
fn open_file(distrust: Distrust, path: &Path) -> String {
    let path = word(&path.to_string_lossy());
    let otherwise = format!(
        "if it is of no run of yours, `barge undo --forget {path}` drops it, and leaves tags as they are"
    );
    match distrust {
        Distrust::Owner { owner, .. } => {
            format!(
                "run as user {owner}, without sudo, or give it to this user with chown; {otherwise}"
            )
        }
        Distrust::Writable(_) => {
            format!("look whether it is as its run wrote it, then `chmod go-w {path}`; {otherwise}")
        }
    }
}

/// What helps with a directory into which another user may have put journals.
fn open_directory(distrust: Distrust, path: &Path) -> String {
    let own = "name a directory of this user with --state-dir";
    match distrust {
        Distrust::Owner { owner, .. } => format!("run as user {owner}, without sudo, or {own}"),
        Distrust::Writable(_) => {
            format!("`chmod go-w {}`, or {own}", word(&path.to_string_lossy()))
        }
    }
}

/// Writes `journal` to `path`, whole or not at all: for its owner alone, synced, by one rename.
///
/// # Errors
///
/// `local-io`, and what was there is as it was.
pub(crate) fn save(path: &Path, journal: &Journal) -> Result<()> {
    let written = journal.text().map_err(io::Error::from).and_then(|text| {
        if text.len() as u64 > LONGEST {
            return Err(io::Error::other(format!(
                "it would have more than {LONGEST} bytes"
            )));
        }
        disk::write_whole(path, text.as_bytes(), Access::Owner)?;
        disk::sync_directory(disk::parent(path))
    });
    written.map_err(|error| {
        Error::new(Kind::LocalIo, "write journal", path.display())
            .because(error)
            .hint("make room, or name another directory with --state-dir")
    })
}

/// Removes the journal at `path`; one that is gone already is no error.
///
/// # Errors
///
/// `local-io`.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let directory = disk::parent(path);
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => disk::sync_directory(directory),
    };
    removed
        .map_err(|error| Error::new(Kind::LocalIo, "remove journal", path.display()).because(error))
}

/// The repository `destination` by the name that stands for its registry.
fn place_of(destination: &str) -> String {
    let (host, path) = host_and_path(destination);
    format!("{}/{path}", origin(host))
}

/// How the names of files of `destination` may begin: an earlier barge took the host as it was written.
fn stems(destination: &str) -> Vec<String> {
    let (host, path) = host_and_path(destination);
    let hosts = spellings(host).into_iter().chain([host.to_owned()]);
    hosts.map(|host| stem(&format!("{host}/{path}"))).collect()
}

/// Whether the name of the file at `path` begins with one of `stems`.
fn is_named_by(path: &Path, stems: &[String]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut rests = stems.iter().filter_map(|stem| name.strip_prefix(&**stem));
    rests.any(|rest| rest.starts_with('-'))
}

fn host_and_path(destination: &str) -> (&str, &str) {
    let place = destination.trim_start_matches("docker://");
    place.split_once('/').unwrap_or((place, ""))
}

/// How the names of the files of `destination` begin.
fn file_name(destination: &str) -> String {
    stem(&place_of(destination))
}

/// A repository's name as the beginning of a file's: to be read by people, and by its end different from
/// all others.
fn stem(place: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-') {
            letter
        } else {
            '_'
        }
    };
    let mut name: String = place.chars().map(plain).take(LONGEST_NAME).collect();
    let digest = Digest::of(place.as_bytes());
    name.push('-');
    name.extend(digest.hex().chars().take(DIGITS));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(destination: &str, created: u64) -> Journal {
        Journal::new(destination.into(), created, Vec::new(), [])
    }

    #[test]
    fn journals_are_kept_by_repository() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::new(home.path());
        assert!(state.journals().expect("nothing yet").is_empty());
        let _lock = state
            .lock("docker://h.io/a")
            .expect("a lock")
            .expect("free");
        assert!(state.lock("docker://h.io/a").expect("a lock").is_none());
        for (name, created) in [
            ("h.io/a", 20),
            ("h.io/a", 3),
            ("h.io/a-1", 1),
            ("h.io/b", 1),
        ] {
            let name = format!("docker://{name}");
            state.create(&journal(&name, created)).expect("written");
        }
        let found = state.journals_of("docker://h.io/a").expect("readable");
        let ages: Vec<u64> = found
            .iter()
            .map(|stored| stored.journal.as_ref().expect("a journal").created)
            .collect();
        assert_eq!(ages, [3, 20]);
        let path = &found.first().expect("one").path;
        let stem = path.file_stem().expect("a name").to_string_lossy();
        for name in [&*stem, &*path.to_string_lossy()] {
            assert_eq!(
                state.find(name).expect("found").path.file_stem(),
                path.file_stem()
            );
        }
        remove(path).expect("removed");
        remove(path).expect("removed before");
        let gone = state.find(&stem).expect_err("gone");
        assert_eq!(gone.kind(), Kind::NotFound);
        assert_eq!(state.journals().expect("readable").len(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_a_journal() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::new(home.path());
        let _lock = state.lock("docker://h.io/a").expect("a lock");
        let path = state
            .create(&journal("docker://h.io/a", 1))
            .expect("written");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn reads_no_journal_that_is_longer_than_any() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("x.json");
        let file = File::create(&path).expect("made");
        file.set_len(LONGEST + 1).expect("sparse");
        let journal = read(&path).expect("there").journal;
        assert_eq!(journal.expect_err("too long").kind(), Kind::LocalIo);
    }

    #[test]
    fn what_is_no_journal_is_said_and_not_lost() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::new(home.path());
        let _lock = state.lock("docker://h.io/a").expect("a lock");
        let name = format!("journal/{}-1-0.json", file_name("docker://h.io/a"));
        let path = home.path().join(&name);
        fs::write(&path, "{").expect("written");
        let found = state.journals_of("docker://h.io/a").expect("readable");
        let error = found
            .first()
            .expect("one")
            .journal
            .as_ref()
            .expect_err("bad");
        let advice = error.advice().unwrap_or_default();
        assert!(advice.contains("--forget") && advice.contains(&name));
    }

    #[test]
    fn finds_journals_that_were_written_under_other_names_of_the_registry() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::new(home.path());
        let names = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("docker://{name}:5/a"));
        let _lock = state.lock(&names[0]).expect("a lock").expect("free");
        for (number, name) in names.iter().enumerate() {
            let old = stem(name.trim_start_matches("docker://"));
            let path = |number| state.journals.join(format!("{old}-{number}-0.json"));
            save(&path(number), &journal(name, 1)).expect("written");
            fs::write(path(number + 10), "{").expect("written");
        }
        state
            .create(&journal("docker://localhost:6/a", 1))
            .expect("written");
        for name in names {
            assert!(state.lock(&name).expect("a lock").is_none(), "{name}");
            let found = state.journals_of(&name).expect("readable");
            let understood = found.iter().filter(|stored| stored.journal.is_ok());
            assert_eq!((understood.count(), found.len()), (3, 6), "{name}");
        }
    }

    #[test]
    fn no_two_repositories_share_a_file() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::new(home.path());
        let long = "a/".repeat(LONGEST_NAME);
        let names = ["h.io/a/b", "h.io/a_b", "h.io/a", "h.io:5/a", "h.io/5/a"].map(str::to_owned);
        let long = ["x", "y"].map(|end| format!("h.io/{long}{end}"));
        let mut locks = Vec::new();
        for name in names.iter().chain(&long) {
            let lock = state.lock(&format!("docker://{name}")).expect("a lock");
            locks.push(lock.unwrap_or_else(|| panic!("{name} has the lock of another")));
        }
    }

    #[test]
    fn a_journal_is_kept_by_the_lock_of_its_repository() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = |name: &str| StateDirectory::new(&home.path().join(name));
        let (own, other) = (directory("own"), directory("other"));
        let place = "docker://h.io/a";
        let _locks = [&own, &other].map(|state| state.lock(place).expect("a lock"));
        let path = other.create(&journal(place, 1)).expect("written");
        let keepers = |state: &StateDirectory, path: &Path| {
            let keepers = state.keepers(path, place).into_iter();
            keepers.map(|keeper| keeper.journals).collect::<Vec<_>>()
        };
        assert_eq!(
            keepers(&other, &path),
            std::slice::from_ref(&other.journals)
        );
        let both = [other.journals.clone(), own.journals.clone()];
        assert_eq!(keepers(&own, &path), both);
        let copy = home.path().join("copy.json");
        assert_eq!(keepers(&own, &copy), [own.journals]);
    }

    #[test]
    fn to_ask_for_a_lock_writes_nothing() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::new(home.path());
        let place = "docker://h.io/a";
        assert!(!state.is_locked(place).expect("known"));
        assert!(!state.journals.exists());
        let lock = state.lock(place).expect("a lock");
        assert!(state.is_locked(place).expect("known"));
        drop(lock);
        assert!(!state.is_locked(place).expect("known"));
    }
}
