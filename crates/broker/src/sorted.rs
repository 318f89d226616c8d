//! An ordered map for many small values: sorted arrays in chunks, which a copy of the map shares.
//!
//! A copy takes one reference a chunk; whoever changes a shared chunk copies that one first. Keys and
//! values of a chunk stand in two arrays without padding. Ascending inserts fill every chunk; a chunk
//! that empties joins its neighbour. No chunk is empty.

use std::{ops::Index, sync::Arc};

const CHUNK: usize = 128;

#[derive(Debug, Clone)]
pub(crate) struct SortedMap<K, V> {
    parts: Vec<Part<K, V>>,
    len: usize,
}

/// A chunk beside its first key, by which it is found without a look at it.
#[derive(Debug, Clone)]
struct Part<K, V> {
    first: K,
    chunk: Arc<Chunk<K, V>>,
}

#[derive(Debug)]
struct Chunk<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Clone, V: Clone> Clone for Chunk<K, V> {
    fn clone(&self) -> Self {
        #[cfg(test)]
        crate::counting::copied();
        Self {
            keys: self.keys.clone(),
            values: self.values.clone(),
        }
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn first(&self) -> Option<(&K, &V)> {
        let part = self.parts.first()?;
        Some((&part.first, &part.chunk.values[0]))
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.find(key).is_some()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (number, place) = self.find(key)?;
        Some(&self.parts[number].chunk.values[place])
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (number, place) = self.find(key)?;
        let chunk = Arc::make_mut(&mut self.parts[number].chunk);
        Some(&mut chunk.values[place])
    }

    /// # Panics
    /// If the key is there already.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.len += 1;
        let Some(number) = self.part_for(&key) else {
            self.parts.reserve_exact(1);
            self.parts.push(Part::of(key, value));
            return;
        };
        let is_last = number + 1 == self.parts.len();
        let part = &mut self.parts[number];
        let Err(place) = part.chunk.keys.binary_search(&key) else {
            panic!("a key was inserted twice");
        };
        if part.chunk.keys.len() < CHUNK {
            part.insert(place, key, value);
        } else if is_last && place == CHUNK {
            self.parts.push(Part::of(key, value));
        } else {
            let mut upper = part.split();
            match place.checked_sub(part.chunk.keys.len()) {
                Some(place) => upper.insert(place, key, value),
                None => part.insert(place, key, value),
            }
            self.parts.insert(number + 1, upper);
        }
    }

    pub(crate) fn last(&self) -> Option<(&K, &V)> {
        let chunk = &self.parts.last()?.chunk;
        chunk.keys.last().zip(chunk.values.last())
    }

    /// Whether the key was new; nothing changes if it was not.
    pub(crate) fn insert_new(&mut self, key: K, value: V) -> bool {
        let is_new = !self.contains(&key);
        if is_new {
            self.insert(key, value);
        }
        is_new
    }

    /// Puts a value in the place of an older one, which it gives.
    pub(crate) fn replace(&mut self, key: K, value: V) -> Option<V> {
        let old = self.remove(&key);
        self.insert(key, value);
        old
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (number, place) = self.find(key)?;
        Some(self.remove_at(number, place).1)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.is_empty()).then(|| self.remove_at(0, 0))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> + Clone {
        self.parts.iter().flat_map(|part| part.chunk.iter_from(0))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// Those from a key on.
    pub(crate) fn iter_from<'a>(
        &'a self,
        key: &K,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let number = self.part_for(key).unwrap_or(0);
        let mut parts = self.parts[number..].iter();
        let first = parts.next().map(|part| {
            let place = part.chunk.keys.partition_point(|other| other < key);
            part.chunk.iter_from(place)
        });
        let rest = parts.flat_map(|part| part.chunk.iter_from(0));
        first.into_iter().flatten().chain(rest)
    }

    /// What it takes on the heap, but for what keys and values have there themselves.
    pub(crate) fn memory_bytes(&self) -> usize {
        let items = |part: &Part<K, V>| {
            // The two counts of what is shared.
            let chunk = 2 * size_of::<usize>() + size_of::<Chunk<K, V>>();
            chunk
                + part.chunk.keys.capacity() * size_of::<K>()
                + part.chunk.values.capacity() * size_of::<V>()
        };
        self.parts.capacity() * size_of::<Part<K, V>>()
            + self.parts.iter().map(items).sum::<usize>()
    }

    /// Which chunk has the key, and where.
    fn find(&self, key: &K) -> Option<(usize, usize)> {
        let number = self.part_of(key)?;
        let place = self.parts[number].chunk.keys.binary_search(key).ok()?;
        Some((number, place))
    }

    /// The chunk that holds the key if any does.
    fn part_of(&self, key: &K) -> Option<usize> {
        let last = self.parts.len().checked_sub(1)?;
        if self.parts[last].first <= *key {
            return Some(last);
        }
        self.parts
            .partition_point(|part| part.first <= *key)
            .checked_sub(1)
    }

    /// The chunk into which the key belongs; `None` if there is no chunk.
    fn part_for(&self, key: &K) -> Option<usize> {
        (!self.parts.is_empty()).then(|| self.part_of(key).unwrap_or(0))
    }

    fn remove_at(&mut self, number: usize, place: usize) -> (K, V) {
        self.len -= 1;
        let part = &mut self.parts[number];
        let removed = part.remove(place);
        let left = part.chunk.keys.len();
        if left == 0 {
            self.parts.remove(number);
            self.trim();
        } else if left < CHUNK / 4 && part.chunk.keys.capacity() > CHUNK / 4 {
            self.join(number);
        }
        removed
    }

    /// Puts a nearly empty chunk together with the next one, or makes it smaller if that has no room.
    fn join(&mut self, number: usize) {
        let left = self.parts[number].chunk.keys.len();
        let next = self.parts.get(number + 1);
        if next.is_some_and(|next| next.chunk.keys.len() + left <= CHUNK * 3 / 4) {
            let next = self.parts.remove(number + 1).chunk;
            let chunk = Arc::make_mut(&mut self.parts[number].chunk);
            chunk.keys.extend_from_slice(&next.keys);
            chunk.values.extend_from_slice(&next.values);
            self.trim();
        } else {
            Arc::make_mut(&mut self.parts[number].chunk).shrink();
        }
    }

    fn trim(&mut self) {
        let capacity = self.parts.capacity();
        if self.parts.is_empty() && capacity > 1 {
            self.parts = Vec::new();
        } else if capacity > 4 * (self.parts.len() + 1) {
            self.parts.shrink_to(2 * self.parts.len());
        }
    }
}

impl<K: Ord + Clone, V: Clone> Index<&K> for SortedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("a key that is there")
    }
}

impl<K: Ord + Clone, V: Clone + Default> SortedMap<K, V> {
    /// The value of a key, made if there is none.
    pub(crate) fn entry(&mut self, key: &K) -> &mut V {
        if !self.contains(key) {
            self.insert(key.clone(), V::default());
        }
        self.get_mut(key).expect("made if there was none")
    }
}

impl<K: Ord + Clone, T: Clone> SortedMap<K, Arc<T>> {
    /// A value to be changed; it is copied first if a copy of the map shares it.
    pub(crate) fn own(&mut self, key: &K) -> Option<&mut T> {
        self.get_mut(key).map(Arc::make_mut)
    }
}

impl<K: Clone, V: Clone> Part<K, V> {
    fn of(key: K, value: V) -> Self {
        Self {
            first: key.clone(),
            chunk: Arc::new(Chunk {
                keys: vec![key],
                values: vec![value],
            }),
        }
    }

    fn insert(&mut self, place: usize, key: K, value: V) {
        if place == 0 {
            self.first = key.clone();
        }
        let chunk = Arc::make_mut(&mut self.chunk);
        chunk.keys.insert(place, key);
        chunk.values.insert(place, value);
    }

    fn remove(&mut self, place: usize) -> (K, V) {
        let chunk = Arc::make_mut(&mut self.chunk);
        let removed = (chunk.keys.remove(place), chunk.values.remove(place));
        if let (0, Some(first)) = (place, chunk.keys.first()) {
            self.first = first.clone();
        }
        removed
    }

    fn split(&mut self) -> Self {
        let chunk = Arc::make_mut(&mut self.chunk);
        let half = chunk.keys.len() / 2;
        let upper = Chunk {
            keys: chunk.keys.split_off(half),
            values: chunk.values.split_off(half),
        };
        chunk.shrink();
        Self {
            first: upper.keys[0].clone(),
            chunk: Arc::new(upper),
        }
    }
}

impl<K, V> Chunk<K, V> {
    fn iter_from(&self, place: usize) -> impl Iterator<Item = (&K, &V)> + Clone {
        let items = self.keys[place..].iter().zip(&self.values[place..]);
        #[cfg(test)]
        let items = items.inspect(|_| crate::counting::visited());
        items
    }

    fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

/// A key and its value, both small.
pub(crate) fn by_value<K: Copy, V: Copy>((key, value): (&K, &V)) -> (K, V) {
    (*key, *value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_an_ordered_map_and_a_copy_stays_as_it_is(
            steps in prop::collection::vec((0u8..9, any::<u16>()), 0..2000),
        ) {
            let mut map = SortedMap::default();
            let mut naive = BTreeMap::new();
            let mut copies = Vec::new();
            let mut next = 0u32;
            for (step, random) in steps {
                match step {
                    0 => prop_assert_eq!(map.pop_first(), naive.pop_first()),
                    1 | 2 => {
                        let key = u32::from(random) % next.max(1);
                        prop_assert_eq!(map.get(&key), naive.get(&key));
                        prop_assert_eq!(map.remove(&key), naive.remove(&key));
                    }
                    3 => {
                        let key = u32::from(random);
                        *map.entry(&key) = 7;
                        naive.insert(key, 7);
                    }
                    4 if copies.len() < 4 => copies.push((map.clone(), naive.clone())),
                    5 => {
                        let key = u32::from(random) % next.max(1);
                        let found: Vec<_> = map.iter_from(&key).take(200).collect();
                        prop_assert_eq!(found, naive.range(key..).take(200).collect::<Vec<_>>());
                    }
                    _ => {
                        next = naive.last_key_value().map_or(0, |(last, _)| last + 1);
                        naive.insert(next, step);
                        map.insert(next, step);
                    }
                }
                prop_assert_eq!(map.len(), naive.len());
                prop_assert_eq!(map.first(), naive.first_key_value());
                prop_assert_eq!(map.last(), naive.last_key_value());
            }
            copies.push((map, naive));
            for (map, naive) in copies {
                prop_assert!(map.iter().eq(naive.iter()));
            }
        }
    }
}
