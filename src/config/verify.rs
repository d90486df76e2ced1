//! `barge verify`, resolved.

use super::access::{resolve, source};
use super::{Access, Environment, Output, output, patterns, referrers, selectors};
use crate::cli::VerifyArgs;
use crate::error::{Error, Result};
use crate::image::platform::Wanted;
use crate::image::referrers::Types;
use crate::options::Depth;
use crate::reference::{Reference, Role};
use crate::select::Selection;

#[derive(Debug)]
pub struct VerifyConfig {
    /// What is looked at.
    pub reference: Reference,
    /// What it is compared with.
    pub against: Option<Reference>,
    /// Which tags; `None`: the one that the references name.
    pub selection: Option<Selection>,
    /// The platforms asked for; none of them: all.
    pub wanted: Wanted,
    /// The types of what refers to images that is looked at too; `None`: nothing is.
    pub referrers: Option<Types>,
    /// How far blobs are looked into.
    pub depth: Depth,
    /// Blobs that are read at once.
    pub jobs: usize,
    /// How `reference` is reached.
    pub access: Access,
    /// How `against` is reached.
    pub source_access: Access,
    pub output: Output,
}

impl VerifyConfig {
    /// Checks `arguments`.
    ///
    /// # Errors
    ///
    /// A usage error that says what is wrong.
    pub fn new(arguments: VerifyArgs, environment: &Environment) -> Result<Self> {
        let reference = Reference::parse(&arguments.reference, Role::Source)?;
        let against = arguments.against.as_deref();
        let against = against
            .map(|text| Reference::parse(text, Role::Source))
            .transpose()?;
        if reference.is_standard() && against.as_ref().is_some_and(Reference::is_standard) {
            return Err(Error::usage(
                "REFERENCE and --against both name standard input, which can be read once",
            ));
        }
        let selection = Selection::compile(&patterns(&arguments.tags))?;
        if selection.is_some() {
            refuse_names([
                ("REFERENCE", Some(&reference)),
                ("SOURCE", against.as_ref()),
            ])?;
        }
        let network = &arguments.network;
        let jobs = usize::from(arguments.jobs);
        let source_access = source(arguments.source_access, &arguments.access);
        Ok(Self {
            reference,
            against,
            selection,
            wanted: Wanted {
                platforms: selectors(&arguments.arch, "--arch")?,
                required: selectors(&arguments.require_arch, "--require-arch")?,
            },
            referrers: referrers::types(&arguments.referrers.referrers)?,
            depth: if arguments.deep {
                Depth::Content
            } else {
                Depth::Presence
            },
            jobs,
            source_access: resolve(source_access, network, environment, "--src-")?,
            access: resolve(arguments.access, network, environment, "--")?.for_jobs(jobs),
            output: output(&arguments.output),
        })
    }
}

/// Where tag options select, no reference may name a tag.
fn refuse_names(references: [(&str, Option<&Reference>); 2]) -> Result<()> {
    for (role, reference) in references {
        let Some(reference) = reference else { continue };
        let digest = reference.digest().map(ToString::to_string);
        let is_repository = reference.repository_in_file().is_some();
        let named = reference.tag().filter(|_| !is_repository);
        if let Some(name) = named.map(str::to_owned).or(digest) {
            return Err(Error::usage(format!(
                "{role} names `{name}`, and the tag options select tags; leave one of them out"
            )));
        }
    }
    Ok(())
}
