//! The domain: digests, descriptors, manifests and platforms, and what becomes of an index.
//!
//! Everything here works on bytes and values. Nothing reads a file, a clock or the network, and raw
//! bytes are kept: what is not rewritten is never serialised again.

mod descriptor;
pub mod digest;
pub mod filter;
pub(crate) mod keys;
pub mod manifest;
pub mod media_type;
pub(crate) mod order;
pub mod platform;
pub mod referrers;
mod selector;
