//! Q14: a message that was received often enough, or is old enough, is in the dead-letter queue, once, and nowhere
//! else.

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
            Some(dead) => {
                buried(ledger, copy, dead, report);
                too_soon(ledger, copy, dead, receives_max, report);
            }
            None => missing(ledger, copy, receives_max, report)?,
        }
    }
    Ok(())
}

fn buried(ledger: &Ledger<'_>, copy: &Copy<'_>, dead: &Copy<'_>, report: &mut Report) {
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
}

/// Judges whether a message had been received often enough, or was old enough, when it was seen there.
fn too_soon(
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
    let (queue, sent) = (ledger.queue_of(copy), ledger.sent_of(copy));
    if let Some(age) = queue.dead_letter_age {
        let due = queue.leaps.earliest(sent.invoked, age);
        if first.returned < due {
            let early = (due - first.returned) / 1_000_000;
            let detail = format!(
                "{} was dead-lettered {early} ms too early",
                called(ledger, copy)
            );
            report.add(Rule::DeadLetter, name, detail);
        }
        return;
    }
    let received = copy.handouts.iter().map(|handout| handout.count).max();
    let received = received.unwrap_or(0);
    let foggy = queue.evidence.foggy(sent.invoked, first.returned);
    if received < receives_max && !foggy {
        let detail = format!(
            "{} was dead-lettered after {received} receives",
            called(ledger, copy)
        );
        report.add(Rule::DeadLetter, name, detail);
    }
}

/// When a message had given up at the latest, if it certainly did so.
fn gave_up_by(ledger: &Ledger<'_>, copy: &Copy<'_>, receives_max: u32) -> Option<Nanos> {
    let handed_back = |handout: &Handout<'_>| {
        let length = handout.free_from.saturating_sub(handout.returned);
        ledger.outages.latest(handout.returned, length)
    };
    let (queue, sent) = (ledger.queue_of(copy), ledger.sent_of(copy));
    let Some(age) = queue.dead_letter_age else {
        let last = copy.handouts.last()?;
        return (last.count >= receives_max).then(|| handed_back(last));
    };
    // Whoever received it last may never have got the answer, and hold it still.
    let of_age = ledger
        .outages
        .latest(sent.returned, age.max(sent.delay_most));
    let leased = copy.handouts.iter().map(handed_back).max();
    let due = of_age.max(leased.unwrap_or(0));
    let is_held = queue.evidence.foggy(due, due);
    (sent.acknowledged() && !is_held).then_some(due)
}

/// Judges a message that gave up and was never seen in the dead-letter queue.
fn missing(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    receives_max: u32,
    report: &mut Report,
) -> Result<(), Invalid> {
    let (queue, sent) = (ledger.queue_of(copy), ledger.sent_of(copy));
    let Some(due) = gave_up_by(ledger, copy, receives_max) else {
        return Ok(());
    };
    let last = copy.handouts.last();
    let here = last.map_or(sent.invoked, |last| last.invoked);
    let is_deleted = |handout: &Handout<'_>| handout.maybe_deleted_from().is_some();
    // By its receives it gives up after the last one, whatever was tried with the receipts of others.
    let is_deleted = match queue.dead_letter_age {
        Some(_) => copy.handouts.iter().any(is_deleted),
        None => last.is_some_and(is_deleted),
    };
    if is_deleted || queue.maybe_rewound(here, u64::MAX) {
        return Ok(());
    }
    let (place, _) = queue
        .dead_letter
        .expect("only copies with a policy are judged");
    let target = &ledger.queues[place];
    let kept = queue.keeps_until(sent.invoked);
    // On its way a message ends with its source, however long that takes.
    if due >= kept || queue.ended.is_some() || target.ended.is_some() {
        return Ok(());
    }
    // A message that its queue may have kept must be missed there, too.
    let kept_here = queue.unbound.map(|_| queue.absence(due, kept));
    let there_until = target.keeps_until(last.map_or(sent.invoked, |last| last.earliest));
    if due >= there_until {
        return Ok(());
    }
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
