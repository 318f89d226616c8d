//! Q5, Q8 and the receive count of Q15: one lease at a time, and only its own receipt works.

use super::called;
use crate::{
    event::Answer,
    ledger::{Copy, Handout, Ledger, Purpose, Use},
    report::{Report, Rule},
};

/// How many earlier handouts of a message each one is compared with. Enough, since a message that was
/// handed out wrongly more often than this breaks the rule for its neighbours too.
const NEIGHBOURS: usize = 8;

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for copy in &ledger.copies {
        for (at, later) in copy.handouts.iter().enumerate() {
            for earlier in copy.handouts[..at].iter().rev().take(NEIGHBOURS) {
                pair(ledger, copy, earlier, later, report);
            }
            receipt(ledger, copy, later, report);
        }
    }
}

fn pair(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    earlier: &Handout<'_>,
    later: &Handout<'_>,
    report: &mut Report,
) {
    let queue = ledger.queue_of(copy);
    let rewound = queue.maybe_rewound(earlier.invoked, later.returned);
    let either_way = later.returned < earlier.held_until && earlier.returned < later.held_until;
    let deleted = earlier.deleted().is_some()
        || later
            .deleted()
            .is_some_and(|used| used.returned < earlier.returned);
    let removed_and_rewound = rewound && earlier.maybe_deleted_from().is_some();
    if either_way && !deleted && !removed_and_rewound {
        let early = (earlier.held_until - later.returned) / 1_000_000;
        let detail = format!(
            "{} was handed out again, {early} ms too early",
            called(ledger, copy)
        );
        report.add(Rule::Invisibility, &queue.facts.name, detail);
    }
    let in_order = earlier.returned < later.invoked && earlier.message == later.message;
    // What comes back because its dead-letter queue was deleted comes as if it had never been received.
    let is_anew = queue
        .dead_letter
        .is_some_and(|(place, _)| ledger.queues[place].ended.is_some());
    if in_order && !rewound && !is_anew && later.count <= earlier.count {
        let detail = format!(
            "{} has receive count {} after {}",
            called(ledger, copy),
            later.count,
            earlier.count
        );
        report.add(Rule::Counters, &queue.facts.name, detail);
    }
}

fn receipt(ledger: &Ledger<'_>, copy: &Copy<'_>, handout: &Handout<'_>, report: &mut Report) {
    let name = ledger.name(copy.queue);
    for (at, one) in handout.uses.iter().enumerate() {
        let before = &handout.uses[..at];
        if one.answer == Some(Answer::Done) {
            if let Some(why) = stale(ledger, copy, handout, *one) {
                let detail = format!("{}: a receipt worked that was {why}", called(ledger, copy));
                report.add(Rule::Receipt, name, detail);
            }
        } else if one.answer == Some(Answer::Stale)
            && one.returned < handout.held_until.min(ledger.kept_until(copy))
            && before.iter().all(|other| other.what != Purpose::Delete)
            && handout
                .uses
                .iter()
                .all(|other| other.what == Purpose::Delete)
            && handout
                .uses
                .iter()
                .filter(|other| other.invoked <= one.returned)
                .count()
                == 1
            && copy
                .handouts
                .iter()
                .all(|other| other.returned <= handout.returned || other.invoked > one.returned)
        {
            let detail = format!(
                "{}: the receipt of a running lease was refused",
                called(ledger, copy)
            );
            report.add(Rule::Receipt, name, detail);
        }
    }
}

/// Why a receipt was certainly stale when it was used, if it was.
pub(super) fn stale(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    handout: &Handout<'_>,
    one: Use,
) -> Option<&'static str> {
    let queue = ledger.queue_of(copy);
    let deleted_before = handout.uses.iter().any(|other| {
        other.what == Purpose::Delete
            && other.answer == Some(Answer::Done)
            && other.returned < one.invoked
    });
    if deleted_before {
        return Some("used up");
    }
    let rewound = queue.maybe_rewound(handout.invoked, one.returned);
    let superseded = copy.handouts.iter().any(|newer| {
        let counted = !rewound && handout.counted_before(newer);
        newer.returned < one.invoked && (newer.invoked > handout.returned || counted)
    });
    if superseded {
        return Some("superseded");
    }
    let extended = handout
        .uses
        .iter()
        .any(|other| matches!(other.what, Purpose::Extend(_)));
    let length = handout.unchanged_until.saturating_sub(handout.returned);
    let expired = ledger.outages.latest(handout.returned, length) < one.invoked;
    if expired && !extended {
        return Some("expired");
    }
    let ended = ledger.ended_before(copy, one.invoked);
    ended.map(|_| "a message's that was no more")
}
