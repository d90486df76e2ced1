//! The walk down from a manifest: what an index lists, what nested indexes in it list, and so on.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;

use crate::bounded::{late, try_all};
use crate::error::Result;
use crate::image::manifest::{Descriptor, Manifest};

/// The manifests below `root`, each once, parents before children. `read` reads the manifest of an entry, or
/// returns `None` to pass it over.
pub(crate) async fn below<'a, R>(root: &Manifest, read: R) -> Result<Vec<Manifest>>
where
    R: Fn(Descriptor) -> BoxFuture<'a, Result<Option<Manifest>>> + Sync,
{
    let read = &read;
    let mut seen = BTreeSet::new();
    let mut found = vec![root.clone()];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let entries = parent.entries().to_vec();
        let children = entries.into_iter().map(|entry| late(move || read(entry)));
        for child in try_all(children).await?.into_iter().flatten() {
            if seen.insert(child.digest.clone()) {
                found.push(child);
            }
        }
        next += 1;
    }
    found.remove(0);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::image::digest::Digest;

    fn index(entries: &[&Manifest]) -> Manifest {
        let entries: Vec<String> = entries
            .iter()
            .map(|entry| {
                let size = entry.bytes.len();
                let (kind, digest) = (&entry.media_type, &entry.digest);
                format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
            })
            .collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
            entries.join(",")
        );
        Manifest::parse(text.into(), None).expect("an index")
    }

    #[tokio::test]
    async fn reads_each_manifest_once_behind_its_parent_and_passes_over_what_is_missing() {
        let leaf = index(&[]);
        let nested = index(&[&leaf]);
        let missing = index(&[&nested]);
        let root = index(&[&nested, &leaf, &missing, &leaf]);
        let held: BTreeMap<Digest, Manifest> = [&leaf, &nested]
            .map(|each| (each.digest.clone(), each.clone()))
            .into();
        let held = &held;
        let found = below(&root, |entry| {
            Box::pin(async move { Ok(held.get(&entry.digest).cloned()) })
        });
        let found = found.await.expect("all that is present");
        let digests: Vec<&Digest> = found.iter().map(|each| &each.digest).collect();
        assert_eq!(digests, [&nested.digest, &leaf.digest]);
    }
}
