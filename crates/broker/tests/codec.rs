//! Bytes: what is written is read again, what was written once stays as it is, and nothing that can
//! be in a file makes the reader panic.

use std::fmt::Write;

use anser_broker::{
    attributes::{
        AttributeChanges, DeadLetterAfter, DeadLetterPolicy, QueueAttributes, RetentionFrom,
    },
    codec::{self, Batch, BatchBuilder, Encoded},
    command::{Command, CreateQueue, DeadLetterUpdate},
    id::{AccountId, QueueId, Sequence, ShardId},
    limits,
    name::QueueName,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;
use proptest::prelude::*;

fn a_name() -> impl Strategy<Value = QueueName> {
    "[A-Za-z][A-Za-z0-9_-]{0,79}".prop_map(|name| QueueName::new(&name).unwrap())
}

fn an_after() -> impl Strategy<Value = DeadLetterAfter> {
    prop_oneof![
        any::<u32>().prop_map(DeadLetterAfter::Receives),
        any::<u64>().prop_map(|age| DeadLetterAfter::Age(Millis(age))),
    ]
}

fn some_attributes() -> impl Strategy<Value = QueueAttributes> {
    let policy = prop::option::of((any::<u64>(), an_after()));
    (any::<[u64; 9]>(), any::<u32>(), any::<bool>(), policy).prop_map(
        |([a, b, c, d, e, f, g, h, i], body_bytes_max, visible, policy)| QueueAttributes {
            backlog_max: a,
            wait: Millis(b),
            visibility: Millis(c),
            body_bytes_max,
            retention: Millis(d),
            retention_from: if visible {
                RetentionFrom::Visible
            } else {
                RetentionFrom::Sent
            },
            rewind: Millis(e),
            delay: Millis(f),
            delay_max: Millis(g),
            delayed_max: h,
            in_flight_max: i,
            dead_letter: policy.map(|(queue, after)| DeadLetterPolicy {
                queue: QueueId(queue),
                after,
            }),
        },
    )
}

fn some_changes() -> impl Strategy<Value = AttributeChanges> {
    let millis = || prop::option::of(any::<u64>().prop_map(Millis));
    let times = [millis(), millis(), millis(), millis(), millis(), millis()];
    (
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u32>()),
        times,
    )
        .prop_map(
            |(
                backlog_max,
                body_bytes_max,
                [wait, visibility, retention, rewind, delay, delay_max],
            )| {
                AttributeChanges {
                    backlog_max,
                    wait,
                    visibility,
                    body_bytes_max,
                    retention,
                    rewind,
                    delay,
                    delay_max,
                }
            },
        )
}

fn an_update() -> impl Strategy<Value = DeadLetterUpdate> {
    prop_oneof![
        Just(DeadLetterUpdate::Keep),
        Just(DeadLetterUpdate::Remove),
        (a_name(), an_after()).prop_map(|(name, after)| DeadLetterUpdate::Set(name, after)),
    ]
}

fn some_bodies() -> impl Strategy<Value = Vec<Bytes>> {
    let body = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    prop::collection::vec(body, 0..6)
}

fn some_receipts() -> impl Strategy<Value = Vec<Sequence>> {
    let receipt = (0..=Sequence::INDEX_LAST, 0..Sequence::PER_ENTRY);
    prop::collection::vec(
        receipt.prop_map(|(index, ordinal)| Sequence::new(index, ordinal)),
        0..6,
    )
}

#[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
fn a_command() -> impl Strategy<Value = Command> {
    let queue = || any::<u64>().prop_map(QueueId);
    let account = || any::<u64>().prop_map(AccountId);
    let millis = || any::<u64>().prop_map(Millis);
    let create = (
        account(),
        a_name(),
        some_attributes(),
        prop::option::of((a_name(), an_after())),
    );
    prop_oneof![
        (create, any::<u64>(), millis()).prop_map(|(create, queues_max, reuse_after)| {
            let (account, name, attributes, dead_letter) = create;
            Command::CreateQueue(CreateQueue {
                account,
                name,
                attributes,
                dead_letter,
                queues_max,
                reuse_after,
            })
        }),
        (account(), a_name()).prop_map(|(account, name)| Command::DeleteQueue { account, name }),
        (account(), a_name(), some_changes(), an_update()).prop_map(
            |(account, name, changes, dead_letter)| {
                Command::SetQueueAttributes {
                    account,
                    name,
                    changes,
                    dead_letter,
                }
            }
        ),
        (queue(), any::<u64>())
            .prop_map(|(queue, revision)| Command::QueueSettled { queue, revision }),
        (queue(), any::<u64>(), some_attributes()).prop_map(|(queue, revision, attributes)| {
            Command::PutQueue {
                queue,
                revision,
                attributes,
            }
        }),
        queue().prop_map(|queue| Command::DropQueue { queue }),
        queue().prop_map(|queue| Command::ClearQueue { queue }),
        (queue(), any::<u64>()).prop_map(|(queue, to)| Command::RewindQueue {
            queue,
            to: Timestamp(to)
        }),
        (queue(), prop::option::of(millis()), some_bodies()).prop_map(|(queue, delay, bodies)| {
            Command::SendMessages {
                queue,
                delay,
                bodies,
            }
        }),
        (queue(), any::<u32>(), prop::option::of(millis())).prop_map(|(queue, max, visibility)| {
            Command::ReceiveMessages {
                queue,
                max,
                visibility,
            }
        }),
        (queue(), some_receipts())
            .prop_map(|(queue, receipts)| Command::DeleteMessages { queue, receipts }),
        (queue(), some_receipts(), millis()).prop_map(|(queue, receipts, visibility)| {
            Command::ChangeVisibility {
                queue,
                receipts,
                visibility,
            }
        }),
        (queue(), queue(), any::<u64>(), some_bodies()).prop_map(
            |(queue, source, first, bodies)| Command::AcceptMoved {
                queue,
                source,
                first,
                bodies
            }
        ),
        (queue(), queue(), any::<u64>()).prop_map(|(queue, target, through)| {
            Command::MovesSettled {
                queue,
                target,
                through,
            }
        }),
        (queue(), some_receipts())
            .prop_map(|(queue, receipts)| Command::ReturnLeases { queue, receipts }),
        (queue(), queue()).prop_map(|(queue, target)| Command::ReturnMoves { queue, target }),
        Just(Command::Settle),
    ]
}

fn pack(commands: &[Command]) -> Bytes {
    let stamp = Stamp {
        now: Timestamp(7),
        wall: Timestamp(9),
        ..Stamp::default()
    };
    let mut batch = BatchBuilder::new(stamp);
    for command in commands {
        batch.push(&codec::encode(command));
    }
    batch.finish()
}

fn apply_to_a_shard(payload: &[u8]) -> Result<usize, codec::Error> {
    let mut shard = Shard::new(ShardId(0), 2);
    let queue = Command::PutQueue {
        queue: QueueId(0),
        revision: 1,
        attributes: simple_attributes(),
    };
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    shard
        .apply(1, &pack(&[queue]), &mut replies, &mut effects)
        .unwrap();
    replies.clear();
    shard.apply(2, payload, &mut replies, &mut effects)?;
    Ok(replies.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_command_is_read_as_it_was_written(command in a_command()) {
        let Encoded { bytes, .. } = codec::encode(&command);
        prop_assert_eq!(codec::decode(&bytes).unwrap(), command);
    }

    #[test]
    fn a_batch_has_its_commands_and_finds_each_body(commands in prop::collection::vec(a_command(), 0..6)) {
        let payload = pack(&commands);
        let batch = Batch::decode(&payload).unwrap();
        prop_assert_eq!(batch.stamp, Stamp { now: Timestamp(7), wall: Timestamp(9), ..Stamp::default() });
        prop_assert_eq!(batch.commands.len(), commands.len());
        let bodies: Vec<Bytes> = commands.iter().flat_map(bodies_of).cloned().collect();
        for (ordinal, body) in (0..).zip(&bodies) {
            prop_assert_eq!(codec::body(&payload, ordinal), Some(body.clone()));
        }
        prop_assert_eq!(codec::body(&payload, u32::try_from(bodies.len()).unwrap()), None);
        let odd: Vec<u32> = (0..).take(bodies.len()).filter(|ordinal| ordinal % 2 == 1).collect();
        let kept = codec::keep(&payload, &odd).unwrap();
        for (ordinal, body) in (0..).zip(&bodies) {
            let expected = (ordinal % 2 == 1).then(|| body.clone());
            prop_assert_eq!(codec::kept_body(&kept, ordinal), expected);
        }
        let last: Vec<u32> = odd.last().copied().into_iter().collect();
        prop_assert_eq!(codec::keep_again(&kept, &last), codec::keep(&payload, &last));
        prop_assert_eq!(apply_to_a_shard(&payload), Ok(commands.len()));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..50, ordinal in 0u32..9) {
        let mut bytes = bytes;
        read_everything(&bytes, ordinal);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        read_everything(&bytes, ordinal);
    }

    #[test]
    fn damaged_bytes_are_read_without_panic(
        commands in prop::collection::vec(a_command(), 1..4),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = pack(&commands).to_vec();
        for (place, byte) in damages {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(&bytes, 1);
        if Batch::decode(&bytes).is_ok() {
            apply_to_a_shard(&bytes).unwrap();
        }
    }
}

fn bodies_of(command: &Command) -> &[Bytes] {
    match command {
        Command::SendMessages { bodies, .. } | Command::AcceptMoved { bodies, .. } => bodies,
        _ => &[],
    }
}

fn read_everything(bytes: &[u8], ordinal: u32) {
    let shared = Bytes::copy_from_slice(bytes);
    let _ = codec::decode(&shared);
    let _ = Batch::decode(bytes);
    let _ = codec::body(&shared, ordinal);
    let _ = codec::kept_body(&shared, ordinal);
    let _ = codec::keep(bytes, &[ordinal]);
    let _ = codec::keep_again(bytes, &[ordinal]);
    let _ = Shard::restore(bytes);
}

fn simple_attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1,
        wait: Millis(2),
        visibility: Millis(3),
        body_bytes_max: 4,
        retention: Millis(50),
        retention_from: RetentionFrom::Visible,
        rewind: Millis(6),
        delay: Millis(7),
        delay_max: Millis(8),
        delayed_max: 9,
        in_flight_max: 10,
        dead_letter: Some(DeadLetterPolicy {
            queue: QueueId(11),
            after: DeadLetterAfter::Receives(12),
        }),
    }
}

/// One command of each kind, with all that it can have.
#[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
fn one_of_each() -> Vec<Command> {
    let name = |text: &str| QueueName::new(text).unwrap();
    let (account, queue) = (AccountId(1), QueueId(2));
    let bodies = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
    let receipts = vec![Sequence::new(3, 4)];
    let after = DeadLetterAfter::Age(Millis(5));
    vec![
        Command::CreateQueue(CreateQueue {
            account,
            name: name("orders"),
            attributes: simple_attributes(),
            dead_letter: Some((name("dead"), after)),
            queues_max: 13,
            reuse_after: Millis(14),
        }),
        Command::DeleteQueue {
            account,
            name: name("orders"),
        },
        Command::SetQueueAttributes {
            account,
            name: name("orders"),
            changes: AttributeChanges {
                backlog_max: Some(1),
                wait: Some(Millis(2)),
                visibility: Some(Millis(3)),
                body_bytes_max: Some(4),
                retention: Some(Millis(5)),
                rewind: Some(Millis(6)),
                delay: Some(Millis(7)),
                delay_max: None,
            },
            dead_letter: DeadLetterUpdate::Set(name("dead"), after),
        },
        Command::QueueSettled { queue, revision: 3 },
        Command::PutQueue {
            queue,
            revision: 3,
            attributes: simple_attributes(),
        },
        Command::DropQueue { queue },
        Command::ClearQueue { queue },
        Command::RewindQueue {
            queue,
            to: Timestamp(3),
        },
        Command::SendMessages {
            queue,
            delay: Some(Millis(3)),
            bodies: bodies.clone(),
        },
        Command::ReceiveMessages {
            queue,
            max: 3,
            visibility: Some(Millis(4)),
        },
        Command::DeleteMessages {
            queue,
            receipts: receipts.clone(),
        },
        Command::ChangeVisibility {
            queue,
            receipts,
            visibility: Millis(5),
        },
        Command::AcceptMoved {
            queue,
            source: QueueId(3),
            first: 4,
            bodies,
        },
        Command::MovesSettled {
            queue,
            target: QueueId(3),
            through: 4,
        },
        Command::Settle,
        Command::ReturnLeases {
            queue,
            receipts: vec![Sequence::new(3, 4), Sequence::new(5, 6)],
        },
        Command::ReturnMoves {
            queue,
            target: QueueId(3),
        },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A log may hold these bytes for ever: a line is added for a new kind, none is changed.
#[test]
fn bytes_of_commands_are_frozen() {
    let lines: Vec<_> = one_of_each()
        .iter()
        .map(|command| hex(&codec::encode(command).bytes))
        .collect();
    let frozen: Vec<_> = include_str!("golden/commands.hex").lines().collect();
    assert_eq!(lines, frozen, "\n{}\n", lines.join("\n"));
}

#[test]
fn bytes_of_a_batch_and_of_what_is_kept_are_frozen() {
    let commands = one_of_each();
    let payload = pack(&commands[8..11]);
    let kept = codec::keep(&payload, &[1]).unwrap();
    let lines = [hex(&payload), hex(&kept)];
    let frozen: Vec<_> = include_str!("golden/batch.hex").lines().collect();
    assert_eq!(lines[..], frozen[..], "\n{}\n", lines.join("\n"));
}

#[test]
fn a_batch_is_full_by_bytes_messages_or_leases() {
    let mut batch = BatchBuilder::new(Stamp::default());
    let huge = codec::encode(&Command::SendMessages {
        queue: QueueId(1),
        delay: None,
        bodies: vec![Bytes::from(vec![0; limits::ENTRY_BYTES])],
    });
    assert!(
        batch.fits(&huge),
        "the first command may be larger than an entry should be"
    );
    batch.push(&codec::encode(&Command::Settle));
    assert!(!batch.fits(&huge));

    let receive = codec::encode(&Command::ReceiveMessages {
        queue: QueueId(1),
        max: 64,
        visibility: None,
    });
    let many = codec::encode(&Command::SendMessages {
        queue: QueueId(1),
        delay: None,
        bodies: vec![Bytes::from_static(b"x"); 64],
    });
    for _ in 0..16 {
        assert!(batch.fits(&receive) && batch.fits(&many));
        batch.push(&receive);
        batch.push(&many);
    }
    assert!(!batch.fits(&receive) && !batch.fits(&many));
    let size = batch.size();
    assert_eq!(batch.finish().len(), size);
}

#[test]
fn a_payload_that_is_no_batch_changes_only_what_was_applied() {
    let mut shard = Shard::new(ShardId(1), 2);
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    assert!(
        shard
            .apply(5, b"nonsense", &mut replies, &mut effects)
            .is_err()
    );
    assert_eq!(shard.applied(), 5);
    shard.apply(6, b"", &mut replies, &mut effects).unwrap();
    assert_eq!((shard.applied(), replies.len(), effects.len()), (6, 0, 0));
}
