//! Repairing the disk of a node for itself, which nobody can give a copy of anything: what is damaged, what is lost by
//! that, and a disk that is whole again without it.
//!
//! A shard's state is what can be made of its snapshot and the entries behind it without a gap (`anser_log::Log::mend`). Messages
//! whose bodies are lost end. Then all shards are told to agree again. It is tried on a copy of the disk first
//! (`anser_log::Overlay`), which says what would happen; nothing may use the disk meanwhile.

mod account;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    command::Placed,
    id::{QueueId, Sequence, ShardId},
    shard::Shard,
};
use anser_log::{Disk, Error, Log, MendedShard, Opened, Options, RecoveredShard};
use anser_replica::{Image, Membership, Place, SnapshotImage};

use crate::{
    belongs,
    bodies::BodyReader,
    maintenance::Maintenance,
    opening::{BEGINNING, OpenError, Replay},
    snapshots,
};
use account::Account;

pub use account::LeftOut;

/// Entries that are kept in memory while bodies are looked for.
const CACHE_BYTES: usize = 8 << 20;

/// Why nothing was repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the shards are those of the nodes {0:?}")]
    Others(Vec<u64>),
    #[error(
        "the snapshot of shard 0 is damaged, and the log does not reach back to its beginning: the names of all queues are \
         lost"
    )]
    CatalogLost,
}

impl From<Error> for RepairError {
    fn from(error: Error) -> Self {
        Self::Open(OpenError::Log(error))
    }
}

/// What was damaged, what is lost by it, and what was done.
#[derive(Debug, Default)]
pub struct Repaired {
    /// An earlier repair ended before its last step, which is made up for.
    pub was_cut_short: bool,
    /// Each place in a file.
    pub damage: Vec<Error>,
    /// Bytes of the log in which nothing can be read.
    pub unreadable_bytes: u64,
    pub shards: Vec<RepairedShard>,
    /// Queues, topics and subscriptions that ended because their creation is lost: by number, how many messages each had.
    pub never_made: BTreeMap<u64, u64>,
    /// What the queues and topics are called, by number, and their accounts.
    pub names: BTreeMap<u64, (u64, String)>,
}

/// One shard that lost something.
#[derive(Debug)]
pub struct RepairedShard {
    pub shard: u16,
    /// If its log or its snapshot was damaged.
    pub log: Option<MendedShard>,
    /// What stood in entries that can be read and do not count, by the number of the queue or topic.
    pub left_out: LeftOut,
    /// By queue, how many messages ended because their bodies are lost.
    pub bodies_lost: BTreeMap<u64, u64>,
    pub damaged_segments: usize,
}

impl Repaired {
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.shards.is_empty() && !self.was_cut_short
    }
}

/// Repairs the disk of the node with this number.
pub fn repair<D: Disk>(disk: &D, options: &Options, node: u64) -> Result<Repaired, RepairError> {
    let mut account = Account::default();
    // A change of the membership that does not count names somebody who may have the shard all the same.
    let mut nodes = BTreeSet::new();
    let mended = Log::mend(disk, options, BEGINNING.index, &mut |shard, entry| {
        account.add(shard, &entry.data);
        nodes.extend(belongs::named_by(entry));
    })?;
    let log = Log::open(disk.clone(), options.clone())?;
    nodes.extend(belongs::nodes_of(&log));
    refuse_others(&log, nodes, node)?;
    let mut repair = Repair {
        node,
        log: &log,
        mended: &mended.shards,
        result: Repaired {
            was_cut_short: log.report.mended && mended.damage.is_empty(),
            damage: mended.damage,
            unreadable_bytes: mended.unreadable_bytes,
            ..Repaired::default()
        },
        images: BTreeMap::new(),
        changed: BTreeSet::new(),
        damaged: BTreeMap::new(),
    };
    repair.restore()?;
    repair.find_lost_bodies(&mut account)?;
    repair.agree();
    repair.write()?;
    let result = repair.result;
    log.appender.close()?;
    Ok(result)
}

fn refuse_others<D: Disk>(
    log: &Opened<D>,
    nodes: BTreeSet<u64>,
    node: u64,
) -> Result<(), RepairError> {
    // A shard that begins anew after a repair has a floor, too, and says that it is damaged.
    let mut shards = log.shards.iter();
    let any_forgotten = shards.any(|shard| shard.floor > 0 && !shard.damaged);
    if any_forgotten || nodes.iter().any(|&it| it != node) {
        return Err(RepairError::Others(nodes.into_iter().collect()));
    }
    Ok(())
}

struct Repair<'a, D: Disk> {
    node: u64,
    log: &'a Opened<D>,
    mended: &'a BTreeMap<u16, MendedShard>,
    result: Repaired,
    images: BTreeMap<u16, (Place, SnapshotImage)>,
    /// Shards whose state is not what their snapshot and entries make any more.
    changed: BTreeSet<u16>,
    damaged: BTreeMap<u16, Vec<u64>>,
}

impl<D: Disk> Repair<'_, D> {
    fn restore(&mut self) -> Result<(), RepairError> {
        let shards = u16::try_from(self.log.shards.len()).unwrap_or(u16::MAX);
        let log = self.log;
        for recovered in &log.shards {
            let shard = recovered.shard;
            let image = if recovered.snapshot.is_some() {
                self.of_snapshot(recovered)?
            } else if recovered.last_index > 0 {
                let blank = self.blank(shard, shards);
                self.replay(recovered, blank, BEGINNING)?
            } else if shard == ShardId::CATALOG.0 && recovered.floor > 0 {
                return Err(RepairError::CatalogLost);
            } else {
                let place = Place {
                    index: recovered.floor.max(BEGINNING.index),
                    term: recovered.hard_state.term.max(BEGINNING.term),
                };
                (place, self.blank(shard, shards))
            };
            self.images.insert(recovered.shard, image);
        }
        Ok(())
    }

    fn blank(&self, shard: u16, shards: u16) -> SnapshotImage {
        SnapshotImage {
            membership: Membership {
                voters: vec![self.node],
                ..Membership::default()
            },
            shard: Shard::new(ShardId(shard), shards),
        }
    }

    fn of_snapshot(
        &self,
        recovered: &RecoveredShard,
    ) -> Result<(Place, SnapshotImage), RepairError> {
        let shard = recovered.shard;
        let read =
            snapshots::read(&self.log.reader, shard).map_err(|error| OpenError::Snapshot {
                shard,
                reason: error.to_string(),
            })?;
        let (state, applied) = read.ok_or_else(|| OpenError::Snapshot {
            shard,
            reason: "it has no snapshot".into(),
        })?;
        self.replay(recovered, state, applied)
    }

    fn replay(
        &self,
        recovered: &RecoveredShard,
        mut state: SnapshotImage,
        mut applied: Place,
    ) -> Result<(Place, SnapshotImage), RepairError> {
        let replay = Replay {
            number: recovered.shard,
            reader: &self.log.reader,
            node: self.node,
            committed: recovered.hard_state.commit,
        };
        replay.run(&mut state, &mut applied, recovered.last_index)?;
        Ok((applied, state))
    }

    /// Ends the messages whose bodies cannot be read.
    fn find_lost_bodies(&mut self, account: &mut Account) -> Result<(), RepairError> {
        let mut reader = BodyReader::new(self.log.reader.clone(), CACHE_BYTES);
        for (&shard, (_, image)) in &mut self.images {
            let damaged = self.log.store.damaged_segments(shard)?;
            let mut bodies_lost = BTreeMap::new();
            let queues: Vec<QueueId> = image.shard.counts().map(|(queue, _)| queue).collect();
            for queue in queues {
                // In their order, so that each entry is read once.
                let messages = BTreeSet::from_iter(image.shard.messages(queue));
                let mut lost = BTreeSet::<Sequence>::new();
                for message in messages {
                    if !reader.has(ShardId(shard), message)? {
                        lost.insert(message);
                    }
                }
                let count = image.shard.drop_messages(queue, &lost);
                if count > 0 {
                    bodies_lost.insert(queue.0, count);
                }
            }
            let is_damaged = self.log.store.is_damaged(shard);
            if is_damaged || !damaged.is_empty() || !bodies_lost.is_empty() {
                self.changed.insert(shard);
                self.result.shards.push(RepairedShard {
                    shard,
                    log: self.mended.get(&shard).copied(),
                    left_out: account.take(shard),
                    bodies_lost,
                    damaged_segments: damaged.len(),
                });
            }
            let (ids, errors): (Vec<u64>, Vec<Error>) = damaged.into_iter().unzip();
            self.result.damage.extend(errors);
            self.damaged.insert(shard, ids);
        }
        Ok(())
    }

    /// What a shard lost is not taken for something else by others.
    fn agree(&mut self) {
        let shards = self.images.keys().copied();
        let losing: Vec<u16> = shards
            .filter(|shard| self.log.store.is_damaged(*shard))
            .collect();
        let highest = self
            .images
            .values()
            .map(|(_, it)| it.shard.highest_number());
        let highest = highest.max().unwrap_or(0);
        for shard in &losing {
            if let Some((_, image)) = self.images.get_mut(shard) {
                image.shard.pass_numbers();
            }
        }
        if !losing.is_empty() {
            self.end_unknown();
        }
        self.agree_on_arrivals();
        let Some((_, catalog)) = self.images.get_mut(&ShardId::CATALOG.0) else {
            return;
        };
        if !losing.is_empty() {
            catalog.shard.tell_homes_again(highest);
            self.changed.insert(ShardId::CATALOG.0);
        }
        for placed in catalog.shard.routes() {
            let name = match &placed {
                Placed::Queue(queue) => (queue.account.0, queue.name.to_string()),
                Placed::Topic(topic) => (topic.account.0, topic.name.to_string()),
                Placed::Subscription(it) => {
                    (it.account.0, format!("{}/{}", it.topic_name, it.name))
                }
            };
            self.result.names.insert(placed.number(), name);
        }
    }

    /// Ends what lives somewhere and has no name any more. What has a lower number than the catalog would give next was
    /// deleted, which its home forgot; the creation of anything else is what the catalog lost.
    fn end_unknown(&mut self) {
        let Some((_, catalog)) = self.images.get(&ShardId::CATALOG.0) else {
            return;
        };
        let next = catalog.shard.next_number();
        let routes = catalog.shard.routes().into_iter();
        let known = routes.chain(catalog.shard.unsettled());
        let known: BTreeSet<u64> = known.map(|placed| placed.number()).collect();
        for (&shard, (_, image)) in &mut self.images {
            let ended = image.shard.end_unknown(&known);
            if !ended.is_empty() {
                self.changed.insert(shard);
            }
            let never_made = ended.into_iter().filter(|(number, _)| *number >= next);
            self.result.never_made.extend(never_made);
        }
    }

    /// A queue waits for no dead letter that its source does not send again, for after a loss numbers have gaps; and takes
    /// none for one that came before from a source that was lost with its numbers, and is told of again by the catalog.
    fn agree_on_arrivals(&mut self) {
        let images = self.images.iter();
        let arrivals = images.flat_map(|(&shard, (_, image))| {
            let sources = image.shard.sources().into_iter();
            sources.map(move |(target, source)| (shard, target, source))
        });
        let arrivals: Vec<_> = arrivals.collect();
        for (shard, target, source) in arrivals {
            let mut images = self.images.values();
            let settled = images.find_map(|(_, image)| image.shard.settled(source, target));
            if let Some((_, image)) = self.images.get_mut(&shard)
                && image.shard.agree_on_arrival(target, source, settled)
            {
                self.changed.insert(shard);
            }
        }
    }

    fn write(&mut self) -> Result<(), RepairError> {
        let store = self.log.store.clone();
        let mut maintenance = Maintenance::new(store.clone(), self.log.reader.clone(), 0);
        let mut changes = BTreeMap::new();
        for &shard in &self.changed {
            let Some((place, state)) = self.images.remove(&shard) else {
                continue;
            };
            let image = Image::initial(place, state.membership, state.shard);
            let damaged = self.damaged.get(&shard).map_or(&[][..], Vec::as_slice);
            changes.insert(shard, maintenance.replacement(shard, &image, damaged)?);
        }
        // At once, so that none is whole while another knows nothing of what it lost.
        store.commit_all(&changes)?;
        store.clear_suspicion()?;
        Ok(store.note_agreed()?)
    }
}
