//! What a request needs to be allowed to do, as token servers are asked for it (distribution's token
//! scopes: `TYPE:NAME:ACTION,…`). Pure.

use std::collections::BTreeSet;
use std::fmt;

/// What a request needs to be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(pub(super) BTreeSet<String>);

impl Scope {
    /// Nothing but to be known.
    pub(crate) fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// To read `repository`.
    pub(crate) fn pull(repository: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{repository}:pull")]))
    }

    /// To write `repository`.
    pub(crate) fn push(repository: &str) -> Self {
        Self(BTreeSet::from([format!(
            "repository:{repository}:pull,push"
        )]))
    }

    /// To delete in `repository`, where that is a right of its own.
    pub(crate) fn delete(repository: &str) -> Self {
        Self(BTreeSet::from([format!(
            "repository:{repository}:pull,push,delete"
        )]))
    }

    /// This, and what `named` (as a challenge has it, with spaces between scopes) asks for besides; `None`
    /// where that is nothing.
    pub(crate) fn widened(&self, named: &str) -> Option<Self> {
        let missing = |scope: &&str| !self.0.iter().any(|own| covers(own, scope));
        let more: Vec<&str> = named.split_whitespace().filter(missing).collect();
        let more = more.into_iter().map(str::to_owned);
        let wider = Self(self.0.iter().cloned().chain(more).collect());
        (wider != *self).then_some(wider)
    }

    /// This and what `other` allows.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<&str> = self.0.iter().map(String::as_str).collect();
        f.write_str(&scopes.join(" "))
    }
}

/// Whether `own` allows all that `scope` does, of the same thing.
fn covers(own: &str, scope: &str) -> bool {
    let parts = |scope: &str| {
        let (thing, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
        let actions: BTreeSet<String> = actions.split(',').map(str::to_owned).collect();
        (thing.to_owned(), actions)
    };
    let (own, scope) = (parts(own), parts(scope));
    own.0 == scope.0 && scope.1.is_subset(&own.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let widened = |named: &str| Some(Scope::push("x").widened(named)?.to_string());
        assert_eq!(widened("repository:x:push,pull"), None);
        assert_eq!(widened(" repository:x:pull  repository:x:push"), None);
        assert_eq!(widened(""), None);
        assert_eq!(
            widened("repository:m/x:pull repository:x:pull").as_deref(),
            Some("repository:m/x:pull repository:x:pull,push")
        );
        assert_eq!(
            widened("repository:x:delete").as_deref(),
            Some("repository:x:delete repository:x:pull,push")
        );
    }
}
