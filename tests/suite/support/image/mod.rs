//! Small images that are real ones: a config, layers that unpack, and indexes in every form met in the field.
//!
//! Everything is derived from names and seeds, so the same specification always gives the same digests.

pub(crate) mod archive;
mod artifact;
mod bundle;
mod index;
mod layer;
mod layout;
mod push;
mod spec;

pub(crate) use artifact::{Artifact, list_of, list_tag};
pub(crate) use bundle::Bundle;
pub(crate) use index::{
    Attestations, Child, Content, Entry, Form, IndexBuilder, MultiArch, Spacing,
};
pub(crate) use layer::Layer;
pub(crate) use layout::{Layout, write_layout};
pub(crate) use push::{Target, push};
pub(crate) use spec::{Format, Image, ImageSpec, Platform};
