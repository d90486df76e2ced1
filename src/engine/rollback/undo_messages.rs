//! What is said of tags that an undo does not put back: whose they are, why, and what to do about it.

use super::undo::{Brought, Undo};
use crate::error::{Error, Kind};
use crate::image::digest::Digest;
use crate::image::referrers::may_be_list;
use crate::journal::Move;
use crate::select::is_list_tag;

impl Undo<'_> {
    pub(super) fn theirs(&self, moved: &Move, found: Option<&Digest>) -> Error {
        let cause = match found {
            Some(found) => format!("somebody else has made it point at {found} since"),
            None => "somebody else has deleted it since".to_owned(),
        };
        let error = Error::new(Kind::Conflict, "put back", self.name(&moved.tag)).because(cause);
        match &moved.before {
            _ if found.is_some() && self.is_list(moved) => error.hint(
                "it is left to them; lists of referrers only grow: what was in it before still is, unless they struck it out, and what this run listed may stay; nothing is to be done",
            ),
            Some(before) => error.hint(format!(
                "it is left to them; what it pointed at before comes back with: barge copy{} docker://{}@{before} docker://{}",
                self.job.options.access,
                self.job.repository,
                self.name(&moved.tag)
            )),
            None => error.hint("it is left to them; before this run there was no such tag"),
        }
    }

    /// Whether the tag is that of a list of referrers. To put the one from before there would take out what
    /// somebody has added.
    pub(super) fn is_list(&self, moved: &Move) -> bool {
        let journal = self.job.journal;
        let before = moved.before.as_ref();
        let before = before.map(|before| journal.manifest(before));
        is_list_tag(&moved.tag)
            && before.is_none_or(|before| before.is_ok_and(|before| may_be_list(&before)))
    }

    /// The same, once the registry has what the hint names: it may have dropped that with its tag.
    pub(super) async fn leave(&self, moved: &Move, found: Option<&Digest>) -> Error {
        let error = self.theirs(moved, found);
        let Some(before) = &moved.before else {
            return error;
        };
        if found.is_some() && self.is_list(moved) {
            return error;
        }
        let kept = async {
            let root = self.job.journal.manifest(before)?;
            self.bring_children(&root).await?;
            self.bring(&root).await
        };
        match kept.await {
            Ok(Brought::WasThere | Brought::Put) => error,
            Err(lost) => error.hint(format!(
                "it is left to them; what it pointed at before, {before}, may be gone ({})",
                lost.cause()
            )),
        }
    }

    pub(super) fn in_doubt(&self, tag: &str) -> Error {
        let cause = "a PUT of it got no answer, and the registry may still carry it out; when the tag was looked at last it was as before";
        Error::new(Kind::Unavailable, "put back", self.name(tag))
            .because(cause)
            .hint(format!("in a while, run: {}", self.command()))
    }

    /// The command line that finishes the work, once nothing is in its way.
    pub(super) fn command(&self) -> String {
        self.job.options.undo(self.job.path)
    }

    /// What did not work, and how to go on.
    pub(super) fn failed(&self, tag: &str, error: &Error) -> Error {
        let first = match error.kind() {
            Kind::Conflict => "let the registry move this tag, then run: ",
            Kind::Unsupported => "once that is out of the way, run: ",
            Kind::NotFound => "push the image again, or what it lacks, then run: ",
            Kind::Unauthorized => "with credentials (--creds, or log in first), run: ",
            Kind::Denied => "with the right to do this, run: ",
            _ => "run: ",
        };
        Error::new(error.kind(), "put back", self.name(tag))
            .because(error.cause())
            .hint(format!("{first}{}", self.command()))
    }

    pub(super) fn name(&self, tag: &str) -> String {
        format!("{}:{tag}", self.job.repository)
    }
}
