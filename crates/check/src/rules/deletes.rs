//! Q7, Q12: what was deleted stays away, unless a rewind brings it back; and a rewind brings it back.

use super::{Moved, called, leases, too_short};
use crate::{
    event::Nanos,
    ledger::{Absence, Copy, Handout, Ledger, Rewind, Use},
    report::{Invalid, Report, Rule},
};

/// A rewind is exact to a second of the server's clock, and what served before may have another clock.
const GRANULARITY_SECONDS: u64 = 1;

pub(super) fn judge(
    ledger: &Ledger<'_>,
    moved: &Moved,
    report: &mut Report,
) -> Result<(), Invalid> {
    for copy in &ledger.copies {
        for handout in &copy.handouts {
            let Some(delete) = handout.deleted() else {
                continue;
            };
            // Whether that delete should have worked is another rule.
            if leases::stale(ledger, copy, handout, delete).is_some() {
                continue;
            }
            for other in &copy.handouts {
                returned(ledger, copy, handout, delete, other, report);
            }
            let rewindable = !ledger.queue_of(copy).rewinds.is_empty();
            if copy.is_source(ledger.sent_of(copy))
                && !rewindable
                && moved.of(ledger, copy).is_some()
            {
                let detail = format!("{} was deleted and dead-lettered", called(ledger, copy));
                report.add(Rule::Delete, ledger.name(copy.queue), detail);
            }
            rewound(ledger, copy, handout, delete, report)?;
        }
    }
    Ok(())
}

/// Judges whether `other` brought a message back after its delete, and whether it was allowed to.
fn returned(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    handout: &Handout<'_>,
    delete: Use,
    other: &Handout<'_>,
    report: &mut Report,
) {
    let queue = ledger.queue_of(copy);
    let mut rewinds = queue
        .rewinds_between(delete.invoked, other.returned)
        .peekable();
    let after = other.invoked > delete.returned
        || (queue.rewinds.is_empty() && handout.counted_before(other));
    if !after {
        return;
    }
    let name = &queue.facts.name;
    if rewinds.peek().is_none() {
        let late = other.returned.saturating_sub(delete.returned) / 1_000_000;
        let detail = format!("{} came {late} ms after its delete", called(ledger, copy));
        report.add(Rule::Delete, name, detail);
        return;
    }
    let reaching = |rewind: &&Rewind| {
        rewind.to_seconds <= other.enqueued_at.saturating_add(GRANULARITY_SECONDS)
    };
    let mut reaching = rewinds.filter(reaching).peekable();
    if reaching.peek().is_none() {
        let detail = format!("{} is older than what was rewound to", called(ledger, copy));
        report.add(Rule::Rewind, name, detail);
    } else if reaching.all(|rewind| could_not_reach(ledger, copy, delete, rewind)) {
        let detail = format!("{} was brought back too late", called(ledger, copy));
        report.add(Rule::Rewind, name, detail);
    }
}

/// Whether a message was sent too long ago, when it was deleted or when it was rewound to, to be had back.
fn could_not_reach(ledger: &Ledger<'_>, copy: &Copy<'_>, delete: Use, rewind: &Rewind) -> bool {
    let sent = ledger.sent_of(copy);
    if !copy.is_source(sent) || sent.is_carried {
        return false;
    }
    let Some(since) = ledger.here_since(copy) else {
        return false;
    };
    let setting = &ledger.queue_of(copy).attributes.rewind;
    let until = rewind.returned.unwrap_or(Nanos::MAX);
    let kept = ledger
        .outages
        .latest(since, setting.most(sent.invoked, until));
    kept < delete.invoked.max(rewind.invoked)
}

/// Judges whether a rewind that reaches back to this message brought it back, if none had before.
fn rewound(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    handout: &Handout<'_>,
    delete: Use,
    report: &mut Report,
) -> Result<(), Invalid> {
    let queue = ledger.queue_of(copy);
    let sent = ledger.sent_of(copy);
    let reaching = queue.rewinds.iter().find_map(|rewind| {
        let reaches = rewind.invoked > delete.returned
            && rewind.to_seconds + GRANULARITY_SECONDS <= handout.enqueued_at;
        let returned = rewind.returned.filter(|_| reaches)?;
        // Of one that was not sent here itself nobody knows when it came.
        let length = queue.attributes.rewind.least(delete.invoked, returned);
        let is_kept = returned < queue.leaps.earliest(sent.invoked, length);
        (is_kept && copy.is_source(sent)).then_some(returned)
    });
    let Some(back_at) = reaching else {
        return Ok(());
    };
    let kept: Nanos = ledger.kept_until(copy);
    let mut others = copy.handouts.iter();
    let came = others.any(|other| other.returned > delete.returned);
    let due = ledger.outages.latest(back_at, 0);
    if came || due >= kept {
        return Ok(());
    }
    match queue.absence(due, kept) {
        Absence::Proved => {}
        Absence::Unseen => return Ok(()),
        Absence::TooShort => return Err(too_short(queue, sent)),
    }
    let detail = format!("{} was not brought back by a rewind", called(ledger, copy));
    report.add(Rule::Rewind, &queue.facts.name, detail);
    Ok(())
}
