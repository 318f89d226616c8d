//! A courier that loses answers and repeats itself.

use anser_broker::{
    command::{Command, Lane, Reply},
    error::Error,
    id::{QueueId, Sequence},
    labels::Published,
    time::Millis,
};

use super::{World, actions::Fate};
use crate::naive_topics::{Number, State};

impl World {
    pub(super) fn carry(&mut self, outbox: Number, max: usize, wait: u64, fate: Fate) {
        for (lane, reply) in self.late.remove(&outbox).unwrap_or_default() {
            self.hear(outbox, &lane, &reply, wait);
        }
        for lane in self.shard.moves(QueueId(outbox), max) {
            if lane.ends.is_some() {
                continue;
            }
            assert!(lane.has_labels);
            let accept = self.accept_command(outbox, &lane);
            let mut reply = self.apply(&accept);
            if fate == Fate::Repeated {
                reply = self.apply(&accept);
            }
            match fate {
                Fate::Heard | Fate::Repeated => self.hear(outbox, &lane, &reply, wait),
                Fate::AnswerLost => {}
                Fate::HeardLater => self.late.entry(outbox).or_default().push((lane, reply)),
            }
        }
    }

    fn accept_command(&self, outbox: Number, lane: &Lane) -> Command {
        let body = |message: Sequence| Published::open(&self.bodies[&message]).unwrap().body;
        let bodies = lane.moves.iter().map(|one| body(one.message)).collect();
        let (queue, source, first) = (lane.target, QueueId(outbox), lane.moves[0].number);
        if lane.is_delivery {
            Command::AcceptPublished {
                queue,
                source,
                seen: lane.seen,
                first,
                bodies,
            }
        } else {
            Command::AcceptMoved {
                queue,
                source,
                seen: lane.seen,
                first,
                bodies,
            }
        }
    }

    /// What the courier does when it has an answer.
    fn hear(&mut self, outbox: Number, lane: &Lane, reply: &Reply, wait: u64) {
        let (queue, target) = (QueueId(outbox), lane.target);
        match *reply {
            Reply::Accepted { through, refused } => {
                self.apply(&Command::MovesSettled {
                    queue,
                    target,
                    through,
                });
                if lane.is_delivery && refused.is_some() {
                    self.apply(&Command::MoveFailed {
                        queue,
                        target,
                        number: through + 1,
                        wait_max: Millis(wait),
                    });
                }
            }
            Reply::Refused(Error::NoSuchQueue) if lane.is_delivery => {
                // Nothing comes of this: the catalog says where they go instead.
                self.apply(&Command::ReturnMoves { queue, target });
                if lane.moves[0].is_overdue {
                    let number = lane.moves[0].number;
                    self.apply(&Command::MoveFailed {
                        queue,
                        target,
                        number,
                        wait_max: Millis(wait),
                    });
                }
            }
            Reply::Refused(Error::NoSuchQueue) => {
                self.apply(&Command::ReturnMoves { queue, target });
            }
            ref other => panic!("{other:?} is no answer for a courier"),
        }
    }

    pub(super) fn drain(&mut self, target: Number, max: u32) {
        let queue = QueueId(target);
        let reply = self.apply(&Command::ReceiveMessages {
            queue,
            max,
            visibility: Some(Millis(1)),
        });
        let Reply::Received { deliveries } = reply else {
            return;
        };
        let receipts: Vec<Sequence> = deliveries.iter().map(|one| one.receipt).collect();
        if !receipts.is_empty() {
            self.apply(&Command::DeleteMessages { queue, receipts });
        }
    }

    /// Makes room everywhere and carries until nothing is left to carry.
    pub(super) fn finish(&mut self) {
        let targets: Vec<Number> = self.naive.targets.keys().copied().collect();
        for target in targets {
            self.put_queue(target, (9, 1000));
        }
        for _ in 0..8 {
            for id in self.slots.into_iter().flatten() {
                self.carry(id, 64, 1, Fate::Heard);
            }
            // No wait is longer.
            self.now += 2500;
            self.apply(&Command::Settle);
            self.check();
        }
        self.naive.check_arrivals();
        for outbox in self.naive.outboxes.values() {
            let target = outbox.target();
            let is_there = target.is_some_and(|id| self.naive.targets.contains_key(&id));
            let mut messages = outbox.messages.iter();
            assert!(!is_there || !messages.any(|message| message.state == State::Ready));
            assert!(!is_there || !outbox.has_moves_to(target));
        }
    }
}
