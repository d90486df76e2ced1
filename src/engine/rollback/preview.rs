//! What putting tags back would come to, by looking alone: for dry runs. Whether the registry deletes a
//! tag is known only by doing it, so a tag that is to be deleted counts as deleted.

use futures_util::{StreamExt as _, stream};

use super::AT_ONCE;
use super::undo::{Undo, UndoJob};
use crate::endpoint::Head;
use crate::error::Result;
use crate::event::{Left, Undone};
use crate::journal::Move;
use crate::journal::undo::Action;

/// What an undo would do.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    /// What it would come to.
    pub undone: Undone,
    /// What the tags that it would change would point at then; `None`: the tag would be gone.
    pub tags: Vec<(String, Option<Head>)>,
}

/// Looks at the tags of a journal, and changes nothing.
pub(crate) async fn preview(job: UndoJob<'_>) -> Preview {
    let undo = Undo::of(job);
    let looks = stream::iter(&job.journal.tags).map(|moved| {
        let undo = &undo;
        async move { (moved, one(undo, moved).await) }
    });
    let mut looks = looks.buffered(AT_ONCE);
    let mut foreseen = Preview::default();
    foreseen.undone.finished = true;
    while let Some((moved, step)) = looks.next().await {
        let tag = moved.tag.clone();
        let undone = &mut foreseen.undone;
        match step {
            Ok(Step::Nothing) => {}
            Ok(Step::Restore(head)) => {
                undone.restored.push(tag.clone());
                foreseen.tags.push((tag, Some(head)));
            }
            Ok(Step::Delete) => {
                undone.deleted.push(tag.clone());
                foreseen.tags.push((tag, None));
            }
            Ok(Step::Leave(left)) => undone.left.push(left),
            Err(error) => {
                let error = undo.failed(&tag, &error);
                undone.left.push(Left { tag, error });
            }
        }
    }
    foreseen.undone.sort();
    foreseen
}

enum Step {
    Nothing,
    Restore(Head),
    Delete,
    Leave(Left),
}

async fn one(undo: &Undo<'_>, moved: &Move) -> Result<Step> {
    Ok(match undo.action(&moved.tag).await? {
        Action::Nothing => Step::Nothing,
        Action::Restore(before) => {
            let media_type = undo.job.journal.manifest(&before)?.media_type;
            Step::Restore(Head {
                media_type,
                digest: before,
            })
        }
        Action::Delete => Step::Delete,
        Action::Leave { found } => Step::Leave(Left {
            tag: moved.tag.clone(),
            error: undo.theirs(moved, found.as_ref()),
        }),
    })
}
