//! What replicas of other nodes say, on its way to the runners.
//!
//! Over all shards it takes a bounded room: a node whose disk limps, or whose runner is behind, would otherwise take
//! everything that it lacks into memory. Leaders send again what is passed over here.

use anser_broker::id::ShardId;
use bytes::Bytes;

use crate::{
    event::Event,
    inboxes::Inboxes,
    status::{Counters, add, read},
};

/// While so many bytes of entries wait for runners and for this disk, over all shards, no more are taken.
const UNWRITTEN_BYTES_MAX: u64 = 64 << 20;
/// Longer messages carry entries.
const ENTRIES_BYTES_MIN: usize = 4 << 10;

/// Hands each message to its shard's runner, but for entries that there is no room for.
pub(crate) fn take_in(inboxes: &Inboxes, counters: &Counters, messages: Vec<(ShardId, Bytes)>) {
    for (shard, message) in messages {
        let waiting = read(&counters.unwritten_bytes);
        if message.len() >= ENTRIES_BYTES_MIN && waiting >= UNWRITTEN_BYTES_MAX {
            continue;
        }
        // Until the runner takes it.
        add(&counters.unwritten_bytes, message.len() as u64);
        // A runner that is gone takes part in nothing.
        drop(inboxes.of(shard).send(Event::Peer { shard, message }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{atomic::Ordering, mpsc};

    use super::*;

    /// Core review, finding 16: the inboxes had no bound.
    #[test]
    fn entries_wait_with_their_leader_while_a_runner_is_behind() {
        let (inbox, runner) = mpsc::channel();
        let (inboxes, counters) = (Inboxes::new(vec![inbox]), Counters::default());
        let entries = Bytes::from(vec![0; 1 << 20]);
        for shard in 0..200 {
            let said = [entries.clone(), Bytes::from_static(b"a heartbeat")];
            let messages = said.map(|message| (ShardId(shard), message));
            take_in(&inboxes, &counters, messages.into());
        }
        let taken = || {
            let events = runner.try_iter();
            let lengths = events.map(|event| match event {
                Event::Peer { message, .. } => message.len(),
                other => panic!("{other:?}"),
            });
            lengths.collect::<Vec<usize>>()
        };
        let lengths = taken();
        let long = lengths.iter().filter(|&&length| length == 1 << 20).count();
        assert_eq!(long, 64);
        assert_eq!(lengths.len() - long, 200, "votes and heartbeats never wait");

        let bytes: usize = lengths.iter().sum();
        counters
            .unwritten_bytes
            .fetch_sub(bytes as u64, Ordering::Relaxed);
        take_in(&inboxes, &counters, vec![(ShardId(0), entries)]);
        assert_eq!(taken(), [1 << 20]);
    }
}
