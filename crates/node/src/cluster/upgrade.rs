//! Raises the cluster's version where the catalog is led, once every node has said that it can read the next.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_broker::{
    command::{NodeRecord, NodeState},
    id::ShardId,
    version::ClusterVersion,
};
use tracing::{info, warn};

use super::{
    peers::Cluster,
    survey::{self, Heard},
};
use crate::desk::Desk;

/// How long all nodes must have said so without a break: longer than one takes to start with another program.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(crate) async fn run(cluster: Arc<Cluster>, desk: Desk) {
    let mut agreement = Agreement::default();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !cluster.leaders.serves_here(ShardId::CATALOG) {
            agreement = Agreement::default();
            continue;
        }
        let members = cluster.members.all();
        let common = common(&members, &cluster.surveys.all());
        let active = cluster.versions.active();
        let Some(version) = agreement.look(common, active, Instant::now()) else {
            continue;
        };
        match desk.raise_version(version, members.len() as u64).await {
            Ok(()) => info!(%version, "the cluster's version rises: every node can read it"),
            Err(error) => warn!(%version, %error, "the cluster's version does not rise yet"),
        }
    }
}

/// What all nodes together can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Common {
    version: ClusterVersion,
    /// There is no other node that could start with an older program.
    alone: bool,
}

/// `None` if a node has not been heard of lately: who knows which program it comes back with.
fn common(members: &BTreeMap<u64, NodeRecord>, heard: &BTreeMap<u64, Heard>) -> Option<Common> {
    let present = members
        .iter()
        .filter(|(_, node)| node.state != NodeState::Removed);
    let known = present.map(|(number, _)| {
        let heard = heard.get(number)?;
        let is_recent = heard.at.elapsed() < survey::SILENCE;
        is_recent.then_some(heard.survey.knows)
    });
    let known: Vec<ClusterVersion> = known.collect::<Option<_>>()?;
    Some(Common {
        version: known.iter().copied().min()?,
        alone: known.len() == 1,
    })
}

/// Since when all nodes have been able to read a version.
#[derive(Debug, Default)]
struct Agreement(Option<(ClusterVersion, Instant)>);

impl Agreement {
    /// The version to raise the cluster to, if it is time.
    fn look(
        &mut self,
        common: Option<Common>,
        active: ClusterVersion,
        now: Instant,
    ) -> Option<ClusterVersion> {
        let Some(common) = common.filter(|common| common.version > active) else {
            self.0 = None;
            return None;
        };
        let since = match self.0 {
            Some((version, since)) if version == common.version => since,
            _ => now,
        };
        self.0 = Some((common.version, since));
        let is_time = common.alone || now.duration_since(since) >= PATIENCE;
        is_time.then_some(common.version)
    }
}

#[cfg(test)]
mod tests {
    use anser_broker::{command::NodeStart, id::NodeId, time::Timestamp};

    use super::*;
    use crate::cluster::survey::Survey;

    fn member(node: u64, state: NodeState) -> (u64, NodeRecord) {
        let record = NodeRecord {
            node: NodeId(node),
            incarnation: [0; 16],
            address: String::new(),
            host: String::new(),
            zone: String::new(),
            state,
            start: NodeStart::default(),
            added: Timestamp(0),
        };
        (node, record)
    }

    fn says(node: u64, knows: u32, at: Instant) -> (u64, Heard) {
        let survey = Survey {
            node,
            knows: ClusterVersion(knows),
            ..Survey::default()
        };
        (node, Heard { survey, at })
    }

    fn agreed(version: u32) -> Common {
        Common {
            version: ClusterVersion(version),
            alone: false,
        }
    }

    #[test]
    fn the_node_that_knows_least_counts_unless_it_is_removed() {
        let now = Instant::now();
        let members = [
            member(1, NodeState::Active),
            member(2, NodeState::Draining),
            member(3, NodeState::Removed),
        ];
        let members = BTreeMap::from(members);
        let heard = BTreeMap::from([says(1, 3, now), says(2, 2, now), says(3, 1, now)]);
        assert_eq!(common(&members, &heard), Some(agreed(2)));
    }

    #[test]
    fn nothing_is_known_while_a_node_is_silent() {
        let now = Instant::now();
        let members = [member(1, NodeState::Active), member(2, NodeState::Active)];
        let members = BTreeMap::from(members);
        let long_ago = now.checked_sub(survey::SILENCE).unwrap();
        let mut heard = BTreeMap::from([says(1, 3, now)]);
        assert_eq!(common(&members, &heard), None);
        heard.extend([says(2, 3, long_ago)]);
        assert_eq!(common(&members, &heard), None);
        heard.extend([says(2, 3, now)]);
        assert_eq!(common(&members, &heard), Some(agreed(3)));
        assert_eq!(common(&BTreeMap::new(), &heard), None);
    }

    #[test]
    fn all_must_have_agreed_for_some_time() {
        let (active, start) = (ClusterVersion(1), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut agreement = Agreement::default();
        assert_eq!(agreement.look(Some(agreed(1)), active, start), None);
        assert_eq!(agreement.look(Some(agreed(2)), active, start), None);
        assert_eq!(agreement.look(Some(agreed(2)), active, at(4)), None);
        assert_eq!(agreement.look(None, active, at(5)), None);
        assert_eq!(agreement.look(Some(agreed(2)), active, at(6)), None);
        assert_eq!(agreement.look(Some(agreed(3)), active, at(10)), None);
        assert_eq!(agreement.look(Some(agreed(2)), active, at(11)), None);
        let risen = agreement.look(Some(agreed(2)), active, at(16));
        assert_eq!(risen, Some(ClusterVersion(2)));
        assert_eq!(
            agreement.look(Some(agreed(2)), ClusterVersion(2), at(17)),
            None
        );
    }

    #[test]
    fn a_node_alone_waits_for_nobody() {
        let now = Instant::now();
        let members = [member(1, NodeState::Active), member(2, NodeState::Removed)];
        let members = BTreeMap::from(members);
        let common = common(&members, &BTreeMap::from([says(1, 2, now)]));
        let risen = Agreement::default().look(common, ClusterVersion(1), now);
        assert_eq!(risen, Some(ClusterVersion(2)));
    }
}
