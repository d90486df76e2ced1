//! Signatures as cosign makes them: ECDSA P-256 over a simple-signing payload, kept under `sha256-<hex>.sig`
//! (cosign, "Signature Specifications"). Made and checked here, since Debian's skopeo has sigstore compiled out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::content::{Manifest, OCI_CONFIG, OCI_MANIFEST, sha256};
use super::docker_registry::DockerRegistry;
use super::image::{Bundle, Layout, list_tag};
use super::registry::FakeRegistry;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What stands before the point of a public key on P-256 (RFC 5480).
const SUBJECT_PUBLIC_KEY_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Where images and signatures are read.
pub(crate) enum Held<'a> {
    Fake(&'a FakeRegistry, &'a str),
    Docker(&'a DockerRegistry, &'a str),
    Layout(&'a Layout),
}

impl Held<'_> {
    pub(crate) fn manifest(&self, reference: &str) -> Option<Manifest> {
        match self {
            Self::Fake(registry, repository) => registry.store.manifest(repository, reference),
            Self::Docker(registry, repository) => registry.client().manifest(repository, reference),
            Self::Layout(layout) => layout.manifest(reference),
        }
    }

    fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        match self {
            Self::Fake(registry, repository) => {
                let blob = registry.store.blob(repository, digest);
                blob.map(|blob| blob.to_vec())
            }
            Self::Docker(registry, repository) => registry.client().blob(repository, digest),
            Self::Layout(layout) => layout.blob(digest),
        }
    }
}

/// A key that signs.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let key = key.expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random);
        Self(pair.expect("ring reads what it wrote"))
    }

    /// The tag of the signature of the manifest with `digest`.
    pub(crate) fn tag(digest: &str) -> String {
        format!("{}.sig", list_tag(digest))
    }

    /// The signature of the manifest with `digest`.
    pub(crate) fn sign(&self, digest: &str) -> Bundle {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": "registry.example.com/x"},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = Bytes::from(payload.to_string());
        let signed = self.0.sign(&SystemRandom::new(), &payload);
        let signature = STANDARD.encode(signed.expect("a signature"));
        let config = json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(&payload)]},
        });
        let config = Bytes::from(config.to_string());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": sha256(&config), "size": config.len()},
            "layers": [{
                "mediaType": PAYLOAD, "digest": sha256(&payload), "size": payload.len(),
                "annotations": {SIGNATURE: signature},
            }],
        });
        Bundle {
            blobs: vec![config, payload],
            manifests: Vec::new(),
            root: Manifest::new(OCI_MANIFEST, manifest.to_string()),
        }
    }

    /// Whether the manifest that `reference` names is there with a good signature of its digest, as
    /// `cosign verify` checks it; else what is wrong.
    pub(crate) fn verify(&self, held: &Held<'_>, reference: &str) -> Result<(), String> {
        let image = held.manifest(reference).ok_or("the image is not there")?;
        let digest = image.digest();
        let tag = Self::tag(&digest);
        let signatures = held.manifest(&tag).ok_or_else(|| format!("no {tag}"))?;
        let layers = signatures.json()["layers"].as_array().cloned();
        let layer = layers.and_then(|layers| layers.into_iter().next());
        let layer = layer.ok_or("no layer")?;
        let payload = held.blob(layer["digest"].as_str().unwrap_or_default());
        let payload = payload.ok_or("the payload is not there")?;
        if layer["digest"] != sha256(&payload) {
            return Err("the payload is altered".to_owned());
        }
        let signature = layer["annotations"][SIGNATURE].as_str().unwrap_or_default();
        let signature = STANDARD.decode(signature).map_err(|why| why.to_string())?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.0.public_key().as_ref());
        let verified = key.verify(&payload, &signature);
        verified.map_err(|_| "the signature is not good".to_owned())?;
        let payload: Value = serde_json::from_slice(&payload).map_err(|why| why.to_string())?;
        let signed = &payload["critical"]["image"]["docker-manifest-digest"];
        if *signed == digest {
            Ok(())
        } else {
            Err(format!("{signed} is signed, {digest} is served"))
        }
    }

    /// The public key as cosign reads it.
    pub(crate) fn public_key(&self) -> String {
        let key = [&SUBJECT_PUBLIC_KEY_INFO, self.0.public_key().as_ref()].concat();
        let text = STANDARD.encode(key);
        let (first, second) = text.split_at(64);
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }
}
