//! What a queue does that holds what a subscription has still to deliver.
//!
//! One that is pushed hands its messages to the pusher, a consumer like others. One that is forwarded
//! keeps the lane to the queue that subscribed filled up to a bound, as soon as there is such a queue:
//! what waits behind is ready, where it takes little memory and its retention ends by itself.

use crate::{
    codec::Receipts,
    command::{Effect, Reply},
    id::{QueueId, Sequence, SubscriptionId},
    limits,
    list::Waiting,
    queue::{DelayedMessage, Passing, Queue, check_batch, lanes::Moving},
    time::Millis,
    turn::Turn,
};

/// How long a message waits at least that its queue refused.
const RETRY_LEAST: Millis = Millis::from_seconds(1);

/// Whom a queue's messages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whoever receives.
    Received,
    /// An outbox: the pusher of the subscription.
    Pushed(SubscriptionId),
    /// An outbox: the queue that subscribed; none while there is no queue of that name.
    Forwarded(Option<QueueId>),
}

impl Queue {
    /// Takes in references to messages that were published just now.
    pub(crate) fn publish(
        &mut self,
        messages: impl ExactSizeIterator<Item = Sequence>,
        turn: &mut Turn<'_>,
    ) {
        let count = u32::try_from(messages.len()).expect("an entry's messages");
        turn.blocks.add(turn.index, count);
        self.totals.sent += u64::from(count);
        for sequence in messages {
            let sent = turn.now;
            self.ready.insert(Waiting { sequence, sent });
        }
        self.ready_grew(turn);
    }

    /// The queue into whose lane messages go as soon as they are ready.
    pub(super) fn forwards_to(&self) -> Option<QueueId> {
        match self.role {
            Role::Forwarded(target) => target,
            Role::Received | Role::Pushed(_) => None,
        }
    }

    /// Lets those know of new ready messages for whom they are.
    pub(super) fn ready_grew(&mut self, turn: &mut Turn<'_>) {
        match self.role {
            Role::Received => turn.effect(Effect::QueueReady { queue: self.id }),
            Role::Pushed(subscription) => turn.effect(Effect::OutboxReady { subscription }),
            Role::Forwarded(_) => self.fill_lane(turn),
        }
    }

    /// Says that a pusher may find something now that it did not find before. Also when a lease ends of a queue that had no
    /// room for another: a pusher that was refused, of a node that has just begun to lead, is not the one that ends it.
    pub(super) fn announce_to_pusher(&self, turn: &mut Turn<'_>) {
        if let Role::Pushed(subscription) = self.role
            && self.ready_len() > 0
        {
            turn.effect(Effect::OutboxReady { subscription });
        }
    }

    /// Puts ready messages into the lane of an outbox that is forwarded, while it has room.
    pub(super) fn fill_lane(&mut self, turn: &mut Turn<'_>) {
        let Some(target) = self.forwards_to() else {
            return;
        };
        while self.lanes.len_to(target) < limits::DELIVERY_LANE_MAX
            && let Some(Passing { message, since, .. }) = self.take_first_ready()
        {
            self.push_move(target, Moving { message, since }, turn);
        }
    }

    /// Changes whom the messages are for. Those on their way to a queue that is not it any more come
    /// back, and go on to the new one.
    pub(crate) fn set_role(&mut self, role: Role, turn: &mut Turn<'_>) {
        if self.role == role {
            return self.announce_to_pusher(turn);
        }
        // Meanwhile for nobody, so that all of them go on in the order of publishing.
        let old = std::mem::replace(&mut self.role, Role::Forwarded(None));
        if let Role::Forwarded(Some(target)) = old {
            // That queue is no more, and its number never comes back.
            for Moving { message, since } in self.lanes.close(target) {
                let history = None;
                self.make_ready(
                    Passing {
                        message,
                        since,
                        history,
                    },
                    turn,
                );
            }
        }
        self.role = role;
        self.ready_grew(turn);
    }

    /// Says whom the messages of a restored queue are for.
    pub(crate) fn restore_role(&mut self, role: Role) {
        self.role = role;
    }

    /// Takes the first message out of a lane whose queue refuses it, if it has this number. It comes
    /// again when it is twice as old, but after a second at least and `wait_max` at most: so tries
    /// become rarer without being counted.
    pub(crate) fn move_failed(
        &mut self,
        target: QueueId,
        number: u64,
        wait_max: Millis,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let Some(moving) = self.lanes.pass_over(target, number) else {
            return Reply::Done;
        };
        let Moving { message, since } = moving;
        if self.gives_up_by_age(message.sent, turn.now) {
            self.start_move(moving, turn);
        } else if since + self.attributes.retention <= turn.now {
            turn.blocks.remove(message.sequence);
            self.totals.expired += 1;
        } else {
            let age = (turn.now - message.sent).max(RETRY_LEAST);
            // A message that is delayed at all is so for a moment.
            let wake = turn.starts + age.min(wait_max).max(Millis(1));
            let retention = self.delayed_retention();
            self.delayed
                .insert(DelayedMessage { message, wake }, retention);
        }
        self.announce_end(target, turn);
        self.fill_lane(turn);
        Reply::Done
    }

    /// Ends leases of messages that will not be tried again. Those that have no dead-letter queue to
    /// go to are counted by the caller.
    pub(crate) fn give_up(&mut self, receipts: &Receipts<'_>, turn: &mut Turn<'_>) -> Reply {
        if let Err(error) = check_batch(receipts.count()) {
            return Reply::Refused(error);
        }
        let had_room = self.in_flight_room() > 0;
        let each = receipts.iter().map(|receipt| {
            let lease = self.end_running_lease(receipt, turn)?;
            if self.attributes.dead_letter.is_some() {
                self.start_move((&lease).into(), turn);
            } else {
                turn.blocks.remove(lease.message.sequence);
            }
            Ok(())
        });
        let reply = Reply::Each(each.collect());
        if !had_room {
            self.announce_to_pusher(turn);
        }
        reply
    }

    /// Messages that have not left, wherever they are.
    pub(crate) fn undelivered(&self) -> u64 {
        self.ready_len() + self.leases.len() + self.delayed.len() + self.delivery_len()
    }

    /// Every one of them.
    pub(crate) fn undelivered_messages(&self) -> impl Iterator<Item = Sequence> {
        let first = Sequence::new(0, 0);
        let last = Sequence::new(Sequence::INDEX_LAST, Sequence::PER_ENTRY - 1);
        let ready = self.ready.between(first, last);
        let ready = ready.map(|message| message.sequence);
        let target = self.forwards_to().into_iter();
        let delivery = target.flat_map(|target| self.lanes.messages_to(target));
        ready.chain(self.unordered()).chain(delivery)
    }

    fn delivery_len(&self) -> u64 {
        let target = self.forwards_to();
        target.map_or(0, |target| self.lanes.len_to(target))
    }

    /// Whether the pusher of this outbox would find something.
    pub(crate) fn ready_for_pusher(&self) -> Option<SubscriptionId> {
        match self.role {
            Role::Pushed(subscription) if self.ready_len() > 0 => Some(subscription),
            _ => None,
        }
    }
}
