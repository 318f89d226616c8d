//! A shard's fingerprint: the same on replicas that applied the same, and another one as soon as one of them made
//! something else of it.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::Command,
    id::{QueueId, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const QUEUE: QueueId = QueueId(1);

/// Applies an entry with one command, at a second of the shard's time.
fn apply(shard: &mut Shard, second: u64, command: &Command) {
    apply_at(
        shard,
        Timestamp(1_700_000_000_000 + second * 1_000),
        command,
    );
}

fn apply_at(shard: &mut Shard, now: Timestamp, command: &Command) {
    let mut batch = BatchBuilder::new(Stamp {
        now,
        wall: now,
        ..Stamp::default()
    });
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    shard
        .apply(index, &batch.finish(), &mut replies, &mut effects)
        .unwrap();
}

fn put(queue: QueueId) -> Command {
    Command::PutQueue {
        queue,
        revision: 1,
        attributes: QueueAttributes {
            backlog_max: u64::MAX,
            wait: Millis(0),
            visibility: Millis(1_000),
            body_bytes_max: 1_024,
            retention: Millis(86_400_000),
            retention_from: RetentionFrom::Sent,
            rewind: Millis(0),
            delay: Millis(0),
            delay_max: Millis(0),
            delayed_max: 1,
            in_flight_max: 100,
            dead_letter: None,
            acknowledge: Acknowledge::Majority,
        },
    }
}

fn send(body: &'static str) -> Command {
    Command::SendMessages {
        queue: QUEUE,
        delay: None,
        bodies: vec![Bytes::from_static(body.as_bytes())],
    }
}

fn receive() -> Command {
    Command::ReceiveMessages {
        queue: QUEUE,
        max: 10,
        visibility: None,
    }
}

fn a_shard() -> Shard {
    let mut shard = Shard::new(ShardId(1), 2);
    apply(&mut shard, 0, &put(QUEUE));
    for body in ["a", "b", "c"] {
        apply(&mut shard, 1, &send(body));
    }
    apply(&mut shard, 2, &receive());
    shard
}

#[test]
fn a_shard_that_nobody_used_has_the_fingerprint_zero() {
    assert_eq!(Shard::new(ShardId(1), 2).fingerprint(), 0);
    assert_ne!(a_shard().fingerprint(), 0);
    assert_eq!(a_shard().fingerprint(), a_shard().fingerprint());
}

#[test]
fn a_restored_shard_goes_on_with_its_fingerprint() {
    let mut shard = a_shard();
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    let mut restored = Shard::restore(&bytes).unwrap();
    assert_eq!(restored.fingerprint(), shard.fingerprint());
    for second in 3..6 {
        apply(&mut shard, second, &receive());
        apply(&mut restored, second, &receive());
        assert_eq!(restored.fingerprint(), shard.fingerprint());
    }
}

/// The names and counts are the same, and so is the state; a log with the other body is another log all the same.
#[test]
fn another_body_is_another_fingerprint() {
    let (mut one, mut other) = (a_shard(), a_shard());
    apply(&mut one, 3, &send("d"));
    apply(&mut other, 3, &send("e"));
    assert_ne!(one.fingerprint(), other.fingerprint());
}

/// A program with another limit applies the same log.
#[test]
fn who_makes_something_else_of_an_entry_has_another_fingerprint_for_ever() {
    let (mut one, mut other) = (a_shard(), a_shard());
    other.set_settled_per_entry(1);
    for second in 10..20 {
        apply(&mut one, second, &Command::Settle);
        apply(&mut other, second, &Command::Settle);
        // The states agree again in the end.
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}

/// What is wrong with a queue that nobody uses is found when it has its turn.
#[test]
fn each_queue_has_its_turn() {
    let (mut one, mut other) = (a_shard(), a_shard());
    other.set_settled_per_entry(0);
    for shard in [&mut one, &mut other] {
        for number in 2..20 {
            apply(shard, 3, &put(QueueId(number)));
        }
    }
    // The leases have ended at one of them, which no reply tells.
    let differ_after = (0..200).find(|_| {
        for shard in [&mut one, &mut other] {
            apply(shard, 10, &put(QueueId(2)));
        }
        one.fingerprint() != other.fingerprint()
    });
    assert!(differ_after.is_some_and(|entries| entries < 200));
}

/// A state with something of everything, in which one byte is another one, as far as that is a state. What is left is in the
/// middle of lists of messages, and of names that are no more.
#[test]
fn most_bytes_of_a_state_have_their_turn_and_all_of_what_the_catalog_has() {
    let bytes = unhex(include_str!("golden/state.hex").trim());
    let is_state = |place: &usize| Shard::restore(&with_another(&bytes, *place)).is_ok();
    let places: Vec<usize> = (HEADER_BYTES..bytes.len()).filter(is_state).collect();
    let found = |place: &usize| is_found(&bytes, &with_another(&bytes, *place));
    let (found, missed): (Vec<usize>, Vec<usize>) = places.into_iter().partition(found);
    assert!(
        missed.len() * 3 < found.len(),
        "{missed:?} of {}",
        found.len()
    );
    for text in [
        "orders", "dead", "safe", "news", "copy", "mail", "10.0.0.1", "north",
    ] {
        let at = bytes
            .windows(text.len())
            .position(|some| some == text.as_bytes());
        let at = at.expect("the state has it");
        assert!(
            !missed
                .iter()
                .any(|place| (at..at + text.len()).contains(place)),
            "{text}"
        );
    }
}

/// Whether what differs from the beginning is found within some entries in which nothing falls due.
fn is_found(bytes: &[u8], other: &[u8]) -> bool {
    let [mut one, mut other] = [bytes, other].map(|bytes| Shard::restore(bytes).unwrap());
    (0..400).any(|_| {
        for shard in [&mut one, &mut other] {
            apply_at(shard, Timestamp(0), &Command::Settle);
        }
        one.fingerprint() != other.fingerprint()
    })
}

fn with_another(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

/// Up to the fingerprint.
const HEADER_BYTES: usize = 37;

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}
