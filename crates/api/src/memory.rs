//! Memory that many share, bounded in all and for each of them.
//!
//! Each may hold a quarter, or one thing however large, so that nobody takes the share of all others
//! and a small bound does not shut out what is allowed alone. What is counted is what living
//! [`Taken`]s hold.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;

/// Each may hold one part in this many.
const SHARES: usize = 4;

#[derive(Debug)]
pub(crate) struct Memory<K> {
    max: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    total: usize,
    /// Of those who hold something.
    by: HashMap<K, usize>,
}

/// There is no more memory, for this one or for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Memory taken by one thing of somebody, given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken<K: Copy + Eq + Hash> {
    memory: Arc<Memory<K>>,
    whose: K,
    bytes: usize,
}

impl<K: Copy + Eq + Hash> Memory<K> {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let by = HashMap::new();
        Arc::new(Self {
            max,
            held: Mutex::new(Held { total: 0, by }),
        })
    }

    pub(crate) fn nothing(self: &Arc<Self>, whose: K) -> Taken<K> {
        Taken {
            memory: Arc::clone(self),
            whose,
            bytes: 0,
        }
    }

    /// Whether somebody could take so much now.
    pub(crate) fn has_room(&self, whose: K, bytes: usize) -> bool {
        self.lock().fits(self.max, &whose, 0, bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        let held = self.held.lock();
        held.expect("nothing panics while it holds this lock")
    }
}

impl<K: Eq + Hash> Held<K> {
    /// Whether something that holds `before` bytes of somebody may hold so many.
    fn fits(&self, max: usize, whose: &K, before: usize, bytes: usize) -> bool {
        let others = self.total - before;
        let mine = self.by.get(whose).map_or(0, |all| all - before);
        let in_share = mine == 0 || mine + bytes <= max / SHARES;
        bytes <= before || (in_share && others + bytes <= max)
    }
}

impl<K: Copy + Eq + Hash> Taken<K> {
    /// Holds so many bytes from now on; if there is no room, as many as before.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes == self.bytes {
            return Ok(());
        }
        let mut held = self.memory.lock();
        if !held.fits(self.memory.max, &self.whose, self.bytes, bytes) {
            return Err(Full);
        }
        held.total = held.total - self.bytes + bytes;
        let all = held.by.entry(self.whose).or_default();
        *all = *all - self.bytes + bytes;
        if *all == 0 {
            held.by.remove(&self.whose);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Taken<K> {
    /// Bytes that hold this memory until nobody has any of them.
    pub(crate) fn into_bytes(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Owner {
            bytes,
            _memory: self,
        })
    }
}

struct Owner<K: Copy + Eq + Hash> {
    bytes: Vec<u8>,
    _memory: Taken<K>,
}

impl<K: Copy + Eq + Hash> AsRef<[u8]> for Owner<K> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<K: Copy + Eq + Hash> Drop for Taken<K> {
    fn drop(&mut self) {
        self.hold(0).expect("there is always room for less");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_a_quarter_and_all_together_no_more_than_there_is() {
        let memory = Memory::new(100);
        let mut first = memory.nothing('a');
        let mut second = memory.nothing('a');
        assert_eq!(first.hold(20), Ok(()));
        assert_eq!(second.hold(6), Err(Full), "more than a quarter");
        assert_eq!(second.hold(5), Ok(()));
        let mut others: Vec<_> = ('b'..='d').map(|whose| memory.nothing(whose)).collect();
        for other in &mut others {
            assert_eq!(other.hold(25), Ok(()));
        }
        let mut late = memory.nothing('e');
        assert_eq!(late.hold(1), Err(Full), "all is taken");
        drop(first);
        assert_eq!(late.hold(20), Ok(()));
        drop((second, others, late));
        let held = memory.lock();
        assert!(held.total == 0 && held.by.is_empty(), "{held:?}");
    }

    #[test]
    fn bytes_hold_their_memory_until_the_last_of_them_is_dropped() {
        let memory = Memory::new(100);
        let mut taken = memory.nothing('a');
        taken.hold(25).unwrap();
        let mut bytes = taken.into_bytes(b"hello".to_vec());
        let rest = bytes.split_off(2);
        drop(bytes);
        assert_eq!(rest, &b"llo"[..]);
        assert!(!memory.has_room('a', 1) && memory.has_room('b', 75));
        assert!(!memory.has_room('b', 76));
        drop(rest);
        assert!(memory.has_room('a', 100));
    }

    #[test]
    fn one_thing_may_be_larger_than_a_quarter_but_no_second_one_beside_it() {
        let memory = Memory::new(100);
        let mut large = memory.nothing('a');
        assert_eq!(large.hold(10), Ok(()));
        assert_eq!(large.hold(90), Ok(()));
        assert_eq!(memory.nothing('a').hold(1), Err(Full));
        assert_eq!(memory.nothing('b').hold(10), Ok(()));
        assert_eq!(large.hold(101), Err(Full));
        assert_eq!(large.hold(20), Ok(()), "corrected to less");
        assert_eq!(memory.nothing('a').hold(5), Ok(()));
    }
}
