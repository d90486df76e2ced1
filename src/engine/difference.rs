//! An archive that leaves something out arrives: is all of that really there? Nothing is written before
//! that is known.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::TagJob;
use crate::endpoint::{Endpoint, Lent, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::inventory::difference::{Difference, LeftOut, Origin, Part};
use crate::printable::{plural, word};
use crate::reference::{Reference, RegistryReference, Role, is_tag};

/// Parts that are asked for together.
const AT_ONCE: usize = 64;
/// So many are named in an error; the report has all of them.
const NAMED_PARTS: usize = 5;
/// So many tags are named in a command; of more, all are asked for.
const NAMED_TAGS: usize = 20;

/// `source` with what it leaves out of `tags` lent by `destination`, or by other repositories of its
/// registry, which `open` opens; a source that leaves nothing out is as it was.
///
/// # Errors
///
/// `not-found` where something is at neither place; [`Event::Lacking`] has all of it. Or why that could not
/// be found out.
pub async fn complete(
    source: Endpoint,
    destination: (&Reference, &Endpoint),
    tags: &[TagJob],
    (open, events): (impl Fn(&Reference) -> Result<Endpoint>, &Events),
) -> Result<Endpoint> {
    let Some(difference) = source.difference().await? else {
        return Ok(source);
    };
    let parts = needed(difference, tags);
    let mut lenders = vec![destination.1.clone()];
    let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
    for (number, place) in difference.places.iter().enumerate() {
        if let Some(repository) = neighbour(destination.0, place) {
            numbers.insert(number, lenders.len());
            lenders.push(open(&Reference::Registry(repository))?);
        }
    }
    let looked = parts.into_iter().map(async |part| {
        let others = part.places.iter().filter_map(|place| numbers.get(place));
        for number in std::iter::once(&0).chain(others) {
            let Some(lender) = lenders.get(*number) else {
                continue;
            };
            if holds(lender, part).await? {
                return Ok((part, Some(*number)));
            }
        }
        Ok::<_, Error>((part, None))
    });
    let looked: Vec<_> = looked.collect();
    let looked: Vec<(&LeftOut, Option<usize>)> =
        stream::iter(looked).buffered(AT_ONCE).try_collect().await?;
    let lacking = looked.iter().filter(|(_, lender)| lender.is_none());
    let lacking: Vec<LeftOut> = lacking.map(|(part, _)| LeftOut::clone(part)).collect();
    if !lacking.is_empty() {
        let error = refused(difference, &lacking, (&source, destination.1));
        events.send(Event::Lacking(lacking));
        return Err(error);
    }
    let mut lent = Lent::by(lenders.clone());
    for (part, lender) in looked {
        lent.add(part.digest.clone(), lender.unwrap_or_default());
    }
    Ok(source.completed_by(lent))
}

/// What is left out of these tags; of an image by digest it is not known which tag's it is.
fn needed<'a>(difference: &'a Difference, tags: &[TagJob]) -> Vec<&'a LeftOut> {
    let names: BTreeSet<String> = tags.iter().map(|tag| tag.source.to_string()).collect();
    let by_digest = tags
        .iter()
        .any(|tag| matches!(tag.source, Target::Digest(_)));
    let parts = difference.parts.iter();
    parts
        .filter(|part| by_digest || !part.tags.is_disjoint(&names))
        .collect()
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
    difference: &Difference,
    lacking: &[LeftOut],
    (source, destination): (&Endpoint, &Endpoint),
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
    let bytes: u64 = lacking.iter().map(|part| part.size).sum();
    let cause = format!(
        "the archive leaves out what {} had, but {destination} lacks {} of {}, {bytes} bytes of {}: {}{more}; nothing was written",
        difference.places.join(", "),
        lacking.len(),
        plural(difference.parts.len() as u64, "part"),
        plural(tags.len() as u64, "tag"),
        named.join(", "),
    );
    let command = whole_command(&difference.origin, &tags);
    Error::new(Kind::NotFound, "complete", source)
        .because(cause)
        .hint(format!(
            "bring it in an archive that is whole: outside `{command}`, inside copy that with --recheck blobs, then this one again; or make another difference from a new `barge inventory --check`"
        ))
}

/// The command that makes an archive with everything of these tags.
fn whole_command(origin: &Origin, tags: &BTreeSet<&str>) -> String {
    let tags: Vec<&str> = tags.iter().copied().collect();
    let few = tags.len() <= NAMED_TAGS && tags.iter().all(|tag| is_tag(tag));
    let mut words = vec!["barge copy".to_owned()];
    words.push(if few {
        format!("--tag-glob {}", word(&tags.join(",")))
    } else {
        "--all-tags".to_owned()
    });
    let platforms = [
        ("--arch", &origin.arch),
        ("--require-arch", &origin.require_arch),
    ];
    for (option, values) in platforms {
        if !values.is_empty() {
            words.push(format!("{option} {}", word(&values.join(","))));
        }
    }
    if platforms.iter().any(|(_, values)| !values.is_empty()) {
        words.push(format!("--mode {}", word(&origin.mode)));
    }
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
            whole_command(origin, &tags.iter().copied().collect::<BTreeSet<_>>())
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
