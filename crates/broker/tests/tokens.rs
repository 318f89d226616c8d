//! Sends with a token: how many a queue remembers, for how long, and what each costs.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Command, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    limits,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const QUEUE: QueueId = QueueId(1);
const WINDOW: u64 = 300_000;

struct World {
    shard: Shard,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            shard: Shard::new(ShardId(1), 2),
            now: 1_700_000_000_000,
        };
        let attributes = QueueAttributes {
            backlog_max: u64::MAX,
            wait: Millis(0),
            visibility: Millis(1000),
            body_bytes_max: 1024,
            retention: Millis(86_400_000),
            retention_from: RetentionFrom::Sent,
            rewind: Millis(0),
            delay: Millis(0),
            delay_max: Millis(0),
            delayed_max: 1,
            in_flight_max: 100,
            dead_letter: None,
            acknowledge: Acknowledge::Majority,
        };
        world.apply(&[Command::PutQueue {
            queue: QUEUE,
            revision: 1,
            attributes,
        }]);
        world
    }

    fn apply(&mut self, commands: &[Command]) -> Vec<Reply> {
        let mut batch = BatchBuilder::new(Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now),
            ..Stamp::default()
        });
        for command in commands {
            batch.push(&codec::encode(command));
        }
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let index = self.shard.applied() + 1;
        self.shard
            .apply(index, &batch.finish(), &mut replies, &mut effects)
            .unwrap();
        replies
    }

    fn send(&mut self, token: u64, bodies: usize) -> Reply {
        self.apply(&[send(token, bodies)]).remove(0)
    }

    fn sent(&mut self, token: u64, bodies: usize) -> Vec<Sequence> {
        match self.send(token, bodies) {
            Reply::Sent { messages } => messages,
            other => panic!("{other:?}"),
        }
    }

    fn restart(&mut self) {
        let bytes = self.save();
        self.shard = Shard::restore(&bytes).unwrap();
        assert_eq!(self.save(), bytes);
    }

    fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.shard.save(&mut |piece| bytes.extend_from_slice(piece));
        bytes
    }
}

/// Tokens are hashes: they come in no order. This is the finisher of `SplitMix64`.
fn hash(token: u64) -> [u8; 16] {
    let high = token.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let high = (high ^ (high >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let high = (high ^ (high >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let high = high ^ (high >> 31);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&token.to_le_bytes());
    bytes
}

fn send(token: u64, bodies: usize) -> Command {
    Command::SendMessagesOnce {
        queue: QUEUE,
        token: hash(token),
        delay: None,
        bodies: vec![Bytes::from_static(b"x"); bodies],
    }
}

#[test]
fn a_repeat_within_the_window_is_the_same_send() {
    let mut world = World::new();
    let first = world.sent(1, 3);
    assert_eq!(first.len(), 3);
    assert_ne!(world.sent(2, 3), first, "another token is another send");
    // They are consumed, cleared away and forgotten; the answer stays.
    let received = world.apply(&[Command::ReceiveMessages {
        queue: QUEUE,
        max: 6,
        visibility: None,
    }]);
    let Reply::Received { deliveries } = &received[0] else {
        panic!("{received:?}");
    };
    let receipts = deliveries.iter().map(|delivery| delivery.receipt).collect();
    world.apply(&[Command::DeleteMessages {
        queue: QUEUE,
        receipts,
    }]);
    world.apply(&[Command::ClearQueue { queue: QUEUE }]);
    assert_eq!(world.shard.totals().ready, 0);

    world.now += WINDOW - 1;
    assert_eq!(world.sent(1, 3), first);
    world.restart();
    assert_eq!(world.sent(1, 3), first);
    assert_eq!(world.shard.totals().ready, 0, "nothing was added");
    assert_eq!(world.shard.totals().totals.sent, 6);

    world.now += 1;
    let second = world.sent(1, 3);
    assert_ne!(second, first, "the window runs from the first send");
    assert_eq!(world.sent(1, 3), second);
    assert_eq!(world.shard.totals().ready, 3);
}

#[test]
fn a_token_with_another_number_of_messages_is_refused() {
    let mut world = World::new();
    let first = world.sent(1, 2);
    for bodies in [0, 1, 3, 65] {
        assert_eq!(world.send(1, bodies), Reply::Refused(Error::TokenReused));
    }
    assert_eq!(world.sent(1, 2), first);
    assert_eq!(world.shard.totals().ready, 2);
}

#[test]
fn a_send_that_was_refused_leaves_no_token() {
    let mut world = World::new();
    assert_eq!(world.send(1, 0), Reply::Refused(Error::BatchSize));
    assert_eq!(world.send(1, 65), Reply::Refused(Error::BatchSize));
    assert_eq!(world.shard.next_deadline(), None);
    assert_eq!(world.sent(1, 64).len(), 64);
    let drop = Command::DropQueue {
        queue: QUEUE,
        floor: 0,
    };
    world.apply(&[drop]);
    assert_eq!(world.send(1, 64), Reply::Refused(Error::NoSuchQueue));
    assert_eq!(world.shard.next_deadline(), None);
}

#[test]
fn repeats_in_one_entry_are_one_send() {
    let mut world = World::new();
    let replies = world.apply(&[send(1, 2), send(2, 1), send(1, 2), send(1, 1), send(3, 1)]);
    assert_eq!(replies[2], replies[0]);
    assert_eq!(replies[3], Reply::Refused(Error::TokenReused));
    // Bodies that became no messages are counted too.
    let index = world.shard.applied();
    let messages = vec![Sequence::new(index, 6)];
    assert_eq!(replies[4], Reply::Sent { messages });
    assert_eq!(world.shard.totals().ready, 4);
    let live = world.shard.live_between(index, index);
    let ordinals: Vec<u32> = live.iter().map(|message| message.ordinal()).collect();
    assert_eq!(ordinals, [0, 1, 2, 6], "a repeat keeps no body");
}

#[test]
fn tokens_that_could_not_be_settled_yet_are_over_all_the_same() {
    let mut world = World::new();
    world.shard.set_settled_per_entry(1);
    let first: Vec<_> = (0..5).map(|token| world.sent(token, 1)).collect();
    world.now += WINDOW;
    // One is settled at each entry, but none is recognised.
    for (token, first) in [0u64, 1, 2, 3, 4].into_iter().zip(&first).rev() {
        assert_ne!(&world.sent(token, 1), first);
    }
    world.restart();
    assert_eq!(world.shard.totals().ready, 10);
    world.shard.check();
}

/// Where a token stands in a state; behind it: the first message, how many there are, and when they were sent.
fn place_of(token: u64, state: &[u8]) -> usize {
    let token = hash(token);
    let mut windows = state.windows(token.len());
    windows.position(|some| some == token).unwrap() + token.len()
}

#[test]
fn tokens_that_no_queue_can_have_are_in_no_state() {
    let mut world = World::new();
    world.now += 5;
    let [one, two] = [1, 2].map(|token| world.sent(token, 1)[0]);
    let state = world.save();
    let with = |changes: &[(u64, usize, &[u8])]| {
        let mut changed = state.clone();
        for (token, at, bytes) in changes {
            let at = place_of(*token, &state) + at;
            changed[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Shard::restore(&changed).is_ok()
    };
    assert!(with(&[]));
    for (messages, is_possible) in [(0, false), (1, true), (64, true), (65, false)] {
        assert_eq!(with(&[(2, 8, &[messages])]), is_possible, "{messages}");
    }
    // The messages of a send are in one entry.
    let last = |before: u32| Sequence::new(two.index(), Sequence::PER_ENTRY - before);
    for (before, is_possible) in [(64, true), (63, false)] {
        let first = last(before).number().to_le_bytes();
        let changes: [(u64, usize, &[u8]); 2] = [(2, 0, &first), (2, 8, &[64])];
        assert_eq!(with(&changes), is_possible, "{before}");
    }
    let earlier = (world.now - 1).to_le_bytes();
    assert!(with(&[(1, 9, &earlier)]));
    assert!(!with(&[(2, 9, &earlier)]), "a send after it was earlier");
    assert!(!with(&[(2, 0, &one.number().to_le_bytes())]), "one place");
    let token = place_of(2, &state) - 16;
    let mut twice = state.clone();
    twice[token..token + 16].copy_from_slice(&hash(1));
    assert!(Shard::restore(&twice).is_err(), "one token");
}

#[test]
fn a_queue_remembers_a_million_tokens_and_no_more() {
    let mut world = World::new();
    let before = world.shard.memory_bytes();
    let max = limits::TOKENS_MAX as u64;
    let tokens: Vec<u64> = (0..max).collect();
    let mut worst = 0;
    for tokens in tokens.chunks(1000) {
        let sends: Vec<_> = tokens.iter().map(|token| send(*token, 1)).collect();
        let replies = world.apply(&sends);
        assert!(
            replies
                .iter()
                .all(|reply| matches!(reply, Reply::Sent { .. }))
        );
        let sent = world.shard.totals().ready;
        if sent.is_multiple_of(10_000) {
            worst = worst.max((world.shard.memory_bytes() - before) as u64 * 100 / sent);
        }
    }
    #[expect(clippy::print_stdout, reason = "shown by --nocapture")]
    {
        println!("token with its message: at most {worst} hundredths of a byte");
    }
    assert!(worst <= 8000, "{worst} hundredths of a byte");

    assert_eq!(world.send(max, 1), Reply::Refused(Error::Busy));
    assert!(
        matches!(world.send(5, 1), Reply::Sent { .. }),
        "it is known"
    );
    world.restart();
    assert_eq!(world.send(max, 1), Reply::Refused(Error::Busy));

    // They end with their window, some at each entry.
    world.now += WINDOW;
    let mut entries = 0;
    while world
        .shard
        .next_deadline()
        .is_some_and(|next| next.0 <= world.now)
    {
        world.apply(&[Command::Settle]);
        entries += 1;
    }
    assert_eq!(entries, limits::TOKENS_MAX / limits::SETTLED_PER_ENTRY);
    assert!(matches!(world.send(max, 1), Reply::Sent { .. }));
    // What is left is the million messages, a byte or so each.
    assert!(world.shard.memory_bytes() < 3 * limits::TOKENS_MAX);
}

/// Three windows long, as many tokens come as are forgotten.
#[test]
fn tokens_that_come_and_go_cost_no_more() {
    const EACH_SECOND: u64 = 100;
    let mut world = World::new();
    let before = world.shard.memory_bytes();
    let mut worst = 0;
    for second in 0..3 * WINDOW / 1000 {
        world.now += 1000;
        let tokens = second * EACH_SECOND..(second + 1) * EACH_SECOND;
        let mut commands: Vec<_> = tokens.map(|token| send(token, 1)).collect();
        commands.push(Command::ClearQueue { queue: QUEUE });
        world.apply(&commands);
        if second > WINDOW / 1000 {
            worst = worst.max(world.shard.memory_bytes() - before);
        }
    }
    let hundredths = worst * 100 / usize::try_from(EACH_SECOND * WINDOW / 1000).unwrap();
    #[expect(clippy::print_stdout, reason = "shown by --nocapture")]
    {
        println!("token among those that come and go: at most {hundredths} hundredths of a byte");
    }
    assert!(hundredths <= 8000, "{hundredths} hundredths of a byte");
}
