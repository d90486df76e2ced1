//! What puts tags back: a journal and what is there now in, steps out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Journal, Move};
use crate::image::digest::Digest;
use crate::image::referrers::list_tag;

/// What tags point at now; `None`: the tag is not there. Tags that are not in it are not judged.
pub(crate) type Now = BTreeMap<String, Option<Digest>>;

/// What one tag needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The destination's tag.
    pub tag: String,
    /// What is to be done about it.
    pub action: Action,
}

/// What is to be done about a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is as it was before the run.
    Nothing,
    /// It points at what the run wrote, and gets back what it had.
    Restore(Digest),
    /// It points at what the run wrote, and was not there before.
    Delete,
    /// It points at something else, which somebody else has done since: it is not ours to change.
    Leave {
        /// What it points at; `None`: it was deleted.
        found: Option<Digest>,
    },
}

/// The steps that put back the tags of `journal`, as far as it is known what they point at `now`.
///
/// Steps are independent of each other, and in the journal's order. Carrying them out twice is
/// carrying them out once: a tag that is back needs nothing.
#[must_use]
pub(crate) fn undo(journal: &Journal, now: &Now) -> Vec<Step> {
    let known = journal
        .tags
        .iter()
        .filter_map(|moved| Some((moved, now.get(&moved.tag)?)));
    let step = |(moved, now): (&Move, &Option<Digest>)| Step {
        tag: moved.tag.clone(),
        action: action(moved, now.as_ref()),
    };
    known.map(step).collect()
}

fn action(moved: &Move, now: Option<&Digest>) -> Action {
    if now == moved.before.as_ref() {
        return Action::Nothing;
    }
    if now != Some(&moved.after) {
        return Action::Leave {
            found: now.cloned(),
        };
    }
    match &moved.before {
        Some(before) => Action::Restore(before.clone()),
        None => Action::Delete,
    }
}

/// What a tag of the repository leads to: its root's digest and all those below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub tag: String,
    pub digests: BTreeSet<Digest>,
}

/// Why `digest` must not be deleted in order to delete `tags`, which all point at it; `None`: it may.
///
/// `others` are the other tags of the repository. Referrers are not judged here.
#[must_use]
pub(crate) fn keeps(
    journal: &Journal,
    digest: &Digest,
    tags: &BTreeSet<String>,
    others: &[Reach],
) -> Option<String> {
    let moved = |tag: &str| journal.tags.iter().find(|moved| moved.tag == tag);
    let ours = |tag: &String| {
        moved(tag).is_some_and(|m| m.before.is_none() && m.after == *digest && m.pushed)
    };
    if !tags.iter().all(ours) {
        return Some("its manifest was there before this run".to_owned());
    }
    // Where there is no referrers API a referrer has a tag of this name (distribution-spec, "Referrers
    // Tag Schema"), as signatures and attestations of cosign have.
    let referrer = list_tag(digest);
    let mut others = others.iter().filter(|other| !tags.contains(&other.tag));
    others.find_map(|Reach { tag, digests }| {
        if digests.contains(digest) {
            Some(format!("tag {tag} leads to the same manifest"))
        } else if tag.starts_with(&referrer) {
            Some(format!("tag {tag} refers to its manifest"))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn moved(tag: &str, before: Option<&str>, after: &str) -> Move {
        Move {
            tag: tag.into(),
            before: before.map(digest),
            after: digest(after),
            pushed: true,
        }
    }

    fn journal(tags: Vec<Move>) -> Journal {
        Journal::new("docker://h.io/a".into(), 0, tags, [])
    }

    #[test]
    fn every_case_of_one_tag() {
        let leave = |found: Option<&str>| Action::Leave {
            found: found.map(digest),
        };
        let restore = Action::Restore(digest("old"));
        for (before, now, expected) in [
            (Some("old"), Some("old"), Action::Nothing),
            (Some("old"), Some("new"), restore),
            (Some("old"), Some("alien"), leave(Some("alien"))),
            (Some("old"), None, leave(None)),
            (None, None, Action::Nothing),
            (None, Some("new"), Action::Delete),
            (None, Some("alien"), leave(Some("alien"))),
        ] {
            let journal = journal(vec![moved("t", before, "new")]);
            let now = Now::from([("t".to_owned(), now.map(digest))]);
            let steps = undo(&journal, &now);
            let expected = Step {
                tag: "t".into(),
                action: expected,
            };
            assert_eq!(steps, [expected], "{before:?} {now:?}");
        }
    }

    #[test]
    fn tags_of_which_nothing_is_known_are_not_touched() {
        let journal = journal(vec![moved("a", None, "new"), moved("b", None, "new")]);
        let now = Now::from([
            ("b".to_owned(), Some(digest("new"))),
            ("stranger".to_owned(), Some(digest("new"))),
        ]);
        let steps = undo(&journal, &now);
        let tags: Vec<&str> = steps.iter().map(|step| step.tag.as_str()).collect();
        assert_eq!(tags, ["b"]);
        assert_eq!(undo(&journal, &Now::new()), []);
    }

    #[test]
    fn once_more_is_nothing_more() {
        let tags = vec![moved("a", Some("old"), "new"), moved("b", None, "new")];
        let journal = journal(tags);
        let mut now: Now = journal
            .tags
            .iter()
            .map(|moved| (moved.tag.clone(), Some(moved.after.clone())))
            .collect();
        for Step { tag, action } in undo(&journal, &now) {
            let there = match action {
                Action::Restore(before) => Some(before),
                _ => None,
            };
            now.insert(tag, there);
        }
        let steps = undo(&journal, &now);
        assert!(steps.iter().all(|step| step.action == Action::Nothing));
    }

    #[test]
    fn a_digest_is_deleted_only_where_nobody_else_uses_it() {
        let reach = |tag: &str, names: &[&str]| Reach {
            tag: tag.into(),
            digests: names.iter().map(|name| digest(name)).collect(),
        };
        let tags = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let mut there_before = moved("c", None, "old");
        there_before.pushed = false;
        let journal = journal(vec![
            moved("a", None, "new"),
            moved("b", None, "new"),
            there_before,
            moved("d", Some("old"), "new"),
        ]);
        let signature = format!("sha256-{}.sig", digest("new").hex());
        let (ours, both) = (
            [reach("a", &["new"])],
            [reach("a", &["new"]), reach("b", &["new"])],
        );
        for (wanted, name, others, kept_by) in [
            (&["a"][..], "new", &ours[..], None),
            (&["a", "b"], "new", &both, None),
            (&["a"], "new", &[], None),
            (&["a"], "new", &both, Some("tag b")),
            (
                &["a"],
                "new",
                &[reach("x", &["index", "new"])],
                Some("tag x"),
            ),
            (&["a"], "new", &[reach("x", &["other"])], None),
            (&["a"], "new", &[reach(&signature, &["s"])], Some("refers")),
            (&["c"], "old", &[], Some("before this run")),
            (&["d"], "new", &[], Some("before this run")),
            (&["a"], "other", &[], Some("before this run")),
            (&["stranger"], "new", &[], Some("before this run")),
        ] {
            let why = keeps(&journal, &digest(name), &tags(wanted), others);
            match kept_by {
                None => assert_eq!(why, None, "{wanted:?}"),
                Some(says) => assert!(why.is_some_and(|why| why.contains(says)), "{wanted:?}"),
            }
        }
    }
}
