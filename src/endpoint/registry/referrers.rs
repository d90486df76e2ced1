//! Referrers (distribution-spec 1.1, "Listing Referrers", "Unavailable Referrers API"): by the API where the
//! registry has one, else by the tag that stands in for it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::pages::Pages;
use super::request::{Call, Reply};
use super::{Repository, failure};
use crate::endpoint::{Had, Listed, Listing, Naming, Target};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Side};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest, media_type};
use crate::image::referrers::{Additions, MOST, Types, is_itself, list_tag, merge};
use crate::select::is_digest_tag;

/// How often a list is written before its other writers have won.
const TRIES: usize = 5;

/// How many bytes the pages of one list may have before the last one.
const LONGEST: usize = 4 * MAX_MANIFEST_BYTES;

/// What the API says.
enum Answer {
    /// These refer to it.
    Referrers(Vec<Descriptor>),
    /// The registry does not know what they would refer to (Quay: 400).
    Unknown,
    /// There is no such API.
    NoApi,
}

const SHORTEN: &str = "a registry without the referrers API keeps them in one list: take out of it what is no longer needed, or copy fewer with --referrers=TYPE";

impl Repository {
    /// What refers to `subject`, of these `types` as far as the registry tells types.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub async fn referrers(&self, subject: &Digest, types: &Types) -> Result<Listed> {
        match self.asked(subject, types, self.side).await? {
            Answer::Referrers(entries) => Ok(Listed {
                entries,
                lost: Vec::new(),
            }),
            Answer::Unknown | Answer::NoApi => self.listed(subject).await,
        }
    }

    /// Whether the registry knows of manifests that refer to `subject`. `None`: it cannot be asked.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached, does not allow it, or answers something else than an index.
    pub async fn has_referrers(&self, subject: &Digest) -> Result<Option<bool>> {
        // Who may not look does not know: that must not read as nothing.
        let every = Types::default();
        Ok(match self.asked(subject, &every, Side::Source).await? {
            Answer::Referrers(found) => Some(!found.is_empty()),
            Answer::Unknown | Answer::NoApi => None,
        })
    }

    /// Asks the API, of which the first answer tells whether there is one.
    async fn asked(&self, subject: &Digest, types: &Types, side: Side) -> Result<Answer> {
        let mut first = None;
        let learn = async {
            let answer = self.ask(subject, types, side).await?;
            let served = !matches!(answer, Answer::NoApi);
            first = Some(answer);
            Ok::<_, Error>(served)
        };
        let served = *self.referrers_api.get_or_try_init(|| learn).await?;
        match first {
            Some(answer) => Ok(answer),
            None if served => self.ask(subject, types, side).await,
            None => Ok(Answer::NoApi),
        }
    }

    /// Whether an answer has shown that there is the API.
    pub fn has_referrers_api(&self) -> bool {
        self.referrers_api.get() == Some(&true)
    }

    async fn ask(&self, subject: &Digest, types: &Types, side: Side) -> Result<Answer> {
        let path = format!("referrers/{subject}");
        let mut call = self.call(Method::GET, &path, "list referrers of").await?;
        call.target = self.named(&Target::Digest(subject.clone()));
        call.longest.0 = MAX_MANIFEST_BYTES;
        call.headers
            .insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        if let Some(only) = types.only() {
            call.url.query_pairs_mut().append_pair("artifactType", only);
        }
        let (mut found, mut pages) = (Vec::new(), Pages::within(LONGEST));
        let first = call.url.clone();
        loop {
            let reply = self.small(call.clone()).await?;
            let is_first = call.url == first;
            match reply.status.as_u16() {
                404 | 405 | 501 if is_first => return Ok(Answer::NoApi),
                400 if is_first => return Ok(Answer::Unknown),
                _ if is_first && reply.is_absent(side) => return Ok(Answer::Unknown),
                _ if !reply.status.is_success() => return Err(self.error_of(&reply, &call)),
                _ => {}
            }
            found.extend(listed_by(&reply, &call)?.all_entries().cloned());
            if found.len() > MOST {
                let cause = format!("there are more than {MOST}");
                return Err(call.error(Kind::InvalidManifest).because(cause));
            }
            match pages.turn(&call, &reply)? {
                Some(next) => call.url = next,
                None => return Ok(Answer::Referrers(found)),
            }
        }
    }

    /// What the list says that stands in for the API.
    async fn listed(&self, subject: &Digest) -> Result<Listed> {
        let tag = list_tag(subject);
        let mut listed = Listed::default();
        match self.digest_tagged(&tag).await? {
            None => {}
            Some(Err(lost)) => listed.lost.push(lost),
            Some(Ok(list)) if is_itself(&tag, &list.digest) => {}
            Some(Ok(list)) if list.is_index() => {
                listed.entries = list.all_entries().cloned().collect();
            }
            // What is to be added to it at the destination fails, and tells.
            Some(Ok(_)) if self.side == Side::Destination => {}
            Some(Ok(_)) => {
                let warning = format!(
                    "{} is an image, not a list of referrers; it is left out",
                    self.named(&Target::Tag(tag))
                );
                self.backoff.events.send(Event::Warning(warning));
            }
        }
        Ok(listed)
    }

    /// What is under the tag of a list.
    async fn list(&self, tag: &str) -> Result<Option<Manifest>> {
        let found = self.manifest(&Target::Tag(tag.to_owned())).await?;
        Ok(found.filter(|found| !is_itself(tag, &found.digest)))
    }

    /// What is under a digest tag; `None` where there is no such tag. One that the registry lists has to be
    /// there.
    ///
    /// # Errors
    ///
    /// When it could not be found out.
    pub(in crate::endpoint) async fn digest_tagged(&self, tag: &str) -> Result<Option<Had>> {
        let is_listed = self.lists_tag(tag).await?;
        if is_listed == Some(false) {
            return Ok(None);
        }
        let read = self.manifest(&Target::Tag(tag.to_owned())).await;
        if is_listed.is_none() && matches!(read, Ok(None)) {
            return Ok(None);
        }
        Naming::tag(tag).had(read, self).map(Some)
    }

    /// Whether a digest tag is listed. At a source one list of its tags tells of all of them; where it does
    /// not list its tags, and at a destination, each has to be asked for: `None`.
    async fn lists_tag(&self, tag: &str) -> Result<Option<bool>> {
        if self.side == Side::Destination || self.each.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let known = self.digest_tags.get_or_try_init(|| async {
            match self.list_tags().await {
                Ok(tags) => Ok(Some(digest_tags(&tags))),
                Err(error) if cannot_list(&error) => {
                    tracing::info!(%error, "each digest tag is asked for, since no list tells");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        });
        let known = known.await?;
        Ok(known.as_ref().map(|known| known.contains(tag)))
    }

    /// Has each digest tag be asked for, although one list may tell of all: for who asks for few.
    pub fn ask_for_each(&self) {
        self.each.store(true, Ordering::Relaxed);
    }

    /// Remembers which digest tags are among all `tags`.
    pub(super) fn note_digest_tags(&self, tags: &[String]) {
        // It fails where they are known already, or somebody is finding them out.
        drop(self.digest_tags.set(Some(digest_tags(tags))));
    }

    /// Puts what refers to something, by its digest.
    ///
    /// # Errors
    ///
    /// As [`Repository::put_manifest`].
    pub async fn put_referrer(&self, manifest: &Manifest) -> Result<Listing> {
        let target = Target::Digest(manifest.digest.clone());
        let reply = self.put_for_reply(manifest, &target).await?;
        Ok(if reply.is_some_and(|reply| acknowledges(&reply)) {
            Listing::Done
        } else {
            Listing::Wanted
        })
    }

    /// Enters `added` into the list under `tag`. Registries cannot compare and swap, so the
    /// list is read again after it was written; another writer may still win after that.
    ///
    /// # Errors
    ///
    /// `conflict` when others write it again and again, or its tag holds an image.
    pub async fn add_to_list(&self, tag: &str, added: &Additions) -> Result<()> {
        let target = Target::Tag(tag.to_owned());
        for _ in 0..TRIES {
            let Some(list) = self.merged_list(tag, added).await? else {
                return Ok(());
            };
            self.put_manifest(&list, &target).await?;
        }
        match self.merged_list(tag, added).await? {
            None => Ok(()),
            Some(_) => Err(self.lost_race(tag)),
        }
    }

    /// The list under `tag` with `added` in it; `None` where they are in it.
    ///
    /// # Errors
    ///
    /// `conflict` when its tag holds an image, or when it could not be read.
    pub async fn merged_list(&self, tag: &str, added: &Additions) -> Result<Option<Manifest>> {
        let list = self.list(tag).await?;
        merge(list.as_ref(), added).map_err(|error| {
            let target = Target::Tag(tag.to_owned());
            let named = Error::new(error.kind(), "write", self.named(&target));
            let advice = error.advice().unwrap_or_else(|| SHORTEN.to_owned());
            named.because(error.cause()).hint(advice)
        })
    }

    /// The error of a list that others write at the same time.
    pub fn lost_race(&self, tag: &str) -> Error {
        let target = Target::Tag(tag.to_owned());
        Error::new(Kind::Conflict, "write", self.named(&target))
            .because("somebody else keeps writing it, and what was added is lost each time")
            .hint("run the same command again when nobody else signs or copies to this repository")
    }
}

/// Whether the registry has entered what was put among the referrers of its subject.
fn acknowledges(reply: &Reply) -> bool {
    reply.headers.contains_key("oci-subject")
}

/// The index of referrers that `reply` is.
pub(super) fn listed_by(reply: &Reply, call: &Call) -> Result<Manifest> {
    let index = Manifest::parse(reply.body.clone(), Some(media_type::OCI_INDEX));
    let why = match index {
        Ok(index) if index.is_index() => return Ok(index),
        Ok(other) => format!("it is of the type {}", other.media_type),
        Err(error) => error.cause().to_owned(),
    };
    let kind = reply.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    let kind = failure::shown(kind.unwrap_or("of no type"));
    let why = failure::shown(&why);
    let (status, path) = (reply.status.as_u16(), call.url.path());
    let cause =
        format!("the answer to GET {path} ({status}, {kind}) is no index of referrers: {why}");
    Err(call.error(Kind::Protocol).because(cause).hint(
        "a registry without the referrers API answers 404, and its sha256-<hex> tags are read then; whoever runs this one, or a proxy in front of it, has to mend that answer; without --referrers nothing is asked",
    ))
}

fn digest_tags(tags: &[String]) -> BTreeSet<String> {
    let digest_tags = tags.iter().filter(|tag| is_digest_tag(tag));
    digest_tags.cloned().collect()
}

/// Whether an error means that the tags are not for this reader, or never listed.
fn cannot_list(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::NotFound | Kind::Denied | Kind::Unauthorized | Kind::Unsupported | Kind::Protocol
    )
}
