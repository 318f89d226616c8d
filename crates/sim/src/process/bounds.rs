//! What a process may take at most, on the disk, in memory and in descriptors (`docs/simulation.md`).

use anser_broker::id::ShardId;
use anser_replica::Replica;

use super::Process;
use crate::world::Common;

/// Entries that are not applied; a leader proposes two at a time.
const UNAPPLIED_MAX: u64 = 512;
/// Requests that one client may have left behind.
const PENDING_OF_A_CLIENT: u64 = 24;

/// Rounds of recycling that may free nothing in a row, though nothing failed: a replica that has just got a copy cannot tell yet what is alive.
const IN_VAIN_MAX: u64 = 12;

/// Inspections: as long as dead segments may take to go, when the disk is slow.
const LATELY: usize = 8;

struct Bound {
    what: &'static str,
    value: u64,
    most: u64,
}

impl Process {
    /// Judges what the process takes, between two events.
    pub(crate) fn check_bounds(&mut self, common: &mut Common) {
        self.count_live();
        let mut bounds = self.open_files(common.plan.shards.into());
        bounds.extend(self.log(common));
        bounds.push(self.requests(common));
        bounds.extend(self.rounds());
        for (shard, replica) in self.host.replicas() {
            bounds.extend(entries(replica, common));
            bounds.extend(self.segments(shard));
        }
        for Bound { what, value, most } in bounds {
            common.statistics.note(what, value * 100 / most.max(1));
            if value > most {
                let text = format!("node {}: {what}: {value}, at most {most}", self.node);
                common.checks.fail(text);
            }
        }
    }

    /// Above its budget the log is recycled, unless a follower needs it, and then above what may be held. What comes
    /// meanwhile is on top. Damage keeps its file, and so does what cannot be read, for a while.
    fn log(&self, common: &Common) -> Option<Bound> {
        let plan = &common.plan;
        let budget = plan.wal_file_bytes * plan.wal_files;
        let waits = self.maintenance.waits_for_reads() || self.maintenance.cannot_read;
        let can_be_read = self.damaged.is_empty() && !waits;
        can_be_read.then(|| Bound {
            what: "bytes of the log",
            value: self.store.wal_bytes_in_use(),
            // What it grew by while it waited goes a quarter a round.
            most: (6 * budget).max(self.maintenance.log_found + budget),
        })
    }

    /// Whatever becomes of a shard, the log of the others goes on: what no follower needs is freed soon. Damage keeps its
    /// file, and so does what cannot be read, for a while.
    fn rounds(&self) -> Option<Bound> {
        let can_be_read = self.damaged.is_empty() && !self.maintenance.waits_for_reads();
        can_be_read.then_some(Bound {
            what: "rounds of recycling in a row that freed nothing",
            value: self.maintenance.in_vain,
            most: IN_VAIN_MAX,
        })
    }

    fn open_files(&self, shards: u64) -> Vec<Bound> {
        let open = |part: &str| self.disk.open_files(part) as u64;
        let coming = open(".segment.temp") + open(".snapshot.temp");
        let sealed = |kind: &str| open(kind) - open(&format!("{kind}.temp"));
        let files = self.store.wal_bytes_in_use() / self.file_bytes;
        vec![
            Bound {
                what: "open segments",
                value: sealed(".segment"),
                most: super::open::OPEN_SEGMENTS as u64,
            },
            Bound {
                what: "open snapshots",
                value: sealed(".snapshot"),
                most: shards + self.copies.outgoing() as u64,
            },
            Bound {
                what: "files that come in",
                value: coming,
                most: shards,
            },
            Bound {
                what: "open log files",
                value: open("wal/"),
                most: 2 * files + 8,
            },
            Bound {
                what: "copies that were not accepted",
                value: self.copies.unaccepted() as u64,
                most: 2 * shards,
            },
        ]
    }

    fn requests(&self, common: &Common) -> Bound {
        Bound {
            what: "requests without an answer",
            value: self.pending.len() as u64,
            most: common.plan.clients as u64 * PENDING_OF_A_CLIENT,
        }
    }

    /// However small they are made, few segments stay for what was alive lately.
    fn segments(&self, shard: ShardId) -> Option<Bound> {
        let live = self.live.get(&shard)?.iter().max()?;
        Some(Bound {
            what: "segments of a shard",
            value: self.store.segments(shard.0).len() as u64,
            most: 64 + live / 8,
        })
    }

    fn count_live(&mut self) {
        for (shard, replica) in self.host.replicas() {
            let totals = replica.shard().totals();
            let live =
                totals.ready + totals.leased + totals.delayed + totals.retired + totals.moving;
            let counts = self.live.entry(shard).or_default();
            counts.push_back(live);
            if counts.len() > LATELY {
                counts.pop_front();
            }
        }
    }

    /// What a round of recycling wrote was worth it: it freed a file.
    pub(super) fn check_round(&self, before: Round, common: &mut Common) {
        let after = self.round_now();
        let wrote = after.snapshots > before.snapshots || after.kept > before.kept;
        if wrote && !self.has_freed(before) {
            let text = format!(
                "node {}: a round of recycling wrote and freed nothing",
                self.node
            );
            common.checks.fail(text);
        }
    }

    pub(super) fn has_freed(&self, before: Round) -> bool {
        self.round_now().first_file != before.first_file
    }

    pub(super) fn round_now(&self) -> Round {
        let done = self.maintenance.done();
        Round {
            snapshots: done.snapshots,
            kept: done.kept_bytes,
            first_file: self.store.first_wal_file(),
        }
    }
}

/// What others may need of applied entries is in memory up to a bound; what is not applied is there as a whole.
fn entries(replica: &Replica, common: &Common) -> [Bound; 2] {
    let held = replica.entries_held();
    [
        Bound {
            what: "bytes of applied entries in memory",
            value: held.applied_bytes as u64,
            most: common.plan.memory_bytes as u64,
        },
        Bound {
            what: "entries that are not applied",
            value: held.unapplied as u64,
            most: UNAPPLIED_MAX,
        },
    ]
}

/// How far maintenance is.
#[derive(Clone, Copy)]
pub(super) struct Round {
    snapshots: u64,
    kept: u64,
    first_file: Option<u64>,
}
