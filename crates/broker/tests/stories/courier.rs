//! How a story carries messages from one queue to another.

use std::fmt::Write;

use anser_broker::{
    command::{Command, Lane, Reply},
    id::{QueueId, Sequence},
    time::Millis,
};
use bytes::Bytes;

use super::{World, line::Line, shown::shown};

impl World {
    /// Carries what a subscription has for its queue, and its dead letters. A message that the queue
    /// does not take comes again after `wait`.
    pub(super) fn deliver(&mut self, line: &Line<'_>) -> String {
        let outbox = self.queue(line);
        let mut text = Vec::new();
        let lanes = self.shard.moves(outbox, 64).into_iter();
        for lane in lanes.filter(|lane| lane.ends.is_none()) {
            let count = lane.moves.len();
            let what = if lane.is_delivery {
                "deliveries"
            } else {
                "dead letters"
            };
            let outcome = self.carry_lane(outbox, &lane, line);
            text.push(format!("{count} {what}: {outcome}"));
        }
        if text.is_empty() {
            "nothing".into()
        } else {
            text.join("\n")
        }
    }

    fn carry_lane(&mut self, outbox: QueueId, lane: &Lane, line: &Line<'_>) -> String {
        let bodies: Vec<Bytes> = lane
            .moves
            .iter()
            .map(|one| self.body(one.message))
            .collect();
        let (queue, source, first) = (lane.target, outbox, lane.moves[0].number);
        let accept = if lane.is_delivery {
            Command::AcceptPublished {
                queue,
                source,
                seen: lane.seen,
                first,
                bodies: bodies.clone(),
            }
        } else {
            Command::AcceptMoved {
                queue,
                source,
                seen: lane.seen,
                first,
                bodies: bodies.clone(),
            }
        };
        let reply = self.apply(&accept);
        let Reply::Accepted { through, refused } = reply else {
            return shown(&reply);
        };
        let index = self.shard.applied();
        let arrived = self.shard.live_between(index, index);
        for sequence in arrived {
            let body = bodies[sequence.ordinal() as usize].clone();
            self.messages.push((sequence, body));
        }
        let mut outcome = format!("accepted through {through}");
        if line.named.get("answer") == Some(&"lost") {
            return outcome;
        }
        self.apply(&Command::MovesSettled {
            queue: outbox,
            target: lane.target,
            through,
        });
        if let Some(error) = refused {
            write!(outcome, ", then {error}").unwrap();
            self.apply(&Command::MoveFailed {
                queue: outbox,
                target: lane.target,
                number: through + 1,
                wait_max: line.time("wait").unwrap_or(Millis::from_seconds(60)),
            });
        }
        outcome
    }

    /// Carries dead letters to their queue. `answer=lost`: they arrive, but nobody hears of it.
    pub(super) fn carry(&mut self, line: &Line<'_>) -> String {
        let source = self.queue(line);
        let mut text = Vec::new();
        let lanes = self.shard.moves(source, 64).into_iter();
        for lane in lanes.filter(|lane| lane.ends.is_none()) {
            let Lane {
                target,
                moves,
                seen,
                ..
            } = lane;
            let bodies = moves.iter().map(|one| self.body(one.message)).collect();
            let first = line.number("first").unwrap_or(moves[0].number);
            let accept = Command::AcceptMoved {
                queue: target,
                source,
                seen,
                first,
                bodies,
            };
            let index = self.shard.applied() + 1;
            let counted = self.messages.len();
            let reply = self.apply(&accept);
            text.push(format!(
                "{} from number {first}: {}",
                moves.len(),
                shown(&reply)
            ));
            let Reply::Accepted { through, .. } = reply else {
                continue;
            };
            for (ordinal, one) in (0u32..).zip(&moves) {
                let body = self.body(one.message);
                self.messages.push((Sequence::new(index, ordinal), body));
            }
            let live = self.shard.live_between(index, index);
            let mut place = 0;
            self.messages.retain(|(sequence, _)| {
                place += 1;
                place <= counted || live.contains(sequence)
            });
            if line.named.get("answer") != Some(&"lost") {
                self.apply(&Command::MovesSettled {
                    queue: source,
                    target,
                    through,
                });
            }
        }
        if text.is_empty() {
            "nothing".into()
        } else {
            text.join("\n")
        }
    }
}
