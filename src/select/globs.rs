//! A list of globs in one option, taken apart.

use std::str::Chars;

use crate::error::{Error, Result};

/// The globs of one option: commas stand between them, except inside `{}` and `[]` and after a backslash.
///
/// Each line is a list of its own, and a blank line is none.
///
/// ```
/// use barge::select::split_globs;
///
/// assert_eq!(split_globs(r"3.*,{a,b}*, [x,y]").unwrap(), ["3.*", "{a,b}*", "[x,y]"]);
/// assert!(split_globs("3.*,").is_err());
/// ```
///
/// # Errors
///
/// `usage` where a glob is empty, or there is none.
pub fn split_globs(globs: &str) -> Result<Vec<String>> {
    split(globs).map_err(|cause| Error::usage(format!("glob '{globs}' {cause}")))
}

pub(super) fn split(globs: &str) -> std::result::Result<Vec<String>, String> {
    let mut found = Vec::new();
    for line in globs.lines().filter(|line| !line.trim().is_empty()) {
        found.extend(split_line(line));
    }
    if found.is_empty() {
        return Err("is empty, which matches no tag".to_owned());
    }
    if found.iter().any(String::is_empty) {
        return Err("has an empty glob beside a comma".to_owned());
    }
    Ok(found)
}

fn split_line(line: &str) -> Vec<String> {
    let mut globs = vec![String::new()];
    let mut braces = 0_usize;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let mut taken = String::from(c);
        match c {
            ',' if braces == 0 => {
                globs.push(String::new());
                continue;
            }
            '\\' => taken.extend(characters.next()),
            '[' => taken.push_str(take_class(&mut characters)),
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        if let Some(glob) = globs.last_mut() {
            glob.push_str(&taken);
        }
    }
    globs.iter().map(|glob| glob.trim().to_owned()).collect()
}

/// Takes what follows a `[` up to its `]`, which is not one that comes first: that one is in the class.
fn take_class<'a>(characters: &mut Chars<'a>) -> &'a str {
    let rest = characters.as_str();
    let negated = usize::from(rest.starts_with(['!', '^']));
    let inside = rest.get(negated..).unwrap_or_default();
    let first = usize::from(inside.starts_with(']'));
    let length = inside
        .get(first..)
        .and_then(|members| members.find(']'))
        .map_or(rest.len(), |end| negated + first + end + 1);
    let (class, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
    *characters = after.chars();
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_braces_and_brackets_belong_to_the_glob() {
        let cases: [(&str, &[&str]); 9] = [
            ("a,b", &["a", "b"]),
            ("{a,b}*,c", &["{a,b}*", "c"]),
            ("{a,{b,c}},d", &["{a,{b,c}}", "d"]),
            ("[a,b],c", &["[a,b]", "c"]),
            ("[],a],b", &["[],a]", "b"]),
            ("[!],{],b", &["[!],{]", "b"]),
            (r"a\,b,c", &[r"a\,b", "c"]),
            (r"\{a,b", &[r"\{a", "b"]),
            ("a\r\n\r\nb,c\r\n", &["a", "b", "c"]),
        ];
        for (written, globs) in cases {
            assert_eq!(split_globs(written).unwrap(), globs, "{written:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(globs in ".*") {
            let _ = split_globs(&globs);
        }

        #[test]
        fn splitting_again_changes_nothing(globs in "[a{},\\[\\]!\\\\*]{1,12}") {
            if let Ok(split) = split_globs(&globs) {
                for glob in split {
                    proptest::prop_assert_eq!(split_globs(&glob).unwrap(), [glob]);
                }
            }
        }
    }
}
