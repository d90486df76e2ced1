//! The fake refuses and takes incomplete indexes in the words of the registries in the field.

use crate::support::client::{Client, Reply};
use crate::support::image::{Attestations, MultiArch};
use crate::support::registry::{
    Deletes, Dialect, EmptyList, FakeRegistry, Paging, Referrers, Settings, Sparse, SparseHeader,
    Untagged,
};

/// A registry with all of an index but its arm64 child, and the answer to the index by tag and by digest.
fn put(settings: Settings) -> (FakeRegistry, MultiArch, [Reply; 2]) {
    let registry = FakeRegistry::start_with(settings);
    let image = MultiArch::standard(&["amd64", "arm64"], Attestations::Without, 7);
    image.push_to(&registry, "x:1");
    registry
        .store
        .remove_manifest("x", &image.image("arm64").digest());
    registry.store.remove_manifest("x", &image.digest());
    let client = Client::new(&registry.host(), None);
    let put = |reference: &str| {
        let headers = [("Content-Type", image.root.media_type.as_str())];
        let line = format!("PUT /v2/x/manifests/{reference}");
        client
            .request(&line, &headers, &image.root.bytes)
            .expect("an answer")
    };
    let replies = [put("1"), put(&image.digest())];
    (registry, image, replies)
}

fn error(reply: &Reply) -> serde_json::Value {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("errors are JSON");
    body["errors"][0].clone()
}

fn support_header(registry: &FakeRegistry) -> Option<String> {
    let reply = Client::new(&registry.host(), None)
        .request("GET /v2/", &[], b"")
        .expect("an answer");
    reply.header("x-sparse-manifest-support").map(str::to_owned)
}

#[test]
fn a_strict_registry_names_the_missing_child() {
    let (registry, image, [tag, digest]) = put(Settings::default());
    assert_eq!((tag.status, digest.status), (400, 400));
    assert_eq!(error(&tag)["code"], "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(error(&tag)["detail"], image.image("arm64").digest());
    assert_eq!(support_header(&registry), None);
    assert_eq!(registry.store.manifest("x", "1"), None);
}

#[test]
fn quay_without_the_feature_tells_by_tag_only() {
    let (registry, image, [tag, digest]) = put(Settings::quay(Sparse::Off));
    let message = error(&tag)["detail"]["message"].clone();
    let expected = format!(
        "Could not find child manifest with digest `{}`",
        image.image("arm64").digest()
    );
    assert_eq!(message, expected);
    assert_eq!(
        (digest.status, error(&digest)["detail"].clone()),
        (400, serde_json::json!({}))
    );
    assert_eq!(support_header(&registry).as_deref(), Some("false"));
}

#[test]
fn required_architectures_decide() {
    let required = |names: &[&str], empty| Sparse::Required {
        architectures: names.iter().map(|name| (*name).to_owned()).collect(),
        empty,
    };
    for (sparse, status) in [
        (Sparse::On, 201),
        (required(&["amd64"], EmptyList::RequiresEverything), 201),
        (required(&["arm64"], EmptyList::RequiresNothing), 400),
        (required(&[], EmptyList::RequiresNothing), 201),
        (required(&[], EmptyList::RequiresEverything), 400),
    ] {
        let (registry, image, [tag, digest]) = put(Settings::quay(sparse.clone()));
        assert_eq!((tag.status, digest.status), (status, status), "{sparse:?}");
        assert_eq!(support_header(&registry).as_deref(), Some("true"));
        let stored = registry.store.manifest("x", "1");
        assert_eq!(
            stored.is_some_and(|stored| stored == image.root),
            status == 201
        );
    }
}

#[test]
fn other_dialects_have_their_own_words() {
    for (dialect, status, code) in [
        (Dialect::Crane, 404, "MANIFEST_UNKNOWN"),
        (Dialect::Zot, 400, "MANIFEST_INVALID"),
        (Dialect::Olareg, 400, "MANIFEST_BLOB_UNKNOWN"),
    ] {
        let settings = Settings {
            dialect,
            sparse_header: SparseHeader::Sent,
            ..Settings::default()
        };
        let (_, _, [tag, _]) = put(settings);
        assert_eq!(
            (tag.status, error(&tag)["code"].as_str()),
            (status, Some(code))
        );
    }
}

#[test]
fn tags_come_in_every_paging() {
    let registry = FakeRegistry::start();
    let image = MultiArch::standard(&["amd64"], Attestations::Without, 7);
    for tag in ["a1", "b2", "c3"] {
        image.push_to(&registry, &format!("x:{tag}"));
    }
    let client = Client::new(&registry.host(), None);
    let host = registry.host();
    for (paging, count, link) in [
        (
            Paging::Relative,
            2,
            Some("</v2/x/tags/list?last=b2&n=2>; rel=\"next\"".to_owned()),
        ),
        (
            Paging::Absolute,
            2,
            Some(format!(
                "<http://{host}/v2/x/tags/list?last=b2&n=2>; rel=\"next\""
            )),
        ),
        (
            Paging::Unquoted,
            2,
            Some("</v2/x/tags/list?last=b2&n=2>; rel=next".to_owned()),
        ),
        (Paging::Cut, 2, None),
        (Paging::All, 3, None),
        (
            Paging::Fixed(1),
            1,
            Some("</v2/x/tags/list?n=1&next_page=n6>; rel=\"next\"".to_owned()),
        ),
        (Paging::Null, 0, None),
    ] {
        registry.configure(|settings| settings.paging = paging);
        let reply = client
            .request("GET /v2/x/tags/list?n=2", &[], b"")
            .expect("an answer");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(
            body["tags"].as_array().map_or(0, Vec::len),
            count,
            "{paging:?}"
        );
        assert_eq!(reply.header("link").map(str::to_owned), link, "{paging:?}");
    }
    registry.configure(|settings| settings.paging = Paging::Fixed(1));
    let next = client
        .request("GET /v2/x/tags/list?n=1&next_page=n6", &[], b"")
        .expect("an answer");
    assert!(String::from_utf8_lossy(&next.body).contains("b2"));
    let unknown = client
        .request("GET /v2/nobody/tags/list", &[], b"")
        .expect("an answer");
    assert_eq!(
        (unknown.status, error(&unknown)["code"].as_str()),
        (404, Some("NAME_UNKNOWN"))
    );
}

#[test]
fn deletes_go_as_in_the_field() {
    for (deletes, by_tag, by_digest) in [
        (Deletes::Enabled, 202, 202),
        (Deletes::DigestOnly, 400, 202),
        (Deletes::KeepTags, 202, 202),
        (Deletes::KeepDigest, 202, 202),
        (Deletes::Off, 405, 405),
    ] {
        let registry = FakeRegistry::start_with(Settings {
            deletes,
            ..Settings::default()
        });
        let image = MultiArch::standard(&["amd64"], Attestations::Without, 7);
        image.push_to(&registry, "x:1");
        image.push_to(&registry, "x:2");
        let client = Client::new(&registry.host(), None);
        let delete = |reference: &str| {
            let line = format!("DELETE /v2/x/manifests/{reference}");
            client.request(&line, &[], b"").expect("an answer").status
        };
        assert_eq!(delete("1"), by_tag, "{deletes:?}");
        assert_eq!(
            registry.store.tags("x").len(),
            if by_tag == 202 { 1 } else { 2 },
            "{deletes:?}"
        );
        assert_eq!(delete(&image.digest()), by_digest, "{deletes:?}");
        let kept = matches!(deletes, Deletes::KeepDigest | Deletes::Off);
        assert_eq!(
            registry.store.manifest("x", &image.digest()).is_some(),
            kept,
            "{deletes:?}"
        );
    }
}

#[test]
fn untagged_manifests_and_referrers() {
    let settings = Settings {
        untagged: Untagged::Dropped,
        referrers: Referrers::Served,
        ..Settings::default()
    };
    let registry = FakeRegistry::start_with(settings);
    let client = Client::new(&registry.host(), None);
    let [old, new] =
        [1, 2].map(|seed| MultiArch::standard(&["amd64"], Attestations::Without, seed));
    old.push_to(&registry, "x:1");
    new.push_to(&registry, "x:2");
    client.put_manifest("x", "1", &new.root);
    assert_eq!(registry.store.manifest("x", &old.digest()), None);
    assert!(
        registry
            .store
            .manifest("x", &old.image("amd64").digest())
            .is_some()
    );

    let subject = serde_json::json!({"digest": new.digest(), "size": 1, "mediaType": "a/b"});
    let signature = crate::support::image::ImageSpec::new("unknown", "unknown")
        .field("subject", subject)
        .build();
    registry.store.put_blob("x", signature.config.clone());
    client.put_manifest("x", &signature.digest(), &signature.manifest);
    let line = format!("GET /v2/x/referrers/{}", new.digest());
    let reply = client.request(&line, &[], b"").expect("an answer");
    let index: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(index["manifests"][0]["digest"], signature.digest());
}
