//! Sorting a history into the ledger: sends first, then what was handed out, then the uses of receipts.

use std::collections::{BTreeMap, HashMap};

mod handouts;

use super::{Copy, Ledger, Queue, Rewind, SendOutcome, Sent, Stray, StrayKind};
use crate::{
    event::{Event, Nanos, Operation, Outcome, SentBody},
    evidence::{Evidence, MILLISECOND, Outages},
    history::History,
    report::{Invalid, Statistics},
};

pub(super) fn ledger(history: &History) -> Result<Ledger<'_>, Invalid> {
    let mut names = BTreeMap::new();
    for (place, facts) in history.queues.iter().enumerate() {
        names.insert(facts.name.as_str(), place);
    }
    let place_of = |event: &Event| {
        names
            .get(event.queue.as_str())
            .copied()
            .ok_or_else(|| Invalid::UnknownQueue(event.queue.clone()))
    };
    let mut builder = Builder::new(history);
    let mut operations = Vec::with_capacity(history.events.len());
    for event in &history.events {
        match &event.operation {
            Operation::Outage => builder.outages.push((event.invoked, event.returned)),
            _ => operations.push((place_of(event)?, event)),
        }
    }
    for (request, &(queue, event)) in operations.iter().enumerate() {
        if let Operation::Send {
            delay_ms,
            bodies,
            outcome,
        } = &event.operation
        {
            builder.send(queue, event, request, *delay_ms, bodies, outcome);
        }
    }
    for &(queue, event) in &operations {
        builder.receive_or_note(queue, event);
    }
    for &(queue, event) in &operations {
        builder.use_receipts(queue, event);
    }
    builder.finish(&names)
}

#[derive(Default)]
struct Notes {
    empties: Vec<(Nanos, Nanos)>,
    unanswered: Vec<(Nanos, Nanos)>,
    rewinds: Vec<Rewind>,
    counts: Vec<(Nanos, Nanos, crate::event::Counters)>,
    drain: Option<(Nanos, Nanos)>,
    sends: u64,
}

struct Builder<'h> {
    history: &'h History,
    notes: Vec<Notes>,
    sends: Vec<Sent<'h>>,
    copies: Vec<Copy<'h>>,
    strays: Vec<Stray>,
    statistics: Statistics,
    outages: Vec<(Nanos, Nanos)>,
    by_body: HashMap<u64, usize>,
    /// Copies in other queues than the one sent to, by send and queue.
    elsewhere: HashMap<(usize, usize), usize>,
    /// Copy and handout of each receipt.
    by_receipt: HashMap<(usize, &'h str), (usize, usize)>,
}

impl<'h> Builder<'h> {
    fn new(history: &'h History) -> Self {
        Self {
            history,
            notes: history.queues.iter().map(|_| Notes::default()).collect(),
            sends: Vec::new(),
            copies: Vec::new(),
            strays: Vec::new(),
            statistics: Statistics::default(),
            outages: Vec::new(),
            by_body: HashMap::new(),
            elsewhere: HashMap::new(),
            by_receipt: HashMap::new(),
        }
    }

    fn stray(&mut self, queue: usize, kind: StrayKind, detail: String) {
        self.strays.push(Stray {
            queue,
            kind,
            detail,
        });
    }

    fn send(
        &mut self,
        queue: usize,
        event: &'h Event,
        request: usize,
        delay_ms: u64,
        bodies: &[SentBody],
        outcome: &'h Outcome<Vec<String>>,
    ) {
        if let Outcome::Ok(ids) = outcome {
            let mut unique: Vec<&str> = ids.iter().map(String::as_str).collect();
            unique.sort_unstable();
            unique.dedup();
            if unique.len() != bodies.len() {
                let detail = format!(
                    "{} bodies sent, {} different ids",
                    bodies.len(),
                    unique.len()
                );
                self.stray(queue, StrayKind::Batch, detail);
            }
        }
        self.notes[queue].sends += 1;
        for (item, body) in bodies.iter().enumerate() {
            let outcome = match outcome {
                Outcome::Ok(ids) => ids
                    .get(item)
                    .map_or(SendOutcome::Unnamed, |id| SendOutcome::Acknowledged(id)),
                Outcome::Refused(_) => SendOutcome::Refused,
                Outcome::Unknown => SendOutcome::Unknown,
            };
            self.statistics.attempted += 1;
            match outcome {
                SendOutcome::Refused => self.statistics.refused += 1,
                SendOutcome::Unknown => self.statistics.unknown += 1,
                _ => self.statistics.acknowledged += 1,
            }
            let send = self.sends.len();
            self.by_body.insert(body.id, send);
            self.sends.push(Sent {
                body: body.id,
                checksum: body.checksum,
                queue,
                invoked: event.invoked,
                returned: event.returned,
                delay: delay_ms.saturating_mul(MILLISECOND),
                outcome,
                request,
                request_size: bodies.len(),
            });
            self.copies.push(Copy {
                send,
                queue,
                handouts: Vec::new(),
            });
        }
    }

    fn finish(mut self, names: &BTreeMap<&str, usize>) -> Result<Ledger<'h>, Invalid> {
        if self.statistics.acknowledged == 0 {
            return Err(Invalid::NothingAcknowledged);
        }
        self.statistics.outages = self.outages.len() as u64;
        let outages = Outages::new(std::mem::take(&mut self.outages));
        let mut queues = Vec::with_capacity(self.notes.len());
        let mut drains = Vec::with_capacity(self.notes.len());
        for (facts, mut notes) in self
            .history
            .queues
            .iter()
            .zip(std::mem::take(&mut self.notes))
        {
            if notes.sends > 0 && notes.drain.is_none() {
                return Err(Invalid::NotDrained(facts.name.clone()));
            }
            drains.push(notes.drain);
            notes.rewinds.sort_unstable_by_key(|rewind| rewind.invoked);
            let visibility = facts.visibility_ms.saturating_mul(MILLISECOND);
            let dead_letter = match &facts.dead_letter {
                Some(policy) => {
                    let place = names.get(policy.queue.as_str()).copied();
                    let place = place.ok_or_else(|| Invalid::UnknownQueue(policy.queue.clone()))?;
                    Some((place, policy.receives_max))
                }
                None => None,
            };
            queues.push(Queue {
                facts,
                visibility,
                retention: facts.retention_ms.saturating_mul(MILLISECOND),
                dead_letter,
                evidence: Evidence::new(notes.empties, &notes.unanswered, visibility, &outages),
                rewinds: notes.rewinds,
                counts: notes.counts,
            });
        }
        let Self {
            sends,
            mut copies,
            strays,
            mut statistics,
            ..
        } = self;
        for copy in &mut copies {
            handouts::settle(copy, &sends[copy.send], queues[copy.queue].visibility);
            let drain = drains[copy.queue].unwrap_or((Nanos::MAX, Nanos::MAX));
            let drained = copy
                .handouts
                .iter()
                .filter(|handout| handout.invoked >= drain.0);
            statistics.drained += drained.count() as u64;
            statistics.redelivered += (copy.handouts.len() as u64).saturating_sub(1);
        }
        if statistics.drained == 0 {
            return Err(Invalid::EmptyDrain);
        }
        Ok(Ledger {
            queues,
            sends,
            copies,
            outages,
            strays,
            statistics,
        })
    }
}
