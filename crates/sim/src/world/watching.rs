//! What has become of the shards' members: of lost copies, and of shards that had fewer voters for a while.

use super::World;
use crate::coverage::sometimes;

impl World {
    /// A node's copies are lost: somebody has to take its place.
    pub(super) fn note_lost(&mut self, number: u64) {
        for shard in 0..self.common.plan.shards {
            let newest = self.common.checks.memberships(shard).into_iter().next();
            if newest.is_some_and(|membership| membership.voters.contains(&number)) {
                self.human.lost.insert((shard, number));
            }
        }
    }

    /// Looks at what has become of the shards' members.
    pub(super) fn watch_members(&mut self) {
        for shard in 0..self.common.plan.shards {
            let newest = self.common.checks.memberships(shard).into_iter().next();
            let Some(membership) = newest.filter(|membership| !membership.is_joint()) else {
                continue;
            };
            let voters = &membership.voters;
            let is_replaced = |&(of, node): &(u16, u64)| {
                of == shard && !voters.contains(&node) && voters.len() > 1
            };
            let before = self.human.lost.len();
            self.human.lost.retain(|lost| !is_replaced(lost));
            if self.human.lost.len() < before {
                sometimes("a lost node was replaced");
            }
            let Some(fewest) = self.human.fewest.get_mut(&shard) else {
                if voters.len() >= 3 {
                    self.human.fewest.insert(shard, voters.len());
                }
                continue;
            };
            if voters.len() < *fewest {
                match voters.len() {
                    1 => sometimes("a shard shrank to one voter"),
                    2 => sometimes("a shard shrank to two voters"),
                    _ => {}
                }
            }
            if voters.len() >= 3 && *fewest < 3 {
                sometimes("a shard that had shrunk grew again");
                *fewest = voters.len();
            }
            *fewest = voters.len().min(*fewest);
        }
    }

    /// A voter that may lack what it acknowledged, though a leader could tell it what that is: doubt has to end.
    pub(super) fn lasting_doubt(&self) -> Option<String> {
        let up = self.nodes.iter().filter(|(_, node)| node.is_up());
        let processes = up.filter_map(|(&number, node)| Some((number, node.process.as_ref()?)));
        let mut suspects = processes
            .flat_map(|(number, process)| process.suspects().map(move |shard| (number, shard)));
        let (node, shard) = suspects.find(|&(node, shard)| {
            let newest = self.common.checks.memberships(shard).into_iter().next();
            let is_voter = newest.is_some_and(|membership| membership.voters.contains(&node));
            let is_excused = self.ruined.contains(&shard) || self.unlucky.contains(&shard);
            is_voter && !is_excused && self.leader(shard).is_some()
        })?;
        Some(format!(
            "node {node} doubts its log of shard {shard} for ever"
        ))
    }
}
