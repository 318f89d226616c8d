//! What a runner says of its replicas.

use anser_host::{PeerReport, ReplicaReport};
use anser_replica::Replica;
use tokio::sync::mpsc::UnboundedSender;

use super::Runner;
use crate::{
    event::Reported,
    status::{PeerLag, ShardStatus},
};

impl Runner {
    pub(super) fn report(&self, sender: &UnboundedSender<Vec<Reported>>) {
        let replicas = self.host.replicas();
        let reported =
            replicas.map(|(shard, replica)| reported(replica, ReplicaReport::of(shard, replica)));
        let closed = self.host.closed().map(|shard| Reported {
            status: ShardStatus {
                shard: shard.0,
                closed: true,
                ..ShardStatus::default()
            },
            replica: ReplicaReport::closed(shard),
            damaged: None,
        });
        let mut all: Vec<Reported> = reported.chain(closed).collect();
        for (shard, what) in self.host.damaged() {
            let mut of_shard = all.iter_mut().filter(|it| it.status.shard == shard.0);
            if let Some(reported) = of_shard.next() {
                reported.status.damaged = true;
                reported.damaged = Some(what.to_owned());
            }
        }
        // Whoever asked may have given up waiting.
        drop(sender.send(all));
    }
}

fn reported(replica: &Replica, report: ReplicaReport) -> Reported {
    let lags = report.led.iter().flat_map(|led| {
        let lag = |peer: &PeerReport| PeerLag {
            node: peer.node,
            entries: led.last.saturating_sub(peer.matched),
        };
        led.peers.iter().map(lag)
    });
    Reported {
        status: ShardStatus {
            shard: report.shard,
            serves: replica.serves(),
            damaged: false,
            closed: false,
            applied: report.applied,
            totals: replica.shard().totals(),
            lags: lags.collect(),
        },
        replica: report,
        damaged: None,
    }
}
