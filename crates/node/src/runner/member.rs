//! What a runner's thread does because its node is a member of a cluster.

use anser_broker::{command::Placed, id::ShardId};
use anser_host::{CatalogNodes, Job, Now, Order};
use anser_replica::Replica;
use tracing::info;

use super::Runner;
use crate::{
    bodies,
    cluster::entries::Asking,
    event::{HostEvent, Responder},
    maintenance::Chore,
    status::add,
};

impl Runner {
    pub(super) fn carry_out_among_peers(&mut self, job: Job<Responder>) {
        let Some(member) = &mut self.member else {
            // A sole voter has no peers.
            return;
        };
        match job {
            Job::Send { to, shard, message } => member.put(to, shard, &message),
            Job::Fetch {
                shard,
                request,
                range,
                bytes_max,
            } => {
                let runner = self.itself.clone();
                let job = bodies::Job::Entries {
                    shard,
                    request,
                    range,
                    bytes_max,
                    runner,
                };
                self.read(shard, job);
            }
            Job::Offer { shard } => {
                // Maintenance ends only with the node.
                drop(member.chores.send(Chore::Offer(shard)));
            }
            of_damage @ (Job::Mend { .. } | Job::AskEntries { .. } | Job::Mended { .. }) => {
                self.see_to_damage(of_damage);
            }
            Job::SendCopy {
                shard,
                to,
                place,
                message,
            } => member.copies.send(shard, to, place, &message),
            Job::Applied {
                shard: ShardId::CATALOG,
                index,
            } => member.catalog_applied = Some(index),
            Job::CatalogReplaced {
                routes,
                nodes,
                applied,
            } => self.catalog_replaced(&routes, nodes, applied),
            Job::Cleared { shard } => member.cluster.cleared(shard),
            Job::Members { shard, membership } => {
                info!(shard = shard.0, voters = ?membership.voters, learners = ?membership.learners,
                    leaving = ?membership.voters_outgoing, "members");
                member
                    .copies
                    .end_sending(shard, |node| membership.contains(node));
            }
            Job::Began { shard } => info!(shard = shard.0, "a replica begins here"),
            Job::Installed { shard, index } => {
                info!(shard = shard.0, index, "a copy of the shard has arrived");
            }
            Job::Applied { .. } => {}
            other => unreachable!("carried out elsewhere: {other:?}"),
        }
    }

    /// What is damaged here may be whole on other nodes.
    fn see_to_damage(&self, job: Job<Responder>) {
        let Some(member) = &self.member else { return };
        match job {
            // Maintenance and the cluster's thread end only with the node.
            Job::Mend {
                shard,
                wound,
                given,
            } => drop(member.chores.send(Chore::Mend {
                shard,
                wound,
                given,
            })),
            Job::AskEntries {
                shard,
                wound,
                to,
                indexes,
            } => drop(member.questions.send(Asking {
                shard,
                wound,
                to,
                indexes,
            })),
            Job::Mended { shard, wound } => {
                add(&self.counters.mended, 1);
                info!(shard = shard.0, file = %wound.file, offset = wound.offset, "what was damaged is whole again, with what another node has");
            }
            other => unreachable!("carried out elsewhere: {other:?}"),
        }
    }

    /// This node's copy of the catalog is another's now.
    fn catalog_replaced(&self, routes: &[Placed], nodes: CatalogNodes, applied: u64) {
        self.routes.replace(routes);
        self.nodes_changed(nodes);
        if let Some(member) = &self.member {
            member.cluster.catalog.set(applied);
        }
        for placed in routes {
            self.announce_late(placed);
        }
    }

    /// Sends what the turns have for peers, and notes who leads.
    pub(super) fn end_turns_among_peers(&mut self, now: &Now) {
        let Some(member) = &mut self.member else {
            return;
        };
        let unreachable = member.flush();
        // Only now: the routes are as the catalog says.
        if let Some(index) = member.catalog_applied.take() {
            member.cluster.catalog.set(index);
        }
        for &shard in self.host.turned() {
            let leader = self.host.replica(shard).map(Replica::leader);
            if let Some((term, Some(leader))) = leader
                && leader != member.cluster.node
            {
                member.cluster.leaders.heard(shard, term, leader);
            }
        }
        for node in unreachable {
            self.host.unsent(now, node);
        }
    }

    pub(super) fn leads(&self, shard: ShardId, term: u64, leads: bool) {
        let Some(member) = &self.member else { return };
        let cluster = &member.cluster;
        cluster.leaders.serves(shard, term, leads);
        if leads {
            cluster.reports.hurry();
        } else {
            member.copies.end_sending(shard, |_| false);
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

    /// What an order means for a replica here.
    pub(super) fn ordered(&self, order: Order) -> Option<HostEvent> {
        let cluster = &self.member.as_ref()?.cluster;
        order.event(|node| cluster.is_connected(node))
    }
}

#[cfg(test)]
mod tests;
