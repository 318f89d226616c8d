//! Compares what replicas say of their states (`docs/decisions/0015-states-are-compared.md`).
//!
//! Every node hears every other's reports, so each finds out by itself, of its own replicas, that most voters have another
//! state after the same entry. Nobody has to be asked, and nobody has to believe a leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{placement::ShardView, report::Mark, reports::Reports};

/// Members of a shard whose states are not the same after the same entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub index: u64,
    /// By node.
    pub fingerprints: BTreeMap<u64, u64>,
    /// What most of the shard's voters have, if most agree.
    pub right: Option<u64>,
}

impl Difference {
    /// What a node said whose state is not that of most voters.
    pub fn wrong(&self, node: u64) -> Option<Mark> {
        let (right, index) = (self.right?, self.index);
        let fingerprint = *self.fingerprints.get(&node)?;
        (fingerprint != right).then_some(Mark { index, fingerprint })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the state after entry {}", self.index)?;
        let all: BTreeSet<u64> = self.fingerprints.values().copied().collect();
        for (number, fingerprint) in all.into_iter().enumerate() {
            let of = |(&node, &its): (&u64, &u64)| (its == fingerprint).then(|| node.to_string());
            let nodes: Vec<String> = self.fingerprints.iter().filter_map(of).collect();
            let link = if number == 0 { " is" } else { ", and" };
            let nodes = nodes.join(", ");
            write!(formatter, "{link} {fingerprint:016x} on {nodes}")?;
        }
        if self.right.is_none() {
            write!(formatter, "; no majority has said which is right")?;
        }
        Ok(())
    }
}

/// The shards of which replicas differ, as far as was heard lately.
pub fn differences(reports: &Reports, now: Duration) -> BTreeMap<u16, Difference> {
    #[cfg(feature = "sabotage")]
    if anser_broker::sabotage::is_planted("states are not compared") {
        return BTreeMap::new();
    }
    let shards = reports.shards(now);
    let mut heard: BTreeMap<u16, Heard> = BTreeMap::new();
    for (node, report) in reports.recent(now) {
        for replica in &report.replicas {
            let Some(view) = shards.get(&replica.shard) else {
                continue;
            };
            if view.voters.contains(&node) || view.learners.contains(&node) {
                let heard = heard.entry(replica.shard).or_default();
                for mark in &replica.marks {
                    let of_index = heard.entry(mark.index).or_default();
                    of_index.insert(node, mark.fingerprint);
                }
            }
        }
    }
    let compared = heard.into_iter();
    let differing =
        compared.filter_map(|(shard, heard)| Some((shard, difference(heard, &shards[&shard])?)));
    differing.collect()
}

/// Fingerprints of one shard, by index and node.
type Heard = BTreeMap<u64, BTreeMap<u64, u64>>;

/// Where the states differ: after the last entry of which a majority says what is right, if there is one.
fn difference(heard: Heard, view: &ShardView) -> Option<Difference> {
    let differing = heard.into_iter().filter_map(|(index, fingerprints)| {
        let distinct: BTreeSet<u64> = fingerprints.values().copied().collect();
        if distinct.len() < 2 {
            return None;
        }
        let is_of_most = |&fingerprint: &u64| {
            let voters = view.voters.iter();
            let agree = voters.filter(|voter| fingerprints.get(voter) == Some(&fingerprint));
            agree.count() > view.voters.len() / 2
        };
        Some(Difference {
            index,
            right: distinct.into_iter().find(is_of_most),
            fingerprints,
        })
    });
    differing.max_by_key(|difference| (difference.right.is_some(), difference.index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Led, NodeReport, ReplicaReport};

    const NOW: Duration = Duration::from_secs(100);

    /// Reports of nodes, each with its marks; the first one leads these voters.
    fn reports(voters: &[u64], said: &[(u64, &[(u64, u64)])]) -> Reports {
        let mut reports = Reports::default();
        for (place, &(node, marks)) in said.iter().enumerate() {
            let led = Led {
                voters: voters.to_vec(),
                learners: vec![9],
                ..Led::default()
            };
            let mark = |&(index, fingerprint): &(u64, u64)| Mark { index, fingerprint };
            let replica = ReplicaReport {
                shard: 4,
                led: (place == 0).then_some(led),
                marks: marks.iter().map(mark).collect(),
                ..ReplicaReport::default()
            };
            let report = NodeReport {
                node,
                replicas: vec![replica],
                ..NodeReport::default()
            };
            reports.put(report, NOW);
        }
        reports
    }

    fn found(voters: &[u64], said: &[(u64, &[(u64, u64)])]) -> Option<Difference> {
        differences(&reports(voters, said), NOW).remove(&4)
    }

    #[test]
    fn who_is_alone_with_its_state_is_wrong_whether_it_leads_or_not() {
        for wrong in 1..=3 {
            let of = |node: u64| [(64, if node == wrong { 7 } else { 5 })];
            let said = [(1, &of(1)[..]), (2, &of(2)), (3, &of(3))];
            let difference = found(&[1, 2, 3], &said).expect("they differ");
            let wrongs: Vec<u64> = (1..=3)
                .filter(|&node| difference.wrong(node).is_some())
                .collect();
            assert_eq!(wrongs, [wrong]);
        }
    }

    #[test]
    fn replicas_at_different_entries_are_not_compared() {
        let said: [(u64, &[(u64, u64)]); 3] = [
            (1, &[(70, 1), (64, 5)]),
            (2, &[(71, 2), (64, 5)]),
            (3, &[(63, 3)]),
        ];
        assert_eq!(found(&[1, 2, 3], &said), None);
    }

    /// The third has been compared by the mark that it has in common with the others.
    #[test]
    fn a_mark_that_most_have_decides() {
        let said: [(u64, &[(u64, u64)]); 3] = [
            (1, &[(70, 1), (64, 5)]),
            (2, &[(70, 1), (64, 5)]),
            (3, &[(71, 3), (64, 6)]),
        ];
        let difference = found(&[1, 2, 3], &said).expect("they differ");
        let (index, fingerprint) = (64, 6);
        assert_eq!(difference.wrong(3), Some(Mark { index, fingerprint }));
    }

    #[test]
    fn of_two_nobody_is_right() {
        let difference = found(&[1, 2], &[(1, &[(9, 5)]), (2, &[(9, 6)])]).expect("they differ");
        assert_eq!(difference.right, None);
        assert_eq!((difference.wrong(1), difference.wrong(2)), (None, None));
        assert_eq!(
            difference.to_string(),
            "the state after entry 9 is 0000000000000005 on 1, and 0000000000000006 on 2; no majority has said \
             which is right"
        );
    }

    #[test]
    fn half_of_the_voters_are_no_majority() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (3, &[(9, 6)])];
        let difference = found(&[1, 2, 3, 4], &said).expect("they differ");
        assert_eq!(difference.right, None);
    }

    #[test]
    fn a_learner_can_be_wrong_and_makes_no_majority() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (9, &[(9, 6)])];
        let difference = found(&[1, 2, 3], &said).expect("they differ");
        assert!(difference.wrong(9).is_some());
        let said: [(u64, &[(u64, u64)]); 2] = [(1, &[(9, 5)]), (9, &[(9, 6)])];
        assert_eq!(found(&[1, 2, 3], &said).expect("they differ").right, None);
    }

    #[test]
    fn who_is_no_member_is_not_compared() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (8, &[(9, 6)])];
        assert_eq!(found(&[1, 2, 3], &said), None);
    }

    #[test]
    fn what_an_older_program_does_not_say_is_no_difference() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (3, &[])];
        assert_eq!(found(&[1, 2, 3], &said), None);
    }
}
