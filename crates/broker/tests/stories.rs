//! Stories of queues and topics as scripts: `tests/scenarios/*.txt`. A line goes in; what comes out stands below
//! the dashes. `REWRITE=1 cargo test` writes what came out into the files, to be read in review.
//!
//! Times count from the start of a story. `at=` lets time pass until then; `wall=` says how far the
//! wall clock is ahead from now on. Messages and receipts are numbered as they appear.

mod catalog;
mod courier;
mod line;
mod messages;
mod questions;
mod shown;

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use anser_broker::{
    codec::{self, BatchBuilder},
    command::{Command, Effect, Placed, Reply},
    id::{QueueId, Sequence, ShardId, TopicId},
    shard::Shard,
    time::{Stamp, Timestamp},
};
use bytes::Bytes;

use line::{Line, duration};
use shown::length;

const START: u64 = 1_700_000_000_000;

#[test]
fn stories_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    #[expect(
        clippy::disallowed_methods,
        reason = "a test may be told to rewrite its files"
    )]
    let rewrite = std::env::var("REWRITE").is_ok();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let happened = tell(&written);
        if rewrite {
            fs::write(&file, happened).unwrap();
        } else {
            assert!(written == happened, "{}:\n{happened}", file.display());
        }
    }
}

/// The story with the outcomes that it has.
fn tell(story: &str) -> String {
    let mut world = World::new();
    let mut told = String::new();
    let mut lines = story.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(told, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if lines.peek() == Some(&"----") {
            lines.next();
        }
        while lines.peek().is_some_and(|line| !line.is_empty()) {
            lines.next();
        }
        writeln!(told, "----\n{}", world.line(line)).unwrap();
    }
    told
}

/// One shard that is catalog and home, told of its own changes at once.
struct World {
    shard: Shard,
    now: u64,
    wall: i64,
    /// The outbox of a subscription is `topic/subscription`.
    queues: BTreeMap<String, QueueId>,
    topics: BTreeMap<String, TopicId>,
    messages: Vec<(Sequence, Bytes)>,
    receipts: Vec<Sequence>,
    /// What homes are to be told, by the effects of commands.
    announced: Vec<Placed>,
}

impl World {
    fn new() -> Self {
        Self {
            shard: Shard::new(ShardId(0), 1),
            now: START,
            wall: 0,
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            messages: Vec::new(),
            receipts: Vec::new(),
            announced: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) -> String {
        let line = Line::new(line);
        if let Some(at) = line.time("at") {
            self.now = START + at.0;
        }
        if let Some(wall) = line.named.get("wall") {
            let ahead = i64::try_from(duration(wall.trim_start_matches(['+', '-'])).0).unwrap();
            self.wall = if wall.starts_with('-') { -ahead } else { ahead };
        }
        match line.verb {
            "create-queue" | "set-queue" | "delete-queue" => self.change_catalog(&line),
            "create-topic" | "set-topic" | "delete-topic" | "subscribe" | "set-subscription"
            | "unsubscribe" => self.change_topics(&line),
            "topic-counts" | "subscription-counts" => self.ask_of_topics(&line),
            "publish" => self.publish(&line),
            "deliver" => self.deliver(&line),
            "describe" | "list" | "sources" | "counts" | "totals" => self.ask(&line),
            "settle" => self.reply(&Command::Settle),
            "next-deadline" => {
                let next = self.shard.next_deadline();
                next.map_or("none".into(), |next| length(next.0.saturating_sub(START)))
            }
            "carry" => self.carry(&line),
            "restart" => {
                let mut bytes = Vec::new();
                self.shard.save(&mut |piece| bytes.extend_from_slice(piece));
                crate::model::restore_damaged(&bytes, 0, 1);
                self.shard = Shard::restore(&bytes).unwrap();
                "ok".into()
            }
            _ => self.change_messages(&line),
        }
    }

    fn topic(&self, line: &Line<'_>) -> TopicId {
        let name = line.plain[0].to_ascii_lowercase();
        self.topics.get(&name).copied().unwrap_or(TopicId(999))
    }

    fn queue(&self, line: &Line<'_>) -> QueueId {
        let name = line.plain[0].to_ascii_lowercase();
        self.queues.get(&name).copied().unwrap_or(QueueId(999))
    }

    fn apply(&mut self, command: &Command) -> Reply {
        let stamp = Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now.saturating_add_signed(self.wall)),
            ..Stamp::default()
        };
        let mut batch = BatchBuilder::new(stamp);
        batch.push(&codec::encode(command));
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let index = self.shard.applied() + 1;
        self.shard
            .apply(index, &batch.finish(), &mut replies, &mut effects)
            .unwrap();
        self.announced
            .extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Unsettled(placed) => Some(placed),
                _ => None,
            }));
        replies.remove(0)
    }
}
