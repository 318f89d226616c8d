//! Keeping a disk in order: recycling the write-ahead log (`recycle.rs`), holding copies of shards open for other
//! nodes, dropping and merging segments (`sweep.rs`), and verifying what rests (`scrub.rs`).
//!
//! What is alive is told by images of the shards, which are taken before the work begins and may be older than the
//! shards by the time it ends: what they call dead is dead for good. A full disk stops none of this for good: a
//! failed attempt leaves nothing behind and is repeated.

mod keep;
mod mend;
mod merging;
mod recycle;
mod replace;
mod scrub;
mod sweep;

use std::collections::BTreeMap;

use anser_broker::id::ShardId;
use anser_log::{Disk, Error, Export, Follower, Reader, Store};
use anser_replica::{Image, Replica, Role, SnapshotOffer};

use crate::{
    event::Event,
    mending::{Given, Wound},
};
use scrub::Scrub;

pub use recycle::Round;

/// Shards as they were at one moment.
pub type Images = BTreeMap<ShardId, Image>;

#[derive(Debug)]
pub struct Maintenance<D: Disk> {
    store: Store<D>,
    reader: Reader<D>,
    /// Below so much free space sends are refused.
    reserve_bytes: u64,
    /// For each segment, how many of its records were alive when they were last counted.
    alive: BTreeMap<ShardId, BTreeMap<u64, u64>>,
    sweeps: usize,
    scrub: Scrub<D>,
    /// What was found damaged, and nobody was told yet.
    damaged: Vec<Damage>,
    /// How often something of a shard could not be read that was to be copied.
    failed_reads: BTreeMap<u16, u32>,
    /// Others may have what is damaged here.
    asks_others: bool,
    /// How often copying has waited for what others may give.
    waits: BTreeMap<u16, u32>,
    /// What they gave for that.
    given: BTreeMap<u16, Given>,
    pub done: Done,
}

/// Something of a shard that could not be read, or is not what was written.
#[derive(Debug)]
pub struct Damage {
    pub shard: ShardId,
    pub error: Error,
    /// It is tried again.
    may_pass: bool,
    /// Others may have it.
    wound: Option<Wound>,
}

impl Damage {
    fn new(shard: u16, error: Error) -> Self {
        Self {
            shard: ShardId(shard),
            may_pass: error.may_pass(),
            wound: Wound::of(&error),
            error,
        }
    }

    /// For the shard's runner.
    pub fn event<T>(&self) -> Event<T> {
        Event::Damaged {
            shard: self.shard,
            what: self.error.to_string(),
            may_pass: self.may_pass,
            wound: self.wound.clone(),
        }
    }
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    pub snapshots: u64,
    /// Bytes copied from the write-ahead log to segments.
    pub kept_bytes: u64,
    /// Shards whose entries that are not applied were carried over.
    pub carried: u64,
    pub dropped: u64,
    pub merged: u64,
    pub scrubbed_bytes: u64,
}

impl<D: Disk> Maintenance<D> {
    pub fn new(store: Store<D>, reader: Reader<D>, reserve_bytes: u64) -> Self {
        Self {
            store,
            reader,
            reserve_bytes,
            alive: BTreeMap::new(),
            sweeps: 0,
            scrub: Scrub::default(),
            damaged: Vec::new(),
            failed_reads: BTreeMap::new(),
            asks_others: false,
            waits: BTreeMap::new(),
            given: BTreeMap::new(),
            done: Done::default(),
        }
    }

    /// Of a node whose shards others have too: what is damaged may be mended with what they have ([`Maintenance::mend`]).
    #[must_use]
    pub fn among_others(self) -> Self {
        Self {
            asks_others: true,
            ..self
        }
    }

    /// For the simulator: whether log files stay in use because something in them cannot be read for now.
    #[doc(hidden)]
    pub fn waits_for_reads(&self) -> bool {
        !self.failed_reads.is_empty() || !self.waits.is_empty()
    }

    /// What was found damaged since it was asked last, and of which shard.
    pub fn take_damaged(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damaged)
    }

    /// Whether the space that is left is for what frees some.
    pub fn is_full(&self) -> Result<bool, Error> {
        Ok(self.store.free_bytes()? < self.reserve_bytes)
    }

    /// Holds a copy of a shard open for other nodes: everything alive is in segments, the rest in a
    /// snapshot. `None` if something is missing here that another voter has, who is to lead instead.
    pub fn offer(
        &mut self,
        shard: ShardId,
        image: &Image,
    ) -> Result<Option<(SnapshotOffer, Export<D>)>, Error> {
        let sealed = self.seal(shard.0, (0, image.applied.index), image)?;
        self.commit(BTreeMap::from([(shard.0, sealed)]))?;
        let is_only_copy = image.membership().voters.len() < 2;
        if self.store.is_damaged(shard.0) && !is_only_copy {
            return Ok(None);
        }
        let snapshot = SnapshotOffer {
            place: image.applied,
            membership: image.membership().clone(),
        };
        Ok(Some((snapshot, self.store.export(shard.0)?)))
    }
}

/// The replicas that follow this one; none if it does not lead.
pub fn followers(replica: &Replica) -> Vec<Follower> {
    let status = replica.status();
    let peers = status.peers.iter().filter(|_| status.role == Role::Leader);
    peers
        .map(|peer| Follower {
            node: peer.node,
            matched: peer.matched,
            present: peer.active || peer.snapshot,
        })
        .collect()
}

/// Whether an attempt of maintenance may succeed later, or the rest of the disk can be kept in order without it:
/// what cannot be read stays where it is, and readers of it are told.
pub fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::NoSpace { .. }
            | Error::Missing { .. }
            | Error::Overtaken { .. }
            | Error::NotCovered { .. }
    ) || error.is_damage()
}

/// Whether a commit has certainly not happened, so that its files can go: the disk was full, or a copy of
/// the shard came, or the shard left.
fn is_undone(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. } | Error::Overtaken { .. })
}

#[cfg(test)]
mod tests;
