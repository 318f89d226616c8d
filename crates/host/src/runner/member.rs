//! What a runner does because others have replicas of its shards.

use std::time::Duration;

use anser_broker::{id::ShardId, shard::Shard, time::Timestamp};
use anser_replica::{Input, Output, Replica, Start, Tombstone};

use super::{Hosted, Runner, catalog_nodes};
use crate::{
    clock::{Now, ShardTime},
    event::Event,
    job::Job,
    report::Mark,
    writer::{self, Deferred},
};

/// So many reads that failed, over at least so long a time, are damage. Sooner, a copy would be given up for a fault that a restart ends, while
/// damage to another one is not known yet.
const FAILED_READS_MAX: u32 = 10;
const FAILED_READS_OVER: Duration = Duration::from_secs(60);
/// A read that fails so long after the one before has nothing to do with it.
const FAILED_READS_APART: Duration = Duration::from_secs(600);
/// How long not to repeat that a node cannot be reached.
const UNREACHABLE_INTERVAL: Duration = Duration::from_millis(100);

/// The reads of a shard that have failed lately.
#[derive(Debug, Default)]
pub(super) struct FailedReads {
    times: u32,
    first: Duration,
    last: Duration,
}

impl FailedReads {
    /// Another one has failed; whether that is damage by now.
    fn is_lasting(&mut self, now: Duration) -> bool {
        if self.times == 0 || now > self.last + FAILED_READS_APART {
            (self.times, self.first) = (0, now);
        }
        self.times += 1;
        self.last = now;
        self.times >= FAILED_READS_MAX && now >= self.first + FAILED_READS_OVER
    }
}

impl<T> Runner<T> {
    pub(super) fn take_as_member(&mut self, now: &Now, event: Event<T>) {
        let (shard, input) = match event {
            Event::Peer { shard, message } => {
                if message.is_from_leader() {
                    self.host(now, shard);
                }
                (shard, Input::Message(message))
            }
            Event::Unreachable { node } => {
                return self.step_all(now, || Input::Unreachable { node });
            }
            Event::Leave => return self.step_all(now, || Input::Leave),
            Event::Change { shard, change } => (shard, Input::ChangeMembership(change)),
            Event::Transfer { shard, to } => (shard, Input::TransferLeadership { to }),
            Event::Forget { shard, decided } => return self.forget(shard, decided),
            Event::Damaged {
                shard,
                what,
                may_pass,
                wound,
            } => return self.met_damage(now, shard, what, may_pass, wound.as_ref()),
            Event::Attempted {
                shard,
                wound,
                attempted,
            } => return self.attempted(now, shard, &wound, attempted),
            Event::Given {
                shard,
                wound,
                node,
                entries,
            } => return self.given(now, shard, &wound, node, entries),
            Event::Differs { shard, mark, what } => return self.differs(now, shard, mark, what),
            Event::Forgot { shard } => {
                self.forgetting.remove(&shard);
                self.damaged.remove(&shard);
                self.failed_reads.remove(&shard);
                return;
            }
            Event::Fetched {
                shard,
                request,
                entries,
            } => (shard, Input::Fetched { request, entries }),
            Event::Forgotten { shard, through } => (shard, Input::Forgotten { through }),
            Event::SnapshotReady { shard, snapshot } => (shard, Input::SnapshotReady { snapshot }),
            Event::SnapshotSent { shard, to, arrived } => {
                (shard, Input::SnapshotSent { to, arrived })
            }
            Event::Installed {
                shard,
                place,
                membership,
                state,
            } => {
                self.installed(now, shard, &state);
                let input = Input::Installed {
                    place,
                    membership,
                    shard: state,
                };
                (shard, input)
            }
            Event::Request { .. }
            | Event::Cancel { .. }
            | Event::GiveBack { .. }
            | Event::Durable { .. } => unreachable!("taken in elsewhere"),
        };
        self.step(now, shard, input);
    }

    /// Messages to this node could not be sent. Replicas hear of it now and then.
    pub fn unsent(&mut self, now: &Now, node: u64) {
        let said = self.said_unreachable.get(&node);
        if said.is_none_or(|&said| now.elapsed >= said + UNREACHABLE_INTERVAL) {
            self.said_unreachable.insert(node, now.elapsed);
            self.step_all(now, || Input::Unreachable { node });
        }
    }

    pub(super) fn job_among_peers(shard: ShardId, output: Output) -> Job<T> {
        match output {
            Output::Send { to, message } => Job::Send { to, shard, message },
            Output::Fetch {
                request,
                first,
                end,
                bytes_max,
            } => Job::Fetch {
                shard,
                request,
                range: first..end,
                bytes_max,
            },
            Output::PrepareSnapshot { .. } => Job::Offer { shard },
            Output::SendSnapshot { to, place, message } => Job::SendCopy {
                shard,
                to,
                place,
                message,
            },
            Output::Install { place } => {
                Job::Write(writer::Job::Defer(Deferred::Install { shard, place }))
            }
            Output::Cleared => Job::Cleared { shard },
            Output::MembershipChanged(membership) => Job::Members { shard, membership },
            other => unreachable!("carried out elsewhere: {other:?}"),
        }
    }

    /// Makes a replica of a shard that this node has none of: whoever leads the shard has decided so.
    fn host(&mut self, now: &Now, shard: ShardId) {
        let is_known = shard.0 < self.shards
            && !self.forgetting.contains_key(&shard)
            && !self.damaged.contains_key(&shard);
        if self.hosted.contains_key(&shard) || !is_known {
            return;
        }
        self.begun += 1;
        let state = Shard::new(shard, self.shards);
        let run = run_of(self.run, shard, self.begun);
        let tombstone = self.tombstones.get(&shard).copied().unwrap_or_default();
        let mut replica = Replica::new(Start::empty(self.node, state, tombstone, run));
        if let Some(bytes) = self.memory_bytes {
            replica.set_memory_bytes(bytes);
        }
        let time = ShardTime::of_others(Timestamp(0), now);
        self.hosted.insert(shard, Hosted { replica, time });
        self.jobs.push_back(Job::Began { shard });
    }

    /// The replica goes on, for what it says and decides is right; placement has it replaced. A read that failed is repeated
    /// first: a copy is not given up for what passes.
    pub(super) fn note_damage(&mut self, now: &Now, shard: ShardId, what: String, may_pass: bool) {
        if !self.hosted.contains_key(&shard) {
            return;
        }
        if may_pass {
            let failed = self.failed_reads.entry(shard).or_default();
            if !failed.is_lasting(now.beat) {
                return;
            }
        }
        self.damaged.entry(shard).or_insert(what);
    }

    /// What most voters have made of the shard's log is something else. So the replica leads no more, and placement has it
    /// replaced like one whose disk is damaged.
    fn differs(&mut self, now: &Now, shard: ShardId, mark: Mark, what: String) {
        let replica = self.replica(shard);
        // Otherwise another one is here since.
        if replica.is_some_and(|replica| replica.marks().map(Mark::from).any(|its| its == mark)) {
            self.damaged.entry(shard).or_insert(what);
            self.step(now, shard, Input::Differs);
        }
    }

    /// Lets go of a replica, if nothing in it is newer than the decision.
    fn forget(&mut self, shard: ShardId, decided: u64) {
        if let Some(&tombstone) = self.closed.get(&shard) {
            // Otherwise the order is late: it is of a time before the shard came again.
            if decided >= tombstone.floor {
                self.closed.remove(&shard);
                let floor = decided;
                self.take_off(shard, Tombstone { floor, ..tombstone });
            }
            return;
        }
        let Some(Hosted { replica, .. }) = self.hosted.get_mut(&shard) else {
            return;
        };
        if replica.status().last > decided || replica.serves() {
            return;
        }
        let mut outputs = Vec::new();
        replica.end(&mut outputs);
        let outputs = outputs.into_iter().map(|output| (shard, output));
        self.outputs.extend(outputs);
        let tombstone = replica.tombstone(decided);
        self.forgetting.insert(shard, replica.image());
        self.hosted.remove(&shard);
        self.jobs.push_back(Job::Cleared { shard });
        self.mending.forget(shard);
        self.take_off(shard, tombstone);
    }

    fn take_off(&mut self, shard: ShardId, tombstone: Tombstone) {
        self.tombstones.insert(shard, tombstone);
        let forget = Deferred::Forget {
            shard,
            floor: tombstone.floor,
            damaged: self.damaged.contains_key(&shard),
        };
        self.jobs.push_back(Job::Write(writer::Job::Defer(forget)));
    }

    /// The state of the shard is another's now.
    fn installed(&mut self, now: &Now, shard: ShardId, state: &Shard) {
        let index = state.applied();
        self.jobs.push_back(Job::Installed { shard, index });
        // Whatever was damaged is replaced.
        self.damaged.remove(&shard);
        self.failed_reads.remove(&shard);
        self.mending.forget(shard);
        if let Some(hosted) = self.hosted.get_mut(&shard) {
            hosted.time.follow(state.now().now, now);
        }
        if shard == ShardId::CATALOG {
            self.jobs.push_back(Job::CatalogReplaced {
                routes: state.routes(),
                nodes: catalog_nodes(state),
                applied: index,
            });
        }
    }
}

/// Another run than that of any replica of the shard before: its leader must begin anew with it.
fn run_of(run: u64, shard: ShardId, begun: u64) -> u64 {
    let mut mixed = run ^ u64::from(shard.0) << 32;
    mixed = mixed.wrapping_add(begun.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
