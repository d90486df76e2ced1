//! Which referrers come along.

use super::lines;
use crate::cli::{CopyReferrerArgs, PlatformArgs};
use crate::error::{Error, Result};
use crate::image::referrers::Types;
use crate::options::{MissingReferrers, SignedIndex};

/// What refers to images, and what that means for a copy.
#[derive(Clone, Debug)]
pub struct Along {
    /// What comes along, of these types; `None`: nothing does.
    pub types: Option<Types>,
    /// What becomes of a tag where some of it is gone.
    pub missing: MissingReferrers,
    /// What becomes of an index that is signed.
    pub signed_index: SignedIndex,
}

impl Along {
    pub(super) fn new(arguments: &CopyReferrerArgs, platforms: &PlatformArgs) -> Result<Self> {
        Ok(Self {
            types: types(&arguments.which.referrers)?,
            missing: arguments.missing_referrers,
            signed_index: if platforms.require_signature {
                SignedIndex::MustStay
            } else {
                SignedIndex::MayChange
            },
        })
    }
}

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
