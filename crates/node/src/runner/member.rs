//! What a runner does because its node is a member of a cluster.

use std::{collections::BTreeSet, time::Instant};

use anser_broker::{command::Placed, id::ShardId, shard::Shard};
use anser_host::{Deferred, Job};
use anser_replica::{Input, MembershipChange, MembershipStep, Output};
use tracing::{error, info, warn};

use super::{Hosted, Runner, stamp_of};
use crate::{
    bodies,
    cluster::words::{Order, Step},
    event::Event,
    maintenance::Chore,
};

impl Runner {
    /// Makes a replica of a shard that this node has none of: whoever leads the shard has decided so.
    pub(super) fn host(&mut self, shard: ShardId) {
        if self.hosted.contains_key(&shard) {
            return;
        }
        let Some(member) = &self.member else { return };
        if let Some(hosted) = member.empty_replica(shard, &self.clock) {
            info!(shard = shard.0, "a replica begins here");
            self.hosted.insert(shard, hosted);
        }
    }

    pub(super) fn carry_out_among_peers(&mut self, shard: ShardId, output: Output) {
        let Some(member) = &mut self.member else {
            unreachable!("a sole voter has no peers: {output:?}")
        };
        match output {
            Output::Send { to, message } => member.put(to, shard, &message),
            Output::Fetch {
                request,
                first,
                end,
                bytes_max,
            } => {
                let runner = self.itself.clone();
                let job = bodies::Job::Entries {
                    shard,
                    request,
                    range: first..end,
                    bytes_max,
                    runner,
                };
                self.read(shard, job);
            }
            Output::PrepareSnapshot { .. } => {
                // Maintenance ends only with the node.
                drop(member.chores.send(Chore::Offer(shard)));
            }
            Output::SendSnapshot { to, place, message } => {
                member.copies.send(shard, to, place, &message);
            }
            Output::Install { place } => {
                let install = Deferred::Install { shard, place };
                drop(self.writer.send(Job::Defer(install)));
            }
            Output::Cleared => member.cleared(shard),
            Output::MembershipChanged(membership) => {
                info!(shard = shard.0, voters = ?membership.voters, learners = ?membership.learners,
                    leaving = ?membership.voters_outgoing, "members");
            }
            other => unreachable!("carried out elsewhere: {other:?}"),
        }
    }

    /// Sends what the turns have for peers, and notes who leads.
    pub(super) fn end_turns_among_peers(&mut self, touched: &BTreeSet<ShardId>) {
        let Some(member) = &mut self.member else {
            return;
        };
        let unreachable = member.flush();
        // Only now: the routes are as the catalog says.
        if let Some(index) = member.catalog_applied.take() {
            member.cluster.catalog.send_replace(index);
        }
        for &shard in touched {
            let Some(hosted) = self.hosted.get(&shard) else {
                continue;
            };
            if let (term, Some(leader)) = hosted.replica.leader()
                && leader != member.cluster.node
            {
                member.cluster.leaders.heard(shard, term, leader);
            }
        }
        let now = Instant::now();
        for node in unreachable {
            if member.may_say_unreachable(node, now) {
                let event = Event::Unreachable { node };
                drop(self.itself.send(event));
            }
        }
    }

    pub(super) fn applied(&mut self, shard: ShardId, index: u64) {
        let Some(member) = &mut self.member else {
            return;
        };
        let hosted = self.hosted.get_mut(&shard).expect("it has just spoken");
        if !hosted.replica.serves() {
            let stamp = stamp_of(&hosted.replica);
            hosted.time.follow(stamp, &self.clock.now());
        }
        if shard == ShardId::CATALOG {
            member.catalog_applied = Some(index);
        }
    }

    pub(super) fn leads(&self, shard: ShardId, leads: bool) {
        let Some(member) = &self.member else { return };
        let (term, _) = self.hosted[&shard].replica.leader();
        let cluster = &member.cluster;
        cluster.leaders.serves(shard, term, cluster.node, leads);
        if leads {
            cluster.surveys.hurry();
        }
    }

    pub(super) fn nodes_changed(&self, shard: ShardId) {
        let state = self.hosted[&shard].replica.shard();
        self.version_changed(state);
        if let Some(member) = &self.member {
            member.cluster.members.set(state.nodes());
        }
    }

    /// A node that cannot read what the others may write from now on stops before it comes.
    fn version_changed(&self, catalog: &Shard) {
        if let Err(error) = self.versions.rise(catalog.version()) {
            error!(%error, "this node cannot go on");
            self.failed.set(error.to_string());
        }
    }

    /// A subscription's messages may have been announced before this copy of the catalog knew of it.
    pub(super) fn announce_late(&self, placed: &Placed) {
        if self.member.is_some()
            && let Placed::Subscription(placed) = placed
            && placed.attributes.is_some()
        {
            self.announcements.announce(placed.subscription);
        }
    }

    /// The state of the shard is another's now.
    pub(super) fn installed(&mut self, shard: ShardId, state: &Shard) {
        let Some(member) = &self.member else { return };
        info!(
            shard = shard.0,
            index = state.applied(),
            "a copy of the shard has arrived"
        );
        if let Some(hosted) = self.hosted.get_mut(&shard) {
            hosted.time.follow(state.now().now, &self.clock.now());
        }
        if shard == ShardId::CATALOG {
            self.version_changed(state);
            self.routes.replace(&state.routes());
            member.cluster.members.set(state.nodes());
            member.cluster.catalog.send_replace(state.applied());
        }
    }

    /// What became of entries, snapshots and copies that a replica asked for.
    pub(super) fn input_of_copy(&mut self, event: Event) -> (ShardId, Input) {
        match event {
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
                self.installed(shard, &state);
                let input = Input::Installed {
                    place,
                    membership,
                    shard: state,
                };
                (shard, input)
            }
            other => unreachable!("taken in elsewhere: {other:?}"),
        }
    }

    /// What an order means for a replica here.
    pub(super) fn ordered(&mut self, order: Order) -> Option<(ShardId, Input)> {
        match order {
            Order::Change { shard, steps } => {
                let steps = steps.into_iter().map(|step| match step {
                    Step::AddVoter(node) => MembershipStep::AddVoter(node),
                    Step::AddLearner(node) => MembershipStep::AddLearner(node),
                    Step::Remove(node) => MembershipStep::Remove(node),
                });
                let change = MembershipChange {
                    steps: steps.collect(),
                };
                Some((ShardId(shard), Input::ChangeMembership(change)))
            }
            Order::Transfer { shard, to } => {
                // Whoever waits for an heir that died takes no requests until an election's time is over.
                let member = self.member.as_ref()?;
                let is_there = member.cluster.is_connected(to);
                is_there.then_some((ShardId(shard), Input::TransferLeadership { to }))
            }
            Order::Forget { shard, decided } => {
                self.forget(ShardId(shard), decided);
                None
            }
        }
    }

    /// Lets go of a replica, if nothing in it is newer than the decision.
    fn forget(&mut self, shard: ShardId, decided: u64) {
        let Some(member) = &mut self.member else {
            return;
        };
        let Some(Hosted { replica, .. }) = self.hosted.get(&shard) else {
            return;
        };
        if replica.status().last > decided || replica.serves() {
            return;
        }
        warn!(
            shard = shard.0,
            "the shard's members have decided that no replica of it is here"
        );
        self.hosted.remove(&shard);
        member.forgetting.insert(shard);
        member.cleared(shard);
        drop(self.writer.send(Job::Defer(Deferred::Forget { shard })));
    }

    /// The shard is off the disk.
    pub(super) fn forgot(&mut self, shard: ShardId) {
        if let Some(member) = &mut self.member {
            member.forgetting.remove(&shard);
        }
    }
}
