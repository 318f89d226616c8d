//! What was handed out and how its receipts were used, sorted by message.

use super::Builder;
use crate::{
    event::{Answer, Delivery, Event, Nanos, Operation, Outcome},
    evidence::MILLISECOND,
    leaps::Leaps,
    ledger::{Copy, Handout, Purpose, ReceiveOutcome, Received, Rewind, Sent, StrayKind, Use},
    setting::Setting,
};

impl<'h> Builder<'h> {
    pub(super) fn receive_or_note(&mut self, queue: usize, event: &'h Event) {
        let span = (event.invoked, event.returned);
        let notes = &mut self.notes[queue];
        match &event.operation {
            Operation::Receive { most, outcome, .. } => self.receive(queue, event, *most, outcome),
            Operation::Rewind {
                to_seconds,
                outcome,
            } => {
                let returned = match outcome {
                    Outcome::Ok(()) => Some(event.returned),
                    Outcome::Unknown => None,
                    Outcome::Refused(_) => return,
                };
                notes.rewinds.push(Rewind {
                    invoked: event.invoked,
                    returned,
                    to_seconds: *to_seconds,
                });
            }
            Operation::Count(counters) => notes.counts.push((span.0, span.1, *counters)),
            Operation::Drain => notes.drain = Some(span),
            _ => {}
        }
    }

    fn receive(
        &mut self,
        queue: usize,
        event: &Event,
        most: u32,
        outcome: &'h Outcome<Vec<Delivery>>,
    ) {
        let notes = &mut self.notes[queue];
        let (invoked, returned) = (event.invoked, event.returned);
        notes.receives.push(Received {
            invoked,
            returned,
            most,
            outcome: match outcome {
                Outcome::Ok(deliveries) => ReceiveOutcome::Got(deliveries.len()),
                Outcome::Refused(code) => ReceiveOutcome::Refused(*code),
                Outcome::Unknown => ReceiveOutcome::Unknown,
            },
        });
        let Outcome::Ok(deliveries) = outcome else {
            return;
        };
        if deliveries.is_empty() {
            notes.empties.push((invoked, returned));
        }
        if deliveries.len() > most as usize {
            let detail = format!("{most} asked for, {} received", deliveries.len());
            self.stray(self.name(queue), StrayKind::Batch, detail);
        }
        for delivery in deliveries {
            self.hand_out(queue, event, delivery);
        }
    }

    fn hand_out(&mut self, queue: usize, event: &Event, delivery: &'h Delivery) {
        self.statistics.delivered += 1;
        let Some(body) = delivery.body else {
            let detail = format!(
                "message {} has a body that is damaged or not ours",
                delivery.message
            );
            return self.stray(self.name(queue), StrayKind::Phantom, detail);
        };
        let carried = self.by_carried.get(&(queue, body));
        let Some(&send) = carried.or_else(|| self.by_body.get(&body)) else {
            let (kind, detail) = if self.by_published.contains_key(&body) {
                (StrayKind::FanOut, "was published, and not for this queue")
            } else {
                (StrayKind::Phantom, "was never sent")
            };
            return self.stray(self.name(queue), kind, format!("body {body:016x} {detail}"));
        };
        if self.sends[send].checksum != delivery.checksum {
            let detail = format!("body {body:016x} came with other bytes");
            return self.stray(self.name(queue), StrayKind::Phantom, detail);
        }
        let copy = if self.sends[send].queue == queue {
            send
        } else {
            *self.elsewhere.entry((send, queue)).or_insert_with(|| {
                self.copies.push(Copy {
                    send,
                    queue,
                    handouts: Vec::new(),
                });
                self.copies.len() - 1
            })
        };
        let handout = Handout {
            invoked: event.invoked,
            returned: event.returned,
            message: &delivery.message,
            count: delivery.count,
            enqueued_at: delivery.enqueued_at,
            uses: Vec::new(),
            earliest: 0,
            held_until: 0,
            free_from: 0,
            unchanged_until: 0,
        };
        let place = (copy, self.copies[copy].handouts.len());
        if self
            .by_receipt
            .insert((queue, delivery.receipt.as_str()), place)
            .is_some()
        {
            let detail = format!("receipt {} was given out twice", delivery.receipt);
            self.stray(self.name(queue), StrayKind::Receipt, detail);
        }
        self.copies[copy].handouts.push(handout);
    }

    pub(super) fn use_receipts(&mut self, queue: usize, event: &'h Event) {
        match &event.operation {
            Operation::Delete { receipts, outcome } => {
                if let Outcome::Ok(answers) = outcome
                    && answers.len() != receipts.len()
                {
                    let detail = format!("{} receipts, {} results", receipts.len(), answers.len());
                    self.stray(self.name(queue), StrayKind::Batch, detail);
                }
                for (item, receipt) in receipts.iter().enumerate() {
                    let answer = match outcome {
                        Outcome::Ok(answers) => answers.get(item).copied(),
                        Outcome::Refused(code) => Some(Answer::Refused(*code)),
                        Outcome::Unknown => None,
                    };
                    self.use_receipt(queue, event, receipt, Purpose::Delete, answer);
                }
            }
            Operation::Extend {
                receipt,
                visibility_ms,
                outcome,
            } => {
                let answer = match outcome {
                    Outcome::Ok(answer) => Some(*answer),
                    Outcome::Refused(code) => Some(Answer::Refused(*code)),
                    Outcome::Unknown => None,
                };
                let visibility = visibility_ms.saturating_mul(MILLISECOND);
                self.use_receipt(queue, event, receipt, Purpose::Extend(visibility), answer);
            }
            _ => {}
        }
    }

    fn use_receipt(
        &mut self,
        queue: usize,
        event: &Event,
        receipt: &str,
        what: Purpose,
        answer: Option<Answer>,
    ) {
        if what == Purpose::Delete {
            match answer {
                Some(Answer::Done) => self.statistics.deleted += 1,
                None => self.statistics.deleted_unknown += 1,
                Some(_) => {}
            }
        }
        match self.by_receipt.get(&(queue, receipt)) {
            Some(&(copy, handout)) => {
                let (invoked, returned) = (event.invoked, event.returned);
                let one = Use {
                    invoked,
                    returned,
                    what,
                    answer,
                };
                self.copies[copy].handouts[handout].uses.push(one);
            }
            None if answer == Some(Answer::Done) => {
                let detail = format!("receipt {receipt} worked, but nobody was given it");
                self.stray(self.name(queue), StrayKind::Receipt, detail);
            }
            None => {}
        }
    }
}

/// Sorts the handouts of a copy and works out between which times each lease began and ended.
pub(super) fn settle(
    copy: &mut Copy<'_>,
    sent: &Sent<'_>,
    visibility: &Setting<Nanos>,
    leaps: &Leaps,
) {
    copy.handouts
        .sort_by_key(|handout| (handout.returned, handout.count));
    for handout in &mut copy.handouts {
        handout.uses.sort_by_key(|one| (one.invoked, one.returned));
        // A long poll may have been open for long before the message was there.
        handout.earliest = handout.invoked.max(sent.hidden_until);
        let (least, most) = (
            visibility.least(handout.invoked, handout.returned),
            visibility.most(handout.invoked, handout.returned),
        );
        handout.held_until = leaps.earliest(handout.earliest, least);
        handout.free_from = handout.returned.saturating_add(most);
        handout.unchanged_until = handout.free_from;
        for one in &handout.uses {
            let Purpose::Extend(length) = one.what else {
                continue;
            };
            match one.answer {
                Some(Answer::Done) => {
                    handout.held_until = leaps.earliest(one.invoked, length);
                    handout.free_from = one.returned.saturating_add(length);
                }
                None => {
                    handout.held_until =
                        handout.held_until.min(leaps.earliest(one.invoked, length));
                    handout.free_from = handout.free_from.max(one.returned.saturating_add(length));
                }
                Some(_) => {}
            }
        }
    }
}
