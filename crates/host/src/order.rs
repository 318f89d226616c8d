//! What placement asks of a node: a step of its shard's members, another leader, or to let go of a replica.
//!
//! An order that is lost is given again, and one that comes too late does no harm: the shard's leader takes a change of
//! members only while no other is under way, and a replica goes only if it has nothing newer than the decision.

use anser_broker::id::ShardId;
use anser_replica::{MembershipChange, MembershipStep};
use serde::{Deserialize, Serialize};

use crate::event::Event;

/// What a node is told to do with a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// To the leader of the shard.
    Change {
        shard: u16,
        steps: Vec<Step>,
    },
    Transfer {
        shard: u16,
        to: u64,
    },
    /// The shard's members decided, at this index or before, that the node has no replica any more.
    Forget {
        shard: u16,
        decided: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    AddVoter(u64),
    AddLearner(u64),
    Remove(u64),
}

impl Order {
    pub fn shard(&self) -> u16 {
        match self {
            Self::Change { shard, .. }
            | Self::Transfer { shard, .. }
            | Self::Forget { shard, .. } => *shard,
        }
    }

    /// What it means for a replica of the node that was told; `None` if it would do harm there.
    pub fn event<T>(self, is_connected: impl Fn(u64) -> bool) -> Option<Event<T>> {
        let shard = ShardId(self.shard());
        match self {
            Self::Change { steps, .. } => {
                let steps = steps.into_iter().map(MembershipStep::from).collect();
                let change = MembershipChange { steps };
                Some(Event::Change { shard, change })
            }
            // Whoever waits for an heir that died takes no requests until an election's time is over.
            Self::Transfer { to, .. } => is_connected(to).then_some(Event::Transfer { shard, to }),
            Self::Forget { decided, .. } => Some(Event::Forget { shard, decided }),
        }
    }
}

impl From<Step> for MembershipStep {
    fn from(step: Step) -> Self {
        match step {
            Step::AddVoter(node) => Self::AddVoter(node),
            Step::AddLearner(node) => Self::AddLearner(node),
            Step::Remove(node) => Self::Remove(node),
        }
    }
}
