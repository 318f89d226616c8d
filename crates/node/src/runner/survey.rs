//! What a runner says of its replicas.

use tokio::sync::mpsc::UnboundedSender;

use super::{Hosted, Runner};
use crate::{
    cluster::survey::{Led, PeerSurvey, ReplicaSurvey},
    event::Surveyed,
    status::ShardStatus,
};

impl Runner {
    pub(super) fn survey(&self, sender: &UnboundedSender<Vec<Surveyed>>) {
        let replicas = self.hosted.iter();
        let surveyed = replicas.map(|(shard, hosted)| surveyed(shard.0, hosted));
        // Whoever asked may have given up waiting.
        drop(sender.send(surveyed.collect()));
    }
}

fn surveyed(shard: u16, Hosted { replica, .. }: &Hosted) -> Surveyed {
    let status = replica.status();
    let led = replica.serves().then(|| Led {
        last: status.last,
        voters: status.membership.voters.clone(),
        learners: status.membership.learners.clone(),
        joint: !status.membership.voters_outgoing.is_empty(),
        peers: status
            .peers
            .iter()
            .map(|peer| PeerSurvey {
                node: peer.node,
                matched: peer.matched,
                active: peer.active,
                copying: peer.snapshot,
            })
            .collect(),
    });
    Surveyed {
        status: ShardStatus {
            shard,
            serves: replica.serves(),
            applied: replica.applied().index,
            totals: replica.shard().totals(),
        },
        replica: ReplicaSurvey {
            shard,
            term: status.term,
            leader: status.leader,
            applied: replica.applied().index,
            bytes: 0,
            led,
        },
    }
}
