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
}
