//! What holds for every index.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::tests::{attestation, digest, entry, known, nested, on, parse, wanted};
use super::*;

/// The entries of an index, each as it is written.
fn written(index: &Manifest) -> Vec<String> {
    #[derive(Deserialize)]
    struct Entries {
        manifests: Vec<Box<RawValue>>,
    }
    let entries: Entries = serde_json::from_slice(&index.bytes).unwrap();
    entries
        .manifests
        .iter()
        .map(|entry| entry.get().to_owned())
        .collect()
}

const PLATFORMS: [&str; 6] = [
    "linux/amd64",
    "linux/arm64/v8",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/s390x",
    "windows/amd64:10.0.1",
];

fn any_entry() -> impl Strategy<Value = String> {
    let space = "[ \n\t]{0,3}";
    let plain = (
        0..PLATFORMS.len(),
        space,
        "[a-z\\]\\[{},:é]{0,6}",
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
    )
        .prop_map(|(at, space, odd, number)| {
            on(PLATFORMS[at]).replacen(
                '{',
                &format!("{{{space}\"odd\":{space}[\"{odd}\" , {number}],"),
                1,
            )
        });
    let about = (0..PLATFORMS.len(), 0..3)
        .prop_map(|(at, n)| attestation(&format!("{n} of {at}"), &digest(PLATFORMS[at])));
    prop_oneof![4 => plain, 2 => about, 1 => Just(attestation("orphan", &digest("gone")))]
}

fn any_index() -> impl Strategy<Value = Manifest> {
    let entries = proptest::collection::vec((any_entry(), "[ \n]{0,3}", "[ \n]{0,3}"), 0..12);
    (entries, "[ \n]{0,3}").prop_map(|(entries, space)| {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(e, a, b)| format!("{a}{e}{b}"))
            .collect();
        let entries = entries.join(",");
        parse(&format!(
            "{space}{{\"x\":\"\\u005b\",\"manifests\":[{entries}{space}],\"y\":[1.0]}}{space}"
        ))
    })
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    proptest::sample::subsequence(
        vec!["amd64", "arm64", "arm/v7", "arm", "linux/s390x", "mips"],
        0..4,
    )
    .prop_map(|platforms| wanted(&platforms))
}

proptest! {
    #[test]
    fn kept_entries_are_verbatim(index in any_index(), wanted in any_wanted()) {
        let filtered = filter(&index, &wanted, &Known::default(), Form::Rewrite).unwrap();
        let is_kept = |entry: &Descriptor| match entry.attests() {
            Some(about) => filtered.kept.iter().any(|kept| kept.digest == about),
            None => entry.platform.as_ref().is_some_and(|p| wanted.matches(p)),
        };
        let kept = index.entries().iter().map(is_kept);
        let expected: Vec<_> = written(&index).into_iter().zip(kept).filter_map(|(e, keep)| keep.then_some(e)).collect();
        if expected.is_empty() {
            prop_assert!(filtered.kept.is_empty());
            prop_assert_eq!(filtered.root, index);
        } else {
            prop_assert_eq!(filtered.is_rewritten(), expected.len() != index.entries().len());
            prop_assert_eq!(written(&filtered.root), expected);
        }
    }

    #[test]
    fn filtering_again_changes_nothing(inner in any_index(), outer in any_index(), wanted in any_wanted()) {
        let entries = [written(&outer), vec![nested(&inner), entry("twin", "")]].concat();
        let root = super::tests::index(&entries);
        let mut first_known = known([&inner]);
        first_known.platforms.insert(digest("twin"), None);
        let first = filter(&root, &wanted, &first_known, Form::Rewrite).unwrap();
        prop_assume!(!first.kept.is_empty());
        let again = filter(&first.root, &wanted, &known(&first.nested), Form::Rewrite).unwrap();
        prop_assert_eq!(&again.root, &first.root);
        prop_assert_eq!(&again.kept, &first.kept);
        prop_assert!(again.omitted.is_empty() && !again.is_rewritten());
    }

    #[test]
    fn every_child_is_on_one_side(index in any_index(), wanted in any_wanted()) {
        let sparse = filter(&index, &wanted, &Known::default(), Form::Keep).unwrap();
        prop_assert_eq!(&sparse.root, &index);
        let mut sides: Vec<_> = sparse.kept.iter().chain(&sparse.omitted).map(|e| e.digest.clone()).collect();
        sides.sort();
        let mut all: Vec<_> = index.entries().iter().map(|e| e.digest.clone()).collect();
        all.sort();
        all.dedup();
        prop_assert_eq!(sides, all);
    }

    #[test]
    fn damage_never_panics(index in any_index(), at: prop::sample::Index, byte: u8, wanted in any_wanted()) {
        let mut bytes = index.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(damaged) = Manifest::parse(bytes.into(), None) {
            let _ = needs(&damaged, &Known::default());
            let _ = filter(&damaged, &wanted, &Known::default(), Form::Rewrite);
            let _ = everything(&damaged, &Known::default());
        }
    }
}
