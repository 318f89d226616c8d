//! Shards whose entries a test writes and applies itself, with the maintenance of their disk.

use std::collections::BTreeMap;

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Command, Reply},
    id::{QueueId, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use anser_log::{
    Change, Entry, EntryKind, Error, HardState, Log, Opened, Options, Reader, Store, Stored, Write,
    disk::simulated::SimulatedDisk,
};
use anser_replica::{Image, Membership, Place};
use bytes::Bytes;

use crate::{
    bodies::BodyReader,
    maintenance::{Images, Maintenance},
};

pub(super) const QUEUE: QueueId = QueueId(9);
const BEGINNING: Place = Place { index: 1, term: 1 };

/// One shard as a runner has it.
struct Hosted {
    shard: Shard,
    applied: Place,
    /// The last entry in the log.
    last: u64,
    /// Entries that are not applied yet.
    waiting: Vec<Bytes>,
}

pub(super) struct Rig {
    pub(super) disk: SimulatedDisk,
    pub(super) store: Store<SimulatedDisk>,
    pub(super) maintenance: Maintenance<SimulatedDisk>,
    log: Opened<SimulatedDisk>,
    shards: BTreeMap<u16, Hosted>,
    voters: Vec<u64>,
    closed: Vec<u16>,
    now: u64,
}

pub(super) fn options() -> Options {
    Options {
        wal_file_bytes: 64 << 10,
        wal_budget_bytes: 256 << 10,
        wal_held_bytes: 1 << 20,
        segment_bytes: 256 << 10,
        open_segments: 4,
        spare_files: 2,
        boot: None,
        has_peers: false,
    }
}

fn membership(voters: &[u64]) -> Membership {
    Membership {
        voters: voters.to_vec(),
        ..Membership::default()
    }
}

pub(super) fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: u64::MAX,
        wait: Millis(0),
        visibility: Millis(30_000),
        body_bytes_max: 65_536,
        retention: Millis(86_400_000),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(3_600_000),
        delayed_max: 1_000_000,
        in_flight_max: 1_000_000,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

impl Rig {
    pub(super) fn new(count: u16) -> Self {
        Self::with_voters(count, &[1, 2, 3])
    }

    pub(super) fn with_voters(count: u16, voters: &[u64]) -> Self {
        let disk = SimulatedDisk::default();
        let log = Log::open(disk.clone(), options()).expect("the disk is empty");
        let mut hosted = BTreeMap::new();
        for number in 0..count {
            let shard = Shard::new(ShardId(number), count);
            let image = Image::initial(BEGINNING, membership(voters), shard.clone());
            let snapshot = crate::save(&log.store, number, &image).expect("there is room");
            let change = Change {
                snapshot: Some(snapshot),
                ..Change::default()
            };
            log.store.commit(number, change).expect("there is room");
            let hosted_shard = Hosted {
                shard,
                applied: BEGINNING,
                last: 1,
                waiting: Vec::new(),
            };
            hosted.insert(number, hosted_shard);
        }
        let mut rig = Self::of(disk, log, hosted, voters.to_vec());
        for number in 0..count {
            let put = Command::PutQueue {
                queue: QUEUE,
                revision: 1,
                attributes: attributes(),
            };
            rig.commit(number, &put);
        }
        rig
    }

    fn of(
        disk: SimulatedDisk,
        log: Opened<SimulatedDisk>,
        hosted: BTreeMap<u16, Hosted>,
        voters: Vec<u64>,
    ) -> Self {
        let maintenance = Maintenance::new(log.store.clone(), log.reader.clone(), 0);
        Self {
            store: log.store.clone(),
            disk,
            maintenance,
            log,
            shards: hosted,
            voters,
            closed: Vec::new(),
            now: 1_000,
        }
    }

    /// The same shards on the same disk after a crash that lost nothing which was synced.
    pub(super) fn reopened(&mut self) -> Self {
        let disk = SimulatedDisk::from_image(&self.disk.contents());
        let log = Log::open(disk.clone(), options()).expect("it was closed whole");
        let hosted = std::mem::take(&mut self.shards);
        Self::of(disk, log, hosted, self.voters.clone())
    }

    /// What the next start finds.
    pub(super) fn reopened_log(&self) -> Opened<SimulatedDisk> {
        let disk = SimulatedDisk::from_image(&self.disk.contents());
        Log::open(disk, options()).expect("it is whole but for single shards")
    }

    pub(super) fn round(&mut self) {
        self.try_round().expect("the disk is sound");
    }

    pub(super) fn try_round(&mut self) -> Result<(), Error> {
        let round = self.maintenance.begin()?;
        let due = round.and_then(|round| self.maintenance.choose(round, &BTreeMap::new()));
        let Some(due) = due else { return Ok(()) };
        let images = self.images();
        self.maintenance.recycle(due, &images).map(drop)
    }

    pub(super) fn image(&self, number: u16) -> Image {
        let mut images = self.images();
        images.remove(&ShardId(number)).expect("the rig has it")
    }

    /// What this node has of entries that another one needs.
    pub(super) fn give(&self, number: u16, indexes: &[u64]) -> Vec<Stored> {
        let applied = self.shards[&number].applied.index;
        let reader = BodyReader::new(self.reader(), 0);
        reader.give(ShardId(number), applied, indexes, 1 << 20)
    }

    pub(super) fn reader(&self) -> Reader<SimulatedDisk> {
        self.log.reader.clone()
    }

    /// One look at all segments, as it is taken every second.
    pub(super) fn sweep(&mut self) {
        let images = self.images();
        let wrong = self.maintenance.sweep(&images);
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// A start leaves the shard closed: there is no image of it.
    pub(super) fn close(&mut self, number: u16) {
        let closed = self.store.leave_closed(&[number], false);
        closed.expect("there is room");
        self.closed.push(number);
    }

    /// A snapshot of the shard; what it knows of stays in the log.
    pub(super) fn snapshot(&mut self, number: u16) {
        let image = self.image(number);
        let snapshot = crate::save(&self.store, number, &image).expect("there is room");
        let change = Change {
            snapshot: Some(snapshot),
            ..Change::default()
        };
        self.store.commit(number, change).expect("there is room");
    }

    fn images(&self) -> Images {
        let shards = self.shards.iter();
        let shards = shards.filter(|(number, _)| !self.closed.contains(number));
        let image = |(&number, hosted): (&u16, &Hosted)| {
            let image = Image::initial(
                hosted.applied,
                membership(&self.voters),
                hosted.shard.clone(),
            );
            (ShardId(number), image)
        };
        shards.map(image).collect()
    }

    /// Sends a message that stays.
    pub(super) fn send(&mut self, number: u16, bytes: usize) {
        self.commit(number, &send(QUEUE, bytes));
    }

    /// Writes an entry that no majority has.
    pub(super) fn append(&mut self, number: u16, bytes: usize) {
        let entry = self.write(number, &send(QUEUE, bytes));
        let hosted = self.shards.get_mut(&number).expect("the rig has it");
        hosted.waiting.push(entry);
    }

    /// A majority has everything again.
    pub(super) fn apply_waiting(&mut self, number: u16) {
        let hosted = self.shards.get_mut(&number).expect("the rig has it");
        for entry in std::mem::take(&mut hosted.waiting) {
            hosted.apply(&entry);
        }
    }

    /// Fills the log with what nobody needs: messages to a queue that is not there.
    pub(super) fn fill(&mut self, number: u16, bytes: usize) {
        let queue = QueueId(QUEUE.0 + 1);
        self.commit(number, &send(queue, bytes));
    }

    /// Sends, receives and deletes one message: nothing of it stays.
    pub(super) fn consume(&mut self, number: u16, bytes: usize) {
        self.send(number, bytes);
        let receive = Command::ReceiveMessages {
            queue: QUEUE,
            max: 1,
            visibility: None,
        };
        let replies = self.commit(number, &receive);
        let Some(Reply::Received { deliveries }) = replies.first() else {
            panic!("a message is ready: {replies:?}")
        };
        let receipts = deliveries.iter().map(|one| one.receipt).collect();
        let delete = Command::DeleteMessages {
            queue: QUEUE,
            receipts,
        };
        self.commit(number, &delete);
    }

    /// How long the bodies of all messages are that stay, as the disk has them.
    pub(super) fn bodies(&self, number: u16) -> Vec<usize> {
        let live = self.shards[&number].shard.live_between(0, u64::MAX - 1);
        let read = live.iter().map(|message| {
            let stored = self.log.reader.read(number, message.index());
            match stored.expect("it is there") {
                Stored::Entry(entry) => codec::body(&entry.data, message.ordinal()),
                Stored::Kept(kept) => codec::kept_body(&kept.payload, message.ordinal()),
            }
            .expect("the body is there")
            .len()
        });
        read.collect()
    }

    pub(super) fn commit(&mut self, number: u16, command: &Command) -> Vec<Reply> {
        let entry = self.write(number, command);
        let hosted = self.shards.get_mut(&number).expect("the rig has it");
        hosted.apply(&entry)
    }

    fn write(&mut self, number: u16, command: &Command) -> Bytes {
        self.now += 1;
        let stamp = Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now),
            blur: Millis(0),
        };
        let mut batch = BatchBuilder::new(stamp);
        batch.push(&codec::encode(command));
        let data = batch.finish();
        let index = {
            let hosted = self.shards.get_mut(&number).expect("the rig has it");
            hosted.last += 1;
            hosted.last
        };
        let write = Write {
            shard: number,
            hard_state: Some(HardState {
                term: 1,
                vote: 1,
                commit: index - 1,
            }),
            entries: vec![Entry {
                index,
                term: 1,
                kind: EntryKind::Normal,
                data: data.clone(),
            }],
        };
        self.log.appender.append(&[write]).expect("there is room");
        data
    }
}

impl Hosted {
    fn apply(&mut self, entry: &Bytes) -> Vec<Reply> {
        let index = self.applied.index + 1;
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        self.shard
            .apply(index, entry, &mut replies, &mut effects)
            .expect("it was just encoded");
        self.applied = Place { index, term: 1 };
        replies
    }
}

fn send(queue: QueueId, bytes: usize) -> Command {
    Command::SendMessages {
        queue,
        delay: None,
        bodies: vec![vec![b'x'; bytes].into()],
    }
}
