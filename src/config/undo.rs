//! `barge undo`, resolved.

use super::access::{Access, resolve};
use super::environment::Environment;
use super::{Output, output, state_directory};
use crate::cli::UndoArgs;
use crate::error::{Error, Kind, Result};
use crate::state::StateDirectory;

#[derive(Debug)]
pub struct UndoConfig {
    /// What is to be done.
    pub task: Task,
    /// Where journals are kept.
    pub state: StateDirectory,
    /// How registries are reached.
    pub access: Access,
    pub output: Output,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Say which journals there are.
    List,
    /// Put back the tags of this one.
    Settle(String),
    /// Put back the tags of every unfinished one.
    SettleAll,
    Forget(String),
}

impl UndoConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong; `local-io` where there is no home directory.
    pub fn new(arguments: UndoArgs, environment: &Environment) -> Result<Self> {
        let task = match (arguments.journal, arguments.forget, arguments.all) {
            (Some(journal), _, _) => Task::Settle(journal),
            (None, Some(journal), _) => Task::Forget(journal),
            (None, None, true) => Task::SettleAll,
            (None, None, false) => Task::List,
        };
        let state = state_directory(arguments.state_dir, environment);
        Ok(Self {
            task,
            state: state.ok_or_else(homeless)?,
            access: resolve(arguments.access, &arguments.network, environment, "--")?,
            output: output(&arguments.output),
        })
    }
}

/// The error of a run that has nowhere to keep journals.
#[must_use]
pub fn homeless() -> Error {
    Error::new(Kind::LocalIo, "find the journals", "")
        .because("there is no home directory")
        .hint("name a directory that lasts with --state-dir")
}
