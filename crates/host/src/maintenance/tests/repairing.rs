//! A damaged disk of a node for itself: what is lost is told, and all else is served afterwards.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    codec,
    command::{Command, CreateQueue, Seen},
    id::{AccountId, QueueId, ShardId},
    name::QueueName,
    shard::Shard,
    time::Millis,
};
use anser_log::{
    Log, MendedState, Opened, Overlay, Stored,
    disk::simulated::{Fault, FaultPoint, Image as Content, SimulatedDisk, Times},
};

use super::rig::{QUEUE, Rig, attributes, options};
use crate::{BodyReader, OpenError, Opener, RepairError, Repaired, Restored, repair};

const NODE: u64 = 1;

/// Three shards with segments, snapshots and a log; message `k` of shard 1 has `100 + k` bytes.
fn rig() -> Rig {
    let mut rig = Rig::with_voters(3, &[NODE]);
    // The last one has the number of the queue that the rig has everywhere.
    for number in 1..=QUEUE.0 {
        rig.commit(0, &create(&format!("queue-{number}")));
    }
    for number in 0..400 {
        rig.send(1, 100 + number);
        (0..2).for_each(|shard| rig.fill(shard, 1_000));
        rig.round();
    }
    rig
}

fn create(name: &str) -> Command {
    Command::CreateQueue(CreateQueue {
        account: AccountId(1),
        name: QueueName::new(name).expect("it is a name"),
        attributes: attributes(),
        dead_letter: None,
        queues_max: 100,
        reuse_after: Millis(0),
        avoid: Vec::new(),
    })
}

/// A message for what has this number, which a shard was told of.
fn put_with_message(rig: &mut Rig, shard: u16, queue: QueueId) {
    let put = Command::PutQueue {
        queue,
        revision: 1,
        attributes: attributes(),
    };
    rig.commit(shard, &put);
    let send = Command::SendMessages {
        queue,
        delay: None,
        bodies: vec![b"body".to_vec().into()],
    };
    rig.commit(shard, &send);
}

fn first(disk: &SimulatedDisk, part: &str) -> String {
    let mut paths = disk.paths().into_iter();
    let path = paths.find(|path| path.contains(part) && !path.ends_with(".damaged"));
    path.expect("there is one")
}

/// What a repair would do, on a copy, and that it changes nothing; then the repair, which does the same.
fn repaired(disk: &SimulatedDisk) -> Repaired {
    let before = disk.contents();
    let overlay = Overlay::new(disk.clone(), SimulatedDisk::default());
    let tried = repair(&overlay, &options(), NODE).expect("it can be repaired");
    assert_eq!(disk.contents().files, before.files);
    let done = repair(disk, &options(), NODE).expect("it can be repaired");
    assert_eq!(format!("{tried:?}"), format!("{done:?}"));
    assert!(!done.is_whole());
    let again = repair(disk, &options(), NODE).expect("it was repaired");
    assert!(again.is_whole(), "{again:?}");
    done
}

/// What a server for itself makes of the log at its start.
fn start(log: &Opened<SimulatedDisk>) -> Result<Restored, OpenError> {
    let opener = Opener {
        node: NODE,
        is_member: false,
        shards: 3,
        suspect: false,
        run: 1,
        reader: &log.reader,
        given_up: BTreeMap::new(),
    };
    opener.restore_all(&log.shards, &log.report)
}

/// The shards as the next start makes them, and the lengths of the bodies of each.
fn served(disk: &SimulatedDisk) -> BTreeMap<u16, (Shard, Vec<usize>)> {
    let log = Log::open(disk.clone(), options()).expect("it was repaired");
    let restored = start(&log).expect("a node for itself serves all shards");
    assert!(restored.damaged.is_empty(), "{:?}", restored.damaged);
    let replicas = restored.replicas.into_iter();
    replicas
        .map(|(shard, replica)| {
            let shard_now = replica.shard().clone();
            shard_now.check();
            let bodies = bodies(&log, shard, &shard_now);
            (shard.0, (shard_now, bodies))
        })
        .collect()
}

fn bodies(log: &Opened<SimulatedDisk>, id: ShardId, shard: &Shard) -> Vec<usize> {
    let live = shard.live_between(0, u64::MAX - 1).into_iter();
    live.map(|message| {
        let stored = log.reader.read(id.0, message.index());
        let body = match stored.expect("what cannot be read has ended") {
            Stored::Entry(entry) => codec::body(&entry.data, message.ordinal()),
            Stored::Kept(kept) => codec::kept_body(&kept.payload, message.ordinal()),
        };
        body.expect("the body is there").len()
    })
    .collect()
}

#[test]
fn messages_whose_bodies_are_lost_end_and_hold_up_nobody() {
    let disk = rig().disk;
    let segment = first(&disk, ".segment");
    disk.damage(&segment, |bytes| bytes[200] ^= 1);
    let repaired = repaired(&disk);
    let [shard] = &repaired.shards[..] else {
        panic!("{repaired:?}")
    };
    let lost = shard.bodies_lost[&QUEUE.0];
    assert_eq!((shard.shard, shard.damaged_segments), (1, 1));
    assert!(repaired.damage[0].to_string().contains(&segment));
    let served = served(&disk);
    let left = &served[&1].1;
    assert!(lost > 0 && left.len() as u64 == 400 - lost, "{lost}");
    assert!(left.is_sorted() && left.ends_with(&[498, 499]));
    assert!(disk.paths().contains(&format!("{segment}.damaged")));
}

#[test]
fn a_missing_segment_costs_its_messages_and_no_other() {
    let disk = rig().disk;
    let mut content: Content = disk.contents();
    content.files.remove(&first(&disk, ".segment"));
    let disk = SimulatedDisk::from_image(&content);
    let repaired = repaired(&disk);
    let lost = repaired.shards[0].bodies_lost[&QUEUE.0];
    assert_eq!(served(&disk)[&1].1.len() as u64, 400 - lost);
}

/// Whether it is a log file, and not one that is to be used again.
fn is_begun(path: &str, content: &[u8]) -> bool {
    let number = path
        .strip_prefix("wal/")
        .and_then(|name| name.strip_suffix(".wal"));
    let number = number.and_then(|number| number.parse::<u64>().ok());
    let sequence = content.get(16..24).and_then(|bytes| bytes.try_into().ok());
    number.is_some() && sequence.map(u64::from_le_bytes) == number
}

#[test]
fn a_hole_in_the_log_costs_what_is_behind_it_of_that_shard() {
    let disk = with_hole();
    assert!(Log::open(SimulatedDisk::from_image(&disk.contents()), options()).is_err());

    let repaired = repaired(&disk);
    let losing: Vec<_> = repaired
        .shards
        .iter()
        .filter(|it| it.log.is_some_and(|log| log.loses()))
        .collect();
    let [shard] = losing[..] else {
        panic!("{repaired:?}")
    };
    let log = shard.log.expect("it lost entries of its log");
    assert_eq!((log.state, log.missing), (MendedState::Snapshot, 1));
    let sent: u64 = shard.left_out.messages.values().sum();
    assert_eq!(sent, log.left_out);
    let served = served(&disk);
    assert!(served[&shard.shard].0.applied() >= log.passed);
}

#[test]
fn what_has_no_name_any_more_ends_and_is_told_of() {
    let mut rig = rig();
    // The home of one that was deleted has forgotten that.
    let delete = Command::DeleteQueue {
        account: AccountId(1),
        name: QueueName::new("queue-8").expect("it is a name"),
    };
    let settled = Command::Settled {
        number: 8,
        revision: 2,
    };
    rig.commit(0, &delete);
    rig.commit(0, &settled);
    put_with_message(&mut rig, 2, QueueId(8));
    rig.commit(0, &create("damaged-name"));
    rig.commit(0, &create("left-out-name"));
    let left_out = QueueId(QUEUE.0 + 2);
    put_with_message(&mut rig, 2, left_out);
    let disk = rig.disk;
    let content = disk.contents();
    let mut logs = content.files.iter();
    let place = |bytes: &[u8]| bytes.windows(12).position(|it| it == b"damaged-name");
    let found = logs.find_map(|(path, bytes)| Some((path, place(bytes)?)));
    let (path, at) = found.expect("it is in the log");
    disk.damage(path, |bytes| bytes[at] ^= 1);

    let repaired = repaired(&disk);
    assert_eq!(repaired.never_made, BTreeMap::from([(left_out.0, 1)]));
    let catalog = &repaired.shards[0];
    let name = (1, "left-out-name".to_owned());
    assert_eq!(catalog.left_out.created, BTreeSet::from([name]));
    let served = served(&disk);
    let here: Vec<_> = served[&2].0.revisions().map(|(number, _)| number).collect();
    assert_eq!(here, [QUEUE.0]);
    assert_eq!(served[&1].1.len(), 400, "what has a name has its messages");
}

/// A disk on which something is damaged in the middle of what no snapshot covers.
fn with_hole() -> SimulatedDisk {
    let disk = rig().disk;
    let content = disk.contents();
    let mut paths = content.files.keys().rev();
    let newest = paths.find(|path| is_begun(path, &content.files[*path]));
    let newest = newest.expect("one is written");
    let mut bodies = content.files[newest].windows(100);
    let at = bodies.position(|bytes| bytes == [b'x'; 100]);
    let at = at.expect("there is some message, or what filled the log");
    disk.damage(newest, |bytes| bytes[at] ^= 1);
    disk
}

#[test]
fn a_repair_that_is_cut_short_is_made_up_for_before_anything_starts() {
    let whole = with_hole();
    repair(&whole, &options(), NODE).expect("it can be repaired");
    let whole = served(&whole);
    let mut cut_short = 0;
    for skip in 0.. {
        let disk = with_hole();
        disk.inject(Fault {
            point: FaultPoint::Rename,
            path_part: "manifest".into(),
            skip,
            times: Times::Once,
            kind: std::io::ErrorKind::Other,
        });
        if repair(&disk, &options(), NODE).is_ok() {
            break;
        }
        let disk = SimulatedDisk::from_image(&disk.contents());
        if let Ok(log) = Log::open(disk.clone(), options()) {
            let restored = start(&log);
            assert!(
                matches!(restored, Err(OpenError::HalfRepaired)),
                "{restored:?}"
            );
            cut_short += 1;
        }
        let again = repair(&disk, &options(), NODE).expect("it can be repaired");
        assert!(!again.is_whole());
        let served = served(&disk);
        for (shard, (state, bodies)) in &whole {
            assert_eq!(&served[shard].1, bodies);
            let number = |shard: &Shard| (shard.applied(), shard.highest_number());
            assert_eq!(number(&served[shard].0), number(state));
        }
    }
    assert!(cut_short > 1, "{cut_short}");
}

#[test]
fn a_read_that_fails_ends_no_message_unless_it_fails_time_and_again() {
    let fault = |times| Fault {
        point: FaultPoint::Read,
        path_part: ".segment".into(),
        skip: 0,
        times,
        kind: std::io::ErrorKind::Other,
    };
    for (times, is_there) in [(Times::Once, true), (Times::Forever, false)] {
        let disk = rig().disk;
        let log = Log::open(disk.clone(), options()).expect("it is whole");
        let mut bodies = BodyReader::new(log.reader.clone(), 0);
        let restored = served(&SimulatedDisk::from_image(&disk.contents()));
        let message = restored[&1].0.live_between(0, u64::MAX - 1)[0];
        disk.inject(fault(times));
        assert_eq!(bodies.has(ShardId(1), message).ok(), Some(is_there));
    }
    let disk = rig().disk;
    disk.inject(fault(Times::Forever));
    let repaired = repair(&disk, &options(), NODE).expect("it can be repaired");
    assert!(repaired.shards[0].bodies_lost[&QUEUE.0] > 0);
}

#[test]
fn a_shard_whose_state_is_lost_begins_anew_behind_all_that_it_had() {
    let mut rig = rig();
    let (lost_queue, shard) = (QueueId(77), ShardId(1));
    let arrival = Command::AcceptMoved {
        queue: QUEUE,
        source: lost_queue,
        seen: Seen { shard, index: 500 },
        first: 1,
        bodies: vec![b"letter".to_vec().into()],
    };
    rig.commit(2, &arrival);
    let disk = rig.disk;
    let snapshots = disk.paths().into_iter();
    let mut snapshots = snapshots.filter(|path| path.ends_with(".snapshot"));
    let snapshot = snapshots
        .find(|path| path.contains("00001/"))
        .expect("it has one");
    let last = {
        let log = Log::open(SimulatedDisk::from_image(&disk.contents()), options());
        log.expect("it is whole").shards[1].last_index
    };
    disk.damage(&snapshot, |bytes| bytes[70] ^= 1);
    let repaired = repaired(&disk);
    let lost = repaired
        .shards
        .iter()
        .find(|it| it.shard == 1)
        .expect("it lost all");
    assert_eq!(lost.log.expect("told").state, MendedState::Lost);
    let served = served(&disk);
    assert!(served[&1].1.is_empty());
    let letters = &served[&2];
    assert_eq!(letters.1, [b"letter".len()]);
    let known = letters.0.sources();
    assert!(known.is_empty(), "its numbers begin at 1 again: {known:?}");
    let log = Log::open(disk.clone(), options()).expect("it was repaired");
    assert!(log.shards[1].last_index > last, "no index comes again");
}

#[test]
fn without_the_catalog_nothing_is_repaired() {
    let disk = rig().disk;
    let snapshot = first(&disk, "00000/");
    assert!(snapshot.ends_with(".snapshot"), "{snapshot}");
    disk.damage(&snapshot, |bytes| bytes[70] ^= 1);
    let overlay = Overlay::new(disk.clone(), SimulatedDisk::default());
    let refused = repair(&overlay, &options(), NODE);
    assert!(
        matches!(refused, Err(RepairError::CatalogLost)),
        "{refused:?}"
    );
}

#[test]
fn what_others_have_too_is_not_repaired() {
    let rig = Rig::with_voters(2, &[1, 2, 3]);
    let refused = repair(&rig.disk, &options(), NODE);
    let Err(RepairError::Others(nodes)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(nodes, [1, 2, 3]);
}
