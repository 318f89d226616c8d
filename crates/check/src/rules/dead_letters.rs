//! Q14: a message that was received often enough is in the dead-letter queue, once, and nowhere else.

use super::{Moved, called, too_short};
use crate::{
    ledger::{Absence, Copy, Ledger},
    report::{Invalid, Report, Rule},
};

pub(super) fn judge(
    ledger: &Ledger<'_>,
    moved: &Moved,
    report: &mut Report,
) -> Result<(), Invalid> {
    for copy in &ledger.copies[..ledger.sends.len()] {
        let Some((_, receives_max)) = ledger.queue_of(copy).dead_letter else {
            continue;
        };
        let name = ledger.name(copy.queue);
        let bound = copy.handouts.iter().filter(|handout| {
            let unbound = ledger.queue_of(copy).unbound;
            unbound.is_none_or(|unbound| handout.returned < unbound.invoked)
        });
        if let Some(most) = bound.map(|handout| handout.count).max()
            && most > receives_max
        {
            let detail = format!("{} was received {most} times", called(ledger, copy));
            report.add(Rule::DeadLetter, name, detail);
        }
        match moved.of(ledger, copy) {
            Some(dead) => buried(ledger, copy, dead, receives_max, report),
            None => missing(ledger, copy, receives_max, report)?,
        }
    }
    Ok(())
}

fn buried(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    dead: &Copy<'_>,
    receives_max: u32,
    report: &mut Report,
) {
    let name = ledger.name(copy.queue);
    let Some(first) = dead.handouts.first() else {
        return;
    };
    if dead
        .handouts
        .iter()
        .any(|handout| handout.message != first.message)
    {
        let detail = format!("{} is in the dead-letter queue twice", called(ledger, copy));
        report.add(Rule::DeadLetter, name, detail);
    }
    // What had arrived in a queue that was deleted then comes back, if its source did not know that it had.
    let (place, _) = ledger.queue_of(copy).dead_letter.unwrap_or_default();
    let target_stays = ledger.queues[place].ended.is_none();
    if target_stays
        && copy
            .handouts
            .iter()
            .any(|handout| handout.invoked > first.returned)
    {
        let detail = format!(
            "{} came again after it was dead-lettered",
            called(ledger, copy)
        );
        report.add(Rule::DeadLetter, name, detail);
    }
    let received = copy
        .handouts
        .iter()
        .map(|handout| handout.count)
        .max()
        .unwrap_or(0);
    let sent = ledger.sent_of(copy);
    let foggy = ledger
        .queue_of(copy)
        .evidence
        .foggy(sent.invoked, first.returned);
    if received < receives_max && !foggy {
        let detail = format!(
            "{} was dead-lettered after {received} receives",
            called(ledger, copy)
        );
        report.add(Rule::DeadLetter, name, detail);
    }
}

/// Judges a message that was received as often as allowed and never seen in the dead-letter queue.
fn missing(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    receives_max: u32,
    report: &mut Report,
) -> Result<(), Invalid> {
    let Some(last) = copy.handouts.last() else {
        return Ok(());
    };
    let queue = ledger.queue_of(copy);
    if last.count < receives_max
        || last.maybe_deleted_from().is_some()
        || queue.maybe_rewound(last.invoked, u64::MAX)
    {
        return Ok(());
    }
    let (place, _) = queue
        .dead_letter
        .expect("only copies with a policy are judged");
    let target = &ledger.queues[place];
    let length = last.free_from.saturating_sub(last.returned);
    let due = ledger.outages.latest(last.returned, length);
    let kept = ledger.kept_until(copy);
    // On its way a message ends with its source, however long that takes.
    if due >= kept || queue.ended.is_some() || target.ended.is_some() {
        return Ok(());
    }
    // A message that its queue may have kept must be missed there, too.
    let kept_here = queue.unbound.map(|_| queue.absence(due, kept));
    let there_until = target.keeps_until(last.earliest);
    if due >= there_until {
        return Ok(());
    }
    let sent = ledger.sent_of(copy);
    match (target.absence(due, there_until), kept_here) {
        (Absence::Proved, None | Some(Absence::Proved)) => {}
        (Absence::TooShort, _) => return Err(too_short(target, sent)),
        (_, Some(Absence::TooShort)) => return Err(too_short(queue, sent)),
        (Absence::Unseen, _) | (_, Some(Absence::Unseen)) => return Ok(()),
    }
    let detail = format!(
        "{} gave up and is not in {}",
        called(ledger, copy),
        target.facts.name
    );
    report.add(Rule::DeadLetter, ledger.name(copy.queue), detail);
    Ok(())
}
