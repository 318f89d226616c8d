//! Keeping the disk in order, as `anser-node`'s `maintenance.rs` does it. What is begun at one event is
//! written at a later one, so that anything can happen in between.

use std::{collections::BTreeMap, time::Duration};

use anser_broker::{
    codec,
    id::{Sequence, ShardId},
};
use anser_host::Event;
use anser_log::{
    Change, Due, Error, Follower, Holds, Kept, SegmentInfo, SegmentWriter, Stored,
    disk::simulated::SimulatedDisk,
};
use anser_replica::{Image, Replica, Role, SnapshotOffer};

use super::Process;
use crate::{
    coverage::sometimes,
    event::{Happening, MILLISECOND, Micros},
    world::Common,
};

/// The usual time between two rounds.
const INTERVAL: Micros = 250 * MILLISECOND;

#[derive(Default)]
pub(super) struct Maintenance {
    /// What is due, and the shards as they were when that was found.
    pub(super) recycling: Option<(Due, BTreeMap<u16, Image>)>,
    offers: BTreeMap<u16, Image>,
    /// What followers need of the log.
    pub(super) holds: Holds,
}

impl Process {
    /// Looks whether something is to be done.
    pub(super) fn maintain(&mut self, common: &mut Common) {
        let length = common.random.spread(INTERVAL);
        common.later(self.node, self.life, length, Happening::Maintain);
        if self.maintenance.recycling.is_some() {
            return;
        }
        let prepared = match self.store.prepare_files() {
            Err(Error::NoSpace { .. }) => false,
            Err(error) => return self.maintenance_failed(&error, common),
            Ok(()) => true,
        };
        if common.random.permille(150) {
            self.sweep(common);
        }
        let due = if prepared {
            let held = self.held(common);
            let due = self.store.due(&held);
            if due != self.store.due(&BTreeMap::new()) {
                sometimes("log files stayed for a follower");
            }
            due
        } else {
            self.store.due_all()
        };
        let Some(due) = due else { return };
        let mut images = BTreeMap::new();
        for range in &due.shards {
            let Some(replica) = self.replica(range.shard) else {
                return;
            };
            let snapshot = self.store.snapshot(range.shard);
            if snapshot.is_some_and(|snapshot| snapshot.index > replica.applied().index) {
                return; // It has just got a copy.
            }
            images.insert(range.shard, replica.image());
        }
        self.maintenance.recycling = Some((due, images));
        let length = common.random.spread(5 * MILLISECOND) * self.slowness;
        common.later(self.node, self.life, length, Happening::MaintainEnd);
    }

    /// Behind which entries of each shard the log stays as it is.
    fn held(&mut self, common: &Common) -> BTreeMap<u16, u64> {
        let now = since_the_beginning(common);
        for (shard, replica) in self.host.replicas() {
            let shard = shard.0;
            let followers = followers(replica);
            let first = self.reader.first_index(shard);
            self.maintenance.holds.follow(shard, &followers, first, now);
        }
        self.maintenance.holds.held(now)
    }

    /// Makes the oldest log files free to be used again.
    pub(super) fn end_maintenance(&mut self, common: &mut Common) {
        let Some((due, images)) = self.maintenance.recycling.take() else {
            return;
        };
        let applied = |shard| images[&shard].applied.index;
        let unapplied = due
            .shards
            .iter()
            .filter(|range| applied(range.shard) < range.last_index)
            .map(|range| (range.shard, applied(range.shard)));
        let behind: BTreeMap<u16, u64> = unapplied.collect();
        match self.store.carry_over(&behind) {
            Ok(()) if behind.is_empty() => {}
            Ok(()) => sometimes("entries that are not applied were carried over"),
            Err(Error::NotCovered { .. }) => return,
            Err(error) => return self.maintenance_failed(&error, common),
        }
        for range in due.shards.clone() {
            let through = range.last_index.min(applied(range.shard));
            if through < range.first_index {
                continue;
            }
            let image = &images[&range.shard];
            let kept = self.keep(range.shard, range.first_index, through, image);
            let committed = kept.and_then(|kept| self.commit_snapshot(range.shard, image, &kept));
            if let Err(error) = committed {
                return self.maintenance_failed(&error, common);
            }
            let shard = ShardId(range.shard);
            self.tell(Event::Forgotten { shard, through }, common);
        }
        match self.store.recycle(due) {
            Ok(()) => sometimes("log files were recycled"),
            // A shard came, or came again, since the round began.
            Err(Error::NotCovered { .. }) => {}
            Err(error) => self.maintenance_failed(&error, common),
        }
    }

    fn maintenance_failed(&mut self, error: &Error, common: &mut Common) {
        match error {
            // A replica that has just started knows less than when it dropped what was dead, and one whose
            // files were replaced more: what it misses is dead, or it is found out when it is delivered.
            Error::NoSpace { .. } | Error::Overtaken { .. } | Error::Missing { .. } => {}
            Error::Corrupt { .. } if self.damaged => {}
            Error::Failed { .. } | Error::Io { .. } => {
                self.fail(format!("maintenance: {error}"), true);
            }
            _ => {
                let text = format!("node {}: maintenance: {error}", self.node);
                common.checks.fail(text);
            }
        }
    }

    /// Begins to hold a copy of a shard open for others.
    pub(super) fn offer(&mut self, shard: u16, common: &mut Common) {
        let Some(image) = self.replica(shard).map(Replica::image) else {
            return;
        };
        self.maintenance.offers.insert(shard, image);
        let length = common.random.spread(5 * MILLISECOND) * self.slowness;
        common.later(self.node, self.life, length, Happening::OfferEnd { shard });
    }

    pub(super) fn end_offer(&mut self, shard: u16, common: &mut Common) {
        let Some(image) = self.maintenance.offers.remove(&shard) else {
            return;
        };
        let kept = self.keep(shard, 0, image.applied.index, &image);
        let committed = kept.and_then(|kept| self.commit_snapshot(shard, &image, &kept));
        let export = committed.and_then(|()| self.store.export(shard));
        match export {
            Ok(export) => {
                let snapshot = SnapshotOffer {
                    place: image.applied,
                    membership: image.membership().clone(),
                };
                let now = since_the_beginning(common);
                self.copies.offers.put(ShardId(shard), export, now);
                if let Some(replica) = self.replica(shard) {
                    let followers = followers(replica);
                    let now = since_the_beginning(common);
                    let index = image.applied.index;
                    self.maintenance
                        .holds
                        .offered(shard, index, &followers, now);
                }
                let shard = ShardId(shard);
                self.tell(Event::SnapshotReady { shard, snapshot }, common);
            }
            Err(error) => self.maintenance_failed(&error, common),
        }
    }

    fn commit_snapshot(
        &self,
        shard: u16,
        image: &Image,
        kept: &[SegmentInfo],
    ) -> Result<(), Error> {
        let present = self.store.snapshot(shard);
        let snapshot = if present.is_some_and(|present| present.index == image.applied.index) {
            None
        } else {
            let saved = anser_host::save(&self.store, shard, image);
            Some(saved.inspect_err(|_| self.store.discard(shard, kept))?)
        };
        let change = Change {
            snapshot,
            add: kept.to_vec(),
            ..Change::default()
        };
        self.store.commit(shard, change).inspect_err(|error| {
            if matches!(error, Error::NoSpace { .. } | Error::Overtaken { .. }) {
                self.store.discard(shard, kept);
                if let Some(snapshot) = &snapshot {
                    self.store.discard_snapshot(shard, snapshot);
                }
            }
        })
    }

    fn keep(
        &self,
        shard: u16,
        first: u64,
        last: u64,
        image: &Image,
    ) -> Result<Vec<SegmentInfo>, Error> {
        let segments = self.store.segments(shard);
        let kept_before = segments.iter().map(|info| info.last_index).max();
        let first = first.max(kept_before.map_or(0, |index| index + 1));
        if first > last {
            return Ok(Vec::new());
        }
        self.copy(shard, &image.shard.live_between(first, last))
    }

    fn copy(&self, shard: u16, live: &[Sequence]) -> Result<Vec<SegmentInfo>, Error> {
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let mut writer = self.store.begin_segment(shard)?;
        for messages in live.chunk_by(|one, other| one.index() == other.index()) {
            self.copy_entry(shard, messages, &mut writer)?;
        }
        writer.finish()
    }

    fn copy_entry(
        &self,
        shard: u16,
        messages: &[Sequence],
        writer: &mut SegmentWriter<SimulatedDisk>,
    ) -> Result<(), Error> {
        let index = messages[0].index();
        let ordinals: Vec<u32> = messages.iter().map(|message| message.ordinal()).collect();
        let (term, payload) = match self.reader.read(shard, index)? {
            Stored::Entry(entry) => (entry.term, codec::keep(&entry.data, &ordinals)),
            Stored::Kept(kept) => (kept.term, codec::keep_again(&kept.payload, &ordinals)),
        };
        // What was thinned out by a state that is newer than this one.
        let payload = payload.ok_or(Error::Missing { shard, index })?;
        writer.append(&Kept {
            index,
            term,
            payload,
        })
    }

    /// Drops dead segments and rewrites two neighbours as one.
    fn sweep(&mut self, common: &mut Common) {
        let now = since_the_beginning(common);
        self.copies.offers.withdraw_unwanted(now);
        for shard in self.store.shards() {
            let swept = self.sweep_shard(shard);
            if let Err(error) = swept {
                self.maintenance_failed(&error, common);
            }
        }
    }

    fn sweep_shard(&self, shard: u16) -> Result<(), Error> {
        let Some(replica) = self.replica(shard) else {
            return Ok(());
        };
        let state = replica.shard();
        let segments = self.store.segments(shard);
        let is_dead =
            |info: &&SegmentInfo| !state.any_live_between(info.first_index, info.last_index);
        let remove: Vec<u64> = segments
            .iter()
            .filter(is_dead)
            .map(|info| info.id)
            .collect();
        if !remove.is_empty() {
            let change = Change {
                remove,
                ..Change::default()
            };
            self.store.commit(shard, change)?;
            sometimes("a segment was dropped");
            return Ok(());
        }
        let [one, other, ..] = segments[..] else {
            return Ok(());
        };
        let live = state.live_between(one.first_index, other.last_index);
        let add = self.copy(shard, &live)?;
        let change = Change {
            add: add.clone(),
            remove: vec![one.id, other.id],
            ..Change::default()
        };
        self.store.commit(shard, change).inspect_err(|error| {
            if matches!(error, Error::NoSpace { .. } | Error::Overtaken { .. }) {
                self.store.discard(shard, &add);
            }
        })?;
        sometimes("segments were rewritten");
        Ok(())
    }
}

/// The replicas that follow this one; none if it does not lead.
fn followers(replica: &Replica) -> Vec<Follower> {
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

pub(super) fn since_the_beginning(common: &Common) -> Duration {
    Duration::from_micros(common.now)
}
