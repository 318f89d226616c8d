//! What becomes replicas, what stays closed, and what ends a start.

use std::io;

use anser_log::{
    Error, Log, Options,
    disk::simulated::{Fault, FaultPoint, SimulatedDisk, Times},
};

use super::*;

/// Core review, finding 7: in a joint change down to one voter the others still count, and know more.
#[test]
fn a_suspect_that_is_to_be_the_only_voter_is_suspect_until_it_is() {
    let others = [(vec![1, 2, 3], true), (Vec::new(), false)];
    for (voters_outgoing, is_suspect) in others {
        let disk = SimulatedDisk::default();
        let open = || Log::open(disk.clone(), Options::default()).expect("the disk is well");
        let store = open().store;
        let membership = Membership {
            voters: vec![1],
            voters_outgoing,
            ..Membership::default()
        };
        let image = Image::initial(BEGINNING, membership, Shard::new(ShardId(0), 1));
        let snapshot = snapshots::save(&store, 0, &image).expect("there is room");
        let change = Change {
            snapshot: Some(snapshot),
            ..Change::default()
        };
        store.commit(0, change).expect("there is room");
        let log = open();
        let opener = Opener {
            node: 1,
            is_member: true,
            shards: 1,
            suspect: true,
            run: 1,
            given_up: BTreeMap::new(),
            reader: &log.reader,
        };
        let replica = opener.restore(&log.shards[0]).expect("it is whole");
        assert_eq!(replica.status().suspect, is_suspect);
    }
}

/// What may lack a vote promises nothing, and what may lack entries that nobody else has is not served.
#[test]
fn what_a_hole_in_the_log_cost_decides_who_votes() {
    for (voters, doubtful, lost) in [
        (vec![1, 2, 3], true, false),
        (vec![1, 2, 3], true, true),
        (vec![1], true, false),
        (vec![1], false, false),
    ] {
        let disk = SimulatedDisk::default();
        let open = || Log::open(disk.clone(), Options::default()).expect("the disk is well");
        begin(&open().store, 1, &voters).expect("there is room");
        let log = open();
        let opener = |is_member| Opener {
            node: 1,
            is_member,
            shards: 1,
            suspect: false,
            run: 1,
            reader: &log.reader,
            given_up: BTreeMap::new(),
        };
        let recovered = RecoveredShard {
            doubtful,
            lost,
            ..log.shards[0]
        };
        let restore = |is_member| opener(is_member).restore_all(&[recovered], &log.report);
        let restored = restore(true).expect("a member goes on without it");
        let is_alone = voters == [1];
        let is_closed = lost || is_alone && doubtful;
        assert_eq!(restored.closed.len(), usize::from(is_closed));
        let is_unknown = is_closed && !lost;
        assert_eq!(restored.unknown, vec![0; usize::from(is_unknown)]);
        let mut replicas = restored.replicas.iter();
        assert!(replicas.all(|(_, replica)| replica.status().suspect == doubtful));
        assert_eq!(restore(false).is_err(), is_closed);
    }
}

/// Whoever looks after processes starts one again whose disk failed it for a while, and none whose data is damaged.
#[test]
fn a_snapshot_that_cannot_be_read_for_once_is_not_called_damaged() {
    let disk = SimulatedDisk::default();
    let open = || Log::open(disk.clone(), Options::default()).expect("the disk is well");
    begin(&open().store, 1, &[1]).expect("there is room");
    let log = open();
    let opener = Opener {
        node: 1,
        is_member: false,
        shards: 1,
        suspect: false,
        run: 1,
        given_up: BTreeMap::new(),
        reader: &log.reader,
    };
    // Its header, that of its content, and the content.
    for skip in 0..3 {
        let restored = |times| {
            disk.inject(Fault {
                point: FaultPoint::Read,
                path_part: ".snapshot".into(),
                skip,
                times,
                kind: io::ErrorKind::Other,
            });
            let restored = opener.restore_all(&log.shards, &log.report);
            disk.clear_faults();
            restored
        };
        let lasting = restored(Times::Forever);
        assert!(
            matches!(lasting, Err(OpenError::Log(Error::Io { .. }))),
            "{lasting:?}"
        );
        assert!(restored(Times::Once).is_ok(), "it is read again at once");
    }
}

/// Also on a node for itself, for which a shard whose data is damaged stops the start: here nothing is lost.
#[test]
fn a_shard_that_is_not_to_be_tried_again_stays_closed_until_a_state_comes_that_is_behind_the_entry()
{
    let disk = SimulatedDisk::default();
    let open = || Log::open(disk.clone(), Options::default()).expect("the disk is well");
    begin(&open().store, 2, &[1]).expect("there is room");
    let log = open();
    let why = "it has ended the process 3 times";
    let restored = |index| {
        let given_up = GivenUp {
            index,
            why: why.to_owned(),
        };
        let opener = Opener {
            node: 1,
            is_member: false,
            shards: 2,
            suspect: false,
            run: 1,
            given_up: BTreeMap::from([(ShardId(1), given_up)]),
            reader: &log.reader,
        };
        let restored = opener.restore_all(&log.shards, &log.report);
        restored.expect("nothing is damaged")
    };
    let covered = log.shards[1].snapshot.expect("it has begun").index;
    assert_eq!(restored(covered).closed.len(), 0);
    let restored = restored(covered + 1);
    let open: Vec<ShardId> = restored.replicas.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(open, [ShardId(0)]);
    let closed = &restored.closed[0];
    assert_eq!((closed.shard, &closed.what[..]), (ShardId(1), why));
    // It was let go of, and its new copy has not come yet.
    let begun = RecoveredShard {
        snapshot: None,
        last_index: 0,
        floor: 20,
        ..log.shards[1]
    };
    let given_up = GivenUp {
        index: covered + 1,
        why: why.to_owned(),
    };
    let opener = Opener {
        node: 1,
        is_member: true,
        shards: 2,
        suspect: false,
        run: 1,
        given_up: BTreeMap::from([(ShardId(1), given_up)]),
        reader: &log.reader,
    };
    let restored = opener.restore_all(&[begun], &log.report);
    let restored = restored.expect("nothing is damaged");
    assert_eq!((restored.replicas.len(), restored.closed.len()), (1, 0));
}

/// Otherwise a state from before it was let go of would be taken when it comes again.
#[test]
fn what_stays_closed_remembers_the_floor_that_was_laid() {
    for (last_index, floor, remembered) in [(0, 0, 1), (5, 20, 20), (30, 20, 30)] {
        let disk = SimulatedDisk::default();
        let log = || Log::open(disk.clone(), Options::default()).expect("the disk is well");
        begin(&log().store, 1, &[1]).expect("there is room");
        let recovered = RecoveredShard {
            last_index,
            floor,
            ..log().shards[0]
        };
        let tombstone = closed(&recovered, String::new()).tombstone;
        assert_eq!(tombstone.floor, remembered);
    }
}
