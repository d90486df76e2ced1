//! An archive that leaves something out arrives: is all of that really there? Nothing is written before
//! that is known.

mod needs;

use std::collections::{BTreeMap, BTreeSet};

use self::needs::{Needs, recorded};
use super::TagJob;
use crate::bounded::try_all;
use crate::endpoint::{BlobFallback, Endpoint, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::image::platform::Wanted;
use crate::image::referrers::Types;
use crate::inventory::difference::{Difference, LeftOut, Origin, Part};
use crate::options::{self, Mode};
use crate::reference::{Reference, RegistryReference, Role, is_tag};
use crate::sanitize::{plural, word};

/// A question that waits takes memory, more than its part does: so many are there at a time.
const PLANNED: usize = 1024;
/// So many are named in an error; the report has all of them.
const NAMED_PARTS: usize = 5;
/// So many tags are named in a command; of more, all are asked for.
const NAMED_TAGS: usize = 20;

/// What a run copies of an archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selected<'a> {
    pub tags: &'a [TagJob],
    /// What becomes of their indexes.
    pub mode: Mode,
    /// The platforms asked for.
    pub wanted: &'a Wanted,
    /// The types of what refers to images that comes along.
    pub referrers: Option<&'a Types>,
}

/// `source`, which reads the parts that it leaves out of what is `selected` from `destination` or from other repositories
/// of its registry, which `open` opens. A source that leaves nothing out is returned unchanged.
///
/// # Errors
///
/// `not-found` where something is at neither place; [`Event::Lacking`] has all of it. Or why that could not
/// be found out.
pub(crate) async fn complete(
    source: Endpoint,
    destination: (&Reference, &Endpoint),
    selected: &Selected<'_>,
    (open, events): (impl Fn(&Reference) -> Result<Endpoint>, &Events),
) -> Result<Endpoint> {
    let Some(difference) = source.difference().await? else {
        return Ok(source);
    };
    let parts = recorded(difference, selected.tags);
    let mut endpoints = vec![destination.1.clone()];
    let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
    for (number, place) in difference.places.iter().enumerate() {
        if let Some(repository) = neighbour(destination.0, place) {
            numbers.insert(number, endpoints.len());
            endpoints.push(open(&Reference::Registry(repository))?);
        }
    }
    let mut looked: Vec<(&LeftOut, Option<usize>)> = Vec::new();
    for some in parts.chunks(PLANNED) {
        let asked = some.iter().map(async |part| {
            let others = part.places.iter().filter_map(|place| numbers.get(place));
            for number in std::iter::once(&0).chain(others) {
                let Some(fallback) = endpoints.get(*number) else {
                    continue;
                };
                if holds(fallback, part).await? {
                    return Ok((*part, Some(*number)));
                }
            }
            Ok::<_, Error>((*part, None))
        });
        looked.extend(try_all(asked).await?);
    }
    let mut fallback = BlobFallback::by(endpoints.clone());
    for (part, number) in &looked {
        if let Some(number) = number {
            fallback.add(part.digest.clone(), *number);
        }
    }
    let completed = source.clone().completed_by(fallback);
    if looked.iter().all(|(_, number)| number.is_some()) {
        return Ok(completed);
    }
    // Not all that is gone is wanted: what is there tells which platform a part is of.
    let needs = Needs::read(&completed, selected, events).await?;
    let gone = looked.iter().filter(|(_, number)| number.is_none());
    let lacking = needs.among(gone.map(|(part, _)| *part));
    if lacking.is_empty() {
        return Ok(completed);
    }
    let needed = needs.among(looked.iter().map(|(part, _)| *part)).len();
    let places = (&source, destination);
    let error = refused((difference, selected), (&lacking, needed), places);
    events.send(Event::Lacking(lacking));
    Err(error)
}

/// The repository that `place` names, where it is another one of the destination's registry.
fn neighbour(destination: &Reference, place: &str) -> Option<RegistryReference> {
    let Reference::Registry(destination) = destination else {
        return None;
    };
    let Ok(Reference::Registry(place)) = Reference::parse(place, Role::Source) else {
        return None;
    };
    let other = place.host == destination.host && place.repository != destination.repository;
    other.then_some(place)
}

async fn holds(place: &Endpoint, part: &LeftOut) -> Result<bool> {
    match part.part {
        Part::Manifest => {
            let target = Target::Digest(part.digest.clone());
            Ok(place.head(&target).await?.is_some())
        }
        Part::Blob => place.has_blob(&part.descriptor()).await,
    }
}

/// The error of an archive that cannot be completed.
fn refused(
    (difference, selected): (&Difference, &Selected<'_>),
    (lacking, needed): (&[LeftOut], usize),
    (source, destination): (&Endpoint, (&Reference, &Endpoint)),
) -> Error {
    let tags: BTreeSet<&str> = lacking
        .iter()
        .flat_map(|part| part.tags.iter().map(String::as_str))
        .collect();
    let named: Vec<String> = lacking
        .iter()
        .take(NAMED_PARTS)
        .map(|part| format!("{} {}", part.part.name(), part.digest))
        .collect();
    let more = match lacking.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let sizes = lacking.iter().map(|part| part.size);
    let bytes = sizes.fold(0, u64::saturating_add);
    let cause = format!(
        "the archive leaves out what {} had, but {destination} lacks {} of the {needed} parts that this run needs, {bytes} bytes of {}: {}{more}; nothing was written",
        difference.places.join(", "),
        lacking.len(),
        plural(tags.len() as u64, "tag"),
        named.join(", "),
        destination = destination.1,
    );
    let origin = asked_for(&difference.origin, selected);
    let referrers = selected.referrers.map(Types::option);
    let outside = whole_command((&origin, referrers.as_deref()), &tags);
    let inside = arrival_command((&origin, referrers.as_deref()), destination.0);
    Error::new(Kind::NotFound, "complete", source)
        .because(cause)
        .hint(format!(
            "bring it in an archive that is whole: outside `{outside}`, inside `{inside}`, then this one again; or make another difference from a new `barge inventory --check`"
        ))
}

/// What makes an archive of that which is selected: the platforms that were asked for now, where any were.
fn asked_for(origin: &Origin, selected: &Selected<'_>) -> Origin {
    if selected.wanted.selectors().next().is_none() {
        return origin.clone();
    }
    let mode = options::name(&selected.mode);
    Origin::of(origin.source.clone(), selected.wanted, mode)
}

/// The command that takes such an archive in.
fn arrival_command(
    (origin, referrers): (&Origin, Option<&str>),
    destination: &Reference,
) -> String {
    let mut words = vec!["barge copy --all-tags --recheck blobs".to_owned()];
    if origin.mode == options::name(&Mode::SparseIndex) {
        // Of a sparse index no more than is there can be asked for.
        words.extend(platform_words(origin));
    }
    words.extend(referrers.map(word));
    words.push("oci-archive:whole.tar".to_owned());
    words.push(word(&destination.place().to_string()));
    words.join(" ")
}

/// The options that ask for the platforms of `origin`, if it is of some alone.
fn platform_words(origin: &Origin) -> Vec<String> {
    let platforms = [
        ("--arch", &origin.arch),
        ("--require-arch", &origin.require_arch),
    ];
    let some = platforms.iter().filter(|(_, values)| !values.is_empty());
    let mut words: Vec<String> = some
        .map(|(option, values)| format!("{option} {}", word(&values.join(","))))
        .collect();
    if !words.is_empty() {
        words.push(format!("--mode {}", word(&origin.mode)));
    }
    words
}

/// The command that makes an archive with everything of these tags.
fn whole_command((origin, referrers): (&Origin, Option<&str>), tags: &BTreeSet<&str>) -> String {
    let tags: Vec<&str> = tags.iter().copied().collect();
    let few = tags.len() <= NAMED_TAGS && tags.iter().all(|tag| is_tag(tag));
    let mut words = vec!["barge copy".to_owned()];
    words.push(if few {
        format!("--tag-glob {}", word(&tags.join(",")))
    } else {
        "--all-tags".to_owned()
    });
    words.extend(platform_words(origin));
    words.extend(referrers.map(word));
    words.push(word(&origin.source));
    words.push("oci-archive:whole.tar".to_owned());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_what_is_affected() {
        let mut origin = Origin {
            source: "docker://h.io/a".into(),
            arch: Vec::new(),
            require_arch: Vec::new(),
            mode: "all".into(),
        };
        let command = |origin: &Origin, tags: &[&str]| {
            let tags = tags.iter().copied().collect();
            whole_command((origin, None), &tags)
        };
        assert_eq!(
            command(&origin, &["v2", "v1"]),
            "barge copy --tag-glob v1,v2 docker://h.io/a oci-archive:whole.tar"
        );
        origin.arch = vec!["arm64".into(), "amd64".into()];
        origin.mode = "sparse-index".into();
        origin.source = "oci:a b".into();
        assert_eq!(
            command(&origin, &["v*"]),
            "barge copy --all-tags --arch arm64,amd64 --mode sparse-index 'oci:a b' oci-archive:whole.tar"
        );
    }

    #[test]
    fn only_the_destinations_registry_lends() {
        let destination = Reference::parse("docker://h.io/a", Role::Destination).expect("one");
        let name = |place| neighbour(&destination, place).map(|place| place.repository);
        assert_eq!(name("docker://h.io/b"), Some("b".into()));
        for place in ["docker://h.io/a", "docker://evil.io/b", "oci:b", "::"] {
            assert_eq!(name(place), None, "{place}");
        }
    }
}
