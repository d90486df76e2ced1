//! What images of files are called where they go: REFs and names of `docker save` may be whole names, and a
//! registry has tags.

use std::collections::{BTreeMap, BTreeSet};

use crate::endpoint::{Endpoint, Target};
use crate::engine::{Earlier, TagJob};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;
use crate::reference::{Reference, repository_of, tag_of};
use crate::select::Selection;

/// The names that `reference` has at `place`; of one repository, where it names that.
pub(super) async fn all(place: &Endpoint, reference: &Reference) -> Result<Vec<String>> {
    let names = place.tags().await?;
    let Some(wanted) = reference.repository_in_file() else {
        return Ok(names);
    };
    let mut found = Vec::new();
    let mut others = BTreeSet::new();
    for name in names {
        let repository = place.repository(&Target::Tag(name.clone())).await?;
        if repository.as_ref() == Some(&wanted) {
            found.push(name);
        } else {
            others.extend(repository);
        }
    }
    if found.is_empty() {
        return Err(no_repository(&wanted, &others, reference));
    }
    Ok(found)
}

/// The error of a NAME that no image of a file has.
fn no_repository(wanted: &str, others: &BTreeSet<String>, source: &Reference) -> Error {
    let place = source.place();
    let named: Vec<String> = others
        .iter()
        .map(|name| format!("{place}:{name}"))
        .collect();
    let error = Error::new(Kind::NotFound, "select tags of", source)
        .because(format!("it holds no image of {wanted}"));
    match named.as_slice() {
        [] => error.hint(format!("its images have no repository: write {place}")),
        named => error.hint(format!("name one that it holds: {}", named.join(", "))),
    }
}

/// Those of the `names` of `place` that `selection` selects, by their tags or by their whole names.
pub(super) async fn selected<'a>(
    place: &Endpoint,
    selection: &Selection,
    names: &'a [String],
) -> Result<Vec<&'a String>> {
    let mut whole = BTreeMap::new();
    if place.is_local() && selection.has_whole_names() {
        for name in names {
            if let Some(repository) = place.repository(&Target::Tag(name.clone())).await? {
                whole.insert(name.clone(), format!("{repository}:{}", tag_of(name)));
            }
        }
    }
    Ok(selection.select_called(names, &whole))
}

/// The images of a file that have no name, and are not part of one with a name, as each can be named.
pub(super) async fn unnamed(place: &Endpoint) -> Result<Vec<String>> {
    let images = place.images().await?;
    let (others, mut bare): (Vec<_>, Vec<_>) =
        images.into_iter().partition(|image| image.name.is_some());
    for image in others {
        if bare.is_empty() {
            break;
        }
        let index = place
            .manifest(&Target::Digest(image.digest.clone()))
            .await?;
        let parts = index.iter().flat_map(Manifest::entries);
        let parts: BTreeSet<&Digest> = parts.map(|entry| &entry.digest).collect();
        bare.retain(|image| !parts.contains(&image.digest));
    }
    let names = bare.iter().map(|image| format!("{place}@{}", image.digest));
    Ok(names.collect())
}

/// The repositories of the images that `source`, a file, says them of, by what they are called where they go.
pub(super) async fn repositories(
    source: &Endpoint,
    tags: &[TagJob],
) -> Result<BTreeMap<String, String>> {
    let mut known = BTreeMap::new();
    for tag in tags {
        let Target::Tag(reference) = &tag.destination else {
            continue;
        };
        if let Some(repository) = source.repository(&tag.source).await? {
            known.insert(reference.clone(), repository);
        }
    }
    Ok(known)
}

/// The jobs that bring the images of these names from `source` to `destination`, each under its tag. Files
/// can hold several of one tag by their whole names.
///
/// # Errors
///
/// `conflict` where several have the same tag and the destination can hold one.
pub(super) fn jobs(
    names: &[&String],
    (source, destination): (&Reference, &Reference),
) -> Result<Vec<TagJob>> {
    let mut of_tag: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        of_tag.entry(tag_of(name)).or_default().push(name);
    }
    let takes_whole = matches!(destination, Reference::Layout(_) | Reference::OciArchive(_));
    let mut jobs = Vec::new();
    for (tag, names) in of_tag {
        match names.as_slice() {
            [name] => jobs.push(job(name, tag)),
            names if takes_whole => jobs.extend(names.iter().map(|name| job(name, name))),
            names => return Err(same_tag(names, tag, source)),
        }
    }
    Ok(jobs)
}

fn job(name: &str, tag: &str) -> TagJob {
    TagJob {
        source: Target::Tag(name.to_owned()),
        destination: Target::Tag(tag.to_owned()),
        name: name.to_owned(),
        destination_tag: (tag != name).then(|| tag.to_owned()),
        earlier: Earlier::Nothing,
    }
}

fn same_tag(names: &[&str], tag: &str, source: &Reference) -> Error {
    let place = source.place();
    let repositories = names.iter().filter_map(|name| repository_of(name));
    let choices: Vec<String> = repositories.map(|name| format!("{place}:{name}")).collect();
    let cause = format!(
        "{} of the selected images have the tag {tag}: {}",
        names.len(),
        names.join(", ")
    );
    let hint = match choices.as_slice() {
        [] | [_] => "copy each by itself, to a tag of its own".to_owned(),
        choices => format!(
            "with the same tag options copy one repository at a time, each to its own: {}",
            choices.join(" or ")
        ),
    };
    Error::new(Kind::Conflict, "select tags of", source)
        .because(cause)
        .hint(hint)
}
