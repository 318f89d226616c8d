//! Q15: the counters of a queue, asked in a quiet moment, tell how many messages are in each state.
//!
//! Each message adds to a lower bound while it is certainly in a state and to an upper bound while it may
//! be. With no unknown results and settled times the two bounds meet, and the counter must be exact.

use super::Moved;
use crate::{
    event::Nanos,
    ledger::{Copy, Handout, Ledger, Queue},
    report::{Report, Rule},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Inactive,
    Delayed,
}

const STATES: [(State, &str); 3] = [
    (State::Active, "active"),
    (State::Inactive, "inactive"),
    (State::Delayed, "delayed"),
];

/// A change of the bounds of one state at one moment.
struct Step {
    at: Nanos,
    state: State,
    certain: i64,
    possible: i64,
}

pub(super) fn judge(ledger: &Ledger<'_>, moved: &Moved, report: &mut Report) {
    let asked: Vec<bool> = ledger
        .queues
        .iter()
        .map(|queue| !queue.counts.is_empty())
        .collect();
    let mut steps: Vec<Vec<Step>> = ledger.queues.iter().map(|_| Vec::new()).collect();
    for copy in ledger.copies.iter().filter(|copy| asked[copy.queue]) {
        Life {
            ledger,
            copy,
            moved,
            steps: &mut steps[copy.queue],
        }
        .trace();
    }
    for (place, steps) in steps.into_iter().enumerate() {
        one_queue(ledger, place, steps, report);
    }
}

fn one_queue(ledger: &Ledger<'_>, place: usize, mut steps: Vec<Step>, report: &mut Report) {
    let queue = &ledger.queues[place];
    steps.sort_by_key(|step| step.at);
    let mut counts = queue.counts.clone();
    counts.sort_by_key(|&(invoked, ..)| invoked);
    // What has come as a dead letter is known by whoever receives it, which nobody does of what was purged.
    let is_target =
        |other: &Queue<'_>| other.dead_letter.is_some_and(|(target, _)| target == place);
    let may_hold_more = !queue.purges.is_empty() && ledger.queues.iter().any(is_target);
    let mut steps = steps.into_iter().peekable();
    let mut bounds = [(0_i64, 0_i64); STATES.len()];
    for (invoked, returned, counters) in counts {
        while let Some(step) = steps.next_if(|step| step.at <= invoked) {
            let bound = &mut bounds[step.state as usize];
            bound.0 += step.certain;
            bound.1 += step.possible;
        }
        let moving = steps.peek().is_some_and(|step| step.at <= returned);
        if moving || queue.evidence.foggy(invoked, returned) {
            continue;
        }
        report.statistics.counters_judged += 1;
        let said = [counters.active, counters.inactive, counters.delayed];
        for (((state, word), (least, most)), said) in STATES.into_iter().zip(bounds).zip(said) {
            debug_assert_eq!(STATES[state as usize].1, word);
            let value = i64::try_from(said).unwrap_or(i64::MAX);
            if value < least || value > most && !may_hold_more {
                let detail = format!("{word} is said to be {value}, but is {least} to {most}");
                report.add(Rule::Counters, &queue.facts.name, detail);
            }
        }
    }
}

/// One copy of a message, from its send to its end.
struct Life<'a, 'h> {
    ledger: &'a Ledger<'h>,
    copy: &'a Copy<'h>,
    moved: &'a Moved,
    steps: &'a mut Vec<Step>,
}

impl Life<'_, '_> {
    fn trace(&mut self) {
        let sent = self.ledger.sent_of(self.copy);
        let source = self.copy.is_source(sent);
        let sure = source && sent.acknowledged();
        let first = self.copy.handouts.first();
        if source && sent.outcome == crate::ledger::SendOutcome::Refused && first.is_none() {
            return;
        }
        let due = sent.hidden_until;
        let due_latest = sent.due;
        if sent.delay_most > 0 && source {
            self.possible(
                State::Delayed,
                sent.invoked,
                if sure { due_latest } else { Nanos::MAX },
            );
            if sure {
                self.certain(State::Delayed, sent.returned, due);
            }
        }
        self.possible(
            State::Active,
            due,
            first.map_or(Nanos::MAX, |handout| handout.returned),
        );
        // Whoever received it for the last time may never have got the answer.
        let left_unseen = first.is_none() && self.may_have_moved();
        if sure && !left_unseen {
            let from = if sent.delay_most > 0 || sent.is_carried {
                due_latest
            } else {
                sent.returned
            };
            // The answer to whoever took it first may have come after those to later ones.
            let asked = self.copy.handouts.iter().map(|handout| handout.invoked);
            self.certain(State::Active, from, asked.min().unwrap_or(Nanos::MAX));
        }
        for (at, handout) in self.copy.handouts.iter().enumerate() {
            self.trace_handout(handout, self.copy.handouts.get(at + 1));
        }
    }

    fn trace_handout(&mut self, handout: &Handout<'_>, next: Option<&Handout<'_>>) {
        let queue = self.ledger.queue_of(self.copy);
        let length = handout.free_from.saturating_sub(handout.returned);
        let freed = self.ledger.outages.latest(handout.returned, length);
        let deleted = handout.deleted();
        let touched = handout.maybe_deleted_from();
        let leased_until = touched.map_or(handout.held_until, |at| at.min(handout.held_until));
        let leased_latest = deleted.map_or(freed, |delete| delete.returned.min(freed));
        self.certain(State::Inactive, handout.returned, leased_until);
        self.possible(State::Inactive, handout.earliest, leased_latest);

        let next_taken = next.map_or(Nanos::MAX, |next| next.returned);
        let next_asked = next.map_or(Nanos::MAX, |next| next.invoked);
        let gives_up = queue
            .dead_letter
            .is_some_and(|(_, most)| handout.count >= most);
        // Whether the delete is known to have worked or not, a rewind may have brought it back before its lease ended.
        if let Some(touched) = touched {
            let rewind = queue.rewinds_between(touched, next_taken).next();
            let back = rewind.map_or(Nanos::MAX, |rewind| rewind.invoked);
            let from = if deleted.is_some() {
                back
            } else {
                back.min(handout.held_until)
            };
            self.possible(State::Active, from, next_taken);
        } else if gives_up && self.moved.of(self.ledger, self.copy).is_some() {
            self.possible(State::Active, handout.held_until, freed);
        } else {
            self.possible(State::Active, handout.held_until, next_taken);
            let left_unseen = next.is_none() && self.may_have_moved();
            if touched.is_none() && !gives_up && !left_unseen {
                self.certain(State::Active, freed, next_asked);
            }
        }
    }

    /// Whether it is in the dead-letter queue, or may have gone with it.
    fn may_have_moved(&self) -> bool {
        let queue = self.ledger.queue_of(self.copy);
        let target = queue
            .dead_letter
            .map(|(place, _)| &self.ledger.queues[place]);
        let target_ended = target.is_some_and(|target| target.ended.is_some());
        self.ledger.may_be_purged_elsewhere(self.copy)
            || target_ended
            || self.moved.of(self.ledger, self.copy).is_some()
    }

    fn certain(&mut self, state: State, from: Nanos, to: Nanos) {
        let to = to.min(self.ledger.kept_until(self.copy));
        if from < to {
            self.steps.push(Step {
                at: from,
                state,
                certain: 1,
                possible: 0,
            });
            self.steps.push(Step {
                at: to,
                state,
                certain: -1,
                possible: 0,
            });
        }
    }

    fn possible(&mut self, state: State, from: Nanos, to: Nanos) {
        if from < to {
            self.steps.push(Step {
                at: from,
                state,
                certain: 0,
                possible: 1,
            });
            self.steps.push(Step {
                at: to,
                state,
                certain: 0,
                possible: -1,
            });
        }
    }
}
