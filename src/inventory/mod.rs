//! What places hold (`barge inventory`): digests of manifests and blobs, each once a place. Pure.
//!
//! [`difference`] is what an archive that was made with an inventory leaves out.

pub mod difference;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::sanitize;

/// The schema that is written, and the newest that is read.
const SCHEMA: u64 = 1;
/// What the file says that it is.
const KIND: &str = "inventory";

/// What some places hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Each place once, in the order in which they were asked for.
    pub places: Vec<Place>,
}

/// What one place holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The place as a reference without tag: `docker://registry.internal/team/app`.
    pub reference: String,
    pub manifests: BTreeSet<Digest>,
    pub blobs: BTreeSet<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schema: u64,
    kind: String,
    places: Vec<Place>,
}

impl Inventory {
    /// Reads what [`Inventory::text`] wrote; `name` is for errors.
    ///
    /// # Errors
    ///
    /// `protocol` for what is no inventory, or was cut short; `unsupported` for one of a newer schema.
    ///
    /// ```
    /// use barge::inventory::Inventory;
    ///
    /// let text = r#"{"schema": 1, "kind": "inventory", "places": []}"#;
    /// assert_eq!(Inventory::parse(text.as_bytes(), "have.json").unwrap(), Inventory::default());
    /// assert!(Inventory::parse(b"{}", "have.json").is_err());
    /// ```
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let file = File {
            kind: KIND,
            doing: "read inventory",
            name,
            made_by: "make it inside with `barge inventory docker://REGISTRY/REPOSITORY > have.json`",
        };
        let written: Written = file.parse(bytes)?;
        Ok(Self {
            places: written.places,
        })
    }

    /// The file, with a line end. The same content always makes the same text.
    #[must_use]
    pub fn text(&self) -> String {
        sanitize::json(&Written {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            places: self.places.clone(),
        })
    }

    /// The numbers of the places that hold a manifest.
    #[must_use]
    pub fn with_manifest(&self, digest: &Digest) -> Vec<usize> {
        self.numbers(|place| place.manifests.contains(digest))
    }

    /// The numbers of the places that hold a blob.
    #[must_use]
    pub fn with_blob(&self, digest: &Digest) -> Vec<usize> {
        self.numbers(|place| place.blobs.contains(digest))
    }

    fn numbers(&self, holds: impl Fn(&Place) -> bool) -> Vec<usize> {
        let places = self.places.iter().enumerate();
        let holding = places.filter(|(_, place)| holds(place));
        holding.map(|(number, _)| number).collect()
    }
}

/// A file that says what it is, and of which schema.
struct File<'a> {
    kind: &'a str,
    doing: &'a str,
    name: &'a str,
    made_by: &'a str,
}

/// What every such file begins with.
#[derive(Deserialize)]
struct Head {
    schema: Option<u64>,
    kind: Option<String>,
}

impl File<'_> {
    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        let head: Head = serde_json::from_slice(bytes).map_err(|why| self.unread(&why))?;
        let (Some(schema), Some(kind)) = (head.schema, head.kind) else {
            return Err(self.refused("it does not say that it is one"));
        };
        if kind != self.kind {
            let kind = sanitize::excerpt(&kind, 40);
            return Err(self.refused(&format!("it says that it is of the kind \"{kind}\"")));
        }
        if schema != SCHEMA {
            let cause = format!("it has schema {schema}, and schema {SCHEMA} is understood");
            return Err(Error::new(Kind::Unsupported, self.doing, self.name)
                .because(cause)
                .hint("use the same release of barge inside and outside"));
        }
        serde_json::from_slice(bytes).map_err(|why| self.unread(&why))
    }

    fn unread(&self, why: &serde_json::Error) -> Error {
        if why.is_eof() {
            return Error::new(Kind::Protocol, self.doing, self.name)
                .because("it is cut short")
                .hint("bring it again, whole");
        }
        self.refused(&why.to_string())
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(Kind::Protocol, self.doing, self.name)
            .because(format!("this is no {}: {why}", self.kind))
            .hint(self.made_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(reference: &str, manifests: &[&str], blobs: &[&str]) -> Place {
        let digests = |texts: &[&str]| {
            let digests = texts.iter().map(|text| Digest::of(text.as_bytes()));
            digests.collect()
        };
        Place {
            reference: reference.to_owned(),
            manifests: digests(manifests),
            blobs: digests(blobs),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let inventory = Inventory {
            places: vec![
                place("docker://h/a", &["m"], &["x", "y"]),
                place("docker://h/b", &[], &["y"]),
            ],
        };
        let text = inventory.text();
        let read = Inventory::parse(text.as_bytes(), "x").expect("an inventory");
        assert_eq!(read, inventory);
        assert_eq!(read.with_blob(&Digest::of(b"y")), [0, 1]);
        assert_eq!(read.with_manifest(&Digest::of(b"m")), [0]);
        assert!(read.with_manifest(&Digest::of(b"x")).is_empty());
    }

    #[test]
    fn what_is_no_inventory_says_so() {
        let whole = Inventory::default().text();
        let refused = |text: &str| {
            let error = Inventory::parse(text.as_bytes(), "x").expect_err(text);
            (error.kind(), error.cause().to_owned())
        };
        for cut in [0, 1, 20, whole.len() - 2] {
            let text = &whole[..cut];
            assert_eq!(refused(text), (Kind::Protocol, "it is cut short".into()));
        }
        for text in ["[]", "{}", "my diary", &whole.replace(KIND, "x")] {
            let (kind, cause) = refused(text);
            assert_eq!(kind, Kind::Protocol, "{text}");
            assert!(cause.starts_with("this is no inventory: "), "{cause}");
        }
        let newer = whole.replace("\"schema\": 1", "\"schema\": 2");
        let (kind, cause) = refused(&newer);
        assert_eq!(kind, Kind::Unsupported);
        assert!(cause.contains("schema 2"), "{cause}");
    }
}
