//! Refuses JSON objects in which other readers would find another value than barge does. Pure, one pass.
//!
//! Go's `encoding/json`, which docker, containerd, podman and skopeo read with, matches keys without regard to
//! case and lets the last one win. So `Manifests` beside `manifests` would give them content that was not
//! checked here. A key that is like a known one is refused, also by itself, and so is a known key that comes
//! twice. Other keys are none of our business.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A key that is read, and the shape of the objects in its value.
type Known = (&'static str, Option<&'static Shape>);

/// The keys of an object that are read.
#[derive(Debug)]
pub(crate) struct Shape(pub(crate) &'static [Known]);

/// A manifest or an index, also that of a layout.
pub(crate) static MANIFEST: Shape = Shape(&[
    ("schemaVersion", None),
    ("mediaType", None),
    ("artifactType", None),
    ("config", Some(&DESCRIPTOR)),
    ("layers", Some(&DESCRIPTOR)),
    ("manifests", Some(&DESCRIPTOR)),
    ("subject", Some(&DESCRIPTOR)),
    ("annotations", None),
]);

static DESCRIPTOR: Shape = Shape(&[
    ("mediaType", None),
    ("digest", None),
    ("size", None),
    ("platform", Some(&PLATFORM)),
    ("annotations", None),
    ("urls", None),
    ("artifactType", None),
    ("data", None),
]);

static PLATFORM: Shape = Shape(&[
    ("os", None),
    ("architecture", None),
    ("variant", None),
    ("os.version", None),
    ("os.features", None),
]);

/// The config of an image: what decides about its platform, and which layers it has.
pub(crate) static CONFIG: Shape = Shape(&[
    ("os", None),
    ("architecture", None),
    ("variant", None),
    ("os.version", None),
    ("os.features", None),
    ("rootfs", Some(&ROOT_FS)),
]);

static ROOT_FS: Shape = Shape(&[("diff_ids", None)]);

/// Goes through `text`, whose objects, or those in its list, are of this shape. What is no JSON, or no object
/// where one should be, is for the reader of the content to refuse.
///
/// # Errors
///
/// The first key that is like a known one, or is a known one again (`is_data`); bad syntax.
pub(crate) fn check(text: &[u8], shape: &'static Shape) -> serde_json::Result<()> {
    Objects(shape).deserialize(&mut serde_json::Deserializer::from_slice(text))
}

/// Whether `encoding/json` takes `key` for `known`: it folds two letters beyond ASCII, `ſ` and the Kelvin sign.
fn is_like(key: &str, known: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars().map(fold))
}

/// Objects of a shape, by themselves or in lists.
#[derive(Clone, Copy)]
struct Objects(&'static Shape);

impl<'de> DeserializeSeed<'de> for Objects {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Objects {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(key) = map.next_key_seed(Key(self.0))? {
            let Some((known, below)) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(known) {
                return Err(Error::custom(format!("duplicate field `{known}`")));
            }
            seen.push(*known);
            match below {
                Some(shape) => map.next_value_seed(Objects(shape))?,
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// A key of an object of this shape: a known one, or any other.
struct Key(&'static Shape);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Known>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Known>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let mut known = self.0.0.iter();
        if let Some(same) = known.clone().find(|(known, _)| *known == key) {
            return Ok(Some(same));
        }
        match known.find(|(known, _)| is_like(key, known)) {
            Some((known, _)) => Err(E::custom(format!(
                "its key {key:?} is `{known}` to readers that ignore case"
            ))),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_keys_that_are_like_known_ones_and_known_ones_twice() {
        for text in [
            r#"{"Manifests":[]}"#,
            r#"{"manifests":[],"MANIFESTS":[]}"#,
            r#"{"manife\u017fts":[]}"#,
            "{\"manife\u{17f}ts\":[]}",
            r#"{"manifests":[{"DIGEST":1}]}"#,
            r#"{"manifests":[{},{"platform":{"Os":"linux"}}]}"#,
            r#"{"manifests":[{"platform":{"O\u017f.Version":"1"}}]}"#,
            r#"{"config":{"Size":1}}"#,
            r#"{"layers":[{"URLs":[]}]}"#,
            r#"{"subject":{"digest":1,"digest":2}}"#,
            r#"{"layers":[],"x":1,"layers":[]}"#,
        ] {
            let error = check(text.as_bytes(), &MANIFEST).expect_err(text);
            assert!(error.is_data(), "{text}: {error}");
        }
        for text in [
            r#"{"rootfs":{"Diff_IDs":[]}}"#,
            r#"{"roo\u0074f\u017f":{}}"#,
        ] {
            assert!(check(text.as_bytes(), &CONFIG).is_err(), "{text}");
        }
        assert!(is_like("\u{212a}ind", "kind"));
    }

    #[test]
    fn leaves_other_keys_and_values_alone() {
        for text in [
            r#"{"manifest":1,"manifest":2,"Manifest s":{"Digest":1},"ﬁles":[]}"#,
            r#"{"annotations":{"A":"1","a":"2","Digest":"3"},"layers":null,"config":7}"#,
            r#"{"layers":[1,"x",true,null,[{}],1.5,-1]}"#,
            r#"{"manifests":[{"platform":{"features":[],"Features":[]},"x":{"OS":1,"os":2}}]}"#,
            "[]",
        ] {
            assert!(check(text.as_bytes(), &MANIFEST).is_ok(), "{text}");
        }
        let config = r#"{"config":{"Labels":{}},"Config":1,"id":"x","Size":1,"rootfs":{"Type":"layers","type":"layers"}}"#;
        assert!(check(config.as_bytes(), &CONFIG).is_ok());
    }

    #[test]
    fn syntax_is_for_others_to_refuse() {
        for text in ["", "{", "<html>", r#"{"layers":1e999}"#] {
            let is_data = check(text.as_bytes(), &MANIFEST).is_err_and(|error| error.is_data());
            assert!(!is_data, "{text}");
        }
    }
}
