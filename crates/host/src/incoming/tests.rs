//! What comes of copies that arrive, break off, or meet a full disk.

use std::io::Write as _;

use anser_broker::shard::Shard;
use anser_log::{
    Change, Export, Log, Opened, Options, SnapshotOrigin, disk::simulated::SimulatedDisk,
};
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
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
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
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
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
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
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
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
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

/// Core review, finding 29: so did what had arrived as a whole.
#[test]
fn a_copy_that_has_arrived_is_let_go_of_when_its_shard_has_come_as_far_without_it() {
    let (disk, here) = log();
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
    arrive(
        &mut incoming,
        Place { index: 9, term: 1 },
        state_at(Place { index: 9, term: 1 }),
    )
    .expect("it is whole");
    let change = Change {
        snapshot: Some(state_at(Place { index: 12, term: 1 })(&here.store)),
        origin: SnapshotOrigin::Peer,
        ..Change::default()
    };
    let staged = disk.paths();
    here.store.commit(SHARD.0, change).expect("there is room");
    assert_eq!(incoming.unaccepted(), 1);
    // The next copy of any shard makes room.
    let export = elsewhere().store.export(1).expect("it has a snapshot");
    incoming
        .begin(2, ShardId(1), offer_of(&export))
        .expect("it may be wanted");
    assert_eq!(incoming.unaccepted(), 1, "the one that is coming");
    assert_eq!(incoming.coming_bytes(SHARD), 0);
    let left = disk.paths();
    let gone = staged.iter().filter(|path| !left.contains(path));
    assert_eq!(
        gone.count(),
        2,
        "its snapshot, and the one that was replaced"
    );
}

/// Brings the whole of a copy; false if nothing of it was missing.
fn bring(
    incoming: &mut Incoming<SimulatedDisk>,
    shard: ShardId,
    export: &Export<SimulatedDisk>,
) -> bool {
    let mut missing = incoming.begin(2, shard, offer_of(export));
    let mut brought = false;
    while let Some((file, offset)) = missing.expect("it is wanted") {
        let bytes = export.read(file, offset, 1 << 20).expect("it is there");
        missing = incoming.chunk(2, shard, file, offset, &bytes);
        brought = true;
    }
    if let Some(coming) = incoming.coming.remove(&shard) {
        incoming.arrive(shard, coming).expect("it is whole");
    }
    brought
}

/// Seed 9100291: a copy whose files had been used was taken for one that is here, and the successor of the replica that had used
/// them accepted it.
#[test]
fn a_copy_that_was_used_comes_anew_once_its_shard_was_forgotten() {
    let (_, here) = log();
    let there = elsewhere();
    let (shard, place) = (ShardId(1), Place { index: 9, term: 1 });
    let export = there.store.export(shard.0).expect("it has a snapshot");
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
    for life in 1..=2 {
        assert!(bring(&mut incoming, shard, &export), "in life {life}");
        let attempt = incoming.take::<()>(Deferred::Install { shard, place });
        assert!(
            matches!(attempt, Attempt::Done(Event::Installed { .. })),
            "in life {life}: {attempt:?}"
        );
        // Whoever sends did not hear that it has arrived: its replica has it, and passes the message over.
        assert!(!bring(&mut incoming, shard, &export), "in life {life}");
        assert_eq!(incoming.unaccepted(), 0);
        let forget = Deferred::Forget {
            shard,
            floor: place.index,
            damaged: false,
        };
        let attempt = incoming.take::<()>(forget);
        assert!(
            matches!(attempt, Attempt::Done(Event::Forgot { .. })),
            "in life {life}: {attempt:?}"
        );
    }
    assert_eq!((incoming.taken.installed, incoming.taken.repeated), (2, 2));
}

/// A copy that arrived and was not accepted before its shard was let go of is of the time before, and so is what was
/// coming: neither is here for the replica that comes next.
#[test]
fn nothing_of_a_copy_outlives_its_shard() {
    let (disk, here) = log();
    let before = disk.paths();
    let there = elsewhere();
    let shard = ShardId(1);
    let export = there.store.export(shard.0).expect("it has a snapshot");
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), 0);
    assert!(bring(&mut incoming, shard, &export));
    let mut newer = offer_of(&export);
    newer.snapshot.index += 1;
    incoming.begin(2, shard, newer).expect("it may be wanted");
    assert_eq!(incoming.unaccepted(), 2);
    let forget = Deferred::Forget {
        shard,
        floor: 9,
        damaged: false,
    };
    let attempt = incoming.take::<()>(forget);
    assert!(
        matches!(attempt, Attempt::Done(Event::Forgot { .. })),
        "{attempt:?}"
    );
    assert_eq!(incoming.unaccepted(), 0);
    let left = disk.paths().into_iter();
    let left: Vec<String> = left.filter(|path| !before.contains(path)).collect();
    assert_eq!(left, [""; 0]);
    assert!(bring(&mut incoming, shard, &export), "it has to come anew");
}

/// Shard 1 of another node, with so much of a state.
fn elsewhere() -> Opened<SimulatedDisk> {
    let (_, there) = log();
    let image = Image::initial(
        Place { index: 9, term: 1 },
        Membership::default(),
        Shard::new(ShardId(1), 2),
    );
    let change = Change {
        snapshot: Some(save(&there.store, 1, &image).expect("there is room")),
        origin: SnapshotOrigin::Peer,
        ..Change::default()
    };
    there.store.commit(1, change).expect("there is room");
    there
}

fn bytes_of(store: &Store<SimulatedDisk>, offer: &Offer) -> u64 {
    let Offer { snapshot, segments } = offer.clone();
    let import = store.begin_import(1, snapshot, segments);
    import.expect("it is possible").missing_bytes()
}

/// It took the reserve, and what frees space found none.
#[test]
fn a_copy_that_would_not_leave_the_reserve_is_refused_and_leaves_nothing() {
    let (disk, here) = log();
    let before = disk.paths();
    let there = elsewhere();
    let export = there.store.export(1).expect("it has a snapshot");
    let offer = offer_of(&export);
    let whole = bytes_of(&here.store, &offer);
    let reserve = 10_000;
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), reserve);
    disk.set_capacity(disk.used_bytes() + reserve + whole - 1);
    let begun = incoming.begin(2, ShardId(1), offer.clone());
    assert!(matches!(begun, Err(CopyError::NoRoom { .. })), "{begun:?}");
    assert_eq!((incoming.unaccepted(), disk.paths()), (0, before.clone()));
    // Something else takes what there was when it began.
    disk.set_capacity(u64::MAX);
    let missing = incoming.begin(2, ShardId(1), offer).expect("there is room");
    let (file, offset) = missing.expect("all of it");
    let bytes = export.read(file, offset, 10).expect("it is there");
    let missing = incoming.chunk(2, ShardId(1), file, offset, &bytes);
    let (file, offset) = missing.expect("there is room").expect("there is more");
    assert_eq!(incoming.coming_bytes(ShardId(1)), 10);
    disk.set_capacity(disk.used_bytes() + reserve);
    let bytes = export.read(file, offset, 10).expect("it is there");
    let refused = incoming.chunk(2, ShardId(1), file, offset, &bytes);
    assert!(
        matches!(refused, Err(CopyError::NoRoom { .. })),
        "{refused:?}"
    );
    assert_eq!(incoming.coming_bytes(ShardId(1)), 0);
    assert_eq!((incoming.unaccepted(), disk.paths()), (0, before));
}

#[test]
fn a_copy_that_a_replica_here_lacks_may_take_half_of_the_reserve() {
    let (disk, here) = log();
    let there = elsewhere();
    let change = Change {
        snapshot: Some(state_at(Place { index: 12, term: 1 })(&there.store)),
        origin: SnapshotOrigin::Peer,
        ..Change::default()
    };
    there.store.commit(SHARD.0, change).expect("there is room");
    let offer = offer_of(&there.store.export(SHARD.0).expect("it has a snapshot"));
    let whole = bytes_of(&here.store, &offer);
    let reserve = 10_000;
    let mut incoming = Incoming::new(here.store.clone(), here.reader.clone(), reserve);
    disk.set_capacity(disk.used_bytes() + reserve / 2 + whole + 1_000);
    incoming
        .begin(2, SHARD, offer.clone())
        .expect("it is needed");
    disk.set_capacity(disk.used_bytes() + reserve / 2 + whole - 1);
    let begun = incoming.begin(2, SHARD, offer);
    assert!(matches!(begun, Err(CopyError::NoRoom { .. })), "{begun:?}");
}
