//! The order in which manifests are pushed: each one after those that it names, since a registry may refuse a manifest
//! whose children or subject it does not hold.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::manifest::Manifest;

/// A manifest to push, and the manifests that it names.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) digest: Digest,
    pub(crate) names: Vec<Digest>,
}

impl Node {
    /// The manifest with its subject and, for an index, its entries.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let entries = manifest.entries().iter().chain(manifest.subject());
        Self {
            digest: manifest.digest.clone(),
            names: entries.map(|entry| entry.digest.clone()).collect(),
        }
    }
}

/// Groups the numbers of `nodes` into rounds: nothing names another node of its own round or of a later one. Names of
/// other manifests are ignored.
pub(crate) fn rounds(nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut numbers: BTreeMap<&Digest, Vec<usize>> = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        numbers.entry(&node.digest).or_default().push(number);
    }
    let mut waits = vec![0_usize; nodes.len()];
    let mut followers = vec![Vec::new(); nodes.len()];
    for ((number, node), wait) in nodes.iter().enumerate().zip(&mut waits) {
        for named in node.names.iter().filter_map(|name| numbers.get(name)) {
            for before in named.iter().filter(|before| **before != number) {
                *wait += 1;
                if let Some(followers) = followers.get_mut(*before) {
                    followers.push(number);
                }
            }
        }
    }
    let ready = waits.iter().enumerate().filter(|(_, wait)| **wait == 0);
    let mut round: Vec<usize> = ready.map(|(number, _)| number).collect();
    let mut rounds = Vec::new();
    while !round.is_empty() {
        let mut next = Vec::new();
        for follower in round.iter().filter_map(|number| followers.get(*number)) {
            for number in follower {
                if let Some(wait) = waits.get_mut(*number) {
                    *wait -= 1;
                    if *wait == 0 {
                        next.push(*number);
                    }
                }
            }
        }
        rounds.push(std::mem::replace(&mut round, next));
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(written: &[(&str, &[&str])]) -> Vec<Node> {
        let digest = |name: &&str| Digest::of(name.as_bytes());
        let node = |(name, names): &(&str, &[&str])| Node {
            digest: digest(name),
            names: names.iter().map(digest).collect(),
        };
        written.iter().map(node).collect()
    }

    #[test]
    fn each_manifest_comes_after_those_it_names() {
        let nodes = nodes(&[
            ("index", &["image", "attestation"]),
            ("attestation", &["image", "elsewhere"]),
            ("signature", &["index"]),
            ("image", &[]),
            ("image", &["image"]),
        ]);
        assert_eq!(
            rounds(&nodes),
            [vec![3], vec![4], vec![1], vec![0], vec![2]]
        );
        assert!(rounds(&[]).is_empty());
    }
}
