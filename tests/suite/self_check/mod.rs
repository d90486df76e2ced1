//! Proves the support itself: real servers start, images are good, the fakes answer as the field does.

mod auth;
mod faults;
mod registries;
mod sparse;
