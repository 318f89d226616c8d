//! A bounded cache of what entries hold, by shard and index; the least recently used go first.

use anser_broker::id::ShardId;
use bytes::Bytes;
use lru::LruCache;

/// What one entry costs beside its payload: the key, the links and the map's slot.
const OVERHEAD_BYTES: usize = 120;

#[derive(Debug)]
pub struct EntryCache<V> {
    entries: LruCache<(ShardId, u64), V>,
    bytes: usize,
    bytes_max: usize,
}

/// What can be cached: it knows the size of its payload.
pub trait Payload {
    fn payload(&self) -> &Bytes;
}

impl Payload for Bytes {
    fn payload(&self) -> &Bytes {
        self
    }
}

impl<V: Payload> EntryCache<V> {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            entries: LruCache::unbounded(),
            bytes: 0,
            bytes_max,
        }
    }

    pub fn get(&mut self, shard: ShardId, index: u64) -> Option<&V> {
        self.entries.get(&(shard, index))
    }

    pub fn put(&mut self, shard: ShardId, index: u64, value: V) {
        self.bytes += cost(&value);
        if let Some(replaced) = self.entries.put((shard, index), value) {
            self.bytes -= cost(&replaced);
        }
        while self.bytes > self.bytes_max
            && let Some((_, evicted)) = self.entries.pop_lru()
        {
            self.bytes -= cost(&evicted);
        }
    }
}

fn cost(value: &impl Payload) -> usize {
    value.payload().len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_was_used_last() {
        let mut cache = EntryCache::new(3 * (1000 + OVERHEAD_BYTES));
        for index in 1..=3 {
            cache.put(ShardId(0), index, Bytes::from(vec![0; 1000]));
        }
        assert!(cache.get(ShardId(0), 1).is_some());
        cache.put(ShardId(0), 4, Bytes::from(vec![0; 1000]));
        assert!(cache.get(ShardId(0), 2).is_none());
        assert!(cache.get(ShardId(0), 1).is_some());
    }
}
