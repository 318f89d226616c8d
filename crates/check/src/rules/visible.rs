//! Q1, Q4, Q6: a message that must be visible is; at the end none is left behind.
//!
//! Between two handouts a message must be visible from the end of its delay or lease on. A receive that
//! found nothing wholly within such a time proves the rule broken.

use super::{Moved, called, too_short};
use crate::{
    event::Nanos,
    ledger::{Absence, Copy, Handout, Ledger},
    report::{Invalid, Report, Rule},
};

pub(super) fn judge(
    ledger: &Ledger<'_>,
    moved: &Moved,
    report: &mut Report,
) -> Result<(), Invalid> {
    for copy in &ledger.copies {
        early(ledger, copy, report);
        one_copy(ledger, moved, copy, report)?;
    }
    Ok(())
}

fn early(ledger: &Ledger<'_>, copy: &Copy<'_>, report: &mut Report) {
    let sent = ledger.sent_of(copy);
    let due = sent.hidden_until;
    for handout in copy
        .handouts
        .iter()
        .filter(|handout| handout.returned < due)
    {
        let early = (due - handout.returned) / 1_000_000;
        let detail = format!(
            "{} came {early} ms before its delay ended",
            called(ledger, copy)
        );
        report.add(Rule::Delay, ledger.name(copy.queue), detail);
    }
}

fn one_copy(
    ledger: &Ledger<'_>,
    moved: &Moved,
    copy: &Copy<'_>,
    report: &mut Report,
) -> Result<(), Invalid> {
    let sent = ledger.sent_of(copy);
    let queue = ledger.queue_of(copy);
    let kept = ledger.kept_until(copy);
    let known = copy.is_source(sent) && sent.acknowledged();
    let mut visible_from = known.then_some(sent.due);
    for (at, handout) in in_order(copy).into_iter().enumerate() {
        let until = handout.invoked.min(kept);
        if let Some(from) = visible_from
            && from <= until
            && queue.evidence.nothing_visible(from, until)
        {
            let rule = if at == 0 {
                Rule::Delay
            } else {
                Rule::Redelivery
            };
            let late = (until - from) / 1_000_000;
            let detail = format!("{} was hidden for {late} ms", called(ledger, copy));
            report.add(rule, &queue.facts.name, detail);
        }
        visible_from = visible_after(ledger, copy, handout);
    }
    let Some(from) = visible_from else {
        return Ok(());
    };
    let has_moved = moved.of(ledger, copy).is_some_and(|_| copy.is_source(sent));
    if from >= kept || has_moved || ledger.may_be_purged_elsewhere(copy) {
        return Ok(());
    }
    match queue.absence(from, kept) {
        Absence::Proved => {}
        Absence::Unseen => return Ok(()),
        Absence::TooShort => return Err(too_short(queue, sent)),
    }
    let (rule, what) = match copy.handouts.len() {
        0 if sent.is_carried => (Rule::FanOut, "was published and never came".to_owned()),
        0 => (Rule::Loss, "was acknowledged and never came".to_owned()),
        times => (
            Rule::Redelivery,
            format!("came {times} times, was not deleted, and is gone"),
        ),
    };
    report.add(
        rule,
        &queue.facts.name,
        format!("{} {what}", called(ledger, copy)),
    );
    Ok(())
}

/// The deliveries of a message in the order in which they began: of those whose requests were under way together the number
/// tells, for their answers can overtake each other.
fn in_order<'c, 'h>(copy: &'c Copy<'h>) -> Vec<&'c Handout<'h>> {
    let mut ordered: Vec<&Handout<'h>> = Vec::with_capacity(copy.handouts.len());
    for handout in &copy.handouts {
        let overtaken = ordered.iter().rev();
        let overtaken =
            overtaken.take_while(|one| one.returned > handout.invoked && one.count > handout.count);
        let place = ordered.len() - overtaken.count();
        ordered.insert(place, handout);
    }
    ordered
}

/// From when on a message must be visible after this handout; `None` if it may be gone for good.
fn visible_after(ledger: &Ledger<'_>, copy: &Copy<'_>, handout: &Handout<'_>) -> Option<Nanos> {
    let queue = ledger.queue_of(copy);
    let used_up = queue
        .dead_letter
        .is_some_and(|(_, receives_max)| handout.count >= receives_max);
    if used_up || handout.maybe_deleted_from().is_some() {
        return None;
    }
    // After a rewind numbers begin anew, and tell no more which of two answers that were under way together was last.
    let deletes = || copy.handouts.iter().filter_map(Handout::maybe_deleted_from);
    let is_rewound = queue.maybe_rewound(ledger.sent_of(copy).invoked, Nanos::MAX);
    if is_rewound && deletes().any(|deleted| deleted >= handout.invoked) {
        return None;
    }
    let length = handout.free_from.saturating_sub(handout.returned);
    Some(ledger.outages.latest(handout.returned, length))
}
