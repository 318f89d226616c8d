//! Taking in copies of shards from other nodes: the snapshot and the segments as files, in chunks, before the
//! message of consensus that makes a replica take them.
//!
//! What arrives is written and verified, and becomes part of the log in one step when the replica has accepted
//! it. Its state is read before the replica hears of it: one that is none is refused, and harms nobody. A copy that broke off goes on where it broke; a newer one from the same node goes on with the segments that
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
    #[error("what has come cannot be read: {0}")]
    Unreadable(ReadError),
    #[error(transparent)]
    Log(#[from] Error),
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
}

#[derive(Debug)]
struct Coming<D: Disk> {
    from: u64,
    offer: Offer,
    import: Import<D>,
}

impl<D: Disk> Incoming<D> {
    pub fn new(store: Store<D>, reader: Reader<D>) -> Self {
        Self {
            store,
            reader,
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
        let import = match self.coming.remove(&shard) {
            Some(known) if known.from == from && known.offer == offer => known.import,
            // Numbers of segments say something only on the disk that they come from.
            Some(known) if known.from == from => {
                self.taken.renewed += 1;
                known.import.renew(snapshot, &segments)?
            }
            _ => self.store.begin_import(shard.0, snapshot, segments)?,
        };
        let missing = import.missing();
        let coming = Coming {
            from,
            offer,
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
        let coming = self.coming.get_mut(&shard);
        let coming = coming.filter(|coming| coming.from == from);
        let import = &mut coming.ok_or(CopyError::NotBegun)?.import;
        if import.missing() == Some((file, offset)) {
            self.taken.bytes += bytes.len() as u64;
            import.write(file, offset, bytes)?;
        }
        Ok(import.missing())
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
        self.ended.insert(shard, (coming.from, coming.offer));
        let place = (shard, imported.snapshot.index);
        let arrived = Arrived { imported, image };
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
mod tests {
    use std::io::Write as _;

    use anser_broker::shard::Shard;
    use anser_log::{Change, Log, Opened, Options, SnapshotOrigin, disk::simulated::SimulatedDisk};
    use anser_replica::{Image, Membership};

    use super::*;
    use crate::{begin, offer_of, save};

    const SHARD: ShardId = ShardId(0);

    fn log() -> (SimulatedDisk, Opened<SimulatedDisk>) {
        let disk = SimulatedDisk::default();
        let open = || Log::open(disk.clone(), Options::default()).expect("the disk is well");
        begin(&open().store, 1, &[1]).expect("there is room");
        let log = open();
        (disk, log)
    }

    /// A copy of the shard, up to this place, has come as a whole.
    fn arrive(
        incoming: &mut Incoming<SimulatedDisk>,
        place: Place,
        save: impl FnOnce(&Store<SimulatedDisk>) -> SnapshotInfo,
    ) -> Result<(), CopyError> {
        let (_, there) = log();
        let change = Change {
            snapshot: Some(save(&there.store)),
            origin: SnapshotOrigin::Peer,
            ..Change::default()
        };
        let committed = there.store.commit(SHARD.0, change);
        committed.expect("there is room");
        let export = there.store.export(SHARD.0).expect("it has a snapshot");
        assert_eq!(export.snapshot.index, place.index);
        let mut missing = incoming.begin(2, SHARD, offer_of(&export));
        while let Some((file, offset)) = missing.expect("it is wanted") {
            let bytes = export.read(file, offset, 1 << 20).expect("it is there");
            missing = incoming.chunk(2, SHARD, file, offset, &bytes);
        }
        let coming = incoming.coming.remove(&SHARD).expect("it has come");
        incoming.arrive(SHARD, coming)
    }

    fn state_at(place: Place) -> impl FnOnce(&Store<SimulatedDisk>) -> SnapshotInfo {
        let image = Image::initial(place, Membership::default(), Shard::new(SHARD, 1));
        move |store| save(store, SHARD.0, &image).expect("there is room")
    }

    /// It was found out once the copy had taken the place of what was there, and ended the node, at every attempt again.
    #[test]
    fn a_copy_whose_state_cannot_be_read_is_refused_and_leaves_nothing() {
        let (disk, here) = log();
        let before = disk.paths();
        let mut incoming = Incoming::new(here.store.clone(), here.reader.clone());
        let place = Place { index: 9, term: 1 };
        let arrived = arrive(&mut incoming, place, |store| {
            let mut writer = store.begin_snapshot(SHARD.0, 9, 1).expect("there is room");
            writer.write_all(b"no state at all").expect("there is room");
            writer.finish().expect("there is room")
        });
        assert!(
            matches!(arrived, Err(CopyError::Unreadable(ReadError::State(_)))),
            "{arrived:?}"
        );
        assert_eq!(incoming.unaccepted(), 0);
        assert_eq!(disk.paths(), before);
        arrive(&mut incoming, place, state_at(place)).expect("another one is welcome");
        let install = Deferred::Install {
            shard: SHARD,
            place,
        };
        let attempt = incoming.take::<()>(install);
        assert!(
            matches!(attempt, Attempt::Done(Event::Installed { .. })),
            "{attempt:?}"
        );
    }

    /// The node ended at each start, for its leader said so again, and at the leader's end it voted as if it lacked nothing.
    #[test]
    fn a_shard_whose_log_has_lost_its_end_without_a_trace_stays_closed_at_the_next_start() {
        let (disk, here) = log();
        let mut incoming = Incoming::new(here.store.clone(), here.reader.clone());
        let attempt = incoming.take::<()>(Deferred::Lose {
            shard: SHARD,
            committed: 9,
            last: 1,
        });
        let Attempt::Failed(reason) = attempt else {
            panic!("{attempt:?}");
        };
        assert!(reason.to_string().contains("up to 9"), "{reason}");
        drop(here);
        let again = Log::open(disk, Options::default()).expect("the disk is well");
        assert!(again.shards[0].lost);
    }

    /// Core review, finding 8: an installation that waited for space came behind the end of its shard, and brought it
    /// back with nobody in memory who knows of it.
    #[test]
    fn a_copy_that_waits_for_space_is_not_installed_after_its_shard_has_gone() {
        let (disk, here) = log();
        let mut incoming = Incoming::new(here.store.clone(), here.reader.clone());
        let place = Place { index: 9, term: 1 };
        arrive(&mut incoming, place, state_at(place)).expect("it is whole");
        disk.set_capacity(disk.used_bytes());
        let install = Deferred::Install {
            shard: SHARD,
            place,
        };
        let forget = Deferred::Forget {
            damaged: false,
            shard: SHARD,
            floor: 9,
        };
        for deferred in [install, forget] {
            let attempt = incoming.take::<()>(deferred);
            assert!(
                matches!(attempt, Attempt::Again(Error::NoSpace { .. })),
                "{attempt:?}"
            );
        }
        disk.set_capacity(u64::MAX);
        let attempt = incoming.try_again::<()>(SHARD);
        assert!(
            matches!(attempt, Attempt::Done(Event::Forgot { shard: SHARD })),
            "{attempt:?}"
        );
        let attempt = incoming.try_again::<()>(SHARD);
        assert!(matches!(attempt, Attempt::Void), "{attempt:?}");
        assert_eq!(incoming.taken.installed, 0);
        assert_eq!(incoming.unaccepted(), 0);
        assert_eq!(here.store.snapshot(SHARD.0), None);
        let files = disk.paths();
        assert!(
            files.iter().all(|path| !path.ends_with(".snapshot")),
            "{files:?}"
        );
    }

    /// Core review, finding 29: what nobody accepts kept its files until a restart.
    #[test]
    fn a_copy_that_its_shard_has_caught_up_with_is_let_go_of() {
        let ((_, here), (_, there)) = (log(), log());
        let export = there.store.export(0).expect("it has a snapshot");
        let mut incoming = Incoming::new(here.store.clone(), here.reader.clone());
        let mut newer = offer_of(&export);
        newer.snapshot.index += 1;
        incoming
            .begin(2, ShardId(0), newer)
            .expect("it may be wanted");
        assert_eq!(incoming.unaccepted(), 1);
        incoming
            .begin(3, ShardId(0), offer_of(&export))
            .expect("it is passed over");
        assert_eq!(incoming.unaccepted(), 0);
    }
}
