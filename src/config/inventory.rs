//! `barge inventory`, resolved.

use super::access::resolve;
use super::{Access, Environment, listed, referrers, repository};
use crate::cli::InventoryArgs;
use crate::error::Result;
use crate::image::referrers::Types;
use crate::reference::Reference;
use crate::select::Selection;

#[derive(Debug)]
pub struct InventoryConfig {
    pub repositories: Vec<Reference>,
    pub selection: Selection,
    /// Whether what refers to them is listed too, of these types; `None`: it is not.
    pub referrers: Option<Types>,
    /// Whether each blob is asked for.
    pub check: bool,
    /// How they are reached.
    pub access: Access,
    /// Whether standard error is for errors alone.
    pub quiet: bool,
}

impl InventoryConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    pub fn new(arguments: InventoryArgs, environment: &Environment) -> Result<Self> {
        let mut repositories: Vec<Reference> = Vec::new();
        for text in &arguments.repositories {
            let reference = repository(text, "inventory")?;
            if !repositories.contains(&reference) {
                repositories.push(reference);
            }
        }
        Ok(Self {
            repositories,
            selection: listed(&arguments.tags)?,
            referrers: referrers::types(&arguments.referrers.referrers)?,
            check: arguments.check,
            access: resolve(arguments.access, &arguments.network, environment, "--")?,
            quiet: arguments.talk.quiet,
        })
    }
}
