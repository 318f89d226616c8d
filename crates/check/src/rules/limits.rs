//! Q21: a queue never takes more than its limits allow, and refuses nothing that they allow.
//!
//! For each state there are the spans in which messages were in it for sure and those in which they may have been.
//! What was taken must fit on top of the former; what was refused must be too much on top of the latter.

use crate::{
    event::{Nanos, refusal},
    ledger::{Copy, Handout, Ledger, Queue, ReceiveOutcome, Sent},
    report::{Report, Rule},
    spans::Spans,
};

/// Of one state.
struct Crowd {
    sure: Spans,
    possible: Spans,
}

pub(super) fn judge(ledger: &Ledger<'_>, report: &mut Report) {
    for (place, queue) in ledger.queues.iter().enumerate() {
        let limits = &queue.attributes.limits;
        let is_bounded =
            limits.backlog.is_some() || limits.delayed.is_some() || limits.in_flight.is_some();
        if is_bounded {
            Limited::new(ledger, place, queue).judge(report);
        }
    }
}

/// A queue with limits.
struct Limited<'l, 'h> {
    ledger: &'l Ledger<'h>,
    queue: &'l Queue<'h>,
    place: usize,
    held: Crowd,
    delayed: Crowd,
    leased: Crowd,
    /// Messages come by other ways than by sends, or leave by others than by deletes.
    is_joined: bool,
}

impl<'l, 'h> Limited<'l, 'h> {
    fn new(ledger: &'l Ledger<'h>, place: usize, queue: &'l Queue<'h>) -> Self {
        let copies = || ledger.copies.iter().filter(|copy| copy.queue == place);
        let all = || copies().map(|copy| (copy, ledger.sent_of(copy)));
        let handouts =
            || copies().flat_map(|copy| copy.handouts.iter().map(move |handout| (copy, handout)));
        let is_target = |other: &Queue<'_>| other.dead_letter.is_some_and(|(to, _)| to == place);
        let is_joined = queue.dead_letter.is_some()
            || ledger.queues.iter().any(is_target)
            || all().any(|(_, sent)| sent.is_carried);
        let unanswered = queue.receives.iter();
        let unanswered = unanswered.filter(|one| one.outcome == ReceiveOutcome::Unknown);
        let longest = queue.attributes.visibility.most(0, Nanos::MAX);
        let unanswered = unanswered.flat_map(|one| {
            let end = ledger.outages.latest(one.returned, longest);
            std::iter::repeat_n((one.invoked, end), one.most as usize)
        });
        Self {
            ledger,
            queue,
            place,
            held: Crowd {
                sure: Spans::new(all().map(|(copy, sent)| surely_held(ledger, copy, sent))),
                possible: Spans::new(all().map(|(copy, sent)| maybe_held(ledger, copy, sent))),
            },
            delayed: Crowd {
                sure: Spans::new(all().map(|(copy, sent)| surely_delayed(ledger, copy, sent))),
                possible: Spans::new(all().map(|(_, sent)| maybe_delayed(sent))),
            },
            leased: Crowd {
                sure: Spans::new(handouts().map(|(copy, one)| surely_leased(ledger, copy, one))),
                possible: Spans::new(
                    handouts()
                        .map(|(_, one)| one.maybe_leased(&ledger.outages))
                        .chain(unanswered),
                ),
            },
            is_joined,
        }
    }

    fn judge(&self, report: &mut Report) {
        let sends = &self.ledger.sends;
        let same = |one: &Sent<'_>, other: &Sent<'_>| one.request == other.request;
        for batch in sends.chunk_by(same) {
            let ours = batch.iter().find(|sent| sent.queue == self.place);
            if let Some(sent) = ours.filter(|sent| !sent.is_carried) {
                self.send(sent, report);
            }
        }
        self.receives(report);
        self.counts(report);
    }

    fn send(&self, sent: &Sent<'_>, report: &mut Report) {
        let (from, to, count) = (sent.invoked, sent.returned, sent.request_size as u64);
        let backlog = &self.queue.attributes.backlog;
        let delayed = self.queue.attributes.limits.delayed.unwrap_or(u64::MAX);
        if sent.acknowledged() {
            let held = self.held.sure.throughout(from, to) + count;
            let most = backlog.most(from, to);
            if held > most && !self.is_joined {
                self.add(
                    report,
                    &format!("takes a send to hold {held}, {most} at most"),
                );
            }
            let waiting = self.delayed.sure.throughout(from, to) + count;
            if sent.delay > 0 && waiting > delayed {
                let text = format!("takes a send to delay {waiting}, {delayed} at most");
                self.add(report, &text);
            }
        }
        let held = self.held.possible.during(from, to) + count;
        let least = backlog.least(from, to);
        if sent.refusal == Some(refusal::BACKLOG_FULL) && held <= least && !self.is_joined {
            let text = format!("refuses a send as too much when it would hold {held} of {least}");
            self.add(report, &text);
        }
        let waiting = self.delayed.possible.during(from, to) + count;
        let may_be_too_many = sent.delay_most > 0 && waiting > delayed;
        if sent.refusal == Some(refusal::TOO_MANY_INACTIVE) && !may_be_too_many {
            let text = format!("refuses a send when it would delay {waiting} of {delayed}");
            self.add(report, &text);
        }
    }

    fn receives(&self, report: &mut Report) {
        let most = self.queue.attributes.limits.in_flight.unwrap_or(u64::MAX);
        for one in &self.queue.receives {
            let (from, to) = (one.invoked, one.returned);
            match one.outcome {
                ReceiveOutcome::Got(count) if count > 0 => {
                    let leased = self.leased.sure.throughout(from, to) + count as u64;
                    if leased > most {
                        let text = format!("hands out {leased} at once, {most} at most");
                        self.add(report, &text);
                    }
                }
                ReceiveOutcome::Refused(refusal::TOO_MANY_INACTIVE) => {
                    let leased = self.leased.possible.during(from, to);
                    if leased < most {
                        let text = format!("refuses a receive while {leased} of {most} are out");
                        self.add(report, &text);
                    }
                }
                _ => {}
            }
        }
    }

    fn counts(&self, report: &mut Report) {
        let limits = &self.queue.attributes.limits;
        // A rewind brings messages back whatever the limit is.
        let is_rewound = !self.queue.rewinds.is_empty();
        for (_, returned, counters) in &self.queue.counts {
            let held = counters.active + counters.inactive + counters.delayed;
            let most = self.queue.attributes.backlog.most(0, *returned);
            if held > most && !is_rewound {
                self.add(
                    report,
                    &format!("says that it holds {held}, {most} at most"),
                );
            }
            if limits.delayed.is_some_and(|most| counters.delayed > most)
                || limits
                    .in_flight
                    .is_some_and(|most| counters.inactive > most)
            {
                let text = format!("says that it holds {counters:?}, at most {limits:?}");
                self.add(report, &text);
            }
        }
    }

    fn add(&self, report: &mut Report, detail: &str) {
        report.add(Rule::Limits, &self.queue.facts.name, detail.to_owned());
    }
}

const NEVER: (Nanos, Nanos) = (0, 0);

fn surely_held(ledger: &Ledger<'_>, copy: &Copy<'_>, sent: &Sent<'_>) -> (Nanos, Nanos) {
    if !copy.is_source(sent) || !sent.acknowledged() || sent.is_carried {
        return NEVER;
    }
    let deleted = copy.handouts.iter().filter_map(Handout::maybe_deleted_from);
    let deleted = deleted.min().unwrap_or(Nanos::MAX);
    (sent.returned, deleted.min(ledger.kept_until(copy)))
}

fn maybe_held(ledger: &Ledger<'_>, copy: &Copy<'_>, sent: &Sent<'_>) -> (Nanos, Nanos) {
    if sent.refusal.is_some() {
        return NEVER;
    }
    let queue = ledger.queue_of(copy);
    if queue.maybe_rewound(sent.invoked, Nanos::MAX) {
        return (sent.invoked, Nanos::MAX);
    }
    let deleted = copy.handouts.iter().filter_map(Handout::deleted);
    let deleted = deleted.map(|delete| delete.returned).min();
    let until = deleted.unwrap_or(Nanos::MAX).min(gone_by(ledger, copy));
    (sent.invoked, until)
}

/// When a message was certainly no more though nobody had deleted it.
fn gone_by(ledger: &Ledger<'_>, copy: &Copy<'_>) -> Nanos {
    let queue = ledger.queue_of(copy);
    let Some(since) = ledger.here_since(copy) else {
        return Nanos::MAX;
    };
    let retention = queue.attributes.retention.most(since, Nanos::MAX);
    let expired = ledger.outages.latest(since, retention);
    let purges = queue.purges.iter().filter(|purge| purge.invoked > since);
    let purged = purges.chain(&queue.ended).filter_map(|span| span.returned);
    purged.min().unwrap_or(Nanos::MAX).min(expired)
}

fn surely_delayed(ledger: &Ledger<'_>, copy: &Copy<'_>, sent: &Sent<'_>) -> (Nanos, Nanos) {
    if !copy.is_source(sent) || !sent.acknowledged() || sent.is_carried {
        return NEVER;
    }
    (
        sent.returned,
        sent.hidden_until.min(ledger.kept_until(copy)),
    )
}

/// Without an answer it may have been taken much later.
fn maybe_delayed(sent: &Sent<'_>) -> (Nanos, Nanos) {
    if sent.refusal.is_some() || sent.delay_most == 0 {
        NEVER
    } else if sent.acknowledged() {
        (sent.invoked, sent.due)
    } else {
        (sent.invoked, Nanos::MAX)
    }
}

fn surely_leased(ledger: &Ledger<'_>, copy: &Copy<'_>, handout: &Handout<'_>) -> (Nanos, Nanos) {
    let deleted = handout.maybe_deleted_from().unwrap_or(Nanos::MAX);
    let until = handout.held_until.min(deleted).min(ledger.kept_until(copy));
    (handout.returned, until)
}
