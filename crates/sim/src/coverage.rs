//! Places that a run should sometimes reach: a generator that never gets there tests nothing.

use std::{cell::RefCell, collections::BTreeMap};

/// Every place there is. Each must be reached at least once in a thousand seeds.
pub const PLACES: &[&str] = &[
    "a torn tail was repaired",
    "an ambiguous tail made a node suspect",
    "a disk lost a sector that it had promised",
    "a suspect was cleared",
    "suspects elected a leader together",
    "a snapshot was installed",
    "a snapshot was installed while its shard had no leader",
    "a snapshot was installed over an older state",
    "a copy was resumed after a broken connection",
    "a copy was given up",
    "a copy was dropped for a newer one",
    "a copy, or the end of a replica, waited for the disk",
    "a copy that had arrived did not come again",
    "a newer copy went on with the segments of one that was broken off",
    "log files stayed for a follower",
    "a deposed leader answered that it does not know",
    "a follower was fed from the log",
    "a fetch found that the log had been recycled",
    "a joint change crossed a crash",
    "a leader applied a joint membership",
    "a lease expired while its leader was paused",
    "a node restarted into the middle of a membership change",
    "a removed replica was forgotten",
    "a node that was forgotten came again",
    "entries that are not applied were carried over",
    "log files were recycled",
    "a segment was dropped",
    "segments were rewritten",
    "a body was read from a segment",
    "a body was read from the log",
    "an append waited for space",
    "a failed read stopped a node",
    "a failed write stopped a node",
    "a failed rename stopped a node",
    "a failed sync stopped a node",
    "a failed sync of a folder stopped a node",
    "an error of the disk stopped a start",
    "a node started on what a failed sync had left in the cache",
    "what a running node has was damaged",
    "a sector that cannot be read stopped a node",
    "a body could not be read",
    "a shard lost its quorum beside one that kept it",
    "a shard without a quorum stood still",
    "a change led to voters who were just lost",
    "maintenance met damage",
    "the scrub met damage",
    "a follower could not be fed from a damaged log",
    "a crash cut a batch in the middle",
    "a log was closed",
    "a node gave its leaderships away before it ended",
    "a crash cut maintenance in the middle",
    "a damaged disk was refused",
    "a damaged disk opened all the same",
    "a lost node was replaced",
    "an old copy of a disk was refused",
    "a cluster's version rose",
    "a node went back to an older program",
    "the time of a shard went ahead while its only node was off",
    "a program was too old for its cluster",
    "all nodes lost power at once",
    "a leader was paused longer than an election",
    "leadership was handed over",
    "an election needed several terms",
    "an entry was overwritten by another term's",
    "a long poll was answered with a message",
    "a long poll ended with its leader",
    "leases were given back",
    "a request was forwarded",
    "the answer of another node was lost",
    "a request came whose connection had broken",
    "messages waited for the leader of their target",
    "messages waited for their target to take them",
    "a home waited to be told what the catalog says",
    "nobody waited for an answer to another node any more",
    "a read was confirmed",
    "a send was answered that every voter has",
    "a queue was deleted",
    "a queue was made with a dead-letter queue",
    "the name of a queue was not free yet",
    "a queue lost its dead-letter queue",
    "a queue was purged",
    "a queue was purged that gets messages from others",
    "a queue was made whose messages give up by their age",
    "a rewind brought messages back",
    "a queue was full",
    "as many messages were delayed as may be",
    "as many messages were leased as may be",
    "a deleted queue was asked for messages",
    "a message was published",
    "a subscription was deleted",
    "a learner became a voter",
    "a node heard that it was removed",
    "a node without the catalog heard of another by its visit",
    "leaders were spread",
    "a leader left a slow disk",
    "all disks were slow at once",
    "an order came to a node that did not lead any more",
    "a node that was emptied left",
    "a node was to be emptied whose copies had no other place",
    "a shard shrank to two voters",
    "a shard shrank to one voter",
    "a shard that had shrunk grew again",
];

thread_local! {
    static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Notes that a place was reached.
///
/// # Panics
/// If it is not one of [`PLACES`].
pub(crate) fn sometimes(place: &'static str) {
    assert!(PLACES.contains(&place), "{place} is not in the list");
    REACHED.with_borrow_mut(|reached| *reached.entry(place).or_default() += 1);
}

/// What was reached since the last call, and how often.
pub(crate) fn take() -> BTreeMap<&'static str, u64> {
    REACHED.take()
}
