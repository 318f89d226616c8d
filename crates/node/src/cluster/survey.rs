//! What every node tells every other about itself, twice a second, and what was heard last.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anser_broker::{id::ShardId, version::ClusterVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How often a node says how it is.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// What others should not have to wait for is told this much later: such news come together.
pub(crate) const GATHERING: Duration = Duration::from_millis(5);
/// A node that was not heard for so long does not count as up.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// One node at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Survey {
    pub(crate) node: u64,
    /// Its disk is nearly full: sends to the shards of which it has a copy are refused, for it has to write them too.
    pub(crate) full: bool,
    pub(crate) free_bytes: u64,
    pub(crate) data_bytes: u64,
    /// Mean duration of its recent syncs.
    pub(crate) sync_micros: u64,
    pub(crate) replicas: Vec<ReplicaSurvey>,
    /// The highest version of the cluster that the node can read. It follows the other fields in the bytes:
    /// programs from before there were versions leave it out and do not read it.
    #[serde(skip)]
    pub(crate) knows: ClusterVersion,
}

/// One of its replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaSurvey {
    pub(crate) shard: u16,
    pub(crate) term: u64,
    /// The leader it follows, or itself.
    pub(crate) leader: Option<u64>,
    pub(crate) applied: u64,
    pub(crate) bytes: u64,
    /// What only a leader that serves can say.
    pub(crate) led: Option<Led>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Led {
    pub(crate) last: u64,
    pub(crate) voters: Vec<u64>,
    pub(crate) learners: Vec<u64>,
    /// A change of voters is under way.
    pub(crate) joint: bool,
    pub(crate) peers: Vec<PeerSurvey>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerSurvey {
    pub(crate) node: u64,
    pub(crate) matched: u64,
    pub(crate) active: bool,
    /// It is being sent a snapshot.
    pub(crate) copying: bool,
    /// It votes, and says that it has lost its state.
    pub(crate) is_blank: bool,
}

/// The newest survey of each node.
#[derive(Debug, Default)]
pub(crate) struct Surveys {
    heard: Mutex<BTreeMap<u64, Heard>>,
    urgent: Notify,
}

#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) survey: Survey,
    pub(crate) at: Instant,
}

impl Surveys {
    pub(crate) fn put(&self, survey: Survey) {
        let at = Instant::now();
        self.lock().insert(survey.node, Heard { survey, at });
    }

    /// Others should not have to wait to hear how this node is: it leads a shard now, or somebody has come
    /// who knows nothing yet. A node without a copy of a shard hears only so whom to ask.
    pub(crate) fn hurry(&self) {
        self.urgent.notify_one();
    }

    /// Waits until there is something that others should not have to wait for.
    pub(crate) async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// Whether the disk of a node that has a copy of the shard is nearly full.
    pub(crate) fn is_full(&self, shard: ShardId) -> bool {
        let heard = self.lock();
        let mut recent = heard.values().filter(|heard| heard.at.elapsed() < SILENCE);
        recent.any(|Heard { survey, .. }| {
            survey.full
                && survey
                    .replicas
                    .iter()
                    .any(|replica| replica.shard == shard.0)
        })
    }

    pub(crate) fn all(&self) -> BTreeMap<u64, Heard> {
        self.lock().clone()
    }

    pub(crate) fn forget(&self, node: u64) {
        self.lock().remove(&node);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_concerns_only_the_shards_that_have_a_copy_there() {
        let surveys = Surveys::default();
        let replicas = |shards: &[u16]| {
            let replica = |&shard: &u16| ReplicaSurvey {
                shard,
                ..ReplicaSurvey::default()
            };
            shards.iter().map(replica).collect()
        };
        for (node, full, shards) in [(1, false, &[1, 2][..]), (2, true, &[2, 3])] {
            surveys.put(Survey {
                node,
                full,
                replicas: replicas(shards),
                ..Survey::default()
            });
        }
        let full = [1, 2, 3].map(|shard| surveys.is_full(ShardId(shard)));
        assert_eq!(full, [false, true, true]);
        surveys.forget(2);
        assert!(!surveys.is_full(ShardId(2)));
    }
}
