//! When the cluster's version rises: once every node has said for a while that it can read the next.

use std::{collections::BTreeMap, time::Duration};

use anser_broker::{
    command::{NodeRecord, NodeState},
    version::ClusterVersion,
};

use crate::{controller::Knowledge, reports::Reports};

/// How long all nodes must have said so without a break: longer than one takes to start with another program.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all nodes together can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Common {
    version: ClusterVersion,
    /// There is no other node that could start with an older program.
    alone: bool,
}

/// `None` if a node has not been heard of lately: who knows which program it comes back with.
fn common(members: &BTreeMap<u64, NodeRecord>, reports: &Reports, now: Duration) -> Option<Common> {
    let present = members
        .iter()
        .filter(|(_, node)| node.state != NodeState::Removed);
    let known = present.map(|(number, _)| {
        let heard = reports.of(*number)?;
        heard.is_recent(now).then_some(heard.report.knows)
    });
    let known: Vec<ClusterVersion> = known.collect::<Option<_>>()?;
    Some(Common {
        version: known.iter().copied().min()?,
        alone: known.len() == 1,
    })
}

/// Since when all nodes have been able to read a version.
#[derive(Debug, Default)]
pub struct Agreement(Option<(ClusterVersion, Duration)>);

impl Agreement {
    /// The version to raise the cluster to, if it is time; asked where the catalog is led.
    pub fn version(
        &mut self,
        known: Knowledge<'_>,
        active: ClusterVersion,
    ) -> Option<ClusterVersion> {
        self.look(
            common(known.members, known.reports, known.now),
            active,
            known.now,
        )
    }

    fn look(
        &mut self,
        common: Option<Common>,
        active: ClusterVersion,
        now: Duration,
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
        let is_time = common.alone || now.saturating_sub(since) >= PATIENCE;
        is_time.then_some(common.version)
    }
}

#[cfg(test)]
mod tests {
    use anser_broker::{command::NodeStart, id::NodeId, time::Timestamp};

    use super::*;
    use crate::{report::NodeReport, reports::SILENCE};

    const NOW: Duration = Duration::from_secs(100);

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

    fn heard<const N: usize>(said: [(u64, u32, Duration); N]) -> Reports {
        let mut reports = Reports::default();
        for (node, knows, at) in said {
            let report = NodeReport {
                node,
                knows: ClusterVersion(knows),
                ..NodeReport::default()
            };
            reports.put(report, at);
        }
        reports
    }

    fn agreed(version: u32) -> Common {
        Common {
            version: ClusterVersion(version),
            alone: false,
        }
    }

    #[test]
    fn the_node_that_knows_least_counts_unless_it_is_removed() {
        let members = [
            member(1, NodeState::Active),
            member(2, NodeState::Draining),
            member(3, NodeState::Removed),
        ];
        let members = BTreeMap::from(members);
        let reports = heard([(1, 3, NOW), (2, 2, NOW), (3, 1, NOW)]);
        assert_eq!(common(&members, &reports, NOW), Some(agreed(2)));
    }

    #[test]
    fn nothing_is_known_while_a_node_is_silent() {
        let members = [member(1, NodeState::Active), member(2, NodeState::Active)];
        let members = BTreeMap::from(members);
        let long_ago = NOW - SILENCE;
        let reports = heard([(1, 3, NOW)]);
        assert_eq!(common(&members, &reports, NOW), None);
        let reports = heard([(1, 3, NOW), (2, 3, long_ago)]);
        assert_eq!(common(&members, &reports, NOW), None);
        let reports = heard([(1, 3, NOW), (2, 3, NOW)]);
        assert_eq!(common(&members, &reports, NOW), Some(agreed(3)));
        assert_eq!(common(&BTreeMap::new(), &reports, NOW), None);
    }

    #[test]
    fn all_must_have_agreed_for_some_time() {
        let (active, start) = (ClusterVersion(1), NOW);
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
        let members = [member(1, NodeState::Active), member(2, NodeState::Removed)];
        let members = BTreeMap::from(members);
        let common = common(&members, &heard([(1, 2, NOW)]), NOW);
        let risen = Agreement::default().look(common, ClusterVersion(1), NOW);
        assert_eq!(risen, Some(ClusterVersion(2)));
    }
}
