//! Whether an index or image may be stored though something that it names is missing, and the words of the refusal.

use serde_json::{Value, json};

use super::settings::{Dialect, EmptyList, Settings, Sparse, SparseHeader};
use super::store::Repository;
use crate::support::wire::Answer;

/// Adds Quay's header to the answer of `/v2/` where it is to be sent.
pub(super) fn announce(settings: &Settings, answer: Answer) -> Answer {
    match settings.sparse_header {
        SparseHeader::Absent => answer,
        SparseHeader::Sent => {
            let taken = !matches!(settings.sparse, Sparse::Off);
            answer.header("X-Sparse-Manifest-Support", taken.to_string())
        }
    }
}

/// The refusal of a manifest that names what `repository` lacks and must have.
pub(super) fn refuse(
    settings: &Settings,
    repository: &Repository,
    (reference, manifest): (&str, &Value),
) -> Option<Answer> {
    let empty = Vec::new();
    let children = manifest["manifests"].as_array().unwrap_or(&empty);
    if settings.dialect == Dialect::Quay {
        let wrong = children
            .iter()
            .find_map(|child| wrong_size(repository, child));
        if let Some(message) = wrong {
            return Some(Answer::error(
                400,
                "MANIFEST_INVALID",
                &json!({ "message": message }),
            ));
        }
    }
    let is_child = |entry: &&Value| requires(&settings.sparse, entry);
    let children = children.iter().filter(is_child).filter_map(digest);
    let children = children.filter(|digest| {
        !repository.manifests.contains_key(*digest) && !repository.blobs.contains_key(*digest)
    });
    let layers = manifest["layers"].as_array().unwrap_or(&empty).iter();
    let pushed = layers
        .filter(|layer| layer["urls"].is_null())
        .chain([&manifest["config"]]);
    let blobs = pushed
        .filter_map(digest)
        .filter(|digest| !repository.blobs.contains_key(*digest));
    let missing: Vec<&str> = children.chain(blobs).collect();
    (!missing.is_empty()).then(|| refusal(settings.dialect, reference, &missing))
}

fn digest(descriptor: &Value) -> Option<&str> {
    descriptor["digest"].as_str()
}

fn requires(sparse: &Sparse, entry: &Value) -> bool {
    match sparse {
        Sparse::Off => true,
        Sparse::On => false,
        Sparse::Required {
            architectures,
            empty,
        } if architectures.is_empty() => *empty == EmptyList::RequiresEverything,
        Sparse::Required { architectures, .. } => {
            let architecture = entry["platform"]["architecture"].as_str();
            architectures
                .iter()
                .any(|required| Some(required.as_str()) == architecture)
        }
    }
}

fn wrong_size(repository: &Repository, entry: &Value) -> Option<String> {
    let real = repository.manifests.get(digest(entry)?)?.bytes.len();
    let said = entry["size"].as_u64()?;
    (said != real as u64)
        .then(|| format!("Size of manifest does not match that retrieved: {said} vs {real}"))
}

fn refusal(dialect: Dialect, reference: &str, missing: &[&str]) -> Answer {
    let first = missing.first().copied().unwrap_or_default();
    let error = |code: &str, message: &str, detail: &str| json!({"code": code, "message": message, "detail": detail});
    match dialect {
        Dialect::Distribution => {
            let one =
                |digest: &&str| error("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", digest);
            Answer::errors(400, &missing.iter().map(one).collect::<Vec<_>>())
        }
        Dialect::Olareg => {
            let one = |digest: &&str| {
                error(
                    "MANIFEST_BLOB_UNKNOWN",
                    "blob unknown to registry",
                    &format!("manifest not found: {digest}"),
                )
            };
            Answer::errors(400, &missing.iter().map(one).collect::<Vec<_>>())
        }
        Dialect::Crane => {
            let message = format!("Sub-manifest {first:?} not found");
            Answer::new(404)
                .json(&json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": message}]}))
        }
        Dialect::Zot => Answer::error(400, "MANIFEST_INVALID", &json!({ "reference": reference })),
        Dialect::Quay if reference.contains(':') => {
            Answer::error(400, "MANIFEST_INVALID", &json!({}))
        }
        Dialect::Quay => {
            let message = format!("Could not find child manifest with digest `{first}`");
            Answer::error(400, "MANIFEST_INVALID", &json!({ "message": message }))
        }
    }
}
