//! Where the copies of the shards are, and whether they have come to rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anser::cluster::view::Cluster;

use super::COPIES;
use crate::chaos::node_kill::SHARDS;

/// What was seen of placement until it settled.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) took: Duration,
    /// When a shard's members were first seen to change.
    pub(crate) first: Option<Duration>,
    /// Every copy that was begun: the shard and the node. The catalog is copied to every node anyhow.
    pub(crate) begun: BTreeSet<(u16, u64)>,
    former: BTreeMap<u16, Vec<u64>>,
}

impl Watched {
    pub(super) fn look(&mut self, view: &Cluster, at: Duration) {
        let members: BTreeMap<u16, Vec<u64>> = view
            .shards
            .iter()
            .map(|shard| {
                let mut members = [shard.voters.clone(), shard.learners.clone()].concat();
                members.sort_unstable();
                (shard.shard, members)
            })
            .collect();
        // A shard that elects a leader is not in the view.
        let differs = |(shard, members): (&u16, &Vec<u64>)| {
            let former = self.former.get(shard);
            former.is_some_and(|former| former != members)
        };
        let changed = members.iter().any(differs);
        if changed {
            self.first.get_or_insert(at);
        }
        for shard in view.shards.iter().filter(|shard| shard.shard != 0) {
            let learners = shard.learners.iter();
            self.begun
                .extend(learners.map(|&learner| (shard.shard, learner)));
        }
        self.former.extend(members);
    }
}

pub(super) fn is_even(view: &Cluster, on: &[u64]) -> bool {
    let has_copies = view.shards.iter().all(|shard| {
        let learners = if shard.shard == 0 {
            &[]
        } else {
            &shard.learners[..]
        };
        let voters = shard
            .replicas
            .iter()
            .filter(|one| shard.voters.contains(&one.node));
        !shard.joint
            && learners.is_empty()
            && shard.voters.len() == COPIES
            && shard.voters.iter().all(|voter| on.contains(voter))
            && voters.clone().all(|voter| voter.active)
    });
    let spread = |counts: &BTreeMap<u64, usize>| {
        let (least, most) = (counts.values().min(), counts.values().max());
        most.zip(least).map_or(0, |(most, least)| most - least)
    };
    view.shards.len() == usize::from(SHARDS)
        && view.moves.is_empty()
        && has_copies
        && spread(&copies(view, on)) < 2
}

/// How many copies are on each of these nodes.
pub(crate) fn copies(view: &Cluster, on: &[u64]) -> BTreeMap<u64, usize> {
    let mut counts: BTreeMap<u64, usize> = on.iter().map(|&node| (node, 0)).collect();
    for &voter in view.shards.iter().flat_map(|shard| &shard.voters) {
        *counts.entry(voter).or_default() += 1;
    }
    counts
}
