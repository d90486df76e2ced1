//! Manifests by tag and digest, and the referrers of one.

use serde_json::{Value, json};

use super::settings::{Deletes, Dialect, Referrers, Subjects, Untagged};
use super::store::{Repository, World};
use super::{Call, sparse};
use crate::support::content::{Manifest, OCI_INDEX, sha256};
use crate::support::wire::Answer;

const LARGEST: usize = 4 << 20;

pub(super) fn read(world: &World, call: &Call, (repository, reference): (&str, &str)) -> Answer {
    let Some(found) = world.repositories.get(repository) else {
        return Answer::error(404, "NAME_UNKNOWN", &json!({ "name": repository }));
    };
    let unknown = || Answer::error(404, "MANIFEST_UNKNOWN", &json!({ "reference": reference }));
    let Some(manifest) = found.manifest(reference) else {
        return unknown();
    };
    if accepts(call, &manifest.media_type) {
        return answer(manifest);
    }
    let converts = world.settings.dialect == Dialect::Quay && !reference.contains(':');
    let child = converts.then(|| amd64_child(found, manifest)).flatten();
    child.map_or_else(unknown, answer)
}

fn answer(manifest: &Manifest) -> Answer {
    Answer::new(200)
        .body(&manifest.media_type, manifest.bytes.clone())
        .header("Docker-Content-Digest", manifest.digest())
        .header("ETag", format!("\"{}\"", manifest.digest()))
}

fn accepts(call: &Call, media_type: &str) -> bool {
    let lines = call.headers.get_all("accept").iter();
    let mut types = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    types.any(|word| word.split(';').next().unwrap_or_default().trim() == media_type)
}

fn amd64_child<'a>(repository: &'a Repository, manifest: &Manifest) -> Option<&'a Manifest> {
    let json: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let mut children = json["manifests"].as_array()?.iter();
    let child = children.find(|child| child["platform"]["architecture"] == "amd64")?;
    repository.manifests.get(child["digest"].as_str()?)
}

pub(super) fn write(
    world: &mut World,
    call: &Call,
    (repository, reference): (&str, &str),
) -> Answer {
    let digest = sha256(&call.body);
    if reference.contains(':') && reference != digest {
        return Answer::error(
            400,
            "DIGEST_INVALID",
            &json!(format!("{digest} is not {reference}")),
        );
    }
    if call.body.len() > LARGEST {
        return Answer::error(413, "SIZE_INVALID", &json!({}));
    }
    let Ok(json) = serde_json::from_slice::<Value>(&call.body) else {
        return Answer::error(400, "MANIFEST_INVALID", &json!("not JSON"));
    };
    let media_type = call.header("content-type").unwrap_or_default();
    if json["mediaType"]
        .as_str()
        .is_some_and(|named| named != media_type)
    {
        return Answer::error(
            400,
            "MANIFEST_INVALID",
            &json!("the media type is another one"),
        );
    }
    let settings = &world.settings;
    let empty = Repository::default();
    let found = world.repositories.get(repository).unwrap_or(&empty);
    if let Some(refusal) = sparse::refuse(settings, found, (reference, &json)) {
        return refusal;
    }
    let subject = json["subject"]["digest"].as_str();
    let lacks_subject = subject.is_some_and(|subject| !found.manifests.contains_key(subject));
    if lacks_subject && settings.subjects == Subjects::Needed {
        return Answer::error(400, "MANIFEST_INVALID", &json!("the subject is not there"));
    }
    let (untagged, referrers) = (settings.untagged, settings.referrers);
    let found = world.repositories.entry(repository.to_owned()).or_default();
    let before = found.store(reference, Manifest::new(media_type, call.body.clone()));
    if let (Some(before), Untagged::Dropped) = (before, untagged) {
        drop_unless_used(found, &before);
    }
    let answer = Answer::new(201)
        .header("Location", format!("/v2/{repository}/manifests/{digest}"))
        .header("Docker-Content-Digest", digest);
    match json["subject"]["digest"].as_str() {
        Some(subject) if matches!(referrers, Referrers::Served | Referrers::Paged(_)) => {
            answer.header("OCI-Subject", subject)
        }
        _ => answer,
    }
}

fn drop_unless_used(repository: &mut Repository, digest: &str) {
    let tagged = repository.tags.values().any(|tagged| tagged == digest);
    let named = repository.manifests.values().any(|manifest| {
        let json: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        let mut children = json["manifests"].as_array().into_iter().flatten();
        children.any(|child| child["digest"] == digest)
    });
    if !tagged && !named {
        repository.manifests.remove(digest);
    }
}

pub(super) fn delete(world: &mut World, repository: &str, reference: &str) -> Answer {
    let (deletes, untagged) = (world.settings.deletes, world.settings.untagged);
    let by_tag = !reference.contains(':');
    match deletes {
        Deletes::Off => return Answer::error(405, "UNSUPPORTED", &json!({})),
        Deletes::DigestOnly if by_tag => return Answer::error(400, "DIGEST_INVALID", &json!({})),
        _ => {}
    }
    let unknown = || Answer::error(404, "MANIFEST_UNKNOWN", &json!({ "reference": reference }));
    let Some(found) = world.repositories.get_mut(repository) else {
        return unknown();
    };
    if by_tag {
        let Some(digest) = found.tags.remove(reference) else {
            return unknown();
        };
        if untagged == Untagged::Dropped {
            drop_unless_used(found, &digest);
        }
        return Answer::new(202);
    }
    if !found.manifests.contains_key(reference) {
        return unknown();
    }
    if deletes != Deletes::KeepDigest {
        found.manifests.remove(reference);
    }
    if deletes != Deletes::KeepTags {
        found.tags.retain(|_, digest| digest != reference);
    }
    Answer::new(202)
}

pub(super) fn referrers(world: &World, call: &Call, (repository, digest): (&str, &str)) -> Answer {
    let settings = world.settings.referrers;
    let found = world.repositories.get(repository);
    let known = found.is_some_and(|found| found.manifests.contains_key(digest));
    match settings {
        Referrers::Absent => return Answer::new(404).body("text/plain", "404 page not found"),
        Referrers::Quay if !known => return Answer::error(400, "MANIFEST_UNKNOWN", &json!({})),
        _ => {}
    }
    let wanted = call.parameter("artifactType");
    let wanted = wanted.filter(|_| !matches!(settings, Referrers::Paged(_)));
    let manifests = found.into_iter().flat_map(|found| found.manifests.values());
    let entries = manifests.filter_map(|manifest| referrer(manifest, digest));
    let entries =
        entries.filter(|entry| wanted.is_none_or(|wanted| entry["artifactType"] == wanted));
    let entries: Vec<Value> = entries.collect();
    let first: usize = call
        .parameter("from")
        .map_or(0, |from| from.parse().expect("a number"));
    let size = match settings {
        Referrers::Paged(size) => size,
        _ => usize::MAX,
    };
    let rest = entries.get(first..).unwrap_or_default();
    let page = &rest[..size.min(rest.len())];
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page});
    let mut answer = Answer::new(200).body(OCI_INDEX, index.to_string());
    if wanted.is_some() {
        answer = answer.header("OCI-Filters-Applied", "artifactType");
    }
    if page.len() == rest.len() {
        return answer;
    }
    let next = format!("<{}?from={}>; rel=\"next\"", call.path, first + size);
    answer.header("Link", next)
}

/// The entry for a manifest whose subject is `digest`.
fn referrer(manifest: &Manifest, digest: &str) -> Option<Value> {
    let text = std::str::from_utf8(&manifest.bytes).ok()?;
    // Most do not even name it, and are not worth parsing.
    let json: Value = serde_json::from_str(text.contains(digest).then_some(text)?).ok()?;
    if json["subject"]["digest"] != digest {
        return None;
    }
    let kind = json["artifactType"]
        .as_str()
        .or_else(|| json["config"]["mediaType"].as_str());
    Some(json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest(),
        "size": manifest.bytes.len(),
        "artifactType": kind,
        "annotations": json["annotations"],
    }))
}
