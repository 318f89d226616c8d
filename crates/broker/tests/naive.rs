//! A broker that is too simple to be wrong: every queue is one array of messages with a state each,
//! and every question is answered by looking at all of them.

mod delivery;
mod due;
mod moving;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::QueueAttributes,
    command::{Command, Effect, Reply},
    error::Error,
    id::{QueueId, Sequence},
    limits,
    op::{QueueCounts, QueueTotals},
    time::{Stamp, Timestamp},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Delayed {
        wake: Timestamp,
    },
    Ready,
    Leased {
        receipt: Sequence,
        deadline: Timestamp,
    },
    Retired,
    Moving {
        target: QueueId,
        number: u64,
    },
}

#[derive(Debug)]
struct Message {
    sequence: Sequence,
    sent: Timestamp,
    /// From when retention counts.
    since: Timestamp,
    state: State,
    deliveries: u32,
    first_received: Timestamp,
}

#[derive(Debug)]
struct Queue {
    revision: u64,
    attributes: QueueAttributes,
    /// In the order of sending.
    messages: Vec<Message>,
    /// The last number given, by target.
    numbers: BTreeMap<QueueId, u64>,
    accepted: BTreeMap<QueueId, u64>,
    tokens: BTreeMap<[u8; 16], TokenSend>,
    totals: QueueTotals,
}

/// A send that had a token.
#[derive(Debug, Clone)]
struct TokenSend {
    messages: Vec<Sequence>,
    at: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    now: Timestamp,
    /// How far the wall clock is ahead.
    wall: i64,
    queues: BTreeMap<QueueId, Queue>,
    dropped: BTreeSet<QueueId>,
    index: u64,
    bodies: u32,
    leases: u32,
    skips: usize,
    pub(crate) effects: Vec<Effect>,
}

impl Naive {
    pub(crate) fn apply(
        &mut self,
        index: u64,
        stamp: Stamp,
        commands: &[Command],
        settled: usize,
    ) -> Vec<Reply> {
        self.now = self.now.max(stamp.now);
        self.wall = i64::try_from(stamp.wall.0).unwrap() - i64::try_from(stamp.now.0).unwrap();
        (self.index, self.bodies, self.leases, self.skips) = (index, 0, 0, settled);
        self.effects.clear();
        for _ in 0..settled {
            match self.events().into_iter().min() {
                Some(event) if event.0 <= self.now => self.settle(event),
                _ => break,
            }
        }
        commands
            .iter()
            .map(|command| self.command(command))
            .collect()
    }

    pub(crate) fn counts(&self, queue: QueueId) -> Option<QueueCounts> {
        let queue = self.queues.get(&queue)?;
        let count = |test: fn(State) -> bool| {
            queue
                .messages
                .iter()
                .filter(|message| test(message.state))
                .count() as u64
        };
        Some(QueueCounts {
            ready: count(|state| state == State::Ready),
            leased: count(|state| matches!(state, State::Leased { .. })),
            delayed: count(|state| matches!(state, State::Delayed { .. })),
            retired: count(|state| state == State::Retired),
            moving: count(|state| matches!(state, State::Moving { .. })),
            oldest: queue.oldest().map(|oldest| self.on_the_wall(oldest)),
            totals: queue.totals,
        })
    }

    pub(crate) fn live(&self) -> Vec<Sequence> {
        let messages = self.queues.values().flat_map(|queue| &queue.messages);
        let mut live: Vec<_> = messages.map(|message| message.sequence).collect();
        live.sort_unstable();
        live
    }

    fn on_the_wall(&self, own: Timestamp) -> Timestamp {
        Timestamp(own.0.saturating_add_signed(self.wall))
    }

    fn command(&mut self, command: &Command) -> Reply {
        match command {
            Command::PutQueue {
                queue,
                revision,
                attributes,
            } => self.put(*queue, *revision, attributes),
            Command::DropQueue { queue, .. } => {
                self.dropped.insert(*queue);
                if let Some(ended) = self.queues.remove(queue) {
                    self.effects.push(Effect::QueueGone { queue: *queue });
                    if !ended.numbers.is_empty() {
                        self.effects.push(Effect::MovesPending { queue: *queue });
                    }
                }
                Reply::Done
            }
            Command::Settle => Reply::Done,
            other => self.queue_command(other).unwrap_or_else(Reply::Refused),
        }
    }

    fn put(&mut self, id: QueueId, revision: u64, attributes: &QueueAttributes) -> Reply {
        if let Err(error) = attributes.check() {
            return Reply::Refused(error);
        }
        if self.dropped.contains(&id) {
            return Reply::Done;
        }
        let queue = self.queues.entry(id).or_insert_with(|| Queue {
            revision: 0,
            attributes: attributes.clone(),
            messages: Vec::new(),
            numbers: BTreeMap::new(),
            accepted: BTreeMap::new(),
            tokens: BTreeMap::new(),
            totals: QueueTotals::default(),
        });
        if revision > queue.revision {
            queue.revision = revision;
            let old = queue.attributes.dead_letter;
            queue.attributes = attributes.clone();
            queue.forget_retired(self.now);
            if let Some(old) = old {
                self.announce_end(id, old.queue);
            }
        }
        Reply::Done
    }

    #[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
    fn queue_command(&mut self, command: &Command) -> Result<Reply, Error> {
        match command {
            Command::SendMessages {
                queue,
                delay,
                bodies,
            } => {
                let first = self.bodies;
                self.bodies += u32::try_from(bodies.len()).unwrap();
                let lengths: Vec<_> = bodies.iter().map(bytes::Bytes::len).collect();
                self.send(*queue, *delay, &lengths, first)
            }
            Command::SendMessagesOnce {
                queue,
                token,
                delay,
                bodies,
            } => {
                let first = self.bodies;
                self.bodies += u32::try_from(bodies.len()).unwrap();
                let lengths: Vec<_> = bodies.iter().map(bytes::Bytes::len).collect();
                self.send_once(*queue, *token, *delay, &lengths, first)
            }
            Command::ReceiveMessages {
                queue,
                max,
                visibility,
            } => self.receive(*queue, *max, *visibility),
            Command::DeleteMessages { queue, receipts } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                check_batch(receipts.len())?;
                let each = receipts.iter().map(|receipt| self.delete(*queue, *receipt));
                Ok(Reply::Each(each.collect()))
            }
            Command::ChangeVisibility {
                queue,
                receipts,
                visibility,
            } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                check_batch(receipts.len())?;
                let each = receipts
                    .iter()
                    .map(|receipt| self.change(*queue, *receipt, *visibility));
                Ok(Reply::Each(each.collect()))
            }
            Command::AcceptMoved {
                queue,
                source,
                first,
                bodies,
                ..
            } => {
                let ordinal = self.bodies;
                self.bodies += u32::try_from(bodies.len()).unwrap();
                self.accept(*queue, *source, *first, bodies.len(), ordinal)
            }
            Command::MovesSettled {
                queue,
                target,
                through,
            } => {
                let id = *queue;
                let queue = self.queues.get_mut(queue).ok_or(Error::NoSuchQueue)?;
                let before = queue.messages.len();
                queue.messages.retain(|message| {
                    !matches!(message.state, State::Moving { target: to, number } if to == *target && number <= *through)
                });
                queue.totals.dead_lettered += (before - queue.messages.len()) as u64;
                self.announce_end(id, *target);
                Ok(Reply::Done)
            }
            Command::ReturnLeases { queue, receipts } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                check_batch(receipts.len())?;
                let each = receipts
                    .iter()
                    .map(|receipt| self.take_back(*queue, *receipt));
                Ok(Reply::Each(each.collect()))
            }
            Command::ReturnMoves { queue, target } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                self.return_moves(*queue, *target);
                Ok(Reply::Done)
            }
            Command::ClearQueue { queue } => {
                let queue = self.queues.get_mut(queue).ok_or(Error::NoSuchQueue)?;
                let is_moving = |message: &Message| matches!(message.state, State::Moving { .. });
                let held = queue.messages.iter();
                let held =
                    held.filter(|message| !is_moving(message) && message.state != State::Retired);
                queue.totals.cleared += held.count() as u64;
                queue.messages.retain(is_moving);
                Ok(Reply::Done)
            }
            Command::RewindQueue { queue, to } => self.rewind(*queue, *to),
            other => panic!("{other:?} is not for this test"),
        }
    }
}

fn check_batch(count: usize) -> Result<(), Error> {
    if count == 0 || count > limits::BATCH_MESSAGES_MAX {
        return Err(Error::BatchSize);
    }
    Ok(())
}
