//! What has to hold in every round, whatever went wrong. A violation begins with the name of its law.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::found::{Found, Place, entries};
use super::plan::{Form, Plan, Policy, Run, Tag};
use super::processes::Ended;
use super::support::registry::{Deletes, Referrers};

type Holds = Result<(), String>;

fn holds(so: bool, otherwise: impl FnOnce() -> String) -> Holds {
    if so { Ok(()) } else { Err(otherwise()) }
}

/// Judges one round.
pub(crate) struct Judge<'a> {
    plan: &'a Plan,
    place: &'a Place,
    /// The tags that an undo has named as not put back.
    left: BTreeSet<String>,
    violations: Vec<String>,
    story: String,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(plan: &'a Plan, place: &'a Place) -> Self {
        Self {
            plan,
            place,
            left: BTreeSet::new(),
            violations: Vec::new(),
            story: format!("{plan:#?}\n"),
        }
    }

    /// The violations, and all that was noted.
    pub(crate) fn finish(self) -> (Vec<String>, String) {
        (self.violations, self.story)
    }

    fn note(&mut self, text: impl Display) {
        let _ = writeln!(self.story, "{text}");
    }

    fn check(&mut self, law: &str, holds: Holds) {
        if let Err(text) = holds {
            self.note(format!("VIOLATION {law}: {text}"));
            self.violations.push(format!("{law}: {text}"));
        }
    }

    /// Reads the place: it parses, and every tag is complete.
    pub(crate) fn look(&mut self, when: &str) -> Option<Found> {
        let found = self.place.read();
        let unread = found
            .as_ref()
            .map(|_| ())
            .map_err(|text| format!("{when}: {text}"));
        self.check("readable", unread);
        let found = found.ok()?;
        self.note(format!("{when}: {:#?}", found.tags));
        for (tag, digest) in &found.tags {
            let complete = found.is_complete(digest, &self.may_lack(tag));
            self.check(
                "complete",
                complete.map_err(|text| format!("{when}: {tag}: {text}")),
            );
        }
        Some(found)
    }

    /// The children that a sparse copy of the tag leaves out.
    fn may_lack(&self, name: &str) -> Vec<String> {
        let sparse = self.plan.runs.iter().filter(|run| run.is_sparse());
        let lacks = sparse.flat_map(|run| {
            let tag = run.tags.iter().filter(|tag| tag.name == name);
            tag.flat_map(|tag| tag.new().split(&run.architectures)[1].clone())
        });
        lacks.collect()
    }

    /// One process: it ends in time, by itself or by a signal that it got, and does not panic.
    pub(crate) fn process(&mut self, name: &str, ended: &Ended) {
        let (output, sent) = (&ended.output, &ended.sent);
        let (code, stdout, stderr) = (output.code, &output.stdout, &output.stderr);
        self.note(format!(
            "{name}: exit code {code:?}, signals {sent:?}\n{stdout}\n{stderr}"
        ));
        self.check("ends-in-time", holds(!ended.hung, || name.to_owned()));
        let panicked = code == Some(101) || stderr.contains("panicked at");
        self.check("no-panic", holds(!panicked, || name.to_owned()));
        let crashed = ended.was_killed() && sent.is_empty() && !ended.hung;
        self.check("no-crash", holds(!crashed, || name.to_owned()));
    }

    /// The runs of the round; they leave a journal only where not all is put back.
    pub(crate) fn runs(&mut self, ended: &[Ended], journals: &[PathBuf]) {
        let plan = self.plan;
        for (run, ended) in plan.runs.iter().zip(ended) {
            self.process(
                &format!("run {} {}", run.number, run.options.join(" ")),
                ended,
            );
        }
        let may_fail = plan.runs.len() > 1
            && (plan.to == Form::Archive
                || plan.runs.iter().any(|run| run.referrers)
                || plan.tags.iter().any(|tag| plan.is_contested(tag.name)));
        let quiet = plan.troubles.iter().all(super::faults::Trouble::is_none)
            && ended.iter().all(|ended| ended.sent.is_empty());
        let codes: Vec<_> = ended.iter().map(|ended| ended.output.code).collect();
        let succeeded = codes.iter().all(|code| *code == Some(0));
        let fine = succeeded || may_fail || !quiet;
        self.check(
            "succeeds-undisturbed",
            holds(fine, || format!("exit codes {codes:?}")),
        );
        if !codes.iter().any(|code| matches!(code, None | Some(5))) {
            self.journals("after the runs", journals);
            let left = self.place.leftovers();
            self.check(
                "no-leftovers",
                holds(left.is_empty(), || format!("{left:?}")),
            );
        }
    }

    /// Only closed journals, whose undo could not do more, may be there.
    pub(crate) fn journals(&mut self, when: &str, journals: &[PathBuf]) {
        let is_open = |path: &&PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            !text.contains(r#""state":"closed""#)
        };
        let open: Vec<_> = journals.iter().filter(is_open).collect();
        self.check(
            "no-journal",
            holds(open.is_empty(), || format!("{when}: {open:?}")),
        );
    }

    /// What each run of the round says is so.
    pub(crate) fn ends(&mut self, ended: &[Ended], (before, after): (&Found, &Found)) {
        for (run, ended) in self.plan.runs.iter().zip(ended) {
            let end = End {
                plan: self.plan,
                run,
                before,
                after,
            };
            let Some(code) = ended.output.code else {
                self.check("old-or-new", end.is_old_or_new());
                continue;
            };
            match serde_json::from_str(&ended.output.stdout) {
                Ok(report) => self.check("truth", end.is_true(code, &report)),
                Err(error) => self.check("report", Err(format!("{code}: {error}"))),
            }
            if code == 0 {
                self.check("referrers", end.has_referrers());
            }
        }
    }

    /// An undo that nothing disturbs succeeds if the registry deletes and no other run is in its way.
    pub(crate) fn undo(&mut self, ended: &Ended) {
        self.process("undo", ended);
        let report: Value = serde_json::from_str(&ended.output.stdout).unwrap_or_default();
        let left = entries(&report, "settled").flat_map(|settled| entries(settled, "left"));
        self.left
            .extend(left.filter_map(|left| Some(left["tag"].as_str()?.to_owned())));
        let deletes = &self.plan.destination.deletes;
        let deletes = matches!(deletes, Deletes::Enabled | Deletes::KeepDigest);
        let code = ended.output.code;
        let succeeded = code == Some(0) && report["outcome"] == "success" && self.left.is_empty();
        let may_leave = code == Some(5) && (!deletes || self.plan.runs.len() > 1);
        self.check(
            "undo",
            holds(succeeded || may_leave, || format!("exit code {code:?}")),
        );
    }

    /// After an undo the tags of a killed rollback run are all as before, or all new.
    pub(crate) fn undone(&mut self, ended: &[Ended], (before, after): (&Found, &Found)) {
        for (run, ended) in self.plan.runs.iter().zip(ended) {
            if run.policy == Policy::Rollback && ended.was_killed() {
                let end = End {
                    plan: self.plan,
                    run,
                    before,
                    after,
                };
                self.check("all-or-none", end.is_all_or_none(&self.left));
            }
        }
    }

    /// The same run again, with nothing in its way, brings everything.
    pub(crate) fn again(&mut self, run: &Run, ended: &Ended, journals: &[PathBuf]) {
        self.process("the run again", ended);
        let code = ended.output.code;
        self.check(
            "again",
            holds(code == Some(0), || format!("exit code {code:?}")),
        );
        if self.plan.runs.len() == 1 {
            self.journals("after the run again", journals);
        }
        if let Some(after) = self.look("after the run again") {
            let end = End {
                plan: self.plan,
                run,
                before: &after,
                after: &after,
            };
            self.check("again", run.tags.iter().try_for_each(|tag| end.is_new(tag)));
            self.check("referrers", end.has_referrers());
        }
    }
}

/// One run, and the destination before and after it.
struct End<'a> {
    plan: &'a Plan,
    run: &'a Run,
    before: &'a Found,
    after: &'a Found,
}

impl End<'_> {
    /// The tags that no other run selects.
    fn own(&self) -> impl Iterator<Item = &Tag> {
        self.run
            .tags
            .iter()
            .filter(|tag| !self.plan.is_contested(tag.name))
    }

    fn is_old(&self, Tag { name, .. }: &Tag) -> Holds {
        let [before, after] = [self.before, self.after].map(|found| found.tags.get(*name));
        holds(before == after, || {
            format!("{name} was {before:?} and is {after:?}")
        })
    }

    /// Whether the run writes a new index for the tag.
    fn is_rewritten(&self, tag: &Tag) -> bool {
        let [_, omitted] = tag.new().split(&self.run.architectures);
        !omitted.is_empty() && !self.run.is_sparse()
    }

    /// Fails where the tag is not what the run was to make of it.
    fn is_new(&self, tag: &Tag) -> Holds {
        let (name, new) = (tag.name, tag.new());
        let digest = self
            .after
            .tags
            .get(name)
            .ok_or_else(|| format!("{name} is missing"))?;
        let is_new = if self.is_rewritten(tag) {
            let root = self.after.manifest(digest)?;
            let children = entries(&root, "manifests").map(|child| child["digest"].as_str());
            let [kept, _] = new.split(&self.run.architectures);
            children.eq(kept.iter().map(|digest| Some(digest.as_str())))
        } else {
            *digest == new.digest()
        };
        holds(is_new, || {
            format!("{name} is {digest}, and not of {}", new.digest())
        })
    }

    fn is_old_or_new(&self) -> Holds {
        self.own()
            .try_for_each(|tag| self.is_old(tag).or_else(|_| self.is_new(tag)))
    }

    /// Fails where some tags have moved and others not, but for those that are named.
    fn is_all_or_none(&self, left: &BTreeSet<String>) -> Holds {
        let own = || self.own().filter(|tag| !left.contains(tag.name));
        let Err(new) = own().try_for_each(|tag| self.is_new(tag)) else {
            return Ok(());
        };
        let old = own().try_for_each(|tag| self.is_old(tag));
        old.and_then(|()| self.is_untouched(left))
            .map_err(|old| format!("{old}, but {new}"))
    }

    /// Fails where a run that was alone has moved a tag of any kind, but for those that are named.
    fn is_untouched(&self, left: &BTreeSet<String>) -> Holds {
        let [before, after] = [self.before, self.after].map(|found| {
            let tags = found.tags.iter().filter(|(tag, _)| !left.contains(*tag));
            tags.collect::<BTreeMap<_, _>>()
        });
        let untouched = before == after || self.plan.runs.len() > 1;
        holds(untouched, || format!("{after:?} was {before:?}"))
    }

    /// Fails where exit code, report and destination do not say the same.
    fn is_true(&self, code: i32, report: &Value) -> Holds {
        let left = entries(report, "left").filter_map(|tag| Some(tag.as_str()?.to_owned()));
        let left: BTreeSet<String> = left.collect();
        let mut there = 0;
        for tag in &self.run.tags {
            there += usize::from(self.is_told(tag, report, &left)?);
        }
        let all = there == self.run.tags.len();
        let (outcome, fits) = match code {
            0 => ("success", all),
            1 => ("failed", there == 0),
            3 => ("partial", there > 0 && !all),
            4 => ("rolled-back", !all || report["error"].is_object()),
            5 => ("rollback-incomplete", !left.is_empty()),
            130 | 143 => ("interrupted", true),
            _ => ("none", false),
        };
        let fits = fits && report["outcome"] == outcome && (code == 5 || left.is_empty());
        holds(fits, || {
            let outcome = &report["outcome"];
            format!("exit code {code}, outcome {outcome}, left {left:?}, {there} tags there")
        })?;
        if self.run.policy == Policy::Rollback && code != 0 {
            self.is_untouched(&left)
        } else {
            Ok(())
        }
    }

    /// Whether the tag is told as being there; fails where what is told of it is not so.
    fn is_told(&self, tag: &Tag, report: &Value, left: &BTreeSet<String>) -> Result<bool, String> {
        let entry = entries(report, "tags").find(|entry| entry["tag"] == tag.name);
        let entry = entry.cloned().unwrap_or_default();
        let status = entry["status"].as_str().unwrap_or("not listed");
        let there = match status {
            "copied" | "current" => true,
            "failed" | "rolled-back" | "not-attempted" | "not listed" => false,
            _ => return Err(format!("{} is {status}", tag.name)),
        };
        if self.plan.is_contested(tag.name) || left.contains(tag.name) {
            return Ok(there);
        }
        let digest = self.after.tags.get(tag.name).map(String::as_str);
        let so = if there {
            let same = holds(entry["digest"].as_str() == digest, || {
                format!("it is {digest:?}")
            });
            same.and_then(|()| self.is_new(tag))
        } else {
            self.is_old(tag)
        };
        let (name, kind) = (tag.name, &entry["error"]["kind"]);
        so.map_err(|text| format!("{name} is told as {status} ({kind}), but {text}"))?;
        Ok(there)
    }

    /// Fails where what refers to the images of a new tag has not come with it.
    fn has_referrers(&self) -> Holds {
        let served = self.plan.to == Form::Registry
            && !matches!(self.plan.destination.referrers, Referrers::Absent);
        let own = self.own().filter(|_| self.run.referrers);
        for tag in own.filter(|tag| self.is_new(tag).is_ok()) {
            let [mut kept, _] = tag.new().split(&self.run.architectures);
            kept.extend((!self.is_rewritten(tag)).then(|| tag.new().digest()));
            let attached = tag.new().attached.iter();
            for attached in attached.filter(|attached| kept.contains(&attached.subject)) {
                let signature = self.after.tags.get(&attached.signature_tag());
                let same = signature == Some(&attached.signature.root.digest());
                let referrer = attached.referrer.root.digest();
                let complete = self.after.is_complete(&referrer, &[]);
                let listed = served || self.after.is_listed(&referrer, &attached.list_tag());
                holds(same && complete.is_ok() && listed, || {
                    let (name, subject) = (tag.name, &attached.subject);
                    format!(
                        "{name}, {subject}: signature {same}, referrer {complete:?}, listed {listed}"
                    )
                })?;
            }
        }
        Ok(())
    }
}
