//! barge copies container images between registries, OCI layouts and archives.
//!
//! The library behind the `barge` command. `DESIGN.md` in the repository is its map: a module imports
//! only modules of a lower rank, and what can be a pure function is one.

mod bounded;
mod catalog;
pub mod cli;
pub mod commands;
pub mod config;
mod disk;
pub mod endpoint;
mod engine;
pub mod error;
pub mod event;
mod finding;
pub mod image;
pub mod inventory;
mod journal;
mod once_map;
pub mod options;
mod plan;
pub mod reference;
pub mod report;
pub mod sanitize;
pub mod select;
mod splice;
mod state;
