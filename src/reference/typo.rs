//! Words before a colon that look like a transport and are none of ours: another tool's, or misspelt.

use super::Parsed;

/// Transports of other tools, which barge does not speak.
const FOREIGN: [&str; 10] = [
    "oci-layout",
    "dir",
    "docker-daemon",
    "containers-storage",
    "ostree",
    "sif",
    "tarball",
    "ocidir",
    "atomic",
    "docker-tar",
];

/// The transports that barge speaks, besides `docker://`.
const LOCAL: [&str; 3] = ["oci", "oci-archive", "docker-archive"];

/// Refuses a word that is another tool's transport, or nearly one.
pub(super) fn check(word: &str) -> Parsed<()> {
    if FOREIGN.contains(&word) {
        return Err(format!(
            "barge does not speak the transport `{word}:`; use docker://, oci:, oci-archive: or docker-archive:"
        ));
    }
    let near = LOCAL.iter().chain(&FOREIGN).find(|name| {
        let tolerance = if name.len() <= 4 { 1 } else { 2 };
        distance(&word.to_lowercase(), name) <= tolerance
    });
    let family = ["oci-", "docker-", "containers-"]
        .iter()
        .any(|start| word.starts_with(start));
    match near {
        Some(name) => Err(format!(
            "`{word}:` is no transport; did you mean {name}:? An image of that name on Docker Hub is docker://{word}:TAG"
        )),
        None if family => Err(format!(
            "`{word}:` is no transport; an image of that name on Docker Hub is docker://{word}:TAG"
        )),
        None => Ok(()),
    }
}

/// The Levenshtein distance of two short words, where swapping two neighbours counts as one.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, &a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let at =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&row, j) + usize::from(a != b))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(&b) && right.get(j - 1) == Some(&a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(left.len())
}
