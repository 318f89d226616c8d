//! What holds a shard's thread up and is no message takes as long with much in the shard as with little
//! (`docs/performance.md`, "Cliffs"). Counted, and not timed.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    attributes::RetentionFrom,
    codec::BatchBuilder,
    counting::{copies, visits},
};

const LITTLE: u64 = 20;
const MUCH: u64 = 2_000;
const QUEUE: QueueId = QueueId(1);

/// A shard and the time of its next entry.
struct World {
    shard: Shard,
    now: u64,
}

impl World {
    fn new(queues: u64) -> Self {
        let shard = Shard::new(ShardId(1), 2);
        let mut world = Self {
            shard,
            now: 1_000_000,
        };
        for queue in (1..=queues).map(QueueId) {
            world.apply(&Command::PutQueue {
                queue,
                revision: 1,
                attributes: attributes(),
            });
        }
        world
    }

    fn apply(&mut self, command: &Command) {
        self.now += 1;
        let now = Timestamp(self.now);
        let mut batch = BatchBuilder::new(Stamp {
            now,
            wall: now,
            ..Stamp::default()
        });
        batch.push(&codec::encode(command));
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let index = self.shard.applied() + 1;
        let applied = self
            .shard
            .apply(index, &batch.finish(), &mut replies, &mut effects);
        applied.expect("it was just encoded");
        assert!(!matches!(replies[..], [Reply::Refused(_)]), "{replies:?}");
    }

    fn send(&mut self, queue: QueueId, delay: u64) {
        self.apply(&Command::SendMessages {
            queue,
            delay: Some(Millis(delay)),
            bodies: vec![Bytes::from_static(b"x")],
        });
    }

    fn receive(&mut self) {
        self.apply(&Command::ReceiveMessages {
            queue: QUEUE,
            max: 1,
            visibility: None,
        });
    }

    /// One queue with so many messages that are leased, and as many that are delayed.
    fn of_one_queue(messages: u64) -> Self {
        let mut world = Self::new(1);
        for _ in 0..messages {
            world.send(QUEUE, 0);
            world.receive();
        }
        for number in 0..messages {
            world.send(QUEUE, 1_000_000 + number * 7_919 % 100_000);
        }
        world
    }

    /// So many queues with a message each.
    fn of_many_queues(queues: u64) -> Self {
        let mut world = Self::new(queues);
        for queue in (1..=queues).map(QueueId) {
            world.send(queue, 0);
        }
        world
    }
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: u64::MAX,
        wait: Millis(0),
        visibility: Millis::from_seconds(40_000),
        body_bytes_max: 1_000,
        retention: Millis::from_seconds(4 * 86_400),
        retention_from: RetentionFrom::Sent,
        rewind: Millis::from_seconds(86_400),
        delay: Millis(0),
        delay_max: Millis::from_seconds(86_400),
        delayed_max: u64::MAX,
        in_flight_max: u64::MAX,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

/// Core review, finding 18: maintenance asked this of each segment, and each time every queue was looked at.
#[test]
fn whether_anything_lives_is_known_without_a_look_at_any_queue() {
    for much in [
        World::of_many_queues(MUCH),
        World::of_one_queue(MUCH),
        World::of_many_queues(LITTLE),
    ] {
        let shard = &much.shard;
        let last = shard.applied();
        let beyond = last + 1_000;
        let (any, steps) = visits(|| shard.any_live_between(beyond, beyond + 99));
        assert_eq!((any, steps), (false, 0));
        let (live, steps) = visits(|| shard.live_between(beyond, beyond + 99));
        assert_eq!((live.len(), steps), (0, 0));
        let (any, steps) = visits(|| shard.any_live_between(1, last));
        assert!(any);
        assert!(steps <= 1, "{steps} steps");
    }
}

/// Core review, finding 19: an image, which maintenance takes at each recycling, copied every queue and message of the shard, and
/// so did the first change after it.
#[test]
fn an_image_shares_all_with_its_shard_and_a_change_copies_little() {
    for mut world in [World::of_many_queues(MUCH), World::of_one_queue(MUCH)] {
        let (image, chunks) = copies(|| world.shard.clone());
        assert_eq!(chunks, 0, "of the image");
        let ((), chunks) = copies(|| world.send(QUEUE, 1_000_000));
        assert!((1..=10).contains(&chunks), "{chunks} of the change");
        assert_eq!(others_of(&image, &world.shard), [QUEUE]);
        let ((), chunks) = copies(|| world.send(QUEUE, 1_000_000));
        assert!(chunks <= 2, "{chunks} of the next one");
        image.check();
        world.shard.check();
    }
}

/// The queues that two states do not share.
fn others_of(one: &Shard, other: &Shard) -> Vec<QueueId> {
    let queues = one.home.queues.iter().zip(other.home.queues.values());
    let others = queues.filter(|((_, one), other)| !Arc::ptr_eq(one, other));
    others.map(|((id, _), _)| *id).collect()
}

/// Core review, finding 20: the counts for a client looked at every message that is leased or delayed, and so did a rewind.
#[test]
fn the_counts_of_a_queue_are_known_without_a_look_at_its_messages() {
    let mut world = World::of_one_queue(MUCH);
    let query = Query::Counts { queue: QUEUE };
    let (answer, steps) = visits(|| world.shard.query(&query));
    let Answer::Counts(counts) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((counts.leased, counts.delayed), (MUCH, MUCH));
    assert!(counts.oldest.is_some());
    assert_eq!(steps, 0);
    let rewind = Command::RewindQueue {
        queue: QUEUE,
        to: Timestamp(1_000_000),
    };
    let ((), steps) = visits(|| world.apply(&rewind));
    assert!(steps <= 10, "{steps} steps");
}
