//! How long applying takes, by command and by the depth of the queue.
//!
//! `cargo run --release -p anser-broker --example apply`

#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::time::Instant;

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Command, Reply},
    id::{QueueId, Sequence, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const QUEUE: QueueId = QueueId(1);
const ROUNDS: usize = 300_000;

struct Bench {
    shard: Shard,
    now: u64,
    index: u64,
}

fn main() {
    println!(
        "{:<34} {:>8} {:>8} {:>8}",
        "ns a command", "send", "receive", "delete"
    );
    for per_entry in [1, 50] {
        for backlog in [0, 100, 1_000_000] {
            let mut bench = Bench::new(Millis(0));
            bench.fill(backlog);
            bench.lives(
                &format!("{per_entry} an entry, {backlog} waiting"),
                per_entry,
            );
        }
        let mut bench = Bench::new(Millis(3_600_000));
        bench.lives(&format!("{per_entry} an entry, rewindable"), per_entry);
    }
    snapshots();
}

fn snapshots() {
    let mut bench = Bench::new(Millis(0));
    bench.fill(10_000_000);
    let start = Instant::now();
    let mut bytes = Vec::new();
    bench
        .shard
        .save(&mut |piece| bytes.extend_from_slice(piece));
    println!(
        "save of 10,000,000: {:?}, {} bytes",
        start.elapsed(),
        bytes.len()
    );
    let start = Instant::now();
    let copy = Shard::restore(&bytes).expect("what was saved just now");
    println!("restore: {:?}", start.elapsed());
    let start = Instant::now();
    let clone = copy.clone();
    println!(
        "clone: {:?}, {} bytes in memory",
        start.elapsed(),
        clone.memory_bytes()
    );
    let start = Instant::now();
    let live = clone.live_between(1000, 2000).len();
    println!("live among 1001 entries: {live}, {:?}", start.elapsed());
}

impl Bench {
    fn new(rewind: Millis) -> Self {
        let mut bench = Self {
            shard: Shard::new(ShardId(1), 2),
            now: 1_700_000_000_000,
            index: 0,
        };
        let attributes = QueueAttributes {
            backlog_max: u64::MAX,
            wait: Millis(0),
            visibility: Millis::from_seconds(30),
            body_bytes_max: 65_536,
            retention: Millis::from_seconds(4 * 86_400),
            retention_from: RetentionFrom::Sent,
            rewind,
            delay: Millis(0),
            delay_max: Millis(0),
            delayed_max: 1000,
            in_flight_max: 100_000,
            dead_letter: None,
            acknowledge: Acknowledge::Majority,
        };
        let put = Command::PutQueue {
            queue: QUEUE,
            revision: 1,
            attributes,
        };
        bench.apply(&bench.pack(&[put]));
        bench
    }

    fn pack(&self, commands: &[Command]) -> Bytes {
        let now = Timestamp(self.now);
        let mut batch = BatchBuilder::new(Stamp {
            now,
            wall: now,
            ..Stamp::default()
        });
        for command in commands {
            batch.push(&codec::encode(command));
        }
        batch.finish()
    }

    fn apply(&mut self, payload: &Bytes) -> Vec<Reply> {
        self.index += 1;
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let applied = self
            .shard
            .apply(self.index, payload, &mut replies, &mut effects);
        applied.expect("a batch that was packed here");
        replies
    }

    fn fill(&mut self, messages: usize) {
        for _ in 0..messages {
            self.now += 1;
            let payload = self.pack(&[send()]);
            self.apply(&payload);
        }
    }

    /// Sends, receives and deletes so many single messages an entry.
    fn lives(&mut self, name: &str, per_entry: usize) {
        let mut spent: [Vec<u128>; 3] = Default::default();
        let receive = Command::ReceiveMessages {
            queue: QUEUE,
            max: 1,
            visibility: None,
        };
        for _ in 0..ROUNDS / per_entry {
            self.now += 1;
            let mut receipts: Vec<Sequence> = Vec::new();
            for (stage, spent) in spent.iter_mut().enumerate() {
                let commands: Vec<Command> = match stage {
                    0 => vec![send(); per_entry],
                    1 => vec![receive.clone(); per_entry],
                    _ => receipts.drain(..).map(delete).collect(),
                };
                let payload = self.pack(&commands);
                let start = Instant::now();
                let replies = self.apply(&payload);
                spent.push(start.elapsed().as_nanos());
                for reply in replies {
                    if let Reply::Received { deliveries } = reply {
                        receipts.extend(deliveries.iter().map(|delivery| delivery.receipt));
                    }
                }
            }
        }
        // The middle one: the machine may be doing other things as well.
        let [send, receive, delete] = spent.map(|mut spent| {
            spent.sort_unstable();
            spent[spent.len() / 2] / per_entry as u128
        });
        println!("{name:<34} {send:>8} {receive:>8} {delete:>8}");
    }
}

fn send() -> Command {
    let bodies = vec![Bytes::from_static(&[b'x'; 1024])];
    Command::SendMessages {
        queue: QUEUE,
        delay: None,
        bodies,
    }
}

fn delete(receipt: Sequence) -> Command {
    Command::DeleteMessages {
        queue: QUEUE,
        receipts: vec![receipt],
    }
}
