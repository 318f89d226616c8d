//! Which entry this thread is applying, for whoever has to say so when the program panics in the middle of it. Nothing
//! depends on it while all is well.

use std::cell::Cell;

use anser_broker::id::ShardId;

thread_local! {
    static ENTRY: Cell<Option<(ShardId, u64)>> = const { Cell::new(None) };
}

/// The shard and the index of the entry that this thread is in the middle of.
pub fn being_applied() -> Option<(ShardId, u64)> {
    ENTRY.get()
}

/// Applies an entry of a shard. If that panics, the note stays.
pub fn applying<T>(shard: ShardId, index: u64, apply: impl FnOnce() -> T) -> T {
    ENTRY.set(Some((shard, index)));
    let applied = apply();
    ENTRY.set(None);
    applied
}
