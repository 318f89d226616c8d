//! Taking in copies of shards from other nodes: the snapshot and the segments as files, in chunks, before the
//! message of consensus that makes a replica take them.
//!
//! What arrives is written and verified, and becomes part of the log in one step when the replica has accepted
//! it. A copy leaves the reserve of the disk alone, and one that meets a full disk is dropped: what has come of it would
//! keep the disk full. Its state is read before the replica hears of it: one that is none is refused, and harms nobody. A copy that broke off goes on where it broke; a newer one from the same node goes on with the segments that
//! are here. What cannot be done for lack of space is tried again, unless the shard was forgotten meanwhile.

use std::{collections::BTreeMap, time::Duration};

use anser_broker::id::ShardId;
use anser_log::{
    Disk, Error, ExportedFile, Import, Imported, Reader, SegmentInfo, SnapshotInfo, Store,
};
use anser_replica::{PeerMessage, Place, SnapshotImage};
use bytes::Bytes;

use crate::{
    event::Event,
    snapshots::{self, ReadError},
    writer::Deferred,
};

/// How long to leave alone what could not be done.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// What a copy consists of, as its sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub snapshot: SnapshotInfo,
    pub segments: Vec<SegmentInfo>,
}

impl Offer {
    fn is_at(&self, place: Place) -> bool {
        (self.snapshot.index, self.snapshot.term) == (place.index, place.term)
    }
}

/// What a copy still needs: a place in a file, or nothing more.
pub type Missing = Option<(ExportedFile, u64)>;

/// Why something of a copy is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("no copy was begun")]
    NotBegun,
    #[error("no snapshot is announced")]
    NotAnnounced,
    #[error(
        "it takes {bytes} bytes more, {free} are free, and {kept} of these are kept for what frees some"
    )]
    NoRoom { bytes: u64, free: u64, kept: u64 },
    #[error("what has come cannot be read: {0}")]
    Unreadable(ReadError),
    #[error(transparent)]
    Log(#[from] Error),
}

impl CopyError {
    /// Whether the disk has no space for more of the copy.
    fn is_of_space(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::Log(Error::NoSpace { .. }))
    }
}

/// Why the node cannot go on with a shard.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("a copy that was accepted is not here")]
    Missing,
    #[error("a copy could not be made part of the log: {0}")]
    Log(#[from] Error),
    #[error(
        "its leader says that entries up to {committed} are here, but the log ends at {last}: the disk has lost some \
         without a trace, and the shard stays closed from the next start on until it is replaced"
    )]
    LostEntries { committed: u64, last: u64 },
}

/// What came of something that was deferred.
#[derive(Debug)]
pub enum Attempt<T> {
    /// For the runner.
    Done(Event<T>),
    /// To be tried again after [`RETRY_INTERVAL`].
    Again(Error),
    /// Nothing is left to be done.
    Void,
    /// The node cannot go on.
    Failed(InstallError),
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub bytes: u64,
    /// Copies that had arrived and were offered again.
    pub repeated: u64,
    /// Copies that went on with what had arrived of an older one.
    pub renewed: u64,
    pub installed: u64,
    pub forgotten: u64,
}

#[derive(Debug)]
pub struct Incoming<D: Disk> {
    store: Store<D>,
    reader: Reader<D>,
    /// What copies leave free on the disk.
    reserve_bytes: u64,
    coming: BTreeMap<ShardId, Coming<D>>,
    /// The last copy of each shard that came as a whole: whose, and what. It is staged, or the replica
    /// has it or a newer one.
    ended: BTreeMap<ShardId, (u64, Offer)>,
    /// Complete, until the replica accepts them.
    arrived: BTreeMap<(ShardId, u64), Arrived>,
    /// What is to be done with each shard, until it is done.
    waiting: BTreeMap<ShardId, Deferred>,
    pub taken: Taken,
}

/// A copy as files of this disk, and the state that they hold.
#[derive(Debug)]
struct Arrived {
    imported: Imported,
    image: SnapshotImage,
    bytes: u64,
}

#[derive(Debug)]
struct Coming<D: Disk> {
    from: u64,
    offer: Offer,
    /// Of all that was offered.
    bytes: u64,
    import: Import<D>,
}

impl<D: Disk> Incoming<D> {
    pub fn new(store: Store<D>, reader: Reader<D>, reserve_bytes: u64) -> Self {
        Self {
            store,
            reader,
            reserve_bytes,
            coming: BTreeMap::new(),
            ended: BTreeMap::new(),
            arrived: BTreeMap::new(),
            waiting: BTreeMap::new(),
            taken: Taken::default(),
        }
    }

    /// Copies that have come, as a whole or in part, and that no replica has accepted yet.
    pub fn unaccepted(&self) -> usize {
        self.coming.len() + self.arrived.len()
    }

    pub fn begin(&mut self, from: u64, shard: ShardId, offer: Offer) -> Result<Missing, CopyError> {
        let ended = self.ended.get(&shard);
        if ended.is_some_and(|(of, ended)| *of == from && *ended == offer) {
            // Whoever sends did not hear that it has arrived.
            self.taken.repeated += 1;
            return Ok(None);
        }
        let Offer { snapshot, segments } = offer.clone();
        let whole = self
            .store
            .begin_import(shard.0, snapshot, segments.clone())?;
        let bytes = whole.missing_bytes();
        let import = match self.coming.remove(&shard) {
            Some(known) if known.from == from && known.offer == offer => known.import,
            // Numbers of segments say something only on the disk that they come from.
            Some(known) if known.from == from => {
                self.taken.renewed += 1;
                known.import.renew(snapshot, &segments)?
            }
            _ => whole,
        };
        self.check_room(shard, import.missing_bytes())?;
        let missing = import.missing();
        let coming = Coming {
            from,
            offer,
            bytes,
            import,
        };
        self.coming.insert(shard, coming);
        self.discard_overtaken();
        Ok(missing)
    }

    /// Lets go of copies that no replica will accept any more: the shard's own snapshot has come as far, which it does
    /// not while its replica waits for a copy.
    fn discard_overtaken(&mut self) {
        let is_overtaken = |shard: ShardId, index: u64| {
            let own = self.store.snapshot(shard.0);
            own.is_some_and(|own| own.index >= index)
        };
        self.coming
            .retain(|&shard, coming| !is_overtaken(shard, coming.offer.snapshot.index));
        let is_wanted = |shard: ShardId, of: u64| {
            let waiting = self.waiting.get(&shard);
            matches!(waiting, Some(Deferred::Install { place, .. }) if place.index == of)
        };
        let arrived = self.arrived.keys().copied();
        let overtaken: Vec<(ShardId, u64)> = arrived
            .filter(|&(shard, index)| is_overtaken(shard, index) && !is_wanted(shard, index))
            .collect();
        for place in overtaken {
            if let Some(unused) = self.arrived.remove(&place) {
                self.store.discard_import(place.0.0, &unused.imported);
            }
        }
    }

    pub fn chunk(
        &mut self,
        from: u64,
        shard: ShardId,
        file: ExportedFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Missing, CopyError> {
        let room = self.check_room(shard, bytes.len() as u64);
        let coming = self.coming.get_mut(&shard);
        let coming = coming.filter(|coming| coming.from == from);
        let import = &mut coming.ok_or(CopyError::NotBegun)?.import;
        if import.missing() == Some((file, offset)) {
            let written = room.and_then(|()| Ok(import.write(file, offset, bytes)?));
            if let Err(reason) = written {
                if reason.is_of_space() {
                    self.coming.remove(&shard);
                }
                return Err(reason);
            }
            self.taken.bytes += bytes.len() as u64;
        }
        Ok(import.missing())
    }

    /// Whether so many bytes more of a copy can come. What every node needs, and what a replica that is here lacks, may take half
    /// of the reserve.
    fn check_room(&self, shard: ShardId, bytes: u64) -> Result<(), CopyError> {
        let is_needed = shard == ShardId::CATALOG || self.store.snapshot(shard.0).is_some();
        let kept = if is_needed {
            self.reserve_bytes / 2
        } else {
            self.reserve_bytes
        };
        let free = self.store.free_bytes()?;
        if free < bytes.saturating_add(kept) {
            return Err(CopyError::NoRoom { bytes, free, kept });
        }
        Ok(())
    }

    /// Bytes that have come of copies of the shard that no replica has accepted yet.
    pub fn coming_bytes(&self, shard: ShardId) -> u64 {
        let coming = self.coming.get(&shard);
        let coming = coming.map_or(0, |coming| coming.bytes - coming.import.missing_bytes());
        let arrived = self.arrived.range((shard, 0)..=(shard, u64::MAX));
        arrived.fold(coming, |sum, (_, arrived)| {
            sum.saturating_add(arrived.bytes)
        })
    }

    /// Takes what has come as a whole, if it is what the message announces; the message is for the replica then.
    /// What comes from elsewhere meanwhile is left alone.
    pub fn end(
        &mut self,
        from: u64,
        shard: ShardId,
        message: &Bytes,
    ) -> Result<PeerMessage, CopyError> {
        let message = PeerMessage::decode(message.clone()).ok();
        let message = message.ok_or(CopyError::NotAnnounced)?;
        let announced = message.snapshot().ok_or(CopyError::NotAnnounced)?;
        let is_meant = |of: u64, offer: &Offer| of == from && offer.is_at(announced);
        let is_whole = |coming: &Coming<D>| {
            is_meant(coming.from, &coming.offer) && coming.import.missing().is_none()
        };
        if !self.coming.get(&shard).is_some_and(is_whole) {
            let ended = self.ended.get(&shard);
            let is_here = ended.is_some_and(|(of, offer)| is_meant(*of, offer));
            return is_here.then_some(message).ok_or(CopyError::NotBegun);
        }
        let coming = self.coming.remove(&shard).expect("it was just seen");
        self.arrive(shard, coming)?;
        Ok(message)
    }

    fn arrive(&mut self, shard: ShardId, coming: Coming<D>) -> Result<(), CopyError> {
        let imported = coming.import.finish()?;
        let read = snapshots::read_staged(&self.reader, shard.0, &imported.snapshot);
        let image = read.map_err(|reason| {
            self.store.discard_import(shard.0, &imported);
            CopyError::Unreadable(reason)
        })?;
        let bytes = coming.bytes;
        self.ended.insert(shard, (coming.from, coming.offer));
        let place = (shard, imported.snapshot.index);
        let arrived = Arrived {
            imported,
            image,
            bytes,
        };
        if let Some(unused) = self.arrived.insert(place, arrived) {
            self.store.discard_import(shard.0, &unused.imported);
        }
        Ok(())
    }

    /// Does what was deferred until every append before it was durable. It takes the place of what still waits
    /// to be done with the shard.
    pub fn take<T>(&mut self, deferred: Deferred) -> Attempt<T> {
        let shard = deferred.shard();
        self.waiting.insert(shard, deferred);
        self.try_again(shard)
    }

    /// Tries again what could not be done with a shard, if it is still to be done.
    pub fn try_again<T>(&mut self, shard: ShardId) -> Attempt<T> {
        let Some(&deferred) = self.waiting.get(&shard) else {
            return Attempt::Void;
        };
        let done = match deferred {
            Deferred::Install { shard, place } => self.install(shard, place),
            Deferred::Forget {
                shard,
                floor,
                damaged,
            } => {
                let forgotten = self.forget(shard, floor, damaged);
                if let Err(reason) = forgotten {
                    return Attempt::Again(reason);
                }
                Ok(Event::Forgot { shard })
            }
            Deferred::Lose {
                shard,
                committed,
                last,
            } => {
                if let Err(reason) = self.store.note_lost(&[shard.0]) {
                    return Attempt::Again(reason);
                }
                Err(InstallError::LostEntries { committed, last })
            }
        };
        if let Err(InstallError::Log(reason @ Error::NoSpace { .. })) = done {
            return Attempt::Again(reason);
        }
        self.waiting.remove(&shard);
        done.map_or_else(Attempt::Failed, Attempt::Done)
    }

    fn install<T>(&mut self, shard: ShardId, place: Place) -> Result<Event<T>, InstallError> {
        let arrived = self.arrived.get(&(shard, place.index));
        let arrived = arrived.ok_or(InstallError::Missing)?;
        if arrived.imported.snapshot.term != place.term {
            return Err(InstallError::Missing);
        }
        self.store.install(shard.0, &arrived.imported)?;
        self.taken.installed += 1;
        let arrived = self.arrived.remove(&(shard, place.index));
        let image = arrived.expect("it was just seen").image;
        self.discard_before(shard, place.index);
        Ok(Event::Installed {
            shard,
            place,
            membership: image.membership,
            state: Box::new(image.shard),
        })
    }

    /// Takes a shard off the disk. Copies of it that have come are of a time when it was here.
    fn forget(&mut self, shard: ShardId, floor: u64, damaged: bool) -> Result<(), Error> {
        self.store.forget(shard.0, floor, damaged)?;
        self.taken.forgotten += 1;
        self.ended.remove(&shard);
        self.coming.remove(&shard);
        self.discard_before(shard, u64::MAX);
        Ok(())
    }

    /// Removes what arrived before the copy at this index and was not accepted.
    fn discard_before(&mut self, shard: ShardId, index: u64) {
        let older = self.arrived.range((shard, 0)..(shard, index));
        let older: Vec<(ShardId, u64)> = older.map(|(&place, _)| place).collect();
        for place in older {
            if let Some(unused) = self.arrived.remove(&place) {
                self.store.discard_import(shard.0, &unused.imported);
            }
        }
    }
}

#[cfg(test)]
mod tests;
