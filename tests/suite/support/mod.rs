//! What scenarios are made of: registries (real and in process), images, and runners of `barge` and skopeo.
//!
//! A scenario builds images ([`image`]), pushes them to a source ([`image::push`]), runs the binary
//! ([`barge`]) and judges by what arrived and by what crossed the wire ([`wire::Log`]).

#![allow(
    dead_code,
    unused_imports,
    reason = "a library for scenarios: what one of them needs tomorrow is there today"
)]

pub(crate) mod barge;
pub(crate) mod client;
pub(crate) mod content;
pub(crate) mod docker_registry;
pub(crate) mod forward;
pub(crate) mod helper;
pub(crate) mod image;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod secrets;
pub(crate) mod signing;
pub(crate) mod skopeo;
pub(crate) mod tls;
pub(crate) mod token_server;
pub(crate) mod wire;
