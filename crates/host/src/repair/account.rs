//! What stood in entries that do not count any more, for people.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    codec::{Batch, View},
    command::Command,
    time::Timestamp,
};

/// Of one shard.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Messages that came, by the number of their queue or topic.
    pub messages: BTreeMap<u64, u64>,
    /// The accounts and names of queues, topics and subscriptions that were to be made.
    pub created: BTreeSet<(u64, String)>,
    /// Everything else that was asked of the shard.
    pub other_commands: u64,
    /// By the wall clock, the first and the last of them.
    pub times: Option<(Timestamp, Timestamp)>,
}

#[derive(Debug, Default)]
pub(super) struct Account(BTreeMap<u16, LeftOut>);

impl Account {
    pub(super) fn take(&mut self, shard: u16) -> LeftOut {
        self.0.remove(&shard).unwrap_or_default()
    }

    pub(super) fn add(&mut self, shard: u16, entry: &[u8]) {
        // An entry of consensus, or one that only a newer program can read.
        let Ok(batch) = Batch::decode(entry) else {
            return;
        };
        let left_out = self.0.entry(shard).or_default();
        let wall = batch.stamp.wall;
        let (first, last) = left_out.times.unwrap_or((wall, wall));
        left_out.times = Some((first.min(wall), last.max(wall)));
        for command in &batch.commands {
            let to = match command {
                View::SendMessages { queue, .. }
                | View::SendMessagesOnce { queue, .. }
                | View::AcceptMoved { queue, .. }
                | View::AcceptPublished { queue, .. } => queue.0,
                View::Publish { topic, .. } => topic.0,
                other => {
                    left_out.created.extend(created_by(other));
                    left_out.other_commands += 1;
                    continue;
                }
            };
            let count = command
                .bodies()
                .map_or(0, anser_broker::codec::Bodies::count);
            *left_out.messages.entry(to).or_default() += u64::from(count);
        }
    }
}

fn created_by(command: &View<'_>) -> Option<(u64, String)> {
    let View::Rare(command) = command else {
        return None;
    };
    match &**command {
        Command::CreateQueue(create) => Some((create.account.0, create.name.to_string())),
        Command::CreateTopic(create) => Some((create.account.0, create.name.to_string())),
        Command::Subscribe(it) => Some((it.account.0, format!("{}/{}", it.topic, it.name))),
        _ => None,
    }
}
