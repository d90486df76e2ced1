//! Staging: a tag's root goes to the destination by its digest, where no reader of tags sees it. What
//! is staged may expire, so it is looked after until the flip.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::super::{Tag, TagEnd, TagJob, work};
use super::{AT_ONCE, Rollback};
use crate::endpoint::registry::Repository;
use crate::endpoint::{Endpoint, Head, Target};
use crate::error::{Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::Manifest;

/// A staged root this old is put again before the flip. Quay keeps an untagged manifest for an hour.
const OLD: Duration = Duration::from_mins(20);
/// How often what has expired is staged again before the run gives up.
const ROUNDS: usize = 3;

/// What a tag is to point at, once it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// What the tag pointed at when it was looked at.
    pub(super) before: Option<Digest>,
    pub(super) root: Manifest,
    /// Whether the destination lacked it, and this run pushed it.
    pub(super) pushed: bool,
    at: Instant,
}

impl Tag {
    /// Whether the destination had no such manifest before this run put it there. Asked before it is put,
    /// by whichever tag comes first: what is one tag's child may be another's root.
    pub(in super::super) async fn lacked(&self, digest: &Digest) -> Result<bool> {
        let destination = &self.shared.destination;
        let target = Target::Digest(digest.clone());
        let lacked = self.shared.lacked.run(digest, async {
            let Endpoint::Registry(repository) = destination else {
                return Ok(self.head_of_sound(&target).await?.is_none());
            };
            match repository.head_for_certain(&target).await {
                Ok(head) => Ok(head.is_none()),
                // Who may not look does not know.
                Err(error) if matches!(error.kind(), Kind::Denied | Kind::Unauthorized) => {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        });
        Ok(lacked.await?.into_inner())
    }

    /// Puts `root` by its digest, in place of showing it.
    pub(in super::super) async fn stage(&mut self, root: &Manifest) -> Result<()> {
        let pushed = self.lacked(&root.digest).await?;
        self.put(root).await?;
        self.staged = Some(Staged {
            before: self.there.clone().map(|Head { digest, .. }| digest),
            root: root.clone(),
            pushed,
            at: Instant::now(),
        });
        Ok(())
    }
}

/// What a staged root needs before its tag is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// To be put again, so that it does not expire just now.
    Renewal,
    /// To be staged again, it is gone.
    Staging,
}

fn need(there: Option<&Head>, age: Duration) -> Need {
    match there {
        None => Need::Staging,
        Some(_) if age >= OLD => Need::Renewal,
        Some(_) => Need::Nothing,
    }
}

impl Rollback<'_> {
    /// Makes sure that everything staged is there. `None`: a tag failed, or a signal came.
    pub(super) async fn refresh(&mut self, repository: &Repository) -> Option<()> {
        for _ in 0..ROUNDS {
            let gone = self.gone(repository).await?;
            if gone.is_empty() {
                return Some(());
            }
            self.stage_again(gone).await;
            if !self.is_good() {
                return None;
            }
        }
        for tag in self.gone(repository).await? {
            let error = Error::new(Kind::Unsupported, "stage", format!("{repository}:{tag}"))
                .because("the registry drops manifests without a tag before the tags can be moved")
                .hint("let it keep them for an hour, or use --policy best-effort");
            self.fail(&tag, error);
        }
        self.is_good().then_some(())
    }

    /// The tags whose staged root has expired; those that may expire soon are renewed.
    async fn gone(&mut self, repository: &Repository) -> Option<Vec<String>> {
        let staged = self.ends.iter().filter_map(|end| {
            let (tag, staged) = (end.tag()?, end.staged.as_ref()?);
            Some((tag, staged))
        });
        let looks = stream::iter(staged).map(|(tag, staged)| async move {
            let gone = is_gone(repository, &staged.root, staged.at.elapsed()).await;
            (tag, gone)
        });
        let looks = looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let looks = async { (looks.await, self.bereft(repository).await) };
        let (mut looks, others) = self.stop.soon.run_until_cancelled(looks).await?;
        looks.extend(others);
        let mut gone = Vec::new();
        for (tag, look) in looks {
            match look {
                Ok(true) => gone.push(tag),
                Ok(false) => {}
                Err(error) => self.fail(&tag, error),
            }
        }
        self.is_good().then_some(gone)
    }

    /// The tags with staged attachments, and whether any of these have expired.
    async fn bereft(&self, repository: &Repository) -> Vec<(String, Result<bool>)> {
        let attachment_tags = self.shared.staged_attachment_tags().clone();
        let staged = attachment_tags.staged().filter_map(|(owner, digest)| {
            let end = self.ends.iter().find(|end| end.outcome.tag == owner)?;
            Some((end.tag()?, digest))
        });
        let looks = stream::iter(staged).map(|(tag, digest)| async move {
            let target = Target::Digest(digest.clone());
            let there = repository.head_for_certain(&target).await;
            (tag, there.map(|there| there.is_none()))
        });
        looks.buffer_unordered(AT_ONCE).collect().await
    }

    async fn stage_again(&mut self, tags: Vec<String>) {
        let jobs: Vec<TagJob> = self
            .ends
            .iter()
            .filter(|end| end.tag().is_some_and(|tag| tags.contains(&tag)))
            .map(|end| end.job.clone())
            .collect();
        // What the source had when it listed its tags may be more now.
        self.shared.source.expect_few_subjects();
        // What was remembered of this run to be there may have expired too.
        let shared = Arc::new(self.shared.again());
        let mut again = Vec::new();
        work(&shared, jobs, self.stop, |end| again.push(end)).await;
        let attachment_tags = shared.staged_attachment_tags().clone();
        self.shared.staged_attachment_tags().absorb(attachment_tags);
        for end in again {
            let place = self
                .ends
                .iter_mut()
                .find(|old| old.job.name == end.job.name);
            if let Some(old) = place {
                old.replace(end);
            }
        }
    }
}

/// Whether what was staged is gone. What is old is put again, which fails where its children are gone.
async fn is_gone(repository: &Repository, root: &Manifest, age: Duration) -> Result<bool> {
    let target = Target::Digest(root.digest.clone());
    let there = repository.head_for_certain(&target).await?;
    match need(there.as_ref(), age) {
        Need::Nothing => Ok(false),
        Need::Staging => Ok(true),
        Need::Renewal => match repository.put_manifest(root, &target).await {
            Ok(()) => Ok(false),
            Err(error) if lacks_content(&error) => Ok(true),
            Err(error) => Err(error),
        },
    }
}

/// Whether a refusal of a manifest may mean that what it names is not there: registries differ in words.
pub(super) fn lacks_content(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::NotFound | Kind::InvalidManifest | Kind::Protocol
    )
}

impl TagEnd {
    /// The destination's tag; `None` for what is pushed by digest alone.
    pub(super) fn tag(&self) -> Option<String> {
        match &self.job.destination {
            Target::Tag(tag) => Some(tag.clone()),
            Target::Digest(_) => None,
        }
    }

    pub(super) fn writes(&self, tag: &str) -> bool {
        self.tag().as_deref() == Some(tag)
    }

    /// Takes the place of what was staged before. The first staging found the destination as it was
    /// before this run.
    fn replace(&mut self, again: Self) {
        let first = self.staged.take();
        let bytes = self.outcome.bytes.saturating_add(again.outcome.bytes);
        *self = again;
        self.outcome.bytes = bytes;
        if let (Some(first), Some(staged)) = (first, &mut self.staged)
            && first.root.digest == staged.root.digest
        {
            staged.pushed |= first.pushed;
        }
    }
}

/// The staged roots of `shared` are its own business.
#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;
    use crate::endpoint::backoff::Backoff;
    use crate::endpoint::registry::credentials::{CredentialSource, Credentials};
    use crate::endpoint::registry::{RegistriesConf, RegistryOptions, Tls};
    use crate::event::{Events, Side};
    use crate::reference::{Reference, Role};

    #[test]
    fn what_is_staged_is_looked_after() {
        let there = Head {
            media_type: "m".into(),
            digest: Digest::of(b"x"),
        };
        let minutes = Duration::from_mins;
        for (there, age, expected) in [
            (Some(&there), minutes(0), Need::Nothing),
            (Some(&there), minutes(19), Need::Nothing),
            (Some(&there), minutes(20), Need::Renewal),
            (Some(&there), minutes(600), Need::Renewal),
            (None, minutes(0), Need::Staging),
            (None, minutes(600), Need::Staging),
        ] {
            assert_eq!(need(there, age), expected, "{age:?}");
        }
    }

    /// What becomes of a PUT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Put {
        /// It gets this status.
        Answered(u16),
        /// It arrives, and the connection closes.
        Unanswered,
        /// Nobody listens any longer.
        Unsent,
    }

    /// A server that answers all but a PUT with 200; the methods that came.
    fn server(put: Put) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let came = Arc::new(Mutex::new(Vec::new()));
        let methods = Arc::clone(&came);
        std::thread::spawn(move || {
            let mut listener = Some(listener);
            while let Some(listening) = &listener {
                let (stream, _) = listening.accept().expect("a connection");
                let mut stream = BufReader::new(stream);
                if stream.fill_buf().expect("a request").first() == Some(&22) {
                    // TLS is tried first; a line of text says that this is no such server.
                    let written = stream.get_mut().write_all(b"HTTP/1.1 400 x\r\n\r\n");
                    written.expect("a client that listens");
                    continue;
                }
                let (mut line, mut length) = (String::new(), 0);
                stream.read_line(&mut line).expect("a request");
                let method = line.split(' ').next().unwrap_or_default().to_owned();
                while line.trim_end() != "" {
                    line.clear();
                    stream.read_line(&mut line).expect("a header");
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                }
                stream.read_exact(&mut vec![0; length]).expect("a body");
                let status = match put {
                    Put::Unanswered if method == "PUT" => continue,
                    Put::Answered(status) if method == "PUT" => status,
                    _ => 200,
                };
                if put == Put::Unsent {
                    listener = None;
                }
                methods.lock().expect("no panic").push(method);
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nContent-Type: m\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let written = stream.get_mut().write_all(answer.as_bytes());
                written.expect("a client that listens");
            }
        });
        (host, came)
    }

    fn repository(host: &str) -> Repository {
        let text = format!("docker://{host}/y");
        let reference = Reference::parse(&text, Role::Destination).expect("a reference");
        let Reference::Registry(reference) = reference else {
            panic!("{text} names a registry");
        };
        let options = RegistryOptions {
            side: Side::Destination,
            blame: None,
            credentials: CredentialSource::Given(Credentials::Anonymous),
            tls: Tls {
                verify: None,
                cert_dir: None,
                certs_d: Vec::new(),
            },
            registries: RegistriesConf::default(),
            stall: Duration::from_secs(5),
            backoff: Backoff {
                times: 0,
                events: Events::ignored(),
            },
            requests: 1,
        };
        Repository::new(&reference, options).expect("a repository")
    }

    #[tokio::test]
    async fn what_is_old_is_put_again() {
        // Fails where another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let body = br#"{"schemaVersion": 2, "manifests": []}"#;
        let root = Manifest::parse(body.to_vec().into(), None).expect("an index");
        for (put, age, gone, puts) in [
            (201, OLD, Some(false), 1),
            (400, OLD, Some(true), 1),
            (404, OLD, Some(true), 1),
            (403, OLD, None, 1),
            (201, Duration::ZERO, Some(false), 0),
        ] {
            let (host, came) = server(Put::Answered(put));
            let found = is_gone(&repository(&host), &root, age).await;
            assert_eq!(found.ok(), gone, "{put}");
            let came = came.lock().expect("no panic");
            let count = came.iter().filter(|method| *method == "PUT").count();
            assert_eq!(count, puts, "{came:?}");
        }
    }

    #[tokio::test]
    async fn a_write_that_was_given_up_is_in_doubt() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let body = br#"{"schemaVersion": 2, "manifests": []}"#;
        let root = Manifest::parse(body.to_vec().into(), None).expect("an index");
        let target = Target::Tag("t".into());
        for (put, doubt) in [
            (Put::Answered(504), true),
            (Put::Unanswered, false),
            (Put::Answered(502), false),
            (Put::Answered(403), false),
            (Put::Answered(429), false),
            (Put::Answered(500), false),
            (Put::Answered(503), false),
            (Put::Unsent, false),
        ] {
            let (host, _) = server(put);
            let failed = repository(&host).try_put_manifest(&root, &target).await;
            let error = failed.expect_err("no success");
            assert_eq!(error.is_in_doubt(), doubt, "{put:?}: {error}");
        }
    }
}
