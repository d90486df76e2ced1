//! Which tags of a repository are copied.
//!
//! A tag is selected when any include and no exclude matches all of it; with excludes alone every other
//! tag is. Digest tags (`sha256-…`, where signatures are kept) have to be asked for.

mod globs;

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use self::globs::split;
use crate::error::{Error, Result};
use crate::reference::tag_of;

pub use self::globs::split_globs;

/// The tag options as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// `--tags`
    pub include_regex: Vec<String>,
    /// `--exclude-tags`
    pub exclude_regex: Vec<String>,
    /// `--tag-glob`; commas, or lines, stand between globs.
    pub include_glob: Vec<String>,
    /// `--exclude-tag-glob`, the same.
    pub exclude_glob: Vec<String>,
    /// `--all-tags`
    pub all: bool,
    /// `--include-digest-tags`
    pub digest_tags: bool,
}

/// Tells which tags are selected.
#[derive(Clone, Debug)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// Whether every tag is selected that is not excluded.
    all: bool,
    digest_tags: bool,
}

impl Selection {
    /// Compiles the patterns; `None` where there is no tag option.
    ///
    /// ```
    /// use barge::select::{Patterns, Selection};
    ///
    /// let patterns = Patterns { include_glob: vec!["3.*,latest".into()], ..Patterns::default() };
    /// let selection = Selection::compile(&patterns).unwrap().unwrap();
    /// let tags = ["latest", "3.9", "3.10", "2.7"].map(String::from);
    /// assert_eq!(selection.select(&tags), ["3.10", "3.9", "latest"]);
    /// ```
    ///
    /// # Errors
    ///
    /// `usage` for a pattern that is not well formed, and for digest tags without a tag option.
    pub fn compile(patterns: &Patterns) -> Result<Option<Self>> {
        let mut include = regexes("--tags", &patterns.include_regex)?;
        include.extend(globs("--tag-glob", &patterns.include_glob)?);
        let mut exclude = regexes("--exclude-tags", &patterns.exclude_regex)?;
        exclude.extend(globs("--exclude-tag-glob", &patterns.exclude_glob)?);
        let nothing_given = include.is_empty() && exclude.is_empty() && !patterns.all;
        if nothing_given && patterns.digest_tags {
            return Err(Error::usage(
                "--include-digest-tags needs --tags, --tag-glob or --all-tags",
            ));
        }
        Ok((!nothing_given).then(|| Self {
            all: patterns.all || include.is_empty(),
            include,
            exclude,
            digest_tags: patterns.digest_tags,
        }))
    }

    /// The selected ones of `tags`, each once, sorted by bytes.
    #[must_use]
    pub fn select<'a>(&self, tags: &'a [String]) -> Vec<&'a String> {
        self.select_called(tags, &BTreeMap::new())
    }

    /// The same, where `whole` has the whole names of some of `tags`. What may fit a tag is not compared with
    /// those: `l.*` is no `localhost/app:v1`.
    #[must_use]
    pub fn select_called<'a>(
        &self,
        tags: &'a [String],
        whole: &BTreeMap<String, String>,
    ) -> Vec<&'a String> {
        let selects = |tag: &&String| self.selects(tag, whole.get(*tag));
        let distinct: BTreeSet<_> = tags.iter().filter(selects).collect();
        distinct.into_iter().collect()
    }

    /// Whether all is selected that nothing excludes.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.all
    }

    /// Whether any pattern is one of whole names.
    #[must_use]
    pub fn has_whole_names(&self) -> bool {
        let mut patterns = self.include.iter().chain(&self.exclude);
        patterns.any(|pattern| pattern.is_whole)
    }

    /// Whether it selects `name` by its tag, or by its whole name.
    fn selects(&self, name: &str, whole: Option<&String>) -> bool {
        let tag = tag_of(name);
        let fits = |pattern: &Pattern| {
            pattern.is_match(tag)
                || pattern.is_match(name)
                || pattern.is_whole && whole.is_some_and(|whole| pattern.is_match(whole))
        };
        let ordinary = self.digest_tags || !is_digest_tag(tag);
        let included = self.all && ordinary
            || self
                .include
                .iter()
                .any(|pattern| (ordinary || pattern.names_digest_tags) && fits(pattern));
        included && !self.exclude.iter().any(fits)
    }
}

/// Whether `tag` is where clients without the referrers API keep what belongs to a digest.
///
/// ```
/// use barge::select::is_digest_tag;
///
/// let digest = "0123456789abcdef".repeat(4);
/// assert!(is_digest_tag(&format!("sha256-{digest}")));
/// assert!(is_digest_tag(&format!("sha256-{digest}.sig")));
/// assert!(!is_digest_tag("sha256-nice"));
/// ```
#[must_use]
pub fn is_digest_tag(tag: &str) -> bool {
    let (digest, suffix) = tag.split_once('.').unwrap_or((tag, ""));
    let digits = match digest.split_once('-') {
        Some(("sha256", hex)) if hex.len() == 64 => hex,
        // A tag has room for half of them (distribution-spec, "Referrers Tag Schema"), a REF for all.
        Some(("sha512", hex)) if matches!(hex.len(), 64 | 128) => hex,
        _ => return false,
    };
    let known = tag.len() == digest.len() || matches!(suffix, "sig" | "att" | "sbom");
    known
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `tag` is where the list of what refers to a digest is (distribution-spec 1.1, "Referrers Tag Schema").
#[must_use]
pub fn is_list_tag(tag: &str) -> bool {
    is_digest_tag(tag) && !tag.contains('.')
}

/// One include or exclude.
#[derive(Clone, Debug)]
struct Pattern {
    matcher: Matcher,
    /// Whether it asks for digest tags by name.
    names_digest_tags: bool,
    /// Whether it has what no tag has, and every whole name.
    is_whole: bool,
}

#[derive(Clone, Debug)]
enum Matcher {
    Regex(Regex),
    Glob(GlobMatcher),
}

impl Pattern {
    fn new(text: &str, matcher: Matcher) -> Self {
        let start = text.trim_start_matches('^');
        Self {
            matcher,
            names_digest_tags: start.starts_with("sha256-") || start.starts_with("sha512-"),
            is_whole: text.contains('/'),
        }
    }

    fn is_match(&self, tag: &str) -> bool {
        match &self.matcher {
            Matcher::Regex(regex) => regex.is_match(tag),
            Matcher::Glob(glob) => glob.is_match(tag),
        }
    }
}

/// The last line of an error, which says what is wrong; those before it draw where.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn regexes(option: &str, patterns: &[String]) -> Result<Vec<Pattern>> {
    let compile = |pattern: &String| {
        let regex = whole(pattern).map_err(|error| {
            Error::usage(format!(
                "{option} '{pattern}' is no regular expression: {}",
                reason(&error)
            ))
        })?;
        Ok(Pattern::new(pattern, Matcher::Regex(regex)))
    };
    if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
        return Err(Error::usage(format!(
            "{option} is empty, which matches no tag"
        )));
    }
    patterns.iter().map(compile).collect()
}

/// A regex that matches the whole of a tag.
///
/// It is compiled by itself first, so that `a)|(b` can't close the group that goes around it. Then only a
/// comment at the end of a `(?x)` can swallow the end of that group, and a line break ends the comment.
fn whole(pattern: &str) -> std::result::Result<Regex, regex::Error> {
    Regex::new(pattern)?;
    Regex::new(&format!(r"\A(?:{pattern})\z"))
        .or_else(|error| Regex::new(&format!("\\A(?:{pattern}\n)\\z")).map_err(|_| error))
}

fn globs(option: &str, values: &[String]) -> Result<Vec<Pattern>> {
    let wrong = |value: &str, cause: String| Error::usage(format!("{option} '{value}' {cause}"));
    let mut patterns = Vec::new();
    for value in values {
        for glob in split(value).map_err(|cause| wrong(value, cause))? {
            let matcher = GlobBuilder::new(&glob)
                .literal_separator(false)
                .backslash_escape(true)
                .empty_alternates(true)
                .build()
                .map_err(|error| wrong(&glob, format!("is no glob: {}", error.kind())))?
                .compile_matcher();
            patterns.push(Pattern::new(&glob, Matcher::Glob(matcher)));
        }
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn patterns(option: &str, values: &[&str]) -> Patterns {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        let mut patterns = Patterns::default();
        match option {
            "tags" => patterns.include_regex = values,
            "exclude-tags" => patterns.exclude_regex = values,
            "tag-glob" => patterns.include_glob = values,
            "exclude-tag-glob" => patterns.exclude_glob = values,
            _ => panic!("{option}"),
        }
        patterns
    }

    fn select(patterns: &Patterns, tags: &str) -> String {
        let selection = Selection::compile(patterns).unwrap().unwrap();
        let tags: Vec<_> = tags.split(' ').map(str::to_owned).collect();
        let selected: Vec<_> = selection.select(&tags).into_iter().cloned().collect();
        selected.join(" ")
    }

    #[test]
    fn the_whole_tag_must_match() {
        let tags = "latest 3.9 3.10 3.9-slim 3.11-slim 2.7 v3.9 abc";
        let cases: [(&str, &[&str], &str); 15] = [
            ("tags", &["3.9"], "3.9"),
            ("tags", &[r"3\.\d+", "latest"], "3.10 3.9 latest"),
            ("tags", &["2.7|3.9"], "2.7 3.9"),
            ("tags", &["^3.9$"], "3.9"),
            ("tags", &["(?x) a b # comment"], ""),
            ("tags", &["(?x) a b c # comment"], "abc"),
            ("tags", &["(?i)LATEST"], "latest"),
            ("exclude-tags", &["3.*", "v.*"], "2.7 abc latest"),
            ("tag-glob", &["3.?"], "3.9"),
            ("tag-glob", &["*-slim,latest"], "3.11-slim 3.9-slim latest"),
            ("tag-glob", &["3.[!9]*"], "3.10 3.11-slim"),
            ("tag-glob", &["{2,v3}.[79]"], "2.7 v3.9"),
            ("tag-glob", &["3.9{,-slim}"], "3.9 3.9-slim"),
            ("tag-glob", &["\n 3.9 , 2.7\n\nabc\n"], "2.7 3.9 abc"),
            ("exclude-tag-glob", &["*.*"], "abc latest"),
        ];
        for (option, values, selected) in cases {
            assert_eq!(
                select(&patterns(option, values), tags),
                selected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn any_include_and_no_exclude() {
        let both = Patterns {
            include_regex: vec!["3.*".to_owned()],
            include_glob: vec!["latest".to_owned()],
            exclude_regex: vec![".*-rc1".to_owned()],
            exclude_glob: vec!["*-slim".to_owned()],
            ..Patterns::default()
        };
        let tags = "3.9 3.9-slim 3.9-rc1 latest 2.7 latest";
        assert_eq!(select(&both, tags), "3.9 latest");
        let all = Patterns {
            all: true,
            ..both.clone()
        };
        assert_eq!(select(&all, tags), "2.7 3.9 latest");
        assert!(Selection::compile(&Patterns::default()).unwrap().is_none());
    }

    #[test]
    fn says_which_pattern_is_wrong_and_how() {
        let cases = [
            ("tags", "a)|(b", "--tags 'a)|(b' is no regular expression: "),
            ("tags", "(?x)a )|( b", "unopened group"),
            ("tags", "(?:a{1000}){1000}", "size limit"),
            ("tags", "", "--tags is empty"),
            ("exclude-tags", "[", "--exclude-tags '['"),
            ("tag-glob", "3.*,", "'3.*,' has an empty glob"),
            ("tag-glob", "a,,b", "empty glob"),
            ("tag-glob", " ", "--tag-glob ' ' is empty"),
            ("tag-glob", "\n", "is empty"),
            (
                "tag-glob",
                "a,{b,c",
                "--tag-glob '{b,c' is no glob: unclosed",
            ),
            ("tag-glob", "[a,b", "'[a,b' is no glob: unclosed"),
            ("tag-glob", "a},b", "'a}' is no glob: unopened"),
            ("exclude-tag-glob", "a\\", "--exclude-tag-glob"),
        ];
        for (option, value, wrong) in cases {
            let error = Selection::compile(&patterns(option, &[value])).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(wrong), "{value:?}: {error}");
        }
        let alone = Patterns {
            digest_tags: true,
            ..Patterns::default()
        };
        assert!(Selection::compile(&alone).is_err());
    }

    #[test]
    fn digest_tags_have_to_be_asked_for() {
        let hex = "0123456789abcdef".repeat(4);
        let (digest, signature) = (format!("sha256-{hex}"), format!("sha256-{hex}.sig"));
        let long = format!("sha512-{hex}{hex}.sbom");
        let tags = format!("latest {digest} {signature} {long} sha256-nice");
        let ordinary = "latest sha256-nice";
        let everything = format!("latest {digest} {signature} sha256-nice {long}");
        let signatures = format!("{digest} {signature} sha256-nice");
        for (option, value, selected) in [
            ("tags", ".*", ordinary),
            ("tags", "latest|sha256-.*", ordinary),
            ("tag-glob", "*", ordinary),
            ("exclude-tags", "x", ordinary),
            ("tags", "sha256-.*", &signatures),
            ("tags", "^sha256-.*", &signatures),
            ("tag-glob", "sha256-*", &signatures),
            ("tag-glob", "sha512-*", &long),
        ] {
            let mut patterns = patterns(option, &[value]);
            assert_eq!(select(&patterns, &tags), selected, "{value}");
            if selected == ordinary && value != "latest|sha256-.*" {
                patterns.digest_tags = true;
                assert_eq!(select(&patterns, &tags), everything, "{value}");
            }
        }
        for (tag, is) in [
            (format!("sha256-{hex}.att"), true),
            (format!("sha256-{hex}."), false),
            (format!("sha256-{hex}.tar"), false),
            (format!("sha256-{}", hex.to_uppercase()), false),
            (format!("sha512-{hex}"), true),
            (format!("sha512-{}", &hex[1..]), false),
            (format!("sha1-{hex}"), false),
            ("latest".to_owned(), false),
        ] {
            assert_eq!(is_digest_tag(&tag), is, "{tag}");
        }
    }

    /// 612 tags as a language's official image has them.
    fn many_tags() -> Vec<String> {
        let flavours = [
            "",
            "-slim",
            "-alpine",
            "-bookworm",
            "-slim-bookworm",
            "-rc-slim",
            "-windowsservercore",
        ];
        let mut tags: Vec<String> = ["latest", "slim", "alpine", "3", "2"]
            .map(String::from)
            .to_vec();
        for minor in 2..14 {
            for patch in [None, Some(0), Some(1), Some(4), Some(9), Some(10), Some(19)] {
                let patch = patch.map_or(String::new(), |patch: u32| format!(".{patch}"));
                tags.extend(flavours.map(|flavour| format!("3.{minor}{patch}{flavour}")));
            }
        }
        tags.extend(
            flavours
                .into_iter()
                .skip(1)
                .map(|flavour| format!("3{flavour}")),
        );
        tags.extend((0..13).map(|n| format!("2.7.{n}")));
        tags
    }

    /// The oracle: a glob of literals, `?`, `*` and one-character sets, by plain recursion.
    fn glob_matches(glob: &str, tag: &str) -> bool {
        let mut glob_rest = glob.chars();
        let mut tag_rest = tag.chars();
        match glob_rest.next() {
            None => tag.is_empty(),
            Some('*') => (0..=tag.len()).any(|at| glob_matches(glob_rest.as_str(), &tag[at..])),
            Some('?') => {
                tag_rest.next().is_some() && glob_matches(glob_rest.as_str(), tag_rest.as_str())
            }
            Some('[') => {
                let (set, glob) = glob_rest.as_str().split_once(']').unwrap();
                tag_rest.next().is_some_and(|c| set.contains(c))
                    && glob_matches(glob, tag_rest.as_str())
            }
            Some(c) => {
                tag_rest.next() == Some(c) && glob_matches(glob_rest.as_str(), tag_rest.as_str())
            }
        }
    }

    #[test]
    fn a_long_list_of_globs_selects_from_612_tags() {
        let globs = "latest,3.[789].?,3.[789].??,3.??.?,3.??.??,3.??.??-*,3.??.?-*,3-*,3.[789].?-*,3.[789].??-*,3.6-*,3.9.??-slim-*,3.10.?-slim*";
        let tags = many_tags();
        assert_eq!(tags.len(), 612);
        let mut expected: Vec<&String> = tags
            .iter()
            .filter(|tag| globs.split(',').any(|glob| glob_matches(glob, tag)))
            .collect();
        expected.sort();
        let selection = Selection::compile(&patterns("tag-glob", &[globs]))
            .unwrap()
            .unwrap();
        let selected = selection.select(&tags);
        assert_eq!(selected, expected);
        for (tag, is) in [
            ("latest", true),
            ("3.9.10", true),
            ("3.10.4-alpine", true),
            ("3-slim", true),
            ("3.6-slim", true),
            ("3.9", false),
            ("3.6.1", false),
            ("3", false),
            ("2.7.1", false),
        ] {
            assert_eq!(
                selected.iter().any(|selected| *selected == tag),
                is,
                "{tag}"
            );
        }
        assert!(
            selected.len() > 300 && selected.len() < 612,
            "{}",
            selected.len()
        );
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in ".{0,20}", tag in "[a-z0-9.,-]{0,12}") {
            for option in ["tags", "tag-glob"] {
                if let Ok(Some(selection)) = Selection::compile(&patterns(option, &[&pattern])) {
                    let _ = selection.select(std::slice::from_ref(&tag));
                }
            }
        }

        #[test]
        fn a_tag_is_a_glob_for_itself(tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}") {
            proptest::prop_assert_eq!(select(&patterns("tag-glob", &[&tag]), &tag), tag);
        }
    }
}
