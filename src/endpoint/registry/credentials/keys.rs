//! The keys of `auths` and `credHelpers`: hosts, paths in hosts, and the forms of older tools. Pure.

/// What Docker calls its hub in `auths` and to its helpers.
pub(super) const HUB: &str = "https://index.docker.io/v1/";

/// The port that HTTPS has without one.
pub(super) const PORT: &str = ":443";

/// The key among `keys` that is the most specific one for `path` at `host`: `host/ns/repo` before
/// `host/ns` before `host`, each as it is; then the host in an older form.
pub(super) fn best<'a>(
    keys: &(impl Iterator<Item = &'a str> + Clone),
    host: &str,
    path: &str,
) -> Option<&'a str> {
    let mut scope = if path.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    };
    loop {
        let exact = keys.clone().find(|key| *key == scope);
        if let Some(key) = exact.or_else(|| keys.clone().find(|key| is_same(key, &scope))) {
            return Some(key);
        }
        match scope.rfind('/') {
            Some(slash) => scope.truncate(slash),
            None => break,
        }
    }
    keys.clone().find(|key| names_host(key, host))
}

/// Whether two names are one: hosts have no case, repositories have.
pub(super) fn is_same(key: &str, scope: &str) -> bool {
    let length = scope.find('/').unwrap_or(scope.len());
    let slash = key.find('/').unwrap_or(key.len());
    let ((host, path), (other, rest)) = (key.split_at(slash), scope.split_at(length));
    is_same_host(host, other) && path == rest
}

/// Whether two hosts are one origin for HTTPS.
fn is_same_host(host: &str, other: &str) -> bool {
    let bare = |host: &str| host.strip_suffix(PORT).unwrap_or(host).len();
    let (host, other) = (&host[..bare(host)], &other[..bare(other)]);
    host.eq_ignore_ascii_case(other)
}

/// Whether `key` means the whole of `host`, in whatever form.
pub(super) fn names_host(key: &str, host: &str) -> bool {
    let bare = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let name = bare.split('/').next().unwrap_or_default();
    let whole_host = bare
        .strip_prefix(name)
        .is_some_and(|path| matches!(path, "" | "/" | "/v1" | "/v1/" | "/v2" | "/v2/"));
    whole_host && (is_same_host(name, host) || is_hub(name) && is_hub(host))
}

/// Whether `host` is one of the names of Docker Hub.
pub(super) fn is_hub(host: &str) -> bool {
    matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_key_wins() {
        let keys = [
            "q.io",
            "q.io/ns",
            "q.io/ns/repo",
            HUB,
            "https://old.io",
            "http://older.io/v2/",
            "https://path.io/other",
        ];
        let best = |host, path| best(&keys.iter().copied(), host, path);
        assert_eq!(best("q.io", "ns/repo"), Some("q.io/ns/repo"));
        assert_eq!(best("q.io", "ns/other"), Some("q.io/ns"));
        assert_eq!(best("q.io", "ns/repo/deeper"), Some("q.io/ns/repo"));
        assert_eq!(best("q.io", "nsx"), Some("q.io"));
        assert_eq!(best("q.io", ""), Some("q.io"));
        assert_eq!(best("docker.io", "library/x"), Some(HUB));
        assert_eq!(best("registry-1.docker.io", "library/x"), Some(HUB));
        assert_eq!(best("old.io", "x"), Some("https://old.io"));
        assert_eq!(best("older.io", "x"), Some("http://older.io/v2/"));
        assert_eq!(best("path.io", "x"), None);
        assert_eq!(best("none.io", "x"), None);
        assert_eq!(best("q.io:5000", "x"), None);
        assert_eq!(best("q.io:443", "ns/repo"), Some("q.io/ns/repo"));
        assert_eq!(best("old.io:443", "x"), Some("https://old.io"));
        let port = ["p.io:443/ns", "[::1]:443"].into_iter();
        assert_eq!(super::best(&port, "p.io", "ns/x"), Some("p.io:443/ns"));
        assert_eq!(super::best(&port, "[::1]", "x"), Some("[::1]:443"));
        assert_eq!(super::best(&port, "[::1]:5443", "x"), None);
        assert_eq!(best("Q.io", "ns/repo"), Some("q.io/ns/repo"));
        assert_eq!(best("Q.io", "NS/repo"), Some("q.io"));
        assert_eq!(best("Old.IO", "x"), Some("https://old.io"));
        let both = ["Q.io", "q.io"].into_iter();
        assert_eq!(super::best(&both, "q.io", "x"), Some("q.io"));
    }

    #[test]
    fn every_name_of_the_hub_is_the_hub() {
        for key in ["docker.io", "index.docker.io", "registry-1.docker.io", HUB] {
            assert!(names_host(key, "docker.io"), "{key}");
        }
        assert!(!names_host("hub.docker.io", "docker.io"));
    }
}
