//! How a [`super::FakeRegistry`] behaves: every way that a registry in the field was seen to.
//!
//! The default is a strict registry open to all. Settings may change while it runs.

use std::time::Duration;

use crate::support::secrets;

/// All of them. `Settings { sparse: Sparse::On, ..Settings::default() }`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) sparse: Sparse,
    pub(crate) dialect: Dialect,
    pub(crate) sparse_header: SparseHeader,
    pub(crate) paging: Paging,
    pub(crate) auth: Auth,
    pub(crate) deletes: Deletes,
    pub(crate) mounts: Mounts,
    pub(crate) uploads: Uploads,
    pub(crate) blobs: Blobs,
    pub(crate) untagged: Untagged,
    pub(crate) referrers: Referrers,
    pub(crate) subjects: Subjects,
    /// How many GETs of manifests are still allowed, as Docker Hub counts them.
    pub(crate) pulls: Option<u64>,
}

impl Settings {
    /// Quay: its words, its header, its paging, its deletes.
    pub(crate) fn quay(sparse: Sparse) -> Self {
        Self {
            sparse,
            dialect: Dialect::Quay,
            sparse_header: SparseHeader::Sent,
            paging: Paging::Fixed(100),
            deletes: Deletes::KeepDigest,
            ..Self::default()
        }
    }
}

/// Whether an index may lack children.
#[derive(Clone, Debug, Default)]
pub(crate) enum Sparse {
    #[default]
    Off,
    On,
    /// Quay's `SPARSE_INDEX_REQUIRED_ARCHS`: children of these architectures must be there.
    Required {
        architectures: Vec<String>,
        empty: EmptyList,
    },
}

/// What an empty list of required architectures means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmptyList {
    RequiresNothing,
    RequiresEverything,
}

/// In whose words a manifest with something missing is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// 400 `MANIFEST_BLOB_UNKNOWN`, one error for each missing.
    #[default]
    Distribution,
    /// 400 `MANIFEST_INVALID`: by tag with the first missing child, by digest with an empty detail.
    /// Sizes are checked, a wrong digest is `BLOB_UPLOAD_INVALID`, and a type not accepted is converted.
    Quay,
    /// 404 `MANIFEST_UNKNOWN`, the first missing alone.
    Crane,
    /// 400 `MANIFEST_INVALID`, nothing named.
    Zot,
    /// 400 `MANIFEST_BLOB_UNKNOWN` with `manifest not found: …`.
    Olareg,
}

/// Whether `X-Sparse-Manifest-Support` is on `/v2/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SparseHeader {
    #[default]
    Absent,
    Sent,
}

/// How `tags/list` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paging {
    /// `n` and `last` as specified; Link relative, `rel="next"`.
    #[default]
    Relative,
    /// The same with an absolute Link.
    Absolute,
    /// The same with `rel=next` without quotes.
    Unquoted,
    /// Cut at `n`, and no Link.
    Cut,
    /// All tags, whatever `n` and `last` say, in no order.
    All,
    /// Pages of this size whatever `n` says, the next one by an opaque parameter of the relative Link.
    Fixed(usize),
    /// `"tags": null`.
    Null,
}

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub(crate) enum Auth {
    #[default]
    Open,
    Basic {
        user: String,
        password: String,
    },
    Bearer(Bearer),
}

impl Auth {
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        secrets::note_login(user, password);
        Self::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }
}

/// Tokens from `/token` on the same server.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    /// User and password that may do everything that is not in `denied`.
    pub(crate) credentials: Option<(String, String)>,
    /// What an `OAuth2` POST may send as `refresh_token` instead.
    pub(crate) identity_token: Option<String>,
    pub(crate) anonymous: Anonymous,
    /// Repository and action that nobody gets.
    pub(crate) denied: Vec<(String, String)>,
    pub(crate) ungranted: Ungranted,
    /// The status with which a token for two repositories is refused; `None` grants it.
    pub(crate) two_repositories: Option<u16>,
    /// How long a token is good, and whether the answer says so.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) lifetime_told: LifetimeTold,
    /// How many requests a token is good for.
    pub(crate) uses: Option<u32>,
    pub(crate) field: TokenField,
    pub(crate) mount: MountAuth,
    /// What a request with an expired token is answered: 401, or 400 as ECR Public does.
    pub(crate) expired: u16,
    /// What a request with a good token that does not allow it is answered.
    pub(crate) insufficient: u16,
    pub(crate) new_repositories: NewRepositories,
    /// Another realm than `http://HOST/token`.
    pub(crate) realm: Option<String>,
    /// Must be echoed exactly.
    pub(crate) service: String,
}

impl Default for Bearer {
    fn default() -> Self {
        Self {
            credentials: None,
            identity_token: None,
            anonymous: Anonymous::Everything,
            denied: Vec::new(),
            ungranted: Ungranted::NoActions,
            two_repositories: None,
            lifetime: None,
            lifetime_told: LifetimeTold::Yes,
            uses: None,
            field: TokenField::Token,
            mount: MountAuth::Challenge,
            expired: 401,
            insufficient: 401,
            new_repositories: NewRepositories::ByPush,
            realm: None,
            service: "fake registry".to_owned(),
        }
    }
}

impl Bearer {
    /// One user, nothing for anybody else.
    pub(crate) fn user(user: &str, password: &str) -> Self {
        secrets::note_login(user, password);
        Self {
            credentials: Some((user.to_owned(), password.to_owned())),
            anonymous: Anonymous::Nothing,
            ..Self::default()
        }
    }
}

/// What a token without credentials is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    Everything,
    Pull,
    /// A token, but good for nothing.
    Nothing,
    /// 401 from the token server.
    Refused,
}

/// What becomes of an action that is asked for and not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ungranted {
    /// A token without it.
    NoActions,
    /// This status from the token server.
    Status(u16),
}

/// Whether `expires_in` is in the token's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifetimeTold {
    Yes,
    No,
}

/// Under which name a token is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenField {
    Token,
    AccessToken,
    Both,
}

/// What a mount is answered whose token does not allow to pull from the other repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MountAuth {
    /// 401 with both scopes in the challenge.
    Challenge,
    /// 202 with an upload session.
    Session,
}

/// How a repository comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewRepositories {
    /// By its first blob or manifest.
    ByPush,
    /// Also by a token with push for it (Quay).
    ByToken,
}

/// What DELETE of a manifest does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deletes {
    /// By tag: that tag alone. By digest: the manifest and all its tags.
    #[default]
    Enabled,
    /// By tag: 400 `DIGEST_INVALID` (distribution 2.8).
    DigestOnly,
    /// By digest: the manifest, but its tags stay in the list (crane).
    KeepTags,
    /// By digest: every tag of it, yet it can still be read by digest (Quay).
    KeepDigest,
    /// 405.
    Off,
}

/// What a mount is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// 201 where the other repository has the blob.
    #[default]
    Honoured,
    /// Always 202 with a session (crane).
    Ignored,
}

/// How uploads go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Uploads {
    /// Absolute Location with a query that must come back.
    #[default]
    Absolute,
    /// The same with a relative Location.
    Relative,
}

/// How blobs are answered.
#[derive(Clone, Debug, Default)]
pub(crate) enum Blobs {
    #[default]
    Direct,
    /// `Range` is ignored: 200 with all of it.
    Whole,
    /// 307 to this base (`http://HOST:PORT/storage`) and the digest.
    Redirected(String),
}

/// What becomes of a manifest that its last tag has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Untagged {
    #[default]
    Kept,
    /// It is gone at once, unless an index names it (zot).
    Dropped,
}

/// What becomes of a manifest whose subject is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// It is stored, as the specification says.
    #[default]
    Expected,
    /// It is refused.
    Needed,
}

/// Whether there is a referrers API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Referrers {
    /// 404.
    #[default]
    Absent,
    /// With `OCI-Subject` on the PUT, and filtered by `artifactType`.
    Served,
    /// The same in pages of this many, and never filtered.
    Paged(usize),
    /// Quay: 400 for a digest that the repository does not have, and no `OCI-Subject`.
    Quay,
}
