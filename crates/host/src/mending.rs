//! Damage that is mended with what somebody has of the entries, before a replica is given up for it.
//!
//! Whoever meets damage names its place, the wound. Maintenance looks what it takes to mend it; the replica, which has
//! the newest in memory, and the shard's other voters are asked for that, one after the other; maintenance tries with what they gave. What cannot be mended so is damage, and
//! the replica is replaced. Everything is bounded: a disk on which much is damaged is not mended entry by entry.

use std::collections::BTreeMap;

use anser_broker::id::ShardId;
use anser_log::{Error, Stored};

/// Entries of all wounds together that are asked for at once.
pub(crate) const ENTRIES_MAX: usize = 64;
/// Bytes of what others have given for one wound.
const BYTES_MAX: usize = 64 << 20;
/// Where one sector is bad the next is rarely far: so many wounds of a shard are mended, and then it is replaced.
const MENDED_MAX: u32 = 64;

/// A place on the disk where something of a shard is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wound {
    pub file: String,
    pub offset: u64,
}

impl Wound {
    /// The place that an error names. What could not be read at all may be read the next time, and a file that is
    /// missing has no place.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Corrupt { file, offset, .. } => Some(Self {
                file: file.clone(),
                offset: *offset,
            }),
            _ => None,
        }
    }
}

/// Entries by index, or what is left of them, as other nodes have them.
pub type Given = BTreeMap<u64, Stored>;

/// What came of an attempt to mend a wound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempted {
    /// What was damaged is whole again.
    Mended,
    /// Nothing that counts is damaged there, or somebody else sees to it.
    Settled,
    /// It takes these entries.
    Needs(Vec<u64>),
    /// Other nodes cannot help.
    Hopeless(String),
}

/// What is to be done next about a wound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Attempt(Given),
    /// A node is asked for entries. It must be heard of, even if only that it gives none.
    Ask {
        node: u64,
        indexes: Vec<u64>,
    },
    Mended,
    /// The wound stays: this is damaged.
    GiveUp(String),
}

/// The wounds that are being mended.
#[derive(Debug, Default)]
pub(crate) struct Mending {
    wounds: BTreeMap<(ShardId, Wound), State>,
    mended: BTreeMap<ShardId, u32>,
}

#[derive(Debug)]
struct State {
    /// What was met.
    what: String,
    /// Who may have it.
    holders: Vec<u64>,
    /// Who of them is still to be asked; the last one is being asked, if anybody is.
    unasked: Vec<u64>,
    is_asking: bool,
    needs: Vec<u64>,
    given: Given,
}

impl State {
    /// Entries that it takes, as far as is known.
    fn entries(&self) -> usize {
        (self.needs.len() + self.given.len()).max(1)
    }
}

impl Mending {
    /// Begins with a wound; nothing if that is done already. `holders`: who may have the entries; the last one is asked first.
    pub(crate) fn begin(
        &mut self,
        shard: ShardId,
        wound: &Wound,
        what: &str,
        holders: Vec<u64>,
    ) -> Option<Next> {
        let key = (shard, wound.clone());
        if self.wounds.contains_key(&key) {
            return None;
        }
        let is_too_much = self.mended.get(&shard).is_some_and(|&it| it >= MENDED_MAX)
            || self.entries() + 1 > ENTRIES_MAX;
        if holders.is_empty() || is_too_much {
            return Some(Next::GiveUp(what.to_owned()));
        }
        let state = State {
            what: what.to_owned(),
            unasked: Vec::new(),
            holders,
            is_asking: false,
            needs: Vec::new(),
            given: Given::new(),
        };
        self.wounds.insert(key, state);
        Some(Next::Attempt(Given::new()))
    }

    fn entries(&self) -> usize {
        self.wounds.values().map(State::entries).sum()
    }

    /// An attempt was made; nothing comes of one that nobody waits for.
    pub(crate) fn attempted(
        &mut self,
        shard: ShardId,
        wound: &Wound,
        attempted: Attempted,
    ) -> Option<Next> {
        let key = (shard, wound.clone());
        let state = self.wounds.get_mut(&key).filter(|it| !it.is_asking)?;
        match attempted {
            Attempted::Needs(needs) => {
                let is_no_help = needs.iter().any(|index| state.given.contains_key(index));
                state.needs = needs;
                state.unasked.clone_from(&state.holders);
                if is_no_help {
                    return Some(self.give_up(&key, "what others have of it is no help"));
                }
                if self.entries() > ENTRIES_MAX {
                    return Some(self.give_up(&key, "too much is damaged"));
                }
                Some(self.ask(&key))
            }
            Attempted::Mended => {
                self.wounds.remove(&key);
                *self.mended.entry(shard).or_default() += 1;
                Some(Next::Mended)
            }
            Attempted::Settled => {
                self.wounds.remove(&key);
                None
            }
            Attempted::Hopeless(why) => Some(self.give_up(&key, &why)),
        }
    }

    /// A node that was asked has given some of the entries, or none.
    pub(crate) fn given(
        &mut self,
        shard: ShardId,
        wound: &Wound,
        node: u64,
        entries: Vec<Stored>,
    ) -> Option<Next> {
        let key = (shard, wound.clone());
        let state = self.wounds.get_mut(&key)?;
        if !state.is_asking || state.unasked.last() != Some(&node) {
            return None;
        }
        let count = state.given.len();
        for entry in entries {
            if let Some(at) = state.needs.iter().position(|&it| it == entry.index()) {
                state.needs.remove(at);
                state.given.insert(entry.index(), entry);
            }
        }
        // Whoever gives something may have more, which was too much for one answer.
        if state.given.len() == count {
            state.unasked.pop();
        }
        Some(self.ask(&key))
    }

    /// Asks for what is missing, if anything is.
    fn ask(&mut self, key: &(ShardId, Wound)) -> Next {
        let state = self.wounds.get_mut(key).expect("it is being mended");
        let indexes = state.needs.clone();
        state.is_asking = !indexes.is_empty();
        if indexes.is_empty() {
            return Next::Attempt(state.given.clone());
        }
        let bytes: usize = state.given.values().map(|it| it.payload().len()).sum();
        match state.unasked.last() {
            _ if bytes > BYTES_MAX => self.give_up(key, "too much is damaged"),
            Some(&node) => Next::Ask { node, indexes },
            None => self.give_up(key, "nobody could give what stood there"),
        }
    }

    fn give_up(&mut self, key: &(ShardId, Wound), why: &str) -> Next {
        let state = self.wounds.remove(key).expect("it is being mended");
        Next::GiveUp(format!("{} ({why})", state.what))
    }

    /// The shard is replaced, or off the disk.
    pub(crate) fn forget(&mut self, shard: ShardId) {
        self.wounds.retain(|(of, _), _| *of != shard);
        self.mended.remove(&shard);
    }
}

#[cfg(test)]
mod tests {
    use anser_log::Kept;
    use bytes::Bytes;

    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn wound(offset: u64) -> Wound {
        Wound {
            file: "wal/0000000000000001.wal".into(),
            offset,
        }
    }

    fn entry(index: u64) -> Stored {
        Stored::Kept(Kept {
            index,
            term: 1,
            payload: Bytes::from_static(b"body"),
        })
    }

    fn begin(mending: &mut Mending, offset: u64) -> Option<Next> {
        mending.begin(SHARD, &wound(offset), "a record", vec![1, 2])
    }

    fn needs(mending: &mut Mending, indexes: &[u64]) -> Option<Next> {
        mending.attempted(SHARD, &wound(8), Attempted::Needs(indexes.to_vec()))
    }

    fn ask(node: u64, indexes: &[u64]) -> Next {
        let indexes = indexes.to_vec();
        Next::Ask { node, indexes }
    }

    #[test]
    fn voters_are_asked_one_after_the_other_until_all_is_there() {
        let mut mending = Mending::default();
        assert_eq!(begin(&mut mending, 8), Some(Next::Attempt(Given::new())));
        assert_eq!(begin(&mut mending, 8), None, "it is known");
        assert_eq!(needs(&mut mending, &[5, 7]), Some(ask(2, &[5, 7])));
        let mut given = |node, entries| mending.given(SHARD, &wound(8), node, entries);
        assert_eq!(given(1, vec![entry(5)]), None, "it was not asked");
        assert_eq!(given(2, vec![entry(6), entry(7)]), Some(ask(2, &[5])));
        assert_eq!(
            given(2, vec![entry(6)]),
            Some(ask(1, &[5])),
            "not what was asked"
        );
        let all = Given::from([(5, entry(5)), (7, entry(7))]);
        assert_eq!(given(1, vec![entry(5)]), Some(Next::Attempt(all)));
        assert_eq!(given(1, vec![entry(5)]), None, "it was heard");
        let mended = mending.attempted(SHARD, &wound(8), Attempted::Mended);
        assert_eq!(mended, Some(Next::Mended));
        assert_eq!(needs(&mut mending, &[5]), None, "it is over");
    }

    #[test]
    fn what_nobody_gives_is_damaged() {
        let mut mending = Mending::default();
        begin(&mut mending, 8);
        assert_eq!(needs(&mut mending, &[5]), Some(ask(2, &[5])));
        assert_eq!(
            mending.given(SHARD, &wound(8), 2, vec![]),
            Some(ask(1, &[5]))
        );
        let given_up = mending.given(SHARD, &wound(8), 1, vec![]);
        let why = "a record (nobody could give what stood there)";
        assert_eq!(given_up, Some(Next::GiveUp(why.into())));
        begin(&mut mending, 8);
        let hopeless = Attempted::Hopeless("it is a snapshot".into());
        let given_up = mending.attempted(SHARD, &wound(8), hopeless);
        let why = "a record (it is a snapshot)";
        assert_eq!(given_up, Some(Next::GiveUp(why.into())));
        let alone = mending.begin(SHARD, &wound(8), "a record", vec![]);
        assert_eq!(alone, Some(Next::GiveUp("a record".into())));
    }

    #[test]
    fn a_disk_on_which_much_is_damaged_is_not_mended() {
        let too_much = |next: Option<Next>| matches!(next, Some(Next::GiveUp(_)));
        let mut mending = Mending::default();
        begin(&mut mending, 8);
        let many: Vec<u64> = (1..=65).collect();
        assert!(too_much(needs(&mut mending, &many)), "at one place");
        for offset in 0..64 {
            begin(&mut mending, offset);
        }
        assert!(too_much(begin(&mut mending, 64)), "at once");
        for offset in 0..64 {
            mending.attempted(SHARD, &wound(offset), Attempted::Mended);
        }
        assert!(too_much(begin(&mut mending, 64)), "one after the other");
        mending.forget(SHARD);
        assert!(!too_much(begin(&mut mending, 8)), "it is another copy");
        assert_eq!(needs(&mut mending, &[5]), Some(ask(2, &[5])));
        mending.given(SHARD, &wound(8), 2, vec![entry(5)]);
        assert_eq!(
            needs(&mut mending, &[7]),
            Some(ask(2, &[7])),
            "more turned up"
        );
        mending.given(SHARD, &wound(8), 2, vec![entry(7)]);
        assert!(too_much(needs(&mut mending, &[5])), "it was no help");
    }
}
