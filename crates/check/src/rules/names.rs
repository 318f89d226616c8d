//! Q18: a name leads to one queue at most, can be used again when its time has come, and not before.

use crate::{
    event::Nanos,
    ledger::{Ledger, Named, NamedAct, Queue},
    report::{Report, Rule},
};

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for (called, acts) in &ledger.named {
        let queues = ledger.queues.iter();
        let queues = queues.filter(|queue| queue.facts.called.as_deref() == Some(*called));
        let name = Name {
            ledger,
            acts,
            queues: queues.collect(),
        };
        for act in acts {
            if let Some(detail) = name.complaint(act) {
                report.add(Rule::Control, called, detail.to_owned());
            }
        }
    }
}

/// All that happened under one name.
struct Name<'l, 'h> {
    ledger: &'l Ledger<'h>,
    acts: &'l [Named],
    queues: Vec<&'l Queue<'h>>,
}

impl Name<'_, '_> {
    fn complaint(&self, act: &Named) -> Option<&'static str> {
        let (from, to) = (act.invoked, act.returned?);
        match act.act {
            NamedAct::Create { .. } if self.lives_throughout(from, to) => {
                Some("a queue was made while there was one of its name")
            }
            NamedAct::Create { reuse_after } if self.is_too_soon(from, to, reuse_after) => {
                Some("a queue was made too soon after one of its name was deleted")
            }
            NamedAct::Exists if !self.may_live(from, to) => {
                Some("a queue is said to exist that does not")
            }
            NamedAct::InRelease { reuse_after } if !self.may_rest(from, to, reuse_after) => {
                Some("a name is said to have been in use a moment ago that was not")
            }
            NamedAct::Missing if self.lives_throughout(from, to) => {
                Some("a queue is said not to exist that does")
            }
            _ => None,
        }
    }

    fn lives_throughout(&self, from: Nanos, to: Nanos) -> bool {
        self.queues.iter().any(|queue| {
            let created = queue.created.map_or(Some(0), |created| created.returned);
            let begun = created.is_some_and(|created| created < from);
            begun && queue.ended.is_none_or(|ended| ended.invoked > to)
        })
    }

    fn may_live(&self, from: Nanos, to: Nanos) -> bool {
        let mut queues = self.queues.iter();
        let known = queues.any(|queue| {
            queue.created.is_none_or(|created| created.invoked <= to)
                && queue.ended.is_none_or(|ended| ended.may_follow(from))
        });
        // One whose maker got no answer is nobody's, and stays.
        let mut acts = self.acts.iter();
        let is_unknown = |act: &Named| {
            let is_creation = matches!(act.act, NamedAct::Create { .. });
            is_creation && act.returned.is_none() && act.invoked <= to
        };
        known || acts.any(is_unknown)
    }

    fn is_too_soon(&self, from: Nanos, to: Nanos, reuse_after: Nanos) -> bool {
        self.ends().any(|end| {
            let is_before = end.returned.is_some_and(|returned| returned < from);
            let free_from = self
                .ledger
                .leaps_of_names
                .earliest(end.invoked, reuse_after);
            is_before && to < free_from
        })
    }

    fn may_rest(&self, from: Nanos, to: Nanos, reuse_after: Nanos) -> bool {
        self.ends().any(|end| {
            let latest = |returned| self.ledger.outages.latest(returned, reuse_after);
            end.invoked <= to && end.returned.is_none_or(|returned| latest(returned) >= from)
        })
    }

    fn ends(&self) -> impl Iterator<Item = &Named> {
        self.acts.iter().filter(|act| act.act == NamedAct::End)
    }
}
