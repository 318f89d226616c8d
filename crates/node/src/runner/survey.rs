//! What a runner says of its replicas.

use anser_replica::Replica;
use tokio::sync::mpsc::UnboundedSender;

use super::Runner;
use crate::{
    cluster::survey::{Led, PeerSurvey, ReplicaSurvey},
    event::Surveyed,
    status::{PeerLag, ShardStatus},
};

impl Runner {
    pub(super) fn survey(&self, sender: &UnboundedSender<Vec<Surveyed>>) {
        let replicas = self.host.replicas();
        let surveyed = replicas.map(|(shard, replica)| surveyed(shard.0, replica));
        // Whoever asked may have given up waiting.
        drop(sender.send(surveyed.collect()));
    }
}

fn surveyed(shard: u16, replica: &Replica) -> Surveyed {
    let status = replica.status();
    let led = replica.serves().then(|| Led {
        last: status.last,
        voters: status.settled.voters.clone(),
        learners: status.settled.learners.clone(),
        joint: !status.settled.voters_outgoing.is_empty(),
        peers: status
            .peers
            .iter()
            .map(|peer| PeerSurvey {
                node: peer.node,
                matched: peer.matched,
                active: peer.active,
                copying: peer.snapshot,
                is_blank: peer.is_blank,
            })
            .collect(),
    });
    let lags = |led: &Led| {
        let lag = |peer: &PeerSurvey| PeerLag {
            node: peer.node,
            entries: led.last.saturating_sub(peer.matched),
        };
        led.peers.iter().map(lag).collect::<Vec<_>>()
    };
    Surveyed {
        status: ShardStatus {
            shard,
            serves: replica.serves(),
            applied: replica.applied().index,
            totals: replica.shard().totals(),
            lags: led.iter().flat_map(lags).collect(),
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
