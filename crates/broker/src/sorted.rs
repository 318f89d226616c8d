//! An ordered map for many small values: sorted arrays in chunks.
//!
//! Keys and values of a chunk stand in two arrays without padding. Ascending inserts fill every
//! chunk; a chunk that empties joins its neighbour. No chunk is empty.

const CHUNK: usize = 128;

#[derive(Debug, Clone)]
pub(crate) struct SortedMap<K, V> {
    chunks: Vec<Chunk<K, V>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Chunk<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Copy, V: Copy> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn first(&self) -> Option<(K, V)> {
        let chunk = self.chunks.first()?;
        Some((chunk.keys[0], chunk.values[0]))
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let place = chunk.keys.binary_search(&key).ok()?;
        Some(chunk.values[place])
    }

    /// # Panics
    /// If the key is there already.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.len += 1;
        let Some(number) = self.chunk_for(key) else {
            self.chunks.reserve_exact(1);
            self.chunks.push(Chunk::of(key, value));
            return;
        };
        let is_last = number + 1 == self.chunks.len();
        let chunk = &mut self.chunks[number];
        let Err(place) = chunk.keys.binary_search(&key) else {
            panic!("a key was inserted twice");
        };
        if chunk.keys.len() < CHUNK {
            chunk.insert(place, key, value);
        } else if is_last && place == CHUNK {
            self.chunks.push(Chunk::of(key, value));
        } else {
            let mut upper = chunk.split();
            match place.checked_sub(chunk.keys.len()) {
                Some(place) => upper.insert(place, key, value),
                None => chunk.insert(place, key, value),
            }
            self.chunks.insert(number + 1, upper);
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let number = self.chunk_of(key)?;
        let place = self.chunks[number].keys.binary_search(&key).ok()?;
        Some(self.remove_at(number, place).1)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.is_empty()).then(|| self.remove_at(0, 0))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.chunks.iter().flat_map(|chunk| {
            let values = chunk.values.iter().copied();
            chunk.keys.iter().copied().zip(values)
        })
    }

    /// What it takes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        let items = |chunk: &Chunk<K, V>| {
            chunk.keys.capacity() * size_of::<K>() + chunk.values.capacity() * size_of::<V>()
        };
        self.chunks.capacity() * size_of::<Chunk<K, V>>()
            + self.chunks.iter().map(items).sum::<usize>()
    }

    /// The chunk that holds the key if any does.
    fn chunk_of(&self, key: K) -> Option<usize> {
        let last = self.chunks.len().checked_sub(1)?;
        if self.chunks[last].keys[0] <= key {
            return Some(last);
        }
        self.chunks
            .partition_point(|chunk| chunk.keys[0] <= key)
            .checked_sub(1)
    }

    /// The chunk into which the key belongs; `None` if there is no chunk.
    fn chunk_for(&self, key: K) -> Option<usize> {
        (!self.chunks.is_empty()).then(|| self.chunk_of(key).unwrap_or(0))
    }

    fn remove_at(&mut self, number: usize, place: usize) -> (K, V) {
        self.len -= 1;
        let chunk = &mut self.chunks[number];
        let removed = (chunk.keys.remove(place), chunk.values.remove(place));
        let left = chunk.keys.len();
        if left == 0 {
            self.chunks.remove(number);
            self.trim();
        } else if left < CHUNK / 4 && chunk.keys.capacity() > CHUNK / 4 {
            self.join(number);
        }
        removed
    }

    /// Puts a nearly empty chunk into the next one, or makes it smaller if that has no room.
    fn join(&mut self, number: usize) {
        let room = |chunk: &Chunk<K, V>| CHUNK * 3 / 4 - chunk.keys.len().min(CHUNK * 3 / 4);
        let left = self.chunks[number].keys.len();
        if self
            .chunks
            .get(number + 1)
            .is_some_and(|next| room(next) >= left)
        {
            let next = self.chunks.remove(number + 1);
            let chunk = &mut self.chunks[number];
            chunk.keys.extend(next.keys);
            chunk.values.extend(next.values);
            self.trim();
        } else {
            self.chunks[number].shrink();
        }
    }

    fn trim(&mut self) {
        let capacity = self.chunks.capacity();
        if self.chunks.is_empty() && capacity > 1 {
            self.chunks = Vec::new();
        } else if capacity > 4 * (self.chunks.len() + 1) {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }
}

impl<K: Copy, V: Copy> Chunk<K, V> {
    fn of(key: K, value: V) -> Self {
        Self {
            keys: vec![key],
            values: vec![value],
        }
    }

    fn insert(&mut self, place: usize, key: K, value: V) {
        self.keys.insert(place, key);
        self.values.insert(place, value);
    }

    fn split(&mut self) -> Self {
        let half = self.keys.len() / 2;
        let upper = Self {
            keys: self.keys.split_off(half),
            values: self.values.split_off(half),
        };
        self.shrink();
        upper
    }

    fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec((0u8..8, any::<u16>()), 0..2000)) {
            let mut map = SortedMap::default();
            let mut naive = BTreeMap::new();
            let mut next = 0u32;
            for (step, random) in steps {
                match step {
                    0 => prop_assert_eq!(map.pop_first(), naive.pop_first()),
                    1 | 2 => {
                        let key = u32::from(random) % next.max(1);
                        prop_assert_eq!(map.get(key), naive.get(&key).copied());
                        prop_assert_eq!(map.remove(key), naive.remove(&key));
                    }
                    3 => {
                        let key = u32::from(random);
                        if let std::collections::btree_map::Entry::Vacant(place) = naive.entry(key) {
                            place.insert(7);
                            map.insert(key, 7);
                        }
                    }
                    _ => {
                        next = naive.last_key_value().map_or(0, |(last, _)| last + 1);
                        naive.insert(next, step);
                        map.insert(next, step);
                    }
                }
                prop_assert_eq!(map.len(), naive.len());
                prop_assert_eq!(map.first(), naive.first_key_value().map(|(key, value)| (*key, *value)));
            }
            let naive: Vec<_> = naive.into_iter().collect();
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), naive);
        }
    }
}
