//! Which referrers come along.

use super::lines;
use crate::cli::PlatformArgs;
use crate::error::{Error, Result};
use crate::image::referrers::Types;
use crate::options::SignedIndex;

/// What `--referrers` says: `None` where it is not given, or its variable says no.
pub(super) fn types(values: &[String]) -> Result<Option<Types>> {
    let values = lines(values);
    let words: Vec<&str> = values.iter().flat_map(|value| value.split(',')).collect();
    let words: Vec<&str> = words.into_iter().map(str::trim).collect();
    match words.as_slice() {
        [] | ["false" | "0" | "no" | "off"] => Ok(None),
        ["all" | "true" | "1" | "yes" | "on"] => Ok(Some(Types::default())),
        types => match types.iter().find(|name| !name.contains('/')) {
            None => Ok(Some(Types::new(
                types.iter().map(ToString::to_string).collect(),
            ))),
            Some(odd) => Err(Error::usage(format!(
                "--referrers `{odd}` is no artifact type; write --referrers for all of them, or --referrers=application/spdx+json"
            ))),
        },
    }
}

/// What becomes of an index that is signed.
pub(super) fn signed_index(arguments: &PlatformArgs) -> SignedIndex {
    if arguments.require_signature {
        SignedIndex::MustStay
    } else {
        SignedIndex::MayChange
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_media_types_or_all() {
        let read = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            types(&values).map_err(|error| error.to_string())
        };
        let some = |names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect();
            Ok(Some(Types::new(names)))
        };
        assert_eq!(read(&[]), Ok(None));
        for (value, expected) in [
            ("all", some(&[])),
            ("true", some(&[])),
            ("0", Ok(None)),
            ("a/b", some(&["a/b"])),
            ("a/b, c/d", some(&["a/b", "c/d"])),
        ] {
            assert_eq!(read(&[value]), expected, "{value}");
        }
        assert_eq!(read(&["a/b", "", "c/d"]), some(&["a/b", "c/d"]));
        for wrong in ["sig", "a/b,", "all,a/b", ","] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
