//! Runs the binary: a home of its own, no settings from outside, both outputs caught.
//!
//! Nothing that a run wrote may hold a secret of these tests ([`secrets`]). A run that does not end in two minutes is killed and fails its test.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::secrets;

const PATIENCE: Duration = Duration::from_mins(2);

/// Variables of directories, all of which are the home of a run.
const PLACES: [&str; 7] = [
    "HOME",
    "DOCKER_CONFIG",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
];

/// Runs `barge` with these arguments to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    barge().args(arguments).run()
}

/// Runs `barge copy -o json` with these options.
pub(crate) fn copy(options: &[&str], source: &str, destination: &str) -> Output {
    run(&[&["copy", "-o", "json"], options, &[source, destination]].concat())
}

/// A command line to be built.
pub(crate) fn barge() -> Barge {
    let home = TempDir::with_prefix("barge-home-").expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_barge"));
    command.env_clear();
    for kept in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.envs(PLACES.map(|name| (name, home.path())));
    command.current_dir(home.path());
    Barge {
        command,
        home,
        input: None,
    }
}

/// A command line of `barge` and the empty home that it runs in, which is its working directory too.
pub(crate) struct Barge {
    command: Command,
    home: TempDir,
    input: Option<String>,
}

impl Barge {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The variable without the value that it has.
    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// What it reads on standard input, which is empty otherwise.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// The same home again, for another run.
    pub(crate) fn at_home(mut self, home: &Path) -> Self {
        for name in PLACES {
            self.command.env(name, home);
        }
        self.command.current_dir(home);
        self
    }

    /// The same command line behind `sh`, after a line of its own: `ulimit -f 64`.
    pub(crate) fn after(mut self, line: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{line} && exec \"$@\""));
        shell.arg("sh").arg(self.command.get_program());
        shell.args(self.command.get_args());
        let variables = self.command.get_envs();
        let variables = variables.filter_map(|(name, value)| Some((name, value?)));
        shell.env_clear().envs(variables);
        shell.current_dir(self.home.path());
        self.command = shell;
        self
    }

    /// Its home (`HOME`, `DOCKER_CONFIG` and every `XDG_` directory), to put files into first.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn run(self) -> Output {
        self.spawn().wait()
    }

    pub(crate) fn spawn(mut self) -> Running {
        self.note_secrets();
        let command = &mut self.command;
        command
            .stdin(match self.input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let line = format!("{:?}", self.command);
        let mut child = self.command.spawn().expect("barge is built");
        if let (Some(text), Some(mut pipe)) = (self.input.take(), child.stdin.take()) {
            // Fails where the run ends without reading it.
            thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
        }
        let reports = self.reports();
        let stdout = read_all(child.stdout.take().expect("piped"));
        let (said, stderr) = read_lines(child.stderr.take().expect("piped"));
        Running {
            child,
            line,
            stdout,
            stderr,
            reports,
            said,
            home: self.home,
        }
    }
}

impl Barge {
    /// The files that it writes besides its results.
    fn reports(&self) -> Vec<PathBuf> {
        let arguments: Vec<&OsStr> = self.command.get_args().collect();
        let named = arguments
            .windows(2)
            .filter(|pair| pair[0] == "--report" || pair[0] == "--digestfile");
        named.map(|pair| PathBuf::from(pair[1])).collect()
    }

    /// Secrets that the run is given must not come out again.
    fn note_secrets(&self) {
        let mut name = String::new();
        for argument in self.command.get_args() {
            let argument = argument.to_string_lossy();
            let (option, value) = argument.split_once('=').unwrap_or((&name, &argument));
            secrets::note_option(option, value);
            name = argument.into_owned();
        }
        for (name, value) in self.command.get_envs() {
            let value = value.map(OsStr::to_string_lossy).unwrap_or_default();
            secrets::note_option(&name.to_string_lossy(), &value);
        }
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.read_to_end(&mut bytes);
        read.expect("a pipe can be read");
        // Nobody waits for it where the test has failed already.
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}

/// The same, and what has come so far.
fn read_lines(pipe: impl Read + Send + 'static) -> (Arc<Said>, Receiver<String>) {
    let (sender, receiver) = channel();
    let said = Arc::new(Said::default());
    let shared = Arc::clone(&said);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let line = line.expect("a pipe has text");
            let mut text = shared.text.lock().expect("no reader panicked");
            text.extend([line.as_str(), "\n"]);
            drop(text);
            shared.more.notify_all();
        }
        // Nobody waits for it where the test has failed already.
        drop(sender.send(shared.text.lock().expect("no reader panicked").clone()));
    });
    (said, receiver)
}

/// What a `barge` at work has said on standard error.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Condvar,
}

/// A `barge` that is at work; dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    line: String,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    reports: Vec<PathBuf>,
    said: Arc<Said>,
    home: TempDir,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its home, as [`Barge::home`].
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`, `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(
            status.expect("kill is installed").success(),
            "kill -{name} {}",
            self.pid()
        );
    }

    /// Waits until it has said this on standard error.
    #[track_caller]
    pub(crate) fn wait_until_said(&self, words: &str) {
        self.wait_until_said_times(1, words);
    }

    /// Waits until it has said this so often.
    #[track_caller]
    pub(crate) fn wait_until_said_times(&self, times: usize, words: &str) {
        let text = self.said.text.lock().expect("no reader panicked");
        let silent = |text: &mut String| text.matches(words).count() < times;
        let waited = self.said.more.wait_timeout_while(text, PATIENCE, silent);
        let (text, timeout) = waited.expect("no reader panicked");
        assert!(!timeout.timed_out(), "`{words}` was not said: {text}");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be asked")
            .is_none()
    }

    pub(crate) fn wait(mut self) -> Output {
        let stdout = self.stdout.recv_timeout(PATIENCE);
        let stderr = self.stderr.recv_timeout(PATIENCE);
        let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
            panic!("still running after {PATIENCE:?}: {}", self.line);
        };
        let status = self.child.wait().expect("a child can be waited for");
        let code = status.code();
        for text in [&stdout, &stderr] {
            let secret = secrets::found_in(text);
            assert!(secret.is_none(), "{secret:?} in {text}");
        }
        secrets::none_in_files(self.home.path());
        for report in &self.reports {
            secrets::not_in_file(&self.home.path().join(report));
        }
        Output {
            code,
            stdout,
            stderr,
            line: std::mem::take(&mut self.line),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// `None` where a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    line: String,
}

impl Output {
    /// Fails the test, with all that was printed, where the exit code is another one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Standard output, which must be one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("standard output is not JSON ({error}): {self:#?}"))
    }

    /// The entry of `tag` in the JSON report.
    #[track_caller]
    pub(crate) fn tag(&self, tag: &str) -> Value {
        let report = self.json();
        let mut tags = report["tags"].as_array().into_iter().flatten();
        let found = tags.find(|entry| entry["tag"] == tag).cloned();
        found.unwrap_or_else(|| panic!("no tag {tag} in the report: {self:#?}"))
    }
}
