//! Q7, Q12: what was deleted stays away, unless a rewind brings it back; and a rewind brings it back.

use super::{Moved, called, kept_until, leases};
use crate::{
    event::Nanos,
    ledger::{Copy, Handout, Ledger, Use},
    report::{Invalid, Report, Rule},
};

/// A rewind is exact to a second of the server's clock.
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
    } else if rewinds.all(|rewind| rewind.to_seconds > other.enqueued_at + GRANULARITY_SECONDS) {
        let detail = format!("{} is older than what was rewound to", called(ledger, copy));
        report.add(Rule::Rewind, name, detail);
    }
}

/// Judges whether the first rewind that reaches back to this message brought it back.
fn rewound(
    ledger: &Ledger<'_>,
    copy: &Copy<'_>,
    handout: &Handout<'_>,
    delete: Use,
    report: &mut Report,
) -> Result<(), Invalid> {
    let queue = ledger.queue_of(copy);
    let reaching = queue.rewinds.iter().find_map(|rewind| {
        let reaches = rewind.invoked > delete.returned && rewind.to_seconds <= handout.enqueued_at;
        rewind
            .returned
            .filter(|_| reaches)
            .map(|returned| (rewind.invoked, returned))
    });
    let Some((invoked, back_at)) = reaching else {
        return Ok(());
    };
    let kept: Nanos = kept_until(ledger, copy);
    let came = copy.handouts.iter().any(|other| other.returned > invoked);
    let due = ledger.outages.latest(back_at, 0);
    if came || due >= kept {
        return Ok(());
    }
    if !queue.evidence.nothing_visible(due, kept) {
        let body = ledger.sent_of(copy).body;
        return Err(Invalid::DrainTooShort {
            queue: queue.facts.name.clone(),
            body,
        });
    }
    let detail = format!("{} was not brought back by a rewind", called(ledger, copy));
    report.add(Rule::Rewind, &queue.facts.name, detail);
    Ok(())
}
