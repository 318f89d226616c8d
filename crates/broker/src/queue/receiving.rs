//! Leasing messages, and the end of a lease by its holder or by time.

use crate::{
    attributes::DeadLetterAfter,
    codec::Receipts,
    command::{Delivery, Reply},
    error::Error,
    id::Sequence,
    limits,
    queue::{History, Lease, Passing, Queue, check_batch, lanes::Moving},
    time::{Millis, Timestamp},
    turn::Turn,
};

impl Queue {
    pub(crate) fn receive(
        &mut self,
        max: u32,
        visibility: Option<Millis>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let visibility = visibility.unwrap_or(self.attributes.visibility);
        if let Err(error) = check_batch(max).and(check_visibility(visibility)) {
            return Reply::Refused(error);
        }
        self.skip_due(turn);
        let available = self.ready_len();
        let room = self.in_flight_room();
        if available > 0 && room == 0 {
            return Reply::Refused(Error::TooManyInFlight);
        }
        let wanted = u64::from(max.min(turn.leases_left()));
        let count = wanted.min(available).min(room);
        let mut deliveries = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        while (deliveries.len() as u64) < count && self.skip_due(turn) {
            deliveries.push(self.lease_first(visibility, turn));
        }
        if deliveries.is_empty() {
            // What is ready was not reached for all that is due: it must be looked for again.
            self.announce_to_pusher(turn);
        }
        self.totals.received += deliveries.len() as u64;
        Reply::Received { deliveries }
    }

    /// Leases the first ready message. There must be one.
    fn lease_first(&mut self, visibility: Millis, turn: &mut Turn<'_>) -> Delivery {
        let passing = self.take_first_ready().expect("a ready message");
        let history = passing.history.unwrap_or(History {
            first_received: turn.now.into(),
            deliveries: 0,
        });
        let lease = Lease {
            message: passing.message,
            since: passing.since,
            first_received: history.first_received.into(),
            deadline: turn.starts + visibility,
            deliveries: history.deliveries.saturating_add(1),
        };
        let receipt = turn.number_lease();
        self.leases.grant(receipt, lease, self.attributes.retention);
        Delivery {
            message: lease.message.sequence,
            receipt,
            sent: turn.wall.wall(lease.message.sent),
            first_received: turn.wall.wall(lease.first_received),
            visible_again: turn.wall.wall(turn.now + visibility),
            deliveries: lease.deliveries,
        }
    }

    pub(crate) fn delete(&mut self, receipts: &Receipts<'_>, turn: &mut Turn<'_>) -> Reply {
        if let Err(error) = check_batch(receipts.count()) {
            return Reply::Refused(error);
        }
        let had_room = self.in_flight_room() > 0;
        let each = receipts.iter().map(|receipt| {
            #[cfg(feature = "sabotage")]
            let receipt = self.any_receipt(receipt);
            let lease = self.end_running_lease(receipt, turn)?;
            self.totals.deleted += 1;
            self.retire(lease.message, turn);
            Ok(())
        });
        let reply = Reply::Each(each.collect());
        if !had_room {
            self.announce_to_pusher(turn);
        }
        reply
    }

    /// A receipt that no longer names a lease ends the first one that runs: a planted bug.
    #[cfg(feature = "sabotage")]
    fn any_receipt(&self, receipt: Sequence) -> Sequence {
        let is_stale = self.leases.get(receipt).is_none();
        let first = self.leases.iter().map(|(receipt, _)| receipt).next();
        match first.filter(|_| is_stale && crate::sabotage::is_planted("delete by any receipt")) {
            Some(first) => first,
            None => receipt,
        }
    }

    pub(crate) fn change_visibility(
        &mut self,
        receipts: &Receipts<'_>,
        visibility: Millis,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let checked = check_batch(receipts.count()).and(check_visibility(visibility));
        if let Err(error) = checked {
            return Reply::Refused(error);
        }
        let each = receipts.iter().map(|receipt| {
            let lease = self.end_running_lease(receipt, turn)?;
            if visibility == Millis(0) {
                self.return_lease(&lease, turn.now, turn);
            } else {
                let deadline = turn.starts + visibility;
                #[cfg(feature = "sabotage")]
                let deadline = if crate::sabotage::is_planted("longer lease not granted") {
                    deadline.min(lease.deadline)
                } else {
                    deadline
                };
                let changed = Lease { deadline, ..lease };
                self.leases
                    .grant(receipt, changed, self.attributes.retention);
            }
            Ok(())
        });
        Reply::Each(each.collect())
    }

    /// Ends leases that reached nobody, as if they had not been granted.
    pub(crate) fn return_leases(&mut self, receipts: &Receipts<'_>, turn: &mut Turn<'_>) -> Reply {
        if let Err(error) = check_batch(receipts.count()) {
            return Reply::Refused(error);
        }
        let each = receipts.iter().map(|receipt| {
            let lease = self.end_running_lease(receipt, turn)?;
            self.totals.received -= 1;
            self.take_delivery_back(&lease, turn);
            Ok(())
        });
        Reply::Each(each.collect())
    }

    fn take_delivery_back(&mut self, lease: &Lease, turn: &mut Turn<'_>) {
        if self.gives_up_by_age(lease.message.sent, turn.now) {
            self.start_move(lease.into(), turn);
            self.announce_to_pusher(turn);
        } else {
            self.make_ready_again(lease, lease.deliveries - 1, turn);
        }
    }

    pub(super) fn end_running_lease(
        &mut self,
        receipt: Sequence,
        turn: &mut Turn<'_>,
    ) -> Result<Lease, Error> {
        let retention = self.attributes.retention;
        let lease = self.leases.get(receipt).ok_or(Error::ReceiptInvalid)?;
        if turn.now >= lease.wake(retention) {
            return Err(Error::ReceiptInvalid);
        }
        self.leases.end(receipt, retention);
        Ok(lease)
    }

    /// What becomes of a message whose lease ended at a moment, its retention lasting on.
    pub(super) fn return_lease(&mut self, lease: &Lease, at: Timestamp, turn: &mut Turn<'_>) {
        let gives_up = match self.dead_letter_after() {
            Some(DeadLetterAfter::Receives(receives)) => lease.deliveries >= receives,
            _ => self.gives_up_by_age(lease.message.sent, at),
        };
        if gives_up {
            self.start_move(lease.into(), turn);
        } else {
            self.make_ready_again(lease, lease.deliveries, turn);
        }
    }

    /// Makes a message ready whose lease ended, with so many deliveries behind it.
    fn make_ready_again(&mut self, lease: &Lease, deliveries: u32, turn: &mut Turn<'_>) {
        let history = (deliveries > 0).then(|| History {
            first_received: lease.first_received.into(),
            deliveries,
        });
        let passing = Passing {
            message: lease.message,
            since: lease.since,
            history,
        };
        self.make_ready(passing, turn);
    }
}

impl From<&Lease> for Moving {
    fn from(lease: &Lease) -> Self {
        Self {
            message: lease.message,
            since: lease.since,
        }
    }
}

fn check_visibility(visibility: Millis) -> Result<(), Error> {
    if visibility <= limits::VISIBILITY_MAX {
        Ok(())
    } else {
        Err(Error::AttributeOutOfRange)
    }
}
