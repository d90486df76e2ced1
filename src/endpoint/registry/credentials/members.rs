//! The members of a JSON object, set and removed in its text. All else stays as it was written: order,
//! spacing, numbers, escapes. Pure; what is in the members is nobody's business here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::splice::{between, splice};

/// Why an object cannot be changed, in words that show nothing of it.
type Result<T> = std::result::Result<T, String>;

/// A JSON object as it is written. Names that are there twice are there twice.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// From brace to brace.
    text: &'a str,
    members: Vec<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    name: String,
    /// From the name to the end of the value.
    text: &'a str,
    value: &'a str,
}

/// How a file is indented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all: it is one line.
    Line,
    /// By this for each level.
    Indented(String),
}

/// Names and values in their order.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Each).map(Pairs)
    }
}

impl<'a> Object<'a> {
    /// The object that `text` is.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let wrong = |_| "what is there is not a JSON object".to_owned();
        let whole: &RawValue = serde_json::from_str(text).map_err(wrong)?;
        let Pairs(pairs) = serde_json::from_str(text).map_err(wrong)?;
        let member = |(name, value): (&RawValue, &'a RawValue)| {
            Ok(Member {
                name: serde_json::from_str(name.get()).map_err(wrong)?,
                text: between(text, name.get(), value.get())?,
                value: value.get(),
            })
        };
        Ok(Self {
            text: whole.get(),
            members: pairs.into_iter().map(member).collect::<Result<_>>()?,
        })
    }

    /// The names, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// The value of `name`; of several the last, which is the one that readers take.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        let mut last_first = self.members.iter().rev();
        last_first
            .find(|member| member.name == name)
            .map(|member| member.value)
    }

    /// The object without the members whose names `goes` tells.
    pub(super) fn without(&self, goes: impl Fn(&str) -> bool) -> Result<String> {
        if self.names().all(&goes) {
            return Ok("{}".into());
        }
        let parts = self.members.iter().map(|member| {
            let stays = !goes(&member.name);
            (member.text, stays.then(|| member.text.into()))
        });
        splice(self.text, parts)
    }

    /// `text`, which the object was parsed from, with `new` in its place.
    pub(super) fn replaced_in(&self, text: &str, new: &str) -> Result<String> {
        splice(text, [(self.text, Some(new.into()))])
    }

    /// The object, which is `depth` objects deep in a file of this `style`, with `value` for `name`: in its
    /// place where it has one, else at the end.
    pub(super) fn with(
        &self,
        name: &str,
        value: &str,
        (style, depth): (&Style, usize),
    ) -> Result<String> {
        let named = self.members.iter().filter(|member| member.name == name);
        let parts: Vec<_> = named
            .map(|member| (member.value, Some(value.into())))
            .collect();
        if !parts.is_empty() {
            return splice(self.text, parts);
        }
        let added = style.member(name, value);
        let (line, close) = (style.line(depth + 1), style.line(depth));
        match self.members.last() {
            None => Ok(format!("{{{line}{added}{close}}}")),
            Some(last) => {
                let longer = format!("{},{line}{added}", last.text);
                splice(self.text, [(last.text, Some(longer.into()))])
            }
        }
    }
}

impl Style {
    /// That of a file; of one that shows none, that of podman and docker.
    pub(super) fn of(text: &str) -> Self {
        let inside = text.trim_start().trim_start_matches('{');
        let members = inside.trim_start();
        let space = inside.strip_suffix(members).unwrap_or_default();
        match space.rsplit_once('\n') {
            _ if members.is_empty() || members.starts_with('}') => Self::Indented("\t".into()),
            Some((_, unit)) => Self::Indented(unit.into()),
            None => Self::Line,
        }
    }

    /// What is in front of something `depth` objects deep.
    fn line(&self, depth: usize) -> String {
        match self {
            Self::Line => String::new(),
            Self::Indented(unit) => format!("\n{}", unit.repeat(depth)),
        }
    }

    fn member(&self, name: &str, value: &str) -> String {
        let name = serde_json::Value::from(name);
        match self {
            Self::Line => format!("{name}:{value}"),
            Self::Indented(_) => format!("{name}: {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABS: &str =
        "{\n\t\"b\": 1e5,\n\t\"a\" : {\"\\u0061\":12345678901234567890123},\n\t\"b\": 2.50\n}";

    fn with(text: &str, name: &str, value: &str) -> String {
        let style = Style::of(text);
        let object = Object::parse(text).expect("an object");
        object
            .with(name, value, (&style, 0))
            .expect("it can be set")
    }

    fn without(text: &str, name: &str) -> String {
        let object = Object::parse(text).expect("an object");
        object.without(|other| other == name).expect("it can go")
    }

    #[test]
    fn what_is_not_set_stays_as_it_was_written() {
        assert_eq!(
            with(TABS, "b", "3"),
            TABS.replace("1e5", "3").replace("2.50", "3")
        );
        assert_eq!(
            with(TABS, "a", "[]"),
            TABS.replace("{\"\\u0061\":12345678901234567890123}", "[]")
        );
        assert_eq!(
            with(TABS, "c", "3"),
            TABS.replace("2.50", "2.50,\n\t\"c\": 3")
        );
        assert_eq!(with("{\"a\":1}", "c\"", "3"), "{\"a\":1,\"c\\\"\":3}");
        assert_eq!(with(" { }\n", "c", "3"), "{\n\t\"c\": 3\n}");
    }

    #[test]
    fn what_does_not_go_stays_as_it_was_written() {
        assert_eq!(
            without(TABS, "b"),
            "{\n\t\"a\" : {\"\\u0061\":12345678901234567890123}\n}"
        );
        assert_eq!(
            without(TABS, "a"),
            TABS.replace("\n\t\"a\" : {\"\\u0061\":12345678901234567890123},", "")
        );
        assert_eq!(without(TABS, "x"), TABS);
        assert_eq!(without("{ \"a\": 1 }", "a"), "{}");
    }

    #[test]
    fn what_is_no_object_is_told() {
        for text in ["[]", "", "{", "null", "{\"a\":1} x"] {
            Object::parse(text).expect_err(text);
        }
    }
}
