//! Credentials in a reference, where they do not belong: found, so that no error repeats them.

/// Where `USER:PASSWORD` before a host ends, if that is what `text` begins with: of what is before an `@`
/// and no name with a digest, the part behind the first colon, unless that is a port.
pub(super) fn credentials_end(text: &str) -> Option<usize> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let scheme = scheme.filter(|scheme| !scheme.contains([':', '@', '/']));
    let start = scheme.map_or(0, |scheme| scheme.len() + 3);
    let name = match text.rsplit_once('@') {
        Some((name, digest)) if digest.starts_with("sha") => name,
        _ => text,
    };
    let before = name.get(start..name.rfind('@')?)?;
    let (user, rest) = before.split_once(':')?;
    let is_port = rest
        .split_once('/')
        .is_some_and(|(port, _)| port.bytes().all(|byte| byte.is_ascii_digit()));
    (!user.contains(['/', '[']) && !is_port).then_some(start + before.len())
}

#[cfg(test)]
mod tests {
    use crate::reference::{Reference, Role};

    #[test]
    fn a_password_in_a_reference_is_not_repeated() {
        for text in [
            "docker://user:hidden@h.io/a",
            "user:hidden@h.io/a:1",
            "user:hidden@nginx",
            "user:hidden@docker://nginx",
            "user:hid/hidden@den@h.io/a",
            "docker://user:hidden@h.io/a@sha256:12",
        ] {
            let error = Reference::parse(text, Role::Source)
                .expect_err(text)
                .to_string();
            assert!(
                !error.contains("hidden") && error.contains("--src-creds"),
                "{error}"
            );
        }
        let no_password = "h.io:5000/a@latest";
        let error = Reference::parse(no_password, Role::Source).expect_err(no_password);
        assert!(error.to_string().contains(no_password), "{error}");
    }
}
