//! The integration tests: one binary, so that they link once.
//!
//! `support` has the registries, images and runners; a scenario is a module beside it.

#[cfg(test)]
mod self_check;
#[cfg(test)]
mod support;
