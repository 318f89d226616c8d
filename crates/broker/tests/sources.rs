//! Queues that give dead letters to others come and go: neither side remembers them for ever, and nothing
//! arrives twice all the same.

use anser_broker::{
    attributes::{Acknowledge, DeadLetterAfter, DeadLetterPolicy, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Command, Lane, Reply, Seen},
    error::Error,
    id::{QueueId, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const TARGET: QueueId = QueueId(1);
const OTHER: QueueId = QueueId(2);

/// The shard of the sources and that of the targets.
struct World {
    sources: Shard,
    targets: Shard,
    now: u64,
}

fn apply(shard: &mut Shard, now: u64, command: &Command) -> Reply {
    let mut batch = BatchBuilder::new(Stamp {
        now: Timestamp(now),
        wall: Timestamp(now),
        blur: Millis(0),
    });
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    let payload = batch.finish();
    let applied = shard.apply(index, &payload, &mut replies, &mut effects);
    applied.unwrap();
    shard.check();
    replies.remove(0)
}

fn attributes(dead_letter: Option<QueueId>) -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1_000,
        wait: Millis(0),
        visibility: Millis(10),
        body_bytes_max: 9,
        retention: Millis(1_000_000),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 9,
        in_flight_max: 9,
        dead_letter: dead_letter.map(|queue| DeadLetterPolicy {
            queue,
            after: DeadLetterAfter::Receives(1),
        }),
        acknowledge: Acknowledge::Majority,
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            sources: Shard::new(ShardId(1), 3),
            targets: Shard::new(ShardId(2), 3),
            now: 1,
        };
        for target in [TARGET, OTHER] {
            let put = put(target, 1, None);
            apply(&mut world.targets, 1, &put);
        }
        world
    }

    fn at_sources(&mut self, command: &Command) -> Reply {
        apply(&mut self.sources, self.now, command)
    }

    fn at_targets(&mut self, command: &Command) -> Reply {
        apply(&mut self.targets, self.now, command)
    }

    /// Sends a message that becomes a dead letter.
    fn lose(&mut self, queue: QueueId) {
        let bodies = vec![Bytes::from_static(b"x")];
        let delay = None;
        self.at_sources(&Command::SendMessages {
            queue,
            delay,
            bodies,
        });
        self.at_sources(&Command::ReceiveMessages {
            queue,
            max: 1,
            visibility: None,
        });
        self.now += 10;
        self.at_sources(&Command::Settle);
    }

    fn lanes(&self, queue: QueueId) -> Vec<Lane> {
        self.sources.moves(queue, 64)
    }

    /// Carries everything of a queue as a courier does.
    fn carry(&mut self, source: QueueId) {
        for lane in self.lanes(source) {
            let target = lane.target;
            let Some(through) = lane.ends else {
                let accept = accept(source, &lane);
                let Reply::Accepted { through, .. } = self.at_targets(&accept) else {
                    panic!("refused")
                };
                let settled = Command::MovesSettled {
                    queue: source,
                    target,
                    through,
                };
                self.at_sources(&settled);
                continue;
            };
            self.at_targets(&forget(source, &lane));
            self.at_sources(&Command::LaneEnded {
                queue: source,
                target,
                through,
            });
        }
    }

    fn ready(&self) -> u64 {
        self.targets.totals().ready
    }

    /// The bytes of both states.
    fn sizes(&self) -> (usize, usize) {
        let size = |shard: &Shard| {
            let mut bytes = Vec::new();
            shard.save(&mut |piece| bytes.extend_from_slice(piece));
            assert!(Shard::restore(&bytes).is_ok());
            bytes.len()
        };
        (size(&self.sources), size(&self.targets))
    }
}

fn put(queue: QueueId, revision: u64, dead_letter: Option<QueueId>) -> Command {
    Command::PutQueue {
        queue,
        revision,
        attributes: attributes(dead_letter),
    }
}

fn drop_queue(queue: QueueId) -> Command {
    let floor = queue.0 + 1;
    Command::DropQueue { queue, floor }
}

fn accept(source: QueueId, lane: &Lane) -> Command {
    Command::AcceptMoved {
        queue: lane.target,
        source,
        seen: lane.seen,
        first: lane.moves[0].number,
        bodies: vec![Bytes::from_static(b"x"); lane.moves.len()],
    }
}

fn forget(source: QueueId, lane: &Lane) -> Command {
    Command::ForgetSource {
        queue: lane.target,
        source,
        seen: lane.seen,
        through: lane.ends.unwrap(),
    }
}

/// Core review, finding 23: what was kept of each stayed for ever.
#[test]
fn sources_that_come_and_go_leave_nothing_behind() {
    let mut world = World::new();
    let mut sizes = Vec::new();
    for source in (10..60).map(QueueId) {
        world.at_sources(&put(source, 1, Some(TARGET)));
        world.lose(source);
        world.carry(source);
        world.at_sources(&drop_queue(source));
        assert_eq!(world.sources.queues_with_moves(), [source]);
        world.carry(source);
        assert_eq!(world.sources.queues_with_moves(), []);
        let receive = Command::ReceiveMessages {
            queue: TARGET,
            max: 1,
            visibility: None,
        };
        let Reply::Received { deliveries } = world.at_targets(&receive) else {
            panic!("refused")
        };
        let receipts = vec![deliveries[0].receipt];
        let queue = TARGET;
        world.at_targets(&Command::DeleteMessages { queue, receipts });
        sizes.push(world.sizes());
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

/// Core review, finding 23: a source is forgotten only where its repeats cannot come any more.
#[test]
fn a_late_repeat_of_a_source_that_ended_does_not_arrive_again() {
    let mut world = World::new();
    let (ended, living) = (QueueId(10), QueueId(11));
    world.at_sources(&put(ended, 1, Some(TARGET)));
    world.at_sources(&put(living, 1, Some(TARGET)));
    world.lose(ended);
    let late = accept(ended, &world.lanes(ended)[0]);
    world.lose(living);
    let early = accept(living, &world.lanes(living)[0]);
    world.at_targets(&late);
    world.at_sources(&drop_queue(ended));
    world.carry(ended);
    assert_eq!(world.ready(), 1);
    assert_eq!(world.at_targets(&late), Reply::Refused(Error::Unavailable));
    let looked_too_early = Reply::Refused(Error::Unavailable);
    assert_eq!(world.at_targets(&early), looked_too_early);
    world.carry(living);
    assert_eq!(world.ready(), 2);
    assert!(matches!(world.at_targets(&early), Reply::Accepted { .. }));
    assert_eq!(world.ready(), 2, "a source that is known may repeat itself");
}

#[test]
fn a_queue_with_another_policy_says_goodbye_and_may_come_back() {
    let mut world = World::new();
    let source = QueueId(10);
    world.at_sources(&put(source, 1, Some(TARGET)));
    world.lose(source);
    let late = accept(source, &world.lanes(source)[0]);
    world.at_sources(&put(source, 2, Some(OTHER)));
    assert_eq!(world.lanes(source)[0].ends, None, "one is still on its way");
    world.carry(source);
    let ends = world.lanes(source).remove(0);
    assert_eq!((ends.target, ends.ends), (TARGET, Some(1)));
    let repeated = forget(source, &ends);
    world.carry(source);
    assert_eq!(world.lanes(source), []);
    world.at_sources(&put(source, 3, Some(TARGET)));
    world.lose(source);
    assert_eq!(world.lanes(source)[0].moves[0].number, 2);
    world.at_targets(&accept(source, &world.lanes(source)[0]));
    world.at_targets(&repeated);
    world.carry(source);
    assert!(matches!(world.at_targets(&late), Reply::Accepted { .. }));
    assert_eq!(world.ready(), 2, "each arrived once");
}

#[test]
fn a_late_word_that_a_lane_has_ended_takes_nothing_that_came_into_it_since() {
    let mut world = World::new();
    let source = QueueId(10);
    let late = Command::LaneEnded {
        queue: source,
        target: TARGET,
        through: 1,
    };
    world.at_sources(&put(source, 1, Some(TARGET)));
    world.lose(source);
    world.carry(source);
    world.at_sources(&put(source, 2, Some(OTHER)));
    assert_eq!(world.lanes(source)[0].ends, Some(1));
    // Before the word comes the lane is used again, and is on its way to its end again.
    world.at_sources(&put(source, 3, Some(TARGET)));
    world.lose(source);
    world.at_sources(&put(source, 4, Some(OTHER)));
    world.at_sources(&late);
    assert_eq!(world.lanes(source)[0].moves[0].number, 2);
    world.at_targets(&accept(source, &world.lanes(source)[0]));
    world.at_sources(&Command::MovesSettled {
        queue: source,
        target: TARGET,
        through: 2,
    });
    world.at_sources(&late);
    world.at_sources(&put(source, 5, Some(TARGET)));
    world.lose(source);
    assert_eq!(world.lanes(source)[0].moves[0].number, 3, "2 was used");
    world.carry(source);
    assert_eq!(world.ready(), 3, "each arrived once");
}

#[test]
fn a_source_seen_by_who_has_not_heard_of_its_end_gives_nothing() {
    let mut world = World::new();
    let source = QueueId(10);
    world.at_sources(&put(source, 1, Some(TARGET)));
    world.lose(source);
    let behind = world.sources.clone();
    world.carry(source);
    world.at_sources(&drop_queue(source));
    world.carry(source);
    let lane = behind.moves(source, 64).remove(0);
    assert_eq!(
        lane.seen,
        Seen {
            shard: ShardId(1),
            index: behind.applied()
        }
    );
    let refused = Reply::Refused(Error::Unavailable);
    assert_eq!(world.at_targets(&accept(source, &lane)), refused);
}
