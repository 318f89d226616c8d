//! Sorting a history into the ledger: sends and publishes first, then what was handed out or pushed, then
//! the uses of receipts.

use std::collections::{BTreeMap, HashMap, HashSet};

mod handouts;
mod settings;
mod topics;

use super::{
    Copy, Ledger, Published, Queue, ReceiveOutcome, Received, Rewind, SendOutcome, Sent, Stray,
    StrayKind, Subscription,
};
use settings::Lives;

use crate::{
    event::{Event, Nanos, Operation, Outcome, SentBody},
    evidence::{Evidence, MILLISECOND, Outages},
    history::History,
    report::{Invalid, Statistics},
    spans::Spans,
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
    let lives = Lives::new(history, &names)?;
    let mut builder = Builder::new(history, lives);
    builder.targets = topics::targets(history, &names)?;
    for (request, event) in history.events.iter().enumerate() {
        match &event.operation {
            Operation::Outage => builder.outages.push((event.invoked, event.returned)),
            Operation::Send {
                delay_ms,
                bodies,
                outcome,
            } => builder.send(place_of(event)?, event, request, *delay_ms, bodies, outcome),
            Operation::Publish {
                labels,
                bodies,
                outcome,
            } => builder.publish(topics::Publish {
                event,
                request,
                labels,
                bodies,
                outcome,
            })?,
            _ => {}
        }
    }
    let mut operations = Vec::with_capacity(history.events.len());
    for event in &history.events {
        match &event.operation {
            Operation::Outage
            | Operation::Leap { .. }
            | Operation::Publish { .. }
            | Operation::Subscribe { .. }
            | Operation::Unsubscribe { .. }
            | Operation::Create { .. }
            | Operation::End { .. }
            | Operation::Change { .. }
            | Operation::Purge { .. }
            | Operation::Describe { .. } => {}
            Operation::Push(push) => builder.push(event, push)?,
            Operation::Drain if builder.knows_topic(&event.queue) => builder.drain_topic(event),
            _ => operations.push((place_of(event)?, event)),
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
    receives: Vec<Received>,
    empties: Vec<(Nanos, Nanos)>,
    rewinds: Vec<Rewind>,
    counts: Vec<(Nanos, Nanos, crate::event::Counters)>,
    drain: Option<(Nanos, Nanos)>,
    sends: u64,
}

struct Builder<'h> {
    history: &'h History,
    lives: Lives<'h>,
    notes: Vec<Notes>,
    sends: Vec<Sent<'h>>,
    copies: Vec<Copy<'h>>,
    subscriptions: Vec<Subscription<'h>>,
    /// The queue of each subscription that has one.
    targets: Vec<Option<usize>>,
    publishes: Vec<Published<'h>>,
    topic_drains: BTreeMap<&'h str, (Nanos, Nanos)>,
    /// The bodies that came anywhere.
    seen: HashSet<u64>,
    strays: Vec<Stray<'h>>,
    statistics: Statistics,
    outages: Vec<(Nanos, Nanos)>,
    by_body: HashMap<u64, usize>,
    by_published: HashMap<u64, usize>,
    /// What topics carry, by queue and body.
    by_carried: HashMap<(usize, u64), usize>,
    /// Copies in other queues than the one sent to, by send and queue.
    elsewhere: HashMap<(usize, usize), usize>,
    /// Copy and handout of each receipt.
    by_receipt: HashMap<(usize, &'h str), (usize, usize)>,
}

impl<'h> Builder<'h> {
    fn new(history: &'h History, lives: Lives<'h>) -> Self {
        Self {
            history,
            lives,
            notes: history.queues.iter().map(|_| Notes::default()).collect(),
            sends: Vec::new(),
            copies: Vec::new(),
            subscriptions: topics::subscriptions(history),
            targets: Vec::new(),
            publishes: Vec::new(),
            topic_drains: BTreeMap::new(),
            seen: topics::seen(history),
            strays: Vec::new(),
            statistics: Statistics::default(),
            outages: Vec::new(),
            by_body: HashMap::new(),
            by_published: HashMap::new(),
            by_carried: HashMap::new(),
            elsewhere: HashMap::new(),
            by_receipt: HashMap::new(),
        }
    }

    fn stray(&mut self, place: &'h str, kind: StrayKind, detail: String) {
        self.strays.push(Stray {
            place,
            kind,
            detail,
        });
    }

    fn name(&self, queue: usize) -> &'h str {
        &self.history.queues[queue].name
    }

    fn check_ids(&mut self, place: &'h str, count: usize, outcome: &Outcome<Vec<String>>) {
        let Outcome::Ok(ids) = outcome else {
            return;
        };
        let mut unique: Vec<&str> = ids.iter().map(String::as_str).collect();
        unique.sort_unstable();
        unique.dedup();
        if unique.len() != count {
            let detail = format!("{count} bodies sent, {} different ids", unique.len());
            self.stray(place, StrayKind::Batch, detail);
        }
    }

    fn send(
        &mut self,
        queue: usize,
        event: &'h Event,
        request: usize,
        delay_ms: Option<u64>,
        bodies: &[SentBody],
        outcome: &'h Outcome<Vec<String>>,
    ) {
        self.check_ids(self.name(queue), bodies.len(), outcome);
        self.notes[queue].sends += 1;
        let delay_ms = delay_ms.map(|delay| delay.saturating_mul(MILLISECOND));
        // Without an answer nobody knows when it happened.
        let until = match outcome {
            Outcome::Unknown => Nanos::MAX,
            _ => event.returned,
        };
        let own = &self.lives.attributes[queue].delay;
        let delay = delay_ms.unwrap_or_else(|| own.least(event.invoked, until));
        let delay_most = delay_ms.unwrap_or_else(|| own.most(event.invoked, until));
        let refusal = match outcome {
            Outcome::Refused(code) => Some(*code),
            _ => None,
        };
        for (item, body) in bodies.iter().enumerate() {
            let outcome = SendOutcome::of_item(outcome, item);
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
                delay,
                delay_most,
                hidden_until: 0,
                due: 0,
                is_carried: false,
                outcome,
                refusal,
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
        if self.statistics.acknowledged + self.statistics.topics.acknowledged == 0 {
            return Err(Invalid::NothingAcknowledged);
        }
        let subscriptions = self.finish_topics()?;
        self.statistics.outages = self.outages.len() as u64;
        let outages = Outages::new(std::mem::take(&mut self.outages));
        self.settle(&outages);
        let notes = std::mem::take(&mut self.notes).into_iter().enumerate();
        let queues: Result<Vec<_>, Invalid> = notes
            .map(|(place, notes)| self.queue(place, notes, names, &outages))
            .collect();
        let queues = queues?;
        if self.statistics.drained + self.statistics.topics.drained == 0 {
            return Err(Invalid::EmptyDrain);
        }
        let Self {
            sends,
            copies,
            publishes,
            strays,
            statistics,
            lives,
            ..
        } = self;
        Ok(Ledger {
            queues,
            sends,
            copies,
            subscriptions,
            publishes,
            outages,
            named: lives.named,
            leaps_of_names: lives.leaps_of_names,
            told: lives.told,
            strays,
            statistics,
        })
    }

    /// Works out when messages were due and how long leases ran.
    fn settle(&mut self, outages: &Outages) {
        let drains: Vec<_> = self.notes.iter().map(|notes| notes.drain).collect();
        set_due(&mut self.sends, &drains, outages);
        for sent in &mut self.sends {
            let leaps = &self.lives.leaps[sent.queue];
            sent.hidden_until = leaps.earliest(sent.invoked, sent.delay);
        }
        for copy in &mut self.copies {
            let visibility = &self.lives.attributes[copy.queue].visibility;
            let leaps = &self.lives.leaps[copy.queue];
            handouts::settle(copy, &self.sends[copy.send], visibility, leaps);
            let drain = drains[copy.queue].unwrap_or((Nanos::MAX, Nanos::MAX));
            let handouts = copy.handouts.iter();
            let drained = handouts.filter(|handout| handout.invoked >= drain.0);
            let statistics = &mut self.statistics;
            statistics.drained += drained.count() as u64;
            statistics.redelivered += (copy.handouts.len() as u64).saturating_sub(1);
        }
    }

    /// Whoever asks while there may be as many leases as there may be can be told that there is nothing.
    fn forget_crowded(&self, place: usize, notes: &mut Notes, outages: &Outages) {
        let Some(most) = self.history.queues[place].limits.in_flight else {
            return;
        };
        let copies = self.copies.iter().filter(|copy| copy.queue == place);
        let handouts = copies.flat_map(|copy| &copy.handouts);
        let leased = Spans::new(handouts.map(|handout| handout.maybe_leased(outages)));
        notes
            .empties
            .retain(|&(from, to)| leased.during(from, to) < most);
    }

    /// What is known of the queue at this place.
    fn queue(
        &mut self,
        place: usize,
        mut notes: Notes,
        names: &BTreeMap<&str, usize>,
        outages: &Outages,
    ) -> Result<Queue<'h>, Invalid> {
        self.forget_crowded(place, &mut notes, outages);
        let facts = &self.history.queues[place];
        let attributes = self.lives.attributes[place].clone();
        let ended = self.lives.ended[place];
        if notes.sends > 0 && notes.drain.is_none() && ended.is_none() {
            return Err(Invalid::NotDrained(facts.name.clone()));
        }
        notes.rewinds.sort_unstable_by_key(|rewind| rewind.invoked);
        let dead_letter = match &facts.dead_letter {
            Some(policy) => {
                let place = names.get(policy.queue.as_str()).copied();
                let place = place.ok_or_else(|| Invalid::UnknownQueue(policy.queue.clone()))?;
                Some((place, policy.receives_max))
            }
            None => None,
        };
        let age = facts.dead_letter.as_ref().and_then(|policy| policy.age_ms);
        let unanswered = notes.receives.iter();
        let unanswered = unanswered.filter(|one| one.outcome == ReceiveOutcome::Unknown);
        let unanswered: Vec<(Nanos, Nanos)> =
            unanswered.map(|one| (one.invoked, one.returned)).collect();
        let longest = attributes.visibility.most(0, Nanos::MAX);
        Ok(Queue {
            facts,
            attributes,
            leaps: std::mem::take(&mut self.lives.leaps[place]),
            purges: std::mem::take(&mut self.lives.purges[place]),
            created: self.lives.created[place],
            ended,
            dead_letter,
            dead_letter_age: age.map(|age| age.saturating_mul(MILLISECOND)),
            unbound: self.lives.unbound[place],
            evidence: Evidence::new(notes.empties, &unanswered, longest, outages),
            rewinds: notes.rewinds,
            counts: notes.counts,
            drained: notes.drain.map_or(Nanos::MAX, |(_, ended)| ended),
            receives: notes.receives,
        })
    }
}

/// How fast topics are is not promised: what they carry is due when the final drain begins.
fn set_due(sends: &mut [Sent<'_>], drains: &[Option<(Nanos, Nanos)>], outages: &Outages) {
    for sent in sends {
        let carried = drains[sent.queue].filter(|_| sent.is_carried);
        sent.due = carried.map_or_else(
            || outages.latest(sent.returned, sent.delay_most),
            |(drain, _)| drain,
        );
    }
}

impl<'h> SendOutcome<'h> {
    fn of_item(outcome: &'h Outcome<Vec<String>>, item: usize) -> Self {
        match outcome {
            Outcome::Ok(ids) => ids
                .get(item)
                .map_or(Self::Unnamed, |id| Self::Acknowledged(id)),
            Outcome::Refused(_) => Self::Refused,
            Outcome::Unknown => Self::Unknown,
        }
    }
}
