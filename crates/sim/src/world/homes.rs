//! What the catalog takes for told, the homes have been told: theirs is never older.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{command::Placed, id::ShardId, shard::Shard};

use super::World;

impl World {
    /// Compares what homes were told last with what the catalog says of them.
    pub(super) fn watch_homes(&mut self) {
        let Some(catalog) = self.furthest(ShardId::CATALOG.0) else {
            return;
        };
        let unsettled = catalog.unsettled();
        let unsettled: BTreeSet<u64> = unsettled.iter().map(Placed::number).collect();
        let mut settled = catalog.routes();
        settled.retain(|placed| !unsettled.contains(&placed.number()));
        let older = (0..self.common.plan.shards).find_map(|shard| {
            let told: BTreeMap<u64, u64> = self.up_to_date(shard)?.revisions().collect();
            settled.iter().find_map(|placed| {
                // It may have ended since this copy of the catalog.
                let told = *told.get(&placed.number())?;
                (placed.shard().0 == shard && told < placed.revision()).then(|| {
                    format!(
                        "shard {shard}: what the catalog calls {} was told it at revision {told}, and the catalog takes {} for told",
                        placed.number(),
                        placed.revision()
                    )
                })
            })
        });
        if let Some(text) = older {
            self.common.checks.fail(text);
        }
    }

    /// A shard as somebody has it who has applied everything that was ever answered.
    fn up_to_date(&self, shard: u16) -> Option<&Shard> {
        let known = self.common.checks.last_acknowledged(shard);
        self.furthest(shard)
            .filter(|furthest| furthest.applied() >= known)
    }

    /// A shard as somebody has it who has applied the most.
    fn furthest(&self, shard: u16) -> Option<&Shard> {
        let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        let replicas = processes.filter_map(|process| process.replica(shard));
        let shards = replicas.map(anser_replica::Replica::shard);
        shards.max_by_key(|shard| shard.applied())
    }
}
