//! When the disk is kept in order: `anser-host` says how. What is begun at one event, with images of the shards, is
//! written at a later one, so that anything can happen in between.

use std::{collections::BTreeMap, time::Duration};

use anser_broker::id::ShardId;
use anser_host::{Done, Event, Images, followers};
use anser_log::{Due, Error, Holds, Reader, Store, disk::simulated::SimulatedDisk};
use anser_replica::{Image, Replica};

use super::Process;
use crate::{
    coverage::sometimes,
    event::{Happening, MILLISECOND, Micros},
    world::Common,
};

/// The usual time between two rounds.
const INTERVAL: Micros = 250 * MILLISECOND;

pub(super) struct Maintenance {
    pub(super) host: anser_host::Maintenance<SimulatedDisk>,
    /// What is due, and the shards as they were when that was found.
    pub(super) recycling: Option<(Due, Images)>,
    sweeping: Option<Images>,
    offers: BTreeMap<ShardId, Image>,
    /// What followers need of the log.
    pub(super) holds: Holds,
    /// Rounds in a row that freed nothing, though there was space to work with and all could be read.
    pub(super) in_vain: u64,
    /// What the last round of recycling wrote could not be read back: the disk fails reads.
    pub(super) cannot_read: bool,
    /// How long the log was when the process began: the one before may have been unable to read what it was to recycle.
    pub(super) log_found: u64,
}

impl Maintenance {
    pub(super) fn new(
        store: Store<SimulatedDisk>,
        reader: Reader<SimulatedDisk>,
        reserve_bytes: u64,
    ) -> Self {
        Self {
            log_found: store.wal_bytes_in_use(),
            host: anser_host::Maintenance::new(store, reader, reserve_bytes).among_others(),
            recycling: None,
            sweeping: None,
            offers: BTreeMap::new(),
            holds: Holds::default(),
            in_vain: 0,
            cannot_read: false,
        }
    }

    pub(super) fn done(&self) -> Done {
        self.host.done
    }

    /// Whether log files stay in use because something in them cannot be read for now.
    pub(super) fn waits_for_reads(&self) -> bool {
        self.host.waits_for_reads()
    }

    pub(super) fn is_full(&self) -> bool {
        // Without an answer there may be no space.
        self.host.is_full().unwrap_or(true)
    }
}

impl Process {
    /// Looks whether something is to be done.
    pub(super) fn maintain(&mut self, common: &mut Common) {
        let length = common.random.spread(INTERVAL).min(8 * INTERVAL);
        common.later(self.node, self.life, length, Happening::Maintain);
        if common.random.permille(250) && self.maintenance.sweeping.is_none() {
            self.maintenance.sweeping = Some(self.images());
            self.maintain_later(Happening::SweepEnd, common);
        }
        if self.maintenance.recycling.is_some() {
            return;
        }
        let round = match self.maintenance.host.begin() {
            Ok(Some(round)) => round,
            Ok(None) => return,
            Err(error) => return self.maintenance_failed(&error, common),
        };
        let held = self.held(common);
        let due = self.maintenance.host.choose(round, &held);
        let unheld = self.store.due(&BTreeMap::new());
        if due != unheld && due == self.store.due(&held) {
            sometimes("log files stayed for a follower");
        }
        if let Some(due) = due {
            self.maintenance.recycling = Some((due, self.images()));
            self.maintain_later(Happening::MaintainEnd, common);
        }
    }

    pub(super) fn maintain_later(&mut self, what: Happening, common: &mut Common) {
        let length = common.random.spread(5 * MILLISECOND) * self.slowness;
        common.later(self.node, self.life, length, what);
    }

    fn images(&self) -> Images {
        self.host.images()
    }

    /// Behind which entries of each shard the log stays as it is.
    fn held(&mut self, common: &Common) -> BTreeMap<u16, u64> {
        let now = since_the_beginning(common);
        for (shard, first) in self.maintenance.host.first_indexes() {
            let followers = self.host.replica(shard).map_or_else(Vec::new, followers);
            self.maintenance
                .holds
                .follow(shard.0, &followers, first, now);
        }
        self.maintenance.holds.held(now)
    }

    /// Makes the oldest log files free to be used again.
    pub(super) fn end_maintenance(&mut self, common: &mut Common) {
        let Some((due, images)) = self.maintenance.recycling.take() else {
            return;
        };
        let carried = self.maintenance.host.done.carried;
        let before = self.round_now();
        let recycled = self.maintenance.host.recycle(due, &images);
        let was_unreadable = self.tell_damage(common);
        if self.maintenance.host.done.carried > carried {
            sometimes("entries that are not applied were carried over");
        }
        let freed = self.has_freed(before);
        let (node, text) = (self.node, format!("{recycled:?}"));
        common.trace.say(common.now, || {
            format!("node {node} recycles, freed: {freed}: {text}")
        });
        self.maintenance.cannot_read = matches!(recycled, Err(Error::Io { action: "read", .. }));
        self.maintenance.in_vain = if freed || was_unreadable || recycled.is_err() {
            0
        } else {
            self.maintenance.in_vain + 1
        };
        match recycled {
            Ok(ranges) => {
                self.check_round(before, common);
                for range in ranges {
                    sometimes("log files were recycled");
                    let (shard, through) = (ShardId(range.shard), range.last_index);
                    self.tell(Event::Forgotten { shard, through }, common);
                }
            }
            Err(error) => self.maintenance_failed(&error, common),
        }
    }

    /// What is damaged is told to the runner, which has the replica replaced. Whether anything is.
    fn tell_damage(&mut self, common: &mut Common) -> bool {
        let damaged = self.maintenance.host.take_damaged();
        for damage in &damaged {
            self.judge_damage(damage.shard, &damage.error, common);
            self.tell(damage.event(), common);
        }
        !damaged.is_empty()
    }

    fn judge_damage(&self, shard: ShardId, damage: &Error, common: &mut Common) {
        if self.is_excused(damage) {
            sometimes("maintenance met damage");
        } else {
            let (node, shard) = (self.node, shard.0);
            let text = format!("node {node}, shard {shard}: damage: {damage}");
            common.checks.fail(text);
        }
    }

    fn maintenance_failed(&mut self, error: &Error, common: &mut Common) {
        match error {
            Error::Corrupt { .. } if self.is_excused(error) => sometimes("maintenance met damage"),
            Error::Corrupt { .. } => {
                let text = format!("node {}: maintenance: {error}", self.node);
                common.checks.fail(text);
            }
            // A replica that has just started knows less than when it dropped what was dead, and one whose
            // files were replaced more: what it misses is dead, or it is found out when it is delivered.
            passing if anser_host::is_passing(passing) => {}
            fatal => self.fail_for("maintenance", fatal, common),
        }
    }

    /// Begins to hold a copy of a shard open for others.
    pub(super) fn offer(&mut self, shard: ShardId, common: &mut Common) {
        let Some(image) = self.host.replica(shard).map(Replica::image) else {
            return;
        };
        self.maintenance.offers.insert(shard, image);
        self.maintain_later(Happening::OfferEnd { shard }, common);
    }

    pub(super) fn end_offer(&mut self, shard: ShardId, common: &mut Common) {
        let Some(image) = self.maintenance.offers.remove(&shard) else {
            return;
        };
        let offered = self.maintenance.host.offer(shard, &image);
        self.tell_damage(common);
        match offered {
            Ok(None) => sometimes("a copy that lacks something was not offered"),
            Ok(Some((snapshot, export))) => {
                let now = since_the_beginning(common);
                if let Some(replica) = self.host.replica(shard) {
                    let (index, followers) = (image.applied.index, followers(replica));
                    let holds = &mut self.maintenance.holds;
                    holds.offered(shard.0, index, &followers, now);
                }
                self.copies.offers.put(shard, export, now);
                self.tell(Event::SnapshotReady { shard, snapshot }, common);
            }
            Err(error) => self.maintenance_failed(&error, common),
        }
    }

    /// Drops and merges segments, and verifies some of what rests.
    pub(super) fn end_sweep(&mut self, common: &mut Common) {
        let Some(images) = self.maintenance.sweeping.take() else {
            return;
        };
        self.copies
            .offers
            .withdraw_unwanted(since_the_beginning(common));
        let host = &mut self.maintenance.host;
        let before = host.done;
        let mut wrong = host.sweep(&images);
        let scrubbed = host.scrub();
        if host.done.dropped > before.dropped {
            sometimes("a segment was dropped");
        }
        if host.done.merged > before.merged {
            sometimes("segments were rewritten");
        }
        match scrubbed {
            Ok(damage) => damage
                .into_iter()
                .for_each(|it| self.scrub_met(&it, common)),
            Err(error) => wrong.push(error),
        }
        self.tell_damage(common);
        for error in wrong {
            self.maintenance_failed(&error, common);
        }
    }

    /// Damage is told, and passed over.
    fn scrub_met(&self, damage: &Error, common: &mut Common) {
        if self.is_excused(damage) {
            sometimes("the scrub met damage");
        } else {
            let text = format!("node {}: scrub: {damage}", self.node);
            common.checks.fail(text);
        }
    }
}

pub(super) fn since_the_beginning(common: &Common) -> Duration {
    Duration::from_micros(common.now)
}
