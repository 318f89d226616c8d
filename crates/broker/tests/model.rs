//! Random commands and steps of time against the naive broker.
//!
//! After every entry the two must agree in replies, effects, counts, deadlines, moves and what is
//! alive. At random places the shard is saved and restored: the copy must save to the same bytes and
//! go on in step with the original. At the end all entries are applied once more to a new shard,
//! which must save to the same bytes.

use anser_broker::{
    attributes::{Acknowledge, DeadLetterAfter, DeadLetterPolicy, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Answer, Command, Effect, Lane, Query, Reply, Seen},
    id::{QueueId, Sequence, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::naive::Naive;

const QUEUES: u64 = 3;
const START: u64 = 1_000_000;
/// A state newer than any in which a source was forgotten.
const NOW: Seen = Seen {
    shard: ShardId(1),
    index: u64::MAX,
};

#[derive(Debug, Clone)]
struct Entry {
    /// Milliseconds since the last entry.
    later: u64,
    /// What the wall clock is ahead, if it jumps.
    jump: Option<i64>,
    actions: Vec<Action>,
    /// Saves and restores the shard after it.
    restore: bool,
}

#[derive(Debug, Clone)]
enum Action {
    Put {
        queue: u64,
        attributes: Box<QueueAttributes>,
    },
    Drop(u64),
    Clear(u64),
    /// How many milliseconds back.
    Rewind {
        queue: u64,
        back: u64,
    },
    Send {
        queue: u64,
        delay: Option<u64>,
        bodies: Vec<usize>,
    },
    /// With one of few tokens.
    SendOnce {
        queue: u64,
        token: u8,
        delay: Option<u64>,
        bodies: Vec<usize>,
    },
    Receive {
        queue: u64,
        max: u32,
        visibility: Option<u64>,
    },
    /// Receipts by how many receipts ago they were given.
    Delete {
        queue: u64,
        receipts: Vec<usize>,
    },
    Change {
        queue: u64,
        receipts: Vec<usize>,
        visibility: u64,
    },
    ReturnLeases {
        queue: u64,
        receipts: Vec<usize>,
    },
    ReturnMoves {
        queue: u64,
        target: u64,
    },
    /// Carries what is pending as a careful carrier does, from this many before.
    Carry {
        queue: u64,
        overlap: u64,
        max: usize,
        settle: bool,
    },
    SettleMoves {
        queue: u64,
        target: u64,
        through: u64,
    },
    Accept {
        queue: u64,
        source: u64,
        first: u64,
        bodies: usize,
    },
    Settle,
}

fn a_queue() -> impl Strategy<Value = u64> {
    // Mostly the first, so that it sees much.
    prop_oneof![4 => Just(1u64), 1 => 2..=QUEUES, 1 => Just(QUEUES + 1)]
}

fn some_millis() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0u64),
        1 => 1u64..50,
        // Mostly whole seconds, so that things fall due at the same moment.
        7 => (1u64..12).prop_map(|seconds| seconds * 1000),
        1 => 500u64..9000,
    ]
}

fn some_attributes() -> impl Strategy<Value = QueueAttributes> {
    let policy = prop_oneof![
        2 => Just(None),
        2 => (1u32..4).prop_map(|receives| Some(DeadLetterAfter::Receives(receives))),
        1 => some_millis().prop_map(|age| Some(DeadLetterAfter::Age(Millis(age)))),
    ];
    let numbers = (1u64..12, 1u64..6, 1u64..5);
    let times = (some_millis(), some_millis(), some_millis(), some_millis());
    (policy, numbers, times, any::<bool>(), 2..=QUEUES).prop_map(
        |(after, (backlog_max, in_flight_max, delayed_max), times, visible, target)| {
            let (retention, rewind, delay, visibility) = times;
            QueueAttributes {
                backlog_max,
                wait: Millis(0),
                visibility: Millis(visibility),
                body_bytes_max: 8,
                retention: Millis(retention.max(1)),
                retention_from: if visible {
                    RetentionFrom::Visible
                } else {
                    RetentionFrom::Sent
                },
                rewind: Millis(rewind.min(retention.max(1))),
                delay: Millis(delay / 4),
                delay_max: Millis(9000),
                delayed_max,
                in_flight_max,
                dead_letter: after.map(|after| DeadLetterPolicy {
                    queue: QueueId(target),
                    after,
                }),
                acknowledge: Acknowledge::Majority,
            }
        },
    )
}

fn an_action() -> impl Strategy<Value = Action> {
    let receipts = || prop::collection::vec(0usize..8, 0..4);
    prop_oneof![
        2 => (a_queue(), some_attributes()).prop_map(|(queue, attributes)| Action::Put {
            queue: queue.min(QUEUES),
            attributes: Box::new(attributes),
        }),
        1 => prop_oneof![5 => Just(Action::Settle), 1 => a_queue().prop_map(Action::Drop), 2 => a_queue().prop_map(Action::Clear)],
        2 => (a_queue(), 0u64..14_000).prop_map(|(queue, back)| Action::Rewind { queue, back }),
        9 => (a_queue(), prop::option::of(some_millis()), prop::collection::vec(prop_oneof![20 => 1usize..9, 1 => 0usize..10], 1..4))
            .prop_map(|(queue, delay, bodies)| Action::Send { queue, delay, bodies }),
        5 => (a_queue(), 0u8..4, prop::option::of(some_millis()), prop::collection::vec(prop_oneof![20 => 1usize..9, 1 => 0usize..10], 0..3))
            .prop_map(|(queue, token, delay, bodies)| Action::SendOnce { queue, token, delay, bodies }),
        9 => (a_queue(), prop_oneof![20 => 1u32..5, 1 => 0u32..2, 1 => 63u32..66], prop::option::of(some_millis()))
            .prop_map(|(queue, max, visibility)| Action::Receive { queue, max, visibility }),
        6 => (a_queue(), receipts()).prop_map(|(queue, receipts)| Action::Delete { queue, receipts }),
        4 => (a_queue(), receipts(), some_millis())
            .prop_map(|(queue, receipts, visibility)| Action::Change { queue, receipts, visibility }),
        3 => (a_queue(), receipts()).prop_map(|(queue, receipts)| Action::ReturnLeases { queue, receipts }),
        2 => (a_queue(), 2..=QUEUES).prop_map(|(queue, target)| Action::ReturnMoves { queue, target }),
        4 => (a_queue(), 0u64..3, 1usize..4, any::<bool>())
            .prop_map(|(queue, overlap, max, settle)| Action::Carry { queue, overlap, max, settle }),
        1 => (a_queue(), 1..=QUEUES, 0u64..6)
            .prop_map(|(queue, target, through)| Action::SettleMoves { queue, target, through }),
        1 => (a_queue(), 1u64..4, 0u64..6, 0usize..4)
            .prop_map(|(queue, source, first, bodies)| Action::Accept { queue, source, first, bodies }),
    ]
}

fn an_entry() -> impl Strategy<Value = Entry> {
    let jump = prop::option::weighted(0.1, -900_000i64..900_000);
    let actions = prop::collection::vec(an_action(), 1..4);
    // Sometimes as long as tokens are remembered, or nearly so.
    let long = (297u64..302).prop_map(|seconds| seconds * 1000);
    let later = prop_oneof![30 => some_millis(), 1 => long];
    (later, jump, actions, prop::bool::weighted(0.1)).prop_map(|(later, jump, actions, restore)| {
        Entry {
            later,
            jump,
            actions,
            restore,
        }
    })
}

struct World {
    naive: Naive,
    shard: Shard,
    /// A copy that was restored from a snapshot at some time.
    copy: Option<Shard>,
    settled_per_entry: usize,
    index: u64,
    now: u64,
    wall: i64,
    receipts: Vec<Sequence>,
    revision: u64,
    entries: Vec<(u64, Bytes)>,
}

impl World {
    fn new(settled_per_entry: usize) -> Self {
        let mut shard = Shard::new(ShardId(1), 2);
        shard.set_settled_per_entry(settled_per_entry);
        Self {
            naive: Naive::default(),
            shard,
            copy: None,
            settled_per_entry,
            index: 0,
            now: START,
            wall: 0,
            receipts: Vec::new(),
            revision: 0,
            entries: Vec::new(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
    fn commands(&mut self, action: &Action) -> Vec<Command> {
        let receipts_of = |world: &Self, back: &[usize]| {
            let known = world.receipts.iter().rev();
            let known: Vec<_> = known.copied().collect();
            let receipts = back.iter().filter_map(|back| known.get(*back).copied());
            receipts.collect::<Vec<_>>()
        };
        let command = match action.clone() {
            Action::Put { queue, attributes } => {
                self.revision += 1;
                // Sometimes one that is too old.
                let revision = self.revision.saturating_sub(self.now % 5 / 4 * 2);
                Command::PutQueue {
                    queue: QueueId(queue),
                    revision,
                    attributes: *attributes,
                }
            }
            Action::Drop(queue) => Command::DropQueue {
                queue: QueueId(queue),
                floor: 0,
            },
            Action::Clear(queue) => Command::ClearQueue {
                queue: QueueId(queue),
            },
            Action::Rewind { queue, back } => {
                let wall = self.now.saturating_add_signed(self.wall);
                let to = Timestamp(wall.saturating_sub(back));
                Command::RewindQueue {
                    queue: QueueId(queue),
                    to,
                }
            }
            Action::Send {
                queue,
                delay,
                bodies,
            } => Command::SendMessages {
                queue: QueueId(queue),
                delay: delay.map(Millis),
                bodies: bodies
                    .into_iter()
                    .map(|length| Bytes::from(vec![b'x'; length]))
                    .collect(),
            },
            Action::SendOnce {
                queue,
                token,
                delay,
                bodies,
            } => Command::SendMessagesOnce {
                queue: QueueId(queue),
                token: [token; 16],
                delay: delay.map(Millis),
                bodies: bodies
                    .into_iter()
                    .map(|length| Bytes::from(vec![b'x'; length]))
                    .collect(),
            },
            Action::Receive {
                queue,
                max,
                visibility,
            } => Command::ReceiveMessages {
                queue: QueueId(queue),
                max,
                visibility: visibility.map(Millis),
            },
            Action::Delete { queue, receipts } => Command::DeleteMessages {
                queue: QueueId(queue),
                receipts: receipts_of(self, &receipts),
            },
            Action::Change {
                queue,
                receipts,
                visibility,
            } => Command::ChangeVisibility {
                queue: QueueId(queue),
                receipts: receipts_of(self, &receipts),
                visibility: Millis(visibility),
            },
            Action::ReturnLeases { queue, receipts } => Command::ReturnLeases {
                queue: QueueId(queue),
                receipts: receipts_of(self, &receipts),
            },
            Action::ReturnMoves { queue, target } => Command::ReturnMoves {
                queue: QueueId(queue),
                target: QueueId(target),
            },
            Action::Carry {
                queue,
                overlap,
                max,
                settle,
            } => {
                return self.carry(QueueId(queue), overlap, max, settle);
            }
            Action::SettleMoves {
                queue,
                target,
                through,
            } => Command::MovesSettled {
                queue: QueueId(queue),
                target: QueueId(target),
                through,
            },
            Action::Accept {
                queue,
                source,
                first,
                bodies,
            } => Command::AcceptMoved {
                queue: QueueId(queue),
                source: QueueId(source),
                seen: NOW,
                first,
                bodies: vec![Bytes::from_static(b"moved"); bodies],
            },
            Action::Settle => Command::Settle,
        };
        vec![command]
    }

    fn carry(&self, source: QueueId, overlap: u64, max: usize, settle: bool) -> Vec<Command> {
        let mut commands = Vec::new();
        let lanes = self.shard.moves(source, max).into_iter();
        for Lane { target, moves, .. } in lanes.filter(|lane| lane.ends.is_none()) {
            let first = moves[0].number;
            let last = moves[moves.len() - 1].number;
            let first = first.saturating_sub(overlap).max(1);
            let count = usize::try_from(last - first + 1).unwrap();
            commands.push(Command::AcceptMoved {
                queue: target,
                source,
                seen: NOW,
                first,
                bodies: vec![Bytes::from_static(b"moved"); count],
            });
            if settle {
                commands.push(Command::MovesSettled {
                    queue: source,
                    target,
                    through: last,
                });
            }
        }
        commands
    }

    fn step(&mut self, entry: &Entry) {
        self.index += 1 + entry.later % 3 * 40;
        self.now += entry.later;
        if let Some(jump) = entry.jump {
            self.wall = jump;
        }
        let stamp = Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now.saturating_add_signed(self.wall)),
            ..Stamp::default()
        };
        let mut commands = Vec::new();
        for action in &entry.actions {
            commands.extend(self.commands(action));
        }
        let payload = pack(stamp, &commands);
        self.entries.push((self.index, payload.clone()));
        let (replies, effects) = apply(&mut self.shard, self.index, &payload);
        let expected = self
            .naive
            .apply(self.index, stamp, &commands, self.settled_per_entry);
        assert_eq!(replies, expected, "replies to {commands:?}");
        check_effects(&effects, &self.naive.effects);
        if let Some(copy) = &mut self.copy {
            assert_eq!(
                apply(copy, self.index, &payload),
                (replies.clone(), effects)
            );
        }
        for reply in replies {
            if let Reply::Received { deliveries } = reply {
                self.receipts
                    .extend(deliveries.iter().map(|delivery| delivery.receipt));
            }
        }
        self.check_state();
        if entry.restore {
            self.restore();
        }
    }

    fn check_state(&self) {
        self.shard.check();
        assert_eq!(
            self.shard.next_deadline(),
            self.naive.next_deadline(),
            "next deadline"
        );
        for queue in (1..=QUEUES + 1).map(QueueId) {
            let counts = match self.shard.query(&Query::Counts { queue }) {
                Answer::Counts(counts) => Some(counts),
                _ => None,
            };
            assert_eq!(counts, self.naive.counts(queue), "counts of {queue:?}");
            if let Some(counts) = counts {
                let totals = counts.totals;
                assert_eq!(
                    totals.sent + totals.rewound,
                    counts.ready
                        + counts.leased
                        + counts.delayed
                        + counts.moving
                        + totals.deleted
                        + totals.expired
                        + totals.dead_lettered
                        + totals.cleared,
                    "each message is somewhere: {counts:?}"
                );
            }
            let moves = self.shard.moves(queue, usize::MAX).into_iter();
            let moves = moves.flat_map(|lane| {
                let target = lane.target;
                lane.moves
                    .into_iter()
                    .map(move |one| (target, one.number, one.message))
            });
            assert_eq!(moves.collect::<Vec<_>>(), self.naive.moves(queue), "moves");
        }
        let live = self.naive.live();
        assert_eq!(self.shard.live_between(0, u64::MAX), live);
        let (first, last) = (self.index / 3, self.index * 2 / 3);
        let some = live.iter().copied();
        let some = some.filter(|message| (first..=last).contains(&message.index()));
        assert_eq!(
            self.shard.live_between(first, last),
            some.collect::<Vec<_>>()
        );
        let mut blocks = live.iter().map(|message| message.index() / 64);
        assert_eq!(
            self.shard.any_live_between(first, last),
            blocks.any(|block| (first / 64..=last / 64).contains(&block)),
            "counts are kept by blocks of 64 entries"
        );
    }

    fn restore(&mut self) {
        let bytes = save(&self.shard);
        restore_damaged(&bytes, usize::try_from(self.index).unwrap() % 31, 31);
        let mut copy = Shard::restore(&bytes).expect("a snapshot restores");
        copy.set_settled_per_entry(self.settled_per_entry);
        assert_eq!(save(&copy), bytes, "a restored shard saves to other bytes");
        self.copy = Some(copy);
    }

    fn end(&self) {
        let bytes = save(&self.shard);
        if let Some(copy) = &self.copy {
            assert_eq!(save(copy), bytes, "a restored shard went another way");
        }
        let mut again = Shard::new(ShardId(1), 2);
        again.set_settled_per_entry(self.settled_per_entry);
        for (index, payload) in &self.entries {
            apply(&mut again, *index, payload);
        }
        assert_eq!(save(&again), bytes, "the same entries gave another shard");
    }
}

fn pack(stamp: Stamp, commands: &[Command]) -> Bytes {
    let mut batch = BatchBuilder::new(stamp);
    for command in commands {
        batch.push(&codec::encode(command));
    }
    batch.finish()
}

fn apply(shard: &mut Shard, index: u64, payload: &Bytes) -> (Vec<Reply>, Vec<Effect>) {
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    shard
        .apply(index, payload, &mut replies, &mut effects)
        .expect("a batch that was packed here");
    (replies, effects)
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| {
        assert!(piece.len() <= 64 << 10);
        bytes.extend_from_slice(piece);
    });
    bytes
}

/// Damage may be found or not; restoring it does not panic.
pub(crate) fn restore_damaged(bytes: &[u8], first: usize, step: usize) {
    for place in (first..bytes.len()).step_by(step) {
        for mask in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= mask;
            if let Ok(shard) = Shard::restore(&damaged) {
                save(&shard);
            }
        }
        assert!(
            Shard::restore(&bytes[..place]).is_err(),
            "a part of a snapshot was restored"
        );
    }
}

/// The same effects but for how often each is said.
fn check_effects(effects: &[Effect], expected: &[Effect]) {
    for effect in effects {
        assert!(
            expected.contains(effect),
            "{effect:?} is not in {expected:?}"
        );
    }
    for effect in expected {
        assert!(
            effects.contains(effect),
            "{effect:?} is missing in {effects:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn the_shard_does_what_the_naive_broker_does(
        first in prop::collection::vec(some_attributes(), 2),
        settled_per_entry in prop_oneof![Just(2000usize), 1usize..5],
        entries in prop::collection::vec(an_entry(), 1..40),
    ) {
        let mut world = World::new(settled_per_entry);
        let actions = (1u64..).zip(first).map(|(queue, attributes)| Action::Put {
            queue,
            attributes: Box::new(attributes),
        });
        world.step(&Entry { later: 1, jump: None, actions: actions.collect(), restore: false });
        for entry in &entries {
            world.step(entry);
        }
        world.end();
    }
}
